//! What the homeserver tells: handed on to a task for each room, so that one person's slow command
//! delays nobody else's.
//!
//! matrix-sdk remembers how far it has read before anything was done about it. So the bot remembers
//! for itself up to where everything is dealt with, and after a restart asks for what came since.
//! What was dealt with already is known by its event ID.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use matrix_sdk::{
    config::{SyncSettings, SyncToken},
    deserialized_responses::TimelineEvent,
    room::MessagesOptions,
    ruma::{
        OwnedRoomId, RoomId,
        api::client::{
            filter::{FilterDefinition, RoomEventFilter},
            sync::sync_events,
        },
        assign,
        events::TimelineEventType,
        presence::PresenceState,
        uint,
    },
    sync::{JoinedRoomUpdate, State, SyncResponse},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    End,
    inbox::{self, Undone},
    retry::{Backoff, Fate, fate, until_final},
    rooms,
    shared::Bot,
};
use crate::store::StoreError;

/// How long the homeserver may hold a sync when nothing happens.
const LONG_POLL: Duration = Duration::from_secs(30);

/// How many pages of what a sync left out of one room are read, of a hundred events each: what is
/// further back was said to nobody who waits.
const MOST_PAGES: usize = 50;

/// Held by everything that one sync brought, until it is dealt with.
type Ticket = Arc<()>;

/// Something for a room's task.
enum Job {
    /// An event, as it was said.
    Event(Box<TimelineEvent>),
    /// Events that a sync left out because there were too many: those before the first token, and
    /// not before the second.
    Gap { before: String, not_before: String },
    /// Who is in the room may have changed.
    Look,
    /// An invitation to the room.
    Invitation,
}

/// Reads what happens, until the session is gone.
pub(super) struct Sync {
    bot: Arc<Bot>,
    rooms: HashMap<OwnedRoomId, mpsc::UnboundedSender<(Job, Ticket)>>,
    /// Each job that was not finished when they are stopped comes again.
    tasks: JoinSet<()>,
    /// What is not dealt with as a whole yet: where it ends, and what is held by what came with it.
    open: VecDeque<(String, Weak<()>)>,
    /// Up to where was read.
    read_until: Option<String>,
}

impl Sync {
    pub(super) fn new(bot: Arc<Bot>) -> Self {
        Self {
            bot,
            rooms: HashMap::new(),
            tasks: JoinSet::new(),
            open: VecDeque::new(),
            read_until: None,
        }
    }

    /// Reads for the first time after a start, and hands on what the last run left undone.
    pub(super) async fn begin(&mut self) -> Result<(), End> {
        if let Some(since) = self.bot.shared.records.handled_until()? {
            self.catch_up(since).await?;
        }
        self.once(Duration::ZERO).await?;
        let ticket = Ticket::default();
        for room in self.bot.client.invited_rooms() {
            self.hand_on(room.room_id(), Job::Invitation, &ticket);
        }
        for room in self.bot.client.joined_rooms() {
            self.hand_on(room.room_id(), Job::Look, &ticket);
        }
        Ok(())
    }

    /// Goes on reading.
    pub(super) async fn go_on(&mut self) -> End {
        loop {
            if let Err(end) = self.once(LONG_POLL).await {
                return end;
            }
        }
    }

    /// Stops the tasks of all rooms, and waits for that.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// What was said since everything was dealt with. A plain request: given an older token,
    /// matrix-sdk would take the answer for one that it has seen, and give back nothing.
    async fn catch_up(&mut self, since: String) -> Result<(), End> {
        let request = assign!(sync_events::v3::Request::new(), {
            filter: Some(filter().into()),
            since: Some(since.clone()),
            set_presence: PresenceState::Online,
            timeout: Some(Duration::ZERO),
        });
        let mut backoff = Backoff::new(self.bot.shared.clock.clone());
        let response = loop {
            match self.bot.client.send(request.clone()).await {
                Ok(response) => break response,
                Err(error) => self.survive(&error.into(), &mut backoff).await?,
            }
        };
        let ticket = Ticket::default();
        for (room, update) in response.rooms.join {
            let timeline = update.timeline;
            self.fill_gap(&room, timeline.limited, timeline.prev_batch, Some(&since), &ticket);
            for event in timeline.events {
                let event = TimelineEvent::from_plaintext(event);
                self.hand_on(&room, Job::Event(Box::new(event)), &ticket);
            }
        }
        self.open.push_back((response.next_batch, Arc::downgrade(&ticket)));
        self.read_until = Some(since);
        Ok(())
    }

