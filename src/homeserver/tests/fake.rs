use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    serve::ListenerExt as _,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

/// A request that arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) call: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// Answers `/versions` as a homeserver does, and everything else as the test says.
pub(super) struct Fake {
    url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Fake {
    /// `answer` is given the method and the end of the path, and how often that came before.
    pub(super) async fn start(
        answer: impl Fn(&str, usize) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let before: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        Self::start_asked(move |seen| {
            let count = {
                let mut before = before.lock().unwrap();
                let count = before.entry(seen.call.clone()).or_default();
                *count += 1;
                *count - 1
            };
            answer(&seen.call, count)
        })
        .await
    }

    /// `answer` is given the whole request.
    pub(super) async fn start_asked(
        answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let router = Router::new().fallback({
            let seen = seen.clone();
            async move |request: Request| {
                let request = read(request).await;
                if request.call == "GET versions" {
                    return json(200, &json!({ "versions": ["v1.12"] }));
                }
                seen.lock().unwrap().push(request.clone());
                answer(&request)
            }
        });
        let connections = Arc::<AtomicUsize>::default();
        let made = connections.clone();
        let listener = listener.tap_io(move |_| {
            made.fetch_add(1, Ordering::Relaxed);
        });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, connections, server }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections were made to it.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.call).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The path without what every path begins with, so that calls read well in tests.
async fn read(request: Request) -> Seen {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let path = ["/_matrix/client/v3/", "/_matrix/client/", "/"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .unwrap_or(path);
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Seen {
        call: format!("{} {path}", parts.method),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

pub(super) fn json(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

pub(super) fn ok() -> Response {
    json(200, &json!({ "room_id": "!arctic:example.org", "event_id": "$event" }))
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Response {
    json(status, &json!({ "errcode": code, "error": message }))
}

pub(super) fn limited(milliseconds: u64) -> Response {
    json(
        429,
        &json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "Too many", "retry_after_ms": milliseconds }),
    )
}

/// A body of `piece` again and again, without end.
pub(super) fn endless(piece: Vec<u8>) -> Response {
    let pieces = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
    Body::from_stream(pieces).into_response()
}

/// A body that never comes.
pub(super) fn silent() -> Response {
    Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>())
        .into_response()
}
