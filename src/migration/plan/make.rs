//! The making of a plan.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};

use super::{
    AfterJoin, Entry, Omission, Pending, Plan, PlannedRoom, Reason, RoomLabel, Route,
    after::{SERVER_NOTICE, after_join},
    notes::notes,
    route,
    rows::{depths, newest_successors},
    via::{hides_servers, via},
};
use crate::migration::{
    fast,
    holdings::{self, Comparison, Copies, PlannedHolding, Trio},
    survey::{Successor, Survey, SurveyedRoom},
};

/// What a plan is made from, besides the options that are [applied](Plan::with) to it.
#[derive(Debug)]
pub(crate) struct Accounts<'a> {
    /// The account moved from.
    pub(crate) old: &'a UserId,
    /// The account moved to.
    pub(crate) new: &'a UserId,
    /// The bot, whose direct chats stay out of every plan.
    pub(crate) bot: &'a UserId,
    /// The chat with the bot in which the old account consented. A survey asks for no members, and
    /// cannot tell that it is one where it has a name of its own.
    pub(crate) chat_with_bot: Option<&'a RoomId>,
    /// What the old account sees; `None` when the bot has no access to it.
    pub(crate) old_survey: Option<&'a Survey>,
    /// What the new account sees; without access to it, what the old one sees of it.
    pub(crate) new_survey: &'a Survey,
    /// When the surveys were made.
    pub(crate) surveyed: MilliSecondsSinceUnixEpoch,
    /// After how long without anything happening a room is called quiet.
    pub(crate) quiet_after: Duration,
    /// Files that were copied before.
    pub(crate) copies: &'a Copies,
}

/// Makes the plan.
pub(crate) fn make(accounts: &Accounts<'_>) -> Plan {
    match accounts.old_survey {
        Some(old) => {
            let mut plan = plan_from_old(accounts, old);
            plan.holdings = plan_holdings(accounts, &plan.room_ids().collect());
            plan
        }
        None => plan_from_invitations(accounts),
    }
}

/// The plan for what the old account holds besides these rooms, where both accounts can be read.
pub(crate) fn plan_holdings(
    accounts: &Accounts<'_>,
    rooms: &BTreeSet<OwnedRoomId>,
) -> Vec<PlannedHolding> {
    let old = accounts.old_survey.and_then(|survey| survey.holdings.as_ref());
    let (Some(old), Some(new)) = (old, &accounts.new_survey.holdings) else {
        return Vec::new();
    };
    holdings::plan(&Comparison {
        trio: Trio { old: accounts.old, new: accounts.new, bot: accounts.bot },
        old,
        new,
        copies: accounts.copies,
        rooms,
    })
}

/// The plan for an account that can be read: every room it is in, and what took a room's place.
fn plan_from_old(accounts: &Accounts<'_>, old: &Survey) -> Plan {
    let direct = direct_chats(accounts, old);
    let people = people_by_room(&direct);
    let routes = route::routes(accounts, old);
    let depths = depths(old);
    let gates = gates(&routes);
    let known = Known::of(accounts, old);
    let mut joined: Vec<_> = old.joined().filter(|(_, room)| !room.lobby).collect();
    joined.sort_by_cached_key(|(room_id, room)| {
        let room_id: &RoomId = room_id;
        let dear = people.contains_key(room_id) || room.tags.contains_key("m.favourite");
        // What matters most comes first, since limits may make the rest wait: what others are
        // entered through, then spaces, outer ones before inner ones, then direct chats and
        // favorites, then what was last active.
        let depth = if room.space { depths.get(room_id).copied().unwrap_or(0) } else { 0 };
        let is_gate = gates.contains(room_id);
        (!is_gate, !room.space, depth, !dear, Reverse(room.last_active), room_id.to_owned())
    });
    let mut rooms: Vec<_> = joined
        .into_iter()
        .map(|(room_id, room)| {
            let direct_with = people.get::<RoomId>(room_id).cloned().unwrap_or_default();
            let route = routes.get(room_id).cloned().unwrap_or(Route::NeedsModerator);
            plan_room(accounts, &known, room_id, room, direct_with, route)
        })
        .collect();
    rooms.extend(old.successors.iter().filter_map(|(room_id, successor)| {
        let route = routes.get(room_id).cloned()?;
        Some(plan_successor(accounts, room_id, successor, route))
    }));
    rooms.extend(old.unreadable.iter().map(|room_id| {
        let server = accounts.old.server_name().to_owned();
        let route = Route::Unreachable(Reason::Unreadable { server });
        let named = PlannedRoom::named((&**room_id).into(), Vec::new());
        PlannedRoom { route, via: Vec::new(), ..named }
    }));
    Plan { rooms, direct, pending: pending(old), ..Plan::default() }
}

