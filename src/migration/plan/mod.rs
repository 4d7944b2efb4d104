//! What to do for each room: a pure function of two surveys and the options.

mod after;
mod agenda;
#[cfg(test)]
pub(super) mod documented;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod fuzz;
mod make;
mod nameless;
mod notes;
#[cfg(test)]
mod properties;
mod route;
mod rows;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod tests;
mod via;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomAliasId, OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName,
    OwnedUserId, RoomOrAliasId, RoomVersionId,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    agenda::{Agenda, RoomAgenda},
    make::{Accounts, make, plan_holdings},
    via::via_members,
};
use super::{HoldingKind, Options, PlanNumber, PlannedHolding, Treatment};

/// What a migration would do, room by room, in the order in which it is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Every room of the old account, and those named with `include`.
    pub rooms: Vec<PlannedRoom>,
    /// Room IDs by the person on the other side, to be merged into the new account's `m.direct`.
    pub direct: BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
    /// What else the old account holds that the new one does not have in the same way.
    #[serde(default)]
    pub holdings: Vec<PlannedHolding>,
    /// Invitations and knocks of the old account that nobody has answered. Only who is in such a
    /// room can bring the new account there.
    #[serde(default)]
    pub pending: Vec<Pending>,
    /// Its number, with the choices of the person in it. Not stored here but with the migration.
    #[serde(skip)]
    pub number: PlanNumber,
    /// How long it takes to run it, as homeservers' limits are known right now. Not stored.
    #[serde(skip)]
    pub takes: Option<Duration>,
    /// How long it would take with `fast`, where that is worth it. Not stored.
    #[serde(skip)]
    pub takes_with_fast: Option<Duration>,
}

/// A room that the old account is not in yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Which room.
    pub room: RoomLabel,
    /// Who invited the old account; nobody when it knocked.
    pub invited_by: Option<OwnedUserId>,
}

impl Plan {
    /// Its rooms, but for those that were only named by an alias.
    pub(crate) fn room_ids(&self) -> impl Iterator<Item = OwnedRoomId> {
        self.rooms.iter().filter_map(PlannedRoom::room_id)
    }

    /// The rooms with this route, in order.
    pub fn with_route(&self, kind: RouteKind) -> impl Iterator<Item = &PlannedRoom> {
        self.rooms.iter().filter(move |room| room.route.kind() == kind)
    }

    /// This plan with what the person chose: rooms taken out by `skip`, and rooms that only
    /// `include` named, which the new account tries to join.
    pub(crate) fn with(mut self, options: &Options) -> Self {
        for room in &mut self.rooms {
            if room.route == Route::AlreadyThere {
                continue;
            }
            let is_opened = || room.room_id().is_some_and(|id| options.opened.contains(&id));
            if room.route == Route::NeedsModerator && is_opened() {
                room.route = Route::Join(Entry::Invited);
            }
            if options.skipped.contains(&room.room.id) {
                room.route = Route::Skipped(Omission::Asked);
            } else if let Some(omission) = &room.omission
                && !(omission.can_be_included() && options.included.contains(&room.room.id))
            {
                room.route = Route::Skipped(omission.clone());
            }
        }
        self.go_around_skipped();
        for room in &mut self.rooms {
            room.opens =
                room.may_be_opened() && room.room_id().is_some_and(|id| options.fast.contains(&id));
        }
        self.choose_holdings(options);
        let planned: HashSet<_> = self.rooms.iter().map(|room| &room.room.id).collect();
        let unplanned = options.named.iter().filter(|id| !planned.contains(id));
        let named: Vec<_> = unplanned
            .map(|id| {
                let via = options.named_via.get(id).cloned().unwrap_or_default();
                PlannedRoom::named(id, via)
            })
            .collect();
        self.rooms.extend(named);
        self
    }

    /// Applies to what else is copied what the person chose. What belongs to a room goes where the
    /// new account goes.
    fn choose_holdings(&mut self, options: &Options) {
        let skips = |kind| options.skipped_holdings.contains(&kind);
        if skips(HoldingKind::DirectChats) {
            self.direct.clear();
        }
        if skips(HoldingKind::Tags) {
            for room in &mut self.rooms {
                room.after.tags.clear();
                room.after.contested_tags.clear();
            }
        }
        if options.prefer_old {
            for after in self.rooms.iter_mut().map(|room| &mut room.after) {
                after.prefers_old_tags = !after.contested_tags.is_empty();
                after.tags.append(&mut after.contested_tags);
            }
        }
        let entered: BTreeSet<&str> = self
            .rooms
            .iter()
            .filter(|room| room.route.gets_in())
            .map(|room| room.room.id.as_str())
            .collect();
        self.holdings.retain(|planned| {
            planned.holding.room_id().is_none_or(|room_id| entered.contains(room_id.as_str()))
        });
        self.holdings.iter_mut().for_each(|planned| planned.choose(options));
    }

