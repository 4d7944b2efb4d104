//! What a migration's worker does in each phase.

mod leave;
mod rules;
mod service;
mod surveys;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Access, Ending, Event, Inner, Migration, Phase, Plan, Side,
    job::{Job, Turn},
    journal::Change,
    plan::Agenda,
    report::Check,
    run::{Run, RunEnd, Turns, read_memberships},
    step::Stage,
};
use crate::{
    access::{OpenError, Sessions},
    homeserver::{Account, Excess, Failure},
    store::{Batch, StoreError},
};

/// How often a power level is written that somebody else undoes in the same moment.
const MOST_RACES: u32 = 3;

/// How long to wait, after a restart, for what the bot had on its way before it; and how often, as
/// long as something arrives.
const ARRIVAL: Duration = Duration::from_secs(2);
const MOST_ARRIVALS: u32 = 5;

/// When to look again for what was done and does not show yet.
const CHECK_AGAIN_AFTER: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Pauses between attempts to begin a run while a homeserver cannot be reached.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why the worker could not do what it was to do.
#[derive(Debug)]
pub(super) enum Trouble {
    /// An account did not answer as it should.
    Failed(Side, Failure),
    /// The bot can no longer act as this side as an application service.
    NoService(Side),
    /// The store is broken, and with it everything.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Inner {
    /// Has the migration's worker do what its phase asks for, as of now.
    pub(super) fn set_to_work(self: &Arc<Self>, job: &Arc<Job>) {
        let (inner, worked_on) = (self.clone(), job.clone());
        job.employ(move |stop| async move {
            let id = worked_on.migration().id;
            if let Err(error) = inner.work(&worked_on, &stop).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(migration = %id, error, "the store is broken; work stops");
            }
        });
    }

    async fn work(&self, job: &Job, stop: &CancellationToken) -> Result<(), StoreError> {
        let migration = job.migration();
        if matches!(migration.phase, Phase::Cancelled(_)) {
            return self.leave(job, &migration, stop).await;
        }
        // A run looks again at its end.
        let finally = migration.phase != Phase::Running;
        self.put_rules_back(job, finally, stop).await?;
        loop {
            let migration = job.migration();
            match &migration.phase {
                Phase::AwaitingConsent => self.await_expiry(job, &migration, stop).await?,
                Phase::AwaitingAccess => self.await_service(job, stop).await?,
                // Boxed: of what is large, only that is held which goes on.
                Phase::Surveying => Box::pin(self.survey(job, &migration, stop)).await?,
                Phase::AwaitingGo => self.see_to_service(job, &migration, stop).await?,
                Phase::Running if !migration.may_run() => {
                    tracing::error!(migration = %migration.id, "nobody said `go` to this plan");
                    return Ok(());
                }
                Phase::Running => Box::pin(self.run(job, &migration, stop)).await?,
                Phase::WaitingForModerators => self.go_on_where_opened(job).await?,
                Phase::Cancelled(_) => self.leave(job, &migration, stop).await?,
                Phase::Paused(_) | Phase::Failed(_) | Phase::Finished => {}
            }
            // Access may have come, or gone, by itself; or a moderator opened a room.
            if stop.is_cancelled() || job.migration().phase == migration.phase {
                return Ok(());
            }
        }
    }

    async fn await_expiry(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let left = migration.consent_expires.duration_since(self.now());
        tokio::select! {
            () = self.clock.sleep(Duration::try_from(left).unwrap_or_default()) => {}
            () = stop.cancelled() => return Ok(()),
        }
        self.expire(job).await
    }

    /// Ends a migration that the new account has not answered in time.
    pub(super) async fn expire(&self, job: &Job) -> Result<(), StoreError> {
        let turn = job.turn().await;
        let mut migration = job.migration();
        if migration.phase != Phase::AwaitingConsent {
            return Ok(());
        }
        migration.phase = Phase::Cancelled(Ending::Expired);
        migration.ended = Some(self.now());
        let change = Change::of(&migration).tell_both(Event::ConsentExpired);
        self.commit(job, turn, change).await?;
        Ok(())
    }

    async fn survey(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        self.begin_reading(migration.id);
        let plan = self.make_plan_or_park(job, migration, stop).await;
        self.change_readings(|readings| {
            readings.remove(&migration.id);
        });
        let mut ended = Batch::new();
        self.journal.end_survey(&mut ended, migration.id);
        let Some(turn) = self.turn_in(job, &Phase::Surveying, stop).await else {
            return self.journal.commit_batch(ended).await;
        };
        match plan {
            Ok(plan) => match self.keep_plan(job, turn, &plan).await {
                Err(StoreError::TooLarge { .. }) => {
                    let reason = Failure::TooMuch(Excess::Record);
                    let turn = self.turn_in(job, &Phase::Surveying, stop).await;
                    let failed = turn.map(|turn| self.fail_survey(job, turn, Side::Old, reason));
                    match failed {
                        Some(failed) => failed.await,
                        None => self.journal.commit_batch(ended).await,
                    }
                }
                kept => kept,
            },
            Err(Trouble::NoService(side) | Trouble::Failed(side, Failure::TokenGone { .. })) => {
                let lost = self.lose_access(job, turn, side);
                self.journal.commit_batch(ended).await?;
                lost.await
            }
            Err(Trouble::Failed(_, Failure::Stopped)) => {
                drop(turn);
                self.journal.commit_batch(ended).await
            }
            Err(Trouble::Failed(side, reason)) => self.fail_survey(job, turn, side, reason).await,
            Err(Trouble::Store(error)) => Err(error),
        }
    }

    fn keep_plan(
        &self,
        job: &Job,
        turn: Turn,
        plan: &Plan,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let mut migration = job.migration();
        migration.phase = Phase::AwaitingGo;
        migration.change_plan();
        migration.planned = Some(self.now());
        // What moderators opened shows in the new plan.
        migration.options.opened.clear();
        let mut change = Change::of(&migration).tell_both(Event::PlanReady);
        change.plan = Some(plan);
        self.journal.end_survey(&mut change.batch, migration.id);
        // What was done before the accounts were read again is in the new plan.
        let forgotten = self.journal.forget_steps(&mut change.batch, migration.id);
        let committed = forgotten.map(|()| self.commit(job, turn, change));
        async move { committed?.await }
    }

    fn fail_survey(
        &self,
        job: &Job,
        turn: Turn,
        side: Side,
        reason: Failure,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let mut migration = job.migration();
        migration.phase = Phase::Failed(reason.clone());
        let event = Event::SurveyFailed { side, reason };
        let mut change = Change::of(&migration).tell_both(event);
        self.journal.end_survey(&mut change.batch, migration.id);
        self.commit(job, turn, change)
    }

    async fn run(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        for race in 1.. {
            let Some(plan) = self.planned(migration)? else { return Ok(()) };
            // A run that has to end early stops itself, and not what comes after it.
            match self.carry_out(job, migration, plan.into(), &stop.child_token()).await {
                RunEnd::Complete => {}
                RunEnd::Stopped => return Ok(()),
                RunEnd::AccessLost(side) => {
                    // The run told itself to stop, so that nothing more is sent with the session.
                    let turn = job.turn().await;
                    if job.migration().phase != Phase::Running {
                        return Ok(());
                    }
                    return self.lose_access(job, turn, side).await;
                }
                RunEnd::Broken(error) => return Err(error),
            }
            self.put_rules_back(job, true, stop).await?;
            let Some(plan) = self.planned(migration)? else { return Ok(()) };
            let check = Box::pin(self.settled_check(job, migration, &plan, stop)).await?;
            if race == MOST_RACES || !self.repeat_lost_races(migration, &plan, &check).await? {
                return self.end_run(job, &plan, &check, stop).await;
            }
        }
        Ok(())
    }

    /// The plan with what the person chose. It is read anew rather than held while it is run.
    fn planned(&self, migration: &Migration) -> Result<Option<Plan>, StoreError> {
        let plan = self.journal.plan(migration.id)?;
        Ok(plan.map(|plan| plan.with(&migration.options)))
    }

    async fn carry_out(
        &self,
        job: &Job,
        migration: &Migration,
        plan: Agenda,
        stop: &CancellationToken,
    ) -> RunEnd {
        let (stage, memberships) = match Box::pin(self.stage(job, migration, stop)).await {
            Ok(staged) => staged,
            Err(end) => return end,
        };
        job.tell_memberships_to(memberships.clone());
        let run = Run {
            id: migration.id,
            plan: &plan,
            stage,
            bot: &self.bot,
            journal: &self.journal,
            stop,
            clock: self.clock.clone(),
            progressed: &self.progressed,
            old_lost: false.into(),
            turns: Turns::default(),
        };
        run.carry_out(memberships).await
    }

    /// Two who write a room's power levels in the same moment undo each other's change. Where the
    /// check shows that, the step is to be taken again. Whether there is such a room.
    async fn repeat_lost_races(
        &self,
        migration: &Migration,
        plan: &Plan,
        check: &Check,
    ) -> Result<bool, StoreError> {
        let records = self.records(migration)?;
        let findings = self.findings(migration, plan, check, &records)?;
        let lost = findings.lost_power();
        let mut batch = Batch::new();
        let rooms = lost.iter().map(|(room, record)| (*room, record));
        self.journal.put_rooms(&mut batch, migration.id, rooms)?;
        self.journal.commit_batch(batch).await?;
        Ok(!lost.is_empty())
    }

    /// Opens both accounts and reads where the new one is by now; waits for as long as a
    /// homeserver cannot be reached.
    async fn stage(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(Stage, watch::Sender<super::run::Memberships>), RunEnd> {
        let mut pause = FIRST_PAUSE;
        let resumed = job.was_resumed();
        loop {
            let failure = match self.try_stage(job, migration, resumed, stop).await {
                Ok(staged) => return Ok(staged),
                Err(Trouble::Store(error)) => return Err(RunEnd::Broken(error)),
                Err(
                    Trouble::NoService(side) | Trouble::Failed(side, Failure::TokenGone { .. }),
                ) => {
                    return Err(RunEnd::AccessLost(side));
                }
                Err(Trouble::Failed(_, Failure::Stopped)) => return Err(RunEnd::Stopped),
                Err(Trouble::Failed(_, failure)) => failure,
            };
            tracing::warn!(migration = %migration.id, %failure, "the run cannot begin yet");
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.cancelled() => return Err(RunEnd::Stopped),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_stage(
        &self,
        job: &Job,
        migration: &Migration,
        resumed: bool,
        stop: &CancellationToken,
    ) -> Result<(Stage, watch::Sender<super::run::Memberships>), Trouble> {
        let old = self.open(job, Side::Old, stop).await?.map(Account::outlasting);
        let new = self.open(job, Side::New, stop).await?.map(Account::outlasting);
        let (old_user, new_user) = (&migration.old.user_id, &migration.new.user_id);
        let read = async || {
            let _turn = self.readers.turn(migration, stop).await;
            read_memberships(old.as_ref(), new.as_ref(), old_user, new_user)
                .await
                .map_err(|(side, failure)| Trouble::Failed(side, failure))
        };
        let mut memberships = read().await?;
        // What a bot had on its way when it was killed still arrives; it is not sent again beside
        // that.
        for _ in 0..if resumed { MOST_ARRIVALS } else { 0 } {
            self.clock.sleep(ARRIVAL).await;
            let before = std::mem::replace(&mut memberships, read().await?);
            if before == memberships {
                break;
            }
        }
        let (sender, memberships) = watch::channel(memberships);
        let new_user = new_user.clone();
        Ok((Stage { old, new, new_user, memberships }, sender))
    }

    /// Checks, and once more after a moment while something that was done does not show: a
    /// homeserver may tell a little later of what it did, and others hear of it later still.
    async fn settled_check(
        &self,
        job: &Job,
        migration: &Migration,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<Check, StoreError> {
        let mut pauses = CHECK_AGAIN_AFTER.into_iter();
        loop {
            let check = self.check(job, migration, plan, stop).await;
            let shows = self.report(migration, plan, &check)?.shows_what_was_done();
            let Some(pause) = pauses.next().filter(|_| !shows) else { return Ok(check) };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.cancelled() => return Ok(check),
            }
        }
    }

    /// Opens an account that consented and that there is access to.
    pub(super) async fn open(
        &self,
        job: &Job,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<Option<Account>, Trouble> {
        let Some(standing) = job.standing(side) else { return Ok(None) };
        match self.sessions.open(&standing).await {
            Ok(account) => Ok(account.map(|account| account.until(stop.clone()))),
            Err(OpenError::Store(error)) => Err(Trouble::Store(error)),
            Err(OpenError::Failed(failure)) => Err(Trouble::Failed(side, failure)),
            Err(OpenError::Discovery(error)) => Err(Trouble::Failed(side, error.into())),
            Err(error @ (OpenError::NotCovered | OpenError::ServiceRefused(_))) => {
                tracing::error!(account = %standing.user_id(), %error, "no masquerade");
                Err(Trouble::NoService(side))
            }
        }
    }

    /// The turn to change a migration, if it is still in the phase that the worker worked for.
    pub(super) async fn turn_in(
        &self,
        job: &Job,
        phase: &Phase,
        stop: &CancellationToken,
    ) -> Option<Turn> {
        let turn = job.turn().await;
        (job.migration().phase == *phase && !stop.is_cancelled()).then_some(turn)
    }

    pub(super) fn lose_access(
        &self,
        job: &Job,
        turn: Turn,
        side: Side,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let mut migration = job.migration();
        let party = migration.party_mut(side);
        let (access, event) = match party.access {
            // There was no `login` that could be said again.
            Access::Masquerade => (Access::Unknown, Event::ServiceEnded { side }),
            _ => (Access::Lost, Event::AccessLost { side }),
        };
        party.access = access;
        migration.await_access();
        let mut change = Change::of(&migration).tell_both(event);
        Sessions::drop_from(&mut change.batch, migration.id, side);
        self.commit(job, turn, change)
    }
}
