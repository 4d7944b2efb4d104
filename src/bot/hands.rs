//! What the bot does as itself that homeservers allow seldom: making rooms, joining, inviting. As an
//! application service's own user it does that with the `as_token`, which is exempt from limits
//! where a session's own token is not.

use matrix_sdk::{
    Client, Room,
    ruma::{
        UserId,
        api::client::{membership::join_room_by_id, room::create_room},
        events::StateEventType,
    },
};

use super::retry::{Failed, Fate, fate};
use crate::homeserver::{Failure, OwnUser};

/// How the bot does what is limited.
#[derive(Debug)]
pub(super) struct Hands {
    client: Client,
    own_user: Option<OwnUser>,
}

/// Something that could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mishap {
    #[error(transparent)]
    Client(#[from] matrix_sdk::Error),
    #[error(transparent)]
    Service(#[from] Failure),
}

impl Mishap {
    /// The status that the homeserver answered with, if it was no answer that makes sense.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Client(error) => {
                error.as_client_api_error().map(|answer| answer.status_code.as_u16())
            }
            Self::Service(Failure::Faulty { status, .. } | Failure::Refused { status, .. }) => {
                Some(*status)
            }
            Self::Service(_) => None,
        }
    }

    /// What the homeserver said, or else what is wrong.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Client(error) => {
                let words = error.as_client_api_error().map(ToString::to_string);
                words.unwrap_or_else(|| error.to_string())
            }
            Self::Service(Failure::Refused { message, .. }) => message.clone(),
            Self::Service(failure) => failure.to_string(),
        }
    }
}

impl Failed for Mishap {
    fn fate(&self) -> Fate {
        match self {
            Self::Client(error) => fate(error),
            Self::Service(failure) => failure.fate(),
        }
    }
}

impl Hands {
    pub(super) fn new(client: Client, own_user: Option<OwnUser>) -> Self {
        Self { client, own_user }
    }

    /// Makes a room.
    pub(super) async fn create_room(
        &self,
        request: create_room::v3::Request,
    ) -> Result<Room, Mishap> {
        let Some(own_user) = &self.own_user else {
            return Ok(self.client.create_room(request).await?);
        };
        let room_id = own_user.create_room(request).await?;
        // The session hears of it by its sync.
        Ok(self.client.await_room_remote_echo(&room_id).await)
    }

    /// Accepts an invitation.
    pub(super) async fn join(&self, room: &Room) -> Result<(), Mishap> {
        match &self.own_user {
            Some(own_user) => Ok(own_user.join(room.room_id()).await?),
            // Not `Room::join`, which also writes down for each chat which all chats are: that grows
            // with everybody who ever wrote to the bot.
            None => {
                let request = join_room_by_id::v3::Request::new(room.room_id().to_owned());
                self.client.send(request).await.map_err(matrix_sdk::Error::from)?;
                Ok(())
            }
        }
    }

    /// Invites somebody to a room that the bot is in.
    pub(super) async fn let_in(&self, room: &Room, user: &UserId) -> Result<(), Mishap> {
        match &self.own_user {
            Some(own_user) => {
                let (kind, content) =
                    (StateEventType::RoomMember, serde_json::json!({ "membership": "invite" }));
                Ok(own_user.set_state(room.room_id(), kind, user.as_str(), &content).await?)
            }
            None => Ok(room.invite_user_by_id(user).await?),
        }
    }

    /// Invites somebody to a direct chat: as a state event, which unlike an invite can say that it
    /// is one.
    pub(super) async fn invite(
        &self,
        room: &Room,
        user: &UserId,
        reason: &str,
    ) -> Result<(), Mishap> {
        let content = serde_json::json!({
            "membership": "invite", "is_direct": true, "reason": reason,
        });
        match &self.own_user {
            Some(own_user) => {
                let (kind, user) = (StateEventType::RoomMember, user.as_str());
                Ok(own_user.set_state(room.room_id(), kind, user, &content).await?)
            }
            None => {
                room.send_state_event_raw("m.room.member", user.as_str(), content).await?;
                Ok(())
            }
        }
    }
}
