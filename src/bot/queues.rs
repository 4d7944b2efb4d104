//! What is to be dealt with in each room, in order: rooms side by side, so that one person's slow
//! command delays nobody else's.
//!
//! A room has a task only while there is something to do in it. What waits is bounded, whatever is
//! said: where too much waits, it is let go, and the room's task reads it from the homeserver once
//! it has dealt with what came before.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use matrix_sdk::{
    deserialized_responses::TimelineEvent,
    ruma::{OwnedRoomId, RoomId},
};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};

/// How many events of one room wait at most, and how many bytes of events in all rooms together.
const MOST_EVENTS: usize = 100;
const MOST_BYTES: usize = 32 << 20;

/// Held by everything that one sync brought, until it is dealt with.
pub(super) type Ticket = Arc<()>;

/// Something for a room's task.
#[derive(Debug)]
pub(super) enum Job {
    /// Who is in the room may have changed. How many look on their own account is bounded by
    /// permits.
    Look(Option<OwnedSemaphorePermit>),
    /// An event, as it was said.
    Event(Box<TimelineEvent>),
    /// Events that are still to be read.
    Gap(Span),
}

impl Job {
    /// How much of memory it takes while it waits, in bytes.
    fn size(&self) -> usize {
        match self {
            Self::Event(event) => event.raw().json().get().len(),
            Self::Look(_) | Self::Gap(_) => 0,
        }
    }
}

/// A part of a room's timeline, between two tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// What is in it was said before this,
    pub(super) before: String,
    /// and not before this.
    pub(super) not_before: String,
}

/// Does what is to be done in a room.
pub(super) trait Attendant: Send + Sync + 'static {
    /// Does one thing.
    fn attend<'a>(&'a self, room: &'a RoomId, job: Job) -> BoxFuture<'a, ()>;
}

/// The rooms in which something is to be done. Cheap to clone.
pub(super) struct Queues<A>(Arc<Inner<A>>);

// Not derived, because that would want the same of `A`.
impl<A> Clone for Queues<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<A> {
    attendant: A,
    rooms: Mutex<Rooms>,
}

#[derive(Default)]
struct Rooms {
    waiting: HashMap<OwnedRoomId, Queue>,
    /// How many bytes wait in all.
    bytes: usize,
    tasks: JoinSet<()>,
    stopped: bool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Job, Option<Ticket>)>,
    /// What was said after that, and let go.
    behind: Option<Behind>,
}

struct Behind {
    span: Span,
    look: bool,
    /// Of the first sync that it is about: those after it are not dealt with before that one.
    ticket: Ticket,
}

impl<A: Attendant> Queues<A> {
    pub(super) fn new(attendant: A) -> Self {
        Self(Arc::new(Inner { attendant, rooms: Mutex::default() }))
    }

    /// Has somebody look who is in a room.
    pub(super) fn look(&self, room: &RoomId, permit: Option<OwnedSemaphorePermit>) {
        self.add(room, |queue| match &mut queue.behind {
            Some(behind) => behind.look = true,
            None if matches!(queue.jobs.back(), Some((Job::Look(_), _))) => {}
            None => queue.jobs.push_back((Job::Look(permit), None)),
        });
    }

    /// Has that dealt with which a sync told of a room. `span` is all that was said there between
    /// this sync and the one before; without one it can be read from nowhere else.
    pub(super) fn deal_with(
        &self,
        room: &RoomId,
        jobs: Vec<Job>,
        span: Option<&Span>,
        ticket: &Ticket,
    ) {
        let size = jobs.iter().map(Job::size).sum::<usize>();
        let is_full = self.rooms().bytes + size > MOST_BYTES;
        let mut taken = 0;
        self.add(room, |queue| {
            let is_long = queue.jobs.len() + jobs.len() > MOST_EVENTS;
            match (&mut queue.behind, span) {
                (Some(behind), Some(span)) => behind.span.before.clone_from(&span.before),
                (None, Some(span)) if is_full || is_long => {
                    let (span, ticket) = (span.clone(), ticket.clone());
                    queue.behind = Some(Behind { span, look: false, ticket });
                }
                _ => {
                    taken = size;
                    queue.jobs.extend(jobs.into_iter().map(|job| (job, Some(ticket.clone()))));
                }
            }
        });
        self.rooms().bytes += taken;
    }

    /// How many rooms have a task.
    #[cfg(test)]
    pub(super) fn at_work(&self) -> usize {
        self.rooms().waiting.len()
    }

    /// Stops all tasks, and waits for that. What was not finished comes again.
    pub(super) async fn stop(&self) {
        let mut tasks = {
            let mut rooms = self.rooms();
            rooms.stopped = true;
            rooms.waiting.clear();
            std::mem::take(&mut rooms.tasks)
        };
        tasks.shutdown().await;
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, room: &RoomId, add: impl FnOnce(&mut Queue)) {
        let mut rooms = self.rooms();
        if rooms.stopped {
            return;
        }
        // What ended is let go.
        while rooms.tasks.try_join_next().is_some() {}
        match rooms.waiting.entry(room.to_owned()) {
            Entry::Occupied(queue) => add(queue.into_mut()),
            Entry::Vacant(place) => {
                add(place.insert(Queue::default()));
                let (queues, room) = (self.clone(), room.to_owned());
                rooms.tasks.spawn(async move { queues.attend(&room).await });
            }
        }
    }

    /// A room's task: one thing after the other, until nothing is left.
    async fn attend(&self, room: &RoomId) {
        while let Some((job, _ticket)) = self.next(room) {
            // Boxed, so that only what is being done takes memory; and a panic over one thing is
            // not the end of the others.
            let done = AssertUnwindSafe(self.0.attendant.attend(room, job)).catch_unwind();
            if done.await.is_err() {
                tracing::error!(%room, "something said in a room made its task panic");
            }
        }
    }

