//! The bot's own account: one device, which stays the same over restarts and logins.

use std::{path::Path, time::Duration};

use matrix_sdk::{
    Client, SessionMeta, SessionTokens, SqliteStoreConfig,
    authentication::matrix::MatrixSession,
    config::RequestConfig,
    encryption::{BackupDownloadStrategy, EncryptionSettings},
    ruma::{
        OwnedDeviceId, OwnedUserId,
        api::{
            client::{keys::upload_keys, uiaa},
            error::ErrorCode,
        },
        assign,
        serde::Raw,
    },
    store::RoomLoadSettings,
};
use rand::{Rng, distr::Alphanumeric};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    error::BotError,
    retry::{Fate, fate},
};
use crate::{
    clock::{SharedClock, Timestamp},
    config::{self, Config},
    homeserver::{Failure, OwnUser, Transport},
    secret::{ExposeSecret as _, Secret},
    store::{Batch, Store, StoreError, Table},
};

/// What people see in the bot's list of devices.
const DEVICE_NAME: &str = "Tern";
/// Under which the access token lies in the store.
const TOKEN: &str = "chat/token";
/// Retries are made by the bot itself, which knows what may wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What is kept about the bot's own account, beside its token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AccountRecord {
    user_id: OwnedUserId,
    device_id: OwnedDeviceId,
    base_url: Url,
    /// Whatever was said before is not for this bot.
    first_started: Timestamp,
}

/// The bot, logged in.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) client: Client,
    /// The bot with more rights than its session has, if it is an application service's own user.
    pub(super) own_user: Option<OwnUser>,
    pub(super) first_started: Timestamp,
}

/// What is needed to log in.
pub(super) struct Entrance<'a> {
    pub(super) config: &'a Config,
    pub(super) store: &'a Store,
    pub(super) transport: &'a Transport,
    pub(super) clock: &'a SharedClock,
}