    /// The holdings that are treated in this way, in order.
    pub fn with_treatment(&self, treatment: Treatment) -> impl Iterator<Item = &PlannedHolding> {
        self.holdings.iter().filter(move |planned| planned.treatment == treatment)
    }

    /// Finds another way into rooms whose way in leads through a room that is left out, which may
    /// leave out further ones.
    fn go_around_skipped(&mut self) {
        let mut entered_through: HashMap<OwnedRoomId, Vec<usize>> = HashMap::new();
        let mut left_out: Vec<OwnedRoomId> = Vec::new();
        for (number, planned) in self.rooms.iter().enumerate() {
            match &planned.route {
                Route::Join(Entry::Through { room, .. }) => {
                    entered_through.entry(room.clone()).or_default().push(number);
                }
                Route::Skipped(_) | Route::NeedsModerator => left_out.extend(planned.room_id()),
                _ => {}
            }
        }
        while let Some(gate) = left_out.pop() {
            for number in entered_through.remove(&gate).unwrap_or_default() {
                let Some(planned) = self.rooms.get_mut(number) else { continue };
                let invites =
                    matches!(planned.route, Route::Join(Entry::Through { or_invite: true, .. }));
                planned.route = if invites { Route::InviteAndJoin } else { Route::NeedsModerator };
                if !invites {
                    left_out.extend(planned.room_id());
                }
            }
        }
    }

    /// How many rooms have each route.
    pub fn counts(&self) -> BTreeMap<RouteKind, usize> {
        self.rooms.iter().fold(BTreeMap::new(), |mut counts, room| {
            *counts.entry(room.route.kind()).or_default() += 1;
            counts
        })
    }
}

/// One room of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRoom {
    /// Which room.
    pub room: RoomLabel,
    /// How the new account gets in.
    pub route: Route,
    /// Why it is left out unless the person asks for it.
    #[serde(default)]
    pub omission: Option<Omission>,
    /// What is done once it is in.
    pub after: AfterJoin,
    /// What the person should know about it.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// Servers to join through.
    pub via: Vec<OwnedServerName>,
    /// Whether the new account's server is known to be in it, so that joining it is quick.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub near: bool,
    /// Whether only the old account's server is known of, although others may be in the room: its
    /// members are asked for before the new account joins without an invitation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hides_servers: bool,
    /// Whether the old account may open the room to the new one for a moment, with `fast`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_open: bool,
    /// Whether that is what is done, in place of an invitation. Not stored.
    #[serde(skip)]
    pub opens: bool,
}

impl PlannedRoom {
    /// The room's ID; nothing when it was only named with `include`, by an alias.
    fn room_id(&self) -> Option<OwnedRoomId> {
        OwnedRoomId::try_from(self.room.id.clone()).ok()
    }

    /// Whether it could be opened in place of an invitation.
    pub(crate) fn may_be_opened(&self) -> bool {
        self.may_open && self.route == Route::InviteAndJoin
    }

    /// A room of which nothing is known but its name, as when only `include` named it, perhaps with
    /// servers to join it through.
    fn named(id: &RoomOrAliasId, mut via: Vec<OwnedServerName>) -> Self {
        via.extend(id.server_name().map(ToOwned::to_owned).filter(|own| !via.contains(own)));
        Self {
            room: RoomLabel {
                id: id.to_owned(),
                name: None,
                alias: OwnedRoomAliasId::try_from(id.to_owned()).ok(),
                direct_with: Vec::new(),
                names: BTreeMap::new(),
                space: false,
                encrypted: false,
            },
            route: Route::Join(Entry::Public),
            omission: None,
            after: AfterJoin::default(),
            notes: Vec::new(),
            via,
            near: false,
            hides_servers: false,
            may_open: false,
            opens: false,
        }
    }
}

/// What a person knows a room by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomLabel {
    /// The room; or, when it was only named with `include`, perhaps an alias.
    pub id: OwnedRoomOrAliasId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its canonical alias, if it has one.
    pub alias: Option<OwnedRoomAliasId>,
    /// In a direct chat, who is on the other side; in any other room without a name, some of who
    /// is in it.
    pub direct_with: Vec<OwnedUserId>,
    /// What those are called in the room, where that says more than the user ID.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<OwnedUserId, String>,
    /// Whether it is a space.
    pub space: bool,
    /// Whether messages in it are encrypted.
    pub encrypted: bool,
}

