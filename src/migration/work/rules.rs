//! Putting back join rules that were changed for a moment when the bot, or the run, was stopped.

use std::collections::BTreeMap;

use ruma::OwnedRoomId;
use tokio_util::sync::CancellationToken;

use super::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::{
    access::OpenError,
    clock::Timestamp,
    consent::Standing,
    homeserver::{Account, Failure},
    migration::{
        Inner, Migration, Phase, Side,
        fast::{Opening, OpeningState},
        job::Job,
        report::Check,
    },
    store::StoreError,
};

type Openings = BTreeMap<OwnedRoomId, Opening>;

/// How it stands with the join rules of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::migration) enum Rules {
    /// There is nothing left for which another look would help.
    Settled,
    /// A change that the homeserver did not answer may still arrive.
    MayChange,
    /// Something could not be put back now.
    Stuck,
}

impl Inner {
    /// Puts back what is still changed, and tries again for as long as the old account's homeserver
    /// cannot be reached. Where the bot has no access, that waits until it has. `finally` is whether
    /// nobody looks after this, so that it also waits for what may still arrive.
    pub(super) async fn put_rules_back(
        &self,
        job: &Job,
        finally: bool,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_to_put_rules_back(job, stop).await? {
                Rules::Settled => return Ok(()),
                Rules::MayChange if !finally => return Ok(()),
                Rules::MayChange => pause = FIRST_PAUSE,
                Rules::Stuck => {}
            }
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.cancelled() => return Ok(()),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Puts back what can be put back now.
    pub(in crate::migration) async fn try_to_put_rules_back(
        &self,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<Rules, StoreError> {
        let migration = job.migration();
        let mut openings = self.journal.openings(migration.id)?;
        openings.retain(|_, opening| !opening.state.is_settled());
        if openings.is_empty() {
            return Ok(Rules::Settled);
        }
        let standing = job.standing(Side::Old);
        let standing = standing.or_else(|| Standing::to_take_back(&migration, Side::Old));
        let Some(standing) = standing else { return Ok(Rules::Settled) };
        let old = match self.sessions.open(&standing).await {
            Ok(old) => old.map(|old| old.until(stop.clone())),
            Err(OpenError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(migration = %migration.id, %error, "join rules are not put back");
                return Ok(Rules::Stuck);
            }
        };
        match old {
            Some(old) => put_back(&old, &mut openings, self.now()).await,
            // Nobody says `login` any more.
            None if matches!(migration.phase, Phase::Cancelled(_)) => {
                let gone = || OpeningState::Stuck(Failure::TokenGone { soft_logout: false });
                openings.values_mut().for_each(|opening| opening.state = gone());
            }
            None => return Ok(Rules::Settled),
        }
        let is_stuck = |opening: &Opening| match &opening.state {
            OpeningState::Stuck(failure) => failure.is_retryable(),
            _ => false,
        };
        let rules = if openings.values().any(is_stuck) {
            Rules::Stuck
        } else if openings.values().any(|opening| opening.state == OpeningState::Open) {
            Rules::MayChange
        } else {
            Rules::Settled
        };
        for (room_id, opening) in &openings {
            self.journal.record_opening(migration.id, room_id, opening).await?;
        }
        self.report_cancelled(&migration).await?;
        Ok(rules)
    }

    /// Writes the report of a migration that was cancelled once more: when it was, something may
    /// still have been on its way.
    pub(super) async fn report_cancelled(&self, migration: &Migration) -> Result<(), StoreError> {
        if !matches!(migration.phase, Phase::Cancelled(_)) || !migration.may_run() {
            return Ok(());
        }
        let Some(plan) = self.journal.plan(migration.id)? else { return Ok(()) };
        let plan = plan.with(&migration.options);
        let report = self.report(migration, &plan, &Check::Nothing(None))?;
        self.journal.record_report(migration.id, &report).await
    }
}

async fn put_back(old: &Account, openings: &mut Openings, now: Timestamp) {
    for (room_id, opening) in openings {
        opening.state = match opening.put_back(old, room_id, now).await {
            Ok(state) => state,
            // It stays as it was, and whoever stopped this sees to it.
            Err(Failure::Stopped) => OpeningState::Open,
            Err(failure) => OpeningState::Stuck(failure),
        };
    }
}
