//! How many steps of a kind are begun at once in one run.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Step;
use crate::homeserver::Nearness;

/// More than are ever on their way at once.
const AT_ONCE: usize = 16;

/// Turns to begin a step, given in the order in which they are asked for. A step that has begun
/// holds all that its request takes, perhaps for hours of a homeserver's limit; one that waits here
/// holds next to nothing, however many rooms an account has. Steps that homeservers limit apart have
/// turns apart, so that none waits for another kind; and so have those that are tried again, so that
/// rooms that fail and fail hold up no other.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    first: Kinds,
    again: Kinds,
}

#[derive(Debug)]
struct Kinds {
    invites: Semaphore,
    /// Joins of which it is not known yet whether they are local ones: these never wait for long.
    first_joins: Semaphore,
    local_joins: Semaphore,
    remote_joins: Semaphore,
    power_levels: Semaphore,
    /// Those that are raised before the join, which never wait for long.
    power_ahead: Semaphore,
    tags: Semaphore,
}

impl Default for Kinds {
    fn default() -> Self {
        let turns = || Semaphore::new(AT_ONCE);
        Self {
            invites: turns(),
            first_joins: turns(),
            local_joins: turns(),
            remote_joins: turns(),
            power_levels: turns(),
            power_ahead: turns(),
            tags: turns(),
        }
    }
}

impl Turns {
    /// Waits until the step may begin, perhaps `again`; it goes on until the answer is dropped. What
    /// a person does by hand waits for nothing.
    pub(super) async fn begin(&self, step: &Step, again: bool) -> Option<SemaphorePermit<'_>> {
        let kinds = if again { &self.again } else { &self.first };
        let turns = match step {
            Step::Invite => &kinds.invites,
            Step::Join { nearness: Nearness::Unknown, .. } => &kinds.first_joins,
            Step::Join { nearness: Nearness::Here, .. } => &kinds.local_joins,
            Step::Join { nearness: Nearness::Elsewhere, .. } => &kinds.remote_joins,
            Step::PowerLevel { ahead: false, .. } => &kinds.power_levels,
            Step::PowerLevel { ahead: true, .. } => &kinds.power_ahead,
            Step::Tags { .. } => &kinds.tags,
            Step::AwaitJoin => return None,
        };
        // They are never closed.
        turns.acquire().await.ok()
    }
}
