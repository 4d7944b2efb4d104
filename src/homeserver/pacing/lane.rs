use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Failure, Pacing, WaitReason,
    bucket::between,
    budgets::{Admission, Draws, Key},
    held::Span,
    lock,
    window::{Slot, Window},
};

/// Requests of one account and action, which draw from the same budgets, in the order in which
/// they came.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) draws: Draws,
    most_in_flight: usize,
    /// What bounds how many are on their way, together with other lanes; nothing if they do not
    /// count.
    window: Option<Arc<Window>>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    last_ticket: u64,
    /// By ticket, and how often each was refused.
    waiting: BTreeMap<u64, u32>,
    in_flight: usize,
    /// Requests that wait for their retry, or for their room, outside the line.
    aside: BTreeMap<u64, (Timestamp, WaitReason)>,
    last_used: Timestamp,
    /// Whether it was in doubt, when that was last looked at, if what was refused is a limit.
    doubts: bool,
}

impl State {
    /// Whose turn it is. Where it is in doubt whether it is a limit, one that was refused less often
    /// tells more than the first in line.
    fn first(&self, doubts: bool) -> Option<u64> {
        let mut waiting = self.waiting.iter();
        let first = if doubts {
            waiting.min_by_key(|(number, refused)| (**refused, **number))
        } else {
            waiting.next()
        };
        first.map(|(number, _)| *number)
    }
}

/// How many requests of a lane wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// In the line.
    pub(super) waiting: usize,
    /// Until when the last of those outside the line is set aside, and why.
    pub(super) aside: Option<(Timestamp, WaitReason)>,
}

enum Turn {
    Now(Option<Slot>),
    /// Once it has a slot in this window.
    Full(Arc<Window>),
    At(Timestamp, WaitReason),
    Aside(Timestamp, WaitReason),
    Later,
}

impl Lane {
    pub(super) fn new(
        draws: Draws,
        most_in_flight: usize,
        window: Option<Arc<Window>>,
        now: Timestamp,
    ) -> Self {
        let state = State {
            last_ticket: 0,
            waiting: BTreeMap::new(),
            in_flight: 0,
            aside: BTreeMap::new(),
            last_used: now,
            doubts: false,
        };
        Self { draws, most_in_flight, window, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn used(&self, now: Timestamp) {
        lock(&self.state).last_used = now;
    }

    pub(super) fn unused_for(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(lock(&self.state).last_used)
    }

    pub(super) fn line(&self) -> Line {
        let state = lock(&self.state);
        Line { waiting: state.waiting.len(), aside: state.aside.values().max().copied() }
    }

    /// Starts the request with this ticket if it is its turn. It may have waited for its `slot`.
    fn start(
        &self,
        (ticket, room): (u64, Option<&Key>),
        mut slot: Option<Slot>,
        pacing: &Pacing,
        now: Timestamp,
    ) -> Turn {
        let mut state = lock(&self.state);
        let doubts = pacing.budgets().is_doubting(&self.draws);
        if std::mem::replace(&mut state.doubts, doubts) != doubts {
            // It may be another one's turn now, which does not know that yet.
            self.changed.notify_waiters();
        }
        if state.first(doubts) != Some(ticket) || state.in_flight >= self.most_in_flight {
            return Turn::Later;
        }
        let enter = || {
            let Some(window) = &self.window else { return true };
            slot = slot.take().or_else(|| window.enter(now));
            slot.is_some()
        };
        match pacing.budgets().admit(&self.draws, room, now, state.in_flight, enter) {
            Admission::Now => {}
            Admission::At(until, reason) => return Turn::At(until, reason),
            Admission::RoomAt(until, reason) => return Turn::Aside(until, reason),
            Admission::AfterAnother => return Turn::Later,
            Admission::Full => return self.window.clone().map_or(Turn::Later, Turn::Full),
        }
        state.waiting.remove(&ticket);
        state.in_flight += 1;
        drop(state);
        self.changed.notify_waiters();
        Turn::Now(slot)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_waiters();
    }
}

/// One request's place in a lane, given up when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) lane: Arc<Lane>,
    /// The budget of the room that it is about.
    pub(super) room: Option<Key>,
    /// How long limits held it back, at the head of the line.
    pub(super) limited_for: Duration,
    /// When that was for the invited account's homeserver.
    pub(super) held: Vec<Span>,
    /// When it was set aside for the invited account's homeserver, which may be no limit.
    pub(super) doubted: Vec<Span>,
    /// How often it was refused.
    pub(super) refused: u32,
    /// How often the homeserver limited it.
    pub(super) denied: u32,
    /// Among those that are on their way to the same homeserver.
    pub(super) slot: Option<Slot>,
    number: u64,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    InFlight,
    Aside,
}

impl Ticket {
    /// Goes to the end of the line.
    pub(super) fn take(lane: Arc<Lane>, room: Option<Key>) -> Self {
        let number = {
            let mut state = lock(&lane.state);
            state.last_ticket += 1;
            let number = state.last_ticket;
            state.waiting.insert(number, 0);
            number
        };
        Self {
            lane,
            room,
            limited_for: Duration::ZERO,
            held: Vec::new(),
            doubted: Vec::new(),
            refused: 0,
            denied: 0,
            slot: None,
            number,
            place: Place::Waiting,
        }
    }

