//! The part of a run that opens rooms to the new account for a moment (see
//! [`fast`](crate::migration::fast)).

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ruma::{OwnedRoomId, OwnedRoomOrAliasId, RoomId, events::StateEventType, serde::JsonObject};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Left, Run, RunEnd};
use crate::{
    homeserver::{Account, Failure, Nearness},
    migration::{
        Side, StepResult,
        fast::{LOBBY_MARK, Lobby as Record, Opening, opened_to},
        plan::RoomAgenda,
        step::{RoomRecord, Step, StepError, StepKind},
    },
};

/// How long the rooms wait for the lobby to be made.
const LOBBY_FIRST: Duration = Duration::from_secs(20);

/// How many rooms are open at a time at most.
const MOST_OPEN: usize = 4;

/// For how long a room stays open while the new account's homeserver makes it wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Pauses in which the new account's homeserver may hear of the rule, where it is in the room.
const HEARD_AFTER: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

const NAME: &str = "Moving with Tern";

/// The room that only the two accounts share, in one run.
#[derive(Debug)]
pub(super) struct Lobby<'a> {
    run: &'a Run<'a>,
    /// Both, where some room is to be opened.
    accounts: Option<(&'a Account, &'a Account)>,
    /// Cancelled when it is made, or is not going to be.
    is_made: CancellationToken,
    /// The lobby, if the new account is in it, once that is known.
    entered: OnceLock<Option<OwnedRoomId>>,
    /// Cancelled when that is known: it wakes who waits for it in their order.
    is_known: CancellationToken,
    open: Semaphore,
}

impl<'a> Lobby<'a> {
    pub(super) fn of(run: &'a Run<'a>) -> Self {
        let accounts = run.stage.old.as_ref().zip(run.stage.new.as_ref());
        Self {
            run,
            accounts: accounts.filter(|_| run.plan.rooms.iter().any(|room| room.opens)),
            is_made: CancellationToken::new(),
            entered: OnceLock::new(),
            is_known: CancellationToken::new(),
            open: Semaphore::new(MOST_OPEN),
        }
    }

    /// Has the old account make the room, unless there is one, and brings the new one into it.
    pub(super) async fn prepare(&self) -> Result<(), RunEnd> {
        let made = self.make().await;
        self.is_made.cancel();
        let prepared = match made {
            Ok(Some(room_id)) => self.admit(room_id).await,
            Ok(None) => Ok(()),
            Err(end) => Err(end),
        };
        if prepared.is_err() {
            // The rooms are to stop as well.
            self.run.stop.cancel();
        }
        prepared
    }

    /// Waits until the rooms may begin.
    pub(super) async fn made(&self) {
        tokio::select! {
            () = self.is_made.cancelled() => {}
            () = self.run.clock.sleep(LOBBY_FIRST) => {}
            () = self.run.stop.cancelled() => {}
        }
    }

    /// Without the room, all are invited.
    async fn make(&self) -> Result<Option<OwnedRoomId>, RunEnd> {
        let Some((old, new)) = self.accounts else { return Ok(None) };
        match self.find_or_make(old, new).await {
            Ok(room_id) => Ok(Some(room_id)),
            Err(error) => {
                self.go_without(Run::failure_of(error)?);
                Ok(None)
            }
        }
    }

    async fn find_or_make(&self, old: &Account, new: &Account) -> Result<OwnedRoomId, StepError> {
        let (id, journal) = (self.run.id, self.run.journal);
        let failed = |failure| StepError::of(Side::Old, failure);
        let mark =
            JsonObject::from_iter([(LOBBY_MARK.to_owned(), json!([old.user_id(), new.user_id()]))]);
        let found = match journal.lobby(id).map_err(StepError::Broken)? {
            Some(Record::Made(room_id)) => Some(room_id),
            Some(Record::Begun) => self.find(old, &mark).await.map_err(failed)?,
            None => None,
        };
        if let Some(room_id) = found {
            let members = old.joined_members(&room_id).await.map_err(failed)?;
            // Somebody else would get into the rooms with the new account.
            if members.keys().all(|user| [old.user_id(), new.user_id()].contains(&&**user)) {
                self.write_down(Record::Made(room_id.clone())).await?;
                return Ok(room_id);
            }
        }
        self.write_down(Record::Begun).await?;
        let room_id = old.create_lobby(NAME, &mark).await.map_err(failed)?;
        self.write_down(Record::Made(room_id.clone())).await?;
        Ok(room_id)
    }

    async fn write_down(&self, record: Record) -> Result<(), StepError> {
        let written = self.run.journal.record_lobby(self.run.id, &record).await;
        written.map_err(StepError::Broken)
    }

