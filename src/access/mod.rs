//! How the bot may act as an account: the only place that opens one, and only with the proof that
//! the account consented. However wide the namespace of a registration is, it covers nobody without
//! that proof.

mod device;
mod logouts;

use std::{sync::Arc, time::Duration};

use ruma::{EventId, OwnedDeviceId, OwnedEventId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use url::Url;

pub(crate) use self::{device::Device, logouts::LogoutId};
use self::{
    device::{DeviceError, Devices},
    logouts::Logouts,
};
use crate::{
    appservice::Appservices,
    clock::SharedClock,
    consent::{ModeratorsWord, Standing},
    homeserver::{Account, Auth, DiscoverError, Failure, LoginFlow, Mandate, Server, Transport},
    record::{Access, MigrationId, Side},
    secret::{ExposeSecret, Secret},
    store::{Batch, Store, StoreError},
    to_the_end::to_the_end,
};

/// How a person gives access, as said with `login`.
#[derive(Debug)]
pub enum Login {
    /// With the account's password: the bot makes itself a session of its own.
    Password(Secret),
    /// With an access token that the person made.
    Token(Secret),
    /// As the homeserver's admin set it up.
    Service,
    /// Not at all.
    None,
}

/// Why a login did not work.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The account's homeserver could not be found or reached.
    #[error(transparent)]
    Discovery(#[from] DiscoverError),
    /// The homeserver takes no passwords from clients; a token is needed.
    #[error("the homeserver offers no login with a password")]
    NoPasswordFlow,
    /// The homeserver refused the password or the token.
    #[error("the homeserver refused: {0}")]
    Wrong(Failure),
    /// The secret belongs to another account. A session that the bot made with it is logged out; one
    /// that it was given is left alone.
    #[error("this belongs to {user}")]
    SomebodyElse {
        /// The other account.
        user: OwnedUserId,
        /// Whether the bot made the session itself, with a password.
        made_by_bot: bool,
    },
    /// The bot is no application service on the account's homeserver, or not for this account.
    #[error("no registration covers this account")]
    NotCovered,
    /// The homeserver does not let the application service act as this account.
    #[error("the homeserver refuses the application service: {0}")]
    ServiceRefused(Failure),
    /// The homeserver did not answer as it should.
    #[error(transparent)]
    Failed(Failure),
}

/// A session that acts as an account.
#[derive(Debug)]
struct Session {
    base_url: Url,
    device_id: Option<OwnedDeviceId>,
    /// Whether the bot made it, and so logs it out when it is no longer needed. A token that a
    /// person gave may be that of the client in their hand.
    made_by_bot: bool,
    token: Secret,
}

/// A session that was opened and is not stored yet. Dropped before it is [kept](Sessions::keep), it
/// is logged out if the bot made it, however that came: the person said `cancel` meanwhile, the
/// command took too long, it is somebody else's.
#[derive(Debug)]
pub(crate) struct Opened {
    session: Option<Session>,
    device: String,
    logouts: Logouts,
}

impl Opened {
    /// Whether it is of the one device that the bot logs in as, so that a session which the bot
    /// made before is gone already.
    pub(crate) fn replaces_the_bots_own(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.made_by_bot)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(session) = self.session.take().filter(|session| session.made_by_bot) {
            self.logouts.end(&session, &self.device);
        }
    }
}

/// A session as stored: as a whole under encryption, since it holds the token.
#[derive(Serialize, Deserialize)]
struct StoredSession {
    base_url: Url,
    device_id: Option<OwnedDeviceId>,
    made_by_bot: bool,
    token: String,
}

/// That a person was told that their homeserver is elsewhere now.
#[derive(Serialize, Deserialize)]
struct Told {
    to: Url,
    /// What they had said.
    event: OwnedEventId,
}

/// Opens accounts that consented: with sessions, which it keeps and ends, or as an application
/// service.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    store: Store,
    transport: Transport,
    appservices: Appservices,
    devices: Arc<Devices>,
    logouts: Logouts,
}