/// How the new account gets into one room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The new account is already a member.
    AlreadyThere,
    /// The new account joins by itself.
    Join(Entry),
    /// The old account invites the new account, which then joins.
    InviteAndJoin,
    /// Only a moderator of the room can let the new account in.
    NeedsModerator,
    /// The new account cannot get in.
    Unreachable(Reason),
    /// Left out of the plan.
    Skipped(Omission),
}

/// Why the new account can join by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Everybody can.
    Public,
    /// It is invited already.
    Invited,
    /// Members of another room can, which the new account is in, or will be in by this plan
    /// ([restricted rooms](https://spec.matrix.org/v1.16/client-server-api/#restricted-rooms)).
    Through {
        /// That other room, most often a space.
        room: OwnedRoomId,
        /// Whether the old account may invite, for when that other room does not let in after all.
        or_invite: bool,
    },
}

/// Why a room is left out of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Omission {
    /// The person said `skip`.
    Asked,
    /// Nobody else is in it any more.
    Empty,
    /// The old account's homeserver writes its notices there.
    ServerNotices,
    /// It is the old account's direct chat with the bot.
    ChatWithBot,
    /// Another room took its place, and that one is in the plan.
    Upgraded {
        /// The other room.
        successor: OwnedRoomId,
    },
}

impl Omission {
    /// Whether the person may put the room back in. An invitation into their chat with the bot
    /// would end that chat.
    pub fn can_be_included(&self) -> bool {
        *self != Self::ChatWithBot
    }
}

/// Something to know about a room before it is moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The new account will not see what was said before it is invited or joins.
    EarlierHidden,
    /// A bridge connects the room with another network and knows the old account there.
    Bridged {
        /// The other network.
        with: String,
    },
    /// The old account runs the room, and its address may end with the old account's server.
    AliasOnOldServer {
        /// The address.
        alias: OwnedRoomAliasId,
    },
    /// Nothing happened there for long.
    Quiet {
        /// When something last did.
        since: MilliSecondsSinceUnixEpoch,
    },
}

impl Route {
    /// Whether the new account gets in, or is in already.
    pub(crate) fn gets_in(&self) -> bool {
        matches!(self, Self::AlreadyThere | Self::Join(_) | Self::InviteAndJoin)
    }

    /// The route without its particulars.
    pub fn kind(&self) -> RouteKind {
        match self {
            Self::AlreadyThere => RouteKind::AlreadyThere,
            Self::Join(_) => RouteKind::Join,
            Self::InviteAndJoin => RouteKind::InviteAndJoin,
            Self::NeedsModerator => RouteKind::NeedsModerator,
            Self::Unreachable(_) => RouteKind::Unreachable,
            Self::Skipped(_) => RouteKind::Skipped,
        }
    }
}

/// A route without its particulars: what `rooms [route]` selects by, and what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// See [`Route::AlreadyThere`].
    AlreadyThere,
    /// See [`Route::Join`].
    Join,
    /// See [`Route::InviteAndJoin`].
    InviteAndJoin,
    /// See [`Route::NeedsModerator`].
    NeedsModerator,
    /// See [`Route::Unreachable`].
    Unreachable,
    /// See [`Route::Skipped`].
    Skipped,
}

/// Why the new account cannot get into a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The new account is banned there.
    Banned,
    /// The room is not federated, and the new account is on another server.
    NotFederated,
    /// The room's server ACL denies the new account's server.
    ServerDenied,
    /// The new account's homeserver does not support the room's version.
    VersionUnsupported(RoomVersionId),
    /// The room's join rule lets nobody in, whether invited or not.
    Closed,
    /// What this server, that of one of the accounts, tells of the room makes no sense.
    Unreadable {
        /// Which server.
        server: OwnedServerName,
    },
}

/// What is done in a room once the new account is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AfterJoin {
    /// The power level to raise the new account to, when it is to be raised.
    pub power_level: Option<i64>,
    /// The old account's power level, where it is above the new one's and the old account may not
    /// hand it on: only somebody with more power can.
    pub power_out_of_reach: Option<i64>,
    /// The old account created this room of version 12 or later: only it can do what is left to
    /// creators, whatever power the new account is given.
    pub creator_stays: bool,
    /// The old account's tags of this room, with their order, if they have one.
    pub tags: BTreeMap<String, Option<f64>>,
    /// The old account's tags of this room where the new one has tagged it otherwise itself: these
    /// are for `prefer old` only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contested_tags: BTreeMap<String, Option<f64>>,
    /// Whether the person said `prefer old`: the tags are set beside and over the new account's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefers_old_tags: bool,
}
