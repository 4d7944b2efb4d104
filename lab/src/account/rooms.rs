//! What an account does in rooms.

use anyhow::Result;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, RoomOrAliasId, TransactionId,
    UserId,
    api::client::{
        config::{get_global_account_data, set_global_account_data},
        membership::{
            invite_user::v3::{InvitationRecipient, InviteUserId, Request as Invite},
            join_room_by_id_or_alias, leave_room,
        },
        message::send_message_event,
        redact::redact_event,
        state::send_state_event,
        tag::create_tag,
    },
    events::{
        AnyMessageLikeEventContent, GlobalAccountDataEventType, StateEventType,
        room::message::RoomMessageEventContent,
        tag::{TagInfo, TagName},
    },
    serde::Raw,
};
use serde_json::{Value, json};

use super::{Account, RoomSpec, refusal};

impl Account {
    /// Makes a room.
    pub async fn create_room(&self, spec: RoomSpec) -> Result<OwnedRoomId> {
        let (direct_with, parent) =
            (spec.direct_with().map(ToOwned::to_owned), spec.parent.clone());
        let room = self.send(spec.request(self.user_id())?).await?.room_id;
        if let Some(user) = direct_with {
            self.add_direct(&user, &room).await?;
        }
        if let Some(space) = parent {
            let via = json!({ "via": [self.user_id().server_name()] });
            self.set_state(&space, "m.space.child", room.as_str(), &via).await?;
        }
        Ok(room)
    }

    /// Joins a room that its homeserver knows, or that it was invited to.
    pub async fn join(&self, room: &RoomId) -> Result<()> {
        self.join_via(room.into(), &[]).await?;
        Ok(())
    }

    /// Joins a room through other homeservers.
    pub async fn join_via(
        &self,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
    ) -> Result<OwnedRoomId> {
        let mut request = join_room_by_id_or_alias::v3::Request::new(room.to_owned());
        request.via = via.to_vec();
        Ok(self.send(request).await?.room_id)
    }

    /// Invites somebody.
    pub async fn invite(&self, room: &RoomId, user: &UserId) -> Result<()> {
        let user = InvitationRecipient::UserId(InviteUserId::new(user.to_owned()));
        self.send(Invite::new(room.to_owned(), user)).await?;
        Ok(())
    }

    /// Leaves a room, or declines an invitation to it.
    pub async fn leave(&self, room: &RoomId) -> Result<()> {
        self.send(leave_room::v3::Request::new(room.to_owned())).await?;
        Ok(())
    }

    /// Posts a plain text, never encrypted.
    pub async fn message(&self, room: &RoomId, text: &str) -> Result<OwnedEventId> {
        let content = RoomMessageEventContent::text_plain(text);
        self.send_event(room, &AnyMessageLikeEventContent::RoomMessage(content)).await
    }

    /// Sends an event, never encrypted.
    pub async fn send_event(
        &self,
        room: &RoomId,
        content: &AnyMessageLikeEventContent,
    ) -> Result<OwnedEventId> {
        let request =
            send_message_event::v3::Request::new(room.to_owned(), TransactionId::new(), content)?;
        Ok(self.send(request).await?.event_id)
    }

    /// Redacts an event.
    pub async fn redact(&self, room: &RoomId, event: &EventId) -> Result<()> {
        let transaction = TransactionId::new();
        let (room, event) = (room.to_owned(), event.to_owned());
        self.send(redact_event::v3::Request::new(room, event, transaction)).await?;
        Ok(())
    }

    /// Sets a piece of a room's state.
    pub async fn set_state(
        &self,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
        content: &Value,
    ) -> Result<OwnedEventId> {
        let request = send_state_event::v3::Request::new_raw(
            room.to_owned(),
            StateEventType::from(event_type),
            state_key.to_owned(),
            Raw::new(content)?.cast_unchecked(),
        );
        Ok(self.send(request).await?.event_id)
    }

    /// Tags a room.
    pub async fn set_tag(&self, room: &RoomId, tag: TagName, order: Option<f64>) -> Result<()> {
        let mut info = TagInfo::new();
        info.order = order;
        let (user, room) = (self.user_id().to_owned(), room.to_owned());
        self.send(create_tag::v3::Request::new(user, room, tag.to_string(), info)).await?;
        Ok(())
    }

    /// Adds a room to the direct chats with `user`, in `m.direct`.
    pub async fn add_direct(&self, user: &UserId, room: &RoomId) -> Result<()> {
        let mut direct = self.account_data("m.direct").await?.unwrap_or_else(|| json!({}));
        let rooms = &mut direct[user.as_str()];
        match rooms.as_array_mut() {
            Some(rooms) => rooms.push(json!(room)),
            None => *rooms = json!([room]),
        }
        self.set_account_data("m.direct", &direct).await
    }

    /// Sets a piece of global account data.
    pub async fn set_account_data(&self, event_type: &str, content: &Value) -> Result<()> {
        let request = set_global_account_data::v3::Request::new_raw(
            self.user_id().to_owned(),
            GlobalAccountDataEventType::from(event_type),
            Raw::new(content)?.cast_unchecked(),
        );
        self.send(request).await?;
        Ok(())
    }

    /// A piece of global account data, if it is set.
    pub async fn account_data(&self, event_type: &str) -> Result<Option<Value>> {
        let request = get_global_account_data::v3::Request::new(
            self.user_id().to_owned(),
            GlobalAccountDataEventType::from(event_type),
        );
        let answer = absent(self.send(request).await)?;
        Ok(answer.map(|answer| answer.account_data.deserialize_as_unchecked()).transpose()?)
    }
}

/// `None` for what the homeserver says is not there.
pub(super) fn absent<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if refusal(&error).is_some_and(|refusal| refusal.status_code == 404) => Ok(None),
        answer => answer.map(Some),
    }
}
