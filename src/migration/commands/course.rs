//! `plan`, `go`, `pause`, `resume`, `cancel`, `retry`.

use std::{collections::HashMap, sync::Arc};

use super::{only, wrong_phase};
use crate::migration::{
    Access, By, Ending, Event, Inner, Migrations, Phase, PlanId, Refusal, Said, Side, StepResult,
    job::Job, journal::Change, report::Check,
};

impl Migrations {
    /// `plan`: reads both accounts again. Answered by [`Event::PlanReady`] or
    /// [`Event::SurveyFailed`].
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`]; [`Refusal::WrongPhase`] before there is access, and while it runs;
    /// [`Refusal::Busy`] when one account is in another migration by now.
    pub async fn plan(&self, said: &Said) -> Result<(), Refusal> {
        let inner = self.inner();
        let _entry = inner.entry.lock().await;
        let (job, turn, mut migration, _) = inner.latest(&said.by).await?;
        if !matches!(migration.phase, Phase::AwaitingGo | Phase::Failed(_) | Phase::Finished) {
            return Err(wrong_phase(&migration));
        }
        inner.busy(&migration.old.user_id, &migration)?;
        inner.busy(&migration.new.user_id, &migration)?;
        migration.phase = Phase::Surveying;
        migration.ended = None;
        // What was run before was another plan.
        migration.go = None;
        inner.commit_and_work(&job, turn, Change::of(&migration).said(said)).await?;
        Ok(())
    }

    /// `go`: carries out the plan that was `shown` to the old account last, as far as it was shown
    /// one.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`]; [`Refusal::WrongSide`]; [`Refusal::WrongPhase`];
    /// [`Refusal::PlanChanged`] when that is not the last plan.
    pub async fn go(&self, said: &Said, shown: Option<PlanId>) -> Result<(), Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration, side) = inner.latest(&said.by).await?;
        only(side, Side::Old)?;
        if migration.phase != Phase::AwaitingGo {
            return Err(wrong_phase(&migration));
        }
        // Between the commit of a newer plan and the delivery of its message, say.
        if shown != Some(migration.plan_id()) {
            return Err(Refusal::PlanChanged);
        }
        migration.phase = Phase::Running;
        migration.go = Some(migration.plan);
        migration.went = Some(inner.now());
        let change = Change::of(&migration).said(said).tell_both(Event::Started);
        inner.commit_and_work(&job, turn, change).await?;
        Ok(())
    }

    /// `pause`: does nothing more until `resume`. What is on its way arrives.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`], [`Refusal::WrongPhase`].
    pub async fn pause(&self, said: &Said) -> Result<(), Refusal> {
        let inner = self.inner();
        let (job, turn, _, side) = inner.latest(&said.by).await?;
        drop(turn);
        inner.pause(&job, said, side.into()).await
    }

    /// `resume`: goes on after `pause`; or, said by the new account, without the old one, where the
    /// access to that was lost in the middle of a run.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`], [`Refusal::WrongPhase`].
    pub async fn resume(&self, said: &Said) -> Result<(), Refusal> {
        let inner = self.inner();
        let (job, turn, _, side) = inner.latest(&said.by).await?;
        drop(turn);
        inner.resume(&job, said, side.into()).await
    }

    /// `cancel`: takes the consent of both back. What was done stays, and is in the report; the
    /// sessions that the bot made are logged out.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`].
    pub async fn cancel(&self, said: &Said) -> Result<(), Refusal> {
        let inner = self.inner();
        let (job, turn, _, side) = inner.active(&said.by).await?;
        drop(turn);
        inner.cancel(&job, said, side.into()).await
    }

    /// `retry`: tries again what failed.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`]; [`Refusal::WrongSide`]; [`Refusal::WrongPhase`];
    /// [`Refusal::NothingToRetry`]; [`Refusal::Busy`] when one account is in another migration by
    /// now.
    pub async fn retry(&self, said: &Said) -> Result<(), Refusal> {
        let inner = self.inner();
        let _entry = inner.entry.lock().await;
        let (job, turn, mut migration, side) = inner.latest(&said.by).await?;
        only(side, Side::Old)?;
        if migration.phase != Phase::Running && !migration.phase.is_carried_out() {
            return Err(wrong_phase(&migration));
        }
        inner.busy(&migration.old.user_id, &migration)?;
        inner.busy(&migration.new.user_id, &migration)?;
        let failed: HashMap<_, _> = inner
            .journal
            .rooms(migration.id)?
            .into_iter()
            .filter(|(_, record)| record.has_failed())
            .map(|(room, record)| (room, record.without_failures()))
            .collect();
        let direct_failed =
            matches!(inner.journal.direct_chats(migration.id)?, Some(StepResult::Failed(_)));
        let holdings = inner.journal.holdings(migration.id)?;
        let failed_holdings: Vec<_> = holdings
            .iter()
            .filter(|(_, result)| result.is_to_be_retried())
            .map(|(holding, _)| holding)
            .collect();
        if failed.is_empty() && !direct_failed && failed_holdings.is_empty() {
            return Err(Refusal::NothingToRetry);
        }
        migration.phase = Phase::Running;
        migration.ended = None;
        let mut change = Change::of(&migration).said(said).tell_both(Event::Started);
        let rooms = failed.iter().map(|(room, record)| (room.as_str(), record));
        inner.journal.put_rooms(&mut change.batch, migration.id, rooms)?;
        inner.journal.forget_direct_chats(&mut change.batch, migration.id);
        inner.journal.forget_holdings(&mut change.batch, migration.id, failed_holdings);
        inner.commit_and_work(&job, turn, change).await?;
        Ok(())
    }
}

