//! Reading how rooms stand, right when it is needed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::client::filter::LazyLoadOptions,
    events::{
        MessageLikeEventType, StateEventType,
        room::{
            join_rules::JoinRule,
            member::MembershipState,
            power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
        },
    },
    room_version_rules::RoomVersionRules,
};

use super::choose::{Setting, moderators, named_with_power};
use crate::{
    homeserver::{Account, Failure},
    migration::{Survey, survey_filter},
};

/// State that decides who may invite and who may speak.
const STATE_TYPES: [&str; 4] =
    ["m.room.create", "m.room.encryption", "m.room.join_rules", "m.room.power_levels"];

/// About how many rooms is asked at a time: they are named in the address of the request.
const ROOMS_AT_ONCE: usize = 30;

/// One room as the old account sees it.
#[derive(Debug)]
pub(super) struct RoomState {
    old_is_in: bool,
    encrypted: bool,
    join_rule: JoinRule,
    levels: RoomPowerLevels,
    creators: BTreeSet<OwnedUserId>,
}

/// Reads rooms with one request.
pub(super) async fn room_states(
    old: &Account,
    rooms: &[OwnedRoomId],
) -> Result<BTreeMap<OwnedRoomId, RoomState>, Failure> {
    let mut filter = survey_filter();
    filter.account_data.types = Some(Vec::new());
    filter.room.account_data.types = Some(Vec::new());
    filter.room.rooms = Some(rooms.to_vec());
    let types = STATE_TYPES.map(str::to_owned).to_vec();
    filter.room.state.types = Some(types);
    filter.room.state.lazy_load_options = LazyLoadOptions::Disabled;
    let response = old.sync(filter, None, None).await?;
    let mut states = BTreeMap::new();
    for (room_id, room) in Survey::read(old.user_id(), &response).rooms {
        let mut state = RoomState {
            old_is_in: room.membership == MembershipState::Join,
            encrypted: room.encrypted,
            join_rule: room.join_rule,
            levels: room.power_levels,
            creators: room.privileged_creators,
        };
        // Synapse leaves the creation of rooms of version 12 out where only some rooms are asked
        // for: that event does not name its room.
        if room.version == RoomVersionId::V1 && state.old_is_in {
            state.read_creation(old, &room_id).await?;
        }
        states.insert(room_id, state);
    }
    Ok(states)
}

impl RoomState {
    /// Reads by itself who created the room, and what power that gives.
    async fn read_creation(&mut self, old: &Account, room: &RoomId) -> Result<(), Failure> {
        let Some((creator, creation)) = old.creation(room).await? else { return Ok(()) };
        let rules = creation.room_version.rules().unwrap_or(RoomVersionRules::V12).authorization;
        let creators: BTreeSet<_> =
            [creator].into_iter().chain(creation.additional_creators).collect();
        let content = power_levels(old, room).await?;
        let source = RoomPowerLevelsSource::from(content);
        self.levels = RoomPowerLevels::new(source, &rules, creators.iter().cloned());
        if rules.explicitly_privilege_room_creators {
            self.creators = creators;
        }
        Ok(())
    }
}

async fn power_levels(
    old: &Account,
    room: &RoomId,
) -> Result<Option<RoomPowerLevelsEventContent>, Failure> {
    let content = old.state(room, StateEventType::RoomPowerLevels, "").await?;
    Ok(content.and_then(|content| {
        let content = serde_json::Value::Object(content.into_iter().collect());
        serde_json::from_value(content).ok()
    }))
}

/// For whom rooms are looked at.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    /// The account that moves.
    pub(super) old: &'a Account,
    /// Where it moves to.
    pub(super) new: &'a UserId,
    /// The bot, which is asked for nothing.
    pub(super) bot: &'a UserId,
    /// Whether the bot may act as the new account.
    pub(super) knocks: bool,
    /// Whether the bot can encrypt as the old account.
    pub(super) encrypts: bool,
}

/// How rooms stand.
pub(super) async fn settings(
    asker: &Asker<'_>,
    rooms: &[OwnedRoomId],
) -> Result<BTreeMap<OwnedRoomId, Setting>, Failure> {
    let mut states = BTreeMap::new();
    for some in rooms.chunks(ROOMS_AT_ONCE) {
        states.extend(room_states(asker.old, some).await?);
    }
    // The lane for reading decides how many are asked about at a time.
    let reads = rooms.iter().map(|room_id| setting(asker, room_id, states.get(room_id)));
    let read = future::try_join_all(reads).await?;
    Ok(rooms.iter().cloned().zip(read).collect())
}

/// The old account does not see any more what goes on there.
fn out_of_room(last_seen: Option<&RoomState>, knocks: bool) -> Setting {
    Setting {
        new: None,
        public: false,
        may_knock: knocks && last_seen.is_some_and(|state| lets_knock(&state.join_rule)),
        old_is_in: false,
        may_speak: false,
        can_be_read: false,
        moderators: Vec::new(),
    }
}

async fn setting(
    asker: &Asker<'_>,
    room: &RoomId,
    state: Option<&RoomState>,
) -> Result<Setting, Failure> {
    let Asker { old, new, bot, knocks, encrypts } = *asker;
    let Some(state) = state.filter(|state| state.old_is_in) else {
        return Ok(out_of_room(state, knocks));
    };
    let present = present(old, room, state).await?;
    let event_type = if state.encrypted {
        MessageLikeEventType::RoomEncrypted
    } else {
        MessageLikeEventType::RoomMessage
    };
    Ok(Setting {
        new: membership(old, room, new).await?,
        public: state.join_rule == JoinRule::Public,
        may_knock: knocks && lets_knock(&state.join_rule),
        old_is_in: true,
        may_speak: state.levels.user_can_send_message(old.user_id(), event_type),
        can_be_read: encrypts || !state.encrypted,
        moderators: moderators(&state.levels, present, &[old.user_id(), new, bot]),
    })
}

/// The members of a room among whom those are that may invite.
async fn present(
    old: &Account,
    room: &RoomId,
    state: &RoomState,
) -> Result<Vec<OwnedUserId>, Failure> {
    if state.levels.users_default >= state.levels.invite {
        return Ok(old.joined_members(room).await?.into_keys().collect());
    }
    let mut present = Vec::new();
    for user in named_with_power(&state.levels, &state.creators) {
        if membership(old, room, &user).await? == Some(MembershipState::Join) {
            present.push(user);
        }
    }
    Ok(present)
}

fn lets_knock(rule: &JoinRule) -> bool {
    matches!(rule, JoinRule::Knock | JoinRule::KnockRestricted(_))
}

/// How `user` stands to a room.
pub(super) async fn membership(
    account: &Account,
    room: &RoomId,
    user: &UserId,
) -> Result<Option<MembershipState>, Failure> {
    Ok(account.member(room, user).await?.map(|member| member.membership))
}

/// Whether `user` is in a room and may invite there, at this moment.
pub(super) async fn may_invite(
    old: &Account,
    room: &RoomId,
    user: &UserId,
) -> Result<bool, Failure> {
    if membership(old, room, user).await? != Some(MembershipState::Join) {
        return Ok(false);
    }
    let mut states = room_states(old, std::slice::from_ref(&room.to_owned())).await?;
    let Some(RoomState { mut levels, .. }) = states.remove(room) else { return Ok(false) };
    // The state in a sync may be older than what was just changed on another server.
    if let Some(content) = power_levels(old, room).await? {
        levels.invite = content.invite;
        levels.users = content.users;
        levels.users_default = content.users_default;
    }
    Ok(levels.user_can_invite(user))
}
