//! A read-only snapshot of one account: rooms, state, account data.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId,
    UserId,
    api::client::filter::{Filter, FilterDefinition, LazyLoadOptions, RoomEventFilter, RoomFilter},
    events::room::{
        history_visibility::HistoryVisibility, join_rules::JoinRule, member::MembershipState,
        power_levels::RoomPowerLevels, server_acl::RoomServerAclEventContent,
    },
    room::{JoinRuleSummary, RoomSummary, RoomType},
};

use super::holdings::{Holdings, NEVER_READ};
use crate::homeserver::Excess;

/// The most rooms of an account, those among them that it is invited to or banned from: more is told,
/// and not tried. Who has the most has some thousands.
pub(crate) const MOST_ROOMS: usize = 20_000;

/// What one account sees of its rooms at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// Rooms that it is in, invited to, banned from or has left.
    pub(crate) rooms: BTreeMap<OwnedRoomId, SurveyedRoom>,
    /// Its direct chats by the person on the other side (`m.direct`).
    pub(crate) direct: BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
    /// What else it holds; `None` when it was only seen through another account's eyes.
    pub(crate) holdings: Option<Holdings>,
    /// Rooms that it is in, and of which its homeserver told something that makes no sense.
    pub(crate) unreadable: BTreeSet<OwnedRoomId>,
    /// Rooms that it is not in, but that took the place of rooms that it is in.
    pub(crate) successors: BTreeMap<OwnedRoomId, Successor>,
    /// Room versions that its homeserver supports, when that was asked for.
    pub(crate) versions: Option<BTreeSet<RoomVersionId>>,
}

/// What is known from outside of a room that took the place of another.
#[derive(Clone, Debug)]
pub(crate) struct Successor {
    pub(crate) name: Option<String>,
    pub(crate) alias: Option<OwnedRoomAliasId>,
    pub(crate) space: bool,
    pub(crate) encrypted: bool,
    pub(crate) version: Option<RoomVersionId>,
    /// Whether everybody may join.
    pub(crate) public: bool,
    /// Rooms whose members are let in.
    pub(crate) let_in_from: Vec<OwnedRoomId>,
}

impl From<RoomSummary> for Successor {
    fn from(summary: RoomSummary) -> Self {
        let (public, let_in_from) = match summary.join_rule {
            JoinRuleSummary::Public => (true, Vec::new()),
            JoinRuleSummary::Restricted(restricted)
            | JoinRuleSummary::KnockRestricted(restricted) => (false, restricted.allowed_room_ids),
            _ => (false, Vec::new()),
        };
        Self {
            name: summary.name,
            alias: summary.canonical_alias,
            space: summary.room_type == Some(RoomType::Space),
            encrypted: summary.encryption.is_some(),
            version: summary.room_version,
            public,
            let_in_from,
        }
    }
}

impl Survey {
    /// What there is more of than is taken, if there is.
    pub(crate) fn excess(&self) -> Option<Excess> {
        let is_of_it = |room: &&SurveyedRoom| room.membership != MembershipState::Leave;
        let rooms = self.rooms.values().filter(is_of_it).count() + self.unreadable.len();
        let excess = Excess::Rooms { rooms: rooms as u64, most: MOST_ROOMS as u64 };
        (rooms > MOST_ROOMS).then_some(excess)
    }

    /// The rooms that the account is in.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (&OwnedRoomId, &SurveyedRoom)> {
        self.rooms.iter().filter(|(_, room)| room.membership == MembershipState::Join)
    }

    /// Whether the account is in a room.
    pub(crate) fn is_in(&self, room_id: &RoomId) -> bool {
        self.rooms.get(room_id).is_some_and(|room| room.membership == MembershipState::Join)
    }

    /// Rooms that took the place of rooms that the account is in, and that it is not in itself:
    /// what they are has to be asked for.
    pub(crate) fn unknown_successors(&self) -> BTreeSet<&RoomId> {
        self.joined()
            .filter_map(|(_, room)| room.successor.as_deref())
            .filter(|successor| !self.is_in(successor))
            .collect()
    }
}

