//! What is known of one token bucket on a homeserver, from what the homeserver answers.
//!
//! A homeserver that limits denies a request when the bucket is empty, and says when the next token
//! comes. Two such answers, with requests that passed in between, tell how fast tokens come. From
//! then on each request goes out when its token is there. Tokens that come while nothing is sent
//! stay in the bucket, so being late costs nothing; how many it holds need not be known.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Two measurements of the same rate differ by less than this part of it.
const TOLERANCE: f64 = 0.1;
/// And by less than this, for which the way to the homeserver is to blame.
const JITTER: Duration = Duration::from_millis(40);
/// No faster rate is worth pacing for.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Requests between the first two of those that are sent early, to see whether tokens come faster
/// by now. The number doubles each time, up to the second figure.
const EARLY_AFTER: (u32, u32) = (4, 32);
/// How many requests pass one after the other, where it is not known how fast tokens come, before
/// the limit counts as lifted.
const UNLIMITED_AFTER: u32 = 16;
/// How much too early a request may be that finds no token before all are sent a little later.
const NEARLY: Duration = Duration::from_millis(100);
/// How much later requests are sent at most.
const MOST_DELAY: Duration = Duration::from_millis(250);

/// A bucket that is paced to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bucket {
    /// How long from one token to the next; `None` before that was learned.
    pub(super) interval: Option<Duration>,
    /// When the next token comes that nothing was sent for; `None` before a limit was met.
    pub(super) next: Option<Timestamp>,
    /// When the homeserver last told exactly when a token comes, and since when it told the same
    /// rate.
    told: Option<Told>,
    /// Requests since it was first used.
    taken: u32,
    first_taken: Option<Timestamp>,
    /// How many of these passed.
    passed: u32,
    /// What had passed when it was first found empty, in what time.
    emptied_by: Option<(u32, Duration)>,
    early: Early,
    /// How much later than expected the token is asked for.
    delay: Duration,
    /// How many tokens are left over for others who draw from it.
    reserve: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    /// The last time, and how many tokens were taken since.
    last: (Timestamp, u32),
    /// The first time at this rate, and how many tokens were taken since.
    first: (Timestamp, u32),
    /// When the request was sent that was answered so.
    asked: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Early {
    /// Requests until one is sent early.
    left: u32,
    every: u32,
    /// When the last one was.
    sent: Option<Timestamp>,
}

impl Default for Early {
    fn default() -> Self {
        Self { left: EARLY_AFTER.0, every: EARLY_AFTER.0, sent: None }
    }
}

impl Early {
    /// Whether the request that was sent at `sent` is the one that was sent early, with none since.
    /// One from before it may be answered after it.
    fn is(&self, sent: Timestamp) -> bool {
        self.left == self.every && self.sent.is_some_and(|early| sent >= early)
    }
}

impl Bucket {
    /// One of which this much is known: how fast tokens come, and when the next one does.
    pub(super) fn recalled(interval: Option<Duration>, next: Option<Timestamp>) -> Self {
        Self { interval, next, ..Self::default() }
    }

    /// The same, of which so many tokens are left over for others, once it is known how fast they
    /// come.
    pub(super) fn with_reserve(self, reserve: u32) -> Self {
        Self { reserve, ..self }
    }

    /// When a request may be sent; `None` when nothing speaks against sending it now.
    pub(super) fn opens(&self) -> Option<Timestamp> {
        let next = self.next? + self.delay;
        match self.interval {
            Some(interval) if self.early.left == 0 => Some(next - early_by(interval)),
            // The reserve is used up first before one is sent early, or that one would find it.
            Some(interval) if self.early.left > self.reserve => {
                Some(next + interval * self.reserve)
            }
            _ => Some(next),
        }
    }

    /// Whether a limit was met and it is not known yet how fast tokens come: one request at a time
    /// then finds it out.
    pub(super) fn is_learning(&self) -> bool {
        self.next.is_some() && self.interval.is_none()
    }

    /// Takes a token for a request that is sent now.
    pub(super) fn take(&mut self, now: Timestamp) {
        self.taken = self.taken.saturating_add(1);
        self.first_taken.get_or_insert(now);
        let Some(next) = self.next else { return };
        if let Some(told) = &mut self.told {
            told.last.1 += 1;
            told.first.1 += 1;
        }
        let Some(interval) = self.interval else { return };
        // The bucket may have been full in between, and then tokens were lost: nothing can be
        // measured across such a time.
        if between(next, now) > interval * 2 {
            self.told = None;
        }
        self.next = Some(next + interval);
        if self.early.left == 0 {
            self.early = Early { left: self.early.every, sent: Some(now), ..self.early };
        } else {
            self.early.left -= 1;
        }
    }

