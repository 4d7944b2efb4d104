//! What is answered.

use std::time::Duration;

use serde_json::{Value, json};

/// An answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// JSON, unless it is a file.
    pub body: Vec<u8>,
    /// Its MIME type.
    pub content_type: String,
    /// How long the homeserver takes until it answers. What was asked for is done before.
    pub hold: Duration,
}

impl Answer {
    pub(super) fn ok(body: &Value) -> Self {
        Self::json(200, body, Duration::ZERO)
    }

    pub(super) fn file(body: Vec<u8>, content_type: String) -> Self {
        Self { status: 200, body, content_type, hold: Duration::ZERO }
    }

    pub(super) fn after(self, hold: Duration) -> Self {
        Self { hold, ..self }
    }

    fn json(status: u16, body: &Value, hold: Duration) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, body, content_type: "application/json".to_owned(), hold }
    }
}

/// What a homeserver says instead of doing what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    pub(super) hold: Duration,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, retry_after: None, hold: Duration::ZERO }
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "M_FORBIDDEN", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "M_NOT_FOUND", message)
    }

    pub(super) fn limited(retry_after: Duration, hold: Duration) -> Self {
        let retry_after = Some(retry_after);
        Self { retry_after, hold, ..Self::new(429, "M_LIMIT_EXCEEDED", "Too Many Requests") }
    }

    pub(super) fn after(self, hold: Duration) -> Self {
        Self { hold, ..self }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let mut body = json!({ "errcode": refusal.code, "error": refusal.message });
        if let Some(wait) = refusal.retry_after {
            body["retry_after_ms"] = json!(wait.as_millis() as u64);
        }
        Self::json(refusal.status, &body, refusal.hold)
    }
}
