//! A plan in which no room and nobody is named.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, OwnedRoomOrAliasId, OwnedUserId, owned_user_id};

use super::{Entry, Note, Omission, Plan, PlannedRoom, RoomLabel, Route};
use crate::migration::Holding;

/// A server that cannot be, whose rooms and people stand for those that are not named.
const NOWHERE: &str = "nameless.invalid";

/// What stands for each room: the same wherever that room comes.
#[derive(Debug, Default)]
struct Masks(BTreeMap<String, usize>);

impl Masks {
    fn room_id(&mut self, room: &str) -> Option<OwnedRoomId> {
        let next = self.0.len();
        let number = *self.0.entry(room.to_owned()).or_insert(next);
        OwnedRoomId::try_from(format!("!{number}:{NOWHERE}")).ok()
    }

    fn mask(&mut self, room_id: &mut OwnedRoomId) {
        if let Some(masked) = self.room_id(room_id.as_str()) {
            *room_id = masked;
        }
    }

    fn label(&mut self, label: &RoomLabel) -> Option<RoomLabel> {
        Some(RoomLabel {
            id: OwnedRoomOrAliasId::from(self.room_id(label.id.as_str())?),
            name: None,
            alias: None,
            direct_with: Vec::new(),
            names: BTreeMap::new(),
            space: label.space,
            encrypted: label.encrypted,
        })
    }

    fn planned(&mut self, mut planned: PlannedRoom) -> Option<PlannedRoom> {
        planned.room = self.label(&planned.room)?;
        planned.via.clear();
        planned.after.tags =
            (0..planned.after.tags.len()).map(|number| (number.to_string(), None)).collect();
        planned.after.contested_tags = (0..planned.after.contested_tags.len())
            .map(|number| (number.to_string(), None))
            .collect();
        match &mut planned.route {
            Route::Join(Entry::Through { room, .. }) => self.mask(room),
            Route::Skipped(omission) => self.omission(omission),
            _ => {}
        }
        planned.omission.iter_mut().for_each(|omission| self.omission(omission));
        for note in &mut planned.notes {
            match note {
                Note::AliasOnOldServer { alias } => {
                    *alias = format!("#alias:{NOWHERE}").try_into().ok()?;
                }
                Note::Bridged { with } => with.clear(),
                Note::EarlierHidden | Note::Quiet { .. } => {}
            }
        }
        Some(planned)
    }

    fn omission(&mut self, omission: &mut Omission) {
        if let Omission::Upgraded { successor } = omission {
            self.mask(successor);
        }
    }
}

impl RoomLabel {
    /// Whether it stands for a room that is not named.
    pub(crate) fn is_nameless(&self) -> bool {
        self.id.server_name().is_some_and(|server| server == NOWHERE)
    }
}

impl Plan {
    /// This plan for somebody who is to see how many rooms there are, and how they are got into, but
    /// not which, nor who is in them. No words made of it can tell what is not in it.
    pub(crate) fn without_names(mut self) -> Self {
        let mut masks = Masks::default();
        self.rooms = self.rooms.into_iter().filter_map(|room| masks.planned(room)).collect();
        let rooms = self.direct.into_values().flatten();
        let rooms = rooms.filter_map(|room_id| masks.room_id(room_id.as_str())).collect();
        let nobody: OwnedUserId = owned_user_id!("@nobody:nameless.invalid");
        self.direct = BTreeMap::from([(nobody, rooms)]);
        for planned in &mut self.holdings {
            match &mut planned.holding {
                Holding::RoomProfile(room_id) | Holding::RoomAccountData { room_id, .. } => {
                    masks.mask(room_id);
                }
                _ => {}
            }
        }
        for pending in &mut self.pending {
            pending.invited_by = None;
        }
        let pending = std::mem::take(&mut self.pending).into_iter();
        self.pending = pending
            .filter_map(|pending| {
                Some(super::Pending { room: masks.label(&pending.room)?, ..pending })
            })
            .collect();
        self
    }
}
