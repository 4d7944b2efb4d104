//! Rooms in rows: spaces that lie in each other, and rooms that took each other's place. A homeserver
//! may tell of rows of any length, so each room is looked at a single time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use ruma::RoomId;

use crate::migration::survey::{Survey, SurveyedRoom};

/// How many spaces each space lies in, one in the other, by the longest way. Spaces that lie in each
/// other count from the first of them.
pub(super) fn depths(old: &Survey) -> HashMap<&RoomId, usize> {
    let spaces: HashMap<&RoomId, &SurveyedRoom> = old
        .joined()
        .filter(|(_, room)| room.space)
        .map(|(room_id, room)| (&**room_id, room))
        .collect();
    let inner = |space: &RoomId| {
        let children = spaces.get(space).into_iter().flat_map(|space| &space.children);
        children.map(|child| &**child).filter(|child| spaces.contains_key(*child))
    };
    // How many spaces that were not looked at yet each one lies in.
    let mut outer: HashMap<&RoomId, usize> = spaces.keys().map(|id| (*id, 0)).collect();
    for child in spaces.keys().flat_map(|space| inner(space)) {
        if let Some(count) = outer.get_mut(child) {
            *count += 1;
        }
    }
    let mut depths: HashMap<&RoomId, usize> = spaces.keys().map(|id| (*id, 0)).collect();
    let mut left: BTreeSet<&RoomId> = spaces.keys().copied().collect();
    let mut free: VecDeque<&RoomId> =
        left.iter().copied().filter(|id| outer.get(id) == Some(&0)).collect();
    // Where none is free, all that are left lie in a circle, or in one that does.
    while let Some(space) = free.pop_front().or_else(|| left.first().copied()) {
        if !left.remove(space) {
            continue;
        }
        let depth = depths.get(space).copied().unwrap_or(0) + 1;
        for child in inner(space).filter(|child| left.contains(child)).collect::<Vec<_>>() {
            if let Some(known) = depths.get_mut(child) {
                *known = depth.max(*known);
            }
            if let Some(count) = outer.get_mut(child) {
                *count -= 1;
                if *count == 0 {
                    free.push_back(child);
                }
            }
        }
    }
    depths
}

/// What took the place of each room in the end: the last in a row of upgrades that the old account
/// is in, or that can be reached. Rooms that were upgraded in a circle, or into one, have none.
pub(super) fn newest_successors(old: &Survey) -> HashMap<&RoomId, &RoomId> {
    let next = |room_id: &RoomId| {
        let successor = old.rooms.get(room_id)?.successor.as_deref()?;
        let is_reached = old.is_in(successor) || old.successors.contains_key(successor);
        is_reached.then_some(successor)
    };
    // Nothing for what leads into a circle.
    let mut ends: HashMap<&RoomId, Option<&RoomId>> = HashMap::new();
    for (room_id, _) in old.joined() {
        let mut row: Vec<&RoomId> = Vec::new();
        let mut in_row: HashSet<&RoomId> = HashSet::new();
        let mut at: &RoomId = room_id;
        let end = loop {
            if let Some(known) = ends.get(at) {
                break *known;
            }
            if !in_row.insert(at) {
                break None;
            }
            row.push(at);
            match next(at) {
                Some(successor) => at = successor,
                None => break Some(at),
            }
        };
        ends.extend(row.into_iter().map(|room_id| (room_id, end)));
    }
    ends.into_iter()
        .filter_map(|(room_id, end)| Some((room_id, end.filter(|end| *end != room_id)?)))
        .collect()
}
