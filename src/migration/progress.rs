//! How a run stands, for `status` and the progress message.

use std::time::Duration;

use super::Side;

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
    /// What the homeservers make it wait for, longest first.
    pub waits: Vec<Wait>,
}

/// A homeserver's limit that something waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// The account that has to wait.
    pub side: Side,
    /// What it waits to do.
    pub action: crate::homeserver::Action,
    /// How much longer.
    pub remaining: Duration,
}
