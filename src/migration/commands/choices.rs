//! `skip`, `include`.

use ruma::{OwnedRoomAliasId, OwnedRoomOrAliasId};

use super::{only, wrong_phase};
use crate::migration::{
    HoldingKind, Migrations, Options, Phase, Plan, Refusal, RoomAddress, Said, Side,
    journal::Change,
};

impl Migrations {
    /// `skip`: takes rooms out of the plan. Answers with the plan as it then is.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`], [`Refusal::WrongSide`], [`Refusal::WrongPhase`],
    /// [`Refusal::NoPlan`], [`Refusal::NoSuchRoom`].
    pub async fn skip(&self, said: &Said, rooms: &[RoomAddress]) -> Result<Plan, Refusal> {
        self.choose(said, rooms, |options, room, is_planned| {
            if !is_planned {
                return Err(Refusal::NoSuchRoom(room.id));
            }
            options.included.remove(&room.id);
            options.named_via.remove(&room.id);
            if !options.named.remove(&room.id) {
                options.skipped.insert(room.id);
            }
            Ok(())
        })
        .await
    }

    /// `include`: takes rooms back in, or adds rooms that the old account is not known to be in.
    /// Answers with the plan as it then is.
    ///
    /// # Errors
    ///
    /// As [`skip`](Self::skip).
    pub async fn include(&self, said: &Said, rooms: &[RoomAddress]) -> Result<Plan, Refusal> {
        self.choose(said, rooms, |options, room, is_planned| {
            options.skipped.remove(&room.id);
            if is_planned {
                options.included.insert(room.id);
            } else {
                if !room.via.is_empty() {
                    options.named_via.insert(room.id.clone(), room.via);
                }
                options.named.insert(room.id);
            }
            Ok(())
        })
        .await
    }

    /// `skip`: takes these holdings out of the plan. Answers with the plan as it then is.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`], [`Refusal::WrongSide`], [`Refusal::WrongPhase`],
    /// [`Refusal::NoPlan`].
    pub async fn skip_holdings(&self, said: &Said, kinds: &[HoldingKind]) -> Result<Plan, Refusal> {
        self.choose_holdings(said, |options| options.skipped_holdings.extend(kinds)).await
    }

    /// `include`: takes these holdings back in. Answers with the plan as it then is.
    ///
    /// # Errors
    ///
    /// As [`skip_holdings`](Self::skip_holdings).
    pub async fn include_holdings(
        &self,
        said: &Said,
        kinds: &[HoldingKind],
    ) -> Result<Plan, Refusal> {
        self.choose_holdings(said, |options| {
            options.skipped_holdings.retain(|kind| !kinds.contains(kind));
        })
        .await
    }

    /// `prefer`: whose of two values the new account has in the end, where both accounts have
    /// their own. Answers with the plan as it then is.
    ///
    /// # Errors
    ///
    /// As [`skip_holdings`](Self::skip_holdings).
    pub async fn prefer(&self, said: &Said, side: Side) -> Result<Plan, Refusal> {
        self.choose_holdings(said, |options| options.prefer_old = side == Side::Old).await
    }

    async fn choose_holdings(
        &self,
        said: &Said,
        choose: impl FnOnce(&mut Options),
    ) -> Result<Plan, Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration, side) = inner.active(&said.by).await?;
        only(side, Side::Old)?;
        // Not once it runs: what is copied already would have been copied otherwise.
        if *migration.phase.underlying() != Phase::AwaitingGo {
            return Err(wrong_phase(&migration));
        }
        let plan = inner.journal.plan(migration.id)?.ok_or(Refusal::NoPlan)?;
        choose(&mut migration.options);
        let plan = plan.with(&migration.options);
        inner.commit(&job, &turn, Change::of(&migration).said(said)).await?;
        Ok(plan)
    }

    async fn choose(
        &self,
        said: &Said,
        rooms: &[RoomAddress],
        choose: impl Fn(&mut Options, RoomAddress, bool) -> Result<(), Refusal>,
    ) -> Result<Plan, Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration, side) = inner.active(&said.by).await?;
        only(side, Side::Old)?;
        if !matches!(migration.phase.underlying(), Phase::AwaitingGo | Phase::Running) {
            return Err(wrong_phase(&migration));
        }
        let plan = inner.journal.plan(migration.id)?.ok_or(Refusal::NoPlan)?;
        for room in rooms {
            let current = plan.clone().with(&migration.options);
            let room = RoomAddress { id: find(&current, &room.id), ..room.clone() };
            let is_planned = current.rooms.iter().any(|planned| planned.room.id == room.id);
            choose(&mut migration.options, room, is_planned)?;
        }
        let plan = plan.with(&migration.options);
        inner.commit(&job, &turn, Change::of(&migration).said(said)).await?;
        if migration.phase == Phase::Running {
            inner.set_to_work(&job);
        }
        Ok(plan)
    }
}

/// The name that the plan has for a room that was named by its ID or by its canonical alias.
fn find(plan: &Plan, named: &OwnedRoomOrAliasId) -> OwnedRoomOrAliasId {
    let Ok(alias) = OwnedRoomAliasId::try_from(named.clone()) else { return named.clone() };
    plan.rooms
        .iter()
        .find(|room| room.room.alias.as_ref() == Some(&alias))
        .map_or_else(|| named.clone(), |room| room.room.id.clone())
}
