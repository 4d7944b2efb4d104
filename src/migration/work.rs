//! What a migration's worker does in each phase.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Access, Ending, Event, Inner, Migration, Phase, Plan, PlannedHolding, Side,
    holdings::Profile,
    job::{Job, Turn},
    journal::Change,
    plan::{Accounts, make, plan_holdings},
    report::Check,
    run::{Run, RunEnd, read_memberships},
    step::Stage,
    survey::{Survey, membership_filter, survey_filter},
};
use crate::{
    access::{OpenError, Sessions},
    consent::Standing,
    homeserver::{Account, DiscoverError, Failure},
    store::StoreError,
};

/// Pauses between attempts to begin a run while a homeserver cannot be reached.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why the worker could not do what it was to do.
#[derive(Debug)]
enum Trouble {
    /// An account did not answer as it should.
    Failed(Side, Failure),
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
        match &migration.phase {
            Phase::AwaitingConsent => self.await_expiry(job, &migration, stop).await,
            Phase::Surveying => self.survey(job, &migration, stop).await,
            Phase::Running => self.run(job, &migration, stop).await,
            Phase::Cancelled(_) => self.end_sessions(&migration, stop).await,
            Phase::AwaitingAccess
            | Phase::AwaitingGo
            | Phase::Paused(_)
            | Phase::Failed(_)
            | Phase::Finished => Ok(()),
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
        self.expire(job).await?;
        // The old account may have given access while it waited.
        self.end_sessions(&job.migration(), stop).await
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
        self.journal.commit(change, self.now()).await?;
        job.set(&turn, migration);
        Ok(())
    }

    async fn survey(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let plan = self.make_plan(migration, stop).await;
        let Some(turn) = self.turn_in(job, &Phase::Surveying, stop).await else { return Ok(()) };
        let mut migration = job.migration();
        match plan {
            Ok(plan) => {
                migration.phase = Phase::AwaitingGo;
                let mut change = Change::of(&migration).tell_both(Event::PlanReady);
                change.plan = Some(&plan);
                // What was done before the accounts were read again is in the new plan.
                self.journal.forget_steps(&mut change.batch, migration.id)?;
                self.journal.commit(change, self.now()).await?;
                job.set(&turn, migration);
                Ok(())
            }
            Err(Trouble::Failed(side, Failure::TokenGone { .. })) => {
                self.lose_access(job, &turn, side).await
            }
            Err(Trouble::Failed(_, Failure::Stopped)) => Ok(()),
            Err(Trouble::Failed(side, reason)) => {
                migration.phase = Phase::Failed(reason.clone());
                let event = Event::SurveyFailed { side, reason };
                self.journal.commit(Change::of(&migration).tell_both(event), self.now()).await?;
                job.set(&turn, migration);
                Ok(())
            }
            Err(Trouble::Store(error)) => Err(error),
        }
    }

    async fn make_plan(
        &self,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<Plan, Trouble> {
        let old = self.open(migration, Side::Old, stop).await?;
        let new = self.open(migration, Side::New, stop).await?;
        let (old_survey, new_survey) = tokio::try_join!(
            async {
                match &old {
                    Some(old) => self.survey_account(old, Side::Old).await.map(Some),
                    None => Ok(None),
                }
            },
            async {
                match (&new, &old) {
                    (Some(new), _) => self.survey_account(new, Side::New).await,
                    (None, Some(old)) => survey_through(old, &migration.new.user_id).await,
                    (None, None) => Err(Trouble::Failed(Side::Old, Failure::Stopped)),
                }
            }
        )?;
        Ok(make(&Accounts {
            old: &migration.old.user_id,
            new: &migration.new.user_id,
            bot: &self.bot,
            old_survey: old_survey.as_ref(),
            new_survey: &new_survey,
            copies: &self.journal.copies(migration.id)?,
        }))
    }

    async fn survey_account(&self, account: &Account, side: Side) -> Result<Survey, Trouble> {
        let response = account
            .sync(survey_filter(), None, None)
            .await
            .map_err(|failure| Trouble::Failed(side, failure))?;
        let mut survey = Survey::read(account.user_id(), &response);
        if let Some(holdings) = &mut survey.holdings {
            holdings.profile = profile_of(account, side).await?;
        }
        Ok(survey)
    }

    async fn run(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let Some(plan) = self.journal.plan(migration.id)? else { return Ok(()) };
        let plan = plan.with(&migration.options);
        let end = match self.stage(migration, stop).await {
            Ok((stage, memberships)) => {
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
                };
                run.carry_out(memberships).await
            }
            Err(end) => end,
        };
        match end {
            RunEnd::Complete => self.finish(job, &plan, stop).await,
            RunEnd::Stopped => Ok(()),
            RunEnd::AccessLost(side) => {
                // The run told itself to stop, so that nothing more is sent with the session.
                let turn = job.turn().await;
                if job.migration().phase != Phase::Running {
                    return Ok(());
                }
                self.lose_access(job, &turn, side).await
            }
            RunEnd::Broken(error) => Err(error),
        }
    }

