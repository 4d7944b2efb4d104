//! Who is in which direct chat, so that nobody's is looked for among those of everybody else.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use matrix_sdk::ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

/// The direct chats as they were last looked at. A hint: who is there is asked before anything is
/// said.
#[derive(Debug, Default)]
pub(super) struct Chats(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    with: HashMap<OwnedRoomId, OwnedUserId>,
    of: HashMap<OwnedUserId, BTreeSet<OwnedRoomId>>,
    complete: bool,
}

impl Chats {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whom a room is a direct chat with, if it is one.
    pub(super) fn note(&self, room: &RoomId, with: Option<&UserId>) {
        let mut known = self.known();
        if let Some(before) = known.with.remove(room)
            && let Some(rooms) = known.of.get_mut(&before)
        {
            rooms.remove(room);
            if rooms.is_empty() {
                known.of.remove(&before);
            }
        }
        if let Some(with) = with {
            known.with.insert(room.to_owned(), with.to_owned());
            known.of.entry(with.to_owned()).or_default().insert(room.to_owned());
        }
    }

    /// The direct chats with this person.
    pub(super) fn of(&self, user: &UserId) -> Vec<OwnedRoomId> {
        self.known().of.get(user).into_iter().flatten().cloned().collect()
    }

    /// All rooms were looked at since the start: who has no chat here has none.
    pub(super) fn set_complete(&self) {
        self.known().complete = true;
    }

    /// Whether all rooms were looked at since the start.
    pub(super) fn is_complete(&self) -> bool {
        self.known().complete
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::{room_id, user_id};

    use super::*;

    #[test]
    fn a_chat_is_found_by_its_person_until_it_is_none_any_more() {
        let chats = Chats::default();
        let (alice, bob) = (user_id!("@alice:a.example"), user_id!("@bob:a.example"));
        let (one, two) = (room_id!("!one:a.example"), room_id!("!two:a.example"));
        chats.note(one, Some(alice));
        chats.note(two, Some(alice));
        assert_eq!(chats.of(alice), [one, two]);
        chats.note(one, Some(bob));
        assert_eq!((chats.of(alice), chats.of(bob)), (vec![two.to_owned()], vec![one.to_owned()]));
        chats.note(one, None);
        chats.note(two, None);
        let known = chats.known();
        assert!(known.with.is_empty() && known.of.is_empty());
    }
}