impl Sessions {
    pub(crate) fn new(
        store: Store,
        transport: Transport,
        appservices: Appservices,
        clock: SharedClock,
    ) -> Self {
        let devices = Arc::new(Devices::new(store.clone()));
        let logouts = Logouts::new(store.clone(), transport.clone(), devices.clone(), clock);
        Self { store, transport, appservices, devices, logouts }
    }

    /// Begins to log out what is to end, also what a process before this one left.
    pub(crate) fn begin_logouts(&self) {
        self.logouts.begin();
    }

    /// Stops that, at once. What is left is for the next process.
    pub(crate) async fn stop_logouts(&self) {
        self.logouts.stop().await;
    }

    /// Something was written down; perhaps that a session is to [end](Self::end).
    pub(crate) fn see_to_logouts(&self) {
        self.logouts.look();
    }

    /// Waits for these sessions to be logged out, for at most `time`. Those that are not.
    pub(crate) async fn still_logged_in(
        &self,
        ids: Vec<LogoutId>,
        time: Duration,
    ) -> Result<Vec<LogoutId>, StoreError> {
        self.logouts.left_after(ids, time).await
    }

    /// Whether the bot could act as `user` without a session of its own, once `user` consents.
    pub(crate) fn covers(&self, user: &UserId) -> bool {
        self.appservices.covering(user).is_some()
    }

    /// Whether `user`'s homeserver tells the bot, as an application service, what `user` says.
    pub(crate) fn hears_from(&self, user: &UserId) -> bool {
        self.appservices.covering(user).is_some_and(|service| service.url().is_some())
    }

    /// Whether `user`'s homeserver limits nothing that the bot does as `user` without a session.
    pub(crate) fn exempts(&self, user: &UserId) -> bool {
        self.appservices.covering(user).is_some_and(|service| !service.is_rate_limited())
    }

    /// The homeserver of the account that consented, to send it the secret that its owner said with
    /// `event`. Where it is elsewhere than before, it is not sent there until the person was told so
    /// and says it again: that is their agreement, for this migration alone.
    pub(crate) async fn server_for_secret(
        &self,
        standing: &Standing,
        event: &EventId,
    ) -> Result<Server, OpenError> {
        let name = standing.user_id().server_name();
        let moved = match self.transport.discover_for_secrets(name).await {
            Err(DiscoverError::Moved(moved)) => moved,
            found => return Ok(found?),
        };
        let to = &moved.to;
        let key = moved_key(standing.migration(), standing.side());
        let told = self.store.secret(&key)?;
        let told = told.and_then(|json| serde_json::from_str::<Told>(json.expose_secret()).ok());
        // The same message that is handled once more, after a crash, is no second word.
        if told.is_some_and(|told| told.to == *to && told.event != event) {
            return Ok(self.transport.server_at(to).await?);
        }
        let told = Told { to: to.clone(), event: event.to_owned() };
        let json = serde_json::to_string(&told)
            .map_err(|error| StoreError::encode("secret", &key, error))?;
        let mut batch = Batch::new();
        batch.put_secret(&key, &Secret::from(json));
        self.store.commit(batch).await?;
        Err(DiscoverError::Moved(moved).into())
    }

    /// Logs in as the account that consented, on its `server`, and makes sure that it is that account.
    pub(crate) async fn log_in_with_password(
        &self,
        server: &Server,
        standing: &Standing,
        password: Secret,
    ) -> Result<Opened, LoginError> {
        let user_id = standing.user_id();
        let flows = self.transport.login_flows(server).await.map_err(LoginError::Failed)?;
        if !flows.iter().any(|flow| matches!(flow, LoginFlow::Password(_))) {
            return Err(LoginError::NoPasswordFlow);
        }
        // The same device each time, so that a login repeated after a crash leaves no second one.
        let device_id = OwnedDeviceId::from(format!("TERN{}", standing.since().as_millisecond()));
        let (sessions, at, user_id) = (self.clone(), server.clone(), user_id.to_owned());
        let device = key(standing.migration(), standing.side());
        // A session that comes when nobody waits for it any more is known here, and ended.
        let opened = to_the_end(async move {
            let name = "Tern, moving your account";
            let login =
                sessions.transport.login_password(&at, &user_id, &password, &device_id, name);
            let login = login.await.map_err(refused_or_failed)?;
            let session = Session {
                base_url: at.base_url().clone(),
                device_id: Some(login.device_id),
                made_by_bot: true,
                token: login.token,
            };
            let logouts = sessions.logouts.clone();
            Ok::<_, LoginError>(Opened { session: Some(session), device, logouts })
        });
        self.checked(server, standing, opened.await?).await
    }

