//! Rooms that wait for their moderators: what [`moderation`](crate::moderation) has done to a
//! migration, and what it is told of one.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::BoxFuture;
use ruma::{OwnedRoomId, RoomId, UserId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Access, Awaited, Event, Inner, Migration, MigrationId, Migrations, Phase, Plan, Refusal,
    RoomLabel, RouteKind, Said, Side, ToModerator, job::Job, journal::Change, report::Check,
    work::Trouble,
};
use crate::{
    access::{Device, OpenError},
    consent::ModeratorsWord,
    homeserver::{Account, Failure, Mandate as _},
    store::{Batch, StoreError},
};

/// What keeps records of its own about migrations, and acts as their accounts beside the run.
pub(crate) trait Follower: std::fmt::Debug + Send + Sync {
    /// The last that is done as the accounts of a migration that was cancelled, before the bot
    /// gives up its access to them: takes back what nobody is to act on any more. Stops when told
    /// to, and then is called again.
    fn take_leave<'a>(
        &'a self,
        migration: &'a Migration,
        old: Option<Account>,
        new: Option<Account>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Adds to `batch` that nothing is kept about a migration.
    fn forget(&self, batch: &mut Batch, migration: MigrationId) -> Result<(), StoreError>;
}

/// Why an account could not be acted as.
#[derive(Debug)]
pub(crate) enum Closed {
    /// It gave no access, or the access was lost.
    NoAccess,
    /// The bot can no longer act as it as an application service.
    NoService,
    /// Its homeserver did not answer as it should.
    Failed(Failure),
    /// The store is broken.
    Store(StoreError),
}

impl Migrations {
    /// The bot's own account.
    pub(crate) fn bot(&self) -> &UserId {
        &self.0.bot
    }

    /// Names who follows the migrations; once, before any work begins.
    pub(crate) fn followed_by(&self, follower: Box<dyn Follower>) {
        // A second one would be another bot in this process.
        let _ = self.0.follower.set(follower);
    }

    /// Changes whenever some migration does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The migrations in which moderators may be asked and heard now, or told how it ended.
    pub(crate) fn attendable(&self) -> Vec<MigrationId> {
        let migrations = self.0.all_jobs().into_iter().map(|job| job.migration());
        migrations
            .filter(|migration| {
                migration.phase == Phase::Running || migration.phase.is_carried_out()
            })
            .map(|migration| migration.id)
            .collect()
    }

    /// The migration whose old account said this, if moderators may be asked for it now.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`], [`Refusal::WrongSide`], [`Refusal::WrongPhase`],
    /// [`Refusal::NoPlan`].
    pub(crate) fn to_ask_for(&self, said: &Said) -> Result<(Migration, Plan), Refusal> {
        let (migration, side) = self.of(&said.by)?;
        may_ask(&migration, side)?;
        let plan = self.current_plan(migration.id)?;
        Ok((migration, plan))
    }

    /// The moderators of these rooms are going to be asked, as `batch` tells.
    ///
    /// # Errors
    ///
    /// As [`to_ask_for`](Self::to_ask_for); [`Refusal::Busy`] when one account is in another
    /// migration by now.
    pub(crate) async fn await_moderators(
        &self,
        said: &Said,
        rooms: &[OwnedRoomId],
        batch: Batch,
    ) -> Result<(), Refusal> {
        let inner = &self.0;
        let _entry = inner.entry.lock().await;
        let (job, turn, mut migration, side) = inner.latest(&said.by).await?;
        may_ask(&migration, side)?;
        inner.busy(&migration.old.user_id, &migration)?;
        inner.busy(&migration.new.user_id, &migration)?;
        for room in rooms {
            migration.awaited.entry(room.clone()).or_insert(Awaited::Asked);
        }
        if migration.phase == Phase::Finished && !migration.awaited.is_empty() {
            migration.phase = Phase::WaitingForModerators;
            migration.ended = None;
        }
        let mut change = Change::of(&migration).said(said);
        change.batch = batch;
        inner.commit(&job, turn, change).await?;
        Ok(())
    }

