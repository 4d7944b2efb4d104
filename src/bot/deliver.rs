//! Notices: each person's in their order, and nobody's held up by another's.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use matrix_sdk::ruma::{OwnedUserId, RoomId};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    inbox::Undone,
    reach::{self, Reach},
    reactions,
    records::{Person, ProgressMessage, Prompt},
    report_files,
    shared::Bot,
    talk::{Cause, Unsent},
    wording::{self, Facts, Message, SecretFate, Unasked},
};
use crate::{
    migration::{
        Access, Event, Migration, Notice, Phase, PlanId, Refusal, SecretMessage, Side, ToModerator,
    },
    moderation::Posted,
    store::StoreError,
};

/// How long until an undelivered notice is looked at again when nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often the redaction of a secret is tried, and how long is waited between.
const REDACT_TRIES: (u32, Duration) = (3, Duration::from_secs(5));

/// Gives each notice to the task of the person whom it is for.
pub(super) struct Deliverer {
    bot: Arc<Bot>,
    people: HashMap<OwnedUserId, mpsc::UnboundedSender<Notice>>,
    tasks: JoinSet<()>,
}

impl Deliverer {
    pub(super) fn new(bot: Arc<Bot>) -> Self {
        Self { bot, people: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Goes on until there will be no more notices.
    pub(super) async fn run(&mut self, mut notices: mpsc::UnboundedReceiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            let queue = self.people.entry(notice.to.clone()).or_insert_with(|| {
                let (queue, incoming) = mpsc::unbounded_channel();
                let recipient = Recipient {
                    company_changed: self.bot.company_changed.subscribe(),
                    bot: self.bot.clone(),
                    user: notice.to.clone(),
                    incoming,
                    pending: VecDeque::new(),
                };
                self.tasks.spawn(recipient.run());
                queue
            });
            // The task ends only with this.
            let _ = queue.send(notice);
        }
    }

    /// Stops the tasks of all people, and waits for that.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// One person's notices.
struct Recipient {
    bot: Arc<Bot>,
    user: OwnedUserId,
    incoming: mpsc::UnboundedReceiver<Notice>,
    company_changed: watch::Receiver<u64>,
    /// Not delivered yet, with what became of the secret that each tells of.
    pending: VecDeque<(Notice, SecretFate)>,
}

impl Recipient {
    async fn run(mut self) {
        loop {
            if self.pending.is_empty() {
                let Some(notice) = self.incoming.recv().await else { return };
                self.take(notice).await;
            }
            while let Ok(notice) = self.incoming.try_recv() {
                self.take(notice).await;
            }
            let pause = self.step().await.unwrap_or_else(|error| {
                tracing::error!(account = %self.user, %error, "a notice could not be delivered");
                Some(LOOK_AGAIN)
            });
            if let Some(pause) = pause {
                self.wait(pause).await;
            }
        }
    }

    /// A secret is redacted at once, whether or not the person can be told.
    async fn take(&mut self, notice: Notice) {
        let fate = match &notice.event {
            Event::AccessGiven { side, secret: Some(message) } => {
                redact(&self.bot, &notice, *side, message).await
            }
            _ => SecretFate::None,
        };
        self.pending.push_back((notice, fate));
    }

    /// Until something that may change things happens.
    async fn wait(&mut self, pause: Duration) {
        self.company_changed.mark_unchanged();
        tokio::select! {
            _ = self.company_changed.changed() => {}
            Some(notice) = self.incoming.recv() => self.take(notice).await,
            () = self.bot.shared.clock.sleep(pause) => {}
        }
    }

    /// Delivers the first notice, or sees to it that it can be delivered. How long to wait then.
    async fn step(&mut self) -> Result<Option<Duration>, Undone> {
        self.drop_moot().await?;
        self.drop_unwanted().await?;
        let Some((notice, fate)) = self.pending.front().cloned() else { return Ok(None) };
        let room = reach::direct_message(&self.bot, &self.user, notice.room_id.as_deref()).await?;
        if let Some(room) = room {
            self.deliver(&notice, fate, &room).await?;
            self.done().await?;
            return Ok(None);
        }
        // Who has a chat with the bot that was not looked at yet is not invited to another.
        if !self.bot.chats.is_complete() {
            return Ok(Some(LOOK_AGAIN));
        }
        if !self.drop_unasked().await? {
            return Ok(None);
        }
        self.reach_out().await.map(Some)
    }

    /// Forgets questions that need no answer any more.
    async fn drop_moot(&mut self) -> Result<(), Undone> {
        let migrations = self.bot.shared.migrations.clone();
        let moderation = self.bot.shared.moderation.clone();
        let is_moot = |notice: &Notice| {
            if let Event::ToModerator { room_id, what: ToModerator::Request } = &notice.event {
                let request = moderation.request(notice.migration, room_id).ok().flatten();
                return !request.is_some_and(|request| request.state.is_live());
            }
            notice.event == Event::ConsentQuestion
                && migrations
                    .get(notice.migration)
                    .is_ok_and(|migration| migration.phase != Phase::AwaitingConsent)
        };
        self.drop_where(is_moot).await
    }

    /// Who said `block` is asked nothing, wherever they are. Whoever asked learns no more than that.
    async fn drop_unwanted(&mut self) -> Result<(), Undone> {
        let is_asked = self.pending.iter().any(|(notice, _)| is_question(&notice.event));
        if !is_asked || !self.bot.shared.migrations.is_blocked(&self.user)? {
            return Ok(());
        }
        self.tell_who_asked(&Unasked::Unwanted).await?;
        // That is no word of theirs about the room.
        self.give_up_requests(false).await?;
        self.drop_where(|notice| is_question(&notice.event)).await
    }

    /// Forgets what a person who is in no direct message, and never agreed to anything, need not
    /// be told. Whether something is left.
    async fn drop_unasked(&mut self) -> Result<bool, Undone> {
        let (migrations, user) = (self.bot.shared.migrations.clone(), self.user.clone());
        let is_unasked = |notice: &Notice| {
            let agreed = migrations.get(notice.migration).is_ok_and(|migration| {
                let side = migration.side_of(&user);
                side.is_some_and(|side| migration.party(side).consent.is_some())
            });
            !is_question(&notice.event) && !agreed
        };
        self.drop_where(is_unasked).await?;
        if self.pending.is_empty() {
            reach::withdraw(&self.bot, &self.user).await?;
        }
        Ok(!self.pending.is_empty())
    }

    async fn drop_where(&mut self, test: impl Fn(&Notice) -> bool) -> Result<(), Undone> {
        for (notice, _) in self.pending.iter().filter(|(notice, _)| test(notice)) {
            self.bot.shared.migrations.delivered(notice.id).await?;
        }
        self.pending.retain(|(notice, _)| !test(notice));
        Ok(())
    }

    async fn done(&mut self) -> Result<(), Undone> {
        if let Some((notice, _)) = self.pending.pop_front() {
            self.bot.shared.migrations.delivered(notice.id).await?;
        }
        Ok(())
    }

    /// Invites the person; tells those who asked for them when that does not work.
    async fn reach_out(&mut self) -> Result<Duration, Undone> {
        let questions = self.questions();
        if !questions.is_empty() && self.said_no_to_all(&questions)? {
            self.tell_who_asked(&Unasked::Rejected).await?;
            self.give_up_requests(true).await?;
            return Ok(LOOK_AGAIN);
        }
        match reach::invite(&self.bot, &self.user, &self.reason()).await? {
            Reach::Invited => Ok(LOOK_AGAIN),
            Reach::Later(unasked, pause) => {
                if let Some(unasked) = unasked {
                    self.tell_who_asked(&unasked).await?;
                }
                Ok(pause)
            }
            Reach::Not(unasked) => {
                self.tell_who_asked(&unasked).await?;
                self.give_up_requests(unasked == Unasked::Rejected).await?;
                if unasked == Unasked::Rejected {
                    self.remember_refusal(&questions).await?;
                }
                // Nobody asked for a person who left the chat of their own migration.
                self.drop_where(|notice| notice.event != Event::ConsentQuestion).await?;
                Ok(LOOK_AGAIN)
            }
        }
    }

    fn said_no_to_all(&self, questions: &[Migration]) -> Result<bool, StoreError> {
        for migration in questions {
            if !self.bot.shared.migrations.has_said_no(&self.user, &migration.old.user_id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The person is not invited again for the same old accounts, however often those ask: a no
    /// lasts, whoever forgets what.
    async fn remember_refusal(&self, questions: &[Migration]) -> Result<(), Undone> {
        for migration in questions {
            self.bot.shared.migrations.said_no(&self.user, &migration.old.user_id).await?;
        }
        let change = |person: &mut Person| {
            person.outreach.rejected = false;
            person.outreach.invited = false;
            person.outreach.room_id = None;
        };
        Ok(self.bot.shared.records.change_person(&self.user, change).await?)
    }

    fn questions(&self) -> Vec<Migration> {
        let questions = self.pending.iter().filter(|(notice, _)| is_question(&notice.event));
        questions.filter_map(|(n, _)| self.bot.shared.migrations.get(n.migration).ok()).collect()
    }

    fn reason(&self) -> String {
        match self.questions().first() {
            Some(migration) if migration.new.user_id == self.user => {
                wording::asking_reason(&migration.old.user_id)
            }
            Some(migration) => wording::asking_moderator_reason(&migration.old.user_id),
            None => wording::talking_reason(),
        }
    }

    /// What this moderator was to be asked is settled, or asked in no other way.
    async fn give_up_requests(&mut self, refused: bool) -> Result<(), Undone> {
        for (notice, _) in &self.pending {
            if let Event::ToModerator { room_id, what: ToModerator::Request } = &notice.event {
                let moderation = &self.bot.shared.moderation;
                moderation.unreached(notice.migration, room_id, refused).await?;
            }
        }
        self.drop_where(|notice| matches!(notice.event, Event::ToModerator { .. })).await
    }

    /// Tells each old account once that the person could not be asked.
    async fn tell_who_asked(&self, unasked: &Unasked) -> Result<(), Undone> {
        let told = self.bot.shared.records.person(&self.user)?.outreach.told;
        let asked_for = |migration: &&Migration| {
            migration.new.user_id == self.user && !told.contains(&migration.id)
        };
        for migration in self.questions().iter().filter(asked_for) {
            let old = &migration.old.user_id;
            if let Some(room) = reach::direct_message(&self.bot, old, None).await? {
                let message = wording::unasked(unasked, old, &self.user, &self.bot.me);
                let what = format!("unasked-{}", migration.id);
                let transaction = Cause::other(&what, &room).transaction(0);
                self.bot.talk.say(&room, &message, transaction).await?;
            }
            let id = migration.id;
            self.bot
                .shared
                .records
                .change_person(&self.user, |person| {
                    person.outreach.told.insert(id);
                })
                .await?;
        }
        Ok(())
    }

    async fn deliver(
        &self,
        notice: &Notice,
        fate: SecretFate,
        room: &RoomId,
    ) -> Result<(), Undone> {
        match deliver(&self.bot, notice, fate, room).await {
            // Another try would be refused as well.
            Err(Undone::Unsent(Unsent::Refused(error))) => {
                tracing::warn!(account = %self.user, %error, "a notice was refused");
                Ok(())
            }
            delivered => delivered,
        }
    }
}

/// Tells a person what happened, in the direct message that they are in.
async fn deliver(
    bot: &Bot,
    notice: &Notice,
    fate: SecretFate,
    room: &RoomId,
) -> Result<(), Undone> {
    let cause = Cause::notice(notice.id);
    if let Event::Forgotten { .. } = notice.event {
        bot.talk.say(room, &wording::forgotten(), cause.transaction(0)).await?;
        return Ok(bot.shared.records.forget_person(&notice.to).await?);
    }
    if let Event::ToModerator { room_id, what } = &notice.event {
        return tell_moderator(bot, notice, room_id, *what, room).await;
    }
    let migration = match bot.shared.migrations.get(notice.migration) {
        Ok(migration) => migration,
        Err(Refusal::Store(error)) => return Err(error.into()),
        // Forgotten meanwhile, and so is what there was to tell.
        Err(_) => return Ok(()),
    };
    let Some(reader) = migration.side_of(&notice.to) else { return Ok(()) };
    let (messages, shown) = messages(bot, notice, &migration, reader, fate, room).await?;
    let cause = match shown {
        Some(plan) => cause.showing(plan),
        None => cause,
    };
    let mut first = None;
    for (part, message) in messages.iter().enumerate() {
        let sent = bot.talk.say(room, message, cause.transaction(part)).await?;
        first.get_or_insert(sent);
    }
    if let (Event::Finished, Some(report)) =
        (&notice.event, bot.shared.migrations.current_report(migration.id).ok())
    {
        let requests = bot.shared.moderation.requests(migration.id)?;
        for file in report_files::all(&report, &requests) {
            bot.talk.send_file(room, &file, cause.transaction(file.name)).await?;
        }
    }
    let Some(event) = first else { return Ok(()) };
    if let (Some(plan), Side::Old) = (shown, reader) {
        return reactions::offer(bot, room, &event, &notice.to, &Prompt::Plan(plan)).await;
    }
    match (&notice.event, reader) {
        (Event::ConsentQuestion, _) => {
            let prompt = Prompt::Consent { migration: migration.id };
            reactions::offer(bot, room, &event, &notice.to, &prompt).await
        }
        (Event::Started, side) => {
            let (room_id, migration) = (room.to_owned(), migration.id);
            let of_reading = false;
            let message = ProgressMessage { room_id, event_id: event, migration, side, of_reading };
            Ok(bot.shared.records.put_progress_message(&message).await?)
        }
        _ => Ok(()),
    }
}

/// Whether it is a question to somebody who need not know the bot.
fn is_question(event: &Event) -> bool {
    matches!(event, Event::ConsentQuestion | Event::ToModerator { what: ToModerator::Request, .. })
}

/// Tells a moderator about an invite request, in the direct message that they are in.
async fn tell_moderator(
    bot: &Bot,
    notice: &Notice,
    about: &RoomId,
    what: ToModerator,
    room: &RoomId,
) -> Result<(), Undone> {
    let (moderation, id) = (&bot.shared.moderation, notice.migration);
    let Some(request) = moderation.request(id, about)? else { return Ok(()) };
    let transaction = Cause::notice(notice.id).transaction(0);
    let content = match (what, &request.message) {
        (ToModerator::Request, _) => moderation.request_content(&request),
        (ToModerator::Reminder, _) => moderation.reminder_content(&request),
        (ToModerator::Ended, Some(asked)) => moderation.ended_content(&request, &asked.event_id),
        (ToModerator::Ended, None) => return Ok(()),
    };
    let event_id = bot.talk.say_content(room, content, transaction).await?;
    if what == ToModerator::Request {
        let posted = Posted { room_id: room.to_owned(), event_id: event_id.clone() };
        moderation.delivered(id, about, posted).await?;
        let prompt = Prompt::InviteRequest { migration: id, room: about.to_owned() };
        reactions::offer(bot, room, &event_id, &notice.to, &prompt).await?;
    }
    Ok(())
}

/// What is said, and which plan is in it.
async fn messages(
    bot: &Bot,
    notice: &Notice,
    migration: &Migration,
    reader: Side,
    secret: SecretFate,
    room: &RoomId,
) -> Result<(Vec<Message>, Option<PlanId>), Undone> {
    let migrations = &bot.shared.migrations;
    let encrypted = match bot.client.get_room(room) {
        Some(room) => room.latest_encryption_state().await?.is_encrypted(),
        None => false,
    };
    let plan = migrations.current_plan(migration.id).ok();
    let progress = migrations.progress(migration.id).ok();
    let report = migrations.current_report(migration.id).ok();
    let requests = bot.shared.moderation.requests(migration.id)?;
    let facts = Facts {
        migration,
        reader,
        plan: plan.as_ref(),
        progress: progress.as_ref(),
        report: report.as_ref(),
        requests: &requests,
        secret,
        encrypted,
        served: migrations.needs_no_login(&notice.to),
        now: bot.shared.clock.now(),
    };
    let shown = plan.as_ref().filter(|_| notice.event == Event::PlanReady);
    let shown = shown.map(|plan| PlanId { migration: migration.id, number: plan.number });
    let mut messages = vec![wording::notice(&notice.event, &facts)];
    if let (Event::Started, Side::New, Access::None, Some(plan)) =
        (&notice.event, reader, migration.new.access, &plan)
    {
        messages.extend(wording::by_hand(plan, migration));
    }
    Ok((messages, shown))
}

/// Deletes the message that carried a secret: as the bot if it may, else as its sender. Only on
/// behalf of the account that sent it, so that it is done once.
async fn redact(bot: &Bot, notice: &Notice, side: Side, message: &SecretMessage) -> SecretFate {
    let is_senders = bot
        .shared
        .migrations
        .get(notice.migration)
        .is_ok_and(|migration| migration.party(side).user_id == notice.to);
    if !is_senders {
        return SecretFate::None;
    }
    let why = wording::redact_reason();
    if bot.talk.redact(&message.room_id, &message.event_id, why).await.is_ok() {
        return SecretFate::Redacted;
    }
    for _ in 0..REDACT_TRIES.0 {
        match bot.shared.migrations.redact_as_sender(notice.migration, side, message).await {
            Ok(()) => return SecretFate::Redacted,
            Err(error) => {
                tracing::info!(account = %notice.to, %error, "a message with a secret is still there");
            }
        }
        bot.shared.clock.sleep(REDACT_TRIES.1).await;
    }
    SecretFate::LeftToPerson
}
