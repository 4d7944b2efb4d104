//! Steps: one idempotent change on a homeserver each, as data and a `run`.

mod content;
mod stage;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use ruma::{OwnedRoomOrAliasId, OwnedServerName};
use serde::{Deserialize, Serialize};

use super::{Side, StepResult, plan::RoomAgenda};
use crate::{
    homeserver::{Failure, Nearness},
    store::StoreError,
};

pub(crate) use self::stage::Stage;

/// What was done in one room, as stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    /// Servers to join the room through, where the plan knew none but the old account's, which may
    /// be gone when it is joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) via: Vec<OwnedServerName>,
    /// What came of each step.
    pub(crate) steps: BTreeMap<StepKind, StepResult>,
    /// How long all invitations waited for the invited account's homeserver, from the last one
    /// before this to this one.
    #[serde(default, skip_serializing_if = "SignedDuration::is_zero")]
    pub(crate) held: SignedDuration,
}

impl RoomRecord {
    /// Whether the step need not be run any more.
    pub(crate) fn is_settled(&self, kind: StepKind) -> bool {
        self.steps.contains_key(&kind)
    }

    /// Whether a step was needed and worked, or had to do nothing.
    pub(crate) fn is_through(&self, kind: StepKind) -> bool {
        matches!(self.steps.get(&kind), Some(StepResult::Done | StepResult::AlreadySo))
    }

    /// Whether the new account is known to have got in.
    pub(crate) fn is_in(&self) -> bool {
        self.is_through(StepKind::Join)
    }

    /// Whether the new account tried to join, and was not let in.
    pub(crate) fn was_kept_out(&self) -> bool {
        matches!(self.steps.get(&StepKind::Join), Some(StepResult::Failed(Failure::Refused { .. })))
    }

    /// Whether some step failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.steps.values().any(|result| matches!(result, StepResult::Failed(_)))
    }

    /// Forgets the steps that failed, so that they are run again. An invitation that did not let the
    /// new account in may be withdrawn by now; one that stands is not sent again.
    pub(crate) fn without_failures(mut self) -> Self {
        if matches!(self.steps.get(&StepKind::Join), Some(StepResult::Failed(_))) {
            self.steps.remove(&StepKind::Invite);
        }
        self.steps.retain(|_, result| !matches!(result, StepResult::Failed(_)));
        self
    }
}

/// A step without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepKind {
    Invite,
    Join,
    PowerLevel,
    Tags,
}

impl StepKind {
    /// What it is counted as.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Join => "join",
            Self::PowerLevel => "power_level",
            Self::Tags => "tags",
        }
    }
}

/// One idempotent change in one room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// The old account invites the new one.
    Invite,
    /// The new account joins.
    Join {
        /// Servers to join through.
        via: Vec<OwnedServerName>,
        /// Whether the new account's server is in the room.
        nearness: Nearness,
    },
    /// The person joins by hand as the new account; this step waits for it.
    AwaitJoin,
    /// The old account raises the new one to this power level.
    PowerLevel {
        level: i64,
        /// Whether the new account is only invited yet. Its homeserver then gets the power level
        /// with the join, and nothing more has to be sent to it. Nothing waits for that: what would
        /// take long, or fails, is done after the join.
        ahead: bool,
    },
    /// The new account gets these tags, with their order.
    Tags {
        tags: BTreeMap<String, Option<f64>>,
        /// Also where it has tagged the room itself.
        prefer_old: bool,
    },
}

impl Step {
    pub(crate) fn kind(&self) -> StepKind {
        match self {
            Self::Invite => StepKind::Invite,
            Self::Join { .. } | Self::AwaitJoin => StepKind::Join,
            Self::PowerLevel { .. } => StepKind::PowerLevel,
            Self::Tags { .. } => StepKind::Tags,
        }
    }

