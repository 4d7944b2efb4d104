//! The progress messages: one for each account of a migration that is read for long, or whose plan
//! is run, edited in place.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use matrix_sdk::ruma::{OwnedEventId, UserId};

use super::{
    inbox::Undone,
    reach,
    records::ProgressMessage,
    retry::{Fate, fate},
    shared::Bot,
    talk::{Cause, Unsent},
    wording::{self, Message},
};
use crate::{
    clock::Timestamp,
    compute,
    migration::{MigrationId, Phase, Refusal, Side},
    store::StoreError,
};

/// After how long the reading of two accounts is told of: most are read before that.
const LONG_READING: Duration = Duration::from_secs(5);
/// How often is looked whether there is something to edit.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same while nothing is known to be going on.
const LOOK_SELDOM: Duration = Duration::from_secs(20);
/// How often one message is looked at, at most: an edit each few seconds is all that anybody reads.
const EACH_EVERY: SignedDuration = SignedDuration::from_secs(5);
/// How many messages are looked at in a row, and the pause before each: to work out what one says
/// takes time, and there may be thousands.
const LOOKS: (usize, Duration) = (40, Duration::from_millis(25));
/// How many times as long as an edit took no other is sent after it: the homeserver is there for
/// answers, and for migrations.
const REST: u32 = 4;
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Keeps the progress messages up to date.
pub(super) struct Keeper {
    bot: Arc<Bot>,
    /// What each message says, as far as that is known.
    shown: HashMap<OwnedEventId, Shown>,
    /// The pause before the next message is looked at.
    rest: Duration,
}

struct Shown {
    text: Option<Message>,
    looked: Timestamp,
}

impl Keeper {
    pub(super) fn new(bot: Arc<Bot>) -> Self {
        Self { bot, shown: HashMap::new(), rest: LOOKS.1 }
    }

    /// Goes on until the store fails.
    pub(super) async fn run(mut self) -> StoreError {
        let mut progressed = self.bot.shared.migrations.progressed();
        let clock = self.bot.shared.clock.clone();
        loop {
            if let Err(error) = self.tell_of_long_readings().await {
                return error;
            }
            if let Err(error) = self.update().await {
                return error;
            }
            clock.sleep(LOOK_EVERY).await;
            if self.shown.is_empty() && self.bot.shared.migrations.readings().is_empty() {
                // Nothing is run, as far as is known; a run tells of itself.
                tokio::select! {
                    _ = progressed.changed() => {}
                    () = clock.sleep(LOOK_SELDOM) => {}
                }
            }
        }
    }

    /// Begins a message for each side of a migration whose accounts take long to read.
    async fn tell_of_long_readings(&mut self) -> Result<(), StoreError> {
        let bot = self.bot.clone();
        let shared = &bot.shared;
        let told = shared.records.progress_messages()?;
        for (id, reading) in shared.migrations.readings() {
            let Ok(migration) = shared.migrations.get(id) else { continue };
            if reading.elapsed < LONG_READING || migration.phase != Phase::Surveying {
                continue;
            }
            for side in [Side::Old, Side::New] {
                let is_its = |message: &ProgressMessage| {
                    message.of_reading && message.migration == id && message.side == side
                };
                if told.iter().any(is_its) {
                    continue;
                }
                let text = wording::reading(&migration, Some(&reading));
                let user = &migration.party(side).user_id;
                if let Err(error) = self.begin_reading_message(id, side, user, text).await? {
                    tracing::debug!(%error, account = %user, "cannot tell of the reading");
                }
            }
        }
        Ok(())
    }

