//! How many messages the bot may send, as its homeserver shows. Answers go out at once; what can wait
//! leaves some for them.

use std::time::Duration;

use crate::{clock::Timestamp, homeserver::Kind};

/// How many messages are always left for answers.
const RESERVE: f64 = 3.0;
/// How many more than such a limit allows have to pass before it is taken for none.
const PROOF: f64 = 2.0;
/// The longest wait that is believed: it is asked again then.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What is assumed of a homeserver of which nothing is documented.
const UNKNOWN: (Duration, u32) = (Duration::from_secs(5), 10);

/// The bot's own budget of messages: that which homeservers have by default, until more pass than it
/// allows, or fewer.
#[derive(Debug)]
pub(super) struct Pace {
    /// Whether more passed than a limit would let pass.
    is_unlimited: bool,
    /// How many messages there were at `counted`, by this budget.
    left: f64,
    counted: Timestamp,
    /// How long from one to the next.
    interval: Duration,
    most: f64,
    /// How many more have to pass before the limit is taken for none: twice as many after each time
    /// that this was wrong.
    proof: f64,
    /// Until when the homeserver takes none.
    denied_until: Timestamp,
}

impl Pace {
    pub(super) fn new(is_unlimited: bool, now: Timestamp) -> Self {
        let (interval, burst) = Kind::Messages.documented().unwrap_or(UNKNOWN);
        let most = f64::from(burst);
        Self {
            is_unlimited,
            left: most,
            counted: now,
            interval,
            most,
            proof: PROOF,
            denied_until: now,
        }
    }

    /// A message was sent.
    pub(super) fn passed(&mut self, now: Timestamp) {
        self.count(now);
        self.left -= 1.0;
        self.is_unlimited |= self.left < -self.proof;
    }

    /// The homeserver takes none now: for so long, if it limits the bot, or because it is in trouble.
    pub(super) fn denied(&mut self, now: Timestamp, told: Option<Duration>) {
        if let Some(wait) = told {
            if self.is_unlimited {
                (self.is_unlimited, self.proof) = (false, self.proof * 2.0);
            }
            self.interval = self.interval.max(wait.min(LONGEST_WAIT));
        }
        self.count(now);
        self.left = self.left.min(0.0);
        self.denied_until = now + told.unwrap_or(self.interval).min(LONGEST_WAIT);
    }

    /// Whether a message may be sent that could also wait.
    pub(super) fn can_spare_one(&mut self, now: Timestamp) -> bool {
        self.count(now);
        !self.is_denied(now) && (self.is_unlimited || self.left >= RESERVE + 1.0)
    }

    /// Whether the homeserver is known to take none now. A time that is too far away was told before
    /// the machine's clock was set back.
    pub(super) fn is_denied(&self, now: Timestamp) -> bool {
        now < self.denied_until && self.denied_until <= now + self.interval
    }

    fn count(&mut self, now: Timestamp) {
        let passed = Duration::try_from(now.duration_since(self.counted)).unwrap_or_default();
        let come = passed.as_secs_f64() / self.interval.as_secs_f64();
        (self.left, self.counted) = ((self.left + come).min(self.most), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A homeserver that takes so many messages at once, and then one in each interval.
    struct Homeserver {
        left: f64,
        burst: f64,
        interval: f64,
        counted: f64,
    }

    impl Homeserver {
        fn new(interval: f64, burst: f64) -> Self {
            Self { left: burst, burst, interval, counted: 0.0 }
        }

        /// How long to wait, if it does not take a message at this time.
        fn take(&mut self, now: f64) -> Option<Duration> {
            self.left = (self.left + (now - self.counted) / self.interval).min(self.burst);
            self.counted = now;
            if self.left < 1.0 {
                return Some(Duration::from_secs_f64((1.0 - self.left) * self.interval));
            }
            self.left -= 1.0;
            None
        }
    }

    fn at(seconds: f64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    /// Sends for an hour whatever can wait, and an answer of `length` messages each minute. How many
    /// went out that could wait, and how often an answer met the limit.
    fn an_hour(pace: &mut Pace, server: &mut Homeserver, length: usize) -> (usize, usize) {
        let (mut sent, mut late) = (0, 0);
        for tick in 0..36_000_u32 {
            let now = f64::from(tick) / 10.0;
            let mut send = |pace: &mut Pace| {
                let denied = server.take(now);
                match denied {
                    Some(wait) => pace.denied(at(now), Some(wait)),
                    None => pace.passed(at(now)),
                }
                denied.is_none()
            };
            if tick % 600 == 599 {
                late += usize::from(!(0..length).all(|_| send(pace)));
            }
            if pace.can_spare_one(at(now)) {
                sent += usize::from(send(pace));
            }
        }
        (sent, late)
    }

    #[test]
    fn where_the_limit_is_as_documented_no_answer_ever_meets_it() {
        let mut pace = Pace::new(false, at(0.0));
        let (sent, late) = an_hour(&mut pace, &mut Homeserver::new(5.0, 10.0), 3);
        assert_eq!(late, 0);
        assert!((500..=720).contains(&sent), "{sent}");
    }

    #[test]
    fn where_more_answers_pass_than_a_limit_allows_nothing_waits_any_more() {
        let mut pace = Pace::new(false, at(0.0));
        let (sent, late) = an_hour(&mut pace, &mut Homeserver::new(0.01, 1000.0), 15);
        assert_eq!(late, 0);
        assert!(sent > 30_000, "{sent}");
    }

    #[test]
    fn a_limit_that_was_taken_for_none_is_seldom_met_again() {
        let mut pace = Pace::new(true, at(0.0));
        let (sent, late) = an_hour(&mut pace, &mut Homeserver::new(5.0, 10.0), 3);
        assert!(late <= 1, "{late}");
        assert!((500..=720).contains(&sent), "{sent}");
    }

    #[test]
    fn a_tighter_limit_is_kept_once_it_was_met() {
        let mut pace = Pace::new(false, at(0.0));
        let (sent, late) = an_hour(&mut pace, &mut Homeserver::new(30.0, 5.0), 1);
        assert!(late <= 3, "{late}");
        assert!(sent <= 65, "{sent}");
    }

    #[test]
    fn a_homeserver_in_trouble_is_left_alone_for_a_moment_and_not_taken_for_a_limit() {
        let mut pace = Pace::new(true, at(0.0));
        pace.denied(at(0.0), None);
        assert!(!pace.can_spare_one(at(1.0)));
        assert!(pace.can_spare_one(at(5.0)));
        pace.denied(at(5.0), Some(Duration::MAX));
        assert!(!pace.can_spare_one(at(304.0)));
        assert!(!pace.is_denied(at(306.0)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_hold_messages_back() {
        let mut pace = Pace::new(false, at(100_000.0));
        pace.denied(at(100_000.0), Some(Duration::from_secs(5)));
        assert!(pace.is_denied(at(100_001.0)));
        assert!(!pace.is_denied(at(50.0)));
        assert!(!pace.can_spare_one(at(50.0)));
        assert!(pace.can_spare_one(at(80.0)));
    }
}
