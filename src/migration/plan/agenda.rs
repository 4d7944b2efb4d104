//! What of a plan it takes to run it.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, RoomId};

use super::{Entry, Plan, PlannedHolding, PlannedRoom, Route};

/// A plan without what only people are told of it: it may be held for days, and for thousands of
/// rooms.
#[derive(Debug)]
pub(crate) struct Agenda {
    pub(crate) rooms: Vec<RoomAgenda>,
    pub(crate) direct: BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
    pub(crate) holdings: Vec<PlannedHolding>,
}

/// The same of one [`PlannedRoom`].
#[derive(Debug)]
pub(crate) struct RoomAgenda {
    pub(crate) id: OwnedRoomOrAliasId,
    pub(crate) route: Route,
    pub(crate) via: Box<[OwnedServerName]>,
    pub(crate) power_level: Option<i64>,
    pub(crate) tags: BTreeMap<String, Option<f64>>,
    pub(crate) prefers_old_tags: bool,
    pub(crate) near: bool,
    pub(crate) hides_servers: bool,
    pub(crate) opens: bool,
}

impl RoomAgenda {
    /// The room that this one is entered through, if it is.
    pub(crate) fn gate(&self) -> Option<&RoomId> {
        match &self.route {
            Route::Join(Entry::Through { room, .. }) => Some(room),
            _ => None,
        }
    }
}

impl From<Plan> for Agenda {
    fn from(plan: Plan) -> Self {
        let mut rooms: Vec<_> = plan.rooms.into_iter().map(RoomAgenda::from).collect();
        // They may be in the memory that the plan had, which is more than twice as much.
        rooms.shrink_to_fit();
        Self { rooms, direct: plan.direct, holdings: plan.holdings }
    }
}

impl From<PlannedRoom> for RoomAgenda {
    fn from(planned: PlannedRoom) -> Self {
        Self {
            id: planned.room.id,
            route: planned.route,
            via: planned.via.into(),
            power_level: planned.after.power_level,
            tags: planned.after.tags,
            prefers_old_tags: planned.after.prefers_old_tags,
            near: planned.near,
            hides_servers: planned.hides_servers,
            opens: planned.opens,
        }
    }
}
