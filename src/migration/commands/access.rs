//! `login`, `forget`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use ruma::{EventId, OwnedUserId, TransactionId};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Login, LoginError, LogoutId, OpenError, Opened, Sessions},
    consent::Standing,
    migration::{
        Access, Event, Inner, Migration, MigrationId, Migrations, Phase, Refusal, Said,
        SecretMessage, Side,
        job::{Job, Turn},
        journal::{Change, Prepared},
    },
    store::{Batch, StoreError},
    to_the_end::to_the_end,
};

/// How long `forget` waits for what is on its way as an account, for join rules to be put back, and
/// for sessions to be logged out: together less than a person waits for an answer.
const REST_FOR: Duration = Duration::from_secs(10);
const PUT_BACK_FOR: Duration = Duration::from_secs(15);
const LOGOUT_FOR: Duration = Duration::from_secs(10);

impl Migrations {
    /// `login`: how the bot may act as the account that says this. For anything but
    /// [`Login::None`] the caller made sure that the message was encrypted.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`]; [`Refusal::NoConsentYet`]; [`Refusal::WrongPhase`];
    /// [`Refusal::Login`] when the account's homeserver says no.
    pub async fn login(&self, said: &Said, login: Login) -> Result<(), Refusal> {
        let inner = self.inner();
        let (job, turn, _, side) = match inner.active(&said.by).await {
            Err(Refusal::NoMigration) if !self.requests_to(&said.by).is_empty() => {
                return Err(Refusal::NoConsentYet);
            }
            active => active?,
        };
        // Asking the homeserver takes its time, in which others may have their turn.
        drop(turn);
        let standing = job.standing(side).ok_or(Refusal::NoConsentYet)?;
        let secret = matches!(login, Login::Token(_) | Login::Password(_)).then(|| SecretMessage {
            room_id: said.room_id.clone(),
            event_id: said.event_id.clone(),
        });
        let (access, opened) = inner.log_in(&standing, login, &said.event_id).await?;
        let turn = job.turn().await;
        let mut migration = job.migration();
        // When `cancel` came in between, what was just opened is closed again.
        let standing = job.standing(side).ok_or_else(|| super::wrong_phase(&migration))?;
        let mut batch = Batch::new();
        let is_made_by_bot = opened.as_ref().is_some_and(Opened::replaces_the_bots_own);
        if !is_made_by_bot {
            inner.sessions.end(&mut batch, migration.id, side)?;
        }
        let id = migration.id;
        if let Some(opened) = opened {
            Sessions::keep(&mut batch, &standing, opened)?;
        }
        migration.party_mut(side).access = access;
        let then = go_on_after_access(&mut migration);
        let mut change =
            Change::of(&migration).said(said).tell_both(Event::AccessGiven { side, secret });
        if let Some(event) = then {
            change = change.tell_both(event);
        }
        change.batch = batch;
        inner.commit_and_work(&job, turn, change).await?;
        if !is_made_by_bot {
            inner.sessions.remove_device(id, side).await;
        }
        Ok(())
    }

    /// Redacts a message that carried a secret, as the account that sent it, with the session that
    /// the secret opened.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`] when there is no such session any more, [`Refusal::Login`] when the
    /// homeserver does not do it.
    pub async fn redact_as_sender(
        &self,
        id: MigrationId,
        side: Side,
        message: &SecretMessage,
    ) -> Result<(), Refusal> {
        let job = self.inner().job(id).ok_or(Refusal::NoMigration)?;
        let standing = job.standing(side).ok_or(Refusal::NoMigration)?;
        let account = self.inner().sessions.open(&standing).await.map_err(Refusal::of)?;
        let account = account.ok_or(Refusal::NoMigration)?;
        // One and the same for each attempt, so that it is redacted once.
        let transaction = <&TransactionId>::from(message.event_id.as_str());
        account
            .redact(&message.room_id, &message.event_id, transaction)
            .await
            .map(drop)
            .map_err(|failure| LoginError::Failed(failure).into())
    }

    /// `forget`: ends the bot's sessions of this person and deletes what is stored about their
    /// migrations, which must be over. Says which sessions are not logged out yet: for a while it is
    /// tried again.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`]; [`Refusal::WrongPhase`] while one is not over.
    pub async fn forget(&self, said: &Said) -> Result<Vec<OwnedUserId>, Refusal> {
        let inner = self.inner();
        if let Some(job) = inner.find(&said.by, |phase| !phase.is_over()) {
            return Err(super::wrong_phase(&job.migration()));
        }
        let jobs: Vec<_> = inner
            .all_jobs()
            .into_iter()
            .filter(|job| job.migration().side_of(&said.by).is_some())
            .filter(|job| job.migration().phase.is_over())
            .collect();
        if jobs.is_empty() {
            return Err(Refusal::NoMigration);
        }
        let mut ended = BTreeMap::new();
        for forgotten in join_all(jobs.iter().map(|job| inner.forget(job, said))).await {
            ended.extend(forgotten?);
        }
        let left = inner.sessions.still_logged_in(ended.keys().copied().collect(), LOGOUT_FOR);
        Ok(left.await?.into_iter().filter_map(|id| ended.remove(&id)).collect())
    }
}

