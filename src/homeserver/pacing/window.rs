//! How many requests may be on their way at a time.
//!
//! A homeserver that is sent more than it can work on keeps everybody waiting, also those who only
//! want to write a message; one that is sent fewer could have been done sooner. How many it can work
//! on is not known, and changes. It shows in how long answers take, as for data in TCP Vegas: where
//! ten at a time take no longer than two, none of them waits; where they take five times as long,
//! eight of them do. A few are to wait, so that there is always something to do.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{bucket::between, lock};
use crate::clock::SharedClock;

/// How many may be on their way when homeservers do not even answer in time.
const FEWEST: usize = 2;
/// How many may be on their way at the beginning, and as long as there are answers.
const FEW: usize = 8;
/// How many may be on their way at most.
const MOST: usize = 64;
/// How many are to wait at the homeserver, for each that is on its way, to the square root: no fewer,
/// and no more. The more are on their way, the more seem to wait that do not.
const IDLE: f64 = 0.75;
const BUSY: f64 = 1.5;
/// After how many answers that is looked at.
const ROUND: usize = 8;
/// After how many rounds it is found out anew how long an answer takes when few are on their way.
const ROUNDS: u32 = 16;
/// Of how many rooms it is remembered that they were not answered for.
const MOST_SILENT: usize = 1024;
/// Nobody waits to speak of when answers take no longer than this.
const PROMPT: Duration = Duration::from_millis(20);
/// What takes longer waits for something else than a slot: a homeserver far away, most often. It
/// holds up nobody any more.
const LONG: Duration = Duration::from_secs(3);

/// How many requests may be on their way, of all accounts that share a way: to one homeserver, or by
/// way of it to another. Those who wait go in the order in which they came.
#[derive(Debug)]
pub(super) struct Window {
    slots: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    size: usize,
    /// Slots to be taken away once they are given back.
    surplus: usize,
    last_number: u64,
    /// When those were sent that have a slot.
    sent: BTreeMap<u64, Timestamp>,
    /// How often the size changed. What was sent before says nothing of the size that is now.
    changes: u64,
    /// How long the answers took since then.
    took: Vec<Duration>,
    /// How long one takes when few are on their way.
    alone: Duration,
    /// Whether it was ever too large.
    was_busy: bool,
    rounds: u32,
    /// The rooms that were not answered for in time, as hashes.
    silent_rooms: HashSet<u64>,
    /// The size to go back to, while few are sent to see how long one takes then.
    trying_few: Option<usize>,
}

/// A request's slot, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    window: Arc<Window>,
    number: u64,
    sent: Timestamp,
    changes: u64,
    /// Whether so many were on their way with it as may be.
    full: bool,
}

impl Window {
    pub(super) fn new() -> Self {
        let state = State {
            size: FEW,
            surplus: 0,
            last_number: 0,
            sent: BTreeMap::new(),
            changes: 0,
            took: Vec::new(),
            alone: PROMPT,
            was_busy: false,
            rounds: 0,
            silent_rooms: HashSet::new(),
            trying_few: Some(FEW),
        };
        Self { slots: Semaphore::new(FEW), state: Mutex::new(state) }
    }

    /// A slot, if there is one and nobody waits for it.
    pub(super) fn enter(self: &Arc<Self>, now: Timestamp) -> Option<Slot> {
        self.slots.try_acquire().ok()?.forget();
        Some(self.slot(now))
    }

    /// A slot, once there is one.
    pub(super) async fn enter_in_turn(self: &Arc<Self>, clock: &SharedClock) -> Slot {
        let permit = self.slots.acquire();
        tokio::pin!(permit);
        loop {
            let passed_over = clock.sleep(self.pass_over_what_takes_long(clock.now()));
            tokio::select! {
                biased;
                permit = &mut permit => {
                    // It is never closed.
                    permit.into_iter().for_each(|permit| permit.forget());
                    return self.slot(clock.now());
                }
                () = passed_over => {}
            }
        }
    }

