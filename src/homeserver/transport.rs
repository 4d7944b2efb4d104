use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use ruma::{
    OwnedServerName, ServerName,
    api::{IncomingResponse, auth_scheme::SendAccessToken, error::IntoHttpError},
    exports::http,
};
use url::Url;

use super::{
    AccountRequest, DiscoverError, Failure, Fault, Pacing, Server,
    clients::{Clients, Redirects},
    echo::Secrets,
    failure::{Excess, readable},
    intake::{ALL_ANSWERS, Intake, NOT_COUNTED, Share},
    pins::Pins,
};
use crate::{
    clock::SharedClock,
    compute,
    config::Timeouts,
    measure::{self, Hosts},
};

/// From this size on, in bytes, an answer is read on a thread of its own.
const LARGE: usize = 4 << 20;

/// How long a homeserver that was found is not looked for again.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What one request is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// May take as long as [`Timeouts::long_request`].
    pub(super) long: bool,
    /// The largest answer, in bytes.
    pub(super) answer: usize,
    /// Whether it shows in the figures for whoever watches the bot.
    counted: bool,
}

impl Allowance {
    pub(super) const ORDINARY: Self = Self { long: false, answer: 10 << 20, counted: true };
    pub(super) const JOIN: Self = Self { long: true, answer: 10 << 20, counted: true };
    /// The whole of an account: twenty thousand rooms take this much.
    pub(super) const SYNC: Self = Self { long: true, answer: 128 << 20, counted: true };
    /// What is new since a moment ago.
    pub(super) const LISTEN: Self = Self { long: true, answer: 8 << 20, counted: true };
    pub(super) const MEDIA: Self = Self { long: true, answer: 10 << 20, counted: true };
    const DISCOVERY: Self = Self { long: false, answer: 64 << 10, counted: true };
    /// For the bot's own chat, which is matrix-sdk's. What comes there is of the bot's own homeserver.
    const CHAT: Self = Self { counted: false, ..Self::SYNC };
}

impl Allowance {
    /// That of a sync: what is new since a moment ago is little.
    pub(super) fn of_sync(since: Option<&str>) -> Self {
        if since.is_some() { Self::LISTEN } else { Self::SYNC }
    }
}

/// Carries requests in place of the HTTP client: to homeservers that are simulated.
pub trait Carrier: fmt::Debug + Send + Sync {
    /// Brings a request to the homeserver that its URI names, and its answer back, whatever its
    /// status is.
    fn carry(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, Failure>>;
}

/// Where homeservers are, and how long they may take.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Where homeservers are that need not be looked for.
    pub configured: BTreeMap<OwnedServerName, Url>,
    /// Whether all others may be at addresses of this machine or of a private network.
    pub private_addresses: bool,
    /// Whether passwords and tokens may go over connections that are not encrypted also to
    /// homeservers that [`configured`](Self::configured) has not: for tests, on loopback.
    pub plain_http: bool,
    /// How long requests may take.
    pub timeouts: Timeouts,
}

/// The HTTP client cannot be set up, most often because the system has no certificates.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up")]
pub struct TransportError(#[from] reqwest::Error);

/// The way to homeservers: connections, which are reused, where each homeserver is, and pacing.
/// Clones share all of it.
#[derive(Clone, Debug)]
pub struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    way: Way,
    clock: SharedClock,
    configured: BTreeMap<OwnedServerName, Url>,
    /// What hosts are counted as.
    hosts: Hosts,
    remembered: Mutex<HashMap<OwnedServerName, (Server, Timestamp)>>,
    /// Homeservers that are asked elsewhere than their names lead to now.
    remembered_places: Mutex<HashMap<Url, (Server, Timestamp)>>,
    pins: Pins,
    plain_http: bool,
    pacing: Pacing,
    intake: Intake,
}

/// How requests get to homeservers.
#[derive(Debug)]
enum Way {
    Http(Clients),
    Carried(Arc<dyn Carrier>),
}