    /// Waits for this request's turn. Who is not `patient` does not wait for tokens.
    pub(super) async fn turn(
        &mut self,
        pacing: &Pacing,
        patient: bool,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let lane = self.lane.clone();
        let mut slot = None;
        while !stop.is_cancelled() {
            let changed = lane.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed, before the lane is looked at.
            changed.as_mut().enable();
            let now = pacing.clock.now();
            // Also where others are before it in the line: they may wait for long.
            if !patient && let Some((until, _)) = pacing.budgets().wait(&lane.draws, now) {
                return Err(Failure::Limited { retry_after: Some(between(now, until)) });
            }
            match lane.start((self.number, self.room.as_ref()), slot.take(), pacing, now) {
                Turn::Now(slot) => {
                    self.place = Place::InFlight;
                    self.slot = slot;
                    return Ok(());
                }
                Turn::Full(window) => {
                    slot = tokio::select! {
                        () = stop.cancelled() => None,
                        slot = window.enter_in_turn(&pacing.clock) => Some(slot),
                    };
                }
                Turn::At(until, _) | Turn::Aside(until, _) if !patient => {
                    return Err(Failure::Limited { retry_after: Some(between(now, until)) });
                }
                Turn::At(until, reason) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = changed => {}
                        () = pacing.clock.sleep(between(now, until)) => {
                            pacing.budgets().end_wait(&lane.draws, until, pacing.clock.now());
                        }
                    }
                    let waited_until = pacing.clock.now();
                    self.limited_for += between(now, waited_until);
                    if reason == WaitReason::InviteeServer {
                        self.held.push((now, waited_until));
                    }
                }
                Turn::Aside(until, reason) => {
                    self.set_aside((until, reason), pacing, stop).await?;
                }
                Turn::Later => tokio::select! {
                    () = stop.cancelled() => {}
                    () = changed => {}
                },
            }
        }
        Err(Failure::Stopped)
    }

    /// The homeserver wants it to wait; it goes first again.
    pub(super) fn go_back(&mut self) {
        self.go_to(Place::Waiting, |_| {});
    }

    /// Steps out of the line until a time, for a reason, and back into the old place.
    pub(super) async fn set_aside(
        &mut self,
        (until, reason): (Timestamp, WaitReason),
        pacing: &Pacing,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let (number, begun) = (self.number, pacing.clock.now());
        self.go_to(Place::Aside, |state| {
            state.aside.insert(number, (until, reason));
        });
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = pacing.clock.sleep(between(begun, until)) => false,
        };
        if reason == WaitReason::InviteeServer {
            let now = pacing.clock.now();
            self.doubted.push((begun, now));
            if !stopped {
                pacing.budgets().end_wait(&self.lane.draws, until, now);
            }
        }
        self.go_to(Place::Waiting, |_| {});
        if stopped { Err(Failure::Stopped) } else { Ok(()) }
    }

    fn go_to(&mut self, place: Place, change: impl FnOnce(&mut State)) {
        let (number, left, refused) = (self.number, self.place, self.refused);
        self.place = place;
        self.slot = None;
        self.lane.change(|state| {
            leave(state, number, left);
            if place == Place::Waiting {
                state.waiting.insert(number, refused);
            }
            change(state);
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.change(|state| leave(state, self.number, self.place));
    }
}

fn leave(state: &mut State, number: u64, place: Place) {
    match place {
        Place::Waiting => {
            state.waiting.remove(&number);
        }
        Place::InFlight => state.in_flight -= 1,
        Place::Aside => {
            state.aside.remove(&number);
        }
    }
}