    fn slot(self: &Arc<Self>, now: Timestamp) -> Slot {
        let mut state = lock(&self.state);
        state.last_number += 1;
        let number = state.last_number;
        state.sent.insert(number, now);
        let full = state.sent.len() >= state.size;
        Slot { window: self.clone(), number, sent: now, changes: state.changes, full }
    }

    /// Takes their slots from those that take long. How long until it is to be looked at again.
    fn pass_over_what_takes_long(&self, now: Timestamp) -> Duration {
        let mut state = lock(&self.state);
        while let Some(first) = state.sent.first_entry() {
            let left = LONG.saturating_sub(between(*first.get(), now));
            if !left.is_zero() {
                return left;
            }
            first.remove();
            self.give_back(&mut state);
        }
        LONG
    }

    fn give_back(&self, state: &mut State) {
        if state.surplus > 0 {
            state.surplus -= 1;
        } else {
            self.slots.add_permits(1);
        }
    }

    fn resize(&self, state: &mut State, size: usize) {
        state.took.clear();
        if size == state.size {
            return;
        }
        state.changes += 1;
        let (more, fewer) = (size.saturating_sub(state.size), state.size.saturating_sub(size));
        state.size = size;
        let kept = more.min(state.surplus);
        state.surplus -= kept;
        self.slots.add_permits(more - kept);
        state.surplus += fewer - self.slots.forget_permits(fewer);
    }

    /// Looks at what a round of answers says.
    fn end_round(&self, state: &mut State) {
        state.took.sort_unstable();
        // That in the middle: some rooms take a hundred times as long as others.
        let took = state.took[state.took.len() / 2].max(PROMPT);
        if let Some(size) = state.trying_few.take() {
            state.alone = took;
            return self.resize(state, size);
        }
        state.rounds += 1;
        #[expect(clippy::cast_precision_loss, reason = "it is at most 64")]
        let size = state.size as f64;
        let waiting = size * (1.0 - state.alone.as_secs_f64() / took.as_secs_f64());
        let size = if waiting > BUSY * size.sqrt() {
            state.was_busy = true;
            (state.size - state.size.div_ceil(8)).max(state.size.min(FEW))
        } else if waiting >= IDLE * size.sqrt() {
            state.size
        } else if state.was_busy {
            state.size + 1
        } else {
            state.size * 2
        };
        let size = size.min(MOST);
        if state.rounds >= ROUNDS {
            state.rounds = 0;
            state.trying_few = Some(size);
            self.resize(state, (size / 2).max(size.min(FEW)));
        } else {
            self.resize(state, size);
        }
    }
}

impl Slot {
    /// The request was answered.
    pub(super) fn answered(&self, now: Timestamp) {
        let mut state = lock(&self.window.state);
        if self.full && self.changes == state.changes {
            state.took.push(between(self.sent, now));
            if state.took.len() == ROUND {
                self.window.end_round(&mut state);
            }
        }
    }

    /// The homeserver has more to do than it can, or cannot do this for one room. Each room counts
    /// once, and the first of them proves nothing: one that always fails, or that lies on servers
    /// which do not answer, is not to slow down all others.
    pub(super) fn overloaded_in(&self, room: u64) {
        let is_proof = {
            let rooms = &mut lock(&self.window.state).silent_rooms;
            if rooms.len() >= MOST_SILENT {
                rooms.clear();
            }
            rooms.insert(room) && rooms.len() > 1
        };
        if is_proof {
            self.overloaded();
        }
    }

    /// The homeserver has more to do than it can.
    pub(super) fn overloaded(&self) {
        let mut state = lock(&self.window.state);
        if self.changes == state.changes {
            state.was_busy = true;
            let size = state.trying_few.take().unwrap_or(state.size);
            self.window.resize(&mut state, (size / 2).max(FEWEST));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = lock(&self.window.state);
        if state.sent.remove(&self.number).is_some() {
            self.window.give_back(&mut state);
        }
    }
}
