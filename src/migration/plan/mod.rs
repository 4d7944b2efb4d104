//! What to do for each room: a pure function of two surveys and the options.

mod make;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId};
use serde::{Deserialize, Serialize};

pub(crate) use self::make::{Accounts, make, plan_holdings};
use super::{HoldingKind, Options, PlannedHolding, Treatment};

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
}

impl Plan {
    /// The rooms with this route, in order.
    pub fn with_route(&self, kind: RouteKind) -> impl Iterator<Item = &PlannedRoom> {
        self.rooms.iter().filter(move |room| room.route.kind() == kind)
    }

    /// This plan with what the person chose: rooms taken out by `skip`, and rooms that only
    /// `include` named, which the new account tries to join.
    pub(crate) fn with(mut self, options: &Options) -> Self {
        for room in &mut self.rooms {
            let skipped = options.skipped.contains(&room.room.id);
            if skipped && room.route != Route::AlreadyThere {
                room.route = Route::Skipped;
            }
        }
        let skips = |kind| options.skipped_holdings.contains(&kind);
        if skips(HoldingKind::DirectChats) {
            self.direct.clear();
        }
        if skips(HoldingKind::Tags) {
            self.rooms.iter_mut().for_each(|room| room.after.tags.clear());
        }
        self.holdings.iter_mut().for_each(|planned| planned.choose(options));
        for id in &options.named {
            if self.rooms.iter().all(|room| room.room.id != *id) {
                self.rooms.push(PlannedRoom::named(id));
            }
        }
        self
    }

    /// The holdings that are treated in this way, in order.
    pub fn with_treatment(&self, treatment: Treatment) -> impl Iterator<Item = &PlannedHolding> {
        self.holdings.iter().filter(move |planned| planned.treatment == treatment)
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
    /// What is done once it is in.
    pub after: AfterJoin,
    /// Servers to join through.
    pub via: Vec<OwnedServerName>,
}

impl PlannedRoom {
    /// A room that only `include` named: nothing is known of it but that.
    fn named(id: &OwnedRoomOrAliasId) -> Self {
        Self {
            room: RoomLabel {
                id: id.clone(),
                name: None,
                alias: OwnedRoomAliasId::try_from(id.clone()).ok(),
                direct_with: Vec::new(),
                space: false,
                encrypted: false,
            },
            route: Route::Join { invited: false },
            after: AfterJoin::default(),
            via: id.server_name().map(ToOwned::to_owned).into_iter().collect(),
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
    /// The new account joins by itself: the room is public, or it is already invited.
    Join {
        /// Whether it is invited already.
        invited: bool,
    },
    /// The old account invites the new account, which then joins.
    InviteAndJoin,
    /// Only a moderator of the room can let the new account in.
    NeedsModerator,
    /// The new account cannot get in.
    Unreachable(Reason),
    /// Taken out of the plan by the person.
    Skipped,
}

impl Route {
    /// The route without its particulars.
    pub fn kind(&self) -> RouteKind {
        match self {
            Self::AlreadyThere => RouteKind::AlreadyThere,
            Self::Join { .. } => RouteKind::Join,
            Self::InviteAndJoin => RouteKind::InviteAndJoin,
            Self::NeedsModerator => RouteKind::NeedsModerator,
            Self::Unreachable(_) => RouteKind::Unreachable,
            Self::Skipped => RouteKind::Skipped,
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
    /// The room is closed, and the bot has no access to the old account, which could invite.
    NoAccessToOld,
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
}
