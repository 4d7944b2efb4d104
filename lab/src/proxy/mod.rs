//! A reverse proxy in front of a homeserver that fails where a test tells it to.
//!
//! What a [`Rule`] matches meets its [`Fault`]; everything else passes unchanged. Clients are led
//! through it by its [`url`](Proxy::url), say in the `homeservers` of the bot's configuration.

mod fault;
mod line;
mod rule;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::{
    body::Body,
    http::{HeaderMap, Method, StatusCode, header, request::Parts, uri::PathAndQuery},
    response::Response,
};
use ruma::exports::http;
use tokio::{net::TcpListener, task::JoinHandle};

pub use self::{fault::Fault, rule::Rule};
use self::{fault::Outcome, line::Broken};
use crate::{Homeserver, random};

/// More than the sync of any account in a test.
const LARGEST_BODY: usize = 256 << 20;

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    /// `None` while connections are refused.
    listening: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct State {
    homeserver: String,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<(Method, String)>>,
}

impl Proxy {
    /// Starts one in front of the client-server API of a homeserver, without any rule.
    pub async fn before(homeserver: &Homeserver) -> Result<Self> {
        let state = State {
            homeserver: homeserver.url().to_owned(),
            rules: Mutex::default(),
            seen: Mutex::default(),
        };
        let proxy =
            Self { port: random::port()?, state: Arc::new(state), listening: Mutex::default() };
        proxy.accept().await?;
        Ok(proxy)
    }

    /// Base URL of the client-server API through the proxy, plain HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a rule. Of several that match a request, the one that was added first counts.
    pub fn add(&self, rule: Rule) {
        lock(&self.state.rules).push(rule);
    }

    /// Lets everything pass again. Requests that a rule holds up already stay held up.
    pub fn clear(&self) {
        lock(&self.state.rules).clear();
    }

    /// How many requests of this method, whose path and query have this part, have come so far,
    /// whatever became of them.
    pub fn seen(&self, method: &Method, part: &str) -> usize {
        let seen = lock(&self.state.seen);
        seen.iter().filter(|(known, target)| known == method && target.contains(part)).count()
    }

    /// Refuses connections, and breaks those that there are.
    pub async fn refuse(&self) {
        let listening = lock(&self.listening).take();
        if let Some(listening) = listening {
            listening.abort();
            let _aborted = listening.await;
        }
    }

    /// Accepts connections again.
    pub async fn accept(&self) -> Result<()> {
        self.refuse().await;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
        let state = Arc::clone(&self.state);
        let task = tokio::spawn(line::serve(listener, move |request| {
            let state = Arc::clone(&state);
            async move { state.answer(request).await }
        }));
        *lock(&self.listening) = Some(task);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(listening) = lock(&self.listening).take() {
            listening.abort();
        }
    }
}

impl State {
    async fn answer(self: &Arc<Self>, request: http::Request<Body>) -> Result<Response, Broken> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, LARGEST_BODY).await.map_err(|_gone| Broken)?;
        let target = rule::readable(parts.uri.path_and_query().map_or("/", PathAndQuery::as_str));
        lock(&self.seen).push((parts.method.clone(), target.clone()));
        let fault = {
            let mut rules = lock(&self.rules);
            rules.iter_mut().find_map(|rule| rule.meet(&parts.method, &target))
        };
        let Some(fault) = fault else { return Ok(self.pass(&parts, body).await?.into_response()) };
        tracing::debug!(method = %parts.method, target, ?fault, "a fault");
        if let Fault::Late(delay) = fault {
            let (state, parts, body) = (Arc::clone(self), parts.clone(), body.clone());
            tokio::spawn(async move {
                fault::pause(delay).await;
                drop(state.pass(&parts, body).await);
            });
        }
        if let Some(outcome) = fault.before().await {
            return outcome;
        }
        fault.after(self.pass(&parts, body).await?)
    }

    /// Hands a request to the homeserver.
    async fn pass(&self, parts: &Parts, body: axum::body::Bytes) -> Result<Outcome, Broken> {
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let url = format!("{}{target}", self.homeserver);
        let request = crate::http()
            .request(parts.method.clone(), url)
            .headers(end_to_end(&parts.headers))
            .body(body);
        // As proxies do, in words that are no Matrix error.
        let Ok(answer) = request.send().await else {
            return Ok(Outcome::new(StatusCode::BAD_GATEWAY, "<html>Bad Gateway</html>".into()));
        };
        let (status, headers) = (answer.status(), end_to_end(answer.headers()));
        let body = answer.bytes().await.map_err(|_gone| Broken)?;
        Ok(Outcome { status, headers, body: body.into() })
    }
}

/// Headers without those that belong to one connection, or that the other end writes itself.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::HOST,
        header::TRANSFER_ENCODING,
        header::ACCEPT_ENCODING,
    ] {
        headers.remove(name);
    }
    headers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