/// The rooms that others are entered through.
fn gates(routes: &BTreeMap<OwnedRoomId, Route>) -> BTreeSet<&RoomId> {
    let gates = routes.values().filter_map(|route| match route {
        Route::Join(Entry::Through { room, .. }) => Some(&**room),
        _ => None,
    });
    gates.collect()
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
            route: Route::Join(Entry::Invited),
            omission: None,
            after: AfterJoin::default(),
            notes: Vec::new(),
            via: vec![accounts.old.server_name().to_owned()],
            near: accounts.old.server_name() == accounts.new.server_name(),
            hides_servers: false,
            may_open: false,
            opens: false,
        })
        .collect();
    Plan { rooms, ..Plan::default() }
}

/// Invitations and knocks of the old account that were not answered.
fn pending(old: &Survey) -> Vec<Pending> {
    use ruma::events::room::member::MembershipState::{Invite, Knock};
    old.rooms
        .iter()
        .filter(|(_, room)| matches!(room.membership, Invite | Knock))
        .map(|(room_id, room)| Pending {
            room: label(room_id, room, Vec::new()),
            invited_by: room.invited_by.clone(),
        })
        .collect()
}

/// The old account's direct chats by person, in rooms that it is still in: those that `m.direct`
/// lists, and those that only began as such. Notes to self are one with itself, and become one of
/// the new account with itself. Chats with the bot, and of the two accounts with each other, are
/// none.
fn direct_chats(accounts: &Accounts<'_>, old: &Survey) -> BTreeMap<OwnedUserId, Vec<OwnedRoomId>> {
    let mut direct: BTreeMap<OwnedUserId, Vec<OwnedRoomId>> = BTreeMap::new();
    let mut marked = BTreeSet::new();
    for (person, rooms) in &old.direct {
        let rooms = rooms.iter().filter(|room_id| old.is_in(room_id));
        let person = if person == accounts.old { accounts.new } else { person };
        for room_id in rooms {
            marked.insert(room_id);
            direct.entry(person.to_owned()).or_default().push(room_id.clone());
        }
    }
    for (room_id, room) in old.joined().filter(|(room_id, _)| !marked.contains(room_id)) {
        if let (true, [person], Some(2)) =
            (room.begun_as_direct && !room.space, &*room.heroes, room.member_count)
        {
            direct.entry(person.clone()).or_default().push(room_id.clone());
        }
    }
    direct.remove(accounts.bot);
    if let Some(own) = direct.get_mut(accounts.new) {
        let notes_to_self = marked_with(old, accounts.old);
        own.retain(|room_id| notes_to_self.contains::<RoomId>(room_id));
    }
    direct.retain(|_, rooms| !rooms.is_empty());
    direct
}

fn people_by_room(
    direct: &BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
) -> HashMap<OwnedRoomId, Vec<OwnedUserId>> {
    let mut people: HashMap<OwnedRoomId, Vec<OwnedUserId>> = HashMap::new();
    for (person, rooms) in direct {
        for room_id in rooms {
            people.entry(room_id.clone()).or_default().push(person.clone());
        }
    }
    people
}

fn plan_room(
    accounts: &Accounts<'_>,
    known: &Known<'_>,
    room_id: &RoomId,
    room: &SurveyedRoom,
    direct_with: Vec<OwnedUserId>,
    route: Route,
) -> PlannedRoom {
    let gets_in = route.gets_in();
    // A moderator may open it later.
    let may_get_in = gets_in || route == Route::NeedsModerator;
    let seen_by_new = accounts.new_survey.rooms.get(room_id);
    let near = is_near(accounts, room);
    PlannedRoom {
        after: if may_get_in {
            after_join(accounts, room, seen_by_new)
        } else {
            AfterJoin::default()
        },
        notes: if gets_in { notes(accounts, room, &route) } else { Vec::new() },
        omission: omission(accounts, known, room_id, room),
        room: label(room_id, room, direct_with),
        via: via(accounts.old.server_name(), room),
        near,
        hides_servers: !near
            && matches!(route, Route::Join(Entry::Public | Entry::Through { .. }))
            && hides_servers(accounts.old, room),
        may_open: route == Route::InviteAndJoin && fast::may_open(room, accounts.old),
        opens: false,
        route,
    }
}

