//! The calls that a migration makes, each a thin function over ruma's request.

mod asking;
mod encryption;
mod lobby;
mod personal;
mod profile_fields;
mod service;
mod sync;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ruma::{
    DeviceId, EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId,
    RoomAliasId, RoomId, RoomOrAliasId, RoomVersionId, TransactionId, UserId,
    api::{
        auth_scheme::SendAccessToken,
        client::{
            account::whoami,
            alias::get_alias,
            config::{get_global_account_data, set_global_account_data},
            discovery::get_capabilities,
            filter::FilterDefinition,
            membership::{
                invite_user::{self, v3::InviteUserId},
                join_room_by_id_or_alias, joined_members, joined_rooms,
            },
            redact::redact_event,
            room::get_summary,
            session::{get_login_types, login, logout},
            state::{get_state_event_for_key, send_state_event},
            sync::sync_events,
            tag::{create_tag, get_tags},
            uiaa::{MatrixUserIdentifier, UserIdentifier},
        },
    },
    events::{
        GlobalAccountDataEventType, StateEventType,
        room::{member::RoomMemberEventContent, server_acl::RoomServerAclEventContent},
        tag::{TagInfo, TagName, Tags},
    },
    presence::PresenceState,
    room::RoomSummary,
    serde::{JsonObject, Raw},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::to_raw_value;

pub use self::{personal::File, sync::Synced};
use super::{
    Account, Action, Failure, Server, Transport,
    pacing::Errand,
    transport::{Allowance, into_http},
};
use crate::{
    json,
    secret::{ExposeSecret, Secret},
};

/// A way to log in that a homeserver offers.
pub type LoginFlow = get_login_types::v3::LoginType;

/// Whether an account's homeserver is in a room that the account is to join. Joins are limited
/// tenfold where it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nearness {
    /// Some of its accounts are.
    Here,
    /// None of them is.
    Elsewhere,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Nearness {
    /// What joining such a room is.
    pub(crate) fn join(self) -> Action {
        match self {
            Self::Here => Action::LocalJoin,
            Self::Elsewhere | Self::Unknown => Action::RemoteJoin,
        }
    }
}

/// A fresh session.
#[derive(Debug)]
pub struct Login {
    /// Whose session the homeserver says it is. To be compared with who asked for it.
    pub user_id: OwnedUserId,
    /// The session's device.
    pub device_id: OwnedDeviceId,
    /// The session's access token.
    pub token: Secret,
}

/// What a room alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that know the room, to join `via`.
    pub servers: Vec<OwnedServerName>,
}

impl Transport {
    /// The ways to log in that `server` offers
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#get_matrixclientv3login)).
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn login_flows(&self, server: &Server) -> Result<Vec<LoginFlow>, Failure> {
        Ok(self.send_plain(server, get_login_types::v3::Request::new()).await?.flows)
    }