impl Entrance<'_> {
    /// Takes up the session that is kept, or logs in: both as the same device.
    pub(super) async fn enter(&self, rng: &mut impl Rng) -> Result<Account, BotError> {
        let record = self.record(rng).await?;
        let client = self.client(&record).await?;
        let session = self.store.secret(TOKEN)?.map(|token| session(&record, &token));
        let restored = match session {
            Some(session) => self.restore(&client, session).await?,
            None => false,
        };
        // A client can hold one session in its life, so that a new one needs a new client.
        let client = if restored { client } else { self.log_in(&record).await? };
        self.sign_itself(&client).await;
        self.name_itself(&client).await;
        let own_user = self.own_user();
        Ok(Account { client, own_user, first_started: record.first_started })
    }

    /// What is kept about the account; made up on first start, before anything is sent.
    async fn record(&self, rng: &mut impl Rng) -> Result<AccountRecord, BotError> {
        let table: Table<AccountRecord> = self.store.table("chat_account");
        let user_id = &self.config.bot.user_id;
        let kept = table.get("account")?;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.user_id != *user_id) {
            let stored = kept.user_id.clone();
            return Err(BotError::OtherAccount { stored, configured: user_id.clone() });
        }
        let found = self.transport.discover(user_id.server_name()).await;
        let record = match (kept, found) {
            (Some(kept), Ok(server)) => {
                AccountRecord { base_url: server.base_url().clone(), ..kept }
            }
            // The homeserver may be down just now; then it is tried where it was.
            (Some(kept), Err(error)) => {
                tracing::warn!(%error, "the bot's homeserver is not found");
                kept
            }
            (None, Ok(server)) => AccountRecord {
                user_id: user_id.clone(),
                device_id: device_id(rng),
                base_url: server.base_url().clone(),
                first_started: self.clock.now(),
            },
            (None, Err(source)) => {
                return Err(BotError::Discovery { user_id: user_id.clone(), source });
            }
        };
        let mut batch = Batch::new();
        batch.put(&table, "account", &record)?;
        self.store.commit(batch).await?;
        Ok(record)
    }

    async fn client(&self, record: &AccountRecord) -> Result<Client, BotError> {
        let path = self.config.storage.path.join("matrix");
        let store = SqliteStoreConfig::new(&path).key(Some(self.store.matrix_key()));
        let encryption = EncryptionSettings {
            auto_enable_cross_signing: false,
            backup_download_strategy: BackupDownloadStrategy::Manual,
            auto_enable_backups: false,
        };
        // As matrix-sdk has it by default, unverified devices are read and written to: those of
        // people seldom are anything else.
        Client::builder()
            .homeserver_url(&record.base_url)
            .respect_login_well_known(false)
            .sqlite_store_with_config_and_cache_path(store, None::<&Path>)
            .with_encryption_settings(encryption)
            .request_config(RequestConfig::new().disable_retry().timeout(REQUEST_TIMEOUT))
            .user_agent(concat!("tern/", env!("CARGO_PKG_VERSION")))
            .build()
            .await
            .map_err(|source| BotError::EncryptionStore { path, source: Box::new(source) })
    }

    /// Whether the session still is one. When the homeserver does not answer, it is taken to be
    /// one: the sync finds out.
    async fn restore(&self, client: &Client, session: MatrixSession) -> Result<bool, BotError> {
        let user_id = session.meta.user_id.clone();
        let auth = client.matrix_auth();
        auth.restore_session(session, RoomLoadSettings::default())
            .await
            .map_err(|source| BotError::Session { user_id, source: Box::new(source) })?;
        match client.whoami().await.map_err(matrix_sdk::Error::from) {
            Err(error) if fate(&error) == Fate::SessionGone => {
                tracing::warn!("the homeserver no longer knows the bot's session");
                Ok(false)
            }
            Err(error) => {
                tracing::warn!(%error, "the bot's session could not be checked");
                Ok(true)
            }
            Ok(_) => Ok(true),
        }
    }

    async fn log_in(&self, record: &AccountRecord) -> Result<Client, BotError> {
        let client = self.client(record).await?;
        let was_device_before = self.store.secret(TOKEN)?.is_some();
        match &self.config.bot.entrance {
            config::Entrance::Password(password) => {
                log_in_with_password(&client, record, password).await?;
            }
            config::Entrance::Appservice(_) => self.log_in_as_service(&client, record).await?,
        }
        if was_device_before {
            show_keys_again(&client).await;
        }
        self.keep_token(&client).await?;
        tracing::info!(user_id = %record.user_id, device_id = %record.device_id, "logged in");
        Ok(client)
    }

    /// Encryption needs a device, and matrix-sdk a token of that device: requests with the `as_token`
    /// would have to name the device, which it cannot have them do.
    async fn log_in_as_service(
        &self,
        client: &Client,
        record: &AccountRecord,
    ) -> Result<(), BotError> {
        let user_id = &record.user_id;
        let refused = |failure: Failure| match failure.code() {
            Some(ErrorCode::AppserviceLoginUnsupported) => {
                BotError::NoServiceLogin { user_id: user_id.clone() }
            }
            _ => BotError::ServiceLogin { user_id: user_id.clone(), source: failure },
        };
        let Some(own_user) = self.own_user() else { return Ok(()) };
        own_user.register().await.map_err(refused)?;
        if !own_user.may_sync().await.map_err(refused)? {
            return Err(BotError::NoSync { user_id: user_id.clone() });
        }
        let login = own_user.log_in(&record.device_id, DEVICE_NAME).await.map_err(refused)?;
        client
            .matrix_auth()
            .restore_session(session(record, &login.token), RoomLoadSettings::default())
            .await
            .map_err(|source| BotError::Session {
                user_id: user_id.clone(),
                source: Box::new(source),
            })
    }

    fn own_user(&self) -> Option<OwnUser> {
        let config::Entrance::Appservice(server) = &self.config.bot.entrance else { return None };
        let appservice = self.config.appservices.on(server)?;
        let user_id = self.config.bot.user_id.clone();
        Some(OwnUser::new(self.transport.clone(), appservice.clone(), user_id))
    }

    async fn keep_token(&self, client: &Client) -> Result<(), StoreError> {
        let Some(token) = client.access_token() else { return Ok(()) };
        let mut batch = Batch::new();
        batch.put_secret(TOKEN, &Secret::from(token));
        self.store.commit(batch).await
    }

    /// Signs the bot's device with the account's own identity, so that people's clients do not warn
    /// of it. Without that the bot works all the same.
    async fn sign_itself(&self, client: &Client) {
        let encryption = client.encryption();
        let user_id = &self.config.bot.user_id;
        if encryption.cross_signing_status().await.is_some_and(|keys| keys.is_complete()) {
            match encryption.request_user_identity(user_id).await {
                // It has keys, but they never got to the homeserver.
                Ok(None) => {}
                Ok(Some(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, "the bot's own identity could not be asked for");
                    return;
                }
            }
        }
        let Err(error) = encryption.bootstrap_cross_signing(None).await else { return };
        let (Some(stage), config::Entrance::Password(password)) =
            (error.as_uiaa_response(), &self.config.bot.entrance)
        else {
            tracing::warn!(%error, "the bot's device could not be signed");
            return;
        };
        let user =
            uiaa::UserIdentifier::Matrix(uiaa::MatrixUserIdentifier::new(user_id.to_string()));
        let password = password.expose_secret().to_owned();
        let password =
            assign!(uiaa::Password::new(user, password), { session: stage.session.clone() });
        let auth = uiaa::AuthData::Password(password);
        if let Err(error) = encryption.bootstrap_cross_signing(Some(auth)).await {
            tracing::warn!(%error, "the bot's device could not be signed");
        }
    }

    async fn name_itself(&self, client: &Client) {
        let wanted = self.config.bot.display_name.as_str();
        let account = client.account();
        let is = match account.get_display_name().await {
            Ok(name) => name,
            Err(error) => {
                tracing::warn!(%error, "the bot's display name could not be read");
                return;
            }
        };
        if is.as_deref() == Some(wanted) {
            return;
        }
        if let Err(error) = account.set_display_name(Some(wanted)).await {
            tracing::warn!(%error, "the bot's display name could not be set");
        }
    }
}

