//! From the answer of `/sync` to a [`Survey`]. An event that is not as the specification has it is
//! taken for missing: it costs what it would have told, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId, RoomVersionId, UserId,
    api::client::sync::sync_events::v3::{self, State},
    events::{
        StateEventType,
        direct::DirectEventContent,
        room::{
            canonical_alias::RoomCanonicalAliasEventContent,
            history_visibility::{HistoryVisibility, RoomHistoryVisibilityEventContent},
            join_rules::{JoinRule, RoomJoinRulesEventContent},
            member::MembershipState,
            power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
        },
        tag::TagEventContent,
    },
    room::RoomType,
    room_version_rules::RoomVersionRules,
    serde::{JsonObject, Raw},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{Survey, SurveyedRoom};
use crate::{
    homeserver::Synced,
    migration::{fast::LOBBY_MARK, holdings::Holdings},
};

/// The largest event, in bytes: twice what the specification allows, since a homeserver adds what was
/// there before ([size limits](https://spec.matrix.org/v1.18/client-server-api/#size-limits)). What is
/// larger is none: what is made of events takes time that grows with them.
const LARGEST_EVENT: usize = 2 * 65_536;

impl Survey {
    /// Reads a survey of `user_id` from its own `/sync`.
    pub(crate) fn read(user_id: &UserId, synced: &Synced) -> Self {
        let response = &synced.response;
        let mut rooms = BTreeMap::new();
        for (room_id, left) in &response.rooms.leave {
            let mut events = Events::default();
            events.add_state(&left.state);
            events.add_timeline(&left.timeline);
            // Left, or banned: only the account's own event tells which.
            let membership = events.membership(user_id).unwrap_or(MembershipState::Leave);
            rooms.insert(room_id.clone(), events.into_room(user_id, membership));
        }
        for (room_id, knocked) in &response.rooms.knock {
            let mut events = Events::default();
            knocked.knock_state.events.iter().for_each(|event| events.add(event));
            rooms.insert(room_id.clone(), events.into_room(user_id, MembershipState::Knock));
        }
        for (room_id, invited) in &response.rooms.invite {
            let mut events = Events::default();
            invited.invite_state.events.iter().for_each(|event| events.add(event));
            rooms.insert(room_id.clone(), events.into_room(user_id, MembershipState::Invite));
        }
        for (room_id, joined) in &response.rooms.join {
            rooms.insert(room_id.clone(), read_joined(user_id, joined));
        }
        let holdings = Some(Holdings::read(user_id, response));
        let unreadable = synced.unreadable.clone();
        Self { direct: read_direct(response), unreadable, holdings, ..Self::of(rooms) }
    }

    /// Reads the membership of `user_id` in the rooms that another account's `/sync` tells of.
    pub(crate) fn read_of_other(user_id: &UserId, response: &v3::Response) -> Self {
        let mut rooms = BTreeMap::new();
        for (room_id, joined) in &response.rooms.join {
            let mut events = Events::default();
            events.add_state(&joined.state);
            events.add_timeline(&joined.timeline);
            let Some(membership) = events.membership(user_id) else { continue };
            rooms.insert(room_id.clone(), events.into_room(user_id, membership));
        }
        Self::of(rooms)
    }

    fn of(rooms: BTreeMap<OwnedRoomId, SurveyedRoom>) -> Self {
        Self {
            rooms,
            direct: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            holdings: None,
            successors: BTreeMap::new(),
            versions: None,
        }
    }
}

fn read_joined(user_id: &UserId, joined: &v3::JoinedRoom) -> SurveyedRoom {
    let mut events = Events::default();
    events.add_state(&joined.state);
    events.add_timeline(&joined.timeline);
    let mut room = events.into_room(user_id, MembershipState::Join);
    let summary = &joined.summary;
    room.heroes.clone_from(&summary.heroes);
    room.member_count = summary
        .joined_member_count
        .map(|count| u64::from(count) + summary.invited_member_count.map_or(0, u64::from));
    room.tags = account_data::<TagEventContent>(&joined.account_data.events, "m.tag")
        .map(|content| {
            content.tags.into_iter().map(|(name, tag)| (name.to_string(), tag.order)).collect()
        })
        .unwrap_or_default();
    room
}

fn read_direct(response: &v3::Response) -> BTreeMap<OwnedUserId, Vec<OwnedRoomId>> {
    let content = account_data::<DirectEventContent>(&response.account_data.events, "m.direct");
    // Some clients put e-mail addresses in place of user IDs; those lead nowhere.
    content
        .into_iter()
        .flat_map(|content| content.0)
        .filter_map(|(user, rooms)| Some((OwnedUserId::try_from(user).ok()?, rooms)))
        .collect()
}

