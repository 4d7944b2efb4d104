//! The servers to join a room through.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use ruma::{
    OwnedServerName, OwnedUserId, ServerName, UserId,
    events::room::{member::MembershipState, server_acl::RoomServerAclEventContent},
};

use crate::migration::survey::SurveyedRoom;

/// How many servers to name for a join. The specification proposes three; one more is the old
/// account's own, which may be gone soon.
const VIA_SERVERS: usize = 4;

/// Among how many servers these are chosen. A room's ACL is held against each, and both are as long
/// as a homeserver makes them.
const CANDIDATES: usize = 50;

/// From this power level on, somebody counts as running a room.
const MODERATOR: i64 = 50;

/// The servers, as far as a survey shows them, chosen as the specification proposes
/// ([routing](https://spec.matrix.org/v1.16/appendices/#routing)): that of the member with the most
/// power, then those with the most members, but none that the room's ACL denies or that is only an
/// IP address. The old account's own is among them, last, since it is certainly there now.
pub(super) fn via(old_server: &ServerName, room: &SurveyedRoom) -> Vec<OwnedServerName> {
    let known = room.power_levels.users.keys().chain(&room.heroes).chain(room.members.keys());
    let servers = known.map(|user| user.server_name());
    let servers = servers.chain(room.alias.iter().map(|alias| alias.server_name()));
    let candidates = most_powerful(room).into_iter().chain(most_populous(servers));
    choose(old_server, candidates, room.server_acl.as_ref())
}

/// The servers of a room whose members are all known, and in which nobody from elsewhere has any
/// power.
pub(crate) fn via_members<'a>(
    old_server: &ServerName,
    members: impl Iterator<Item = &'a OwnedUserId>,
    server_acl: Option<&RoomServerAclEventContent>,
) -> Vec<OwnedServerName> {
    choose(old_server, most_populous(members.map(|user| user.server_name())), server_acl)
}

/// Whether a survey shows no server but the old account's own, and not all members either, so that
/// they have to be asked for before others are told apart from none. Who has power by name counts as
/// a member, unless known to have left.
pub(super) fn hides_servers(old: &UserId, room: &SurveyedRoom) -> bool {
    let is_there = |(_, membership): &(_, &MembershipState)| **membership == MembershipState::Join;
    let seen = room.members.iter().filter(is_there).map(|(user, _)| user);
    let powerful = room.power_levels.users.keys().chain(&room.privileged_creators);
    let powerful = powerful.filter(|user| !room.members.contains_key(*user));
    let seen: BTreeSet<&UserId> =
        seen.chain(powerful).chain(&room.heroes).map(AsRef::as_ref).chain([old]).collect();
    via(old.server_name(), room).len() == 1
        && room.member_count.is_none_or(|count| count > seen.len() as u64)
}

fn choose<'a>(
    old_server: &ServerName,
    candidates: impl IntoIterator<Item = &'a ServerName>,
    server_acl: Option<&RoomServerAclEventContent>,
) -> Vec<OwnedServerName> {
    let is_eligible = |server: &ServerName| {
        !server.is_ip_literal() && server_acl.is_none_or(|acl| acl.is_allowed(server))
    };
    let mut servers: Vec<OwnedServerName> = Vec::new();
    for server in candidates.into_iter().take(CANDIDATES) {
        if servers.len() == VIA_SERVERS - 1 {
            break;
        }
        if server != old_server && is_eligible(server) && servers.iter().all(|it| it != server) {
            servers.push(server.to_owned());
        }
    }
    servers.push(old_server.to_owned());
    servers
}

/// The server of the member with the most power, if anybody has the power of a moderator. Members
/// who are known to have left do not count.
fn most_powerful(room: &SurveyedRoom) -> Option<&ServerName> {
    let is_there = |user: &UserId| {
        room.members.get(user).is_none_or(|membership| *membership == MembershipState::Join)
    };
    let creators = room.privileged_creators.iter().find(|creator| is_there(creator));
    let powerful = || {
        room.power_levels
            .users
            .iter()
            .filter(|(user, level)| i64::from(**level) >= MODERATOR && is_there(user))
            .max_by_key(|(user, level)| (**level, Reverse((*user).clone())))
            .map(|(user, _)| user)
    };
    creators.or_else(powerful).map(|user| user.server_name())
}

/// Servers by how many members they have, most first.
fn most_populous<'a>(servers: impl Iterator<Item = &'a ServerName>) -> Vec<&'a ServerName> {
    let mut population: BTreeMap<&ServerName, u64> = BTreeMap::new();
    for server in servers {
        *population.entry(server).or_default() += 1;
    }
    let mut servers: Vec<_> = population.into_iter().collect();
    servers.sort_by_key(|(server, members)| (Reverse(*members), *server));
    servers.into_iter().map(|(server, _)| server).collect()
}
