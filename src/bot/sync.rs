//! What the homeserver tells: handed on to a [queue](super::queues) for each room.
//!
//! matrix-sdk remembers how far it has read before anything was done about it. So the bot remembers
//! for itself up to where everything is dealt with, and after a restart asks for what came since.
//! What was dealt with already is known by its event ID, until the bot remembers to be past it.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::BoxFuture;
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
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    End,
    inbox::{self, Undone},
    invitations::Invitations,
    queues::{Attendant, Job, Queues, Span, Ticket},
    retry::{Backoff, Fate, fate, until_final},
    rooms,
    shared::Bot,
};
use crate::store::StoreError;

/// How long the homeserver may hold a sync when nothing happens.
const LONG_POLL: Duration = Duration::from_secs(30);
/// How many rooms are looked at at once after a start.
const LOOKS: u32 = 16;
/// How many pages of what a sync left out of one room are read, of a hundred events each: what is
/// further back was said to nobody who waits.
const MOST_PAGES: usize = 50;

/// How long the last of them may take before people are invited who seem to have no chat.
const LOOKED: Duration = Duration::from_secs(60);

/// Reads what happens, until the session is gone.
pub(super) struct Sync {
    bot: Arc<Bot>,
    queues: Queues<Arc<Bot>>,
    invitations: Invitations<Arc<Bot>>,
    tasks: JoinSet<()>,
    /// What is not dealt with as a whole yet.
    open: VecDeque<Open>,
    /// Up to where was read.
    read_until: Option<String>,
}

/// What one sync brought.
struct Open {
    /// Where it ends.
    until: String,
    /// Held by what came with it.
    held: Weak<()>,
    /// Less than the numbers of the marks of what came with it.
    mark: u64,
}

impl Open {
    fn is_done(&self) -> bool {
        self.held.strong_count() == 0
    }
}

