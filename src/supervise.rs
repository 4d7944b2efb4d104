//! What becomes of a mistake in the program.
//!
//! A task that panicked would be gone without a word, and with it what somebody waits for. Here each
//! is caught where it is begun, logged by its name, counted, and begun again, after a pause that
//! grows, since it may panic at the same thing again. No lock is left closed by it: tokio's open when
//! their guards go, and the standard library's are taken as they are.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{SharedClock, Timestamp},
    measure,
};

/// The pause before what panicked is begun again: the first, which doubles each time, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A task that went on for so long got over what it had panicked at.
const CALM: Duration = Duration::from_secs(600);
/// How often in a row something is tried that can be given up.
const MOST_TRIES: u32 = 4;

/// Something panicked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mistake in the program")
    }
}

/// Has panics logged by where in the program they are. What they say is left out: it may quote what
/// somebody wrote, or a secret.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "there is a mistake in the program: it panicked");
    }));
}

/// Does something once.
///
/// # Errors
///
/// [`Panicked`], when it did; that is logged and counted then.
pub(crate) async fn caught<T>(
    task: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Panicked> {
    // Whatever was being changed is read anew from the store, or was only this task's.
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_what_it_says| noticed(task))
}

/// Logs and counts that a task panicked, by a name that is the same for all of its kind.
pub(crate) fn noticed(task: &'static str) -> Panicked {
    tracing::error!(task, "a task panicked");
    measure::panicked(task);
    Panicked
}

/// Does something until it is done, begun again each time that it panics.
pub(crate) async fn persistently<T, F: Future<Output = T>>(
    task: &'static str,
    clock: &SharedClock,
    mut work: impl FnMut() -> F,
) -> T {
    let mut patience = Patience::default();
    loop {
        let began = clock.now();
        match caught(task, work()).await {
            Ok(done) => return done,
            Err(Panicked) => clock.sleep(patience.pause(began, clock.now())).await,
        }
    }
}

/// Does something until it is done or told to `stop`, begun again when it panics, but not for ever.
///
/// # Errors
///
/// [`Panicked`], when it did so every time.
pub(crate) async fn with_patience<T, F: Future<Output = T>>(
    task: &'static str,
    clock: &SharedClock,
    stop: &CancellationToken,
    mut work: impl FnMut() -> F,
) -> Result<Option<T>, Panicked> {
    let mut patience = Patience::default();
    loop {
        let began = clock.now();
        if let Ok(done) = caught(task, work()).await {
            return Ok(Some(done));
        }
        let pause = patience.pause(began, clock.now());
        if patience.panics == MOST_TRIES {
            return Err(Panicked);
        }
        tokio::select! {
            () = clock.sleep(pause) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// How often in a row something panicked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    panics: u32,
}

impl Patience {
    /// It panicked, once more: how long until it is begun again. It went on from `began` until `now`.
    pub(crate) fn pause(&mut self, began: Timestamp, now: Timestamp) -> Duration {
        let went_on = Duration::try_from(now.duration_since(began)).unwrap_or_default();
        self.panics = if went_on < CALM { self.panics.saturating_add(1) } else { 1 };
        let (first, longest) = PAUSES;
        first.saturating_mul(1 << (self.panics - 1).min(20)).min(longest)
    }

    /// Whether there is no use in trying the same thing again.
    pub(crate) fn is_over(self) -> bool {
        self.panics >= MOST_TRIES
    }

    /// It did not panic.
    pub(crate) fn renew(&mut self) {
        self.panics = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::clock::HeldClock;

    /// Panics so many times.
    async fn stumble(left: &AtomicU32) -> &'static str {
        let before =
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(before.is_err(), "a mistake");
        "done"
    }

    #[tokio::test]
    async fn what_panics_is_begun_again_after_pauses_that_grow() {
        let held = HeldClock::new(Timestamp::UNIX_EPOCH);
        let clock: SharedClock = held.clone();
        let left = Arc::new(AtomicU32::new(12));
        let working = tokio::spawn({
            let left = left.clone();
            async move { persistently("test", &clock, || stumble(&left)).await }
        });
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
            assert_eq!(held.asleep(1).await, Duration::from_secs(seconds));
            held.advance_to_next();
        }
        assert_eq!(working.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn what_panics_every_time_is_given_up_where_that_can_be_told() {
        let clock = HeldClock::new(Timestamp::UNIX_EPOCH);
        for (panics, ended) in [(3, Ok(Some("done"))), (4, Err(Panicked)), (1000, Err(Panicked))] {
            let left = Arc::new(AtomicU32::new(panics));
            let working = tokio::spawn({
                let (clock, left): (SharedClock, _) = (clock.clone(), left.clone());
                async move {
                    let stop = CancellationToken::new();
                    with_patience("test", &clock, &stop, || stumble(&left)).await
                }
            });
            for _ in 0..3 {
                clock.asleep(1).await;
                clock.advance_to_next();
            }
            assert_eq!(working.await.unwrap(), ended);
        }
    }

    #[test]
    fn who_got_over_it_is_tried_as_often_as_the_first_time() {
        let mut patience = Patience::default();
        let at = |minutes: i64| Timestamp::from_second(60 * minutes).unwrap();
        for seconds in [1, 2, 4] {
            assert_eq!(patience.pause(at(0), at(1)), Duration::from_secs(seconds));
        }
        assert!(!patience.is_over());
        assert_eq!(patience.pause(at(2), at(30)), Duration::from_secs(1));
        assert_eq!(patience.pause(at(30), at(31)), Duration::from_secs(2));
    }
}
