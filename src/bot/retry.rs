//! What a failed request of the bot's own means, and trying again.

use std::time::Duration;

use matrix_sdk::{
    Error, HttpError,
    ruma::api::error::{ErrorKind, RetryAfter},
};

use crate::{clock::SharedClock, homeserver::Failure};

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What a failed request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The same request may succeed later; after this time, if the homeserver says.
    Passing(Option<Duration>),
    /// The homeserver does not know the bot's session any more.
    SessionGone,
    /// It would fail again.
    Final,
}

/// A failed request of the bot's own.
pub(super) trait Failed: std::fmt::Display {
    /// What that means.
    fn fate(&self) -> Fate;
}

impl Failed for Error {
    fn fate(&self) -> Fate {
        fate(self)
    }
}

impl Failed for Failure {
    fn fate(&self) -> Fate {
        match self {
            Self::Limited { retry_after } => Fate::Passing(*retry_after),
            failure if failure.is_retryable() => Fate::Passing(None),
            _ => Fate::Final,
        }
    }
}

/// Sorts a failed request.
pub(super) fn fate(error: &Error) -> Fate {
    let Error::Http(http) = error else { return Fate::Final };
    let Some(answer) = http.as_client_api_error() else {
        return match **http {
            HttpError::Reqwest(_) | HttpError::Api(_) => Fate::Passing(None),
            _ => Fate::Final,
        };
    };
    match answer.error_kind() {
        Some(ErrorKind::UnknownToken(_) | ErrorKind::MissingToken) => Fate::SessionGone,
        Some(ErrorKind::LimitExceeded(limit)) => Fate::Passing(match limit.retry_after {
            Some(RetryAfter::Delay(delay)) => Some(delay),
            _ => None,
        }),
        // Somebody removed the device that an application service had made.
        Some(kind) if kind.errcode().as_str() == "M_UNKNOWN_DEVICE" => Fate::SessionGone,
        _ => match answer.status_code.as_u16() {
            408 | 429 | 500..600 => Fate::Passing(None),
            _ => Fate::Final,
        },
    }
}

/// Growing pauses between tries.
#[derive(Debug)]
pub(super) struct Backoff {
    clock: SharedClock,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, next: PAUSES.0 }
    }

    /// Waits as long as the homeserver says, or else longer each time.
    pub(super) async fn wait(&mut self, told: Option<Duration>) {
        let pause = told.unwrap_or(self.next);
        if told.is_none() {
            self.next = (self.next * 2).min(PAUSES.1);
        }
        self.clock.sleep(pause).await;
    }
}

/// Tries until it succeeds or fails for good.
pub(super) async fn until_final<T, E, F>(
    clock: &SharedClock,
    mut request: impl FnMut() -> F,
) -> Result<T, E>
where
    E: Failed,
    F: Future<Output = Result<T, E>>,
{
    let mut backoff = Backoff::new(clock.clone());
    loop {
        let error = match request().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match error.fate() {
            Fate::Passing(told) => {
                tracing::debug!(%error, "a request is tried again");
                backoff.wait(told).await;
            }
            // The sync notices, too, and starts everything anew.
            Fate::SessionGone => std::future::pending().await,
            Fate::Final => return Err(error),
        }
    }
}
