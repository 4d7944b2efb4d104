//! How the new account gets into each room.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
///
/// Who gets into a room may get through it into the next, so this goes on until nothing more opens.
/// Each door is looked at once for each room that it lets in from, however long the row of rooms is
/// that lead into each other.
pub(super) fn routes(accounts: &Accounts<'_>, old: &Survey) -> BTreeMap<OwnedRoomId, Route> {
    let mut doors = doors(accounts, old);
    let mut routes = BTreeMap::new();
    for (room_id, door) in &doors {
        if let Some(route) = certain_route(accounts, room_id, door) {
            routes.insert((*room_id).to_owned(), route);
        }
    }
    doors.retain(|room_id, _| !routes.contains_key(*room_id));
    let mut entered = entered(accounts, &routes);
    let mut next: Vec<OwnedRoomId> = entered.iter().cloned().collect();
    let mut corridor = Corridor::of(doors);
    // Rooms that need no help come first; being invited costs most, so it comes last.
    loop {
        let opened = corridor.open_from(&next, &entered);
        if opened.is_empty() {
            let Some(invited) = corridor.invite_into() else { break };
            next = vec![invited.to_owned()];
            routes.insert(invited.to_owned(), Route::InviteAndJoin);
        } else {
            next = opened.iter().map(|(room_id, _)| (*room_id).to_owned()).collect();
            let opened = opened.into_iter();
            routes.extend(opened.map(|(room_id, entry)| (room_id.to_owned(), Route::Join(entry))));
        }
        entered.extend(next.iter().cloned());
    }
    // What took a room's place and cannot be reached is not followed.
    let shut = corridor.doors.into_keys().filter(|room_id| old.rooms.contains_key(*room_id));
    routes.extend(shut.map(|room_id| (room_id.to_owned(), Route::NeedsModerator)));
    routes
}

/// The doors that are still shut.
struct Corridor<'a> {
    doors: BTreeMap<&'a RoomId, Door<'a>>,
    /// The doors that each room's members are let in through.
    leads_to: HashMap<&'a RoomId, Vec<&'a RoomId>>,
    /// How many of the shut doors each room leads to.
    leads_on: HashMap<&'a RoomId, usize>,
    /// The doors that the old account may invite through, those first that are to be opened first.
    invited: BTreeSet<(Turn, &'a RoomId)>,
}

/// When an invitation is the way in: before others into what lets into further rooms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// It lets into others, and none lets into it.
    First,
    /// It lets into others.
    Leading,
    /// It lets into none that is still shut.
    Last,
}

impl<'a> Corridor<'a> {
    fn of(doors: BTreeMap<&'a RoomId, Door<'a>>) -> Self {
        let mut leads_to: HashMap<&RoomId, Vec<&RoomId>> = HashMap::new();
        for (room_id, door) in &doors {
            for from in &door.let_in_from {
                leads_to.entry(*from).or_default().push(*room_id);
            }
        }
        let leads_on = leads_to.iter().map(|(room_id, doors)| (*room_id, doors.len())).collect();
        let mut corridor = Self { doors, leads_to, leads_on, invited: BTreeSet::new() };
        let invited = corridor.doors.iter().filter(|(_, door)| door.old_may_invite);
        let invited = invited.map(|(room_id, door)| (corridor.turn(room_id, door), *room_id));
        corridor.invited = invited.collect();
        corridor
    }

    fn turn(&self, room_id: &RoomId, door: &Door<'_>) -> Turn {
        match self.leads_on.get(room_id) {
            None | Some(0) => Turn::Last,
            Some(_) if door.let_in_from.is_empty() => Turn::First,
            Some(_) => Turn::Leading,
        }
    }

    /// Opens each door that lets in from one of `rooms`, which were entered last, and says how: from
    /// the first room that it names and that was entered.
    fn open_from(
        &mut self,
        rooms: &[OwnedRoomId],
        entered: &BTreeSet<OwnedRoomId>,
    ) -> Vec<(&'a RoomId, Entry)> {
        let leads_to = rooms.iter().filter_map(|room| self.leads_to.get(&**room));
        let doors: Vec<&RoomId> = leads_to.flatten().copied().collect();
        let mut opened = Vec::new();
        for room_id in doors {
            let Some(door) = self.open(room_id) else { continue };
            let room = door.let_in_from.iter().find(|room| entered.contains(**room));
            if let Some(room) = room {
                let or_invite = door.old_may_invite;
                let entry = Entry::Through { room: (*room).to_owned(), or_invite };
                opened.push((room_id, entry));
            }
        }
        opened
    }

    /// Opens the next door that only an invitation opens, if there is one.
    fn invite_into(&mut self) -> Option<&'a RoomId> {
        let (_, room_id) = *self.invited.first()?;
        self.open(room_id);
        Some(room_id)
    }

    /// Opens a door that is shut. What leads to no other any more is no longer invited into before
    /// others.
    fn open(&mut self, room_id: &'a RoomId) -> Option<Door<'a>> {
        let door = self.doors.remove(room_id)?;
        self.invited.remove(&(self.turn(room_id, &door), room_id));
        for from in &door.let_in_from {
            let Some(count) = self.leads_on.get_mut(from) else { continue };
            *count = count.saturating_sub(1);
            if *count > 0 {
                continue;
            }
            if let Some((leading, shut)) = self.doors.get_key_value(*from)
                && shut.old_may_invite
            {
                let before = if shut.let_in_from.is_empty() { Turn::First } else { Turn::Leading };
                self.invited.remove(&(before, *leading));
                self.invited.insert((Turn::Last, *leading));
            }
        }
        Some(door)
    }
}

fn doors<'a>(accounts: &Accounts<'_>, old: &'a Survey) -> BTreeMap<&'a RoomId, Door<'a>> {
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
        (&**room_id, door)
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
        (&**room_id, door)
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
