//! The part of a run that takes steps.

use std::time::Duration;

use ruma::OwnedRoomOrAliasId;

use super::{
    Begun, Left, Run, RunEnd,
    turns::{Line, Turn},
};
use crate::{
    homeserver::{Failure, Retries},
    measure,
    migration::{
        StepResult,
        plan::RoomAgenda,
        step::{RoomRecord, Step, StepError, StepKind},
    },
};

impl Run<'_> {
    /// What is written down of what was done, unless it ended the run.
    pub(super) fn written(done: Result<StepResult, StepError>) -> Result<StepResult, RunEnd> {
        done.or_else(|error| Self::failure_of(error).map(StepResult::Failed))
    }

    /// Why a step failed, unless that ends the run.
    pub(super) fn failure_of(error: StepError) -> Result<Failure, RunEnd> {
        match error {
            StepError::Failed(failure) | StepError::Away(_, failure) => Ok(failure),
            // Only a step that is being taken finds out more, and its room is then left.
            StepError::Stopped | StepError::Found(_) => Err(RunEnd::Stopped),
            StepError::AccessLost(side) => Err(RunEnd::AccessLost(side)),
            StepError::Broken(error) => Err(RunEnd::Broken(error)),
        }
    }

    /// Takes one step, unless it has a result already, and writes down what came of it.
    pub(super) async fn take(&self, step: Step, begun: &mut Begun<'_>) -> Result<(), Left> {
        let (kind, is_ahead) = (step.kind(), step.is_ahead());
        if begun.record.is_settled(kind) {
            return Ok(());
        }
        let turn = begun.turn.take_if(|turn| Some(turn.line) == Line::of(&step));
        let result = self.result_of(step, &begun.room.id, turn).await?;
        if is_ahead && matches!(result, StepResult::Failed(_)) {
            return Ok(());
        }
        Ok(self.settle(begun.room, &mut begun.record, kind, result).await?)
    }

    /// Carries a step out, again and again while it fails for now. `held` is its turn, if that has
    /// come already.
    pub(super) async fn result_of(
        &self,
        step: Step,
        room: &OwnedRoomOrAliasId,
        mut held: Option<Turn<'_>>,
    ) -> Result<StepResult, Left> {
        let mut retries = None;
        loop {
            let turn = match (Line::of(&step), held.take()) {
                (Some(line), None) => self.turns.begin(line, retries.is_some()).await,
                (_, held) => held,
            };
            let result = tokio::select! {
                // A request on its way is waited for; only `AwaitJoin` has none.
                biased;
                result = Box::pin(step.run(room, &self.stage)) => result,
                () = self.stop.cancelled(), if step.waits_for_a_person() => Err(StepError::Stopped),
            };
            let (failure, away) = match result {
                Err(StepError::Found(nearness)) => return Err(Left::ToJoin(nearness)),
                Err(StepError::Failed(failure)) => (failure, None),
                Err(StepError::Away(side, failure)) => (failure, Some(side)),
                result => return Ok(Self::written(result)?),
            };
            let Some(pause) = self.pause_after(&failure, &step, &mut retries) else {
                return Ok(StepResult::Failed(failure));
            };
            tracing::debug!(%room, ?step, ?pause, %failure, "to be tried again");
            // Others go on meanwhile; but that nothing is there they need not all find out.
            let turn = turn.filter(|_| failure.is_no_connection());
            let waited = Box::pin(self.stage.wait_to_retry(&step, away, pause)).await;
            waited.or_else(|error| Self::failure_of(error).map(drop))?;
            drop(turn);
        }
    }

    /// How long to wait before a step is tried again, if it is.
    fn pause_after(
        &self,
        failure: &Failure,
        step: &Step,
        retries: &mut Option<Box<Retries>>,
    ) -> Option<Duration> {
        if step.is_ahead() {
            return None;
        }
        if retries.is_none() {
            *retries = self.stage.retries().map(Box::new);
        }
        retries.as_mut()?.pause_after(failure, self.clock.now())
    }

    /// Writes down what came of a step.
    pub(super) async fn settle(
        &self,
        room: &RoomAgenda,
        record: &mut RoomRecord,
        kind: StepKind,
        result: StepResult,
    ) -> Result<(), RunEnd> {
        let id = &room.id;
        tracing::debug!(migration = %self.id, room = %id, step = ?kind, ?result, "step");
        measure::step(kind.name(), result.name());
        record.steps.insert(kind, result);
        if kind == StepKind::Invite {
            record.held += self.stage.take_held();
        }
        self.journal.record_room(self.id, id.as_str(), record).await.map_err(RunEnd::Broken)?;
        self.progressed.send_modify(|count| *count += 1);
        Ok(())
    }
}
