//! The making of a plan.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use ruma::{
    Int, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    events::{
        StateEventType,
        room::{
            join_rules::JoinRule,
            member::MembershipState,
            power_levels::{RoomPowerLevels, UserPowerLevel},
        },
    },
};

use super::{AfterJoin, Plan, PlannedRoom, Reason, RoomLabel, Route};
use crate::migration::{
    holdings::{self, Comparison, Copies, PlannedHolding, Trio},
    survey::{Survey, SurveyedRoom},
};

/// How many servers to name for a join. More make the request longer, not the join surer.
const VIA_SERVERS: usize = 4;

/// The power that clients call administrator, and that a creator gives at the least.
const ADMINISTRATOR: i64 = 100;

/// What a plan is made from, besides the options that are [applied](Plan::with) to it.
#[derive(Debug)]
pub(crate) struct Accounts<'a> {
    /// The account moved from.
    pub(crate) old: &'a UserId,
    /// The account moved to.
    pub(crate) new: &'a UserId,
    /// The bot, whose direct chats stay out of every plan.
    pub(crate) bot: &'a UserId,
    /// What the old account sees; `None` when the bot has no access to it.
    pub(crate) old_survey: Option<&'a Survey>,
    /// What the new account sees; without access to it, what the old one sees of it.
    pub(crate) new_survey: &'a Survey,
    /// Files that were copied before.
    pub(crate) copies: &'a Copies,
}

/// Makes the plan.
pub(crate) fn make(accounts: &Accounts<'_>) -> Plan {
    match accounts.old_survey {
        Some(old) => {
            let mut plan = plan_from_old(accounts, old);
            plan.holdings = plan_holdings(accounts, &plan.rooms);
            plan
        }
        None => plan_from_invitations(accounts),
    }
}

/// The plan for what the old account holds besides these rooms, where both accounts can be read.
pub(crate) fn plan_holdings(accounts: &Accounts<'_>, rooms: &[PlannedRoom]) -> Vec<PlannedHolding> {
    let old = accounts.old_survey.and_then(|survey| survey.holdings.as_ref());
    let (Some(old), Some(new)) = (old, &accounts.new_survey.holdings) else {
        return Vec::new();
    };
    let rooms = rooms.iter().filter_map(|room| OwnedRoomId::try_from(room.room.id.clone()).ok());
    holdings::plan(&Comparison {
        trio: Trio { old: accounts.old, new: accounts.new, bot: accounts.bot },
        old,
        new,
        copies: accounts.copies,
        rooms: &rooms.collect(),
    })
}

/// The plan for an account that can be read: every room it is in.
fn plan_from_old(accounts: &Accounts<'_>, old: &Survey) -> Plan {
    let chats_with_bot: BTreeSet<&RoomId> = old
        .joined()
        .filter(|(room_id, room)| is_chat_with(accounts.bot, old, room_id, room))
        .map(|(room_id, _)| room_id.as_ref())
        .collect();
    let direct = direct_chats(accounts, old, &chats_with_bot);
    let mut people: BTreeMap<&RoomId, Vec<OwnedUserId>> = BTreeMap::new();
    for (person, room_id) in direct.iter().flat_map(|(p, rooms)| rooms.iter().map(move |r| (p, r)))
    {
        people.entry(room_id).or_default().push(person.clone());
    }
    let mut joined: Vec<_> = old
        .joined()
        .filter(|(room_id, _)| !chats_with_bot.contains(room_id.as_ref() as &RoomId))
        .collect();
    // What matters most comes first, since limits may make the rest wait: spaces, then direct chats
    // and favorites, then what was last active.
    joined.sort_by_key(|(room_id, room)| {
        let dear = people.contains_key(room_id.as_ref() as &RoomId)
            || room.tags.contains_key("m.favourite");
        (!room.space, !dear, Reverse(room.last_active), (*room_id).clone())
    });
    let rooms = joined
        .into_iter()
        .map(|(room_id, room)| {
            let direct_with = people.remove(room_id.as_ref() as &RoomId).unwrap_or_default();
            plan_room(accounts, room_id, room, direct_with)
        })
        .collect();
    Plan { rooms, direct, holdings: Vec::new() }
}

/// The plan for an account that said `login none`: where it invited the new account by hand.
fn plan_from_invitations(accounts: &Accounts<'_>) -> Plan {
    let rooms = accounts
        .new_survey
        .rooms
        .iter()
        .filter(|(_, room)| room.invited_by.as_deref() == Some(accounts.old))
        .map(|(room_id, room)| PlannedRoom {
            room: label(room_id, room, Vec::new()),
            route: Route::Join { invited: true },
            after: AfterJoin::default(),
            via: vec![accounts.old.server_name().to_owned()],
        })
        .collect();
    Plan { rooms, direct: BTreeMap::new(), holdings: Vec::new() }
}

