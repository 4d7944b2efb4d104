//! Which rooms are direct messages, and what is said in those that are not.

use std::time::Duration;

use matrix_sdk::{
    Room, RoomState,
    ruma::{UserId, events::room::member::MembershipState},
};

use super::{
    company::{Company, Overheard},
    inbox::Undone,
    retry::until_final,
    shared::Bot,
    talk::{Cause, Unsent},
    wording::{self, Message},
};
use crate::bot::records::{Person, Room as Record};

/// Pauses after which a refused invitation is tried again. A homeserver may send an invitation out
/// before it knows of it itself, and says until then that there is none.
const AGAIN_AFTER: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// Accepts an invitation.
pub(super) async fn accept_invitation(bot: &Bot, room: &Room) {
    let mut pauses = AGAIN_AFTER.into_iter();
    loop {
        let joined = until_final(&bot.shared.clock, || async {
            // Meanwhile it may have been taken back.
            if room.state() == RoomState::Invited { bot.hands.join(room).await } else { Ok(()) }
        });
        let Err(error) = joined.await else { return };
        let Some(pause) = pauses.next() else {
            tracing::warn!(room = %room.room_id(), %error, "an invitation could not be accepted");
            return;
        };
        bot.shared.clock.sleep(pause).await;
    }
}

/// Sees who is in a room now, and says what there is to say about that.
pub(super) async fn look(bot: &Bot, room: &Room) -> Result<(), Undone> {
    let record = bot.shared.records.room(room.room_id())?;
    match bot.lookout.company(room).await? {
        Company::NotThere => bot.shared.records.forget_room(room.room_id()).await?,
        Company::None => alone(bot, room, record).await?,
        Company::One(_) if record.greeted || record.silent => {}
        Company::One(_) => greet(bot, room, record).await?,
        Company::Many | Company::Overheard(_) if record.silent => {}
        Company::Many => fall_silent(bot, room, record, None).await?,
        Company::Overheard(why) => fall_silent(bot, room, record, Some(why)).await?,
    }
    bot.company_changed.send_modify(|count| *count += 1);
    Ok(())
}

/// In a direct message that the bot did not make itself, it introduces itself.
async fn greet(bot: &Bot, room: &Room, record: Record) -> Result<(), Undone> {
    if record.made_for.is_none() {
        let greeting = wording::greeting(&bot.shared.config.bot.display_name);
        say_once(bot, room, "greeting", &greeting).await?;
    }
    Ok(bot.shared.records.change_room(room.room_id(), |record| record.greeted = true).await?)
}

/// In a room in which others hear what is said: the bot tells why it says no more, and stays, in
/// silence, in what was a direct message, and where it was given the power to invite, which it uses
/// when a moderator says so. It leaves any other room.
async fn fall_silent(
    bot: &Bot,
    room: &Room,
    record: Record,
    why: Option<Overheard>,
) -> Result<(), Undone> {
    let was_direct = record.greeted || record.made_for.is_some();
    if was_direct || was_given_invites(bot, room).await? {
        let (what, message) = if was_direct {
            (
                "crowded",
                why.map_or_else(
                    || wording::crowded(&bot.me),
                    |why| wording::overheard(why, &bot.me),
                ),
            )
        } else {
            ("staying", wording::staying(&bot.me))
        };
        say_once(bot, room, what, &message).await?;
        bot.shared.records.change_room(room.room_id(), |record| record.silent = true).await?;
        return match &record.made_for {
            Some(person) => give_up_room(bot, room, person).await,
            None => Ok(()),
        };
    }
    let hint = match why {
        Some(why) => wording::overheard_and_left(why, &bot.me),
        None => wording::hint(&bot.me),
    };
    say_once(bot, room, "hint", &hint).await?;
    leave(bot, room).await
}

/// The room that the bot made for somebody is theirs alone no more: what there is to be said to them
/// needs another.
async fn give_up_room(bot: &Bot, room: &Room, person: &UserId) -> Result<(), Undone> {
    let change = |person: &mut Person| {
        let outreach = &mut person.outreach;
        if outreach.room_id.as_deref() == Some(room.room_id()) {
            outreach.room_id = None;
            outreach.invited = false;
        }
    };
    Ok(bot.shared.records.change_person(person, change).await?)
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

/// Leaves a room for good.
pub(super) async fn leave(bot: &Bot, room: &Room) -> Result<(), Undone> {
    until_final(&bot.shared.clock, || room.leave()).await?;
    bot.shared.records.forget_room(room.room_id()).await?;
    Ok(())
}

/// Says something that is said once in a room's life. Where the bot may not speak, it is silent.
async fn say_once(bot: &Bot, room: &Room, what: &str, message: &Message) -> Result<(), Undone> {
    let transaction = Cause::other(what, room.room_id()).transaction(0);
    match bot.talk.say_openly(room.room_id(), message, transaction).await {
        Err(Unsent::Refused(error)) => {
            tracing::info!(room = %room.room_id(), %error, "the bot may not speak");
            Ok(())
        }
        sent => Ok(sent?),
    }
}
