//! The progress messages: one for each account of a migration that is read for long, or whose plan
//! is run, edited in place.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
    migration::{MigrationId, Phase, Refusal, Side},
    store::StoreError,
};

/// After how long the reading of two accounts is told of: most are read before that.
const LONG_READING: Duration = Duration::from_secs(5);
/// How often is looked whether a text has changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The time between two edits, over all messages: a homeserver with Synapse's own limits lets an
/// account send 0.2 messages a second, and answers come first.
const PACE: Duration = Duration::from_secs(6);
/// The same once the homeserver said that it was too much.
const SLOW_PACE: Duration = Duration::from_secs(20);
/// How long the pace stays slow.
const SLOW_FOR: Duration = Duration::from_secs(600);

/// Keeps the progress messages up to date.
pub(super) struct Keeper {
    bot: Arc<Bot>,
    /// What each message says, as far as that is known, and since when.
    said: HashMap<OwnedEventId, (Message, Timestamp)>,
    pace: Pace,
}

impl Keeper {
    pub(super) fn new(bot: Arc<Bot>) -> Self {
        Self { bot, said: HashMap::new(), pace: Pace::default() }
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
            if self.said.is_empty() && self.bot.shared.migrations.readings().is_empty() {
                // Nothing is run, as far as is known; a run tells of itself.
                tokio::select! {
                    _ = progressed.changed() => {}
                    () = clock.sleep(SLOW_PACE) => {}
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
        self.said.insert(event_id.clone(), (text, now));
        let message = ProgressMessage { room_id, event_id, migration, side, of_reading: true };
        self.bot.shared.records.put_progress_message(&message).await?;
        Ok(Ok(()))
    }

    /// Edits what says something else than it should: the longest unedited first.
    async fn update(&mut self) -> Result<(), StoreError> {
        let mut messages = self.bot.shared.records.progress_messages()?;
        messages.sort_by_key(|message| self.said.get(&message.event_id).map(|(_, since)| *since));
        for message in messages {
            let migrations = &self.bot.shared.migrations;
            let migration = match migrations.get(message.migration) {
                Ok(migration) => migration,
                Err(Refusal::Store(error)) => return Err(error),
                Err(_) => {
                    self.bot.shared.records.end_progress_message(&message).await?;
                    continue;
                }
            };
            let is_over = if message.of_reading {
                migration.phase != Phase::Surveying
            } else {
                migration.phase.is_over() || migration.phase.is_carried_out()
            };
            if !is_over && !self.pace.allows(self.bot.shared.clock.now()) {
                // Not even worked out: that takes time, and there may be very many.
                continue;
            }
            let text = if message.of_reading {
                let reading = migrations.readings().get(&migration.id).copied();
                wording::reading(&migration, reading.as_ref())
            } else {
                let Ok(progress) = migrations.progress(migration.id) else { continue };
                wording::progress(&migration, Some(&progress), message.side)
            };
            self.bring_up_to_date(&message, is_over, text).await?;
        }
        Ok(())
    }

    async fn bring_up_to_date(
        &mut self,
        message: &ProgressMessage,
        is_over: bool,
        text: Message,
    ) -> Result<(), StoreError> {
        let is_new = self.said.get(&message.event_id).is_none_or(|(said, _)| *said != text);
        let now = self.bot.shared.clock.now();
        if is_new && (is_over || self.pace.allows(now)) {
            self.pace.edited(now);
            match self.bot.talk.edit(&message.room_id, &message.event_id, &text).await {
                Ok(()) => {
                    self.said.insert(message.event_id.clone(), (text, now));
                }
                Err(Unsent::Refused(error)) if matches!(fate(&error), Fate::Passing(_)) => {
                    if let Fate::Passing(told) = fate(&error) {
                        self.pace.slow_down(now, told.unwrap_or_default());
                    }
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "a progress message cannot be edited"),
            }
        }
        if is_over {
            self.said.remove(&message.event_id);
            self.bot.shared.records.end_progress_message(message).await?;
        }
        Ok(())
    }
}

/// When the next edit may be sent.
#[derive(Debug, Default)]
struct Pace {
    next: Option<Timestamp>,
    slow_until: Option<Timestamp>,
}

impl Pace {
    fn allows(&self, now: Timestamp) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    fn edited(&mut self, now: Timestamp) {
        let is_slow = self.slow_until.is_some_and(|until| now < until);
        self.next = Some(now + if is_slow { SLOW_PACE } else { PACE });
    }

    fn slow_down(&mut self, now: Timestamp, told: Duration) {
        self.slow_until = Some(now + SLOW_FOR);
        self.next = Some(now + told.max(SLOW_PACE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_keep_the_pace_and_slow_down_when_it_was_too_much() {
        let mut pace = Pace::default();
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(pace.allows(at(0)));
        pace.edited(at(0));
        assert!(!pace.allows(at(5)));
        assert!(pace.allows(at(6)));
        pace.slow_down(at(6), Duration::from_secs(30));
        assert!(!pace.allows(at(35)));
        assert!(pace.allows(at(36)));
        pace.edited(at(36));
        assert!(!pace.allows(at(55)));
        pace.edited(at(700));
        assert!(pace.allows(at(706)));
    }
}