/// One room as one account sees it.
#[derive(Clone, Debug)]
pub(crate) struct SurveyedRoom {
    /// The account's own membership.
    pub(crate) membership: MembershipState,
    /// Who invited the account, when it is invited.
    pub(crate) invited_by: Option<OwnedUserId>,
    pub(crate) version: RoomVersionId,
    pub(crate) name: Option<String>,
    pub(crate) alias: Option<OwnedRoomAliasId>,
    pub(crate) space: bool,
    /// Whether the account made it for [`fast`](super::fast).
    pub(crate) lobby: bool,
    pub(crate) encrypted: bool,
    /// Whether other servers may take part (`m.federate`).
    pub(crate) federated: bool,
    /// Those whose power is above all numbers, in room versions that have such
    /// ([room version 12](https://spec.matrix.org/v1.16/rooms/v12/)).
    pub(crate) privileged_creators: BTreeSet<OwnedUserId>,
    pub(crate) join_rule: JoinRule,
    pub(crate) history_visibility: HistoryVisibility,
    /// The room that took this one's place, when it was upgraded.
    pub(crate) successor: Option<OwnedRoomId>,
    /// What a bridge connects the room with, when there is one.
    pub(crate) bridged_with: Option<String>,
    /// Whether somebody was invited to it as to a direct chat (`is_direct`).
    pub(crate) begun_as_direct: bool,
    /// In a space, the rooms in it.
    pub(crate) children: BTreeSet<OwnedRoomId>,
    pub(crate) server_acl: Option<RoomServerAclEventContent>,
    pub(crate) power_levels: RoomPowerLevels,
    /// Memberships of those members that the homeserver told of, which is not all of them.
    pub(crate) members: BTreeMap<OwnedUserId, MembershipState>,
    /// What those members are called in the room that have a name there.
    pub(crate) names: BTreeMap<OwnedUserId, String>,
    /// Members that the homeserver suggests a nameless room be called by.
    pub(crate) heroes: Vec<OwnedUserId>,
    /// How many members there are, joined or invited, when the homeserver told.
    pub(crate) member_count: Option<u64>,
    /// The account's tags of the room, with their order.
    pub(crate) tags: BTreeMap<String, Option<f64>>,
    /// When something last happened in it.
    pub(crate) last_active: Option<MilliSecondsSinceUnixEpoch>,
}

/// State that a plan is made from.
const STATE_TYPES: [&str; 13] = [
    "m.bridge",
    "m.room.canonical_alias",
    "m.room.create",
    "m.room.encryption",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.member",
    "m.room.name",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.tombstone",
    "m.space.child",
    "uk.half-shot.bridge",
];

/// What to ask of `/sync` for a [`Survey`]: one request for the whole account, with one timeline
/// event a room for its last activity, and only those members that a name is made from.
pub(crate) fn survey_filter() -> FilterDefinition {
    let secrets = NEVER_READ.map(str::to_owned).to_vec();
    let mut filter = only_rooms();
    filter.account_data = Filter::empty();
    filter.account_data.not_types.clone_from(&secrets);
    filter.room.account_data.not_types = secrets;
    filter.room.include_leave = true;
    filter.room.state.types = Some(STATE_TYPES.map(str::to_owned).to_vec());
    filter.room.state.lazy_load_options =
        LazyLoadOptions::Enabled { include_redundant_members: false };
    filter.room.timeline.limit = Some(1_u32.into());
    filter.room.timeline.lazy_load_options =
        LazyLoadOptions::Enabled { include_redundant_members: false };
    filter
}

/// State that a check looks at.
const CHECKED_TYPES: [&str; 3] = ["m.room.create", "m.room.member", "m.room.power_levels"];

/// What to ask of `/sync` to check what was done: less than for a plan, and nothing of what happened
/// last in each room, which costs a homeserver as much as all the rest.
pub(crate) fn check_filter() -> FilterDefinition {
    let mut filter = survey_filter();
    filter.room.include_leave = false;
    filter.room.state.types = Some(CHECKED_TYPES.map(str::to_owned).to_vec());
    filter.room.timeline = RoomEventFilter::ignore_all();
    filter
}

/// What to ask of `/sync` to learn which rooms an account is in and invited to. Synapse leaves out
/// rooms that there is nothing to tell of, and so is asked for the one event that all have.
pub(crate) fn joined_filter() -> FilterDefinition {
    let mut filter = only_rooms();
    filter.account_data = Filter::ignore_all();
    filter.room.account_data = RoomEventFilter::ignore_all();
    filter.room.state.types = Some(vec!["m.room.create".to_owned()]);
    filter.room.timeline = RoomEventFilter::ignore_all();
    filter
}

/// What to ask of `/sync` to learn the membership of both accounts in each room that one of them is
/// in: joins are sent by whoever joins, and the invitations that matter here by the old account.
pub(crate) fn membership_filter(old: &UserId, new: &UserId) -> FilterDefinition {
    let members = || {
        let mut filter = RoomEventFilter::empty();
        filter.types = Some(vec!["m.room.member".to_owned()]);
        filter.senders = Some(vec![old.to_owned(), new.to_owned()]);
        filter
    };
    let mut filter = only_rooms();
    filter.account_data = Filter::ignore_all();
    filter.room.account_data = RoomEventFilter::ignore_all();
    filter.room.state = members();
    filter.room.timeline = members();
    filter
}

fn only_rooms() -> FilterDefinition {
    let mut filter = FilterDefinition::empty();
    filter.presence = Filter::ignore_all();
    filter.room = RoomFilter::empty();
    filter.room.ephemeral = RoomEventFilter::ignore_all();
    filter
}