/// The old account's direct chats by person, in rooms that it is still in, but for those with one
/// of the three accounts that take part.
fn direct_chats(
    accounts: &Accounts<'_>,
    old: &Survey,
    chats_with_bot: &BTreeSet<&RoomId>,
) -> BTreeMap<OwnedUserId, Vec<OwnedRoomId>> {
    let taking_part = [accounts.old, accounts.new, accounts.bot];
    old.direct
        .iter()
        .filter(|(person, _)| !taking_part.contains(&person.as_ref()))
        .filter_map(|(person, rooms)| {
            let rooms: Vec<_> = rooms
                .iter()
                .filter(|room_id| {
                    old.rooms.get(*room_id).is_some_and(|r| r.membership == MembershipState::Join)
                        && !chats_with_bot.contains(room_id.as_ref() as &RoomId)
                })
                .cloned()
                .collect();
            (!rooms.is_empty()).then(|| (person.clone(), rooms))
        })
        .collect()
}

/// Whether the room is the account's own chat with `bot`: nobody else is in it.
fn is_chat_with(bot: &UserId, survey: &Survey, room_id: &RoomId, room: &SurveyedRoom) -> bool {
    let has_bot = room.members.contains_key(bot)
        || room.heroes.iter().any(|hero| hero == bot)
        || survey.direct.get(bot).is_some_and(|rooms| rooms.iter().any(|id| id == room_id));
    has_bot && room.member_count.is_none_or(|count| count <= 2)
}

fn plan_room(
    accounts: &Accounts<'_>,
    room_id: &RoomId,
    room: &SurveyedRoom,
    direct_with: Vec<OwnedUserId>,
) -> PlannedRoom {
    let seen_by_new = accounts.new_survey.rooms.get(room_id);
    let route = route(accounts, room, seen_by_new);
    let after = match route {
        Route::Unreachable(_) | Route::NeedsModerator | Route::Skipped => AfterJoin::default(),
        Route::AlreadyThere | Route::Join { .. } | Route::InviteAndJoin => {
            after_join(accounts, room, seen_by_new)
        }
    };
    PlannedRoom {
        room: label(room_id, room, direct_with),
        route,
        after,
        via: via(accounts.old.server_name(), room),
    }
}

fn route(
    accounts: &Accounts<'_>,
    room: &SurveyedRoom,
    seen_by_new: Option<&SurveyedRoom>,
) -> Route {
    match seen_by_new.map(|room| &room.membership) {
        Some(MembershipState::Join) => return Route::AlreadyThere,
        Some(MembershipState::Ban) => return Route::Unreachable(Reason::Banned),
        _ => {}
    }
    let new_server = accounts.new.server_name();
    if !room.federated && new_server != accounts.old.server_name() {
        return Route::Unreachable(Reason::NotFederated);
    }
    // The homeserver would accept an invitation, and then refuse the join.
    if room.server_acl.as_ref().is_some_and(|acl| !acl.is_allowed(new_server)) {
        return Route::Unreachable(Reason::ServerDenied);
    }
    if seen_by_new.is_some_and(|room| room.membership == MembershipState::Invite) {
        Route::Join { invited: true }
    } else if room.join_rule == JoinRule::Public {
        Route::Join { invited: false }
    } else if room.power_levels.user_can_invite(accounts.old) {
        Route::InviteAndJoin
    } else {
        Route::NeedsModerator
    }
}

fn after_join(
    accounts: &Accounts<'_>,
    room: &SurveyedRoom,
    seen_by_new: Option<&SurveyedRoom>,
) -> AfterJoin {
    let wanted = wanted_power(&room.power_levels, accounts.old, accounts.new);
    let may_raise = room.power_levels.user_can_change_user_power_level(accounts.old, accounts.new);
    // The new account's own tags win: only a room that it has not tagged gets the old one's.
    let tagged = seen_by_new.is_some_and(|room| !room.tags.is_empty());
    AfterJoin {
        power_level: wanted.filter(|_| may_raise),
        power_out_of_reach: wanted.filter(|_| !may_raise),
        creator_stays: room.privileged_creators.contains(accounts.old)
            && !room.privileged_creators.contains(accounts.new),
        tags: if tagged { BTreeMap::new() } else { room.tags.clone() },
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

/// Servers to join through: the old account's own, which is certainly there, and those of others
/// with the most power or otherwise known to be members, for when that one is gone.
fn via(old_server: &ServerName, room: &SurveyedRoom) -> Vec<OwnedServerName> {
    let mut powerful: Vec<_> = room.power_levels.users.iter().collect();
    powerful.sort_by_key(|(user_id, level)| (Reverse(**level), (*user_id).clone()));
    let known = powerful
        .into_iter()
        .map(|(user_id, _)| user_id.server_name())
        .chain(room.alias.iter().map(|alias| alias.server_name()))
        .chain(room.heroes.iter().map(|hero| hero.server_name()))
        .chain(room.members.keys().map(|member| member.server_name()));
    let mut servers = vec![old_server.to_owned()];
    for server in known {
        if servers.len() == VIA_SERVERS {
            break;
        }
        if !servers.iter().any(|known| known == server) {
            servers.push(server.to_owned());
        }
    }
    servers
}

fn label(room_id: &RoomId, room: &SurveyedRoom, direct_with: Vec<OwnedUserId>) -> RoomLabel {
    RoomLabel {
        id: room_id.to_owned().into(),
        name: room.name.clone(),
        alias: room.alias.clone(),
        direct_with: if direct_with.is_empty() && room.name.is_none() && room.alias.is_none() {
            // A nameless room is known by who is in it.
            room.heroes.clone()
        } else {
            direct_with
        },
        space: room.space,
        encrypted: room.encrypted,
    }
}