    /// Takes a token over, if it is one of the account that consented.
    pub(crate) async fn log_in_with_token(
        &self,
        server: &Server,
        standing: &Standing,
        token: Secret,
    ) -> Result<Opened, LoginError> {
        let session = Session {
            base_url: server.base_url().clone(),
            device_id: None,
            made_by_bot: false,
            token,
        };
        let device = key(standing.migration(), standing.side());
        let logouts = self.logouts.clone();
        self.checked(server, standing, Opened { session: Some(session), device, logouts }).await
    }

    /// Asks the homeserver whose session it is, and refuses anybody's but the account's own. A
    /// session that the bot itself made is ended then; one that it was given is left alone: it may
    /// be that of the client in somebody's hand, with the only keys to their messages.
    async fn checked(
        &self,
        server: &Server,
        standing: &Standing,
        mut opened: Opened,
    ) -> Result<Opened, LoginError> {
        let made_by_bot = opened.replaces_the_bots_own();
        if let Some(session) = &mut opened.session {
            let account = self.account(server, standing, &session.token);
            let whoami = account.whoami().await.map_err(refused_or_failed)?;
            if whoami.user_id != standing.user_id() {
                return Err(LoginError::SomebodyElse { user: whoami.user_id, made_by_bot });
            }
            session.device_id = whoami.device_id;
        }
        Ok(opened)
    }

    /// Adds to `batch` that the session is kept. It is to be written down now.
    pub(crate) fn keep(
        batch: &mut Batch,
        standing: &Standing,
        mut opened: Opened,
    ) -> Result<(), StoreError> {
        let Some(session) = opened.session.take() else { return Ok(()) };
        let stored = StoredSession {
            base_url: session.base_url.clone(),
            device_id: session.device_id.clone(),
            made_by_bot: session.made_by_bot,
            token: session.token.expose_secret().to_owned(),
        };
        let key = key(standing.migration(), standing.side());
        let json = serde_json::to_string(&stored)
            .map_err(|error| StoreError::encode("secret", &key, error))?;
        batch.put_secret(&key, &Secret::from(json));
        batch.remove_secret(&moved_key(standing.migration(), standing.side()));
        Ok(())
    }

    /// Adds to `batch` that a session is no longer kept.
    pub(crate) fn drop_from(batch: &mut Batch, migration: MigrationId, side: Side) {
        batch.remove_secret(&key(migration, side));
        batch.remove_secret(&moved_key(migration, side));
    }

    /// Opens the account that consented, if there is access to it.
    pub(crate) async fn open(&self, standing: &Standing) -> Result<Option<Account>, OpenError> {
        match standing.access() {
            Access::Session => {
                let stored = self.stored(standing.migration(), standing.side())?;
                let Some(session) = stored else { return Ok(None) };
                let server = self.transport.server_at(&session.base_url).await?;
                Ok(Some(self.account(&server, standing, &session.token)))
            }
            Access::Masquerade => self.masquerade(standing).await.map(Some),
            Access::Unknown | Access::None | Access::Lost => Ok(None),
        }
    }

