//! A task for each migration that waits for moderators.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Host, Inner, Moderation, post::AFTER_FAILURE};
use crate::{
    homeserver::{Account, Failure},
    migration::{Closed, MigrationId, Side},
    store::StoreError,
    supervise,
};

/// Why a migration is no longer attended to, or something could not be done.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to stop.
    Stopped,
    /// An account gives no access.
    NoAccess,
    /// The homeserver no longer accepts this side's session.
    AccessLost(Side),
    /// A homeserver did not do what it was asked for.
    Failed(Failure),
    /// Nothing can be written down any more.
    Store(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whose access is gone, where that is why, is for the caller to say: most is done as the old
/// account.
impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stopped => Self::Stopped,
            Failure::TokenGone { .. } => Self::AccessLost(Side::Old),
            failure => Self::Failed(failure),
        }
    }
}

impl Moderation {
    /// Asks and listens for every migration that waits for moderators, until the store fails.
    /// Invites as `host` where moderators say so and that account may.
    pub async fn run(&self, host: Arc<dyn Host>) -> StoreError {
        *self.0.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
        let mut changes = self.0.migrations.changes();
        let mut changed = self.0.changed.subscribe();
        let mut attended: HashMap<MigrationId, CancellationToken> = HashMap::new();
        let mut tasks = JoinSet::new();
        loop {
            changes.mark_unchanged();
            changed.mark_unchanged();
            let awaiting = match self.0.to_be_attended() {
                Ok(awaiting) => awaiting,
                Err(error) => return error,
            };
            for (id, stop) in &attended {
                if !awaiting.contains(id) {
                    stop.cancel();
                }
            }
            for id in awaiting {
                // One that is still being stopped begins again once it has.
                attended.entry(id).or_insert_with(|| {
                    let stop = CancellationToken::new();
                    let (inner, token) = (self.0.clone(), stop.clone());
                    tasks.spawn(async move {
                        let attend = || inner.clone().attend(id, token.clone());
                        (id, supervise::persistently("moderation", &inner.clock, attend).await)
                    });
                    stop
                });
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = changed.changed() => {}
                Some(ended) = tasks.join_next() => match ended {
                    Ok((_, Err(error))) => return error,
                    Ok((id, Ok(()))) => {
                        attended.remove(&id);
                    }
                    // Nobody ends one from outside.
                    Err(error) => tracing::error!(%error, "moderators are no longer heard"),
                }
            }
        }
    }
}

impl Inner {
    async fn attend(
        self: Arc<Self>,
        id: MigrationId,
        stop: CancellationToken,
    ) -> Result<(), StoreError> {
        let mut changes = self.migrations.changes();
        let told_to_stop = stop;
        let stop = told_to_stop.child_token();
        // The first that ends ends the others.
        let (posted, heard_old, heard_new, answered, timed) = tokio::join!(
            then_stop(self.post_all(id, &stop), &stop),
            then_stop(self.hear(id, Side::Old, &stop), &stop),
            then_stop(self.hear(id, Side::New, &stop), &stop),
            then_stop(self.follow_all(id, &stop), &stop),
            then_stop(self.keep_time(id, &stop), &stop),
        );
        for end in [posted, heard_old, heard_new, answered, timed] {
            match end {
                Err(End::Store(error)) => return Err(error),
                // A `login` may have replaced the session meanwhile.
                Err(End::AccessLost(side)) if self.is_lost(id, side).await => {
                    self.migrations.access_lost(id, side).await?;
                }
                Err(End::Failed(failure)) => {
                    tracing::warn!(migration = %id, %failure, "moderators are not heard for now");
                    tokio::select! {
                        () = self.clock.sleep(AFTER_FAILURE) => {}
                        () = told_to_stop.cancelled() => {}
                    }
                }
                Err(End::NoAccess) => {
                    tokio::select! {
                        _ = changes.changed() => {}
                        () = told_to_stop.cancelled() => {}
                    }
                }
                Ok(()) | Err(End::Stopped | End::AccessLost(_)) => {}
            }
        }
        Ok(())
    }

    /// The migrations in which something is to be sent, heard or closed now.
    fn to_be_attended(&self) -> Result<HashSet<MigrationId>, StoreError> {
        let mut attended = HashSet::new();
        for id in self.migrations.attendable() {
            let requests = self.records.of(id)?;
            if requests.iter().any(|request| request.state.is_live() || request.to_be_closed) {
                attended.insert(id);
            }
        }
        Ok(attended)
    }

    async fn is_lost(&self, id: MigrationId, side: Side) -> bool {
        let account = self.account(id, side, &CancellationToken::new()).await;
        match account {
            Ok(account) => matches!(account.whoami().await, Err(Failure::TokenGone { .. })),
            Err(end) => matches!(end, End::AccessLost(_)),
        }
    }

    /// Acts as one of the accounts.
    pub(super) async fn account(
        &self,
        id: MigrationId,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<Account, End> {
        match self.migrations.account(id, side, stop).await {
            Ok(account) => Ok(account),
            Err(Closed::NoAccess) => Err(End::NoAccess),
            Err(Closed::NoService) => Err(End::AccessLost(side)),
            Err(Closed::Failed(Failure::TokenGone { .. })) => Err(End::AccessLost(side)),
            Err(Closed::Failed(failure)) => Err(failure.into()),
            Err(Closed::Store(error)) => Err(error.into()),
        }
    }
}

async fn then_stop<T>(doing: impl Future<Output = T>, stop: &CancellationToken) -> T {
    let done = doing.await;
    stop.cancel();
    done
}
