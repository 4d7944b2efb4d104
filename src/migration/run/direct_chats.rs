//! The direct chats of a run.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ruma::{OwnedRoomId, OwnedUserId};

use crate::migration::plan::{Agenda, RoomAgenda};

/// The direct chats of a run: marked when the last of them is settled, so that they look as the
/// person knows them long before a large account is through.
#[derive(Debug, Default)]
pub(super) struct DirectChats {
    unsettled: AtomicUsize,
    by_person: BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
    rooms: HashSet<OwnedRoomId>,
    /// Those that the new account is in and that are not marked yet.
    entered: Mutex<Vec<OwnedRoomId>>,
}

impl DirectChats {
    pub(super) fn of(plan: &Agenda) -> Self {
        let by_person = plan.direct.clone();
        let rooms = by_person.values().flatten().cloned().collect();
        let direct = Self { by_person, rooms, ..Self::default() };
        let unsettled = plan.rooms.iter().filter(|room| direct.room_id(room).is_some()).count();
        direct.unsettled.store(unsettled, Ordering::Relaxed);
        direct
    }

    fn room_id(&self, room: &RoomAgenda) -> Option<OwnedRoomId> {
        let room_id = OwnedRoomId::try_from(room.id.clone()).ok()?;
        self.rooms.contains(&room_id).then_some(room_id)
    }

    /// Notes that nothing more happens in `room` for now. Whether it was the last direct chat.
    pub(super) fn settle(&self, room: &RoomAgenda, entered: bool) -> bool {
        let Some(room_id) = self.room_id(room) else { return false };
        if entered {
            self.entered.lock().unwrap_or_else(PoisonError::into_inner).push(room_id);
        }
        self.unsettled.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// The direct chats to be marked now, by person.
    pub(super) fn take_entered(&self) -> Option<BTreeMap<OwnedUserId, Vec<OwnedRoomId>>> {
        let entered =
            std::mem::take(&mut *self.entered.lock().unwrap_or_else(PoisonError::into_inner));
        let entered: HashSet<_> = entered.into_iter().collect();
        if entered.is_empty() {
            return None;
        }
        let mut by_person = self.by_person.clone();
        for rooms in by_person.values_mut() {
            rooms.retain(|room_id| entered.contains(room_id));
        }
        by_person.retain(|_, rooms| !rooms.is_empty());
        Some(by_person)
    }
}
