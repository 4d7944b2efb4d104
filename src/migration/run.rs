//! The run: carries a plan out, room by room, and stops cleanly wherever it is.

mod copying;
mod direct_chats;
mod later;
mod lobby;
mod taking;
mod turns;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use ruma::{
    OwnedRoomId, OwnedRoomOrAliasId, RoomId, RoomOrAliasId, UserId,
    api::client::sync::sync_events::v3, events::room::member::MembershipState,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) use self::turns::Turns;
use self::{
    copying::Copying,
    direct_chats::DirectChats,
    later::{Coming, Later, Place, coming},
    lobby::Lobby,
    turns::{Line, Turn},
};
use super::{
    Entry, MigrationId, Route, Side,
    journal::Journal,
    plan::{Agenda, RoomAgenda},
    step::{RoomRecord, Stage, Step, StepKind, Way, after_join, entrance},
    survey::{Survey, joined_filter, membership_filter},
};
use crate::{
    clock::SharedClock,
    homeserver::{Account, Failure, Nearness, Synced},
    store::StoreError,
};

/// How long the homeserver may hold a request that waits for somebody to join by hand.
const LONG_POLL: Duration = Duration::from_secs(30);

/// How long to leave a homeserver alone that could not be asked who has joined by hand.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Memberships of the new account, by room.
pub(crate) type Memberships = HashMap<OwnedRoomId, MembershipState>;

/// One run of one plan.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) id: MigrationId,
    pub(crate) plan: &'a Agenda,
    pub(crate) stage: Stage,
    pub(crate) bot: &'a UserId,
    pub(crate) journal: &'a Journal,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) clock: SharedClock,
    /// Counted up after each step that was written down.
    pub(crate) progressed: &'a watch::Sender<u64>,
    /// Set when the old account's session ends while it looks out for joins.
    pub(crate) old_lost: AtomicBool,
    pub(crate) turns: Turns,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum RunEnd {
    /// Every step has a result.
    Complete,
    /// It was told to stop.
    Stopped,
    /// The homeserver no longer accepts this side's session.
    AccessLost(Side),
    /// Nothing can be written down any more.
    Broken(StoreError),
}

/// What all rooms of a run share.
struct Common<'a> {
    doors: Doors,
    lobby: Lobby<'a>,
    direct: DirectChats,
    copying: Copying<'a>,
    later: Later,
}

/// A room that was begun with.
struct Begun<'a> {
    room: &'a RoomAgenda,
    record: RoomRecord,
    /// The turn that it was begun with, until the step is taken that it is for.
    turn: Option<Turn<'a>>,
    /// Whether the new account's homeserver is in it, where that was found out since it was planned.
    nearness: Option<Nearness>,
}

/// Why a room is left.
#[derive(Debug)]
enum Left {
    /// The run ends.
    Ended(RunEnd),
    /// It is to be joined, and that waits in another line than was thought.
    ToJoin(Nearness),
}

impl From<RunEnd> for Left {
    fn from(end: RunEnd) -> Self {
        Self::Ended(end)
    }
}

