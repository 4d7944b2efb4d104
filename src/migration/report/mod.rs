//! What was done, checked against a fresh survey, and what was not done and why.

mod findings;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

pub(crate) use self::findings::{Check, Findings};
use super::{
    Holding, OpenedRoom,
    plan::{Omission, Reason, RoomLabel, RouteKind},
};
use crate::{clock::Timestamp, homeserver::Failure};

/// The report of one migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The account moved from.
    pub old: OwnedUserId,
    /// The account moved to.
    pub new: OwnedUserId,
    /// When `go` was said.
    pub went: Timestamp,
    /// When this was checked.
    pub checked: Timestamp,
    /// Whether the new account's rooms could be read again to check it, and if not, why.
    pub unchecked: Option<Failure>,
    /// How long invitations waited for the new account's homeserver, which lets in only so many
    /// from other servers.
    #[serde(default, skip_serializing_if = "SignedDuration::is_zero")]
    pub held: SignedDuration,
    /// A row for each room of the plan, in the plan's order.
    pub rooms: Vec<ReportRow>,
    /// What was done for the account as a whole: the direct chats list.
    pub direct_chats: Option<StepResult>,
    /// A row for each thing that the old account holds besides its rooms and that the new one did
    /// not have in the same way.
    #[serde(default)]
    pub holdings: Vec<HoldingRow>,
    /// Rooms whose join rule was changed for a moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<OpenedRoom>,
}

impl Report {
    /// How many rooms ended in each way.
    pub fn counts(&self) -> BTreeMap<OutcomeKind, usize> {
        self.rooms.iter().fold(BTreeMap::new(), |mut counts, row| {
            *counts.entry(row.outcome.kind()).or_default() += 1;
            counts
        })
    }
}

impl Report {
    /// Whether the check found everything that was done.
    pub(crate) fn shows_what_was_done(&self) -> bool {
        let undone = |result: Option<&StepResult>| result == Some(&StepResult::Undone);
        let copied = HoldingOutcome::Copied(StepResult::Undone);
        !undone(self.direct_chats.as_ref())
            && !self.holdings.iter().any(|row| row.outcome == copied)
            && !self.rooms.iter().any(|row| {
                row.outcome == Outcome::Missing
                    || undone(row.power_level.as_ref().map(|(_, result)| result))
                    || undone(row.tags.as_ref())
            })
    }
}

/// One room of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRow {
    /// Which room.
    pub room: RoomLabel,
    /// The route that was planned.
    pub route: RouteKind,
    /// How it ended.
    pub outcome: Outcome,
    /// The power level, when it was to be raised: the level, and what came of it.
    pub power_level: Option<(i64, StepResult)>,
    /// The old account's power level, where it is above the new one's and only somebody with more
    /// power could hand it on.
    pub power_out_of_reach: Option<i64>,
    /// The tags, when there were any.
    pub tags: Option<StepResult>,
    /// Whether the new account has other tags of its own, which stayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_tags_kept: bool,
    /// What is left to the old account alone, since it created the room.
    pub creator_stays: bool,
}

/// One thing that the old account holds besides its rooms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoldingRow {
    /// Which thing.
    pub holding: Holding,
    /// How many parts of it were to be copied, or would have been: people, rules, emotes.
    pub parts: usize,
    /// What became of it.
    pub outcome: HoldingOutcome,
}

/// What became of a holding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldingOutcome {
    /// It was to be copied, and this came of it.
    Copied(StepResult),
    /// The new account has its own, which stayed.
    KeptOwn,
    /// Taken out by the person.
    Skipped,
    /// Too large to be copied.
    TooLarge,
    /// One of the homeservers did not tell it when the plan was made.
    Unreadable,
}

/// How one room ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new account was a member before.
    AlreadyThere,
    /// The new account joined, and the check found it there.
    Joined,
    /// Invited, and left to the person to accept by hand: without access to the new account, and
    /// where the migration was cancelled.
    Invited,
    /// Left to the person, with a link: neither invited nor joined.
    ByHand,
    /// Only a moderator of the room can let the new account in.
    NeedsModerator,
    /// The new account cannot get in.
    Unreachable(Reason),
    /// Left out of the plan.
    Skipped(Omission),
    /// It was tried and did not work; `retry` tries again.
    Failed(Failure),
    /// It was not reached before the migration was cancelled.
    NotTried,
    /// It was joined, but the check did not find the new account in it.
    Missing,
}

impl Outcome {
    /// The outcome without its particulars.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::AlreadyThere => OutcomeKind::AlreadyThere,
            Self::Joined => OutcomeKind::Joined,
            Self::Invited => OutcomeKind::Invited,
            Self::ByHand => OutcomeKind::ByHand,
            Self::NeedsModerator => OutcomeKind::NeedsModerator,
            Self::Unreachable(_) => OutcomeKind::Unreachable,
            Self::Skipped(_) => OutcomeKind::Skipped,
            Self::Failed(_) => OutcomeKind::Failed,
            Self::NotTried => OutcomeKind::NotTried,
            Self::Missing => OutcomeKind::Missing,
        }
    }
}

/// An outcome without its particulars: what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the outcome of the same name")]
pub enum OutcomeKind {
    AlreadyThere,
    Joined,
    Invited,
    ByHand,
    NeedsModerator,
    Unreachable,
    Skipped,
    Failed,
    NotTried,
    Missing,
}

/// What came of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// It is done.
    Done,
    /// Nothing had to be done: it was so already.
    AlreadySo,
    /// It is done, but so many of its images stay where they are; `retry` tries these again.
    ImagesLeft(usize),
    /// It could not be done, and why; `retry` tries again.
    Failed(Failure),
    /// It needs access to an account that said `login none`.
    NoAccess,
    /// It was not reached.
    NotTried,
    /// It was done, but the check found it otherwise: somebody changed it since.
    Undone,
}

impl StepResult {
    /// Whether `retry` tries it again.
    pub(crate) fn is_to_be_retried(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::ImagesLeft(_))
    }

    /// What it is counted as.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::AlreadySo => "already_so",
            Self::ImagesLeft(_) => "images_left",
            Self::Failed(_) => "failed",
            Self::NoAccess => "no_access",
            Self::NotTried => "not_tried",
            Self::Undone => "undone",
        }
    }
}
