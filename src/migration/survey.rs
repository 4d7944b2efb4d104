//! A read-only snapshot of one account: rooms, state, account data.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, UserId,
    api::client::filter::{Filter, FilterDefinition, LazyLoadOptions, RoomEventFilter, RoomFilter},
    events::room::{
        join_rules::JoinRule, member::MembershipState, power_levels::RoomPowerLevels,
        server_acl::RoomServerAclEventContent,
    },
};

use super::holdings::{Holdings, NEVER_READ};

/// What one account sees of its rooms at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// Rooms that it is in, invited to, banned from or has left.
    pub(crate) rooms: BTreeMap<OwnedRoomId, SurveyedRoom>,
    /// Its direct chats by the person on the other side (`m.direct`).
    pub(crate) direct: BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
    /// What else it holds; `None` when it was only seen through another account's eyes.
    pub(crate) holdings: Option<Holdings>,
}

impl Survey {
    /// The rooms that the account is in.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (&OwnedRoomId, &SurveyedRoom)> {
        self.rooms.iter().filter(|(_, room)| room.membership == MembershipState::Join)
    }
}

/// One room as one account sees it.
#[derive(Clone, Debug)]
pub(crate) struct SurveyedRoom {
    /// The account's own membership.
    pub(crate) membership: MembershipState,
    /// Who invited the account, when it is invited.
    pub(crate) invited_by: Option<OwnedUserId>,
    pub(crate) name: Option<String>,
    pub(crate) alias: Option<OwnedRoomAliasId>,
    pub(crate) space: bool,
    pub(crate) encrypted: bool,
    /// Whether other servers may take part (`m.federate`).
    pub(crate) federated: bool,
    /// Those whose power is above all numbers, in room versions that have such
    /// ([room version 12](https://spec.matrix.org/v1.16/rooms/v12/)).
    pub(crate) privileged_creators: BTreeSet<OwnedUserId>,
    pub(crate) join_rule: JoinRule,
    pub(crate) server_acl: Option<RoomServerAclEventContent>,
    pub(crate) power_levels: RoomPowerLevels,
    /// Memberships of those members that the homeserver told of, which is not all of them.
    pub(crate) members: BTreeMap<OwnedUserId, MembershipState>,
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
const STATE_TYPES: [&str; 9] = [
    "m.room.canonical_alias",
    "m.room.create",
    "m.room.encryption",
    "m.room.join_rules",
    "m.room.member",
    "m.room.name",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.tombstone",
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