impl Run<'_> {
    /// Carries out every step that has no result yet. The [`Turns`] and the lanes of
    /// [`pacing`](crate::homeserver::Pacing) decide how many requests are on their way, and keep the
    /// order, so that a wait for one kind of request holds up no other.
    pub(crate) async fn carry_out(self, memberships: watch::Sender<Memberships>) -> RunEnd {
        let records = match self.journal.rooms(self.id) {
            Ok(records) => records.into_iter().collect(),
            Err(error) => return RunEnd::Broken(error),
        };
        let copying = match Copying::of(&self) {
            Ok(copying) => copying,
            Err(end) => return end,
        };
        let (later, coming) = Later::of(self.plan.rooms.len());
        let common = Common {
            doors: Doors::of(self.plan),
            lobby: Lobby::of(&self),
            direct: DirectChats::of(self.plan),
            copying,
            later,
        };
        let rooms = self.rooms(&records, &common, coming);
        drop(records);
        let end = tokio::select! {
            end = self.carry_out_with(rooms, &common) => end,
            never = Box::pin(self.watch_joins(memberships)) => match never {},
        };
        if self.old_lost.load(Ordering::Relaxed) { RunEnd::AccessLost(Side::Old) } else { end }
    }

    /// Goes through the rooms, and meanwhile copies what else the old account holds.
    async fn carry_out_with(
        &self,
        rooms: impl Stream<Item = Result<(), RunEnd>>,
        Common { lobby, direct, copying, .. }: &Common<'_>,
    ) -> RunEnd {
        let rooms = async {
            copying.profile().await;
            let (prepared, end) = tokio::join!(Box::pin(lobby.prepare()), async {
                // The invitation to the lobby goes before all others.
                lobby.made().await;
                self.drain(rooms, direct).await
            });
            prepared.err().unwrap_or(end)
        };
        // What is large and over soon gives its memory back.
        let (copied, end) = tokio::join!(Box::pin(copying.without_rooms()), rooms);
        match (copied, end) {
            (Err(end), RunEnd::Complete | RunEnd::Stopped) => end,
            (Ok(()), RunEnd::Complete) => {
                Box::pin(copying.last()).await.err().unwrap_or(RunEnd::Complete)
            }
            (_, end) => end,
        }
    }

    /// All rooms, in order: each is begun when the turn of its first step has come, and until then
    /// is a place in a line, since an account may have thousands.
    fn rooms<'a>(
        &'a self,
        records: &HashMap<String, RoomRecord>,
        common: &'a Common<'a>,
        mut later: HashMap<Line, Coming>,
    ) -> impl Stream<Item = Result<(), RunEnd>> + use<'a> {
        let mut lines: HashMap<Option<Line>, Vec<Place>> = HashMap::new();
        lines.extend(later.keys().map(|line| (Some(*line), Vec::new())));
        for (number, room) in self.plan.rooms.iter().enumerate() {
            let record = records.get(room.id.as_str());
            lines.entry(self.line(room, record)).or_default().push((number, None));
        }
        let begun = lines.into_iter().map(|(line, rooms)| {
            let later = coming(line.and_then(|line| later.remove(&line)));
            Box::pin(stream::iter(rooms).chain(later).then(move |place| async move {
                match line {
                    Some(line) => (place, self.turns.begin(line, false).await),
                    None => (place, None),
                }
            }))
        });
        stream::select_all(begun)
            .take_until(Box::pin(common.later.over()))
            .map(|(place, turn)| Box::pin(self.bring_into(place, turn, common)))
            .buffer_unordered(usize::MAX)
    }

    /// The line in which a room waits to be begun; none where something else comes before its first
    /// step.
    fn line(&self, room: &RoomAgenda, record: Option<&RoomRecord>) -> Option<Line> {
        let invite = match room.route {
            Route::InviteAndJoin if !room.opens => true,
            Route::Join(Entry::Public | Entry::Invited) => false,
            _ => return None,
        };
        if room.hides_servers && record.is_none_or(|record| record.via.is_empty()) {
            return None;
        }
        let steps = entrance(room, Way::planned(room), invite, self.stage.new.is_some());
        let is_untaken = |step: &&Step| record.is_none_or(|record| !record.is_settled(step.kind()));
        Line::of(steps.iter().find(is_untaken)?)
    }

    /// Waits for all rooms, also after one of them ended the run: no request is dropped halfway.
    async fn drain(
        &self,
        rooms: impl Stream<Item = Result<(), RunEnd>>,
        direct: &DirectChats,
    ) -> RunEnd {
        let mut rooms = pin!(rooms);
        let mut end = None;
        while let Some(outcome) = rooms.next().await {
            if let Err(early) = outcome {
                self.stop.cancel();
                end = end.or(Some(early));
            }
        }
        match end {
            Some(end) => end,
            // Rooms that were reached only after the first list was written.
            None => self.mark_direct(direct).await.err().unwrap_or(RunEnd::Complete),
        }
    }

    /// Sees a room through, or leaves it until it is its turn in another line.
    async fn bring_into(
        &self,
        (number, nearness): Place,
        turn: Option<Turn<'_>>,
        common: &Common<'_>,
    ) -> Result<(), RunEnd> {
        let Some(room) = self.plan.rooms.get(number) else { return Ok(()) };
        let through = match self.go_through(room, turn, nearness, common).await {
            Err(Left::ToJoin(found)) => {
                common.later.leave(number, found);
                return Ok(());
            }
            Err(Left::Ended(end)) => Err(end),
            Ok(()) => Ok(()),
        };
        common.later.settle();
        through
    }

    async fn go_through(
        &self,
        room: &RoomAgenda,
        turn: Option<Turn<'_>>,
        nearness: Option<Nearness>,
        Common { doors, lobby, direct, copying, .. }: &Common<'_>,
    ) -> Result<(), Left> {
        let record = self.journal.room(self.id, room.id.as_str()).map_err(RunEnd::Broken)?;
        let mut begun = Begun { room, record: record.unwrap_or_default(), turn, nearness };
        let entered = match &room.route {
            Route::AlreadyThere => true,
            Route::Join(Entry::Public | Entry::Invited) => self.enter(&mut begun, false).await?,
            Route::InviteAndJoin => {
                let opened = room.opens && Box::pin(lobby.enter(room, &mut begun.record)).await?;
                opened || self.enter(&mut begun, true).await?
            }
            Route::Join(Entry::Through { room: gate, or_invite }) => {
                let is_open = doors.wait_for(gate, self.stop).await.ok_or(RunEnd::Stopped)?;
                let mut entered = (is_open || !or_invite) && self.enter(&mut begun, false).await?;
                // It may not let in after all, as when no server in it can tell who is where.
                if !entered && *or_invite && (!is_open || begun.record.was_kept_out()) {
                    begun.record.steps.remove(&StepKind::Join);
                    entered = self.enter(&mut begun, true).await?;
                }
                entered
            }
            Route::NeedsModerator | Route::Unreachable(_) | Route::Skipped(_) => false,
        };
        doors.settle(&room.id, entered);
        if entered {
            for step in after_join(room) {
                self.take(step, &mut begun).await?;
            }
        }
        // Large and rarely waited for, and so not a part of what every room holds.
        if direct.settle(room, entered) {
            Box::pin(self.mark_direct(direct)).await?;
        }
        if entered {
            Box::pin(copying.in_room(room)).await?;
        }
        Ok(())
    }

    /// Brings the new account into a room. Whether it is in.
    async fn enter(&self, begun: &mut Begun<'_>, invite: bool) -> Result<bool, Left> {
        let way = self.way(begun, invite).await?;
        for step in entrance(begun.room, way, invite, self.stage.new.is_some()) {
            let (kind, is_ahead) = (step.kind(), step.is_ahead());
            self.take(step, begun).await?;
            if !is_ahead && !begun.record.is_through(kind) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The way into a room. Where the plan knows only the old account's server, others are looked
    /// for as soon as the run begins, and written down, since that server may be gone by the time
    /// that it is the room's turn; until then the room is left.
    async fn way(&self, begun: &mut Begun<'_>, invite: bool) -> Result<Way, Left> {
        let Begun { room, record, nearness, .. } = begun;
        let planned = Way::planned(room);
        let planned = Way { nearness: nearness.unwrap_or(planned.nearness), ..planned };
        // Whoever is invited joins through the inviter.
        if !room.hides_servers || invite || self.stage.new.is_none() {
            return Ok(planned);
        }
        if !record.via.is_empty() {
            return Ok(Way { via: record.via.clone(), ..planned });
        }
        let id = &room.id;
        if nearness.is_some() || record.is_settled(StepKind::Join) || self.stage.is_in(id) {
            return Ok(planned);
        }
        // Large and soon over, and so not a part of what every room holds while it waits.
        let nearness = match Box::pin(self.stage.way(id)).await {
            Ok(Some(Way { via, nearness })) => {
                record.via = via;
                let written = self.journal.record_room(self.id, id.as_str(), record).await;
                written.map_err(RunEnd::Broken)?;
                nearness
            }
            Ok(None) => planned.nearness,
            Err(error) => Self::failure_of(error).map(|_| planned.nearness)?,
        };
        Err(Left::ToJoin(nearness))
    }

    /// Marks the direct chats that the new account is in by now.
    async fn mark_direct(&self, direct: &DirectChats) -> Result<(), RunEnd> {
        let Some(entered) = direct.take_entered() else { return Ok(()) };
        let result = Self::written(self.stage.mark_direct(&entered).await)?;
        self.journal.record_direct_chats(self.id, &result).await.map_err(RunEnd::Broken)
    }

    /// Where the person joins by hand, looks at the rooms through the old account.
    async fn watch_joins(&self, memberships: watch::Sender<Memberships>) -> Infallible {
        let (Some(old), None) = (&self.stage.old, &self.stage.new) else {
            return std::future::pending().await;
        };
        let filter = membership_filter(old.user_id(), &self.stage.new_user);
        let mut since = None;
        loop {
            let timeout = since.as_ref().map(|_| LONG_POLL);
            match Box::pin(old.sync(filter.clone(), since.clone(), timeout)).await {
                Ok(Synced { response, .. }) => {
                    let seen = memberships_in(&self.stage.new_user, &response);
                    memberships.send_modify(|known| known.extend(seen));
                    since = Some(response.next_batch);
                }
                Err(Failure::TokenGone { .. }) => {
                    self.old_lost.store(true, Ordering::Relaxed);
                    self.stop.cancel();
                    return std::future::pending().await;
                }
                // Told to stop: whoever waits for a join is told as well.
                Err(Failure::Stopped) => return std::future::pending().await,
                Err(failure) => {
                    tracing::debug!(migration = %self.id, %failure, "cannot see who joined");
                    if matches!(failure, Failure::TooMuch(_)) {
                        // The whole may be less than what was missed.
                        since = None;
                    }
                    self.clock.sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// Reads where the new account is joined or invited: one request, whatever the number of rooms.
pub(crate) async fn read_memberships(
    old: Option<&Account>,
    new: Option<&Account>,
    old_user: &UserId,
    new_user: &UserId,
) -> Result<Memberships, (Side, Failure)> {
    match (old, new) {
        (_, Some(new)) => {
            let Synced { response, unreadable, .. } = new
                .sync(joined_filter(), None, None)
                .await
                .map_err(|failure| (Side::New, failure))?;
            // That it is in them is all that is wanted here.
            let joined = response.rooms.join.keys().chain(&unreadable);
            let joined = joined.map(|id| (id.clone(), MembershipState::Join));
            let invited =
                response.rooms.invite.keys().map(|id| (id.clone(), MembershipState::Invite));
            Ok(joined.chain(invited).collect())
        }
        (Some(old), None) => {
            let filter = membership_filter(old_user, new_user);
            let synced =
                old.sync(filter, None, None).await.map_err(|failure| (Side::Old, failure))?;
            Ok(memberships_in(new_user, &synced.response))
        }
        (None, None) => Ok(Memberships::new()),
    }
}

fn memberships_in(new_user: &UserId, response: &v3::Response) -> Memberships {
    Survey::read_of_other(new_user, response)
        .rooms
        .into_iter()
        .map(|(room_id, room)| (room_id, room.membership))
        .collect()
}

/// Which of the rooms that others are entered through the new account got into: of those that are
/// rooms of the run themselves. Each is waited for by itself, since there may be thousands.
#[derive(Debug)]
struct Doors(HashMap<OwnedRoomOrAliasId, watch::Sender<Option<bool>>>);

impl Doors {
    fn of(plan: &Agenda) -> Self {
        let gates: HashSet<&RoomId> = plan.rooms.iter().filter_map(|room| room.gate()).collect();
        let ids = plan.rooms.iter().map(|room| &room.id);
        let is_gate = |id: &&OwnedRoomOrAliasId| {
            <&RoomId>::try_from(&***id).is_ok_and(|id| gates.contains(id))
        };
        Self(ids.filter(is_gate).map(|id| (id.clone(), watch::Sender::default())).collect())
    }

    fn settle(&self, room: &OwnedRoomOrAliasId, entered: bool) {
        if let Some(door) = self.0.get(room) {
            door.send_replace(Some(entered));
        }
    }

    /// Whether the new account got into `room`, once that is known; nothing when told to stop.
    async fn wait_for(&self, room: &RoomId, stop: &CancellationToken) -> Option<bool> {
        let Some(door) = self.0.get(<&RoomOrAliasId>::from(room)) else {
            // It is no room of the old account, so the new one is in it by itself.
            return Some(true);
        };
        let mut entered = door.subscribe();
        tokio::select! {
            entered = entered.wait_for(Option::is_some) => entered.ok().and_then(|entered| *entered),
            () = stop.cancelled() => None,
        }
    }
}
