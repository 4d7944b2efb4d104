//! Masquerade: where a registration covers an account, nobody has to say `login`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    access::OpenError,
    migration::{
        Access, Event, Inner, Migration, Phase, Side, commands::access::go_on_after_access,
        job::Job, journal::Change,
    },
    store::StoreError,
};

/// Pauses between attempts while a homeserver does not let the bot act as an account.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

impl Inner {
    /// Gives the bot access to those who need not say `login`, and have not said anything else.
    pub(in crate::migration) fn give_masquerade(&self, migration: &mut Migration) {
        for side in [Side::Old, Side::New] {
            let party = migration.party_mut(side);
            if party.access == Access::Unknown && self.sessions.covers(&party.user_id) {
                party.access = Access::Masquerade;
            }
        }
    }

    /// While access is waited for, looks whether the homeservers have come to let the bot in: the
    /// admin may have registered it only now.
    pub(super) async fn await_service(
        &self,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let mut hopes = false;
            for side in [Side::Old, Side::New] {
                let migration = job.migration();
                let party = migration.party(side);
                if party.access == Access::Unknown && self.sessions.covers(&party.user_id) {
                    hopes = true;
                    self.try_masquerade(job, side, stop).await?;
                }
            }
            if !hopes || job.migration().phase != Phase::AwaitingAccess {
                return Ok(());
            }
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    async fn try_masquerade(
        &self,
        job: &Job,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let Some(standing) = job.standing(side) else { return Ok(()) };
        match self.sessions.masquerade(&standing).await {
            Ok(_) => {}
            Err(OpenError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(account = %standing.user_id(), %error, "no masquerade yet");
                return Ok(());
            }
        }
        let Some(turn) = self.turn_in(job, &Phase::AwaitingAccess, stop).await else {
            return Ok(());
        };
        let mut migration = job.migration();
        if migration.party(side).access != Access::Unknown {
            return Ok(());
        }
        migration.party_mut(side).access = Access::Masquerade;
        let then = go_on_after_access(&mut migration);
        let mut change = Change::of(&migration).tell_both(Event::ServiceBegan { side });
        if let Some(event) = then {
            change = change.tell_both(event);
        }
        self.commit(job, turn, change).await
    }

    /// A registration that was taken out of the configuration is told of before anybody says `go`.
    pub(super) async fn see_to_service(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        for side in [Side::Old, Side::New] {
            let party = migration.party(side);
            if party.access != Access::Masquerade || self.sessions.covers(&party.user_id) {
                continue;
            }
            let Some(turn) = self.turn_in(job, &Phase::AwaitingGo, stop).await else {
                return Ok(());
            };
            return self.lose_access(job, turn, side).await;
        }
        Ok(())
    }
}
