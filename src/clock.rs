//! Time, as a parameter: the only place that reads the system's clock or sleeps.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
pub use jiff::Timestamp;

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