    /// What is to be done next; when nothing is, the room is let go.
    fn next(&self, room: &RoomId) -> Option<(Job, Option<Ticket>)> {
        let mut rooms = self.rooms();
        let queue = rooms.waiting.get_mut(room)?;
        if let Some((job, ticket)) = queue.jobs.pop_front() {
            rooms.bytes = rooms.bytes.saturating_sub(job.size());
            return Some((job, ticket));
        }
        let Some(Behind { span, look, ticket }) = queue.behind.take() else {
            rooms.waiting.remove(room);
            return None;
        };
        if look {
            queue.jobs.push_back((Job::Gap(span), Some(ticket.clone())));
            return Some((Job::Look(None), Some(ticket)));
        }
        Some((Job::Gap(span), Some(ticket)))
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::serde::Raw;
    use serde_json::json;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// Notes what it is to do, and does it when it gets a permit.
    struct Noting {
        noted: mpsc::UnboundedSender<(OwnedRoomId, String)>,
        permits: Semaphore,
    }

    impl Attendant for Noting {
        fn attend<'a>(&'a self, room: &'a RoomId, job: Job) -> BoxFuture<'a, ()> {
            Box::pin(async move {
                self.permits.acquire().await.unwrap().forget();
                let what = match job {
                    Job::Look(_) => "look".to_owned(),
                    Job::Event(event) => event.event_id().unwrap().to_string(),
                    Job::Gap(span) => format!("{}..{}", span.not_before, span.before),
                };
                assert_ne!(what, "$panic");
                self.noted.send((room.to_owned(), what)).unwrap();
            })
        }
    }

    fn queues(permits: usize) -> (Queues<Noting>, mpsc::UnboundedReceiver<(OwnedRoomId, String)>) {
        let (noted, done) = mpsc::unbounded_channel();
        (Queues::new(Noting { noted, permits: Semaphore::new(permits) }), done)
    }

    fn event(id: &str, length: usize) -> Job {
        let event = json!({ "event_id": id, "type": "m.room.message", "body": "x".repeat(length) });
        let event = Raw::new(&event).unwrap().cast_unchecked();
        Job::Event(Box::new(TimelineEvent::from_plaintext(event)))
    }

    fn room(number: usize) -> OwnedRoomId {
        format!("!room{number}:a.example").try_into().unwrap()
    }

    fn span(sync: usize) -> Span {
        Span { not_before: format!("s{sync}"), before: format!("s{}", sync + 1) }
    }

    async fn idle(queues: &Queues<Noting>) {
        while queues.at_work() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_room_has_a_task_only_while_something_is_to_be_done_in_it() {
        let (queues, mut done) = queues(usize::MAX >> 4);
        for number in 0..1000 {
            queues.look(&room(number), None);
            let event = vec![event("$said", 10)];
            queues.deal_with(&room(number), event, Some(&span(0)), &Ticket::default());
        }
        idle(&queues).await;
        for _ in 0..2000 {
            done.try_recv().unwrap();
        }
        assert_eq!(queues.rooms().bytes, 0);
        queues.look(&room(0), None);
        assert!(queues.rooms().tasks.len() <= 1, "what ended is let go");
        idle(&queues).await;
        assert_eq!(done.try_recv().unwrap().1, "look");
    }

    #[tokio::test]
    async fn a_flood_takes_no_memory_and_is_read_later_in_its_order() {
        let (queues, mut done) = queues(0);
        let tickets: Vec<_> = (0..200).map(|_| Ticket::default()).collect();
        for (sync, ticket) in tickets.iter().enumerate() {
            let jobs = (0..10).map(|number| event(&format!("$flood{sync}-{number}"), 60_000));
            queues.deal_with(&room(0), jobs.collect(), Some(&span(sync)), ticket);
        }
        queues.look(&room(0), None);
        assert!(queues.rooms().bytes <= MOST_BYTES);
        assert!(queues.rooms().waiting[&room(0)].jobs.len() <= MOST_EVENTS);
        let open = tickets.iter().filter(|ticket| Arc::strong_count(ticket) > 1);
        assert_eq!(open.count(), 11, "the first that was let go stands for those after it");
        queues.0.attendant.permits.add_permits(1000);
        idle(&queues).await;
        let noted: Vec<_> = std::iter::from_fn(|| done.try_recv().ok()).map(|(_, it)| it).collect();
        assert_eq!(noted.len(), MOST_EVENTS + 2);
        assert_eq!(noted[99], "$flood9-9");
        assert_eq!(noted[100..], ["look", "s10..s200"]);
        assert!(tickets.iter().all(|ticket| Arc::strong_count(ticket) == 1));
    }

    #[tokio::test]
    async fn floods_in_many_rooms_take_no_more_memory_together() {
        let (queues, _done) = queues(0);
        for number in 0..1000 {
            let jobs = (0..50).map(|_| event("$flood", 60_000)).collect();
            queues.deal_with(&room(number), jobs, Some(&span(0)), &Ticket::default());
        }
        assert!(queues.rooms().bytes <= MOST_BYTES);
        queues.stop().await;
        assert_eq!(queues.at_work(), 0);
    }

    #[tokio::test]
    async fn a_panic_over_one_event_ends_neither_the_room_nor_the_bot() {
        let (queues, mut done) = queues(10);
        let jobs = vec![event("$panic", 0), event("$next", 0)];
        queues.deal_with(&room(0), jobs, Some(&span(0)), &Ticket::default());
        idle(&queues).await;
        assert_eq!(done.try_recv().unwrap().1, "$next");
    }
}