    /// The new account can get into an awaited room, and is brought in. Tried again when it was
    /// not let in before.
    pub(crate) async fn opened(
        &self,
        id: MigrationId,
        room: &RoomId,
        batch: Batch,
    ) -> Result<(), StoreError> {
        let Some(job) = self.0.job(id) else { return Ok(()) };
        let turn = job.turn().await;
        let mut migration = job.migration();
        let Some(awaited) = migration.awaited.get_mut(room) else { return Ok(()) };
        *awaited = Awaited::Opened;
        migration.options.opened.insert(room.to_owned());
        let mut change = Change::of(&migration);
        change.batch = batch;
        let records = self.0.records(&migration)?;
        if let Some(record) = records.get(room.as_str()).filter(|record| record.has_failed()) {
            let again = record.clone().without_failures();
            self.0.journal.put_rooms(&mut change.batch, id, [(room.as_str(), &again)])?;
        }
        self.0.commit(&job, turn, change).await?;
        if matches!(migration.phase, Phase::Running | Phase::WaitingForModerators) {
            self.0.set_to_work(&job);
        }
        Ok(())
    }

    /// Nothing is to come of what the moderators of these rooms were asked: both accounts are told
    /// of it by `event`.
    pub(crate) async fn unopened(
        &self,
        id: MigrationId,
        rooms: &BTreeSet<OwnedRoomId>,
        event: Event,
        batch: Batch,
    ) -> Result<(), StoreError> {
        let Some(job) = self.0.job(id) else { return Ok(()) };
        let turn = job.turn().await;
        let mut migration = job.migration();
        migration.awaited.retain(|room, _| !rooms.contains(room));
        let was_last =
            migration.phase == Phase::WaitingForModerators && migration.awaited.is_empty();
        if was_last {
            migration.phase = Phase::Finished;
            migration.ended = Some(self.0.now());
        }
        let mut change = Change::of(&migration).tell_both(event);
        if was_last {
            change = change.tell_both(Event::Finished);
        }
        change.batch = batch;
        self.0.commit(&job, turn, change).await
    }

    /// Tells a moderator something in a direct message, together with what `batch` writes down.
    pub(crate) async fn tell_moderator(
        &self,
        id: MigrationId,
        to: &UserId,
        room: &RoomId,
        what: ToModerator,
        batch: Batch,
    ) -> Result<(), StoreError> {
        let event = Event::ToModerator { room_id: room.to_owned(), what };
        self.0.journal.tell(id, to.to_owned(), event, batch).await
    }

    /// Sends the one invitation that a moderator agreed to, if the bot may act for them. Whether it
    /// was sent.
    pub(crate) async fn invite_as_moderator(
        &self,
        word: ModeratorsWord,
    ) -> Result<bool, StoreError> {
        if !self.0.sessions.covers(word.user_id()) {
            return Ok(false);
        }
        match self.0.sessions.invite_as_moderator(word).await {
            Ok(()) => Ok(true),
            Err(OpenError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "no invitation in a moderator's name");
                Ok(false)
            }
        }
    }

    /// Whether the bot made this side's session, and so can encrypt as the account.
    pub(crate) fn has_device(&self, id: MigrationId, side: Side) -> Result<bool, StoreError> {
        self.0.sessions.has_device(id, side)
    }

    /// Whether this side's session may be that of a client in the person's hand.
    pub(crate) fn shares_session(&self, id: MigrationId, side: Side) -> Result<bool, StoreError> {
        let Some(job) = self.0.job(id) else { return Ok(false) };
        let is_session = job.look(|migration| migration.party(side).access == Access::Session);
        Ok(is_session && !self.has_device(id, side)?)
    }

    /// The device of this side's session, if the bot made that. With `used`, only one that something
    /// was encrypted with before.
    pub(crate) async fn device(
        &self,
        id: MigrationId,
        side: Side,
        used: bool,
    ) -> Option<Arc<Device>> {
        let job = self.0.job(id)?;
        if used && !self.0.sessions.has_used_device(id, side) {
            return None;
        }
        let user_id = job.migration().party(side).user_id.clone();
        self.0.sessions.device(id, side, &user_id).await.unwrap_or_else(|error| {
            tracing::error!(migration = %id, account = %user_id, %error, "no keys to encrypt with");
            None
        })
    }

    /// Acts as one of the accounts until `stop`.
    pub(crate) async fn account(
        &self,
        id: MigrationId,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<Account, Closed> {
        let job = self.0.job(id).ok_or(Closed::NoAccess)?;
        match self.0.open(&job, side, stop).await {
            Ok(account) => account.ok_or(Closed::NoAccess),
            Err(Trouble::Store(error)) => Err(Closed::Store(error)),
            Err(Trouble::Failed(_, failure)) => Err(Closed::Failed(failure)),
            Err(Trouble::NoService(_)) => Err(Closed::NoService),
        }
    }

    /// The homeserver no longer accepts this side's session.
    pub(crate) async fn access_lost(&self, id: MigrationId, side: Side) -> Result<(), StoreError> {
        let Some(job) = self.0.job(id) else { return Ok(()) };
        let turn = job.turn().await;
        if !matches!(job.migration().phase, Phase::Running | Phase::WaitingForModerators) {
            return Ok(());
        }
        self.0.lose_access(&job, turn, side).await?;
        self.0.set_to_work(&job);
        Ok(())
    }
}

