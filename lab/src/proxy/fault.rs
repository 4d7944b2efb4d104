//! What goes wrong with one request.

use std::{convert::Infallible, fmt, future, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::stream;
use serde_json::Value;
use tokio::time;

use super::line::Broken;

/// What goes wrong with one request.
#[derive(Clone)]
pub enum Fault {
    /// The connection is reset, and the homeserver never hears of the request.
    Reset,
    /// The homeserver does what it is asked, and the connection is reset instead of an answer.
    Lost,
    /// Nothing comes back for as long as the client waits, and the homeserver never hears of the
    /// request.
    Hang,
    /// The homeserver hears of it after this time.
    Delay(Duration),
    /// The homeserver hears of it after this time, also when the client has given up, and nothing
    /// comes back.
    Late(Duration),
    /// The answer ends after this many bytes, and the connection with it.
    Cut(usize),
    /// The answer comes in pieces of this many bytes, with a pause before each.
    Drip(usize, Duration),
    /// This is the answer, and the homeserver never hears of the request.
    Answer {
        /// The HTTP status.
        status: StatusCode,
        /// Headers, besides `content-length`.
        headers: HeaderMap,
        /// The body.
        body: Vec<u8>,
    },
    /// The homeserver's answer is made into another one.
    Rewrite(Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>),
}

impl Fault {
    /// An answer with a Matrix error, or with any other JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::Answer {
            status,
            headers: HeaderMap::from_iter(headers),
            body: body.to_string().into(),
        }
    }

    /// An answer as proxies give it, without any Matrix error.
    pub fn status(status: u16) -> Self {
        let body = b"<html>not from the homeserver</html>".to_vec();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::Answer { status, headers: HeaderMap::new(), body }
    }

    /// The same answer with one more header. Changes no other fault.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.insert(name, value);
        }
        self
    }

    /// Changes the JSON that the homeserver answers.
    pub fn rewrite(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Rewrite(Arc::new(move |body| match serde_json::from_slice(&body) {
            Ok(mut json) => {
                change(&mut json);
                json.to_string().into()
            }
            Err(_no_json) => body,
        }))
    }

    /// What happens before the homeserver hears of the request: an end, or nothing.
    pub(super) async fn before(&self) -> Option<Result<Response, Broken>> {
        match self {
            Self::Reset => Some(Err(Broken)),
            Self::Hang | Self::Late(_) => future::pending().await,
            Self::Delay(delay) => {
                pause(*delay).await;
                None
            }
            Self::Answer { status, headers, body } => {
                let (status, headers, body) = (*status, headers.clone(), body.clone());
                Some(Ok(Outcome { status, headers, body }.into_response()))
            }
            Self::Lost | Self::Cut(_) | Self::Drip(..) | Self::Rewrite(_) => None,
        }
    }

    /// What becomes of the homeserver's answer.
    pub(super) fn after(&self, answer: Outcome) -> Result<Response, Broken> {
        match self {
            Self::Lost => Err(Broken),
            Self::Cut(length) => Ok(answer.cut(*length)),
            Self::Drip(length, delay) => Ok(answer.drip(*length, *delay)),
            Self::Rewrite(change) => {
                Ok(Outcome { body: change(answer.body), ..answer }.into_response())
            }
            _ => Ok(answer.into_response()),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("Reset"),
            Self::Lost => f.write_str("Lost"),
            Self::Hang => f.write_str("Hang"),
            Self::Late(delay) => f.debug_tuple("Late").field(delay).finish(),
            Self::Delay(delay) => f.debug_tuple("Delay").field(delay).finish(),
            Self::Cut(length) => f.debug_tuple("Cut").field(length).finish(),
            Self::Drip(length, delay) => f.debug_tuple("Drip").field(length).field(delay).finish(),
            Self::Answer { status, .. } => f.debug_tuple("Answer").field(status).finish(),
            Self::Rewrite(_) => f.write_str("Rewrite"),
        }
    }
}

/// An answer that is complete.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Outcome {
    pub(super) fn new(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, headers: HeaderMap::new(), body }
    }

    pub(super) fn into_response(self) -> Response {
        let body = self.body.clone();
        self.with_body(Body::from(body))
    }

    fn cut(self, length: usize) -> Response {
        let begin = self.body.get(..length).unwrap_or(&self.body).to_vec();
        let pieces = [Ok(Bytes::from(begin)), Err(Broken)];
        self.with_body(Body::from_stream(stream::iter(pieces)))
    }

    fn drip(self, length: usize, delay: Duration) -> Response {
        let pieces: Vec<_> = self.body.chunks(length.max(1)).map(Bytes::copy_from_slice).collect();
        let pieces = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
            let piece = pieces.next()?;
            pause(delay).await;
            Some((Ok::<_, Infallible>(piece), pieces))
        });
        self.with_body(Body::from_stream(pieces))
    }

    /// With the length of the whole body, however much of it `body` gives.
    fn with_body(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(header::CONTENT_LENGTH, self.body.len().into());
        response
    }
}

#[expect(clippy::disallowed_methods, reason = "being slow is what it is for")]
pub(super) async fn pause(delay: Duration) {
    time::sleep(delay).await;
}
