//! How the new account gets into each room.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    OwnedRoomId, RoomId, RoomVersionId,
    events::room::{member::MembershipState, server_acl::RoomServerAclEventContent},
    room::{AllowRule, JoinRule, Restricted},
};

use super::{Accounts, Entry, Reason, Route};
use crate::migration::survey::Survey;

/// A room, as far as its route depends on it.
struct Door<'a> {
    federated: bool,
    version: Option<&'a RoomVersionId>,
    server_acl: Option<&'a RoomServerAclEventContent>,
    public: bool,
    /// Nobody may join, whether invited or not.
    closed: bool,
    old_may_invite: bool,
    /// Rooms whose members are let in.
    let_in_from: Vec<&'a RoomId>,
}

/// The route to each room that the old account is in, and to each that took the place of one.
pub(super) fn routes(accounts: &Accounts<'_>, old: &Survey) -> BTreeMap<OwnedRoomId, Route> {
    let mut doors = doors(accounts, old);
    let mut routes = BTreeMap::new();
    for (room_id, door) in &doors {
        if let Some(route) = certain_route(accounts, room_id, door) {
            routes.insert(room_id.clone(), route);
        }
    }
    doors.retain(|room_id, _| !routes.contains_key(room_id));
    let mut entered = entered(accounts, &routes);
    // Who gets into a room may get through it into the next, so this goes on until nothing more
    // opens. Rooms that need no help come first; being invited costs most, so it comes last.
    loop {
        let opened: Vec<_> = doors
            .iter()
            .filter_map(|(room_id, door)| {
                let room = door.let_in_from.iter().find(|room| entered.contains(**room))?;
                let or_invite = door.old_may_invite;
                let entry = Entry::Through { room: (*room).to_owned(), or_invite };
                Some((room_id.clone(), Route::Join(entry)))
            })
            .collect();
        if opened.is_empty() {
            let Some(invited) = next_invited(&doors) else { break };
            entered.insert(invited.clone());
            doors.remove(&invited);
            routes.insert(invited, Route::InviteAndJoin);
            continue;
        }
        for (room_id, route) in opened {
            entered.insert(room_id.clone());
            doors.remove(&room_id);
            routes.insert(room_id, route);
        }
    }
    let shut = |room_id: &OwnedRoomId| old.rooms.contains_key(room_id);
    // What took a room's place and cannot be reached is not followed.
    routes.extend(doors.into_keys().filter(shut).map(|room_id| (room_id, Route::NeedsModerator)));
    routes
}

fn doors<'a>(accounts: &Accounts<'_>, old: &'a Survey) -> BTreeMap<OwnedRoomId, Door<'a>> {
    let joined = old.joined().map(|(room_id, room)| {
        let door = Door {
            federated: room.federated,
            version: Some(&room.version),
            server_acl: room.server_acl.as_ref(),
            public: room.join_rule == JoinRule::Public,
            closed: lets_nobody_in(&room.join_rule),
            old_may_invite: room.power_levels.user_can_invite(accounts.old),
            let_in_from: let_in_from(&room.join_rule),
        };
        (room_id.clone(), door)
    });
    let successors = old.successors.iter().map(|(room_id, successor)| {
        let door = Door {
            federated: true,
            version: successor.version.as_ref(),
            server_acl: None,
            public: successor.public,
            closed: false,
            old_may_invite: false,
            let_in_from: successor.let_in_from.iter().map(AsRef::as_ref).collect(),
        };
        (room_id.clone(), door)
    });
    joined.chain(successors).collect()
}

/// Whether a join rule is one by which nobody may join: `private`, and any that is not known
/// ([spec](https://spec.matrix.org/v1.16/rooms/v12/#authorization-rules)).
fn lets_nobody_in(join_rule: &JoinRule) -> bool {
    let is_known = matches!(
        join_rule,
        JoinRule::Public
            | JoinRule::Invite
            | JoinRule::Knock
            | JoinRule::Restricted(_)
            | JoinRule::KnockRestricted(_)
    );
    !is_known
}

/// The rooms whose members a restricted room lets in.
fn let_in_from(join_rule: &JoinRule) -> Vec<&RoomId> {
    let (JoinRule::Restricted(Restricted { allow, .. })
    | JoinRule::KnockRestricted(Restricted { allow, .. })) = join_rule
    else {
        return Vec::new();
    };
    let rooms = allow.iter().filter_map(|rule| match rule {
        AllowRule::RoomMembership(membership) => Some(membership.room_id.as_ref()),
        _ => None,
    });
    rooms.collect()
}

/// The route, where it does not depend on other rooms.
fn certain_route(accounts: &Accounts<'_>, room_id: &RoomId, door: &Door<'_>) -> Option<Route> {
    if accounts.new_survey.unreadable.contains(room_id) {
        let server = accounts.new.server_name().to_owned();
        return Some(Route::Unreachable(Reason::Unreadable { server }));
    }
    let seen_by_new = accounts.new_survey.rooms.get(room_id).map(|room| &room.membership);
    match seen_by_new {
        Some(MembershipState::Join) => return Some(Route::AlreadyThere),
        Some(MembershipState::Ban) => return Some(Route::Unreachable(Reason::Banned)),
        _ => {}
    }
    let new_server = accounts.new.server_name();
    if !door.federated && new_server != accounts.old.server_name() {
        return Some(Route::Unreachable(Reason::NotFederated));
    }
    // The homeserver would accept an invitation, and then refuse the join.
    if door.server_acl.is_some_and(|acl| !acl.is_allowed(new_server)) {
        return Some(Route::Unreachable(Reason::ServerDenied));
    }
    if let (Some(version), Some(supported)) = (door.version, &accounts.new_survey.versions)
        && !supported.contains(version)
    {
        return Some(Route::Unreachable(Reason::VersionUnsupported(version.clone())));
    }
    if door.closed {
        return Some(Route::Unreachable(Reason::Closed));
    }
    if seen_by_new == Some(&MembershipState::Invite) {
        Some(Route::Join(Entry::Invited))
    } else if door.public {
        Some(Route::Join(Entry::Public))
    } else {
        None
    }
}

/// The rooms that the new account is in, or will be in by these routes.
fn entered(
    accounts: &Accounts<'_>,
    routes: &BTreeMap<OwnedRoomId, Route>,
) -> BTreeSet<OwnedRoomId> {
    let by_plan = routes
        .iter()
        .filter(|(_, route)| matches!(route, Route::AlreadyThere | Route::Join(_)))
        .map(|(room_id, _)| room_id.clone());
    let already = accounts.new_survey.joined().map(|(room_id, _)| room_id.clone());
    by_plan.chain(already).collect()
}

/// The next room that only an invitation opens: before others one that lets into further rooms.
fn next_invited(doors: &BTreeMap<OwnedRoomId, Door<'_>>) -> Option<OwnedRoomId> {
    let leads_on: BTreeSet<&RoomId> =
        doors.values().flat_map(|door| door.let_in_from.iter().copied()).collect();
    let mut invited = doors.iter().filter(|(_, door)| door.old_may_invite);
    let first = invited.clone().find(|(room_id, door)| {
        let room_id: &RoomId = room_id;
        leads_on.contains(room_id) && door.let_in_from.is_empty()
    });
    let leading = || invited.clone().find(|(id, _)| leads_on.contains::<RoomId>(id));
    first.or_else(leading).or_else(|| invited.next()).map(|(room_id, _)| room_id.clone())
}
