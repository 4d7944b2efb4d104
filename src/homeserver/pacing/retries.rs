//! When what failed for now is sent again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};

use super::{Failure, Persistence};

/// How often what is worth a retry is sent again.
const MOST_RETRIES: usize = 4;
/// For how long a homeserver that is away is waited for by what outlasts that, and how often it is
/// looked for.
const AWAY_FOR: SignedDuration = SignedDuration::from_hours(24);
const AWAY_PAUSE: Duration = Duration::from_secs(30);

/// The retries that something has left.
#[derive(Debug)]
pub(crate) struct Retries {
    pauses: ExponentialBackoff,
    persistence: Persistence,
    begun: Timestamp,
}

impl Retries {
    /// Pauses of about 2, 6, 18 and 54 seconds, unless configured otherwise: a homeserver that is
    /// restarted is back by then.
    pub(super) fn new(
        persistence: Persistence,
        first_pause: Duration,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(first_pause)
            .with_factor(3.0)
            .with_max_times(MOST_RETRIES)
            .with_jitter()
            .with_jitter_seed(seed)
            .build();
        Self { pauses, persistence, begun: now }
    }

    /// How long to wait before the next try; nothing if there is to be none.
    pub(crate) fn pause_after(&mut self, failure: &Failure, now: Timestamp) -> Option<Duration> {
        if !failure.is_retryable() || self.persistence == Persistence::Once {
            return None;
        }
        let is_waited_for = self.persistence == Persistence::Outlasting
            && failure.is_away()
            && now.duration_since(self.begun) < AWAY_FOR;
        self.pauses.next().or_else(|| is_waited_for.then_some(AWAY_PAUSE))
    }
}
