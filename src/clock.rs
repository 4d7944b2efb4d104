//! Time, as a parameter: the only place that reads the system's clock or sleeps.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
pub use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

/// Tells the time and waits. Tests hold it; everything else uses [`SystemClock`].
pub trait Clock: Debug + Send + Sync {
    /// The time now, as wall-clock time: it may jump when the machine's clock is set.
    fn now(&self) -> Timestamp;

    /// Completes once `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A clock that is shared by everything in one bot.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock for tests, that stands still until it is [advanced](Self::advance).
#[derive(Debug)]
pub struct HeldClock {
    state: Mutex<Held>,
    changed: Notify,
}

#[derive(Debug)]
struct Held {
    now: Timestamp,
    /// By when they wake, and in which order they went to sleep.
    sleepers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    slept: u64,
}

impl HeldClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Arc<Self> {
        let state = Mutex::new(Held { now, sleepers: BTreeMap::new(), slept: 0 });
        Arc::new(Self { state, changed: Notify::new() })
    }

    /// Lets time pass, and wakes who has slept long enough.
    pub fn advance(&self, duration: Duration) {
        let mut held = self.held();
        let now = held.now + duration;
        held.now = now;
        while let Some(first) = held.sleepers.first_entry()
            && first.key().0 <= now
        {
            // A sleeper that was dropped needs no waking.
            let _ = first.remove().send(());
        }
    }

    /// Sets the time, as an admin sets a machine's clock: who sleeps, sleeps on as long as before.
    pub fn set(&self, time: Timestamp) {
        let mut held = self.held();
        let jump = time.duration_since(held.now);
        held.now = time;
        let sleepers = std::mem::take(&mut held.sleepers).into_iter();
        held.sleepers =
            sleepers.map(|((until, place), sleeper)| ((until + jump, place), sleeper)).collect();
    }

    /// Lets time pass until the first who sleeps wakes. Whether there was one.
    pub fn advance_to_next(&self) -> bool {
        let mut held = self.held();
        while let Some(first) = held.sleepers.first_entry() {
            let until = first.key().0;
            let sleeper = first.remove();
            if !sleeper.is_closed() {
                held.now = held.now.max(until);
                let _ = sleeper.send(());
                return true;
            }
        }
        false
    }

    /// Completes once `count` sleep, and tells how long it is until the first of them wakes.
    pub async fn asleep(&self, count: usize) -> Duration {
        loop {
            let changed = self.changed.notified();
            {
                let mut held = self.held();
                held.sleepers.retain(|_, sleeper| !sleeper.is_closed());
                if held.sleepers.len() >= count {
                    let first = held.sleepers.first_key_value().map(|((until, _), _)| *until);
                    let first = first.unwrap_or(held.now).duration_since(held.now);
                    return Duration::try_from(first).unwrap_or_default();
                }
            }
            changed.await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for HeldClock {
    fn now(&self) -> Timestamp {
        self.held().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (sleeper, woken) = oneshot::channel();
        let mut held = self.held();
        let until = held.now + duration;
        if until <= held.now {
            return Box::pin(async {});
        }
        held.slept += 1;
        let place = (until, held.slept);
        held.sleepers.insert(place, sleeper);
        drop(held);
        self.changed.notify_waiters();
        Box::pin(async move {
            // The clock is gone: nobody lets time pass any more.
            if woken.await.is_err() {
                std::future::pending().await
            }
        })
    }
}