/// By an account of the migration or by an admin.
impl Inner {
    pub(super) async fn pause(
        self: &Arc<Self>,
        job: &Arc<Job>,
        said: &Said,
        by: By,
    ) -> Result<(), Refusal> {
        let turn = job.turn().await;
        let mut migration = job.migration();
        if !matches!(
            migration.phase,
            Phase::Surveying | Phase::AwaitingGo | Phase::Running | Phase::WaitingForModerators
        ) {
            return Err(wrong_phase(&migration));
        }
        migration.phase = Phase::Paused(Box::new(migration.phase));
        let change = Change::of(&migration).said(said).tell_both(Event::Paused { by });
        self.commit_and_work(job, turn, change).await?;
        Ok(())
    }

    pub(super) async fn resume(
        self: &Arc<Self>,
        job: &Arc<Job>,
        said: &Said,
        by: By,
    ) -> Result<(), Refusal> {
        let turn = job.turn().await;
        let mut migration = job.migration();
        let event = match migration.phase.clone() {
            Phase::Paused(phase) => {
                migration.phase = *phase;
                Event::Resumed { by }
            }
            Phase::AwaitingAccess if by == By::New && migration.can_go_on_without_old() => {
                migration.old.access = Access::None;
                migration.interrupted = None;
                migration.phase = Phase::Running;
                Event::ResumedWithoutOld
            }
            _ => return Err(wrong_phase(&migration)),
        };
        let change = Change::of(&migration).said(said).tell_both(event);
        self.commit_and_work(job, turn, change).await?;
        Ok(())
    }

    pub(super) async fn cancel(
        self: &Arc<Self>,
        job: &Arc<Job>,
        said: &Said,
        by: By,
    ) -> Result<(), Refusal> {
        let turn = job.turn().await;
        let mut migration = job.migration();
        if migration.phase.is_over() {
            return Err(wrong_phase(&migration));
        }
        migration.phase = Phase::Cancelled(Ending::CancelledBy(by));
        migration.ended = Some(self.now());
        let plan = self.journal.plan(migration.id)?;
        // What was run of an earlier plan has its report.
        let report = match plan.filter(|_| migration.may_run()) {
            Some(plan) => {
                let plan = plan.with(&migration.options);
                Some(self.report(&migration, &plan, &Check::Nothing(None))?)
            }
            None => None,
        };
        let mut change = Change::of(&migration).said(said).tell_both(Event::Cancelled { by });
        change.report = report.as_ref();
        self.commit_and_work(job, turn, change).await?;
        Ok(())
    }
}
