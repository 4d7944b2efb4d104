//! Work that takes long without waiting for anything, kept off the threads on which everybody is
//! answered.

use std::panic;

/// Runs `work` on a thread of its own, and gives back what came of it. One that panics, panics here.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // The program ends.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

/// The same, where it is so much that it is worth that: small work is done here and now.
pub(crate) async fn aside_if<T: Send + 'static>(
    is_much: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if is_much { aside(work).await } else { work() }
}
