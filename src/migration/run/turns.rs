//! How many steps of a kind are begun at once in one run.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Step;
use crate::homeserver::Nearness;

/// More than are ever on their way at once, so that those whose turn comes do not wait for others
/// that are tried again later.
const AT_ONCE: usize = 16;

/// Turns to begin a step, given in the order in which they are asked for. A step that has begun
/// holds all that its request takes, perhaps for hours of a homeserver's limit; one that waits here
/// holds next to nothing, however many rooms an account has. Steps that homeservers limit apart have
/// turns apart, so that none waits for another kind.
#[derive(Debug)]
pub(crate) struct Turns {
    invites: Semaphore,
    /// Joins of which it is not known yet whether they are local ones: these never wait for long.
    first_joins: Semaphore,
    local_joins: Semaphore,
    remote_joins: Semaphore,
    power_levels: Semaphore,
    tags: Semaphore,
}

impl Turns {
    pub(crate) fn new() -> Self {
        let turns = || Semaphore::new(AT_ONCE);
        Self {
            invites: turns(),
            first_joins: turns(),
            local_joins: turns(),
            remote_joins: turns(),
            power_levels: turns(),
            tags: turns(),
        }
    }

    /// Waits until the step may begin; it goes on until the answer is dropped. What a person does
    /// by hand waits for nothing.
    pub(super) async fn begin(&self, step: &Step) -> Option<SemaphorePermit<'_>> {
        let turns = match step {
            Step::Invite => &self.invites,
            Step::Join { nearness: Nearness::Unknown, .. } => &self.first_joins,
            Step::Join { nearness: Nearness::Here, .. } => &self.local_joins,
            Step::Join { nearness: Nearness::Elsewhere, .. } => &self.remote_joins,
            Step::PowerLevel { .. } => &self.power_levels,
            Step::Tags { .. } => &self.tags,
            Step::AwaitJoin => return None,
        };
        // They are never closed.
        turns.acquire().await.ok()
    }
}