    /// Opens both accounts and reads where the new one is by now; waits for as long as a
    /// homeserver cannot be reached.
    async fn stage(
        &self,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(Stage, watch::Sender<super::run::Memberships>), RunEnd> {
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.try_stage(migration, stop).await {
                Ok(staged) => return Ok(staged),
                Err(Trouble::Store(error)) => return Err(RunEnd::Broken(error)),
                Err(Trouble::Failed(side, Failure::TokenGone { .. })) => {
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
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(Stage, watch::Sender<super::run::Memberships>), Trouble> {
        let old = self.open(migration, Side::Old, stop).await?;
        let new = self.open(migration, Side::New, stop).await?;
        let (old_user, new_user) = (&migration.old.user_id, &migration.new.user_id);
        let memberships = read_memberships(old.as_ref(), new.as_ref(), old_user, new_user)
            .await
            .map_err(|(side, failure)| Trouble::Failed(side, failure))?;
        let (sender, memberships) = watch::channel(memberships);
        let new_user = new_user.clone();
        Ok((Stage { old, new, new_user, memberships }, sender))
    }

    async fn finish(
        &self,
        job: &Job,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let check = self.check(&job.migration(), plan, stop).await;
        let Some(turn) = self.turn_in(job, &Phase::Running, stop).await else { return Ok(()) };
        let mut migration = job.migration();
        migration.phase = Phase::Finished;
        migration.ended = Some(self.now());
        let report = self.report(&migration, plan, &check)?;
        let mut change = Change::of(&migration).tell_both(Event::Finished);
        change.report = Some(&report);
        self.journal.commit(change, self.now()).await?;
        job.set(&turn, migration);
        self.tell_progress();
        Ok(())
    }

    async fn check(&self, migration: &Migration, plan: &Plan, stop: &CancellationToken) -> Check {
        let check = async {
            let old = self.open(migration, Side::Old, stop).await?;
            let Some(new) = self.open(migration, Side::New, stop).await? else {
                let (old_user, new_user) = (&migration.old.user_id, &migration.new.user_id);
                let memberships = read_memberships(old.as_ref(), None, old_user, new_user)
                    .await
                    .map_err(|(side, failure)| Trouble::Failed(side, failure))?;
                return Ok(Check::Memberships(memberships));
            };
            let new = self.survey_account(&new, Side::New).await?;
            let old = match &old {
                Some(old) => Some(self.survey_account(old, Side::Old).await?),
                None => None,
            };
            let lacking = self.lacking(migration, plan, old.as_ref(), &new)?;
            Ok(Check::Surveys { new: Box::new(new), old: old.map(Box::new), lacking })
        };
        match check.await {
            Ok(check) => check,
            Err(Trouble::Failed(_, failure)) => Check::Nothing(Some(failure)),
            Err(Trouble::Store(error)) => {
                Check::Nothing(Some(Failure::Unsendable(error.to_string())))
            }
        }
    }

    /// What the new account still does not have of what the old one holds by now.
    fn lacking(
        &self,
        migration: &Migration,
        plan: &Plan,
        old: Option<&Survey>,
        new: &Survey,
    ) -> Result<Vec<PlannedHolding>, StoreError> {
        let accounts = Accounts {
            old: &migration.old.user_id,
            new: &migration.new.user_id,
            bot: &self.bot,
            old_survey: old,
            new_survey: new,
            copies: &self.journal.copies(migration.id)?,
        };
        let mut lacking = plan_holdings(&accounts, &plan.rooms);
        lacking.iter_mut().for_each(|planned| planned.choose(&migration.options));
        Ok(lacking)
    }

    /// Opens an account that consented and gave access.
    async fn open(
        &self,
        migration: &Migration,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<Option<Account>, Trouble> {
        let Some(standing) = Standing::of(migration, side) else { return Ok(None) };
        match self.sessions.open(&standing).await {
            Ok(account) => Ok(account.map(|account| account.until(stop.clone()))),
            Err(OpenError::Store(error)) => Err(Trouble::Store(error)),
            Err(OpenError::Failed(failure)) => Err(Trouble::Failed(side, failure)),
            Err(OpenError::Discovery(error)) => Err(Trouble::Failed(side, undiscovered(error))),
        }
    }

    /// The turn to change a migration, if it is still in the phase that the worker worked for.
    async fn turn_in(&self, job: &Job, phase: &Phase, stop: &CancellationToken) -> Option<Turn> {
        let turn = job.turn().await;
        (job.migration().phase == *phase && !stop.is_cancelled()).then_some(turn)
    }

    async fn lose_access(&self, job: &Job, turn: &Turn, side: Side) -> Result<(), StoreError> {
        let mut migration = job.migration();
        migration.party_mut(side).access = Access::Lost;
        migration.phase = Phase::AwaitingAccess;
        let mut change = Change::of(&migration).tell_both(Event::AccessLost { side });
        Sessions::drop_from(&mut change.batch, migration.id, side);
        self.journal.commit(change, self.now()).await?;
        job.set(turn, migration);
        Ok(())
    }

    /// Logs out what the bot logged in for a migration that was cancelled: with the consent gone,
    /// the access has to go as well. Tries again for as long as a homeserver cannot be reached.
    async fn end_sessions(
        &self,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        for side in [Side::Old, Side::New] {
            let mut pause = FIRST_PAUSE;
            let user_id = &migration.party(side).user_id;
            loop {
                match self.sessions.end(migration.id, side, user_id).await {
                    Ok(()) => break,
                    Err(OpenError::Store(error)) => return Err(error),
                    Err(error) => tracing::warn!(migration = %migration.id, %error, "no logout"),
                }
                tokio::select! {
                    () = self.clock.sleep(pause) => {}
                    () = stop.cancelled() => return Ok(()),
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }
}

/// The profile of an account; `None` when its homeserver does not tell it, which costs the account
/// its profile and nothing else.
async fn profile_of(account: &Account, side: Side) -> Result<Option<Profile>, Trouble> {
    match account.profile(account.user_id()).await {
        Ok(profile) => Ok(Some(profile)),
        Err(failure @ (Failure::TokenGone { .. } | Failure::Stopped | Failure::Deactivated)) => {
            Err(Trouble::Failed(side, failure))
        }
        Err(failure) => {
            tracing::warn!(account = %account.user_id(), %failure, "cannot read the profile");
            Ok(None)
        }
    }
}

/// Surveys what the old account can see of a new one that gave no access: where it is a member.
async fn survey_through(old: &Account, new: &ruma::UserId) -> Result<Survey, Trouble> {
    let filter = membership_filter(old.user_id(), new);
    let response = old
        .sync(filter, None, None)
        .await
        .map_err(|failure| Trouble::Failed(Side::Old, failure))?;
    Ok(Survey::read_of_other(new, &response))
}

fn undiscovered(error: DiscoverError) -> Failure {
    match error {
        DiscoverError::Unreachable { url, fault } => {
            Failure::Unreachable { host: url.authority().to_owned(), fault }
        }
        error => Failure::Garbage { what: error.to_string() },
    }
}
