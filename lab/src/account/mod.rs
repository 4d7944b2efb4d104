//! An account's own requests: making rooms, joining, looking at the outcome.

mod outcome;
mod rooms;
mod spec;

use std::{borrow::Cow, sync::Arc};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use ruma::{
    OwnedDeviceId, OwnedUserId, UserId,
    api::{
        IncomingResponse, MatrixVersion, OutgoingRequest, SupportedVersions,
        auth_scheme::{AuthScheme, SendAccessToken},
        client::{
            profile::set_profile_field,
            session::login::v3::{self as login, LoginInfo, Password},
            uiaa::{MatrixUserIdentifier, UserIdentifier},
        },
        error::FromHttpResponseError,
        path_builder::{PathBuilder, SinglePath, VersionHistory},
    },
    exports::http,
    profile::ProfileFieldValue,
};
use serde_json::Value;

pub use self::spec::RoomSpec;

/// A session of an account that sends requests and neither syncs nor encrypts.
#[derive(Clone, Debug)]
pub struct Account {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: String,
    user_id: OwnedUserId,
    device_id: OwnedDeviceId,
    access_token: String,
    password: String,
}

impl Account {
    pub(crate) fn known(
        url: &str,
        user_id: OwnedUserId,
        device_id: OwnedDeviceId,
        access_token: String,
        password: &str,
    ) -> Self {
        let (url, password) = (url.to_owned(), password.to_owned());
        let inner = Inner { url, user_id, device_id, access_token, password };
        Self { inner: Arc::new(inner) }
    }

    /// Logs in once more, as another device of the same account.
    pub async fn log_in(&self) -> Result<Self> {
        let user = UserIdentifier::Matrix(MatrixUserIdentifier::new(self.user_id().to_string()));
        let password = Password::new(user, self.password().to_owned());
        let session = self.send(login::Request::new(LoginInfo::Password(password))).await?;
        Ok(Self::known(
            self.url(),
            session.user_id,
            session.device_id,
            session.access_token,
            self.password(),
        ))
    }

    /// Base URL of its homeserver.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Who it is.
    pub fn user_id(&self) -> &UserId {
        &self.inner.user_id
    }

    /// The device of this session.
    pub fn device_id(&self) -> &OwnedDeviceId {
        &self.inner.device_id
    }

    /// The access token of this session.
    pub fn access_token(&self) -> &str {
        &self.inner.access_token
    }

    /// The account's password.
    pub fn password(&self) -> &str {
        &self.inner.password
    }

    /// Sets the name that people see.
    pub async fn set_display_name(&self, name: &str) -> Result<()> {
        let name = ProfileFieldValue::DisplayName(name.to_owned());
        self.send(set_profile_field::v3::Request::new(self.user_id().to_owned(), name)).await?;
        Ok(())
    }

    /// Sends a request once.
    ///
    /// # Errors
    ///
    /// What the homeserver answered can be had from the error with [`refusal`].
    pub async fn send<R>(&self, request: R) -> Result<R::IncomingResponse>
    where
        R: OutgoingRequest<
                EndpointError: Send + Sync,
                PathBuilder: AnyVersion,
                Authentication: for<'a> AuthScheme<Input<'a> = SendAccessToken<'a>>,
            >,
    {
        let request = request.try_into_http_request::<Vec<u8>>(
            self.url(),
            SendAccessToken::IfRequired(self.access_token()),
            R::PathBuilder::input(),
        )?;
        let answer = crate::http().execute(request.try_into()?).await?;
        let mut response = http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let response = response.body(answer.bytes().await?)?;
        Ok(R::IncomingResponse::try_from_http_response(response)?)
    }

    /// Sends a request that ruma has no type for, such as one of Synapse's admin API.
    pub async fn send_raw(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.url());
        let request =
            crate::http().request(method, &url).bearer_auth(self.access_token()).json(body);
        let answer = request.send().await?;
        let status = answer.status();
        let answer: Value = answer.json().await.with_context(|| format!("{url}: {status}"))?;
        ensure!(status.is_success(), "{url}: {status}: {answer}");
        Ok(answer)
    }
}

/// What a homeserver answered to a request that it refused: status, code and message.
pub fn refusal(error: &anyhow::Error) -> Option<&ruma::api::error::Error> {
    match error.downcast_ref()? {
        FromHttpResponseError::Server(refusal) => Some(refusal),
        _ => None,
    }
}

/// An endpoint whose path can be built for the one homeserver that the lab starts.
pub trait AnyVersion: PathBuilder {
    #[doc(hidden)]
    fn input() -> Self::Input<'static>;
}

impl AnyVersion for SinglePath {
    fn input() {}
}

impl AnyVersion for VersionHistory {
    fn input() -> Cow<'static, SupportedVersions> {
        Cow::Owned(SupportedVersions {
            versions: [MatrixVersion::V1_1, MatrixVersion::V1_11, MatrixVersion::V1_15].into(),
            features: [].into(),
        })
    }
}
