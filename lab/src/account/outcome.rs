//! What an account finds on its homeserver: the outcome of a migration, seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::client::{
        membership::joined_rooms, state::get_state_event_for_key, state::get_state_events,
        tag::get_tags,
    },
    events::{
        StateEventType,
        room::{
            create::RoomCreateEventContent,
            member::MembershipState,
            power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, UserPowerLevel},
        },
        tag::Tags,
    },
};
use serde_json::{Value, json};

use super::{Account, rooms::absent};

impl Account {
    /// The rooms that it is in.
    pub async fn joined_rooms(&self) -> Result<BTreeSet<OwnedRoomId>> {
        let answer = self.send(joined_rooms::v3::Request::new()).await?;
        Ok(answer.joined_rooms.into_iter().collect())
    }

    /// Whether somebody is joined, invited, … as a room that this account is in sees it.
    pub async fn member(&self, room: &RoomId, user: &UserId) -> Result<Option<MembershipState>> {
        let member = self.state(room, "m.room.member", user.as_str()).await?;
        Ok(member.map(|member| serde_json::from_value(member["membership"].clone())).transpose()?)
    }

    /// The power that somebody has in a room.
    pub async fn power_level(&self, room: &RoomId, user: &UserId) -> Result<UserPowerLevel> {
        let state = self.send(get_state_events::v3::Request::new(room.to_owned())).await?;
        let create = state.room_state.iter().find_map(|event| {
            let event = event.deserialize_as_unchecked::<Value>().ok()?;
            (event["type"] == "m.room.create").then_some(event)
        });
        let create = create.context("a room has a create event")?;
        let sender: OwnedUserId = serde_json::from_value(create["sender"].clone())?;
        let content: RoomCreateEventContent = serde_json::from_value(create["content"].clone())?;
        let rules = content.room_version.rules().context("an unknown room version")?;
        let creators = content.additional_creators.into_iter().chain([sender]);

        let levels = self.state(room, "m.room.power_levels", "").await?;
        let levels: Option<RoomPowerLevelsEventContent> =
            levels.map(serde_json::from_value).transpose()?;
        let creators: Vec<_> = creators.collect();
        Ok(RoomPowerLevels::new(levels.into(), &rules.authorization, creators).for_user(user))
    }

    /// The version of a room.
    pub async fn room_version(&self, room: &RoomId) -> Result<RoomVersionId> {
        let create = self.state(room, "m.room.create", "").await?.unwrap_or_else(|| json!({}));
        Ok(serde_json::from_value::<RoomCreateEventContent>(create)?.room_version)
    }

    /// A piece of a room's state, if it is set.
    pub async fn state(
        &self,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Value>> {
        let request = get_state_event_for_key::v3::Request::new(
            room.to_owned(),
            StateEventType::from(event_type),
            state_key.to_owned(),
        );
        let content = absent(self.send(request).await)?;
        Ok(content
            .map(|content| serde_json::from_str(content.event_or_content.get()))
            .transpose()?)
    }

    /// Its tags on a room.
    pub async fn tags(&self, room: &RoomId) -> Result<Tags> {
        let request = get_tags::v3::Request::new(self.user_id().to_owned(), room.to_owned());
        Ok(self.send(request).await?.tags)
    }

    /// Its direct chats, by whom they are with (`m.direct`).
    pub async fn direct(&self) -> Result<BTreeMap<OwnedUserId, BTreeSet<OwnedRoomId>>> {
        let direct = self.account_data("m.direct").await?;
        Ok(serde_json::from_value(direct.unwrap_or_else(|| json!({})))?)
    }
}