    /// The room that was made right before the bot ended.
    async fn find(&self, old: &Account, mark: &JsonObject) -> Result<Option<OwnedRoomId>, Failure> {
        let planned = |room_id: &OwnedRoomId| {
            self.run.plan.rooms.iter().any(|room| room.id.as_str() == room_id.as_str())
        };
        for room_id in old.joined_rooms().await?.into_iter().filter(|room_id| !planned(room_id)) {
            let create = old.state(&room_id, StateEventType::RoomCreate, "").await?;
            if create.and_then(|mut create| create.remove(LOBBY_MARK)).as_ref()
                == mark.get(LOBBY_MARK)
            {
                return Ok(Some(room_id));
            }
        }
        Ok(None)
    }

    /// Brings the new account into the room.
    async fn admit(&self, room_id: OwnedRoomId) -> Result<(), RunEnd> {
        match self.invite_and_join(&room_id).await? {
            Some(failure) => self.go_without(failure),
            None => self.settle(Some(room_id)),
        }
        Ok(())
    }

    async fn invite_and_join(&self, room_id: &OwnedRoomId) -> Result<Option<Failure>, RunEnd> {
        let room = OwnedRoomOrAliasId::from(room_id.clone());
        let via = self.accounts.map(|(old, _)| old.user_id().server_name().to_owned());
        let join = Step::Join { via: via.into_iter().collect(), nearness: self.nearness() };
        for step in [Step::Invite, join] {
            match self.run.result_of(step, &room, None).await {
                Ok(StepResult::Failed(failure)) => return Ok(Some(failure)),
                Ok(_) => {}
                Err(Left::Ended(end)) => return Err(end),
                // How near it is was known.
                Err(Left::ToJoin(_)) => return Err(RunEnd::Stopped),
            }
        }
        Ok(None)
    }

    fn go_without(&self, failure: Failure) {
        tracing::warn!(migration = %self.run.id, %failure, "no room can be opened for a moment");
        self.settle(None);
    }

    fn settle(&self, entered: Option<OwnedRoomId>) {
        // It is known once in a run.
        let _ = self.entered.set(entered);
        self.is_known.cancel();
    }

    /// Brings the new account into a room by opening it. Whether it is in: if not, it is to be
    /// invited.
    pub(super) async fn enter(
        &self,
        room: &RoomAgenda,
        record: &mut RoomRecord,
    ) -> Result<bool, RunEnd> {
        let (Some((old, new)), Ok(room_id)) =
            (self.accounts, OwnedRoomId::try_from(room.id.clone()))
        else {
            return Ok(false);
        };
        if !record.steps.is_empty() || self.run.stage.is_let_in(&room_id) {
            return Ok(record.is_in());
        }
        // Once each, so that a bot that is stopped again and again does not show there each time.
        let opening = self.run.journal.opening(self.run.id, &room_id).map_err(RunEnd::Broken)?;
        if opening.is_some() {
            return Ok(false);
        }
        let Some(lobby) = self.wait_for().await? else { return Ok(false) };
        let turn = tokio::select! {
            turn = self.open.acquire() => turn,
            () = self.run.stop.cancelled() => return Err(RunEnd::Stopped),
        };
        let admission = Admission {
            run: self.run,
            old: old.beyond_stop(),
            new,
            room_id: &room_id,
            lobby: &lobby,
            is_open: AtomicBool::new(false),
        };
        let joined = admission.carry_out(self.nearness()).await?;
        drop(turn);
        if joined {
            self.run.settle(room, record, StepKind::Join, StepResult::Done).await?;
        }
        Ok(joined)
    }

    /// A join that another account authorizes goes through its homeserver, and so counts as one of a
    /// room elsewhere.
    fn nearness(&self) -> Nearness {
        match self.accounts {
            Some((old, new)) if old.user_id().server_name() == new.user_id().server_name() => {
                Nearness::Here
            }
            _ => Nearness::Elsewhere,
        }
    }

    /// The lobby, once the new account is in it; nothing if it does not get there.
    async fn wait_for(&self) -> Result<Option<OwnedRoomId>, RunEnd> {
        tokio::select! {
            () = self.is_known.cancelled() => Ok(self.entered.get().cloned().flatten()),
            () = self.run.stop.cancelled() => Err(RunEnd::Stopped),
        }
    }
}

/// One room that is opened.
struct Admission<'a> {
    run: &'a Run<'a>,
    /// Goes on when the run is told to stop, so that the rule is put back.
    old: Account,
    new: &'a Account,
    room_id: &'a RoomId,
    lobby: &'a RoomId,
    is_open: AtomicBool,
}

