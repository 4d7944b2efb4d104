//! How a run stands, for `status` and the progress message.

use std::time::Duration;

use super::{Outcome, Report, RouteKind, Side, StepResult};
use crate::homeserver::{Action, WaitReason};

/// How a run stands at this moment. Derived from what is stored and never stored itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Rooms that the run is to bring the new account into.
    pub rooms: usize,
    /// Those of them that the new account is in, with all that follows done.
    pub done: usize,
    /// Those of them that failed for good.
    pub failed: usize,
    /// Rooms that wait for the person: an invitation to accept, or a link to follow by hand.
    pub by_hand: usize,
    /// How long the run has been going on.
    pub elapsed: Duration,
    /// How much longer it takes, while it runs.
    pub left: Option<Duration>,
    /// What the homeservers make it wait for, longest first.
    pub waits: Vec<Wait>,
}

impl Progress {
    /// Counts the rooms of a report that a run is to bring the new account into.
    pub(crate) fn count(&mut self, report: &Report) {
        for row in &report.rooms {
            if !matches!(row.route, RouteKind::Join | RouteKind::InviteAndJoin) {
                continue;
            }
            self.rooms += 1;
            let untried = |result: &StepResult| *result == StepResult::NotTried;
            let more_to_do = row.power_level.as_ref().is_some_and(|(_, result)| untried(result))
                || row.tags.as_ref().is_some_and(untried);
            match row.outcome {
                Outcome::Joined if !more_to_do => self.done += 1,
                Outcome::Failed(_) => self.failed += 1,
                Outcome::Invited | Outcome::ByHand => self.by_hand += 1,
                _ => {}
            }
        }
    }
}

/// How far the reading of both accounts is. Never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How long it has been going on.
    pub elapsed: Duration,
    /// How many rooms the old account was found in, once its homeserver told.
    pub old_rooms: Option<usize>,
    /// The same for the new account.
    pub new_rooms: Option<usize>,
}

/// A homeserver's limit that something waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// The account that has to wait.
    pub side: Side,
    /// What it waits to do.
    pub action: Action,
    /// How much longer, until the next one.
    pub remaining: Duration,
    /// Why.
    pub reason: WaitReason,
    /// How many times it waits to do it.
    pub waiting: usize,
    /// How long from one time to the next, as far as that is known.
    pub interval: Option<Duration>,
}

impl Wait {
    /// How much longer until the last one, where that can be told.
    pub fn in_all(&self) -> Option<Duration> {
        let more = u32::try_from(self.waiting.saturating_sub(1)).unwrap_or(u32::MAX);
        match self.interval {
            _ if more == 0 => Some(self.remaining),
            Some(interval) => Some(self.remaining + interval.saturating_mul(more)),
            None => None,
        }
    }
}
