//! The job: survey, plan, run, report.

mod event;
mod plan;
mod progress;
mod record;
mod refusal;
mod report;

pub use self::{
    event::{Event, Notice, SecretMessage},
    plan::{AfterJoin, Plan, PlannedRoom, Reason, RoomLabel, Route, RouteKind},
    progress::{Progress, Wait},
    record::{Access, Consent, Ending, Migration, MigrationId, Options, Party, Phase, Side},
    refusal::Refusal,
    report::{Outcome, OutcomeKind, Report, ReportRow, StepResult},
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedRoomOrAliasId, OwnedUserId, UserId};
use tokio::sync::{mpsc, watch};

use crate::{access::Login, store::StoreError};

/// Who said a command, and where: every change of a migration has one.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who.
    pub by: OwnedUserId,
    /// In which direct message.
    pub room_id: OwnedRoomId,
    /// The message or reaction.
    pub event_id: OwnedEventId,
}

/// All migrations of one bot. Cheap to clone.
///
/// Commands that change something answer by a [`Notice`], stored in the same moment as the change,
/// together with the mark that `said.event_id` was [handled](Migrations::is_handled).
#[derive(Clone, Debug)]
pub struct Migrations {}

impl Migrations {
    /// Goes on with everything that is not over.
    pub async fn resume_all(&self) -> Result<(), StoreError> {
        todo!()
    }
    /// The notices not delivered yet, in order; then each new one as it is stored.
    pub fn notices(&self) -> mpsc::UnboundedReceiver<Notice> {
        todo!()
    }
    /// The notice was delivered and is not to be given out again.
    pub async fn delivered(&self, notice: u64) -> Result<(), StoreError> {
        todo!()
    }
    /// Changes whenever the progress of some run does.
    pub fn progressed(&self) -> watch::Receiver<u64> {
        todo!()
    }
    /// Whether this command was followed already, before a restart.
    pub fn is_handled(&self, event: &OwnedEventId) -> Result<bool, StoreError> {
        todo!()
    }
    /// A command that changed nothing was answered: remembers that.
    pub async fn handled(&self, event: &OwnedEventId) -> Result<(), StoreError> {
        todo!()
    }
    /// The migration that the person is in, or else the last one that they were in, with their side.
    pub fn of(&self, user: &UserId) -> Result<(Migration, Side), Refusal> {
        todo!()
    }
    /// By number.
    pub fn get(&self, id: MigrationId) -> Result<Migration, Refusal> {
        todo!()
    }
    /// Requests for consent that wait for this account's answer: it may be asked by several.
    pub fn requests_to(&self, new: &UserId) -> Result<Vec<Migration>, StoreError> {
        todo!()
    }
    /// The plan as last made, with `skip` and `include` applied.
    pub fn current_plan(&self, id: MigrationId) -> Result<Plan, Refusal> {
        todo!()
    }
    /// How the run stands.
    pub fn progress(&self, id: MigrationId) -> Result<Progress, Refusal> {
        todo!()
    }
    /// The report: as last checked when over, else of what was done so far.
    pub fn current_report(&self, id: MigrationId) -> Result<Report, Refusal> {
        todo!()
    }
    /// `start`
    pub async fn start(&self, said: &Said, new: &UserId) -> Result<(), Refusal> {
        todo!()
    }
    /// `accept`
    pub async fn accept(&self, said: &Said, old: &UserId) -> Result<(), Refusal> {
        todo!()
    }
    /// `decline`
    pub async fn decline(&self, said: &Said, old: &UserId) -> Result<(), Refusal> {
        todo!()
    }
    /// `login`. The caller made sure that the message was encrypted, unless it is [`Login::None`].
    pub async fn login(&self, said: &Said, login: Login) -> Result<(), Refusal> {
        todo!()
    }
    /// Redacts a message that carried a secret with the session that the secret opened.
    pub async fn redact_as_sender(&self, id: MigrationId, side: Side, message: &SecretMessage) -> Result<(), Refusal> {
        todo!()
    }
    /// `plan`: surveys again. Answered by [`Event::PlanReady`] or [`Event::SurveyFailed`].
    pub async fn plan(&self, said: &Said) -> Result<(), Refusal> {
        todo!()
    }
    /// `skip`: answers with the new plan and those of `rooms` that were in it before.
    pub async fn skip(&self, said: &Said, rooms: &[OwnedRoomOrAliasId]) -> Result<Plan, Refusal> {
        todo!()
    }
    /// `include`
    pub async fn include(&self, said: &Said, rooms: &[OwnedRoomOrAliasId]) -> Result<Plan, Refusal> {
        todo!()
    }
    /// `go`
    pub async fn go(&self, said: &Said) -> Result<(), Refusal> {
        todo!()
    }
    /// `pause`
    pub async fn pause(&self, said: &Said) -> Result<(), Refusal> {
        todo!()
    }
    /// `resume`
    pub async fn resume(&self, said: &Said) -> Result<(), Refusal> {
        todo!()
    }
    /// `cancel`
    pub async fn cancel(&self, said: &Said) -> Result<(), Refusal> {
        todo!()
    }
    /// `retry`
    pub async fn retry(&self, said: &Said) -> Result<(), Refusal> {
        todo!()
    }
    /// `forget`: logs the bot's sessions of this person out and deletes what is stored about them.
    pub async fn forget(&self, said: &Said) -> Result<(), Refusal> {
        todo!()
    }
}
