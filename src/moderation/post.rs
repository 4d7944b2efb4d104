//! Sending: each request once, at a pace that is shared by all migrations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Weak,
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, events::room::member::MembershipState};
use tokio_util::sync::CancellationToken;

use super::{
    Choice, Inner, InviteRequest, Posted, RequestState, Way,
    ask::transaction,
    attend::End,
    choose::choose,
    content,
    read::{membership, settings},
};
use crate::{
    clock::{SharedClock, Timestamp},
    homeserver::{Account, Failure},
    migration::{Event, Follower, Migration, MigrationId, Side, ToModerator, Unanswered},
    store::{Batch, StoreError},
};

/// The time between two messages to moderators, over all migrations: a homeserver with Synapse's
/// own limits lets an account send 0.2 messages a second.
pub(super) const POST_EVERY: Duration = Duration::from_secs(5);

/// How long a homeserver is left alone that did not do what it was asked for.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Lets one message through at a time, whoever sends it; each waits for its turn in order.
#[derive(Debug)]
pub(super) struct Gate {
    clock: SharedClock,
    next: tokio::sync::Mutex<Option<Timestamp>>,
}

impl Gate {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, next: tokio::sync::Mutex::default() }
    }

    /// Waits for the turn to post one message. Whether it came before `stop`.
    pub(super) async fn pass(&self, stop: &CancellationToken) -> bool {
        let pass = async {
            let mut next = self.next.lock().await;
            if let Some(next) = *next {
                let left = next.duration_since(self.clock.now());
                self.clock.sleep(Duration::try_from(left).unwrap_or_default()).await;
            }
            *next = Some(self.clock.now() + POST_EVERY);
        };
        tokio::select! {
            () = pass => true,
            () = stop.cancelled() => false,
        }
    }
}

impl Inner {
    /// Sends what is to be sent in one migration, until `stop`.
    pub(super) async fn post_all(
        &self,
        id: MigrationId,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let mut changed = self.changed.subscribe();
        // What would be one direct message too many, and until when. The others pass it.
        let mut later: BTreeMap<OwnedRoomId, Timestamp> = BTreeMap::new();
        loop {
            changed.mark_unchanged();
            let now = self.clock.now();
            later.retain(|_, at| *at > now);
            let requests = self.records.of(id)?;
            let stale = requests.iter().find(|request| request.to_be_closed);
            let unsent = || {
                requests.iter().find(|request| {
                    matches!(request.state, RequestState::Planned | RequestState::Sending)
                        && !later.contains_key(&request.room_id)
                })
            };
            let posted = match stale.or_else(unsent) {
                None => {
                    tokio::select! {
                        _ = changed.changed() => continue,
                        () = self.sleep_until(later.values().min().copied()) => continue,
                        () = stop.cancelled() => return Ok(()),
                    }
                }
                Some(_) if !self.gate.pass(stop).await => return Ok(()),
                Some(request) if request.to_be_closed => self.close_now(request, stop).await,
                Some(request) => match self.post(request, stop).await {
                    Ok(Some(at)) => {
                        tracing::info!(migration = %id, room = %request.room_id, until = %at,
                            "moderators are asked later: so many were by now");
                        later.insert(request.room_id.clone(), at);
                        Ok(())
                    }
                    posted => posted.map(drop),
                },
            };
            match posted {
                Ok(()) => {}
                Err(End::Failed(failure)) => {
                    tracing::info!(migration = %id, %failure, "moderators cannot be asked yet");
                    tokio::select! {
                        () = self.clock.sleep(AFTER_FAILURE) => {}
                        () = stop.cancelled() => return Ok(()),
                    }
                }
                Err(end) => return Err(end),
            }
        }
    }

