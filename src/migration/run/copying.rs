//! The part of a run that copies what the old account holds besides its rooms.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::future;
use ruma::OwnedRoomId;
use tokio_util::sync::CancellationToken;

use super::{Run, RunEnd};
use crate::{
    measure,
    migration::{
        Holding, HoldingKind, PlannedHolding, Route, StepResult,
        holdings::{Copies, Transfer},
        plan::RoomAgenda,
    },
};

/// How long rooms wait for the profile: everybody in a room sees it when the new account gets its
/// name only after it came in.
const PROFILE_FIRST: Duration = Duration::from_secs(20);

/// When a holding is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Before any room.
    First,
    /// While the rooms are gone through.
    Meanwhile,
    /// Once the new account has come into its room.
    InRoom,
    /// After all rooms.
    Last,
}

/// What is copied in one run.
#[derive(Debug)]
pub(super) struct Copying<'a> {
    run: &'a Run<'a>,
    /// `None` without access to both accounts.
    transfer: Option<Transfer<'a>>,
    /// What came of it before.
    settled: HashMap<String, StepResult>,
    /// What is copied in each room.
    in_rooms: HashMap<&'a OwnedRoomId, Vec<&'a PlannedHolding>>,
    /// Rooms that the new account was in before.
    there_before: HashSet<&'a str>,
    /// Cancelled when the profile is as it will be.
    profile_is_set: CancellationToken,
}

impl<'a> Copying<'a> {
    pub(super) fn of(run: &'a Run<'a>) -> Result<Self, RunEnd> {
        let copies: Copies = run.journal.copies(run.id).map_err(RunEnd::Broken)?;
        let accounts = run.stage.old.as_ref().zip(run.stage.new.as_ref());
        let mut in_rooms: HashMap<_, Vec<_>> = HashMap::new();
        for planned in &run.plan.holdings {
            if let Some(room_id) = planned.holding.room_id() {
                in_rooms.entry(room_id).or_default().push(planned);
            }
        }
        Ok(Self {
            run,
            transfer: accounts
                .map(|accounts| Transfer::new(run.id, accounts, run.bot, run.journal, copies)),
            settled: run.journal.holdings(run.id).map_err(RunEnd::Broken)?,
            in_rooms,
            there_before: (run.plan.rooms.iter())
                .filter(|room| room.route == Route::AlreadyThere)
                .map(|room| room.id.as_str())
                .collect(),
            profile_is_set: CancellationToken::new(),
        })
    }

    /// Copies what needs no room: the profile first, and then the rest.
    pub(super) async fn without_rooms(&self) -> Result<(), RunEnd> {
        let done = async {
            for planned in self.at(Turn::First) {
                self.copy(planned).await?;
            }
            self.profile_is_set.cancel();
            future::try_join_all(self.at(Turn::Meanwhile).map(|planned| self.copy(planned))).await
        };
        let done = done.await.map(drop);
        if done.is_err() {
            // The rooms are to stop as well, and not to wait any longer.
            self.run.stop.cancel();
        }
        done
    }

    /// Waits until the rooms may begin.
    pub(super) async fn profile(&self) {
        tokio::select! {
            () = self.profile_is_set.cancelled() => {}
            () = self.run.clock.sleep(PROFILE_FIRST) => {}
            () = self.run.stop.cancelled() => {}
        }
    }

    /// Copies what belongs to a room that the new account has come into.
    pub(super) async fn in_room(&self, room: &RoomAgenda) -> Result<(), RunEnd> {
        let Ok(room_id) = OwnedRoomId::try_from(room.id.clone()) else { return Ok(()) };
        for planned in self.in_rooms.get(&room_id).into_iter().flatten() {
            if self.turn(planned) == Turn::InRoom {
                tokio::select! {
                    // A changed profile would be put over it.
                    () = self.profile_is_set.cancelled() => {}
                    () = self.run.stop.cancelled() => return Err(RunEnd::Stopped),
                }
                self.copy(planned).await?;
            }
        }
        Ok(())
    }

    /// Copies what is to come last.
    pub(super) async fn last(&self) -> Result<(), RunEnd> {
        for planned in self.at(Turn::Last) {
            self.copy(planned).await?;
        }
        Ok(())
    }

    fn at(&self, turn: Turn) -> impl Iterator<Item = &'a PlannedHolding> {
        self.run.plan.holdings.iter().filter(move |planned| self.turn(planned) == turn)
    }

    fn turn(&self, planned: &PlannedHolding) -> Turn {
        match &planned.holding {
            holding if holding.kind() == HoldingKind::Profile => Turn::First,
            // Homeservers put a changed profile into the rooms one by one, and over this.
            Holding::RoomProfile(room_id) if self.there_before.contains(room_id.as_str()) => {
                Turn::Last
            }
            Holding::RoomProfile(_) | Holding::RoomAccountData { .. } => Turn::InRoom,
            // Such a rule may forbid what the old account still has to send.
            Holding::AccountData(event_type) if event_type.contains("invite_permission") => {
                Turn::Last
            }
            _ => Turn::Meanwhile,
        }
    }

    async fn copy(&self, planned: &PlannedHolding) -> Result<(), RunEnd> {
        let Some(prefer_old) = planned.prefers_old() else { return Ok(()) };
        let (run, holding) = (self.run, &planned.holding);
        let key = holding.key();
        if self.settled.contains_key(&key) {
            return Ok(());
        }
        let result = match &self.transfer {
            Some(transfer) => Run::written(transfer.run(holding, prefer_old).await)?,
            None => StepResult::NoAccess,
        };
        tracing::debug!(migration = %run.id, ?holding, ?result, "copied");
        if result != StepResult::NotTried {
            measure::step("holding", result.name());
            run.journal.record_holding(run.id, &key, &result).await.map_err(RunEnd::Broken)?;
            run.progressed.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}
