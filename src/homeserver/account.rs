use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use ruma::{
    OwnedUserId, UserId,
    api::{
        Metadata, OutgoingRequest, SupportedVersions,
        auth_scheme::{AuthScheme, SendAccessToken},
        client::account::whoami,
        path_builder::PathBuilder,
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    Action, Failure, Server, Transport,
    pacing::{Errand, Persistence, Retries},
    transport::{self, Allowance},
};
use crate::secret::{ExposeSecret, Secret};

/// A request of the client-server API that may carry an access token.
pub trait AccountRequest:
    OutgoingRequest<IncomingResponse: Send + 'static>
    + Metadata<
        Authentication: for<'a> AuthScheme<Input<'a> = SendAccessToken<'a>>,
        PathBuilder: for<'a> PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
    > + Send
    + Sync
{
}

impl<R> AccountRequest for R where
    R: OutgoingRequest<IncomingResponse: Send + 'static>
        + Metadata<
            Authentication: for<'a> AuthScheme<Input<'a> = SendAccessToken<'a>>,
            PathBuilder: for<'a> PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
        > + Send
        + Sync
{
}

/// The proof that requests may be sent as an account, and until when.
///
/// An [`Account`] cannot be had without one, so that whoever may give such a proof decides for the
/// whole program as whom anything is sent: that is [`consent`](crate::consent), and nothing else.
pub(crate) trait Mandate: fmt::Debug {
    /// The account.
    fn user_id(&self) -> &UserId;
    /// Cancelled when requests may no longer be sent, also those that only wait for their turn.
    fn ended(&self) -> &CancellationToken;
}

/// With what a homeserver is shown that requests come from an account, or from somebody who may act
/// as it. Worth nothing without the account's own [`Mandate`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// An access token of the account's own.
    Token(Secret),
    /// The `as_token` of an application service, which then names the account in each request
    /// ([spec](https://spec.matrix.org/v1.17/application-service-api/#identity-assertion)).
    Masquerade(Secret),
}

/// An account on its homeserver, and the right to act as it. Clones are cheap.
#[derive(Clone)]
#[must_use]
pub struct Account {
    pub(super) transport: Transport,
    server: Server,
    user_id: OwnedUserId,
    auth: Arc<Auth>,
    ended: CancellationToken,
    stop: CancellationToken,
    /// Where it is not what the action asks for.
    persistence: Option<Persistence>,
    patient: bool,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl Account {
    /// Acts as the account that `mandate` is of, for as long as it stands.
    pub(crate) fn new(
        transport: Transport,
        server: Server,
        mandate: &impl Mandate,
        auth: Auth,
    ) -> Self {
        Self {
            transport,
            server,
            user_id: mandate.user_id().to_owned(),
            auth: Arc::new(auth),
            ended: mandate.ended().clone(),
            stop: mandate.ended().clone(),
            persistence: None,
            patient: true,
        }
    }

    /// The same account, whose requests give up waiting for their turn once `stop` is cancelled.
    /// A request that is on its way is not dropped.
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// The same account, whose requests wait for its homeserver also when that is away for hours.
    pub(crate) fn outlasting(self) -> Self {
        Self { persistence: Some(Persistence::Outlasting), ..self }
    }

    /// The same account, whose requests are sent once and fail with what failed for now: whoever
    /// sends them tries again. They still wait for limits.
    pub(crate) fn once(&self) -> Self {
        Self { persistence: Some(Persistence::Once), ..self.clone() }
    }

    /// The same account, whose requests are sent once, and fail where they would have to wait for a
    /// limit.
    pub(crate) fn at_once(&self) -> Self {
        Self { patient: false, ..self.once() }
    }

    /// Whether such a request would have to wait for a limit.
    pub(crate) fn is_limited(&self, action: Action) -> bool {
        self.transport.pacing().is_limited(&self.user_id, &action.into())
    }

    /// The retries of what is sent [`once`](Self::once) each time, and is to outlast that a
    /// homeserver is away.
    pub(crate) fn retries(&self) -> Retries {
        self.transport.pacing().retries(Persistence::Outlasting)
    }

    /// Waits before an action, on `invited` if it is an invitation, is tried again.
    ///
    /// # Errors
    ///
    /// [`Failure::Stopped`].
    pub(crate) async fn wait_to_retry(
        &self,
        action: Action,
        invited: Option<&UserId>,
        pause: Duration,
    ) -> Result<(), Failure> {
        let errand = Errand { invited, ..action.into() };
        self.transport.pacing().wait_to_retry(&self.user_id, errand, pause, &self.stop).await
    }

    /// What shows that the homeserver is away, if it is.
    pub(crate) async fn away(&self) -> Option<Failure> {
        self.send(whoami::v3::Request::new()).await.err().filter(Failure::is_away)
    }

    /// The same account, whose requests give up waiting for their turn also once the token is
    /// cancelled that comes with it.
    pub(crate) fn with_stop(&self) -> (Self, CancellationToken) {
        let stop = self.stop.child_token();
        (self.clone().until(stop.clone()), stop)
    }

    /// The same account, whose requests go on for as long as the mandate stands, whatever else is
    /// told to stop.
    pub(crate) fn beyond_stop(&self) -> Self {
        Self { stop: self.ended.clone(), persistence: None, ..self.clone() }
    }

    /// Whose account it is.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// The account's homeserver.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// How long invitations of `invited` waited for that account's own homeserver, since this was
    /// last asked.
    pub(crate) fn take_held(&self, invited: &UserId) -> Duration {
        self.transport.pacing().take_held(invited)
    }

    /// Sends `request` at once, a single time.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn send<R: AccountRequest>(
        &self,
        request: R,
    ) -> Result<R::IncomingResponse, Failure> {
        self.attempt(Action::Read, request).await
    }

