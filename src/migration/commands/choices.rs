//! `skip`, `include`.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedRoomOrAliasId};

use super::{only, wrong_phase};
use crate::migration::{
    FastOffer, HoldingKind, Migration, Migrations, Options, Phase, Plan, Refusal, RoomAddress,
    Said, Side,
    job::{Job, Turn},
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

    /// `fast`: what it would do; nothing where that is not worth it. What is told is kept, so that
    /// the person agrees to that and no more.
    ///
    /// # Errors
    ///
    /// As [`skip`](Self::skip).
    pub async fn offer_fast(&self, said: &Said) -> Result<Option<FastOffer>, Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration) = self.choosing(said).await?;
        let offer = inner.fast_offer(&migration)?;
        let rooms = offer.iter().flat_map(|offer| &offer.rooms);
        let rooms = rooms.filter_map(|label| OwnedRoomId::try_from(label.id.clone()).ok());
        migration.options.fast_shown = rooms.collect();
        inner.commit(&job, turn, Change::of(&migration)).await?;
        Ok(offer)
    }

    /// `fast yes` and `fast no`: agrees to what was told last, or to nothing. Whether there was
    /// something to agree to.
    ///
    /// # Errors
    ///
    /// As [`skip`](Self::skip).
    pub async fn choose_fast(&self, said: &Said, agrees: bool) -> Result<bool, Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration) = self.choosing(said).await?;
        let options = &mut migration.options;
        let shown = std::mem::take(&mut options.fast_shown);
        if agrees && shown.is_empty() {
            return Ok(false);
        }
        options.fast = if agrees { shown } else { BTreeSet::new() };
        choose_plan(&mut migration);
        inner.commit(&job, turn, Change::of(&migration).said(said)).await?;
        if migration.phase == Phase::Running {
            inner.set_to_work(&job);
        }
        Ok(true)
    }

    /// The migration whose old account chooses what of its plan is done, and how.
    async fn choosing(&self, said: &Said) -> Result<(Arc<Job>, Turn, Migration), Refusal> {
        let (job, turn, migration, side) = self.inner().latest(&said.by).await?;
        only(side, Side::Old)?;
        if !matches!(migration.phase.underlying(), Phase::AwaitingGo | Phase::Running) {
            return Err(wrong_phase(&migration));
        }
        Ok((job, turn, migration))
    }

    async fn choose_holdings(
        &self,
        said: &Said,
        choose: impl FnOnce(&mut Options),
    ) -> Result<Plan, Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration, side) = inner.latest(&said.by).await?;
        only(side, Side::Old)?;
        // Not once it runs: what is copied already would have been copied otherwise.
        if *migration.phase.underlying() != Phase::AwaitingGo {
            return Err(wrong_phase(&migration));
        }
        let plan = inner.journal.plan(migration.id)?.ok_or(Refusal::NoPlan)?;
        choose(&mut migration.options);
        choose_plan(&mut migration);
        let plan = plan.with(&migration.options);
        inner.commit(&job, turn, Change::of(&migration).said(said)).await?;
        Ok(plan)
    }

    async fn choose(
        &self,
        said: &Said,
        rooms: &[RoomAddress],
        choose: impl Fn(&mut Options, RoomAddress, bool) -> Result<(), Refusal>,
    ) -> Result<Plan, Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration) = self.choosing(said).await?;
        let plan = inner.journal.plan(migration.id)?.ok_or(Refusal::NoPlan)?;
        let known = Known::of(&plan);
        for room in rooms {
            let room = RoomAddress { id: known.name_of(&room.id), ..room.clone() };
            let is_planned =
                known.ids.contains(&room.id) || migration.options.named.contains(&room.id);
            choose(&mut migration.options, room, is_planned)?;
        }
        if migration.options.named.len() > MOST_NAMED {
            return Err(Refusal::TooManyNamed { most: MOST_NAMED });
        }
        choose_plan(&mut migration);
        let plan = plan.with(&migration.options);
        inner.commit(&job, turn, Change::of(&migration).said(said)).await?;
        if migration.phase == Phase::Running {
            inner.set_to_work(&job);
        }
        Ok(plan)
    }
}

/// What is chosen changes the plan, which is shown anew. In a run it changes that run: the old
/// account said it, and to this plan.
fn choose_plan(migration: &mut Migration) {
    if !migration.may_run() {
        migration.change_plan();
    }
}

/// How many rooms a person may name that no survey showed: they are kept with the migration.
const MOST_NAMED: usize = 1_000;

/// The rooms that a survey showed, by what a person may name them by.
struct Known {
    ids: HashSet<OwnedRoomOrAliasId>,
    by_alias: HashMap<OwnedRoomAliasId, OwnedRoomOrAliasId>,
}

impl Known {
    fn of(plan: &Plan) -> Self {
        let labels = || plan.rooms.iter().map(|planned| &planned.room);
        // Where two have one alias, it is the first one's.
        let aliases =
            labels().rev().filter_map(|room| Some((room.alias.clone()?, room.id.clone())));
        Self { ids: labels().map(|room| room.id.clone()).collect(), by_alias: aliases.collect() }
    }

    /// The name that the plan has for a room that was named by its ID or by its canonical alias.
    fn name_of(&self, named: &OwnedRoomOrAliasId) -> OwnedRoomOrAliasId {
        let alias = OwnedRoomAliasId::try_from(named.clone()).ok();
        alias.and_then(|alias| self.by_alias.get(&alias)).unwrap_or(named).clone()
    }
}
