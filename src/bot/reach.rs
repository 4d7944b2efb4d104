//! The way to a person: the direct message that they are in, or an invitation to a new one.

use std::time::Duration;

use matrix_sdk::{
    Room,
    ruma::{
        OwnedRoomId, RoomId, UserId,
        api::client::{
            profile::get_profile,
            room::create_room::{self, v3::CreationContent},
        },
        assign,
        events::{
            InitialStateEvent, StateEventType,
            room::{encryption::RoomEncryptionEventContent, member::MembershipState},
        },
        serde::Raw,
    },
};
use serde_json::json;

use super::{
    hands::Mishap,
    inbox::Undone,
    records::{Person, Room as Record},
    retry::{Failed as _, Fate},
    rooms::{self, Company},
    shared::Bot,
    wording::{self, Unasked},
};

/// The key in `m.room.create` that tells whom a room was made for: known again even when the bot
/// was killed before it could write the room down.
const MADE_FOR: &str = "tern.made_for";
/// How long until the next try.
const PAUSE: Duration = Duration::from_secs(20);

/// How it stands with inviting a person.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// They are invited, and have not answered.
    Invited,
    /// Something passing is in the way; to be tried again after this time.
    Later(Option<Unasked>, Duration),
    /// Not by the bot.
    Not(Unasked),
}

/// The direct message that the person is in: the one preferred, the one they spoke in last, or any
/// that is [known](super::chats).
pub(super) async fn direct_message(
    bot: &Bot,
    user: &UserId,
    preferred: Option<&RoomId>,
) -> Result<Option<OwnedRoomId>, Undone> {
    let last = bot.shared.records.person(user)?.room_id;
    let others = bot.chats.of(user);
    let chats = [preferred, last.as_deref()].into_iter().flatten();
    let chats = chats.chain(others.iter().map(|id| &**id));
    for room in chats.filter_map(|id| bot.client.get_room(id)) {
        if is_with(bot, &room, user).await? {
            return Ok(Some(room.room_id().to_owned()));
        }
    }
    Ok(None)
}

async fn is_with(bot: &Bot, room: &Room, user: &UserId) -> Result<bool, Undone> {
    let is_silent = bot.shared.records.room(room.room_id())?.silent;
    Ok(!is_silent && rooms::company(bot, room).await? == Company::One(user.to_owned()))
}

/// Brings the person into a direct message that the bot makes, with a reason that they see before
/// they accept. To be called again until it has
/// come to an end: each call goes on where the last one, even of another process, stopped.
pub(super) async fn invite(bot: &Bot, user: &UserId, reason: &str) -> Result<Reach, Undone> {
    let outreach = bot.shared.records.person(user)?.outreach;
    if outreach.rejected {
        return Ok(Reach::Not(Unasked::Rejected));
    }
    let room = match outreach.room_id.as_deref().and_then(|id| bot.client.get_room(id)) {
        Some(room) => room,
        None => match make_room(bot, user, reason).await? {
            Ok(room) => room,
            Err(reach) => return Ok(reach),
        },
    };
    if outreach.invited {
        return Ok(match rooms::membership(&room, user).await? {
            Some(MembershipState::Leave | MembershipState::Ban) => Reach::Not(Unasked::Rejected),
            _ => Reach::Invited,
        });
    }
    if let Err(error) = bot.hands.invite(&room, user, reason).await {
        return Ok(failed(&error));
    }
    bot.shared.records.change_person(user, |person| person.outreach.invited = true).await?;
    Ok(Reach::Invited)
}

/// The room for a person: one that was made before it could be written down, or a new one.
async fn make_room(bot: &Bot, user: &UserId, reason: &str) -> Result<Result<Room, Reach>, Undone> {
    // Only where the bot was stopped while it made one.
    let is_making = bot.shared.records.person(user)?.outreach.making;
    let before = if is_making { made_before(bot, user).await? } else { None };
    let room = match before {
        Some(room) => room,
        None => {
            if let Some(reach) = seek(bot, user).await {
                return Ok(Err(reach));
            }
            set_making(bot, user, true).await?;
            match create(bot, user, reason).await {
                Ok(room) => room,
                Err(error) if error.status().is_some_and(|status| status < 500) => {
                    set_making(bot, user, false).await?;
                    return Ok(Err(failed(&error)));
                }
                Err(error) => return Ok(Err(failed(&error))),
            }
        }
    };
    let record = Record { made_for: Some(user.to_owned()), ..Record::default() };
    bot.shared.records.put_room(room.room_id(), &record).await?;
    let id = room.room_id().to_owned();
    let change = |person: &mut Person| {
        person.outreach.room_id = Some(id);
        person.outreach.making = false;
    };
    bot.shared.records.change_person(user, change).await?;
    Ok(Ok(room))
}

