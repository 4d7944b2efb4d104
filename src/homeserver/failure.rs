use std::{borrow::Cow, error::Error, sync::LazyLock, time::Duration};

use jiff::Timestamp;
use regex::Regex;
use reqwest::{StatusCode, header};
use ruma::api::error::ErrorCode;
use serde::{Deserialize, Serialize};
use url::Url;

use super::addresses::Private;

/// How many characters of a homeserver's own words are kept.
const MESSAGE_LENGTH: usize = 200;
/// The longest error code, in bytes.
const CODE_LENGTH: usize = 64;

static INVISIBLE: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant that a test uses")]
    Regex::new(r"[\p{C}\p{Zl}\p{Zp}]").expect("the pattern is well-formed")
});

/// Why a request did not do what it was for. None of it carries a token or a request's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// The homeserver limits how often this may be asked (`M_LIMIT_EXCEEDED`, [rate limiting]).
    ///
    /// [rate limiting]: https://spec.matrix.org/v1.18/client-server-api/#rate-limiting
    #[error("the homeserver allows no more of these requests for now")]
    Limited {
        /// How long the homeserver wants to be left alone, when it says so.
        retry_after: Option<Duration>,
    },

    /// There was no answer. Worth a retry.
    #[error("{host} cannot be reached: {fault}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What went wrong on the way.
        fault: Fault,
    },

    /// The homeserver, or a proxy in front of it, failed (status 5xx or 408). Worth a retry.
    #[error("the homeserver failed with status {status}: {message}")]
    Faulty {
        /// The HTTP status.
        status: u16,
        /// The Matrix error code; `None` when the answer is not from a homeserver.
        code: Option<ErrorCode>,
        /// The homeserver's own words.
        message: String,
    },

    /// The answer is not what the Matrix specification says. Worth a few retries.
    #[error("the homeserver gave an answer that makes no sense: {what}")]
    Garbage {
        /// What is wrong with the answer.
        what: String,
    },

    /// There is more of it than Tern takes, and would be the next time.
    #[error("{0}")]
    TooMuch(Excess),

    /// The access token is not valid, or no longer (`M_UNKNOWN_TOKEN`, `M_MISSING_TOKEN`).
    #[error("the session is no longer valid")]
    TokenGone {
        /// Whether the same device may log in again ([soft logout]).
        ///
        /// [soft logout]: https://spec.matrix.org/v1.18/client-server-api/#soft-logout
        soft_logout: bool,
    },

    /// The account is deactivated (`M_USER_DEACTIVATED`).
    #[error("the account is deactivated")]
    Deactivated,

    /// The homeserver says no, and would say so again.
    #[error("the homeserver refused: {message} ({code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The Matrix error code.
        code: ErrorCode,
        /// The homeserver's own words.
        message: String,
    },

    /// The request cannot be sent at all, as with a token that holds a line break.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),

    /// The message is for an encrypted room, and cannot be encrypted.
    #[error("the message cannot be encrypted: {0}")]
    Unencryptable(String),

    /// The work was stopped while the request waited for its turn; it was not sent, or was last
    /// answered with a wait.
    #[error("stopped before it was sent")]
    Stopped,
}

/// What there is more of than Tern takes: a homeserver says how much it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Excess {
    /// One answer.
    #[error("the answer is larger than {most} bytes")]
    Answer {
        /// The most that is taken, in bytes.
        most: u64,
    },
    /// The rooms that one account has to do with.
    #[error("the account has {rooms} rooms, and {most} are moved at most")]
    Rooms {
        /// How many there are.
        rooms: u64,
        /// How many are moved at most.
        most: u64,
    },
    /// What was made of it, to be written down.
    #[error("it is too large to be written down")]
    Record,
    /// What it takes to read both accounts: the process ended each time.
    #[error("the process ended {times} times while the accounts were read")]
    Restarts {
        /// How many times, one after the other.
        times: u32,
    },
}