    /// Whether it waits for somebody to do something by hand, for as long as that takes.
    pub(crate) fn waits_for_a_person(&self) -> bool {
        matches!(self, Self::AwaitJoin)
    }

    /// Whether nothing depends on it: if it does not work at once, it is taken later.
    pub(crate) fn is_ahead(&self) -> bool {
        matches!(self, Self::PowerLevel { ahead: true, .. })
    }

    /// Carries the step out.
    pub(crate) async fn run(
        &self,
        room: &OwnedRoomOrAliasId,
        stage: &Stage,
    ) -> Result<StepResult, StepError> {
        match self {
            Self::Join { via, nearness } => stage.join(room, via, *nearness).await,
            Self::AwaitJoin => stage.await_join(room).await,
            Self::Invite => stage.invite(&stage.room_id(room).await?).await,
            Self::PowerLevel { level, ahead } => {
                stage.raise(&stage.room_id(room).await?, *level, *ahead).await
            }
            Self::Tags { tags, prefer_old } => {
                stage.tag(&stage.room_id(room).await?, tags, *prefer_old).await
            }
        }
    }
}

/// The steps that bring the new account into a room. `invite` is whether the old account invites it
/// first.
pub(crate) fn entrance(room: &RoomAgenda, way: Way, invite: bool, new_access: bool) -> Vec<Step> {
    let Way { via, nearness } = way;
    let join = if new_access { Step::Join { via, nearness } } else { Step::AwaitJoin };
    if !invite {
        return vec![join];
    }
    // Whoever joins by hand may never do so.
    let level = room.power_level.filter(|_| new_access);
    let power = level.map(|level| Step::PowerLevel { level, ahead: true });
    [Step::Invite].into_iter().chain(power).chain([join]).collect()
}

/// The steps that give the new account, once it is in a room, what the old one has there.
pub(crate) fn after_join(room: &RoomAgenda) -> Vec<Step> {
    let mut steps = Vec::new();
    let power = room.power_level.map(|level| Step::PowerLevel { level, ahead: false });
    steps.extend(power);
    if !room.tags.is_empty() {
        let prefer_old = room.prefers_old_tags;
        steps.push(Step::Tags { tags: room.tags.clone(), prefer_old });
    }
    steps
}

/// The way into a room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    /// Servers to join through.
    pub(crate) via: Vec<OwnedServerName>,
    /// Whether the new account's server is in the room.
    pub(crate) nearness: Nearness,
}

impl Way {
    /// The way that the plan knows.
    pub(crate) fn planned(room: &RoomAgenda) -> Self {
        let nearness = if room.near { Nearness::Here } else { Nearness::Unknown };
        Self { via: room.via.to_vec(), nearness }
    }
}

/// Why a step has no result.
#[derive(Debug)]
pub(crate) enum StepError {
    /// It did not work.
    Failed(Failure),
    /// It was stopped before it did anything; it is to be run again when the migration goes on.
    Stopped,
    /// It did not work since this side's homeserver is away.
    Away(Side, Failure),
    /// It did nothing yet but find out how near the room is that it is to join.
    Found(Nearness),
    /// The homeserver no longer accepts this side's session.
    AccessLost(Side),
    /// Nothing can be written down any more.
    Broken(StoreError),
}

impl StepError {
    pub(crate) fn of(side: Side, failure: Failure) -> Self {
        match failure {
            Failure::Stopped => Self::Stopped,
            Failure::TokenGone { .. } => Self::AccessLost(side),
            failure => Self::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_again_to_join_begins_with_the_invitation() {
        let failed = StepResult::Failed(Failure::Stopped);
        let record = |join| RoomRecord {
            via: Vec::new(),
            steps: [(StepKind::Invite, StepResult::AlreadySo), (StepKind::Join, join)].into(),
            ..RoomRecord::default()
        };
        assert!(record(failed).without_failures().steps.is_empty());
        let done = record(StepResult::Done);
        assert_eq!(done.clone().without_failures(), done);
    }
}
