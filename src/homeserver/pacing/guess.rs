//! What is known of a limit that a homeserver does not tell of: that of the invited account's
//! server on invitations that come over federation.
//!
//! It shows only in that invitations do not pass. So pauses grow until one passes; how many passed
//! in what time then tells how fast they may come. A try before that costs nothing but the try, and
//! what comes meanwhile stays in the bucket, so being late costs nothing either.

use std::time::Duration;

use jiff::Timestamp;

use super::bucket::{between, exceeds};

/// The first pause; each is twice the last.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How many must have passed after waits before the rate counts as known.
const ENOUGH: u32 = 2;
/// How many must pass after the last refusal before several are sent at a time again.
const PROBATION: u32 = 3;

/// A bucket that is guessed at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Guess {
    /// How long from one token to the next, as far as that is known.
    pub(super) interval: Option<Duration>,
    /// When to try next; `None` for at once.
    pub(super) next: Option<Timestamp>,
    /// When it was first found empty, and how many passed since.
    since: Option<(Timestamp, u32)>,
    /// How often in a row it was found empty.
    refused: u32,
    /// How many passed since it was last found empty.
    passed: u32,
    /// How many passed since it was first used, and when that was.
    all_passed: u32,
    first: Option<Timestamp>,
    /// When it was last found empty.
    refused_at: Option<Timestamp>,
}

impl Guess {
    /// One of which this much is known: how fast tokens come, and when to try next.
    pub(super) fn recalled(interval: Option<Duration>, next: Option<Timestamp>) -> Self {
        Self { interval, next, ..Self::default() }
    }

    /// When the next invitation may be sent; `None` when nothing speaks against sending it now.
    pub(super) fn opens(&self) -> Option<Timestamp> {
        self.next
    }

    /// When the next one may pass; `None` when it was not found empty yet.
    pub(super) fn expected(&self, now: Timestamp) -> Option<Timestamp> {
        self.next.or(self.since.map(|_| now))
    }

    /// Whether one at a time is to be sent.
    pub(super) fn is_learning(&self) -> bool {
        self.since.is_some() && self.passed < PROBATION
    }

    /// Whether what was sent at `sent` was on its way already when it was last found empty.
    pub(super) fn is_older(&self, sent: Timestamp) -> bool {
        self.refused_at.is_some_and(|at| sent < at)
    }

    /// Since when it is found empty, if it is.
    pub(super) fn found_empty(&self) -> Option<Timestamp> {
        self.since.map(|(since, _)| since)
    }

    /// It was empty at that time already, which only now is sure.
    pub(super) fn empty_since(&mut self, since: Option<Timestamp>) {
        self.since = self.since.or(since.map(|since| (since, 0)));
    }

    /// It was not empty: what was taken for that was something else. A rate that was learned from what
    /// passed stays, and is tried out as ever.
    pub(super) fn void(&mut self) {
        if self.interval.is_none() {
            let Self { all_passed, first, .. } = *self;
            *self = Self { all_passed, first, ..Self::default() };
        }
    }

    /// How often in a row it was found empty.
    pub(super) fn refused_in_a_row(&self) -> u32 {
        self.refused
    }

    /// Whether more passed by `now` than this limit allows, so that it does not hold here.
    pub(super) fn exceeds(&self, now: Timestamp, limit: (Duration, u32)) -> bool {
        exceeds(self.all_passed, self.first, now, limit)
    }

    /// An invitation is sent.
    pub(super) fn take(&mut self) {
        if let (Some(next), Some(interval)) = (self.next, self.interval) {
            self.next = Some(next + interval);
        }
    }

    /// An invitation passed.
    pub(super) fn passed(&mut self, now: Timestamp) {
        self.refused = 0;
        self.passed = self.passed.saturating_add(1);
        self.all_passed = self.all_passed.saturating_add(1);
        self.first.get_or_insert(now);
        let Some((since, count)) = &mut self.since else { return };
        *count += 1;
        if *count < ENOUGH {
            // There may be more in the bucket.
            self.next = None;
            return;
        }
        let interval = between(*since, now) / *count;
        self.interval = Some(interval);
        // Tried at once now and then, to see whether they may come faster than that.
        self.next = (!count.is_power_of_two()).then(|| *since + interval * (*count + 1));
    }

    /// An invitation that was sent at `sent` did not pass.
    pub(super) fn refused(&mut self, sent: Timestamp, now: Timestamp) {
        // Several that were on their way together count as one.
        if self.is_older(sent) {
            return;
        }
        self.refused += 1;
        self.passed = 0;
        self.refused_at = Some(now);
        let (since, count) = *self.since.get_or_insert((now, 0));
        let pause = match self.interval {
            Some(interval) => {
                let expected = since + interval * (count + 1);
                let again = doubled(interval / 8, self.refused - 1).min(interval);
                between(now, expected).max(again)
            }
            // What passed so far tells at least how slow it is.
            None => {
                let so_far = between(since, now).checked_div(count).unwrap_or_default() / 4;
                doubled(FIRST_PAUSE.max(so_far), self.refused - 1)
            }
        };
        self.next = Some(now + pause);
        if self.interval.is_some() && self.refused > 3 {
            // It is slower now than it was.
            self.interval = None;
            self.since = Some((now, 0));
        }
    }
}

/// A pause, doubled so many times.
pub(super) fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST_PAUSE)
}
