use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::store::StoreError;

/// Why a request gets no other answer, as a [standard error response].
///
/// [standard error response]: https://spec.matrix.org/v1.17/client-server-api/#standard-error-response
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no token")]
    NoToken,
    #[error("this token is of no homeserver that the bot is registered on")]
    WrongToken,
    #[error("there is no such user or room")]
    NotFound,
    #[error("there is nothing at this path")]
    Unrecognized,
    #[error("this path is not asked in this way")]
    WrongMethod,
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    #[error("it took too long to arrive")]
    TooSlow,
    #[error("it did not arrive as a whole")]
    Broken,
    #[error("it is not JSON")]
    NotJson,
    #[error("it is not a transaction")]
    BadJson,
    #[error("the transaction ID is longer than {0} bytes")]
    LongId(usize),
    #[error("there is a mistake in the bot")]
    Panicked,
    /// The homeserver tries again later.
    #[error("the bot's store is broken")]
    Store(#[from] StoreError),
}

impl Refusal {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN"),
            Self::WrongToken => (StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Self::NotFound => (StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Self::Unrecognized => (StatusCode::NOT_FOUND, "M_UNRECOGNIZED"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN"),
            Self::Broken => (StatusCode::BAD_REQUEST, "M_UNKNOWN"),
            Self::NotJson => (StatusCode::BAD_REQUEST, "M_NOT_JSON"),
            Self::BadJson => (StatusCode::BAD_REQUEST, "M_BAD_JSON"),
            Self::LongId(_) => (StatusCode::BAD_REQUEST, "M_INVALID_PARAM"),
            Self::Panicked | Self::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.code();
        (status, Json(json!({ "errcode": code, "error": self.to_string() }))).into_response()
    }
}
