//! The end of a migration that was cancelled. The consent ended the moment it was taken back; here
//! follows what is to be undone in its name, and then the access to the accounts goes.
//!
//! Each part has its time: whatever hangs, the sessions are given up in the end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    consent::Standing,
    migration::{Inner, Migration, MigrationId, Side, job::Job},
    store::{Batch, StoreError},
};

/// How long moderators are told that nothing is asked any more. An invite request that stays is
/// found out by whoever follows it.
const TAKE_BACK_FOR: Duration = Duration::from_secs(120);
/// For how long join rules are put back that the old account changed: a room is left open longer
/// than was said, until somebody else closes it.
const PUT_BACK_FOR: Duration = Duration::from_secs(24 * 3600);

impl Inner {
    pub(super) async fn leave(
        &self,
        job: &Job,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        self.report_cancelled(migration).await?;
        let leave_taken = async {
            let stop = stop.child_token();
            self.for_at_most(TAKE_BACK_FOR, &stop, self.take_leave(migration, &stop)).await
        };
        let put_back = async {
            let stop = stop.child_token();
            self.for_at_most(PUT_BACK_FOR, &stop, self.put_rules_back(job, true, &stop)).await
        };
        // The new account's homeserver has nothing to do with the rules.
        let new_left = async {
            leave_taken.await?;
            self.give_up(migration.id, Side::New, stop).await
        };
        let (left, put_back) = tokio::join!(new_left, put_back);
        left.and(put_back)?;
        self.give_up(migration.id, Side::Old, stop).await
    }

    /// Does something until it takes too long, and tells it then to `stop`. What is on its way is
    /// dropped.
    async fn for_at_most(
        &self,
        time: Duration,
        stop: &CancellationToken,
        doing: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        tokio::select! {
            done = doing => done,
            () = self.clock.sleep(time) => {
                tracing::warn!("what a migration left to be undone takes too long, and is given up");
                stop.cancel();
                Ok(())
            }
        }
    }

    /// Has what was asked of others taken back, before the access to the accounts goes.
    async fn take_leave(
        &self,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let Some(follower) = self.follower.get() else { return Ok(()) };
        if migration.awaited.is_empty() {
            return Ok(());
        }
        let open = async |side| {
            let standing = Standing::to_take_back(migration, side)?;
            let account = self.sessions.open(&standing).await.ok().flatten()?;
            Some(account.until(stop.clone()))
        };
        let (old, new) = tokio::join!(open(Side::Old), open(Side::New));
        follower.take_leave(migration, old, new).await
    }

    /// Gives up the session that the bot made in one account; it is logged out in its own time.
    async fn give_up(
        &self,
        id: MigrationId,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        if stop.is_cancelled() {
            return Ok(());
        }
        let mut batch = Batch::new();
        self.sessions.end(&mut batch, id, side)?;
        self.journal.commit_batch(batch).await?;
        self.sessions.see_to_logouts();
        self.sessions.remove_device(id, side).await;
        Ok(())
    }
}
