//! The bot as an account that an application service covers.

use std::io;

use rand::Rng;
use ruma::{
    DeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::{
        auth_scheme::SendAccessToken,
        client::{
            account::{register, whoami},
            device::{delete_device, update_device},
            filter::FilterDefinition,
            membership::join_room_by_id,
            room::create_room,
            session::login,
            state::send_state_event,
            sync::sync_events,
            uiaa::{MatrixUserIdentifier, UserIdentifier},
        },
        error::ErrorCode,
    },
    events::StateEventType,
    exports::http,
    serde::Raw,
};

use super::{
    AccountRequest, Failure, Login, Transport,
    transport::{Allowance, into_http, name_in_query},
};
use crate::{
    appservice::Appservice,
    config::{Config, Entrance},
    secret::{ExposeSecret, Secret},
};

mod forwarder;

pub(crate) use self::forwarder::Forwarder;

/// The bot's own account, which an application service covers. Its requests carry the `as_token` and
/// name this account, and never any other
/// ([spec](https://spec.matrix.org/v1.17/application-service-api/#identity-assertion)).
///
/// Nothing waits or is tried again here: the caller decides.
#[derive(Clone, Debug)]
pub struct OwnUser {
    transport: Transport,
    appservice: Appservice,
    user_id: OwnedUserId,
}

impl OwnUser {
    /// The bot's own account, if its configuration says that an application service covers it.
    pub(crate) fn of(config: &Config, transport: &Transport) -> Option<Self> {
        let Entrance::Appservice(server) = &config.bot.entrance else { return None };
        let appservice = config.appservices.on(server)?.clone();
        let user_id = config.bot.user_id.clone();
        Some(Self { transport: transport.clone(), appservice, user_id })
    }

    /// Who it is.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// Whether the homeserver limits it, as far as the registration tells.
    pub(crate) fn is_rate_limited(&self) -> bool {
        self.appservice.is_rate_limited()
    }

    /// Whether the homeserver tells it what happens. Synapse does not tell the user that a
    /// registration names as its `sender_localpart`.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says nothing about that.
    pub async fn may_sync(&self) -> Result<bool, Failure> {
        let mut request = sync_events::v3::Request::new();
        request.filter = Some(FilterDefinition::ignore_all().into());
        match self.send(request, Allowance::SYNC).await {
            Ok(_) => Ok(true),
            Err(Failure::Faulty { status: 500, .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Makes the account, unless it is there. An admin writes its name into a registration, but
    /// homeservers do not make it from that.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn register(&self) -> Result<(), Failure> {
        let mut request = register::v3::Request::new();
        request.username = Some(self.user_id().localpart().to_owned());
        request.login_type = Some(register::LoginType::ApplicationService);
        request.inhibit_login = true;
        match self.send(request, Allowance::ORDINARY).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code() == Some(&ErrorCode::UserInUse) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Makes a device, unless it is there, and tells whether requests can be sent as it
    /// ([spec](https://spec.matrix.org/v1.17/client-server-api/#put_matrixclientv3devicesdeviceid)).
    /// Homeservers that know nothing of this yet take a login instead.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says nothing about that, also when a wait would help.
    pub async fn make_device(
        &self,
        device_id: &DeviceId,
        display_name: &str,
    ) -> Result<bool, Failure> {
        let mut request = update_device::v3::Request::new(device_id.to_owned());
        request.display_name = Some(display_name.to_owned());
        let named = async {
            self.send(request, Allowance::ORDINARY).await?;
            let whoami = whoami::v3::Request::new();
            let mut whoami = self.request(whoami).await?;
            name_in_query(&mut whoami, "device_id", device_id.as_str())?;
            self.transport.exchange::<whoami::v3::Request>(whoami, Allowance::ORDINARY).await
        };
        match named.await {
            Ok(own) => Ok(own.device_id.as_deref() == Some(device_id)),
            Err(Failure::Refused { .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Removes a device.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn delete_device(&self, device_id: &DeviceId) -> Result<(), Failure> {
        let request = delete_device::v3::Request::new(device_id.to_owned());
        self.send(request, Allowance::ORDINARY).await.map(drop)
    }

    /// Passes matrix-sdk's requests on as this device.
    ///
    /// # Errors
    ///
    /// When nothing can listen on loopback, or no HTTP client can be set up.
    pub(crate) async fn forward(
        &self,
        device_id: &DeviceId,
        rng: &mut impl Rng,
    ) -> io::Result<Forwarder> {
        Forwarder::start(self.clone(), device_id, rng).await
    }

    /// Logs in, as a device named `display_name`
    /// ([spec](https://spec.matrix.org/v1.17/client-server-api/#appservice-login)).
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] with `M_APPSERVICE_LOGIN_UNSUPPORTED` where application services are to
    /// make devices instead; any other [`Failure`], also when a wait would help.
    pub async fn log_in(&self, device_id: &DeviceId, display_name: &str) -> Result<Login, Failure> {
        let user = MatrixUserIdentifier::new(self.user_id().to_string());
        let info = login::v3::ApplicationService::new(UserIdentifier::Matrix(user));
        let mut request = login::v3::Request::new(login::v3::LoginInfo::ApplicationService(info));
        request.device_id = Some(device_id.to_owned());
        request.initial_device_display_name = Some(display_name.to_owned());
        let answer = self.send(request, Allowance::ORDINARY).await?;
        Ok(Login {
            user_id: answer.user_id,
            device_id: answer.device_id,
            token: Secret::from(answer.access_token),
        })
    }

    /// Makes a room.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn create_room(
        &self,
        request: create_room::v3::Request,
    ) -> Result<OwnedRoomId, Failure> {
        Ok(self.send(request, Allowance::ORDINARY).await?.room_id)
    }

    /// Joins a room that it is invited to.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn join(&self, room: &RoomId) -> Result<(), Failure> {
        let request = join_room_by_id::v3::Request::new(room.to_owned());
        self.send(request, Allowance::JOIN).await.map(drop)
    }

    /// Sets a piece of a room's state.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn set_state(
        &self,
        room: &RoomId,
        event_type: StateEventType,
        state_key: &str,
        content: &serde_json::Value,
    ) -> Result<(), Failure> {
        let content = Raw::new(content).map_err(|e| Failure::Unsendable(e.to_string()))?;
        let request = send_state_event::v3::Request::new_raw(
            room.to_owned(),
            event_type,
            state_key.to_owned(),
            content.cast_unchecked(),
        );
        self.send(request, Allowance::ORDINARY).await.map(drop)
    }

    async fn send<R: AccountRequest>(
        &self,
        request: R,
        allowance: Allowance,
    ) -> Result<R::IncomingResponse, Failure> {
        let request = self.request(request).await?;
        self.transport.exchange::<R>(request, allowance).await
    }

    /// A request that names the account.
    async fn request<R: AccountRequest>(
        &self,
        request: R,
    ) -> Result<http::Request<Vec<u8>>, Failure> {
        let server = self.transport.discover_for_service(self.appservice.server()).await?;
        let token = SendAccessToken::Always(self.appservice.as_token().expose_secret());
        let mut request = into_http(request, &server, token)?;
        name_in_query(&mut request, "user_id", self.user_id.as_str())?;
        Ok(request)
    }
}