    /// One sync, tried until it succeeds. matrix-sdk takes whatever the bot's own homeserver answers, as
    /// it must: that is bounded by the [`filter`], of which that homeserver could take no notice, but
    /// it could as well answer nothing.
    async fn once(&mut self, long_poll: Duration) -> Result<(), End> {
        let settings = SyncSettings::new()
            .token(SyncToken::ReusePrevious)
            .timeout(long_poll)
            .filter(filter().into());
        let mut backoff = Backoff::new(self.bot.shared.clock.clone());
        let mut was_away = false;
        let response = loop {
            match self.bot.client.sync_once(settings.clone()).await {
                Ok(response) => break response,
                Err(error) => {
                    if !was_away && fate(&error) != Fate::SessionGone {
                        tracing::warn!(%error, "the bot's homeserver does not answer; waiting for it");
                        was_away = true;
                    }
                    self.survive(&error, &mut backoff).await?;
                }
            }
        };
        if was_away {
            tracing::info!("the bot's homeserver answers again");
        }
        self.distribute(response);
        self.remember().await?;
        Ok(())
    }

    async fn survive(&self, error: &matrix_sdk::Error, backoff: &mut Backoff) -> Result<(), End> {
        match fate(error) {
            Fate::SessionGone => Err(End::SessionGone),
            Fate::Passing(told) => {
                backoff.wait(told).await;
                Ok(())
            }
            // An answer that makes no sense may make sense the next time.
            Fate::Final => {
                backoff.wait(None).await;
                Ok(())
            }
        }
    }

    fn distribute(&mut self, response: SyncResponse) {
        let ticket = Ticket::default();
        let since = self.read_until.replace(response.next_batch.clone());
        for (room, update) in response.rooms.joined {
            self.hand_on_update(&room, update, since.as_deref(), &ticket);
        }
        for room in response.rooms.invited.keys() {
            self.hand_on(room, Job::Invitation, &ticket);
        }
        for room in response.rooms.left.keys() {
            self.hand_on(room, Job::Look, &ticket);
        }
        self.open.push_back((response.next_batch, Arc::downgrade(&ticket)));
    }

    fn hand_on_update(
        &mut self,
        room: &RoomId,
        update: JoinedRoomUpdate,
        since: Option<&str>,
        ticket: &Ticket,
    ) {
        if company_may_have_changed(&update) {
            self.hand_on(room, Job::Look, ticket);
        }
        let timeline = update.timeline;
        self.fill_gap(room, timeline.limited, timeline.prev_batch, since, ticket);
        for event in timeline.events {
            self.hand_on(room, Job::Event(Box::new(event)), ticket);
        }
    }

    fn fill_gap(
        &mut self,
        room: &RoomId,
        limited: bool,
        before: Option<String>,
        since: Option<&str>,
        ticket: &Ticket,
    ) {
        if let (true, Some(before), Some(not_before)) = (limited, before, since) {
            self.hand_on(room, Job::Gap { before, not_before: not_before.to_owned() }, ticket);
        }
    }

    fn hand_on(&mut self, room: &RoomId, job: Job, ticket: &Ticket) {
        let (bot, tasks) = (&self.bot, &mut self.tasks);
        let mut begin = || {
            let (queue, jobs) = mpsc::unbounded_channel();
            tasks.spawn(attend(bot.clone(), room.to_owned(), jobs));
            queue
        };
        let queue = self.rooms.entry(room.to_owned()).or_insert_with(&mut begin);
        if queue.is_closed() {
            tracing::error!(%room, "the task of a room has died; it gets another");
            *queue = begin();
        }
        let _ = queue.send((job, ticket.clone()));
    }

    /// Writes down up to where everything is dealt with.
    async fn remember(&mut self) -> Result<(), StoreError> {
        let mut done = None;
        while self.open.front().is_some_and(|(_, held)| held.strong_count() == 0) {
            done = self.open.pop_front();
        }
        match done {
            Some((token, _)) => self.bot.shared.records.set_handled_until(&token).await,
            None => Ok(()),
        }
    }
}

/// Little: the bot needs no presence, no receipts, and nobody's avatar.
fn filter() -> FilterDefinition {
    let mut filter = FilterDefinition::default();
    filter.presence.types = Some(Vec::new());
    filter.room.ephemeral.types = Some(Vec::new());
    filter.room.timeline = assign!(RoomEventFilter::default(), { limit: Some(uint!(50)) });
    filter
}

fn company_may_have_changed(update: &JoinedRoomUpdate) -> bool {
    // Who is there, who may come, and who may read.
    let is_of_company = |kind: Option<TimelineEventType>| {
        matches!(
            kind,
            Some(
                TimelineEventType::RoomMember
                    | TimelineEventType::RoomJoinRules
                    | TimelineEventType::RoomHistoryVisibility
                    | TimelineEventType::RoomEncryption
                    | TimelineEventType::RoomThirdPartyInvite
            )
        )
    };
    let (State::Before(state) | State::After(state)) = &update.state;
    state.iter().any(|event| is_of_company(event.get_field("type").ok().flatten()))
        || update
            .timeline
            .events
            .iter()
            .any(|event| is_of_company(event.raw().get_field("type").ok().flatten()))
}