impl Sync {
    pub(super) fn new(bot: Arc<Bot>) -> Self {
        Self {
            queues: Queues::new(bot.clone()),
            invitations: Invitations::new(bot.clone()),
            bot,
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
        for room in self.bot.client.invited_rooms() {
            self.invitations.add_room(&room).await;
        }
        self.look_everywhere();
        Ok(())
    }

    /// Has all rooms looked at, some at a time.
    fn look_everywhere(&mut self) {
        let rooms = self.bot.client.joined_rooms();
        let rooms: Vec<OwnedRoomId> =
            rooms.into_iter().map(|room| room.room_id().to_owned()).collect();
        let (bot, queues) = (self.bot.clone(), self.queues.clone());
        self.tasks.spawn(async move {
            let permits = Arc::new(Semaphore::new(LOOKS as usize));
            for room in rooms {
                // It is never closed.
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                queues.look(&room, Some(permit));
            }
            tokio::select! {
                _ = permits.acquire_many(LOOKS) => {}
                () = bot.shared.clock.sleep(LOOKED) => {}
            }
            bot.chats.set_complete();
            bot.company_changed.send_modify(|count| *count += 1);
        });
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
        self.queues.stop().await;
        self.invitations.stop().await;
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
        let mark = self.bot.shared.migrations.next_mark()?;
        let response = loop {
            match self.bot.client.send(request.clone()).await {
                Ok(response) => break response,
                Err(error) => self.survive(&error.into(), &mut backoff).await?,
            }
        };
        let ticket = Ticket::default();
        let span = Span { before: response.next_batch.clone(), not_before: since.clone() };
        for (room, update) in response.rooms.join {
            let timeline = update.timeline;
            let gap = gap(timeline.limited, timeline.prev_batch, Some(&since));
            let events = timeline.events.into_iter().map(TimelineEvent::from_plaintext).map(said);
            let jobs = gap.into_iter().chain(events).collect();
            self.queues.deal_with(&room, jobs, Some(&span), &ticket);
        }
        self.opened(response.next_batch, &ticket, mark);
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
        let mark = self.bot.shared.migrations.next_mark()?;
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
        self.distribute(response, mark).await;
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

    async fn distribute(&mut self, response: SyncResponse, mark: u64) {
        let ticket = Ticket::default();
        let since = self.read_until.replace(response.next_batch.clone());
        let span = since.map(|not_before| Span { before: response.next_batch.clone(), not_before });
        for (room, update) in response.rooms.joined {
            self.hand_on(&room, update, span.as_ref(), &ticket);
        }
        for room in response.rooms.invited.keys() {
            if let Some(room) = self.bot.client.get_room(room) {
                self.invitations.add_room(&room).await;
            }
        }
        for room in response.rooms.left.keys() {
            self.queues.look(room, None);
        }
        self.opened(response.next_batch, &ticket, mark);
    }

    fn hand_on(
        &mut self,
        room: &RoomId,
        update: JoinedRoomUpdate,
        span: Option<&Span>,
        ticket: &Ticket,
    ) {
        if company_may_have_changed(&update) {
            self.queues.look(room, None);
        }
        let timeline = update.timeline;
        let since = span.map(|span| span.not_before.as_str());
        let gap = gap(timeline.limited, timeline.prev_batch, since);
        let jobs: Vec<_> = gap.into_iter().chain(timeline.events.into_iter().map(said)).collect();
        if !jobs.is_empty() {
            self.queues.deal_with(room, jobs, span, ticket);
        }
    }

    /// Notes what one sync brought. One that is dealt with already, and waits only for one before it,
    /// gives its place to the next: so no more are kept than are held by something.
    fn opened(&mut self, until: String, ticket: &Ticket, mark: u64) {
        let held = Arc::downgrade(ticket);
        let waits = self.open.len() > 1 && self.open.back().is_some_and(Open::is_done);
        match self.open.back_mut().filter(|_| waits) {
            // What came with the one before was marked after that one's number.
            Some(last) => *last = Open { until, held, mark: last.mark },
            None => self.open.push_back(Open { until, held, mark }),
        }
    }

    /// Writes down up to where everything is dealt with.
    async fn remember(&mut self) -> Result<(), StoreError> {
        let mut done = None;
        while self.open.front().is_some_and(Open::is_done) {
            done = self.open.pop_front();
        }
        let Some(Open { until, .. }) = done else { return Ok(()) };
        self.bot.shared.records.set_handled_until(&until).await?;
        let migrations = &self.bot.shared.migrations;
        let before = match self.open.front() {
            Some(open) => open.mark,
            None => migrations.next_mark()?,
        };
        migrations.settle(before).await
    }
}

fn said(event: TimelineEvent) -> Job {
    Job::Event(Box::new(event))
}

/// What a sync left out because there was too much.
fn gap(limited: bool, before: Option<String>, since: Option<&str>) -> Option<Job> {
    let (before, not_before) = (before.filter(|_| limited)?, since?.to_owned());
    Some(Job::Gap(Span { before, not_before }))
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
    let is_member = |kind: Option<TimelineEventType>| kind == Some(TimelineEventType::RoomMember);
    let (State::Before(state) | State::After(state)) = &update.state;
    state.iter().any(|event| is_member(event.get_field("type").ok().flatten()))
        || update
            .timeline
            .events
            .iter()
            .any(|event| is_member(event.raw().get_field("type").ok().flatten()))
}

impl Attendant for Arc<Bot> {
    fn attend<'a>(&'a self, room: &'a RoomId, job: Job) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = attend_to(self, room, job).await {
                tracing::error!(%room, %error, "something said in a room could not be dealt with");
            }
        })
    }
}

async fn attend_to(bot: &Bot, room: &RoomId, job: Job) -> Result<(), Undone> {
    let Some(room) = bot.client.get_room(room) else { return Ok(()) };
    match job {
        Job::Event(event) => inbox::receive(bot, &room, *event).await,
        Job::Gap(Span { before, not_before }) => fill(bot, &room, before, not_before).await,
        Job::Look(_permit) => rooms::look(bot, &room).await,
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
