use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Failure, WaitReason, lock};
use crate::clock::SharedClock;

/// How many requests must pass one by one, after a limit was met, before several are sent at a time
/// again: limits let one pass at a time once they are reached.
const PROBATION: u8 = 3;
/// The first pause when the invited account's server takes no invites; each is twice the last.
const INVITEE_PAUSE: Duration = Duration::from_secs(5);
/// The longest such pause.
const LONGEST_INVITEE_PAUSE: Duration = Duration::from_secs(600);

/// Requests that a homeserver limits together.
#[derive(Debug)]
pub(super) struct Lane {
    most_in_flight: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    last_ticket: u64,
    waiting: BTreeSet<u64>,
    in_flight: usize,
    hold: Option<(Timestamp, WaitReason)>,
    probation: u8,
    /// How many pauses the invited account's server has asked for, less what passed since.
    invitee_pauses: u32,
    /// Requests that wait for their retry, outside the line.
    aside: BTreeMap<u64, Timestamp>,
    last_used: Timestamp,
}

enum Turn {
    Now,
    At(Timestamp),
    Later,
}

impl Lane {
    pub(super) fn new(most_in_flight: usize, now: Timestamp) -> Self {
        let state = State {
            last_ticket: 0,
            waiting: BTreeSet::new(),
            in_flight: 0,
            hold: None,
            probation: 0,
            invitee_pauses: 0,
            aside: BTreeMap::new(),
            last_used: now,
        };
        Self { most_in_flight, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn used(&self, now: Timestamp) {
        lock(&self.state).last_used = now;
    }

    pub(super) fn unused_for(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(lock(&self.state).last_used)
    }

    /// Until when the lane waits, and why, if it does.
    pub(super) fn wait(&self, now: Timestamp) -> Option<(Timestamp, WaitReason)> {
        let state = lock(&self.state);
        let hold = state.hold.filter(|(until, _)| *until > now && !state.waiting.is_empty());
        let retry = || state.aside.values().max().map(|until| (*until, WaitReason::Retry));
        hold.or_else(retry)
    }

    /// Starts the request with this ticket if it is its turn.
    fn start(&self, ticket: u64, now: Timestamp) -> Turn {
        let mut state = lock(&self.state);
        if state.waiting.first() != Some(&ticket) {
            return Turn::Later;
        }
        match state.hold {
            Some((until, _)) if until > now => return Turn::At(until),
            _ => state.hold = None,
        }
        let most = if state.probation > 0 { 1 } else { self.most_in_flight };
        if state.in_flight >= most {
            return Turn::Later;
        }
        state.waiting.remove(&ticket);
        state.in_flight += 1;
        drop(state);
        self.changed.notify_waiters();
        Turn::Now
    }

    /// Ends the hold that was waited for, also when the machine's clock was set back meanwhile.
    fn end_hold(&self, until: Timestamp) {
        let mut state = lock(&self.state);
        if state.hold.is_some_and(|(held, _)| held == until) {
            state.hold = None;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_waiters();
    }
}

impl State {
    fn hold_until(&mut self, until: Timestamp, reason: WaitReason) {
        if self.hold.is_none_or(|(held, _)| held < until) {
            self.hold = Some((until, reason));
        }
        self.probation = PROBATION;
    }
}

/// One request's place in a lane, given up when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    lane: Arc<Lane>,
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
    pub(super) fn take(lane: Arc<Lane>) -> Self {
        let number = {
            let mut state = lock(&lane.state);
            state.last_ticket += 1;
            let number = state.last_ticket;
            state.waiting.insert(number);
            number
        };
        Self { lane, number, place: Place::Waiting }
    }

    /// Waits for this request's turn.
    pub(super) async fn turn(
        &mut self,
        clock: &SharedClock,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        while !stop.is_cancelled() {
            let changed = self.lane.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed, before the lane is looked at.
            changed.as_mut().enable();
            let now = clock.now();
            match self.lane.start(self.number, now) {
                Turn::Now => {
                    self.place = Place::InFlight;
                    return Ok(());
                }
                Turn::At(until) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = changed => {}
                    () = clock.sleep(between(now, until)) => self.lane.end_hold(until),
                },
                Turn::Later => tokio::select! {
                    () = stop.cancelled() => {}
                    () = changed => {}
                },
            }
        }
        Err(Failure::Stopped)
    }

    /// The request passed.
    pub(super) fn succeeded(self) {
        let mut state = lock(&self.lane.state);
        state.probation = state.probation.saturating_sub(1);
        // Not back to the start: the limit is likely met again with the next one.
        state.invitee_pauses = state.invitee_pauses.saturating_sub(2);
    }

    /// The homeserver wants the lane to wait; this request goes first again.
    pub(super) fn limited(&mut self, until: Timestamp) {
        self.go_to(Place::Waiting, |state| state.hold_until(until, WaitReason::RateLimit));
    }

    /// The invited account's server wants the lane to wait; this request goes first again.
    pub(super) fn limited_by_invitee(&mut self, now: Timestamp) {
        self.go_to(Place::Waiting, |state| {
            // Several that were on their way together count as one.
            if state.hold.is_some_and(|(until, _)| until > now) {
                return;
            }
            let pause = 2_u32
                .checked_pow(state.invitee_pauses)
                .and_then(|factor| INVITEE_PAUSE.checked_mul(factor))
                .map_or(LONGEST_INVITEE_PAUSE, |pause| pause.min(LONGEST_INVITEE_PAUSE));
            if pause < LONGEST_INVITEE_PAUSE {
                state.invitee_pauses += 1;
            }
            state.hold_until(now + pause, WaitReason::InviteeServer);
        });
    }

    /// Steps out of the line until `until`, and back into the old place.
    pub(super) async fn set_aside(
        &mut self,
        until: Timestamp,
        clock: &SharedClock,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let number = self.number;
        self.go_to(Place::Aside, |state| {
            state.aside.insert(number, until);
        });
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = clock.sleep(between(clock.now(), until)) => false,
        };
        self.go_to(Place::Waiting, |_| {});
        if stopped { Err(Failure::Stopped) } else { Ok(()) }
    }

    fn go_to(&mut self, place: Place, change: impl FnOnce(&mut State)) {
        let (number, left) = (self.number, self.place);
        self.place = place;
        self.lane.change(|state| {
            leave(state, number, left);
            if place == Place::Waiting {
                state.waiting.insert(number);
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

fn between(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}