fn may_ask(migration: &Migration, side: Side) -> Result<(), Refusal> {
    if side != Side::Old {
        return Err(Refusal::WrongSide { may: Side::Old });
    }
    if migration.phase != Phase::Running && !migration.phase.is_carried_out() {
        return Err(Refusal::WrongPhase { phase: migration.phase.clone() });
    }
    Ok(())
}

/// The rooms of a plan that only a moderator opens.
pub(crate) fn closed_rooms(plan: &Plan) -> impl Iterator<Item = (OwnedRoomId, &RoomLabel)> {
    plan.with_route(RouteKind::NeedsModerator).filter_map(|planned| {
        let room_id = OwnedRoomId::try_from(planned.room.id.clone()).ok()?;
        Some((room_id, &planned.room))
    })
}

impl Inner {
    /// Goes on with rooms that moderators opened, if there are any.
    pub(super) async fn go_on_where_opened(&self, job: &Job) -> Result<(), StoreError> {
        let turn = job.turn().await;
        let mut migration = job.migration();
        let is_opened = migration.awaited.values().any(|awaited| *awaited == Awaited::Opened);
        if migration.phase != Phase::WaitingForModerators || !is_opened {
            return Ok(());
        }
        migration.phase = Phase::Running;
        self.commit(job, turn, Change::of(&migration)).await
    }

    /// Ends a run: what was opened is told, and what is still asked is waited for.
    pub(super) async fn end_run(
        &self,
        job: &Job,
        plan: &Plan,
        check: &Check,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let Some(turn) = self.turn_in(job, &Phase::Running, stop).await else { return Ok(()) };
        let mut migration = job.migration();
        let mut opened = migration.awaited.clone();
        opened.retain(|_, awaited| *awaited == Awaited::Opened);
        migration.awaited.retain(|_, awaited| *awaited == Awaited::Asked);
        let event = if opened.is_empty() || migration.awaited.is_empty() {
            Event::Finished
        } else {
            let labels = plan.rooms.iter().map(|planned| &planned.room);
            let is_opened = |label: &&RoomLabel| {
                <&RoomId>::try_from(&*label.id).is_ok_and(|room_id| opened.contains_key(room_id))
            };
            Event::LetIn { rooms: labels.filter(is_opened).cloned().collect() }
        };
        if migration.awaited.is_empty() {
            migration.phase = Phase::Finished;
            migration.ended = Some(self.now());
        } else {
            migration.phase = Phase::WaitingForModerators;
        }
        let report = self.report(&migration, plan, check)?;
        let mut change = Change::of(&migration).tell_both(event);
        change.report = Some(&report);
        self.commit(job, turn, change).await?;
        self.tell_progress();
        Ok(())
    }
}
