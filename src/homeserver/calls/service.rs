//! What an application service asks its homeserver about itself.

use std::time::Duration;

use ruma::{
    OwnedUserId,
    api::{
        auth_scheme::SendAccessToken,
        client::{account::whoami, appservice::request_ping},
    },
};

use super::{Failure, Server, Transport};
use crate::{
    homeserver::{
        AccountRequest,
        transport::{Allowance, into_http},
    },
    secret::{ExposeSecret as _, Secret},
};

/// As an application service, which acts as none of the accounts that it covers.
impl Transport {
    /// Whom the homeserver takes the application service for: its own user.
    ///
    /// # Errors
    ///
    /// [`Failure::TokenGone`] when the homeserver does not know the token; any other [`Failure`],
    /// also when a wait would help.
    pub async fn service_whoami(
        &self,
        server: &Server,
        as_token: &Secret,
    ) -> Result<OwnedUserId, Failure> {
        let answer = self.send_as_service(server, as_token, whoami::v3::Request::new()).await?;
        Ok(answer.user_id)
    }

    /// Has the homeserver reach the application service that it calls `id`, and tells how long that
    /// took ([spec]).
    ///
    /// [spec]: https://spec.matrix.org/v1.17/client-server-api/#post_matrixclientv1appserviceappserviceidping
    ///
    /// # Errors
    ///
    /// A [`Failure`] with what the homeserver met.
    pub async fn ping_service(
        &self,
        server: &Server,
        as_token: &Secret,
        id: &str,
    ) -> Result<Duration, Failure> {
        let request = request_ping::v1::Request::new(id.to_owned());
        Ok(self.send_as_service(server, as_token, request).await?.duration)
    }

    async fn send_as_service<R: AccountRequest>(
        &self,
        server: &Server,
        as_token: &Secret,
        request: R,
    ) -> Result<R::IncomingResponse, Failure> {
        let token = SendAccessToken::Appservice(as_token.expose_secret());
        let request = into_http(request, server, token)?;
        // The homeserver may try for a while to reach the bot.
        self.exchange::<R>(request, Allowance::JOIN).await
    }
}