impl Transport {
    /// A transport that takes the homeservers in the configuration to be where it says, and looks for
    /// all others. `rng` spreads retries.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn new(clock: SharedClock, rng: StdRng, reach: Reach) -> Result<Self, TransportError> {
        let Reach { configured, private_addresses, plain_http, timeouts } = reach;
        let way = Way::Http(Clients::new(timeouts, private_addresses)?);
        Ok(Self::by(way, timeouts.retry_after, clock, rng, configured, plain_http))
    }

    /// A transport whose requests are all given to `carrier`.
    pub fn carried(
        carrier: Arc<dyn Carrier>,
        clock: SharedClock,
        rng: StdRng,
        configured: BTreeMap<OwnedServerName, Url>,
    ) -> Self {
        let retry_after = Timeouts::default().retry_after;
        Self::by(Way::Carried(carrier), retry_after, clock, rng, configured, false)
    }

    fn by(
        way: Way,
        retry_after: Duration,
        clock: SharedClock,
        rng: StdRng,
        configured: BTreeMap<OwnedServerName, Url>,
        plain_http: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            way,
            pacing: Pacing::new(clock.clone(), rng, retry_after),
            clock,
            hosts: Hosts::new(configured.values().map(host)),
            configured,
            remembered: Mutex::default(),
            remembered_places: Mutex::default(),
            pins: Pins::default(),
            plain_http,
            intake: Intake::of(ALL_ANSWERS),
        }))
    }

    /// The same with so many bytes for answers in all.
    #[cfg(test)]
    pub(super) fn with_memory(self, bytes: usize) -> Self {
        let mut inner = Arc::into_inner(self.0).expect("nobody has it yet");
        inner.intake = Intake::of(bytes);
        Self(Arc::new(inner))
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.0.pins
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// What waits for its turn, and until when.
    pub fn pacing(&self) -> &Pacing {
        &self.0.pacing
    }

    /// Sends `request` to `server` without acting as any account, as for a login.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help; nothing is sent twice.
    pub async fn send_plain<R: AccountRequest>(
        &self,
        server: &Server,
        request: R,
    ) -> Result<R::IncomingResponse, Failure> {
        let request = into_http(request, server, SendAccessToken::None)?;
        self.exchange::<R>(request, Allowance::ORDINARY).await
    }

    /// Sends a request that is ready, and reads its answer.
    pub(super) async fn exchange<R: AccountRequest>(
        &self,
        request: http::Request<Vec<u8>>,
        allowance: Allowance,
    ) -> Result<R::IncomingResponse, Failure> {
        let answer = self.carry(Redirects::Refused, request, allowance).await?;
        if !answer.status().is_success() {
            let now = self.0.clock.now();
            return Err(Failure::from_answer(
                answer.status(),
                answer.headers(),
                answer.body(),
                now,
            ));
        }
        let is_large = answer.body().len() > LARGE;
        let read = move || R::IncomingResponse::try_from_http_response(answer).ok();
        // Not the error's own words: they may quote the answer, which may hold a token.
        let garbage = || Failure::Garbage { what: format!("it is not an answer to {}", R::METHOD) };
        compute::aside_if(is_large, read).await.ok_or_else(garbage)
    }

    /// Passes a request on as it is, and gives back whatever is answered.
    pub(super) async fn pass_on(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, Failure> {
        self.carry(Redirects::Refused, request, Allowance::CHAT).await
    }

    pub(super) async fn get(&self, url: &Url) -> Result<http::Response<Vec<u8>>, Failure> {
        self.carry(Redirects::Refused, get(url)?, Allowance::DISCOVERY).await
    }

    pub(super) async fn get_following_redirects(
        &self,
        url: &Url,
    ) -> Result<http::Response<Vec<u8>>, Failure> {
        self.carry(Redirects::Followed, get(url)?, Allowance::DISCOVERY).await
    }

    /// Brings back an answer that repeats no secret of the request, and sends none over a connection
    /// that others can read: here, so that nothing above can, whatever it does.
    async fn carry(
        &self,
        redirects: Redirects,
        request: http::Request<Vec<u8>>,
        allowance: Allowance,
    ) -> Result<http::Response<Vec<u8>>, Failure> {
        let secrets = Secrets::in_request(&request);
        if !secrets.is_empty() && !self.is_for_secrets(request.uri()) {
            let host = request.uri().authority().map_or_else(String::new, ToString::to_string);
            let what = "passwords and tokens go over https alone, unless `homeservers` names it";
            return Err(Failure::Unreachable { host, fault: Fault::Tls(what.to_owned()) });
        }
        let mut answer = self.carry_as_it_is(redirects, request, allowance).await?;
        secrets.leave_out_of(&mut answer);
        Ok(answer)
    }

    async fn carry_as_it_is(
        &self,
        redirects: Redirects,
        request: http::Request<Vec<u8>>,
        allowance: Allowance,
    ) -> Result<http::Response<Vec<u8>>, Failure> {
        let clients = match &self.0.way {
            Way::Carried(carrier) => return carrier.carry(request).await,
            Way::Http(clients) => clients,
        };
        let mut request = reqwest::Request::try_from(request)
            .map_err(|error| Failure::Unsendable(readable(&error.without_url().to_string())))?;
        let timeouts = clients.timeouts();
        let timeout = if allowance.long { timeouts.long_request } else { timeouts.request };
        *request.timeout_mut() = Some(timeout);
        let method = request.method().clone();
        // Without the query, which is long for a sync and says nothing.
        let (host, path) = (host(request.url()), request.url().path().to_owned());
        let client = clients
            .client_for(request.url(), self.is_configured(request.url()), redirects)
            .map_err(|private| Failure::Unreachable {
                host: host.clone(),
                fault: private.into(),
            })?;
        let answer = client.execute(request).await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        if allowance.counted {
            measure::request(self.0.hosts.label(&host), status);
        }
        let answer = answer.map_err(|error| Failure::from_transport(&host, &error))?;
        tracing::debug!(%method, host, path, status = answer.status().as_u16(), "answered");
        read_body(answer, allowance.answer, &host, self.0.intake.share()).await
    }

    /// Whether a secret may be sent there at all: over https, or where the configuration says.
    fn is_for_secrets(&self, uri: &http::Uri) -> bool {
        matches!(self.0.way, Way::Carried(_))
            || self.0.plain_http
            || uri.scheme() == Some(&http::uri::Scheme::HTTPS)
            || uri.to_string().parse().is_ok_and(|url| self.is_configured(&url))
    }

    fn is_configured(&self, url: &Url) -> bool {
        self.0.configured.values().any(|base_url| base_url.origin() == url.origin())
    }

    pub(super) fn configured(&self, name: &ServerName) -> Option<&Url> {
        self.0.configured.get(name)
    }

    pub(super) fn remembered(&self, name: &ServerName) -> Option<Server> {
        let remembered = self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (server, since) = remembered.get(name)?;
        (self.0.clock.now().duration_since(*since) < REMEMBERED_FOR).then(|| server.clone())
    }

    /// [`server_at`](Self::server_at), but remembers what it found for an hour.
    pub(super) async fn server_at_remembered(&self, url: &Url) -> Result<Server, DiscoverError> {
        let places = || self.0.remembered_places.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places().get(url).cloned();
        let now = self.0.clock.now();
        if let Some((server, since)) = known
            && now.duration_since(since) < REMEMBERED_FOR
        {
            return Ok(server);
        }
        let server = self.server_at(url).await?;
        places().insert(url.clone(), (server.clone(), now));
        Ok(server)
    }

    pub(super) fn remember(&self, name: &ServerName, server: &Server) {
        let mut remembered = self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.insert(name.to_owned(), (server.clone(), self.0.clock.now()));
    }
}

/// Turns a typed request into one that can be sent.
pub(super) fn into_http<R: AccountRequest>(
    request: R,
    server: &Server,
    token: SendAccessToken<'_>,
) -> Result<http::Request<Vec<u8>>, Failure> {
    request
        .try_into_http_request(server.base_url().as_str(), token, Cow::Borrowed(server.versions()))
        .map_err(|error| unsendable(&error))
}

/// Adds to a request's query.
pub(super) fn name_in_query(
    request: &mut http::Request<Vec<u8>>,
    key: &str,
    value: &str,
) -> Result<(), Failure> {
    let unsendable = |error: String| Failure::Unsendable(readable(&error));
    let mut url: Url =
        request.uri().to_string().parse().map_err(|_| unsendable("it is no URL".to_owned()))?;
    url.query_pairs_mut().append_pair(key, value);
    *request.uri_mut() = url
        .as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| unsendable(error.to_string()))?;
    Ok(())
}