    async fn sleep_until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => {
                let left = at.duration_since(self.clock.now());
                self.clock.sleep(Duration::try_from(left).unwrap_or_default()).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Chooses the way that is best now, and goes it; the next best when the homeserver refuses.
    /// Tells until when to wait where the best is a direct message, and there were enough of them.
    async fn post(
        &self,
        request: &InviteRequest,
        stop: &CancellationToken,
    ) -> Result<Option<Timestamp>, End> {
        let (id, room) = (request.migration, &request.room_id);
        let old = self.account(id, Side::Old, stop).await?;
        let migration = self.migrations.get(id).map_err(|_| End::Stopped)?;
        let mut failed = BTreeSet::new();
        let mut why = None;
        // What was being sent when the bot was killed is sent in the same way.
        let mut request = request.clone();
        let mut chosen = request.state == RequestState::Sending;
        loop {
            if !chosen {
                let asker = self.asker(&migration, &old)?;
                let setting = settings(&asker, std::slice::from_ref(room)).await?;
                let Some(setting) = setting.get(room) else { return Ok(None) };
                if let Some(by) = self.stopped_by(room, setting)? {
                    self.refuse(id, room, by, RequestState::Stopped).await?;
                    return Ok(None);
                }
                let (way, asked, more) = match choose(setting, &failed) {
                    Choice::Opened => {
                        self.opened(id, room, None).await?;
                        return Ok(None);
                    }
                    Choice::OutOfRoom => {
                        self.end_all(id, &[room], Unanswered::OutOfRoom).await?;
                        return Ok(None);
                    }
                    Choice::Nobody => {
                        self.not_asked(id, room, why).await?;
                        return Ok(None);
                    }
                    Choice::Ask { way: Way::DirectMessage, more, .. } => {
                        match self.pick(&request, &setting.moderators).await? {
                            Ok(moderator) => (Way::DirectMessage, vec![moderator], more),
                            Err(at) => return Ok(Some(at)),
                        }
                    }
                    Choice::Ask { way, asked, more } => (way, asked, more),
                };
                let Some(changed) = self.begin(id, room, way, asked, more).await? else {
                    return Ok(None);
                };
                request = changed;
            }
            chosen = false;
            let Some(way) = request.way else { return Ok(None) };
            match self.send(&request, way, &old, stop).await {
                Err(End::Failed(failure)) if !failure.is_retryable() => {
                    failed.insert(way);
                    why = Some(failure);
                }
                sent => return sent.map(|()| None),
            }
        }
    }

    /// Writes down that a request is being sent, before it is. Nothing when it came to an end
    /// meanwhile.
    async fn begin(
        &self,
        id: MigrationId,
        room: &RoomId,
        way: Way,
        asked: Vec<ruma::OwnedUserId>,
        more: usize,
    ) -> Result<Option<InviteRequest>, StoreError> {
        let request = self
            .records
            .change(id, room, |request| {
                if request.state.is_live() {
                    request.choose(way, asked, more);
                    request.state = RequestState::Sending;
                }
            })
            .await?;
        Ok(request.filter(|request| request.state == RequestState::Sending))
    }

    async fn send(
        &self,
        request: &InviteRequest,
        way: Way,
        old: &Account,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let (id, room) = (request.migration, &request.room_id);
        match way {
            Way::Knock => {
                let new = self.account(id, Side::New, stop).await?;
                if membership(old, room, &request.new).await? != Some(MembershipState::Knock) {
                    let reason = self.words.knock_reason(request);
                    new.knock(room, self.via(request), reason).await?;
                }
                self.sent(id, room, None).await?;
            }
            Way::Message => {
                let text = self.words.request(request);
                let content = content::request(request, &text);
                let event_id =
                    self.say(id, old, room, &content, &transaction(request, "ask")).await?;
                let room_id = room.clone();
                self.sent(id, room, Some(Posted { room_id, event_id })).await?;
            }
            Way::DirectMessage => {
                let Some(moderator) = request.asked.first() else { return Ok(()) };
                let _turn = self.records.turn(id).await;
                let mut open = request.clone();
                open.state = RequestState::Open;
                open.asked_at = Some(self.clock.now());
                let mut batch = Batch::new();
                self.records.put(&mut batch, &open)?;
                self.migrations
                    .tell_moderator(id, moderator, room, ToModerator::Request, batch)
                    .await?;
            }
        }
        tracing::debug!(migration = %id, %room, ?way, "moderators were asked");
        self.tell_changed();
        Ok(())
    }

    async fn sent(
        &self,
        id: MigrationId,
        room: &RoomId,
        message: Option<Posted>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.records
            .change(id, room, |request| {
                if request.state == RequestState::Sending {
                    request.state = RequestState::Open;
                } else {
                    // It was answered before it was written down that it was sent.
                    request.to_be_closed = message.is_some();
                }
                request.asked_at = Some(now);
                request.message = message;
            })
            .await
            .map(drop)
    }

    fn via(&self, request: &InviteRequest) -> Vec<OwnedServerName> {
        let plan = self.migrations.current_plan(request.migration);
        let planned = plan.ok().and_then(|plan| {
            let mut rooms = plan.rooms.into_iter();
            rooms.find(|planned| planned.room.id.as_str() == request.room_id.as_str())
        });
        planned.map(|planned| planned.via).unwrap_or_default()
    }

    async fn close_now(
        &self,
        request: &InviteRequest,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let old = self.maybe_account(request.migration, Side::Old, stop).await?;
        let new = self.maybe_account(request.migration, Side::New, stop).await?;
        self.close(request, old.as_ref(), new.as_ref()).await
    }

    async fn maybe_account(
        &self,
        id: MigrationId,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<Option<Account>, End> {
        match self.account(id, side, stop).await {
            Ok(account) => Ok(Some(account)),
            Err(End::NoAccess) => Ok(None),
            Err(end) => Err(end),
        }
    }

    /// Makes what was sent say how it ended, so that nobody acts on it any more.
    pub(super) async fn close(
        &self,
        request: &InviteRequest,
        old: Option<&Account>,
        new: Option<&Account>,
    ) -> Result<(), End> {
        let (id, room) = (request.migration, &request.room_id);
        match (request.way, &request.message, request.asked.first()) {
            (Some(Way::Message), Some(message), _) => {
                let Some(old) = old else { return Ok(()) };
                let content =
                    content::ended(request, &message.event_id, &self.words.ended(request));
                let state = transaction(request, "ended");
                match self.say(id, old, &message.room_id, &content, &state).await {
                    // The old account may not be there any more, or not be able to encrypt.
                    Ok(_)
                    | Err(
                        Failure::Refused { .. }
                        | Failure::Unsendable(_)
                        | Failure::Unencryptable(_),
                    ) => {}
                    Err(failure) => return Err(failure.into()),
                }
            }
            (Some(Way::DirectMessage), Some(_), Some(moderator)) => {
                let batch = Batch::new();
                self.migrations
                    .tell_moderator(id, moderator, room, ToModerator::Ended, batch)
                    .await?;
            }
            (Some(Way::Knock), ..) => {
                if let Some(new) = new {
                    match new.take_back_knock(room).await {
                        Ok(()) | Err(Failure::Refused { .. }) => {}
                        Err(failure) => return Err(failure.into()),
                    }
                }
            }
            _ => {}
        }
        self.records.change(id, room, |request| request.to_be_closed = false).await?;
        Ok(())
    }

    /// There is nobody to be asked, or no way to.
    async fn not_asked(
        &self,
        id: MigrationId,
        room: &RoomId,
        why: Option<Failure>,
    ) -> Result<(), StoreError> {
        let _turn = self.records.turn(id).await;
        let Some(mut request) = self.records.request(id, room)? else { return Ok(()) };
        request.end(RequestState::NotAsked(why), None);
        let mut batch = Batch::new();
        self.records.put(&mut batch, &request)?;
        let rooms = [room.to_owned()].into();
        let event = Event::RequestsEnded { rooms: vec![request.room], why: Unanswered::NotAsked };
        self.migrations.unopened(id, &rooms, event, batch).await
    }

    /// No answer is waited for any more in these rooms.
    pub(super) async fn end_all(
        &self,
        id: MigrationId,
        rooms: &[impl AsRef<RoomId>],
        why: Unanswered,
    ) -> Result<(), StoreError> {
        let _turn = self.records.turn(id).await;
        let mut batch = Batch::new();
        let (mut ended, mut labels) = (BTreeSet::new(), Vec::new());
        for room in rooms {
            let Some(mut request) = self.records.request(id, room.as_ref())? else { continue };
            if !request.state.is_live() {
                continue;
            }
            request.end(
                match why {
                    Unanswered::Expired => RequestState::Expired,
                    Unanswered::OutOfRoom => RequestState::OutOfRoom,
                    Unanswered::NotAsked => RequestState::NotAsked(None),
                },
                None,
            );
            // A knock that nobody answered is taken back.
            request.to_be_closed |= request.way == Some(Way::Knock);
            self.records.put(&mut batch, &request)?;
            ended.insert(request.room_id);
            labels.push(request.room);
        }
        if ended.is_empty() {
            return Ok(());
        }
        let event = Event::RequestsEnded { rooms: labels, why };
        self.migrations.unopened(id, &ended, event, batch).await?;
        self.tell_changed();
        Ok(())
    }
}

/// Takes back what moderators were asked, when a migration is cancelled.
#[derive(Debug)]
pub(super) struct Closing(pub(super) Weak<Inner>);

impl Follower for Closing {
    fn take_leave<'a>(
        &'a self,
        migration: &'a Migration,
        old: Option<Account>,
        new: Option<Account>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let Some(inner) = self.0.upgrade() else { return Ok(()) };
            for request in inner.records.of(migration.id)? {
                let request = inner.withdraw(&request).await?;
                let Some(request) = request.filter(|request| request.to_be_closed) else {
                    continue;
                };
                match inner.close(&request, old.as_ref(), new.as_ref()).await {
                    Err(End::Store(error)) => return Err(error),
                    Err(End::Stopped) => return Ok(()),
                    Err(end) => tracing::info!(room = %request.room_id, ?end, "not taken back"),
                    Ok(()) => {}
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn forget(&self, batch: &mut Batch, migration: MigrationId) -> Result<(), StoreError> {
        match self.0.upgrade() {
            Some(inner) => inner.records.forget(batch, migration),
            None => Ok(()),
        }
    }
}

impl Inner {
    async fn withdraw(&self, request: &InviteRequest) -> Result<Option<InviteRequest>, StoreError> {
        self.records
            .change(request.migration, &request.room_id, |request| {
                if request.state.is_live() {
                    request.end(RequestState::Withdrawn, None);
                    request.to_be_closed |= request.way == Some(Way::Knock);
                }
            })
            .await
    }
}