/// How the opening of a room went.
enum Attempt {
    Joined,
    KeptOut,
    Ended(RunEnd),
}

impl Admission<'_> {
    /// Whether the new account got in. Whatever happens, the rule is put back.
    async fn carry_out(&self, nearness: Nearness) -> Result<bool, RunEnd> {
        let attempt = || self.attempt();
        let attempted = self.new.join_in_turn(self.room_id, nearness, attempt).await;
        self.put_back().await?;
        match attempted {
            Ok(Attempt::Joined) => Ok(true),
            Ok(Attempt::KeptOut) => Ok(false),
            Ok(Attempt::Ended(end)) => Err(end),
            Err(failure) => Run::failure_of(StepError::of(Side::New, failure)).map(|_| false),
        }
    }

    /// Opens the room and joins. Fails where that is to be repeated after a wait, or to end.
    async fn attempt(&self) -> Result<Attempt, Failure> {
        if !self.is_open.load(Ordering::Relaxed) {
            match self.open().await {
                Ok(true) => self.is_open.store(true, Ordering::Relaxed),
                Ok(false) => return Ok(Attempt::KeptOut),
                Err(end) => return Ok(Attempt::Ended(end)),
            }
        }
        let mut pauses = HEARD_AFTER.into_iter();
        loop {
            let via = vec![self.old.user_id().server_name().to_owned()];
            let Err(failure) = self.new.try_to_join(self.room_id, via).await else {
                return Ok(Attempt::Joined);
            };
            match &failure {
                Failure::Limited { retry_after } => {
                    if retry_after.is_none_or(|wait| wait > LONGEST_WAIT)
                        && let Err(end) = self.put_back().await
                    {
                        return Ok(Attempt::Ended(end));
                    }
                    return Err(failure);
                }
                Failure::TokenGone { .. } | Failure::Stopped => return Err(failure),
                Failure::Refused { .. } => match pauses.next() {
                    Some(pause) => self.run.clock.sleep(pause).await,
                    None => return Ok(self.kept_out(&failure)),
                },
                // An invitation that was sent beside a join does no harm.
                _ => return Ok(self.kept_out(&failure)),
            }
        }
    }

    fn kept_out(&self, failure: &Failure) -> Attempt {
        tracing::info!(room = %self.room_id, %failure, "opened, but not let in");
        Attempt::KeptOut
    }

    /// Lets members of the lobby in. Whether it could.
    async fn open(&self) -> Result<bool, RunEnd> {
        let rule = StateEventType::RoomJoinRules;
        let before = match self.old.state(self.room_id, rule.clone(), "").await {
            Ok(Some(before)) => before,
            Ok(None) => return Ok(false),
            Err(failure) => return self.unable(failure),
        };
        let Some(during) = opened_to(self.lobby, &before) else { return Ok(false) };
        let mut opening = Opening::new(before, during, self.run.clock.now());
        self.write_down(&opening).await?;
        let sent = self.old.once().set_state(self.room_id, rule, "", &opening.during).await;
        let Err(failure) = sent else { return Ok(true) };
        opening.failed(&failure, self.run.clock.now());
        self.write_down(&opening).await?;
        self.unable(failure)
    }

    fn unable(&self, failure: Failure) -> Result<bool, RunEnd> {
        let failure = Run::failure_of(StepError::of(Side::Old, failure))?;
        tracing::info!(room = %self.room_id, %failure, "cannot be opened");
        Ok(false)
    }

    /// Puts the rule back, if it may be changed. What does not work now is tried again before the
    /// run ends.
    async fn put_back(&self) -> Result<(), RunEnd> {
        let (id, journal) = (self.run.id, self.run.journal);
        let opening = journal.opening(id, self.room_id).map_err(RunEnd::Broken)?;
        let Some(mut opening) = opening.filter(|opening| !opening.state.is_settled()) else {
            return Ok(());
        };
        if self.is_open.swap(false, Ordering::Relaxed) {
            opening.arrives_until = None;
        }
        match opening.put_back(&self.old, self.room_id, self.run.clock.now()).await {
            Ok(state) => opening.state = state,
            Err(failure) => {
                let failure = Run::failure_of(StepError::of(Side::Old, failure))?;
                tracing::warn!(room = %self.room_id, %failure, "the join rule is not put back yet");
                return Ok(());
            }
        }
        self.write_down(&opening).await
    }

    async fn write_down(&self, opening: &Opening) -> Result<(), RunEnd> {
        let written = self.run.journal.record_opening(self.run.id, self.room_id, opening).await;
        written.map_err(RunEnd::Broken)
    }
}
