//! The simulated homeservers on loopback, for programs that can only be reached so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderName, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use ruma::exports::http;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Answer, Simulation};

/// The largest request.
const LARGEST: usize = 16 << 20;

/// Says when a request was sent, in microseconds since 1970, to homeservers whose time is that of
/// whoever asks. In the answer: how long they take for it, in microseconds.
pub const TIME: HeaderName = HeaderName::from_static("x-simulated-time");

/// Both homeservers at one address, until it is dropped.
#[derive(Debug)]
pub struct Served {
    url: String,
    server: JoinHandle<()>,
}

impl Simulation {
    /// Answers on loopback. Requests with the header [`TIME`] are answered at once, and told how
    /// long that is to have taken; all others are answered when they would be by real homeservers.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub async fn serve(&self) -> Result<Served> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let simulation = self.clone();
        let router = Router::new().fallback(move |request| simulation.clone().respond(request));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the simulation is not served any more");
            }
        });
        Ok(Served { url, server })
    }

    async fn respond(self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, LARGEST).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        let told = parts.headers.get(TIME).and_then(|time| time.to_str().ok()?.parse().ok());
        let now = told.map_or_else(system_time, Duration::from_micros);
        let answer = self.answer(&http::Request::from_parts(parts, body.to_vec()), now);
        if told.is_none() {
            pass(answer.hold).await;
        }
        into_response(answer)
    }
}

impl Served {
    /// The base URL of the homeserver `name`.
    pub fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// Where both are.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn into_response(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let hold = answer.hold.as_micros().to_string();
    (status, [(CONTENT_TYPE, answer.content_type), (TIME, hold)], answer.body).into_response()
}

#[expect(clippy::disallowed_methods, reason = "programs on loopback live in the system's time")]
fn system_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "programs on loopback live in the system's time")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
