//! The timelines of all rooms of one client, without gaps and in order.

use std::collections::{BTreeMap, HashSet};

use matrix_sdk::{
    Client, Room,
    deserialized_responses::{TimelineEvent, TimelineEventKind},
    room::MessagesOptions,
    sync::{JoinedRoomUpdate, SyncResponse},
};
use ruma::{OwnedRoomId, RoomId, UInt};
use tokio::sync::watch;

use super::message::Event;

/// What is known of each room, oldest event first.
pub(crate) type Timelines = BTreeMap<OwnedRoomId, Vec<Event>>;

/// Adds what a sync brought, fills the gaps it left, and tries again to decrypt what was sealed:
/// the keys may have come with it.
pub(crate) async fn absorb(
    client: &Client,
    timelines: &watch::Sender<Timelines>,
    response: SyncResponse,
) {
    for (room_id, update) in response.rooms.joined {
        let Some(room) = client.get_room(&room_id) else { continue };
        let missed = missed(&room, timelines, &update).await;
        let come = missed.into_iter().chain(update.timeline.events).filter_map(read).collect();
        timelines.send_if_modified(|timelines| append(timelines, &room_id, come));
    }
    unseal(client, timelines).await;
}

fn append(timelines: &mut Timelines, room: &RoomId, come: Vec<Event>) -> bool {
    let timeline = timelines.entry(room.to_owned()).or_default();
    let mut known: HashSet<_> = timeline.iter().map(|event| event.id.clone()).collect();
    let before = timeline.len();
    timeline.extend(come.into_iter().filter(|event| known.insert(event.id.clone())));
    timeline.len() > before
}

/// The events between those known and those in a sync that says it left some out.
async fn missed(
    room: &Room,
    timelines: &watch::Sender<Timelines>,
    update: &JoinedRoomUpdate,
) -> Vec<TimelineEvent> {
    let known: HashSet<_> = match timelines.borrow().get(room.room_id()) {
        Some(timeline) => timeline.iter().map(|event| event.id.clone()).collect(),
        None => HashSet::new(),
    };
    let mut from = update.timeline.prev_batch.clone();
    // What was before the first sync of a room is its history, and not missed.
    if known.is_empty() || !update.timeline.limited {
        return Vec::new();
    }
    let mut missed = Vec::new();
    while from.is_some() {
        let mut options = MessagesOptions::backward().from(from.as_deref());
        options.limit = UInt::from(100_u32);
        let page = match room.messages(options).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, room = %room.room_id(), "a gap stays in the timeline");
                break;
            }
        };
        let met = |event: &TimelineEvent| event.event_id().is_some_and(|id| known.contains(&id));
        let joined = page.chunk.iter().any(met);
        missed.extend(page.chunk.into_iter().take_while(|event| !met(event)));
        from = page.end.filter(|_| !joined);
    }
    missed.reverse();
    missed
}

async fn unseal(client: &Client, timelines: &watch::Sender<Timelines>) {
    let sealed: Vec<_> = timelines
        .borrow()
        .iter()
        .flat_map(|(room, timeline)| timeline.iter().map(move |event| (room, event)))
        .filter(|(_, event)| event.sealed)
        .map(|(room, event)| (room.clone(), event.id.clone()))
        .collect();
    for (room_id, event_id) in sealed {
        let Some(room) = client.get_room(&room_id) else { continue };
        let event = room.event(&event_id, None).await.ok().and_then(read);
        let Some(event) = event.filter(|event| !event.sealed) else { continue };
        timelines.send_modify(|timelines| {
            let timeline = timelines.get_mut(&room_id).into_iter().flatten();
            for old in timeline.filter(|old| old.id == event_id) {
                old.clone_from(&event);
            }
        });
    }
}

fn read(event: TimelineEvent) -> Option<Event> {
    let (encrypted, sealed) = match event.kind {
        TimelineEventKind::Decrypted(_) => (true, false),
        TimelineEventKind::UnableToDecrypt { .. } => (true, true),
        TimelineEventKind::PlainText { .. } => (false, false),
    };
    let id = event.event_id()?;
    let json = event.raw().deserialize_as_unchecked().ok()?;
    Some(Event { id, json, encrypted, sealed })
}
