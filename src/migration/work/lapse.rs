//! Consent that lapses: some time after the end of a migration, and where a plan waits for a `go`
//! that does not come. All of it is derived from what is stored, and so goes on after a restart.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Timestamp,
    migration::{
        Access, Ending, Event, Inner, Migration, Phase, Settings, Side, job::Job, journal::Change,
    },
    store::StoreError,
};

/// How long before it happens both are told; half of the time where that is shorter.
const NOTICE: Duration = Duration::from_secs(24 * 3600);

/// What comes next of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Both are told, then.
    Tell(Timestamp),
    /// It lapses, then.
    Lapse(Timestamp),
}

impl Next {
    fn at(self) -> Timestamp {
        match self {
            Self::Tell(at) | Self::Lapse(at) => at,
        }
    }
}

impl Settings {
    /// How long before consent lapses both are told.
    fn notice(&self) -> Duration {
        NOTICE.min(self.consent_keep / 2)
    }

    /// Nothing lapses that was not told of: a bot that was not running then tells first. `None` where
    /// nothing lapses, or not within the time that can be told.
    fn next_of(&self, migration: &Migration) -> Option<Next> {
        let since = migration.idle_since()?;
        let lapses = since.checked_add(self.consent_keep).ok()?;
        let notice = self.notice();
        match migration.lapse_told.filter(|told| *told >= since) {
            Some(told) => Some(Next::Lapse(lapses.max(told.checked_add(notice).ok()?))),
            None => Some(Next::Tell(lapses.checked_sub(notice).ok()?)),
        }
    }

    /// When the consent to a migration lapses, if nobody says anything before.
    pub(in crate::migration) fn lapses(&self, migration: &Migration) -> Option<Timestamp> {
        match self.next_of(migration)? {
            Next::Lapse(at) => Some(at),
            Next::Tell(at) => at.checked_add(self.notice()).ok(),
        }
    }
}

impl Inner {
    /// Does what there is to do meanwhile, and lets the consent lapse when it is time. Neither is
    /// dropped halfway: a change of the migration that was begun is finished.
    pub(super) async fn until_lapse<F>(
        &self,
        job: &Job,
        stop: &CancellationToken,
        meanwhile: impl FnOnce(CancellationToken) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let (phase, may_lapse) =
            job.look(|it| (it.phase.clone(), self.settings.lapses(it).is_some()));
        let rest = stop.child_token();
        let (done, lapsed) = tokio::join!(
            async {
                let done = meanwhile(rest.clone()).await;
                if done.is_err() || job.migration().phase != phase {
                    rest.cancel();
                }
                done
            },
            async {
                let lapsed = self.await_lapse_in(&phase, job, &rest).await;
                let has_lapsed = may_lapse && self.settings.lapses(&job.migration()).is_none();
                if lapsed.is_err() || has_lapsed {
                    rest.cancel();
                }
                lapsed
            }
        );
        done.and(lapsed)
    }

    /// Tells both when it is time, and then lets the consent lapse: as long as the migration is in
    /// this phase.
    pub(super) async fn await_lapse_in(
        &self,
        phase: &Phase,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        while !stop.is_cancelled() && job.look(|migration| migration.phase == *phase) {
            let Some(next) = self.settings.next_of(&job.migration()) else { return Ok(()) };
            let left = Duration::try_from(next.at().duration_since(self.now())).unwrap_or_default();
            if !left.is_zero() {
                tokio::select! {
                    () = self.clock.sleep(left) => continue,
                    () = stop.cancelled() => return Ok(()),
                }
            }
            self.take(next, job, stop).await?;
        }
        Ok(())
    }

    /// Takes the next step, if it still is that.
    async fn take(
        &self,
        next: Next,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let turn = job.turn().await;
        let mut migration = job.migration();
        if stop.is_cancelled() || self.settings.next_of(&migration) != Some(next) {
            return Ok(());
        }
        let now = self.now();
        let event = match next {
            Next::Tell(_) => {
                migration.lapse_told = Some(now);
                Some(Event::LapsesSoon)
            }
            Next::Lapse(_) if migration.phase == Phase::Finished => {
                migration.lapsed = Some(now);
                for side in [Side::Old, Side::New] {
                    migration.party_mut(side).access = Access::Unknown;
                }
                None
            }
            Next::Lapse(_) => {
                migration.phase = Phase::Cancelled(Ending::Lapsed);
                migration.ended = Some(now);
                Some(Event::PlanLapsed)
            }
        };
        let change = Change::of(&migration);
        let change = match event {
            Some(event) => change.tell_both(event),
            None => change,
        };
        self.commit(job, &turn, change).await
    }
}