/// What went wrong on the way to a homeserver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// No connection: the name does not resolve, or nothing listens there.
    #[error("no connection ({0})")]
    NoConnection(String),
    /// The connection is not secure, most often because of its certificate.
    #[error("no secure connection ({0})")]
    Tls(String),
    /// The homeserver took too long.
    #[error("it did not answer in time")]
    Timeout,
    /// It is at an address of a private network, and not in the configuration.
    #[error("{0}")]
    Private(String),
    /// The connection broke before the answer was complete.
    #[error("the connection broke ({0})")]
    Broken(String),
}

impl Failure {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Limited { .. }
            | Self::Unreachable { .. }
            | Self::Faulty { .. }
            | Self::Garbage { .. }
            | Self::Stopped => true,
            Self::TooMuch(_)
            | Self::TokenGone { .. }
            | Self::Deactivated
            | Self::Refused { .. }
            | Self::Unsendable(_)
            | Self::Unencryptable(_) => false,
        }
    }

    /// Whether the homeserver is not there at all, as while it is restarted: nothing answers, or only
    /// a proxy does.
    pub fn is_away(&self) -> bool {
        self.is_no_connection()
            || matches!(self, Self::Faulty { status: 502..=504, code: None, .. })
    }

    /// Whether the homeserver has more to do than it can: it does not answer in time, or what is in
    /// front of it waits no longer.
    pub(crate) fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { fault: Fault::Timeout | Fault::Broken(_), .. }
                | Self::Faulty { status: 503, .. }
                | Self::Faulty { code: None, .. }
        )
    }

    /// Whether nothing answers where the homeserver is to be.
    pub(crate) fn is_no_connection(&self) -> bool {
        matches!(self, Self::Unreachable { fault: Fault::NoConnection(_), .. })
    }

    /// Whether the homeserver may have done what was asked, or may still do it.
    pub(crate) fn may_have_arrived(&self) -> bool {
        match self {
            Self::Unreachable { fault, .. } => matches!(fault, Fault::Timeout | Fault::Broken(_)),
            Self::Faulty { .. } | Self::Garbage { .. } | Self::TooMuch(_) => true,
            _ => false,
        }
    }

    /// How long the homeserver wants to be left alone, when it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after } => *retry_after,
            _ => None,
        }
    }

    /// The Matrix error code, when the homeserver gave one.
    pub fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Faulty { code, .. } => code.as_ref(),
            _ => None,
        }
    }

    /// Whether this is a homeserver's `M_NOT_FOUND`.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: ErrorCode::NotFound, .. })
    }

    /// Whether a join failed since no server that was asked is in the room and answered. There is no
    /// error code for that: these are Synapse's own words.
    pub fn is_without_a_way_in(&self) -> bool {
        match self {
            Self::Faulty { message, .. } => message.ends_with("via any server"),
            Self::Refused { message, .. } => message.contains("no servers that are in the room"),
            _ => false,
        }
    }

    /// The homeserver limits one request without end.
    pub(super) fn endlessly_limited() -> Self {
        let message = "it allows no more of these requests, however long they wait".to_owned();
        let code = Some(ErrorCode::LimitExceeded);
        Self::Faulty { status: StatusCode::TOO_MANY_REQUESTS.as_u16(), code, message }
    }

    /// Sorts an answer whose status is not a success.
    pub(super) fn from_answer(
        status: StatusCode,
        headers: &header::HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Self {
        let body = serde_json::from_slice::<ErrorBody>(body).ok();
        if status == StatusCode::TOO_MANY_REQUESTS
            || body.as_ref().is_some_and(|body| body.errcode == ErrorCode::LimitExceeded)
        {
            return Self::Limited { retry_after: retry_after(headers, body.as_ref(), now) };
        }
        let worth_a_retry = status == StatusCode::REQUEST_TIMEOUT
            || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED);
        let status = status.as_u16();
        let body = body.map(|body| ErrorBody { errcode: well_formed(body.errcode), ..body });
        match body {
            Some(body) if worth_a_retry => {
                Self::Faulty { status, code: Some(body.errcode), message: readable(&body.error) }
            }
            Some(body) => body.into_final(status),
            None if worth_a_retry => {
                Self::Faulty { status, code: None, message: "no Matrix error in the answer".into() }
            }
            None => Self::Garbage { what: format!("status {status} without a Matrix error") },
        }
    }

    /// Whoever asked waits no longer for what is at `base_url`.
    pub(crate) fn too_late(base_url: &Url) -> Self {
        Self::Unreachable { host: base_url.authority().to_owned(), fault: Fault::Timeout }
    }

    /// Sorts what reqwest reports when there is no answer, or none that is complete.
    pub(super) fn from_transport(host: &str, error: &reqwest::Error) -> Self {
        Self::Unreachable { host: host.to_owned(), fault: Fault::from_transport(error) }
    }
}

