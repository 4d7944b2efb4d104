//! The servers to join a room through.

use std::{cmp::Reverse, collections::BTreeMap};

use ruma::{OwnedServerName, ServerName, UserId, events::room::member::MembershipState};

use crate::migration::survey::SurveyedRoom;

/// How many servers to name for a join. The specification proposes three; one more is the old
/// account's own, which may be gone soon.
const VIA_SERVERS: usize = 4;

/// From this power level on, somebody counts as running a room.
const MODERATOR: i64 = 50;

/// The servers, chosen as the specification proposes
/// ([routing](https://spec.matrix.org/v1.16/appendices/#routing)): that of the member with the most
/// power, then those with the most members, but none that the room's ACL denies or that is only an
/// IP address. The old account's own is among them, last, since it is certainly there now.
pub(super) fn via(old_server: &ServerName, room: &SurveyedRoom) -> Vec<OwnedServerName> {
    let mut servers: Vec<OwnedServerName> = Vec::new();
    let candidates = most_powerful(room).into_iter().chain(most_populous(room));
    for server in candidates.filter(|server| *server != old_server && is_eligible(server, room)) {
        if servers.len() == VIA_SERVERS - 1 {
            break;
        }
        if servers.iter().all(|known| known != server) {
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

/// Servers by how many members they have, most first: all members where they were loaded, else
/// those that are known for some other reason.
fn most_populous(room: &SurveyedRoom) -> Vec<&ServerName> {
    let mut population: BTreeMap<&ServerName, u64> = BTreeMap::new();
    for (server, members) in &room.population {
        *population.entry(server).or_default() += members;
    }
    if population.is_empty() {
        let known = room
            .power_levels
            .users
            .keys()
            .chain(&room.heroes)
            .chain(room.members.keys())
            .map(|user| user.server_name());
        for server in known.chain(room.alias.iter().map(|alias| alias.server_name())) {
            *population.entry(server).or_default() += 1;
        }
    }
    let mut servers: Vec<_> = population.into_iter().collect();
    servers.sort_by_key(|(server, members)| (Reverse(*members), *server));
    servers.into_iter().map(|(server, _)| server).collect()
}

fn is_eligible(server: &ServerName, room: &SurveyedRoom) -> bool {
    !server.is_ip_literal() && room.server_acl.as_ref().is_none_or(|acl| acl.is_allowed(server))
}

/// Whether only the old account's own server is known to be in a room, so that its members have to
/// be loaded to find others.
pub(crate) fn knows_no_other_server(old_server: &ServerName, room: &SurveyedRoom) -> bool {
    via(old_server, room).len() == 1 && room.member_count.is_none_or(|count| count > 1)
}