    /// Logs in with a password, as a device named `display_name` in the account's list of sessions
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#post_matrixclientv3login)).
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] with `M_FORBIDDEN` for a wrong password; [`Failure::Limited`] after
    /// too many attempts.
    pub async fn login_password(
        &self,
        server: &Server,
        user_id: &UserId,
        password: &Secret,
        device_id: &DeviceId,
        display_name: &str,
    ) -> Result<Login, Failure> {
        let user = UserIdentifier::Matrix(MatrixUserIdentifier::new(user_id.to_string()));
        let password = login::v3::Password::new(user, password.expose_secret().to_owned());
        let mut request = login::v3::Request::new(login::v3::LoginInfo::Password(password));
        request.device_id = Some(device_id.to_owned());
        request.initial_device_display_name = Some(display_name.to_owned());
        let answer = self.send_plain(server, request).await?;
        Ok(Login {
            user_id: answer.user_id,
            device_id: answer.device_id,
            token: Secret::from(answer.access_token),
        })
    }

    /// Logs a session out, with a single try. One that is gone already counts as logged out. It
    /// needs no [`Mandate`](super::Mandate): it is how the end of one is carried out.
    ///
    /// # Errors
    ///
    /// A [`Failure`], also when a wait would help.
    pub async fn log_out(&self, server: &Server, token: &Secret) -> Result<(), Failure> {
        let token = SendAccessToken::Always(token.expose_secret());
        let request = into_http(logout::v3::Request::new(), server, token)?;
        match self
            .exchange::<logout::v3::Request>(request, super::transport::Allowance::ORDINARY)
            .await
        {
            Ok(_) | Err(Failure::TokenGone { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// Reading.
impl Account {
    /// Whose session this is, in the homeserver's own word.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn whoami(&self) -> Result<whoami::v3::Response, Failure> {
        self.act(Action::Read, whoami::v3::Request::new()).await
    }

    /// The rooms that the account has joined.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn joined_rooms(&self) -> Result<Vec<OwnedRoomId>, Failure> {
        Ok(self.act(Action::Read, joined_rooms::v3::Request::new()).await?.joined_rooms)
    }

    /// The members that have joined a room.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account is not in the room.
    pub async fn joined_members(
        &self,
        room: &RoomId,
    ) -> Result<BTreeMap<OwnedUserId, joined_members::v3::RoomMember>, Failure> {
        let request = joined_members::v3::Request::new(room.to_owned());
        Ok(self.act(Action::Read, request).await?.joined)
    }

    /// The membership of `user` in `room`, or `None` when `user` never had to do with the room.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account is not in the room.
    pub async fn member(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<RoomMemberEventContent>, Failure> {
        self.content_of(room, StateEventType::RoomMember, user.as_str()).await
    }

    /// The content of one state event, with every field it has; `None` when there is no such
    /// event.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account is not in the room.
    pub async fn state(
        &self,
        room: &RoomId,
        event_type: StateEventType,
        state_key: &str,
    ) -> Result<Option<JsonObject>, Failure> {
        self.content_of(room, event_type, state_key).await
    }

    /// Which servers may take part in a room; `None` when that was never said, or makes no sense.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account is not in the room.
    pub async fn server_acl(
        &self,
        room: &RoomId,
    ) -> Result<Option<RoomServerAclEventContent>, Failure> {
        let content = self.state(room, StateEventType::RoomServerAcl, "").await?;
        Ok(content.and_then(|content| serde_json::from_value(content.into()).ok()))
    }

    async fn content_of<C: DeserializeOwned>(
        &self,
        room: &RoomId,
        event_type: StateEventType,
        state_key: &str,
    ) -> Result<Option<C>, Failure> {
        let what = event_type.to_string();
        let request = get_state_event_for_key::v3::Request::new(
            room.to_owned(),
            event_type,
            state_key.to_owned(),
        );
        found(self.act(Action::Read, request).await)?
            .map(|answer| parse(answer.event_or_content.get(), &what))
            .transpose()
    }

    /// The account's tags for a room.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn tags(&self, room: &RoomId) -> Result<Tags, Failure> {
        let request = get_tags::v3::Request::new(self.user_id().to_owned(), room.to_owned());
        Ok(self.act(Action::Read, request).await?.tags)
    }

    /// One piece of the account's global account data, with every field it has; `None` when it was
    /// never set.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn account_data(
        &self,
        event_type: GlobalAccountDataEventType,
    ) -> Result<Option<JsonObject>, Failure> {
        let what = event_type.to_string();
        let request =
            get_global_account_data::v3::Request::new(self.user_id().to_owned(), event_type);
        found(self.act(Action::Read, request).await)?
            .map(|answer| parse(answer.account_data.json().get(), &what))
            .transpose()
    }

    /// The room that an alias stands for; `None` when there is no such alias.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<Option<Alias>, Failure> {
        let request = get_alias::v3::Request::new(alias.to_owned());
        let answer = found(self.act(Action::Read, request).await)?;
        Ok(answer.map(|answer| Alias { room_id: answer.room_id, servers: answer.servers }))
    }

    /// What can be seen of a room from outside; `None` when it is not to be seen by the account, or
    /// the homeserver does not know it.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn room_summary(
        &self,
        room: &RoomId,
        via: Vec<OwnedServerName>,
    ) -> Result<Option<RoomSummary>, Failure> {
        let request = get_summary::v1::Request::new(room.to_owned().into(), via);
        match self.act(Action::Read, request).await {
            Ok(answer) => Ok(Some(answer.summary)),
            Err(Failure::Refused { .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The room versions that the account's homeserver supports
    /// ([spec](https://spec.matrix.org/v1.18/client-server-api/#mroom_versions-capability)).
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn room_versions(&self) -> Result<BTreeSet<RoomVersionId>, Failure> {
        let answer = self.act(Action::Read, get_capabilities::v3::Request::new()).await?;
        Ok(answer.capabilities.room_versions.available.into_keys().collect())
    }

    /// One sync, that does not show the account as online. `timeout` is how long the homeserver
    /// may wait for something new when there is a `since`. Without one, the answer is how things
    /// are now, even where the homeserver would repeat an earlier answer.
    ///
    /// The answer keeps its share of the memory for all answers until it is dropped.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn sync(
        &self,
        mut filter: FilterDefinition,
        since: Option<String>,
        timeout: Option<Duration>,
    ) -> Result<Synced, Failure> {
        if since.is_none() {
            // Synapse answers the very same initial sync from a cache for two minutes. A filter
            // that leaves out one more type, which does not exist, is never the very same.
            let asked_at = self.transport.now().as_microsecond();
            filter.room.timeline.not_types.push(format!("tern.asked_at.{asked_at}"));
        }
        let mut request = sync_events::v3::Request::new();
        request.filter = Some(sync_events::v3::Filter::FilterDefinition(filter));
        request.since = since;
        request.timeout = timeout;
        request.set_presence = PresenceState::Offline;
        let allowance = Allowance::of_sync(request.since.as_deref());
        let attempt = || {
            let request = sync::Sync(request.clone());
            self.attempt_within(Action::Sync, allowance, request)
        };
        self.run_in_turn(Action::Sync.into(), attempt).await
    }
}

/// Writing. All of it may be sent twice without harm.
impl Account {
    /// Joins a room, asking the servers in `via` to help.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); but [`Failure::Limited`] when it would have to wait and whether
    /// the join is a local or a remote one is [`Unknown`](Nearness::Unknown): they are limited
    /// differently, so that is to be found out first.
    pub async fn join(
        &self,
        room: &RoomOrAliasId,
        via: Vec<OwnedServerName>,
        nearness: Nearness,
    ) -> Result<OwnedRoomId, Failure> {
        let errand = Errand {
            room: <&RoomId>::try_from(room).ok(),
            patient: nearness != Nearness::Unknown,
            ..nearness.join().into()
        };
        let mut request = join_room_by_id_or_alias::v3::Request::new(room.to_owned());
        request.via = via;
        Ok(self.act_on(errand, &request).await?.room_id)
    }

    /// Invites `user` to a room.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` also when `user` is there already.
    pub async fn invite(&self, room: &RoomId, user: &UserId) -> Result<(), Failure> {
        let recipient = InviteUserId::new(user.to_owned()).into();
        let request = invite_user::v3::Request::new(room.to_owned(), recipient);
        let errand = Errand { room: Some(room), invited: Some(user), ..Action::Invite.into() };
        self.act_on(errand, &request).await.map(drop)
    }

    /// Writes one state event.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act); `M_FORBIDDEN` when the account's power is too low.
    pub async fn set_state(
        &self,
        room: &RoomId,
        event_type: StateEventType,
        state_key: &str,
        content: &JsonObject,
    ) -> Result<OwnedEventId, Failure> {
        let request = send_state_event::v3::Request::new_raw(
            room.to_owned(),
            event_type,
            state_key.to_owned(),
            raw(content)?,
        );
        let errand = Errand { room: Some(room), ..Action::State.into() };
        Ok(self.act_on(errand, &request).await?.event_id)
    }

    /// Sets one of the account's tags for a room.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn set_tag(
        &self,
        room: &RoomId,
        tag: &TagName,
        info: TagInfo,
    ) -> Result<(), Failure> {
        let (user_id, room) = (self.user_id().to_owned(), room.to_owned());
        let request = create_tag::v3::Request::new(user_id, room, tag.to_string(), info);
        self.act(Action::AccountData, request).await.map(drop)
    }

    /// Writes one piece of the account's global account data, over what was there.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn set_account_data(
        &self,
        event_type: GlobalAccountDataEventType,
        content: &JsonObject,
    ) -> Result<(), Failure> {
        let request = set_global_account_data::v3::Request::new_raw(
            self.user_id().to_owned(),
            event_type,
            raw(content)?,
        );
        self.act(Action::AccountData, request).await.map(drop)
    }

    /// Redacts an event.
    ///
    /// # Errors
    ///
    /// As in [`act`](Self::act).
    pub async fn redact(
        &self,
        room: &RoomId,
        event: &EventId,
        transaction: &TransactionId,
    ) -> Result<OwnedEventId, Failure> {
        let request = redact_event::v3::Request::new(
            room.to_owned(),
            event.to_owned(),
            transaction.to_owned(),
        );
        let errand = Errand { room: Some(room), ..Action::Redact.into() };
        Ok(self.act_on(errand, &request).await?.event_id)
    }
}

/// Turns `M_NOT_FOUND` into `None`.
fn found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is_not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Reads what is in an answer. What is nested more deeply than anybody means makes no sense: it could
/// be read, but not be read back once it is a part of a record.
fn parse<T: DeserializeOwned>(json: &str, what: &str) -> Result<T, Failure> {
    let garbage = || Failure::Garbage { what: format!("it is not the content of {what}") };
    if json::depth(json.as_bytes()) > json::DEEPEST_READ {
        return Err(garbage());
    }
    serde_json::from_str(json).map_err(|_| garbage())
}

fn raw<T>(content: &impl Serialize) -> Result<Raw<T>, Failure> {
    let json = to_raw_value(content).map_err(|error| Failure::Unsendable(error.to_string()))?;
    Ok(Raw::from_json(json))
}