    /// Sends `request` when its turn comes in the lane of this account and `action`: waits as long
    /// as the homeserver's rate limits ask, and retries what is worth a retry a few times.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that is final or outlasted the retries; [`Failure::Stopped`] when told to stop
    /// by [`until`](Self::until); never [`Failure::Limited`].
    pub async fn act<R: AccountRequest>(
        &self,
        action: Action,
        request: R,
    ) -> Result<R::IncomingResponse, Failure> {
        self.act_on(action.into(), &request).await
    }

    /// [`act`](Self::act) with what an action is about, since rooms and those who are invited have
    /// budgets, too. [`Failure::Limited`] only when it is not to wait.
    pub(super) async fn act_on<R: AccountRequest>(
        &self,
        errand: Errand<'_>,
        request: &R,
    ) -> Result<R::IncomingResponse, Failure> {
        self.run_in_turn(errand, || self.attempt(errand.action, request.clone())).await
    }

    /// Runs `attempt` when the turn of an errand has come.
    pub(super) async fn run_in_turn<T, F>(
        &self,
        errand: Errand<'_>,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let persistence = match errand.persistence {
            Persistence::Once => Persistence::Once,
            ordinary => self.persistence.unwrap_or(ordinary),
        };
        let errand = Errand { persistence, patient: errand.patient && self.patient, ..errand };
        self.transport.pacing().run(&self.user_id, errand, &self.stop, attempt).await
    }

    pub(super) async fn attempt<R: AccountRequest>(
        &self,
        action: Action,
        request: R,
    ) -> Result<R::IncomingResponse, Failure> {
        self.attempt_within(action, action.allowance(), request).await
    }

    /// [`attempt`](Self::attempt) with an allowance that is not the action's own.
    pub(super) async fn attempt_within<R: AccountRequest>(
        &self,
        action: Action,
        allowance: Allowance,
        request: R,
    ) -> Result<R::IncomingResponse, Failure> {
        let pacing = self.transport.pacing();
        let _connection = pacing.connection(self.user_id.server_name(), action).await;
        // Large, and so not a part of what only waits for its turn, or for a connection.
        Box::pin(self.attempt_now(allowance, request)).await
    }

    async fn attempt_now<R: AccountRequest>(
        &self,
        allowance: Allowance,
        request: R,
    ) -> Result<R::IncomingResponse, Failure> {
        // Asked anew for each attempt: the account may have taken its word back during a wait.
        if self.ended.is_cancelled() {
            return Err(Failure::Stopped);
        }
        let (Auth::Token(token) | Auth::Masquerade(token)) = &*self.auth;
        let token = SendAccessToken::Always(token.expose_secret());
        let mut request = transport::into_http(request, &self.server, token)?;
        if matches!(*self.auth, Auth::Masquerade(_)) {
            transport::name_in_query(&mut request, "user_id", self.user_id.as_str())?;
        }
        self.transport.exchange::<R>(request, allowance).await
    }
}
