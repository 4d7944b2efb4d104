//! Whether it is a limit, or one room.
//!
//! That an invitation does not pass may be the invited account's server, which takes no more for
//! now, or the room, which that server cannot take at all: the inviting server's answer is the same.
//! So one room proves nothing. Where it does not pass, it alone waits, and another one is tried at
//! once. Where that does not pass either, it is a limit, and all wait ([`Guess`]). Where it passes,
//! there is none, and the more often that happens, the surer it is the room: then it fails, and
//! holds up nobody any more.
//!
//! One room must not hold up the others, and what is learned of a limit comes from more than one.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::guess::{FIRST_PAUSE, Guess, doubled};

/// How often another room passes right after one did not, before it is the room.
const MOST_ALONE: u32 = 3;
/// How often a room is tried again while nothing speaks against a limit. With pauses of up to ten
/// minutes, these are hours.
const MOST_TRIES: u32 = 16;
/// How often, and for how long, it is tried where others passed at once, or more did than the
/// documented limit lets pass: for twice the time in which that limit lets another one pass. The tries
/// alone do not tell how long that was, since pauses begin anew with every limit that is met.
const TRIES_IN_DOUBT: u32 = 8;
const IN_DOUBT_FOR: SignedDuration = SignedDuration::from_mins(11);

/// For how long it is known of a room that it was the room, to whoever tries it again.
const GIVEN_UP_FOR: SignedDuration = SignedDuration::from_mins(10);

/// What it means that an invitation did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The invited account's server takes no more for now: all wait.
    Limit,
    /// It may be the room. It alone is to wait until then, as for a limit.
    Doubt(Timestamp),
    /// It is the room, most likely. It is to be out of the way until then.
    Aside(Timestamp),
    /// It is the room, and no use to wait.
    Room,
}

/// What is known of the limit of an invited account's server, and of rooms that are no proof of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts {
    guess: Guess,
    /// The room that alone did not pass since another one did, and what was known before.
    doubted: Option<(u64, Guess)>,
    /// The two rooms that are the proof of a limit.
    proof: Option<[u64; 2]>,
    rooms: HashMap<u64, Refusals>,
}

/// How it went with one room so far.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    /// How often it did not pass.
    tries: u32,
    /// How often another one passed right after that.
    alone: u32,
    /// When it did not pass for the first time.
    since: Option<Timestamp>,
    /// When it was taken for the room.
    given_up: Option<Timestamp>,
}

impl Doubts {
    pub(super) fn new(guess: Guess) -> Self {
        Self { guess, ..Self::default() }
    }

    /// What is known of the limit.
    pub(super) fn guess(&self) -> &Guess {
        &self.guess
    }

    /// When the next invitation may be sent, into whatever room; `None` when nothing speaks against
    /// sending it now.
    pub(super) fn opens(&self) -> Option<Timestamp> {
        if self.is_doubting() { None } else { self.guess.opens() }
    }

    /// Until when this room is to wait, while others need not.
    pub(super) fn room_opens(&self, room: u64) -> Option<Timestamp> {
        let (doubted, _) = self.doubted.as_ref()?;
        self.guess.opens().filter(|_| *doubted == room)
    }

    /// Ends a wait that was waited for.
    pub(super) fn end_wait(&mut self, until: Timestamp) {
        if self.guess.opens() == Some(until) {
            self.guess.next = None;
        }
    }

    /// Whether another room than the last is to be tried.
    pub(super) fn is_doubting(&self) -> bool {
        self.doubted.is_some()
    }

    /// Whether one at a time is to be sent.
    pub(super) fn is_learning(&self) -> bool {
        self.is_doubting() || self.guess.is_learning()
    }

    /// How often in a row the limit was met.
    pub(super) fn refused_in_a_row(&self) -> u32 {
        if self.is_doubting() { 0 } else { self.guess.refused_in_a_row() }
    }

    /// An invitation is sent.
    pub(super) fn take(&mut self) {
        if !self.is_doubting() {
            self.guess.take();
        }
    }

    /// An invitation into `room` passed.
    pub(super) fn passed(&mut self, room: u64, now: Timestamp) {
        self.rooms.remove(&room);
        if let Some((doubted, before)) = self.doubted.take()
            && doubted != room
        {
            self.guess = before;
            self.rooms.entry(doubted).or_default().alone += 1;
            // A room that others pass was no proof either, when two of them seemed to be one.
            if self.proof.take_if(|proof| proof.contains(&doubted)).is_some() {
                self.guess.void();
            }
        }
        self.guess.passed(now);
    }

    /// An invitation into `room` that was sent at `sent` did not pass. `documented` is the limit that
    /// such servers have, unless their admins say otherwise.
    pub(super) fn refused(
        &mut self,
        room: u64,
        (sent, now): (Timestamp, Timestamp),
        documented: Option<(Duration, u32)>,
    ) -> Verdict {
        let refusals = self.rooms.entry(room).or_default();
        match refusals.given_up {
            Some(at) if now.duration_since(at).abs() < GIVEN_UP_FOR => return Verdict::Room,
            Some(_) => *refusals = Refusals::default(),
            None => {}
        }
        refusals.tries += 1;
        let since = *refusals.since.get_or_insert(now);
        let Refusals { tries, alone, .. } = *refusals;
        let is_beyond = documented.is_some_and(|limit| self.guess.exceeds(now, limit));
        let in_doubt_until = (alone > 0 || is_beyond).then(|| since + IN_DOUBT_FOR);
        let is_out_of_doubt =
            tries >= TRIES_IN_DOUBT && in_doubt_until.is_some_and(|until| until <= now);
        if alone >= MOST_ALONE || is_out_of_doubt || tries > MOST_TRIES {
            self.give_up(room, now);
            return Verdict::Room;
        }
        // Pauses grow so long that the next one may end long after it is out of doubt.
        let no_later = |until: Timestamp| match in_doubt_until {
            Some(end) if end > now => until.min(end),
            _ => until,
        };
        match &self.doubted {
            // Several that were on their way together count as one.
            None if self.guess.is_older(sent) => return Verdict::Limit,
            None => self.doubted = Some((room, self.guess.clone())),
            Some((doubted, _)) if *doubted == room => {}
            // No wonder: others passed where this one did not. That proves nothing.
            Some(_) if alone > 0 => {
                return Verdict::Aside(no_later(now + doubled(FIRST_PAUSE, tries - 1)));
            }
            Some((doubted, before)) => {
                let is_no_wonder = self.rooms.get(doubted).is_some_and(|known| known.alone > 0);
                let since = self.guess.found_empty();
                self.guess = before.clone();
                if !is_no_wonder {
                    self.proof = Some([*doubted, room]);
                    self.doubted = None;
                    self.guess.empty_since(since);
                    self.guess.refused(sent, now);
                    return Verdict::Limit;
                }
                self.doubted = Some((room, self.guess.clone()));
            }
        }
        self.guess.refused(sent, now);
        self.guess.next = self.guess.next.map(no_later);
        Verdict::Doubt(self.guess.opens().unwrap_or(now))
    }

    /// Takes a failure for that of the room: it says nothing of the limit.
    fn give_up(&mut self, room: u64, now: Timestamp) {
        self.rooms.entry(room).or_default().given_up = Some(now);
        if let Some((_, before)) = self.doubted.take_if(|(doubted, _)| *doubted == room) {
            self.guess = before;
        }
    }
}
