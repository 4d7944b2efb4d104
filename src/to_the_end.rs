//! What is done as a whole once it was begun.

use std::{future::pending, panic::resume_unwind};

/// Does it to the end, also where whoever asked for it is dropped in the middle: a command that
/// took too long, or a person's task when the bot logs in anew. What was written down is then also
/// known, and what follows from it is done.
pub(crate) async fn to_the_end<T: Send + 'static>(
    doing: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(doing).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The process ends.
            Err(_) => pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn who_asked_for_it_may_be_dropped() {
        let (go_on, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, tell) = (go_on.clone(), done.clone());
        let mut asked = Box::pin(to_the_end(async move {
            told.notified().await;
            tell.notify_one();
        }));
        assert!(asked.as_mut().now_or_never().is_none());
        drop(asked);
        go_on.notify_one();
        done.notified().await;
    }
}
