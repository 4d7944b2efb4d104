//! Waiting for a condition.

use std::{future::Future, time::Duration};

use anyhow::{Result, bail};
use tokio::time;

const PAUSE: Duration = Duration::from_millis(50);

/// Asks `condition` again and again until it gives a value.
///
/// # Errors
///
/// When `limit` has passed; the error says that `what` did not happen. Or at once with the error
/// that `condition` gives.
pub async fn until<T, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let polled = async {
        loop {
            if let Some(value) = condition().await? {
                return Ok(value);
            }
            pause().await;
        }
    };
    match time::timeout(limit, polled).await {
        Ok(result) => result,
        Err(_elapsed) => bail!("{what}: not within {} s", limit.as_secs()),
    }
}

#[expect(clippy::disallowed_methods, reason = "another process's state can only be polled")]
pub(crate) async fn pause() {
    time::sleep(PAUSE).await;
}