/// A room's task: one job after the other.
async fn attend(
    bot: Arc<Bot>,
    room: OwnedRoomId,
    mut jobs: mpsc::UnboundedReceiver<(Job, Ticket)>,
) {
    while let Some((job, _ticket)) = jobs.recv().await {
        if let Err(error) = attend_to(&bot, &room, job).await {
            tracing::error!(%room, %error, "something said in a room could not be dealt with");
        }
    }
}

async fn attend_to(bot: &Bot, room: &RoomId, job: Job) -> Result<(), Undone> {
    let Some(room) = bot.client.get_room(room) else { return Ok(()) };
    match job {
        Job::Event(event) => inbox::receive(bot, &room, *event).await,
        Job::Gap { before, not_before } => fill(bot, &room, before, not_before).await,
        Job::Look => rooms::look(bot, &room).await,
        Job::Invitation => {
            rooms::accept_invitation(bot, &room).await;
            Ok(())
        }
    }
}

/// Reads what a sync left out, and deals with it in the order in which it was said. It is told page by
/// page, newest first; only where the pages begin is kept, and each is read again when its turn comes,
/// since there may be as many as somebody cares to send.
async fn fill(
    bot: &Bot,
    room: &matrix_sdk::Room,
    before: String,
    not_before: String,
) -> Result<(), Undone> {
    let mut pages = Pages::default();
    let mut page = read_page(bot, room, &before, &not_before).await?;
    while let Some(next) = pages.before(page.from.clone(), page.next.take()) {
        page = read_page(bot, room, &next, &not_before).await?;
    }
    if pages.is_full() {
        tracing::warn!(room = %room.room_id(), "more was said than is read: the oldest is left out");
    }
    loop {
        for event in page.events.into_iter().rev() {
            inbox::receive(bot, room, event).await?;
        }
        let Some(later) = pages.later() else { return Ok(()) };
        page = read_page(bot, room, &later, &not_before).await?;
    }
}

/// Where the pages of a gap begin, newest first.
#[derive(Debug, Default)]
struct Pages(Vec<String>);

impl Pages {
    /// After a page was read that begins at `from`: where the page before it does, if that is to be
    /// read as well.
    fn before(&mut self, from: String, next: Option<String>) -> Option<String> {
        let next = next.filter(|_| !self.is_full())?;
        self.0.push(from);
        Some(next)
    }

    fn is_full(&self) -> bool {
        self.0.len() + 1 >= MOST_PAGES
    }

    /// Where the page after the one begins that was dealt with last.
    fn later(&mut self) -> Option<String> {
        self.0.pop()
    }
}

/// Part of what a sync left out.
struct Page {
    from: String,
    /// Newest first.
    events: Vec<TimelineEvent>,
    /// Where the page before it begins, unless it is the oldest one.
    next: Option<String>,
}

async fn read_page(
    bot: &Bot,
    room: &matrix_sdk::Room,
    from: &str,
    not_before: &str,
) -> Result<Page, Undone> {
    let messages = until_final(&bot.shared.clock, || async {
        let options = MessagesOptions::backward().from(from);
        let to = Some(not_before.to_owned());
        room.messages(assign!(options, { to, limit: uint!(100) })).await
    })
    .await?;
    let is_last = messages.chunk.is_empty() || messages.end.as_deref() == Some(not_before);
    let next = messages.end.filter(|_| !is_last);
    Ok(Page { from: from.to_owned(), events: messages.chunk, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_in_the_order_in_which_they_were_said_and_only_so_many() {
        let mut pages = Pages::default();
        let mut read = vec![0];
        let mut from = 0;
        while let Some(next) = pages.before(from.to_string(), Some((from + 1).to_string())) {
            from = next.parse().unwrap();
            read.push(from);
        }
        assert_eq!(read.len(), MOST_PAGES);
        assert!(pages.is_full());
        let mut dealt_with = vec![from];
        while let Some(later) = pages.later() {
            dealt_with.push(later.parse().unwrap());
        }
        read.reverse();
        assert_eq!(dealt_with, read);
    }

    #[test]
    fn a_gap_of_one_page_is_read_once() {
        let mut pages = Pages::default();
        assert_eq!(pages.before("a".to_owned(), None), None);
        assert!(!pages.is_full());
        assert_eq!(pages.later(), None);
    }
}
