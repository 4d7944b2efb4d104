//! `login`, `forget`.

use std::sync::Arc;

use ruma::{OwnedUserId, TransactionId};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Login, LoginError, OpenError, Session, Sessions},
    consent::Standing,
    migration::{
        Access, Event, Inner, Migration, MigrationId, Migrations, Phase, Refusal, Said,
        SecretMessage, Side, job::Job, journal::Change,
    },
    store::{Batch, StoreError},
};

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
        let (access, session) = inner.log_in(&standing, login).await?;
        let turn = job.turn().await;
        let mut migration = job.migration();
        let Some(standing) = job.standing(side) else {
            // `cancel` came in between: what was just opened is closed again.
            if let Some(session) = session {
                inner.sessions.discard(&said.by, session).await;
            }
            return Err(super::wrong_phase(&migration));
        };
        if !session.as_ref().is_some_and(Session::replaces_the_bots_own) {
            inner.end_session(&migration, side).await?;
        }
        let mut batch = Batch::new();
        match &session {
            Some(session) => inner.sessions.keep(&mut batch, &standing, session)?,
            None => Sessions::drop_from(&mut batch, migration.id, side),
        }
        migration.party_mut(side).access = access;
        let then = go_on_after_access(&mut migration);
        let mut change =
            Change::of(&migration).said(said).tell_both(Event::AccessGiven { side, secret });
        if let Some(event) = then {
            change = change.tell_both(event);
        }
        change.batch = batch;
        inner.commit(&job, &turn, change).await?;
        inner.set_to_work(&job);
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

    /// `forget`: logs the bot's sessions of this person out and deletes what is stored about their
    /// migrations, which must be over. Says which sessions could not be logged out.
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
            .jobs
            .of(&said.by)
            .into_iter()
            .filter(|job| job.migration().phase.is_over())
            .collect();
        if jobs.is_empty() {
            return Err(Refusal::NoMigration);
        }
        let mut not_logged_out = Vec::new();
        for job in jobs {
            not_logged_out.extend(inner.forget(&job, said).await?);
        }
        Ok(not_logged_out)
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
    /// What access a login gives, with the session if there is one.
    async fn log_in(
        &self,
        standing: &Standing,
        login: Login,
    ) -> Result<(Access, Option<Session>), Refusal> {
        let session = match login {
            Login::None => return Ok((Access::None, None)),
            Login::Service => {
                drop(self.sessions.masquerade(standing).await.map_err(Refusal::of)?);
                return Ok((Access::Masquerade, None));
            }
            Login::Token(token) => self.sessions.log_in_with_token(standing, token).await?,
            Login::Password(password) => {
                self.sessions.log_in_with_password(standing, &password).await?
            }
        };
        Ok((Access::Session, Some(session)))
    }

    /// Ends the session of one side, if the bot made one, as well as that can be done now.
    async fn end_session(&self, migration: &Migration, side: Side) -> Result<(), StoreError> {
        let user_id = &migration.party(side).user_id;
        match self.sessions.end(migration.id, side, user_id).await {
            Err(OpenError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(migration = %migration.id, %error, "no logout");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn forget(&self, job: &Arc<Job>, said: &Said) -> Result<Vec<OwnedUserId>, Refusal> {
        job.rest().await;
        self.try_to_put_rules_back(job, &CancellationToken::new()).await?;
        job.end_consent();
        let migration = job.migration();
        let mut not_logged_out = Vec::new();
        let mut batch = Batch::new();
        for side in [Side::Old, Side::New] {
            let user_id = &migration.party(side).user_id;
            if let Err(error) = self.sessions.end(migration.id, side, user_id).await {
                tracing::warn!(migration = %migration.id, %error, "no logout");
                not_logged_out.push(user_id.clone());
            }
            Sessions::drop_from(&mut batch, migration.id, side);
        }
        // Who began it anew meanwhile got nowhere without consent.
        job.rest().await;
        let _turn = job.turn().await;
        if let Some(follower) = self.follower.get() {
            follower.forget(&mut batch, migration.id)?;
        }
        // Who never took part was not told anything that could be taken back.
        let other = migration.side_of(&said.by).map(|side| migration.party(side.other()));
        let tell = other.filter(|party| party.consent.is_some()).map(|party| {
            let (old, new) = (migration.old.user_id.clone(), migration.new.user_id.clone());
            (party.user_id.clone(), Event::Forgotten { old, new })
        });
        self.journal.delete(&migration, Some(said), tell, batch, self.now()).await?;
        for party in [&migration.old, &migration.new] {
            self.transport.pacing().forget(&party.user_id).await?;
        }
        self.remove_job(migration.id);
        Ok(not_logged_out)
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