    /// Opens the account that consented as the application service that covers it, and makes sure
    /// that its homeserver agrees.
    pub(crate) async fn masquerade(&self, mandate: &impl Mandate) -> Result<Account, OpenError> {
        let user_id = mandate.user_id();
        let service = self.appservices.covering(user_id).ok_or(OpenError::NotCovered)?;
        let server = self.transport.discover_for_service(service.server()).await?;
        let auth = Auth::Masquerade(service.as_token().clone());
        let account = Account::new(self.transport.clone(), server, mandate, auth);
        match account.whoami().await {
            Ok(whoami) if whoami.user_id == user_id => Ok(account),
            // A homeserver that pays no heed to whom it is asked for would do all as the bot.
            Ok(_) => Err(OpenError::NotCovered),
            Err(
                failure @ (Failure::Refused { .. }
                | Failure::TokenGone { .. }
                | Failure::Deactivated),
            ) => Err(OpenError::ServiceRefused(failure)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Sends the one invitation that a moderator agreed to, as that moderator.
    pub(crate) async fn invite_as_moderator(&self, word: ModeratorsWord) -> Result<(), OpenError> {
        let moderator = self.masquerade(&word).await?;
        Ok(moderator.invite(word.room_id(), word.invited()).await?)
    }

    /// Whether the bot made this side's session, which so has a device of the bot's own.
    pub(crate) fn has_device(
        &self,
        migration: MigrationId,
        side: Side,
    ) -> Result<bool, StoreError> {
        let session = self.stored(migration, side)?;
        Ok(session.is_some_and(|session| session.made_by_bot && session.device_id.is_some()))
    }

    /// Whether something was encrypted with the device of this side's session before.
    pub(crate) fn has_used_device(&self, migration: MigrationId, side: Side) -> bool {
        self.devices.is_known(&key(migration, side))
    }

    /// The device of a session that the bot made.
    pub(crate) async fn device(
        &self,
        migration: MigrationId,
        side: Side,
        user_id: &UserId,
    ) -> Result<Option<Arc<Device>>, DeviceError> {
        let session = self.stored(migration, side)?.filter(|session| session.made_by_bot);
        let Some(device_id) = session.and_then(|session| session.device_id) else {
            return Ok(None);
        };
        self.devices.open(migration, &key(migration, side), user_id, &device_id).await.map(Some)
    }

    /// Adds to `batch` that the session of one side is to end, if there is one: nobody acts with it
    /// any more once that is written down. What the bot made is then logged out, in its own time.
    pub(crate) fn end(
        &self,
        batch: &mut Batch,
        migration: MigrationId,
        side: Side,
    ) -> Result<Option<LogoutId>, StoreError> {
        let session = self.stored(migration, side)?;
        Self::drop_from(batch, migration, side);
        let session = session.filter(|session| session.made_by_bot);
        session.map(|session| self.logouts.add(batch, &session, &key(migration, side))).transpose()
    }

    /// Deletes the keys of this side's device, of which the session was lost before it could end.
    pub(crate) async fn remove_device(&self, migration: MigrationId, side: Side) {
        self.devices.remove(&key(migration, side)).await;
    }

    fn stored(&self, migration: MigrationId, side: Side) -> Result<Option<Session>, StoreError> {
        let key = key(migration, side);
        let Some(json) = self.store.secret(&key)? else { return Ok(None) };
        let stored: StoredSession = serde_json::from_str(json.expose_secret())
            .map_err(|_| StoreError::encode("secret", &key, "it is not a session"))?;
        Ok(Some(Session {
            base_url: stored.base_url,
            device_id: stored.device_id,
            made_by_bot: stored.made_by_bot,
            token: Secret::from(stored.token),
        }))
    }

    fn account(&self, server: &Server, standing: &Standing, token: &Secret) -> Account {
        let auth = Auth::Token(token.clone());
        Account::new(self.transport.clone(), server.clone(), standing, auth)
    }
}

/// Why an account could not be opened, or its session not ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Discovery(#[from] DiscoverError),
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("no registration covers this account")]
    NotCovered,
    #[error("the homeserver refuses the application service: {0}")]
    ServiceRefused(Failure),
}

fn refused_or_failed(failure: Failure) -> LoginError {
    match failure {
        Failure::Refused { .. } | Failure::TokenGone { .. } | Failure::Deactivated => {
            LoginError::Wrong(failure)
        }
        failure => LoginError::Failed(failure),
    }
}

fn key(migration: MigrationId, side: Side) -> String {
    let side = match side {
        Side::Old => "old",
        Side::New => "new",
    };
    // What is known by the number of a migration goes with it.
    format!("{:020}/session/{side}", migration.0)
}

fn moved_key(migration: MigrationId, side: Side) -> String {
    format!("{}/moved", key(migration, side))
}