fn plan_successor(
    accounts: &Accounts<'_>,
    room_id: &RoomId,
    successor: &Successor,
    route: Route,
) -> PlannedRoom {
    PlannedRoom {
        room: RoomLabel {
            id: room_id.to_owned().into(),
            name: successor.name.clone(),
            alias: successor.alias.clone(),
            direct_with: Vec::new(),
            names: BTreeMap::new(),
            space: successor.space,
            encrypted: successor.encrypted,
        },
        route,
        omission: None,
        after: AfterJoin::default(),
        notes: Vec::new(),
        via: vec![accounts.old.server_name().to_owned()],
        near: false,
        hides_servers: false,
        may_open: false,
        opens: false,
    }
}

/// Whether somebody of the new account's server is known to be in the room.
fn is_near(accounts: &Accounts<'_>, room: &SurveyedRoom) -> bool {
    let server = accounts.new.server_name();
    let is_there = |(member, membership): (&OwnedUserId, &MembershipState)| {
        *membership == MembershipState::Join && member.server_name() == server
    };
    accounts.old.server_name() == server || room.members.iter().any(is_there)
}

/// Why a room is left out unless the person asks for it.
fn omission(
    accounts: &Accounts<'_>,
    known: &Known<'_>,
    room_id: &RoomId,
    room: &SurveyedRoom,
) -> Option<Omission> {
    let with_bot = accounts.chat_with_bot == Some(room_id) || known.is_chat_with_bot(room_id, room);
    if with_bot {
        return Some(Omission::ChatWithBot);
    }
    if room.tags.contains_key(SERVER_NOTICE) {
        return Some(Omission::ServerNotices);
    }
    if let Some(successor) = known.newest.get(room_id) {
        return Some(Omission::Upgraded { successor: (*successor).to_owned() });
    }
    // A space that somebody has for themselves is how they keep their rooms in order.
    let is_empty =
        room.member_count == Some(1) && !room.space && !known.notes_to_self.contains(room_id);
    is_empty.then_some(Omission::Empty)
}

/// What is asked of each room, looked up in the whole survey once.
struct Known<'a> {
    bot: &'a UserId,
    /// What took the place of rooms in the end.
    newest: HashMap<&'a RoomId, &'a RoomId>,
    /// Rooms that the old account marked as direct chats with itself.
    notes_to_self: HashSet<&'a RoomId>,
    /// Rooms that the old account marked as direct chats with the bot.
    marked_as_bots: HashSet<&'a RoomId>,
}

impl<'a> Known<'a> {
    fn of(accounts: &Accounts<'a>, old: &'a Survey) -> Self {
        Self {
            bot: accounts.bot,
            newest: newest_successors(old),
            notes_to_self: marked_with(old, accounts.old),
            marked_as_bots: marked_with(old, accounts.bot),
        }
    }

    /// Whether the room is the account's own chat with the bot: nobody else is in it.
    fn is_chat_with_bot(&self, room_id: &RoomId, room: &SurveyedRoom) -> bool {
        let has_bot = room.members.contains_key(self.bot)
            || room.heroes.iter().any(|hero| hero == self.bot)
            || self.marked_as_bots.contains(room_id);
        has_bot && room.member_count.is_none_or(|count| count <= 2)
    }
}

/// The rooms that an account marked as direct chats with `person`.
fn marked_with<'a>(survey: &'a Survey, person: &UserId) -> HashSet<&'a RoomId> {
    survey.direct.get(person).into_iter().flatten().map(AsRef::as_ref).collect()
}

fn label(room_id: &RoomId, room: &SurveyedRoom, direct_with: Vec<OwnedUserId>) -> RoomLabel {
    let direct_with = if direct_with.is_empty() && room.name.is_none() && room.alias.is_none() {
        // A nameless room is known by who is in it.
        room.heroes.clone()
    } else {
        direct_with
    };
    let names = direct_with.iter().filter_map(|person| {
        let name = room.names.get(person).filter(|name| *name != person.localpart())?;
        Some((person.clone(), name.clone()))
    });
    RoomLabel {
        id: room_id.to_owned().into(),
        name: room.name.clone(),
        alias: room.alias.clone(),
        names: names.collect(),
        direct_with,
        space: room.space,
        encrypted: room.encrypted,
    }
}
