//! How many steps of a kind are begun at once in one run.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Step;
use crate::homeserver::Nearness;

/// Steps that homeservers limit by themselves, and that so wait for no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    Invites,
    /// Joins of which it is not known yet whether they are local ones: these never wait for long.
    FirstJoins,
    LocalJoins,
    RemoteJoins,
    PowerLevels,
    /// Those that are raised before the join, which never wait for long.
    PowerAhead,
    Tags,
}

impl Line {
    const ALL: [Self; 7] = [
        Self::Invites,
        Self::FirstJoins,
        Self::LocalJoins,
        Self::RemoteJoins,
        Self::PowerLevels,
        Self::PowerAhead,
        Self::Tags,
    ];

    /// How many steps are begun at once: more than the requests that are ever on their way at once,
    /// and more still where a step is more than one request.
    fn at_once(self) -> usize {
        match self {
            Self::Invites | Self::FirstJoins | Self::LocalJoins | Self::RemoteJoins => 9,
            Self::PowerLevels | Self::PowerAhead | Self::Tags => 16,
        }
    }

    /// Where a step waits for its turn. What a person does by hand waits for nothing.
    pub(super) fn of(step: &Step) -> Option<Self> {
        Some(match step {
            Step::Invite => Self::Invites,
            Step::Join { nearness, .. } => Self::of_join(*nearness),
            Step::PowerLevel { ahead: false, .. } => Self::PowerLevels,
            Step::PowerLevel { ahead: true, .. } => Self::PowerAhead,
            Step::Tags { .. } => Self::Tags,
            Step::AwaitJoin => return None,
        })
    }

    pub(super) fn of_join(nearness: Nearness) -> Self {
        match nearness {
            Nearness::Unknown => Self::FirstJoins,
            Nearness::Here => Self::LocalJoins,
            Nearness::Elsewhere => Self::RemoteJoins,
        }
    }
}

/// Turns to begin a step, given in the order in which they are asked for. A step that has begun
/// holds all that its request takes, perhaps for hours of a homeserver's limit; one that waits here
/// holds next to nothing, however many rooms an account has. Those that are tried again have turns
/// of their own, so that rooms that fail and fail hold up no other.
#[derive(Debug)]
pub(crate) struct Turns {
    first: [Semaphore; Line::ALL.len()],
    again: [Semaphore; Line::ALL.len()],
}

/// The turn of a step, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) line: Line,
    _permit: SemaphorePermit<'a>,
}

impl Default for Turns {
    fn default() -> Self {
        let turns = || Line::ALL.map(|line| Semaphore::new(line.at_once()));
        Self { first: turns(), again: turns() }
    }
}

impl Turns {
    /// Waits until a step of this line may begin, perhaps `again`.
    pub(super) async fn begin(&self, line: Line, again: bool) -> Option<Turn<'_>> {
        let turns = if again { &self.again } else { &self.first };
        // They are never closed.
        let permit = turns[line as usize].acquire().await.ok()?;
        Some(Turn { line, _permit: permit })
    }
}