async fn set_making(bot: &Bot, user: &UserId, making: bool) -> Result<(), Undone> {
    let change = |person: &mut Person| person.outreach.making = making;
    Ok(bot.shared.records.change_person(user, change).await?)
}

/// Looks for it among all rooms.

async fn made_before(bot: &Bot, user: &UserId) -> Result<Option<Room>, Undone> {
    for room in bot.client.joined_rooms() {
        let Some(create) = room.get_state_event(StateEventType::RoomCreate, "").await? else {
            continue;
        };
        let Ok(create) = serde_json::to_value(create) else { continue };
        let event = create.get("Sync").or_else(|| create.get("Stripped")).unwrap_or(&create);
        let is_for = event.pointer("/content").and_then(|content| content.get(MADE_FOR));
        let is_own =
            event.get("sender").and_then(|sender| sender.as_str()) == Some(bot.me.as_str());
        if is_own && is_for.and_then(|user| user.as_str()) == Some(user.as_str()) {
            return Ok(Some(room));
        }
    }
    Ok(None)
}

/// Asks whether there is such an account, which an invitation does not tell.
async fn seek(bot: &Bot, user: &UserId) -> Option<Reach> {
    let request = get_profile::v3::Request::new(user.to_owned());
    let error = Mishap::Client(bot.client.send(request).await.err()?.into());
    if error.status() == Some(404) {
        return Some(Reach::Not(Unasked::NoSuchAccount));
    }
    // A server need not tell strangers about its accounts.
    matches!(error.fate(), Fate::Passing(_)).then(|| failed(&error))
}

async fn create(bot: &Bot, user: &UserId, reason: &str) -> Result<Room, Mishap> {
    let creation = json!({ MADE_FOR: user }).to_string();
    let creation = Raw::<CreationContent>::from_json_string(creation)
        .map_err(|error| Mishap::Client(error.into()))?;
    let encryption = RoomEncryptionEventContent::with_recommended_defaults();
    let request = assign!(create_room::v3::Request::new(), {
        creation_content: Some(creation),
        initial_state: vec![InitialStateEvent::with_empty_state_key(encryption).to_raw_any()],
        is_direct: true,
        name: Some(wording::asking_room_name(&bot.shared.config.bot.display_name)),
        preset: Some(create_room::v3::RoomPreset::TrustedPrivateChat),
        topic: Some(reason.to_owned()),
    });
    bot.hands.create_room(request).await
}

/// What a failed request on the way to a person means.
fn failed(error: &Mishap) -> Reach {
    match error.fate() {
        // The bot's own homeserver limits it: nothing that concerns the person.
        Fate::Passing(Some(told)) => Reach::Later(None, told),
        Fate::Passing(None) if error.status().is_none() => Reach::Later(None, PAUSE),
        Fate::Passing(None) => Reach::Later(Some(Unasked::ServerUnreachable), PAUSE),
        Fate::SessionGone => Reach::Later(None, PAUSE),
        Fate::Final => Reach::Not(Unasked::Refused(error.words())),
    }
}

/// Takes back an invitation that nobody needs any more.
pub(super) async fn withdraw(bot: &Bot, user: &UserId) -> Result<(), Undone> {
    let outreach = bot.shared.records.person(user)?.outreach;
    let Some(room) = outreach.room_id.as_deref().and_then(|id| bot.client.get_room(id)) else {
        return Ok(());
    };
    if rooms::membership(&room, user).await? == Some(MembershipState::Invite) {
        room.kick_user(user, None).await?;
        rooms::leave(bot, &room).await?;
    }
    bot.shared
        .records
        .change_person(user, |person| {
            person.outreach.room_id = None;
            person.outreach.invited = false;
        })
        .await
        .map_err(Undone::from)
}