async fn log_in_with_password(
    client: &Client,
    record: &AccountRecord,
    password: &Secret,
) -> Result<(), BotError> {
    let login = client
        .matrix_auth()
        .login_username(&record.user_id, password.expose_secret())
        .device_id(record.device_id.as_str())
        .initial_device_display_name(DEVICE_NAME);
    login.send().await.map(drop).map_err(|source| BotError::Login {
        user_id: record.user_id.clone(),
        source: Box::new(source),
    })
}

/// A device that was logged out has lost its keys on the homeserver, though it still has them
/// itself, and matrix-sdk uploads them only once.
async fn show_keys_again(client: &Client) {
    let device = match client.encryption().get_own_device().await {
        Ok(Some(device)) => device,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "the bot's own device is not in its store");
            return;
        }
    };
    let keys = serde_json::value::to_raw_value(device.as_device_keys()).map(Raw::from_json);
    let request = assign!(upload_keys::v3::Request::new(), { device_keys: keys.ok() });
    if let Err(error) = client.send(request).await {
        tracing::warn!(%error, "the bot's device keys could not be uploaded again");
    }
}

fn session(record: &AccountRecord, token: &Secret) -> MatrixSession {
    MatrixSession {
        meta: SessionMeta { user_id: record.user_id.clone(), device_id: record.device_id.clone() },
        tokens: SessionTokens {
            access_token: token.expose_secret().to_owned(),
            refresh_token: None,
        },
    }
}

/// Chosen by the bot and kept before it logs in, so that a login that is cut off leaves no second
/// device behind.
fn device_id(rng: &mut impl Rng) -> OwnedDeviceId {
    let random: String = rng.sample_iter(Alphanumeric).take(8).map(char::from).collect();
    OwnedDeviceId::from(format!("TERN{}", random.to_uppercase()))
}