impl Refusal {
    fn of(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::Discovery(error) => LoginError::from(error).into(),
            OpenError::Failed(failure) => LoginError::Failed(failure).into(),
            OpenError::NotCovered => LoginError::NotCovered.into(),
            OpenError::ServiceRefused(failure) => LoginError::ServiceRefused(failure).into(),
        }
    }
}

impl Inner {
    /// What access a login gives that was said with `event`, and the session if there is one.
    async fn log_in(
        &self,
        standing: &Standing,
        login: Login,
        event: &EventId,
    ) -> Result<(Access, Option<Opened>), Refusal> {
        let server = || async {
            self.sessions.server_for_secret(standing, event).await.map_err(Refusal::of)
        };
        let opened = match login {
            Login::None => return Ok((Access::None, None)),
            Login::Service => {
                drop(self.sessions.masquerade(standing).await.map_err(Refusal::of)?);
                return Ok((Access::Masquerade, None));
            }
            Login::Token(token) => {
                self.sessions.log_in_with_token(&server().await?, standing, token).await?
            }
            Login::Password(password) => {
                self.sessions.log_in_with_password(&server().await?, standing, password).await?
            }
        };
        Ok((Access::Session, Some(opened)))
    }

    /// Deletes all that is stored about a migration, and gives up the access to its accounts.
    async fn forget(
        self: &Arc<Self>,
        job: &Arc<Job>,
        said: &Said,
    ) -> Result<Vec<(LogoutId, OwnedUserId)>, Refusal> {
        job.rest_within(&self.clock, REST_FOR).await;
        let never = CancellationToken::new();
        tokio::select! {
            put_back = self.try_to_put_rules_back(job, &never) => {
                put_back?;
            }
            () = self.clock.sleep(PUT_BACK_FOR) => {}
        }
        let turn = job.turn().await;
        if !job.look(|migration| migration.phase.is_over()) {
            return Err(super::wrong_phase(&job.migration()));
        }
        job.end_consent();
        drop(turn);
        // Who began it anew meanwhile got nowhere without consent.
        job.rest_within(&self.clock, REST_FOR).await;
        let turn = job.turn().await;
        let (migration, mut batch) = (job.migration(), Batch::new());
        let mut ended = Vec::new();
        for side in [Side::Old, Side::New] {
            let id = self.sessions.end(&mut batch, migration.id, side)?;
            ended.extend(id.map(|id| (id, migration.party(side).user_id.clone())));
        }
        if let Some(follower) = self.follower.get() {
            follower.forget(&mut batch, migration.id)?;
        }
        // Who never took part was not told anything that could be taken back.
        let other = migration.side_of(&said.by).map(|side| migration.party(side.other()));
        let tell = other.filter(|party| party.consent.is_some()).map(|party| {
            let (old, new) = (migration.old.user_id.clone(), migration.new.user_id.clone());
            (party.user_id.clone(), Event::Forgotten { old, new })
        });
        let prepared = self.journal.prepare_deletion(&migration, said, tell, batch, self.now())?;
        self.delete(turn, migration, prepared).await?;
        Ok(ended)
    }

    fn delete(
        self: &Arc<Self>,
        turn: Turn,
        migration: Migration,
        prepared: Prepared,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (inner, held) = (self.clone(), turn.while_writing());
        to_the_end(async move {
            let committed = inner.journal.write(prepared).await?;
            inner.remove_job(migration.id);
            drop(held);
            inner.journal.hand_out(committed);
            inner.sessions.see_to_logouts();
            for side in [Side::Old, Side::New] {
                inner.sessions.remove_device(migration.id, side).await;
                inner.transport.pacing().forget(&migration.party(side).user_id).await?;
            }
            Ok(())
        })
    }
}

/// What follows from access being given, and what is told of it besides.
pub(in crate::migration) fn go_on_after_access(migration: &mut Migration) -> Option<Event> {
    let access = [migration.old.access, migration.new.access];
    match migration.phase {
        Phase::AwaitingAccess if access.into_iter().any(Access::is_missing) => None,
        _ if access == [Access::None, Access::None] => {
            migration.await_access();
            Some(Event::AccessNeeded)
        }
        Phase::AwaitingAccess | Phase::AwaitingGo | Phase::Failed(_) => {
            // Only what was running when the access was lost runs again by itself.
            if migration.go_back_to_run() {
                return (migration.phase == Phase::Running).then_some(Event::GoesOn);
            }
            migration.phase = Phase::Surveying;
            None
        }
        _ => None,
    }
}
