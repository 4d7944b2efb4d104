//! How matrix-sdk acts as a device of an account that an application service covers.
//!
//! Requests with the `as_token` have to name the account and the device, and matrix-sdk cannot have
//! them do so. It sends them to a listener on loopback instead, which puts that in and passes them
//! on. Who does not show a secret that is made up anew each time gets nothing by it: matrix-sdk has
//! that in place of an access token, and never sees the `as_token`.

use std::{io, net::Ipv4Addr, sync::Arc};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use rand::{Rng, distr::Alphanumeric};
use reqwest::header;
use ruma::{DeviceId, OwnedDeviceId, exports::http};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::OwnUser;
use crate::{
    homeserver::{Failure, transport::name_in_query},
    secret::{ExposeSecret as _, Secret},
};

/// The largest request, in bytes: far more than any report that the bot uploads.
const LARGEST_REQUEST: usize = 50 << 20;
/// As long as no guess reaches.
const SECRET_LENGTH: usize = 64;
/// What of a request and of its answer is passed on, besides the body.
const ASKED: [header::HeaderName; 2] = [header::CONTENT_TYPE, header::ACCEPT];
const ANSWERED: [header::HeaderName; 2] = [header::CONTENT_TYPE, header::RETRY_AFTER];

/// Passes requests on to a homeserver as one device, until it is dropped.
#[derive(Debug)]
pub(crate) struct Forwarder {
    base_url: Url,
    secret: Secret,
    client: reqwest::Client,
    _stop: DropGuard,
}

impl Forwarder {
    /// Listens on a port that the system chooses.
    ///
    /// # Errors
    ///
    /// When nothing can listen on loopback, or no HTTP client can be set up.
    pub(super) async fn start(
        own_user: OwnUser,
        device_id: &DeviceId,
        rng: &mut impl Rng,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base_url = Url::parse(&format!("http://{}", listener.local_addr()?))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
        let secret: String =
            rng.sample_iter(Alphanumeric).take(SECRET_LENGTH).map(char::from).collect();
        let secret = Secret::from(secret);
        let device = Device { own_user, device_id: device_id.to_owned(), secret: secret.clone() };
        let router = Router::new().fallback(pass_on).with_state(Arc::new(device));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
        tokio::spawn(async move { server.await });
        Ok(Self { base_url, secret, client, _stop: stop.drop_guard() })
    }

    /// What matrix-sdk takes for the homeserver.
    pub(crate) fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// The client that matrix-sdk is to use. It goes past any proxy that the environment names: what
    /// is for this process alone is not to leave it.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// What matrix-sdk takes for its access token.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// As which device requests are passed on.
#[derive(Debug)]
struct Device {
    own_user: OwnUser,
    device_id: OwnedDeviceId,
    secret: Secret,
}

async fn pass_on(State(device): State<Arc<Device>>, request: Request) -> Response {
    match device.pass_on(request).await {
        Ok(answer) => answer,
        // As a proxy answers: matrix-sdk's caller tries again.
        Err(failure) => refusal(502, "M_UNKNOWN", &failure.to_string()),
    }
}

fn refusal(status: u16, code: &str, error: &str) -> Response {
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    (status, Json(json!({ "errcode": code, "error": error }))).into_response()
}

impl Device {
    async fn pass_on(&self, request: Request) -> Result<Response, Failure> {
        let (asked, body) = request.into_parts();
        let token = asked.headers.get(header::AUTHORIZATION).map(|token| token.as_bytes());
        let is_own = token.map(|token| self.is_secret(token));
        if is_own == Some(false) {
            return Ok(refusal(401, "M_UNKNOWN_TOKEN", "this is for the bot alone"));
        }
        if asked.uri.query().is_some_and(names_somebody) {
            return Ok(refusal(403, "M_FORBIDDEN", "the bot is nobody but itself"));
        }
        let Ok(body) = to_bytes(body, LARGEST_REQUEST).await else {
            return Ok(refusal(413, "M_TOO_LARGE", "it is too large"));
        };
        let request = self.request(&asked, body.into(), is_own.is_some()).await?;
        let answer = self.own_user.transport.pass_on(request).await?;
        Ok(answered(answer))
    }

    fn is_secret(&self, token: &[u8]) -> bool {
        token
            .strip_prefix(b"Bearer ")
            .is_some_and(|token| token.ct_eq(self.secret.expose_secret().as_bytes()).into())
    }

    /// What the homeserver is asked: as the device, or as nobody, as for the versions of the
    /// specification that it knows.
    async fn request(
        &self,
        asked: &http::request::Parts,
        body: Vec<u8>,
        as_device: bool,
    ) -> Result<http::Request<Vec<u8>>, Failure> {
        let own_user = &self.own_user;
        let unsendable = |error: http::Error| Failure::Unsendable(error.to_string());
        let server = own_user.transport.discover_for_service(own_user.appservice.server()).await?;
        let base_url = server.base_url().as_str().trim_end_matches('/');
        let target = asked.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = http::Request::builder()
            .method(asked.method.clone())
            .uri(format!("{base_url}{target}"))
            .body(body)
            .map_err(unsendable)?;
        for name in ASKED {
            if let Some(value) = asked.headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        if as_device {
            let token = format!("Bearer {}", own_user.appservice.as_token().expose_secret());
            let token = token.parse().map_err(|_| Failure::Unsendable("as_token".to_owned()))?;
            request.headers_mut().insert(header::AUTHORIZATION, token);
            name_in_query(&mut request, "user_id", own_user.user_id.as_str())?;
            name_in_query(&mut request, "device_id", self.device_id.as_str())?;
        }
        Ok(request)
    }
}

/// Whether a query says already whom a request is from, which nobody but [`Device`] may say.
fn names_somebody(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(key, _)| matches!(key.as_ref(), "user_id" | "device_id"))
}

fn answered(answer: http::Response<Vec<u8>>) -> Response {
    let (parts, body) = answer.into_parts();
    let mut response = (parts.status, body).into_response();
    for name in ANSWERED {
        match parts.headers.get(&name) {
            Some(value) => response.headers_mut().insert(name, value.clone()),
            None => response.headers_mut().remove(name),
        };
    }
    response
}
