//! Migrations that ended before anything was done: declined, lapsed, cancelled. Anybody can make as
//! many as they like, so they are deleted after a while, and at once where there are too many. What
//! outlives them is what keeps others from being pestered, which names nobody.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use ruma::UserId;

use super::{Inner, Migration, Migrations, Phase, Side, job::Job};
use crate::{
    access::Sessions,
    clock::Timestamp,
    store::{Batch, StoreError},
};

/// How long one is kept, for those who ask what became of it.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many are kept of one account that said `start`, and in all.
const MOST_OF_ACCOUNT: usize = 10;
const MOST: usize = 5_000;
/// How often they are looked through.
const LOOK: Duration = Duration::from_secs(3600);

impl Migrations {
    /// Deletes what ended before anything was done, for as long as the bot runs.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn tidy(&self) -> StoreError {
        loop {
            if let Err(error) = self.0.delete_ended(self.0.now()).await {
                return error;
            }
            self.0.clock.sleep(LOOK).await;
        }
    }
}

impl Inner {
    /// Makes room for one more migration that this account begins.
    pub(super) async fn make_room(&self, by: &UserId) -> Result<(), StoreError> {
        let of_account = self.jobs.of(by).into_iter();
        let ended: Vec<_> = of_account
            .filter(|job| job.look(|it| it.old.user_id == by && is_missed_by_nobody(it)))
            .collect();
        let too_many = ended.len().saturating_sub(MOST_OF_ACCOUNT - 1);
        for job in &ended[..too_many] {
            self.delete(job).await?;
        }
        // Only those that ended are among the deleted, so that there may be more in all.
        if self.jobs.len() > 2 * MOST { self.delete_ended(self.now()).await } else { Ok(()) }
    }

    async fn delete_ended(&self, now: Timestamp) -> Result<(), StoreError> {
        let all = self.jobs.all();
        let ended: Vec<_> = all.iter().filter(|job| job.look(came_to_nothing)).collect();
        let too_many = ended.len().saturating_sub(MOST);
        for (place, job) in ended.into_iter().enumerate() {
            let is_old = |migration: &Migration| {
                migration.ended.is_none_or(|ended| now.duration_since(ended) >= KEPT)
            };
            if (place < too_many && job.look(is_missed_by_nobody)) || job.look(is_old) {
                self.delete(job).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, job: &Arc<Job>) -> Result<(), StoreError> {
        let _turn = job.turn().await;
        let migration = job.migration();
        if !came_to_nothing(&migration) {
            return Ok(());
        }
        let mut batch = Batch::new();
        for side in [Side::Old, Side::New] {
            Sessions::drop_from(&mut batch, migration.id, side);
        }
        if let Some(follower) = self.follower.get() {
            follower.forget(&mut batch, migration.id)?;
        }
        self.journal.delete(&migration, None, None, batch, self.now()).await?;
        self.jobs.remove(migration.id);
        Ok(())
    }
}

/// Whether it ended with nothing done.
fn came_to_nothing(migration: &Migration) -> bool {
    matches!(migration.phase, Phase::Cancelled(_)) && migration.went.is_none()
}

/// Whether there is not even a session that may still have to be ended.
fn is_missed_by_nobody(migration: &Migration) -> bool {
    let parties = [&migration.old, &migration.new];
    came_to_nothing(migration) && parties.iter().all(|party| !party.access.is_given())
}

#[cfg(test)]
mod tests;
