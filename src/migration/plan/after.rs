//! What is done in a room once the new account is in it.

use std::collections::BTreeMap;

use ruma::{
    Int, UserId,
    events::{
        StateEventType,
        room::power_levels::{RoomPowerLevels, UserPowerLevel},
    },
};

use super::{Accounts, AfterJoin};
use crate::migration::survey::SurveyedRoom;

/// The tag of the room in which a homeserver writes its notices
/// ([spec](https://spec.matrix.org/v1.16/client-server-api/#server-notices)).
pub(super) const SERVER_NOTICE: &str = "m.server_notice";

/// The power that clients call administrator, and that a creator gives at the least.
pub(super) const ADMINISTRATOR: i64 = 100;

pub(super) fn after_join(
    accounts: &Accounts<'_>,
    room: &SurveyedRoom,
    seen_by_new: Option<&SurveyedRoom>,
) -> AfterJoin {
    let wanted = wanted_power(&room.power_levels, accounts.old, accounts.new);
    let may_raise = room.power_levels.user_can_change_user_power_level(accounts.old, accounts.new);
    let mut tags = room.tags.clone();
    // The old server's word about its own notices.
    tags.remove(SERVER_NOTICE);
    let mut contested_tags = BTreeMap::new();
    // The new account's own tags win: only a room that it has not tagged gets the old one's.
    if let Some(own) = seen_by_new.map(|room| &room.tags).filter(|own| !own.is_empty()) {
        tags.retain(|tag, order| own.get(tag) != Some(order));
        contested_tags = std::mem::take(&mut tags);
    }
    AfterJoin {
        power_level: wanted.filter(|_| may_raise),
        power_out_of_reach: wanted.filter(|_| !may_raise),
        creator_stays: room.privileged_creators.contains(accounts.old)
            && !room.privileged_creators.contains(accounts.new),
        tags,
        contested_tags,
        prefers_old_tags: false,
    }
}

/// The power level that would bring `new` to the level of `old`, if `new` is below it.
///
/// Creators of a room of version 12 are above all numbers and cannot hand that on; the new account
/// then gets what is enough for everything that numbers decide.
fn wanted_power(power_levels: &RoomPowerLevels, old: &UserId, new: &UserId) -> Option<i64> {
    let wanted = match power_levels.for_user(old) {
        UserPowerLevel::Int(level) => i64::from(level),
        _ => i64::from(highest_named(power_levels)).max(ADMINISTRATOR),
    };
    match power_levels.for_user(new) {
        UserPowerLevel::Int(level) if i64::from(level) < wanted => Some(wanted),
        _ => None,
    }
}

/// The highest power level that anybody has or anything needs in a room.
fn highest_named(power_levels: &RoomPowerLevels) -> Int {
    let actions = [
        power_levels.ban,
        power_levels.invite,
        power_levels.kick,
        power_levels.redact,
        power_levels.events_default,
        power_levels.state_default,
        power_levels.users_default,
        power_levels.notifications.room,
        // Upgrading such a room needs more than anything else, even where nothing says so.
        power_levels.for_state(StateEventType::RoomTombstone),
    ];
    actions
        .into_iter()
        .chain(power_levels.events.values().copied())
        .chain(power_levels.users.values().copied())
        .max()
        .unwrap_or_default()
}