impl From<Private> for Fault {
    fn from(private: Private) -> Self {
        Self::Private(private.to_string())
    }
}

impl Fault {
    fn from_transport(error: &reqwest::Error) -> Self {
        if let Some(tls) = causes(error).find_map(tls_error) {
            return Self::Tls(readable(&tls.to_string()));
        }
        if let Some(private) = causes(error).find_map(|cause| cause.downcast_ref::<Private>()) {
            return Self::from(*private);
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        // reqwest's own words hold the URL; the innermost cause is what a person can act on.
        let cause = causes(error).last().map_or_else(String::new, |cause| cause.to_string());
        let cause = readable(&cause);
        if error.is_connect() { Self::NoConnection(cause) } else { Self::Broken(cause) }
    }
}

fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |error| (*error).source())
}

/// hyper-rustls hands a TLS error over inside I/O errors, whose `source` skips what is inside.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    error
        .downcast_ref::<rustls::Error>()
        .or_else(|| tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?))
}

/// The [standard error response], with what some errors add.
///
/// [standard error response]: https://spec.matrix.org/v1.18/client-server-api/#standard-error-response
#[derive(Deserialize)]
struct ErrorBody {
    errcode: ErrorCode,
    #[serde(default)]
    error: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    soft_logout: bool,
}

impl ErrorBody {
    fn into_final(self, status: u16) -> Failure {
        match self.errcode {
            ErrorCode::UnknownToken | ErrorCode::MissingToken => {
                Failure::TokenGone { soft_logout: self.soft_logout }
            }
            ErrorCode::UserDeactivated => Failure::Deactivated,
            code => Failure::Refused { status, code, message: readable(&self.error) },
        }
    }
}

/// The body's milliseconds are preferred: homeservers round the header up to whole seconds.
fn retry_after(
    headers: &header::HeaderMap,
    body: Option<&ErrorBody>,
    now: Timestamp,
) -> Option<Duration> {
    if let Some(milliseconds) = body.and_then(|body| body.retry_after_ms) {
        return Some(Duration::from_millis(milliseconds));
    }
    let header = headers.get(header::RETRY_AFTER)?;
    match ruma::api::error::RetryAfter::try_from(header).ok()? {
        ruma::api::error::RetryAfter::Delay(delay) => Some(delay),
        ruma::api::error::RetryAfter::DateTime(time) => {
            let time = Timestamp::try_from(time).ok()?;
            Some(Duration::try_from(time.duration_since(now)).unwrap_or_default())
        }
    }
}

/// Whether an error code is one of those that the specification has.
pub(super) fn is_known(code: &ErrorCode) -> bool {
    !matches!(code, ErrorCode::_Custom(_))
}

/// Codes are shown as they are, so one that is not written as the specification writes them is no
/// code.
fn well_formed(code: ErrorCode) -> ErrorCode {
    let is_code = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-');
    if code.as_str().len() <= CODE_LENGTH && code.as_str().chars().all(is_code) {
        code
    } else {
        ErrorCode::Unknown
    }
}

/// Without what moves the cursor, breaks the line, turns text around, or is not seen at all.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    INVISIBLE.replace_all(text, "")
}

/// A stranger's words, made fit for a log line or a chat message.
pub(super) fn readable(text: &str) -> String {
    let text = visible(text);
    let mut readable: String = text.chars().take(MESSAGE_LENGTH).collect();
    if text.chars().count() > MESSAGE_LENGTH {
        readable.push('…');
    }
    readable
}