/// ruma's words for this hold no values.
fn unsendable(error: &IntoHttpError) -> Failure {
    Failure::Unsendable(readable(&error.to_string()))
}

fn get(url: &Url) -> Result<http::Request<Vec<u8>>, Failure> {
    http::Request::get(url.as_str())
        .body(Vec::new())
        .map_err(|error| Failure::Unsendable(error.to_string()))
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Reads the answer piece by piece, so that one without end does not fill the memory, and neither do
/// many together. The answer keeps its share of the memory until it is dropped.
async fn read_body(
    mut answer: reqwest::Response,
    most: usize,
    host: &str,
    share: Share,
) -> Result<http::Response<Vec<u8>>, Failure> {
    let too_large = || Failure::TooMuch(Excess::Answer { most: most as u64 });
    if answer.content_length().is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    // It is asked for again, when there is less to do.
    let cut_off = || Failure::Unreachable { host: host.to_owned(), fault: Fault::Timeout };
    let mut body = Vec::new();
    loop {
        let piece = tokio::select! {
            piece = answer.chunk() => piece,
            () = share.cut_off() => return Err(cut_off()),
        };
        let piece = piece.map_err(|error| Failure::from_transport(host, &error))?;
        let Some(piece) = piece else { break };
        let length = body.len() + piece.len();
        if length > most {
            return Err(too_large());
        }
        if length > body.capacity() {
            let larger = length.max(2 * body.capacity()).clamp(NOT_COUNTED, most.max(NOT_COUNTED));
            if larger > NOT_COUNTED {
                let counted = body.capacity().saturating_sub(NOT_COUNTED);
                let grown = share.grow(larger - NOT_COUNTED - counted).await;
                grown.map_err(|_cut_off| cut_off())?;
            }
            body.reserve_exact(larger - body.len());
        }
        body.extend_from_slice(&piece);
    }
    if !share.complete() {
        return Err(cut_off());
    }
    let (mut parts, _) = http::Response::<reqwest::Body>::from(answer).into_parts();
    parts.extensions.insert(Arc::new(share));
    Ok(http::Response::from_parts(parts, body))
}
