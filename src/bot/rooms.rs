//! Which rooms are direct messages, and what is said in those that are not.

use matrix_sdk::{
    Room, RoomMemberships, RoomState,
    ruma::{
        OwnedUserId, UserId, api::client::membership::leave_room,
        events::room::member::MembershipState,
    },
};

use super::{
    inbox::Undone,
    retry::until_final,
    shared::Bot,
    talk::{Cause, Unsent},
    wording::{self, Message},
};
use crate::bot::records::Room as Record;

/// Who is in a room beside the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// The bot is not in it.
    NotThere,
    /// Nobody.
    None,
    /// Exactly this person: a direct message.
    One(OwnedUserId),
    /// More than one.
    Many,
}

/// Who is in a room beside the bot.
pub(super) async fn company(bot: &Bot, room: &Room) -> Result<Company, matrix_sdk::Error> {
    if room.state() != RoomState::Joined {
        return Ok(Company::NotThere);
    }
    let joined = until_final(&bot.shared.clock, || room.members(RoomMemberships::JOIN)).await?;
    let mut others = joined.iter().map(|member| member.user_id()).filter(|user| *user != bot.me);
    Ok(match (others.next(), others.next()) {
        (None, _) => Company::None,
        (Some(one), None) => Company::One(one.to_owned()),
        (Some(_), Some(_)) => Company::Many,
    })
}

/// Sees who is in a room now, and says what there is to say about that.
pub(super) async fn look(bot: &Bot, room: &Room) -> Result<(), Undone> {
    let record = bot.shared.records.room(room.room_id())?;
    let company = company(bot, room).await?;
    let with = if let Company::One(person) = &company { Some(&**person) } else { None };
    bot.chats.note(room.room_id(), with);
    match company {
        Company::NotThere => let_go(bot, room).await?,
        Company::None => alone(bot, room, record).await?,
        Company::One(_) if record.greeted || record.silent => {}
        Company::One(_) => greet(bot, room, record).await?,
        Company::Many if record.silent => {}
        Company::Many => fall_silent(bot, room, record).await?,
    }
    bot.company_changed.send_modify(|count| *count += 1);
    Ok(())
}

/// The bot is not in the room any more: nothing is kept of it, not by the client either.
async fn let_go(bot: &Bot, room: &Room) -> Result<(), Undone> {
    bot.shared.records.forget_room(room.room_id()).await?;
    if matches!(room.state(), RoomState::Left | RoomState::Banned)
        && let Err(error) = room.forget().await
    {
        tracing::debug!(room = %room.room_id(), %error, "a room that was left is not forgotten");
    }
    Ok(())
}

/// In a direct message that the bot did not make itself, it introduces itself.
async fn greet(bot: &Bot, room: &Room, record: Record) -> Result<(), Undone> {
    if record.made_for.is_none() {
        let greeting = wording::greeting(&bot.shared.config.bot.display_name);
        say_once(bot, room, "greeting", &greeting).await?;
    }
    let greeted = Record { greeted: true, ..record };
    Ok(bot.shared.records.put_room(room.room_id(), &greeted).await?)
}

/// In a room with others: the bot stays, in silence, in a direct message that grew, and where it was
/// given the power to invite, which it uses when a moderator says so. It leaves any other room.
async fn fall_silent(bot: &Bot, room: &Room, record: Record) -> Result<(), Undone> {
    let was_direct = record.greeted || record.made_for.is_some();
    if was_direct || was_given_invites(bot, room).await? {
        let (what, message) = if was_direct {
            ("crowded", wording::crowded(&bot.me))
        } else {
            ("staying", wording::staying(&bot.me))
        };
        say_once(bot, room, what, &message).await?;
        let silent = Record { silent: true, stays: !was_direct, ..record };
        return Ok(bot.shared.records.put_room(room.room_id(), &silent).await?);
    }
    say_once(bot, room, "hint", &wording::hint(&bot.me)).await?;
    leave(bot, room).await
}

/// Whether the room's own power levels name the bot, and let it invite.
async fn was_given_invites(bot: &Bot, room: &Room) -> Result<bool, Undone> {
    let levels = room.power_levels().await.map_err(matrix_sdk::Error::from)?;
    Ok(levels.users.contains_key(&bot.me) && levels.user_can_invite(&bot.me))
}

/// When everybody else is gone, the bot goes, too; unless it waits for the person it made the room
/// for.
async fn alone(bot: &Bot, room: &Room, record: Record) -> Result<(), Undone> {
    let Some(person) = &record.made_for else {
        // Just joined: who invited the bot is not seen yet; or has left already.
        return if record.greeted { leave(bot, room).await } else { Ok(()) };
    };
    if membership(room, person).await? == Some(MembershipState::Leave) {
        bot.shared
            .records
            .change_person(person, |person| {
                let outreach = &mut person.outreach;
                if outreach.room_id.as_deref() == Some(room.room_id()) {
                    outreach.rejected = outreach.invited;
                    outreach.room_id = None;
                }
            })
            .await?;
        leave(bot, room).await?;
    }
    Ok(())
}

/// How `user` stands to a room.
pub(super) async fn membership(
    room: &Room,
    user: &UserId,
) -> Result<Option<MembershipState>, matrix_sdk::Error> {
    Ok(room.get_member(user).await?.map(|member| member.membership().clone()))
}

/// Leaves a room for good, or declines the invitation to it. This room only: `Room::leave` would
/// leave those as well that it names as its predecessors, which whoever made it can make up.
pub(super) async fn leave(bot: &Bot, room: &Room) -> Result<(), Undone> {
    let request = leave_room::v3::Request::new(room.room_id().to_owned());
    let left = || async { bot.client.send(request.clone()).await.map_err(matrix_sdk::Error::from) };
    until_final(&bot.shared.clock, left).await?;
    bot.shared.records.forget_room(room.room_id()).await?;
    Ok(())
}

/// Says something that is said once in a room's life. Where the bot may not speak, it is silent.
async fn say_once(bot: &Bot, room: &Room, what: &str, message: &Message) -> Result<(), Undone> {
    let transaction = Cause::other(what, room.room_id()).transaction(0);
    match bot.talk.say(room.room_id(), message, transaction).await {
        Err(Unsent::Refused(error)) => {
            tracing::info!(room = %room.room_id(), %error, "the bot may not speak");
            Ok(())
        }
        sent => Ok(sent.map(drop)?),
    }
}