    /// The request that a token was taken for last found none elsewhere, before it came here.
    pub(super) fn give_back(&mut self) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(told) = &mut self.told {
            told.last.1 = told.last.1.saturating_sub(1);
            told.first.1 = told.first.1.saturating_sub(1);
        }
        let (Some(next), Some(interval)) = (self.next, self.interval) else { return };
        self.next = Some(next - interval);
        self.early.left = if self.early.left == self.early.every { 0 } else { self.early.left + 1 };
    }

    /// A request passed that was sent at `sent`.
    pub(super) fn passed(&mut self, sent: Timestamp) {
        self.passed = self.passed.saturating_add(1);
        let Some(next) = self.next else { return };
        let is_open_again = match self.interval {
            // Sent early, and there was a token: they come faster than was known.
            Some(interval) => self.early.is(sent) && sent + JITTER < next - interval,
            None => self.told.is_none_or(|told| told.last.1 >= UNLIMITED_AFTER),
        };
        if is_open_again {
            *self = Self::default().with_reserve(self.reserve);
        }
    }

    /// A request found the bucket empty that was sent at `sent`: the next token comes at `next`.
    pub(super) fn denied(&mut self, sent: Timestamp, next: Timestamp) {
        if let (None, Some(first)) = (self.next, self.first_taken) {
            self.emptied_by = Some((self.taken.saturating_sub(1), between(first, sent)));
        }
        let was_early = self.early.is(sent) && self.interval.is_some();
        let expected = self.told.map(|told| told.last);
        match &mut self.told {
            // It was on its way beside the one that told the same, or is older.
            Some(told) if sent <= told.asked => {
                told.last.1 = told.last.1.saturating_sub(1);
                told.first.1 = told.first.1.saturating_sub(1);
                self.next = self.next.max(Some(next));
                return;
            }
            Some(told) => {
                // The token that this one took was none.
                told.last.1 = told.last.1.saturating_sub(1);
                told.first.1 = told.first.1.saturating_sub(1);
                let recent = rate(told.last, next);
                let long = rate(told.first, next);
                match (recent, long) {
                    (Some(recent), Some(long)) if is_same(recent, long, told.last.1) => {
                        self.interval = Some(long);
                    }
                    (Some(recent), _) => {
                        self.interval = Some(recent);
                        told.first = told.last;
                    }
                    (None, _) => {}
                }
                told.last = (next, 0);
                told.asked = sent;
                if self.interval.is_none() || told.first.1 == 0 {
                    told.first = (next, 0);
                }
            }
            None => {
                self.told = Some(Told { last: (next, 0), first: (next, 0), asked: sent });
            }
        }
        if was_early {
            self.early.every = (self.early.every * 2).min(EARLY_AFTER.1);
            self.early.left = self.early.every;
        } else if expected.is_some() && between(sent, next) < NEARLY {
            self.delay = (self.delay + between(sent, next) * 2).min(MOST_DELAY);
        }
        self.next = Some(next);
    }

    /// How many tokens the bucket holds when it is full, as far as that could be seen.
    pub(super) fn burst(&self) -> Option<u32> {
        let ((passed, time), interval) = (self.emptied_by?, self.interval?);
        let refilled = time.as_secs_f64() / interval.as_secs_f64();
        Some((f64::from(passed) - refilled.floor()).max(1.0) as u32)
    }

    /// How many tokens there were for a request that was sent at `sent`, and is taken for already:
    /// at least so many, where it is known when they come, and else when they come `by_default`.
    pub(super) fn left(&self, sent: Timestamp, by_default: (Duration, u32)) -> f64 {
        let (interval, burst) = (self.interval.unwrap_or(by_default.0), by_default.1);
        let in_tokens = |time: Duration| time.as_secs_f64() / interval.as_secs_f64();
        // How many came, when the first of them did so at this time.
        let since = |first| 1.0 + in_tokens(between(first, sent)) - in_tokens(between(sent, first));
        match (self.next, self.interval, self.told) {
            (Some(next), Some(interval), _) => since(next - interval),
            (Some(_), None, Some(Told { last: (first, taken), .. })) => {
                since(first) - f64::from(taken.saturating_sub(1))
            }
            (Some(next), None, None) => since(next),
            (None, ..) => {
                let used_for =
                    self.first_taken.map_or(Duration::ZERO, |first| between(first, sent));
                let before = f64::from(self.taken.saturating_sub(1));
                (f64::from(burst) - before + in_tokens(used_for)).clamp(0.0, f64::from(burst))
            }
        }
    }

    /// Whether more passed by `now` than this limit allows, so that it does not hold here.
    pub(super) fn exceeds(&self, now: Timestamp, (interval, burst): (Duration, u32)) -> bool {
        exceeds(self.passed, self.first_taken, now, (interval, burst))
    }

    /// Whether the homeserver may say this of the bucket: that the next token is `wait` away.
    pub(super) fn may_be_empty_for(&self, wait: Duration, by_default: Duration) -> bool {
        wait <= self.interval.unwrap_or(by_default).mul_f64(1.0 + TOLERANCE) + JITTER * 2
    }
}

/// Whether more than a limit allows passed between two moments.
pub(super) fn exceeds(
    passed: u32,
    since: Option<Timestamp>,
    now: Timestamp,
    (interval, burst): (Duration, u32),
) -> bool {
    let time = since.map_or(Duration::ZERO, |since| between(since, now));
    let allowed = f64::from(burst) + time.as_secs_f64() / interval.as_secs_f64();
    f64::from(passed) > allowed * (1.0 + TOLERANCE) + 1.0
}

/// How much before its token a request is sent that is to see whether tokens come faster. A denied
/// request is held for half a second, and answered before the token comes.
fn early_by(interval: Duration) -> Duration {
    (interval / 2).min(Duration::from_secs(1))
}

/// The time from one token to the next, if after `count` tokens since `from` the next one comes at
/// `to`.
fn rate((from, count): (Timestamp, u32), to: Timestamp) -> Option<Duration> {
    let interval = between(from, to).checked_div(count)?;
    (interval >= SHORTEST_INTERVAL).then_some(interval)
}

fn is_same(a: Duration, b: Duration, count: u32) -> bool {
    a.abs_diff(b) <= b.mul_f64(TOLERANCE).max(JITTER / count.max(1))
}

/// Zero when `to` is before `from`.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    let between: SignedDuration = to.duration_since(from);
    Duration::try_from(between).unwrap_or_default()
}
