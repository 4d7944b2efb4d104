//! The rooms of a large account.

use std::ops::Range;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use lab::{Account, RoomSpec};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, events::tag::TagName, room::JoinRuleKind};
use serde_json::json;

use crate::crowd::Crowd;

/// Rooms come in blocks: a space, and rooms of which some are in it.
const BLOCK: usize = 20;

/// How many blocks are made at once.
const AT_ONCE: usize = 8;

/// The most rooms in blocks that are complete, but one block at least.
pub(crate) fn whole_blocks(rooms: usize) -> usize {
    (rooms / BLOCK * BLOCK).max(BLOCK)
}

/// Makes the rooms with these numbers, the first of which begins a block, and brings the old
/// account and others into them.
pub(crate) async fn make(crowd: &Crowd, numbers: Range<usize>) -> Result<()> {
    let blocks = numbers.clone().step_by(BLOCK).map(|first| {
        let numbers = first..numbers.end.min(first + BLOCK);
        make_block(crowd, numbers)
    });
    let direct: Vec<_> = stream::iter(blocks).buffer_unordered(AT_ONCE).try_collect().await?;
    mark_direct(&crowd.old, direct.into_iter().flatten()).await
}

/// Returns the direct chats among them, with whom they are.
async fn make_block(
    crowd: &Crowd,
    mut numbers: Range<usize>,
) -> Result<Vec<(OwnedUserId, OwnedRoomId)>> {
    let mut direct = Vec::new();
    let Some(first) = numbers.next() else { return Ok(direct) };
    let space = RoomSpec::space(&format!("Space {first}"));
    let space = meet(&crowd.old, space, &[crowd.friend(first)]).await?;
    for number in numbers {
        let room = make_room(crowd, number, &space).await?;
        if number % 5 == 0 {
            let order = Some((number % 100) as f64 / 100.0);
            crowd.old.set_tag(&room, TagName::Favorite, order).await?;
        }
        if is_direct(number) {
            direct.push((crowd.friend(number).user_id().to_owned(), room));
        }
    }
    Ok(direct)
}

fn is_direct(number: usize) -> bool {
    (5..=7).contains(&(number % BLOCK))
}

/// One room of twenty kinds, so that each part of an account has the same mix.
async fn make_room(crowd: &Crowd, number: usize, space: &RoomId) -> Result<OwnedRoomId> {
    let (old, friend) = (&crowd.old, crowd.friend(number));
    let name = format!("Room {number}");
    let private = || RoomSpec::private(&name);
    match number % BLOCK {
        1 => visit(old, RoomSpec::public(&name), &[friend]).await,
        2 => visit(friend, RoomSpec::public(&name), &[old]).await,
        3 => visit(&crowd.stranger, RoomSpec::public(&name), &[old]).await,
        4 => {
            let spec = private().within(space).join_rule(JoinRuleKind::Restricted);
            meet(old, spec, &[friend]).await
        }
        _ if is_direct(number) => {
            visit(friend, RoomSpec::direct(old.user_id()).encrypted(), &[old]).await
        }
        8..=10 => meet(old, private().within(space), &[friend]).await,
        11..=14 => meet(friend, private().encrypted(), &[old]).await,
        15 | 16 => meet(friend, private().power(old.user_id(), 50), &[old]).await,
        17 | 18 => {
            meet(old, private().encrypted(), &crowd.friends.iter().collect::<Vec<_>>()).await
        }
        _ => meet(old, private(), &[friend]).await,
    }
}

/// A room that `host` makes and invites the others to.
async fn meet(host: &Account, spec: RoomSpec, guests: &[&Account]) -> Result<OwnedRoomId> {
    let spec = guests.iter().fold(spec, |spec, guest| spec.invite(guest.user_id()));
    visit(host, spec, guests).await
}

/// A room that `host` makes and the others join.
async fn visit(host: &Account, spec: RoomSpec, guests: &[&Account]) -> Result<OwnedRoomId> {
    let room = host.create_room(spec).await?;
    let via = [host.user_id().server_name().to_owned()];
    for guest in guests {
        guest.join_via((&*room).into(), &via).await?;
    }
    Ok(room)
}

/// Marks them all at once: the list is one piece of account data, and would be written as often.
async fn mark_direct(
    account: &Account,
    chats: impl Iterator<Item = (OwnedUserId, OwnedRoomId)>,
) -> Result<()> {
    let mut direct = account.direct().await?;
    for (user, room) in chats {
        direct.entry(user).or_default().insert(room);
    }
    account.set_account_data("m.direct", &json!(direct)).await
}
