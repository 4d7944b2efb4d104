//! Putting back join rules that were changed for a moment when the bot, or the run, was stopped.

use std::{collections::BTreeMap, time::Duration};

use ruma::OwnedRoomId;
use tokio_util::sync::CancellationToken;

use super::{ARRIVAL, FIRST_PAUSE, LONGEST_PAUSE};
use crate::{
    access::OpenError,
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

impl Inner {
    /// Puts back what is still changed, and tries again for as long as the old account's homeserver
    /// cannot be reached. Where the bot has no access, that waits until it has.
    pub(super) async fn put_rules_back(
        &self,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut pause = FIRST_PAUSE;
        while !self.try_to_put_rules_back(job, stop).await? {
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.cancelled() => return Ok(()),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Whether there is nothing left for which another try would help.
    pub(in crate::migration) async fn try_to_put_rules_back(
        &self,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let migration = job.migration();
        let mut openings = self.journal.openings(migration.id)?;
        openings.retain(|_, opening| !opening.state.is_settled());
        if openings.is_empty() {
            return Ok(true);
        }
        let standing = job.standing(Side::Old);
        let standing = standing.or_else(|| Standing::to_take_back(&migration, Side::Old));
        let Some(standing) = standing else { return Ok(true) };
        let old = match self.sessions.open(&standing).await {
            Ok(old) => old.map(|old| old.until(stop.clone())),
            Err(OpenError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(migration = %migration.id, %error, "join rules are not put back");
                return Ok(false);
            }
        };
        match old {
            // What was on its way when the bot was killed may arrive after the first look.
            Some(old) => {
                for pause in [Duration::ZERO, ARRIVAL] {
                    self.clock.sleep(pause).await;
                    put_back(&old, &mut openings).await;
                }
            }
            // Nobody says `login` any more.
            None if matches!(migration.phase, Phase::Cancelled(_)) => {
                let gone = || OpeningState::Stuck(Failure::TokenGone { soft_logout: false });
                openings.values_mut().for_each(|opening| opening.state = gone());
            }
            None => return Ok(true),
        }
        let is_retryable = |opening: &Opening| match &opening.state {
            OpeningState::Stuck(failure) => failure.is_retryable(),
            _ => false,
        };
        let is_done = !openings.values().any(is_retryable);
        for (room_id, opening) in &openings {
            self.journal.record_opening(migration.id, room_id, opening).await?;
        }
        self.report_rules(&migration).await?;
        Ok(is_done)
    }

    /// The report of a migration that was cancelled was written before.
    async fn report_rules(&self, migration: &Migration) -> Result<(), StoreError> {
        if !matches!(migration.phase, Phase::Cancelled(_)) {
            return Ok(());
        }
        let Some(plan) = self.journal.plan(migration.id)? else { return Ok(()) };
        let plan = plan.with(&migration.options);
        let report = self.report(migration, &plan, &Check::Nothing(None))?;
        self.journal.record_report(migration.id, &report).await
    }
}

async fn put_back(old: &Account, openings: &mut Openings) {
    for (room_id, opening) in openings {
        opening.state = match opening.put_back(old, room_id).await {
            Ok(state) => state,
            // It stays as it was, and whoever stopped this sees to it.
            Err(Failure::Stopped) => OpeningState::Open,
            Err(failure) => OpeningState::Stuck(failure),
        };
    }
}
