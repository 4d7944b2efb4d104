//! Rooms that the bot stays in, since it was given the power to invite there: what it sees there for
//! itself, as its own homeserver knows the room, and what it does there.

use matrix_sdk::{
    Room, RoomState,
    deserialized_responses::TimelineEvent,
    ruma::{RoomId, UserId, events::room::member::MembershipState, serde::Raw},
};
use serde_json::Value;

use super::{hands::Mishap, inbox::Undone, rooms, shared::Bot};
use crate::moderation::InviteRequest;

/// Why something could not be looked at, or done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hindrance {
    #[error(transparent)]
    Undone(#[from] Undone),
    #[error(transparent)]
    Mishap(#[from] Mishap),
}

/// The room, if the bot stays in it: not for whatever other reason it may be there. A chat with
/// somebody, also one that grew, is nobody else's to be let into.
fn kept(bot: &Bot, room: &RoomId) -> Result<Option<Room>, Undone> {
    if !bot.shared.records.room(room)?.stays {
        return Ok(None);
    }
    let is_joined = |room: &Room| room.state() == RoomState::Joined;
    Ok(bot.client.get_room(room).filter(is_joined))
}

/// Whether `user` is in a room that the bot stays in, and may invite there.
pub(super) async fn may_invite(bot: &Bot, room: &RoomId, user: &UserId) -> Result<bool, Undone> {
    let Some(room) = kept(bot, room)? else { return Ok(false) };
    if rooms::membership(&room, user).await? != Some(MembershipState::Join) {
        return Ok(false);
    }
    let levels = room.power_levels().await.map_err(matrix_sdk::Error::from)?;
    Ok(levels.user_can_invite(user))
}

/// Invites somebody to a room that the bot stays in, and in which it may. Whether it did.
pub(super) async fn invite(bot: &Bot, room: &RoomId, user: &UserId) -> Result<bool, Hindrance> {
    if !may_invite(bot, room, &bot.me).await? {
        return Ok(false);
    }
    let Some(room) = kept(bot, room)? else { return Ok(false) };
    bot.hands.let_in(&room, user).await?;
    Ok(true)
}

/// Listens to what is said in a room that the bot stays in, for answers to invite requests and for
/// nothing else.
pub(super) async fn overhear(bot: &Bot, room: &Room, event: &TimelineEvent) -> Result<(), Undone> {
    let moderation = &bot.shared.moderation;
    let Some(answered) = moderation.answered(room.room_id(), event.raw().json().get())? else {
        return Ok(());
    };
    // What was answered to, the old account's homeserver told: whether it is what the bot wrote, the
    // bot sees for itself.
    let Some(asked) = asked(room, answered.to()).await? else { return Ok(()) };
    for request in answered.requests.iter().filter(|request| asked.is_of(bot, request)) {
        moderation.overheard(request, &answered).await?;
    }
    Ok(())
}

/// A message that somebody reacted or replied to.
struct Asked {
    sender: Option<matrix_sdk::ruma::OwnedUserId>,
    content: Value,
}

impl Asked {
    fn is_of(&self, bot: &Bot, request: &InviteRequest) -> bool {
        self.sender
            .as_ref()
            .is_some_and(|sender| bot.shared.moderation.is_asked_by(request, sender, &self.content))
    }
}

/// A message as the bot's own homeserver knows it, if nobody put another in its place.
async fn asked(
    room: &Room,
    event: &matrix_sdk::ruma::EventId,
) -> Result<Option<Asked>, matrix_sdk::Error> {
    let event = match room.event(event, None).await {
        Ok(event) => event,
        Err(error) if error.as_client_api_error().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    let raw: &Raw<_> = event.raw();
    let unsigned: Option<Value> = raw.get_field("unsigned").ok().flatten();
    let was_replaced = unsigned
        .as_ref()
        .is_some_and(|unsigned| unsigned.pointer("/m.relations/m.replace").is_some());
    let content: Option<Value> = raw.get_field("content").ok().flatten();
    Ok(content.filter(|_| !was_replaced).map(|content| Asked { sender: event.sender(), content }))
}