    async fn begin_reading_message(
        &mut self,
        migration: MigrationId,
        side: Side,
        user: &UserId,
        text: Message,
    ) -> Result<Result<(), Undone>, StoreError> {
        let room_id = match reach::direct_message(&self.bot, user, None).await {
            Ok(Some(room_id)) => room_id,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let now = self.bot.shared.clock.now();
        // Another one each time: a plan may be made often.
        let what = format!("reading-{migration}-{}", now.as_millisecond());
        let transaction = Cause::other(&what, &room_id).transaction(0);
        let event_id = match self.bot.talk.say(&room_id, &text, transaction).await {
            Ok(event_id) => event_id,
            Err(error) => return Ok(Err(error.into())),
        };
        self.shown.insert(event_id.clone(), Shown { text: Some(text), looked: now });
        let message = ProgressMessage { room_id, event_id, migration, side, of_reading: true };
        self.bot.shared.records.put_progress_message(&message).await?;
        Ok(Ok(()))
    }

    /// Edits what says something else than it should: first what was looked at longest ago.
    async fn update(&mut self) -> Result<(), StoreError> {
        let bot = self.bot.clone();
        let (migrations, records) = (&bot.shared.migrations, &bot.shared.records);
        let mut messages = records.progress_messages()?;
        messages.sort_by_key(|message| self.looked_at(message));
        let mut looks = LOOKS.0;
        let begun = bot.shared.clock.now();
        for message in messages {
            let migration = match migrations.get(message.migration) {
                Ok(migration) => migration,
                Err(Refusal::Store(error)) => return Err(error),
                Err(_) => {
                    records.end_progress_message(&message).await?;
                    continue;
                }
            };
            let is_over = if message.of_reading {
                migration.phase != Phase::Surveying
            } else {
                migration.phase.is_over() || migration.phase.is_carried_out()
            };
            if is_over && bot.talk.is_denied() {
                continue;
            }
            if !is_over {
                let went_on_for = bot.shared.clock.now().duration_since(begun);
                if looks == 0 || went_on_for >= EACH_EVERY || !self.is_due(&message) {
                    continue;
                }
                looks -= 1;
                bot.shared.clock.sleep(self.rest).await;
            }
            let text = if message.of_reading {
                let reading = migrations.readings().get(&migration.id).copied();
                wording::reading(&migration, reading.as_ref())
            } else {
                // A large plan takes a while to be read.
                let (migrations, id) = (migrations.clone(), migration.id);
                let progress = compute::aside(move || migrations.progress(id)).await;
                let Ok(progress) = progress else { continue };
                wording::progress(&migration, Some(&progress), message.side)
            };
            self.bring_up_to_date(&message, is_over, text).await?;
        }
        Ok(())
    }

    fn looked_at(&self, message: &ProgressMessage) -> Option<Timestamp> {
        self.shown.get(&message.event_id).map(|shown| shown.looked)
    }

    /// Whether it may be looked at now: answers to commands come first.
    fn is_due(&self, message: &ProgressMessage) -> bool {
        let now = self.bot.shared.clock.now();
        let is_fresh = |looked| (now - EACH_EVERY..=now).contains(&looked);
        self.bot.talk.can_spare_one() && !self.looked_at(message).is_some_and(is_fresh)
    }

    async fn bring_up_to_date(
        &mut self,
        message: &ProgressMessage,
        is_over: bool,
        text: Message,
    ) -> Result<(), StoreError> {
        let id = &message.event_id;
        let clock = &self.bot.shared.clock;
        let looked = clock.now();
        self.rest = LOOKS.1;
        let shown = Shown { text: None, looked };
        let shown = self.shown.entry(id.clone()).or_insert(shown);
        shown.looked = looked;
        if shown.text.as_ref() != Some(&text) {
            let edited = self.bot.talk.edit(&message.room_id, id, &text).await;
            let took = Duration::try_from(clock.now().duration_since(looked)).unwrap_or_default();
            self.rest = (took * REST).clamp(LOOKS.1, LONGEST_REST);
            match edited {
                Ok(()) => {}
                Err(Unsent::Refused(error)) if matches!(fate(&error), Fate::Passing(_)) => {
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "a progress message cannot be edited"),
            }
            shown.text = Some(text);
        }
        if is_over {
            self.shown.remove(id);
            self.bot.shared.records.end_progress_message(message).await?;
        }
        Ok(())
    }
}
