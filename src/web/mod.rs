//! HTTP: what homeservers send to the application service, and what tells an admin how the bot is.
//!
//! Of what homeservers push, an [`Audience`] says what it waits for; everything else is dropped
//! before its content is read, and neither stored nor logged. The listener knows nothing of what
//! becomes of the rest.
//!
//! Follows <https://spec.matrix.org/v1.17/application-service-api/#homeserver---application-service-api>.

mod credentials;
mod error;
mod observation;
mod pushed;
mod transactions;

use std::{future::IntoFuture as _, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    middleware,
    response::Response,
    routing::{get, post, put},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{credentials::Homeserver, error::Refusal};
pub use self::{
    observation::{Health, Observation},
    pushed::{Audience, Envelope, Nobody, Pushed},
};
use crate::{
    appservice::Appservices,
    store::Store,
    supervise::{self, Panicked},
};

const PING: &str = "/_matrix/app/v1/ping";

/// How long one request may take, from its first byte to the last of its answer.
const LONGEST_REQUEST: Duration = Duration::from_secs(60);

/// How long requests may still take that are on their way when the bot stops.
const LONGEST_END: Duration = Duration::from_secs(5);

/// Nothing can listen there.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot listen on {address}")]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl ListenError {
    /// Whether somebody listens there already.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// A place where requests are taken, and what answers them.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    router: Router,
}

impl Listener {
    /// Listens for homeservers that the bot is an application service of. Nothing is answered
    /// before [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// When the address, that of `web.listen`, cannot be listened on.
    pub async fn for_homeservers(
        address: SocketAddr,
        appservices: &Appservices,
        store: &Store,
        audience: Arc<dyn Audience>,
    ) -> Result<Self, ListenError> {
        let router = homeservers(appservices, store, audience);
        Ok(Self { listener: bind("web.listen", address).await?, router })
    }

    /// Listens for homeservers too, but answers only whether they reach the bot. What they push
    /// meanwhile is not acknowledged, and so comes again.
    ///
    /// # Errors
    ///
    /// When the address, that of `web.listen`, cannot be listened on.
    pub async fn for_pings(
        address: SocketAddr,
        appservices: &Appservices,
    ) -> Result<Self, ListenError> {
        let router = Router::new().route(PING, post(pong));
        let router = only_for(appservices, router);
        Ok(Self { listener: bind("web.listen", address).await?, router })
    }

    /// Listens for `/health` and `/metrics`.
    ///
    /// # Errors
    ///
    /// When the address, that of `web.metrics`, cannot be listened on.
    pub async fn for_admins(
        address: SocketAddr,
        observation: Observation,
    ) -> Result<Self, ListenError> {
        let router = observation.router().layer(middleware::from_fn(in_time));
        Ok(Self { listener: bind("web.metrics", address).await?, router })
    }

    /// Answers until `stop`, and then finishes what it is at.
    pub async fn serve(self, stop: CancellationToken) {
        let server = axum::serve(self.listener, self.router);
        let stopped = stop.clone().cancelled_owned();
        let mut server = pin!(server.with_graceful_shutdown(stopped).into_future());
        // It goes on after errors of single connections, and has no others.
        tokio::select! {
            _ = &mut server => {}
            () = stop.cancelled() => drop(tokio::time::timeout(LONGEST_END, server).await),
        }
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { key, address, source })
}

fn homeservers(appservices: &Appservices, store: &Store, audience: Arc<dyn Audience>) -> Router {
    let router = Router::new()
        .route("/_matrix/app/v1/transactions/{txn_id}", put(transactions::take))
        .route("/_matrix/app/v1/users/{user_id}", get(nothing_here))
        .route("/_matrix/app/v1/rooms/{room_alias}", get(nothing_here))
        .route(PING, post(pong))
        .layer(DefaultBodyLimit::max(transactions::LARGEST))
        .with_state(transactions::Taker::new(store.clone(), audience));
    only_for(appservices, router)
}

/// What lets these homeservers in, and nobody else.
fn only_for(appservices: &Appservices, router: Router) -> Router {
    let homeservers: Arc<[_]> =
        appservices.iter().map(|appservice| Arc::new(Homeserver::new(appservice))).collect();
    router
        .route_layer(middleware::from_fn_with_state(homeservers, credentials::check))
        .method_not_allowed_fallback(async || Refusal::WrongMethod)
        .fallback(async || Refusal::Unrecognized)
        .layer(middleware::from_fn(in_time))
}

async fn in_time(
    request: axum::extract::Request,
    next: middleware::Next,
) -> Result<Response, Refusal> {
    let answer = supervise::caught("web", next.run(request));
    let answer = tokio::time::timeout(LONGEST_REQUEST, answer).await;
    answer.map_err(|_| Refusal::TooSlow)?.map_err(|Panicked| Refusal::Panicked)
}

/// The bot makes no users and no rooms when it is asked for them.
async fn nothing_here() -> Refusal {
    Refusal::NotFound
}

/// The homeserver was asked, by [`tern check`], whether it reaches the bot.
///
/// [`tern check`]: https://spec.matrix.org/v1.17/application-service-api/#post_matrixappv1ping
async fn pong() -> Json<Value> {
    done()
}

/// What the specification wants to be answered where there is nothing to say.
fn done() -> Json<Value> {
    Json(json!({}))
}

#[cfg(test)]
mod tests;