fn account_data<T: DeserializeOwned>(events: &[Raw<impl Sized>], event_type: &str) -> Option<T> {
    #[derive(Deserialize)]
    struct AccountDataEvent<'a> {
        r#type: String,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    events
        .iter()
        .filter_map(|event| event.deserialize_as_unchecked::<AccountDataEvent<'_>>().ok())
        .find(|event| event.r#type == event_type)
        .and_then(|event| serde_json::from_str(event.content.get()).ok())
}

/// A state event, of whatever form, as far as a survey reads it.
#[derive(Clone, Debug, Deserialize)]
struct StateEvent {
    r#type: String,
    state_key: Option<String>,
    sender: OwnedUserId,
    content: Box<RawValue>,
    unsigned: Option<Unsigned>,
}

/// What a homeserver adds to an event, as far as a survey reads it.
#[derive(Clone, Debug, Deserialize)]
struct Unsigned {
    prev_content: Option<Box<RawValue>>,
}

/// The newest state events of one room, by type and state key.
#[derive(Debug, Default)]
struct Events {
    state: BTreeMap<(String, String), StateEvent>,
    last_active: Option<MilliSecondsSinceUnixEpoch>,
}

impl Events {
    fn add_state(&mut self, state: &State) {
        match state {
            State::Before(state) | State::After(state) => {
                state.events.iter().for_each(|event| self.add(event));
            }
            _ => {}
        }
    }

    fn add_timeline(&mut self, timeline: &v3::Timeline) {
        for event in &timeline.events {
            self.add(event);
            let sent = event.get_field("origin_server_ts").ok().flatten();
            self.last_active = self.last_active.max(sent);
        }
    }

    fn add<T>(&mut self, event: &Raw<T>) {
        if event.json().get().len() > LARGEST_EVENT {
            return;
        }
        let Ok(event) = event.deserialize_as_unchecked::<StateEvent>() else { return };
        let Some(state_key) = event.state_key.clone() else { return };
        self.state.insert((event.r#type.clone(), state_key), event);
    }

    fn get(&self, event_type: &StateEventType, state_key: &str) -> Option<&StateEvent> {
        self.state.get(&(event_type.to_string(), state_key.to_owned()))
    }

    fn content<T: DeserializeOwned>(&self, event_type: StateEventType) -> Option<T> {
        serde_json::from_str(self.get(&event_type, "")?.content.get()).ok()
    }

    fn membership(&self, user_id: &UserId) -> Option<MembershipState> {
        membership_in(self.get(&StateEventType::RoomMember, user_id.as_str())?)
    }

    fn members(&self) -> BTreeMap<OwnedUserId, MembershipState> {
        self.state
            .values()
            .filter(|event| event.r#type == "m.room.member")
            .filter_map(|event| {
                let user_id = UserId::parse(event.state_key.as_deref()?).ok()?;
                Some((user_id, membership_in(event)?))
            })
            .collect()
    }

    fn names(&self) -> BTreeMap<OwnedUserId, String> {
        #[derive(Deserialize)]
        struct MemberContent {
            displayname: String,
        }
        let named = self.state.values().filter(|event| event.r#type == "m.room.member").filter_map(
            |event| {
                let user_id = UserId::parse(event.state_key.as_deref()?).ok()?;
                let content: MemberContent = serde_json::from_str(event.content.get()).ok()?;
                Some((user_id, content.displayname))
            },
        );
        named.filter(|(_, name)| !name.trim().is_empty()).collect()
    }

    /// `membership` is where the homeserver has the room, and not what its events tell: state before
    /// a timeline event from elsewhere may be from before the account joined.
    fn into_room(self, user_id: &UserId, membership: MembershipState) -> SurveyedRoom {
        let own = self.get(&StateEventType::RoomMember, user_id.as_str());
        let invited_by =
            own.filter(|_| membership == MembershipState::Invite).map(|event| event.sender.clone());
        let create: Option<CreateContent> = self.content(StateEventType::RoomCreate);
        let create_sender =
            self.get(&StateEventType::RoomCreate, "").map(|event| event.sender.clone());
        let create = create.unwrap_or_default();
        let rules = create.rules();
        let creators: BTreeSet<_> =
            create_sender.into_iter().chain(create.additional_creators.iter().cloned()).collect();
        let power_levels: Option<RoomPowerLevelsEventContent> =
            self.content(StateEventType::RoomPowerLevels);
        let version = create.room_version.clone().unwrap_or(RoomVersionId::V1);
        let privileged = rules.authorization.explicitly_privilege_room_creators;
        SurveyedRoom {
            membership,
            invited_by,
            version,
            history_visibility: self.history_visibility(),
            successor: self.successor(),
            bridged_with: self.bridged_with(),
            begun_as_direct: self.begun_as_direct(),
            children: self.children(),
            name: self.name(),
            alias: self
                .content::<RoomCanonicalAliasEventContent>(StateEventType::RoomCanonicalAlias)
                .and_then(|content| content.alias),
            space: create.room_type == Some(RoomType::Space),
            lobby: self.is_lobby(user_id),
            encrypted: self.get(&StateEventType::RoomEncryption, "").is_some(),
            federated: create.federate,
            power_levels: RoomPowerLevels::new(
                RoomPowerLevelsSource::from(power_levels),
                &rules.authorization,
                creators.iter().cloned(),
            ),
            privileged_creators: if privileged { creators } else { BTreeSet::new() },
            // Without the event, only who is invited may join.
            join_rule: self
                .content::<RoomJoinRulesEventContent>(StateEventType::RoomJoinRules)
                .map_or(JoinRule::Invite, |content| content.join_rule),
            server_acl: self.content(StateEventType::RoomServerAcl),
            members: self.members(),
            names: self.names(),
            heroes: Vec::new(),
            member_count: None,
            tags: BTreeMap::new(),
            last_active: self.last_active,
        }
    }

    /// Whether `user_id` made the room for `fast`.
    fn is_lobby(&self, user_id: &UserId) -> bool {
        self.get(&StateEventType::RoomCreate, "").is_some_and(|create| create.sender == user_id)
            && self
                .content::<JsonObject>(StateEventType::RoomCreate)
                .is_some_and(|content| content.contains_key(LOBBY_MARK))
    }

    /// Without the event, who joins sees what was said before
    /// ([spec](https://spec.matrix.org/v1.16/client-server-api/#room-history-visibility)).
    fn history_visibility(&self) -> HistoryVisibility {
        self.content::<RoomHistoryVisibilityEventContent>(StateEventType::RoomHistoryVisibility)
            .map_or(HistoryVisibility::Shared, |content| content.history_visibility)
    }

    fn successor(&self) -> Option<OwnedRoomId> {
        #[derive(Deserialize)]
        struct TombstoneContent {
            replacement_room: OwnedRoomId,
        }
        let content: TombstoneContent = self.content(StateEventType::RoomTombstone)?;
        Some(content.replacement_room)
    }

    /// What a bridge connects the room with
    /// ([MSC2346](https://github.com/matrix-org/matrix-spec-proposals/pull/2346)).
    fn bridged_with(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct BridgeContent {
            protocol: Protocol,
        }
        #[derive(Deserialize)]
        struct Protocol {
            id: String,
            displayname: Option<String>,
        }
        self.state
            .values()
            .filter(|event| ["m.bridge", "uk.half-shot.bridge"].contains(&event.r#type.as_str()))
            .find_map(|event| serde_json::from_str::<BridgeContent>(event.content.get()).ok())
            .map(|content| content.protocol.displayname.unwrap_or(content.protocol.id))
    }

    /// An invitation says so itself; once it is accepted, the event that it replaced.
    fn begun_as_direct(&self) -> bool {
        #[derive(Default, Deserialize)]
        struct MemberContent {
            #[serde(default)]
            is_direct: bool,
        }
        let is_direct = |content: &RawValue| {
            serde_json::from_str::<MemberContent>(content.get())
                .is_ok_and(|content| content.is_direct)
        };
        self.state.values().filter(|event| event.r#type == "m.room.member").any(|event| {
            let before =
                event.unsigned.as_ref().and_then(|unsigned| unsigned.prev_content.as_ref());
            is_direct(&event.content) || before.is_some_and(|content| is_direct(content))
        })
    }

    /// A space's child without `via` was taken out of it
    /// ([spec](https://spec.matrix.org/v1.16/client-server-api/#mspacechild)).
    fn children(&self) -> BTreeSet<OwnedRoomId> {
        #[derive(Deserialize)]
        struct ChildContent {
            #[serde(rename = "via")]
            _via: Vec<String>,
        }
        self.state
            .values()
            .filter(|event| event.r#type == "m.space.child")
            .filter(|event| serde_json::from_str::<ChildContent>(event.content.get()).is_ok())
            .filter_map(|event| OwnedRoomId::try_from(event.state_key.as_deref()?).ok())
            .collect()
    }

    fn name(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct NameContent {
            name: String,
        }
        let content: NameContent = self.content(StateEventType::RoomName)?;
        Some(content.name).filter(|name| !name.trim().is_empty())
    }
}

fn membership_in(event: &StateEvent) -> Option<MembershipState> {
    #[derive(Deserialize)]
    struct MemberContent {
        membership: MembershipState,
    }
    serde_json::from_str::<MemberContent>(event.content.get())
        .ok()
        .map(|content| content.membership)
}

/// The content of `m.room.create`, as far as a survey reads it.
#[derive(Debug, Deserialize)]
struct CreateContent {
    #[serde(rename = "m.federate", default = "yes")]
    federate: bool,
    #[serde(default)]
    room_version: Option<RoomVersionId>,
    #[serde(rename = "type")]
    room_type: Option<RoomType>,
    #[serde(default)]
    additional_creators: Vec<OwnedUserId>,
}

impl Default for CreateContent {
    fn default() -> Self {
        Self {
            federate: true,
            room_version: None,
            room_type: None,
            additional_creators: Vec::new(),
        }
    }
}

impl CreateContent {
    /// The rules of the room's version; of the first version where none is named, and those of the
    /// newest known where it is not known, which is the more careful guess.
    fn rules(&self) -> RoomVersionRules {
        let version = self.room_version.as_ref().unwrap_or(&RoomVersionId::V1);
        version.rules().unwrap_or(RoomVersionRules::V12)
    }
}

fn yes() -> bool {
    true
}
