//! The bot's own account: one device, which stays the same over restarts and logins.

mod way;

use std::time::Duration;

use matrix_sdk::{
    Client, ClientBuildError, HttpError, SessionMeta, SessionTokens, SqliteCryptoStore,
    SqliteEventCacheStore, SqliteMediaStore, SqliteStateStore, SqliteStoreConfig,
    authentication::matrix::MatrixSession,
    config::{RequestConfig, StoreConfig},
    cross_process_lock::CrossProcessLockConfig,
    encryption::{BackupDownloadStrategy, EncryptionSettings},
    ruma::{
        OwnedDeviceId, OwnedUserId,
        api::client::{keys::upload_keys, uiaa},
        assign,
        serde::Raw,
    },
    store::RoomLoadSettings,
};
use rand::{Rng, distr::Alphanumeric};
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::way::try_service;
use self::way::{DEVICE_NAME, Way, way_of};
use super::{
    error::BotError,
    retry::{Fate, fate},
};
use crate::{
    clock::{SharedClock, Timestamp},
    config::{self, Config},
    crypto_store::WholeKeys,
    homeserver::{Forwarder, OwnUser, Transport},
    secret::{ExposeSecret as _, Secret},
    store::{Batch, Store, StoreError, Table},
};

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
    /// Whether an application service made the device, which so has no token of its own.
    #[serde(default)]
    made_by_service: bool,
}

/// The bot, logged in.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) client: Client,
    /// What carries the client's requests, if they do not go to the homeserver themselves.
    pub(super) forwarder: Option<Forwarder>,
    /// The bot with more rights than its session has, if an application service covers it.
    pub(super) own_user: Option<OwnUser>,
    pub(super) first_started: Timestamp,
}

/// A client with a session, and what carries its requests.
type Session = (Client, Option<Forwarder>);

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
        let kept = match self.kept(&record)? {
            Some(way) => self.restore(&record, &way, rng).await?,
            None => None,
        };
        // A client can hold one session in its life, so that a new one needs a new client.
        let (client, forwarder) = match kept {
            Some(session) => session,
            None => self.log_in(record.clone(), rng).await?,
        };
        self.sign_itself(&client).await;
        self.name_itself(&client).await;
        let own_user = self.own_user();
        Ok(Account { client, forwarder, own_user, first_started: record.first_started })
    }

    /// What is kept about the account; made up on first start, before anything is sent.
    async fn record(&self, rng: &mut impl Rng) -> Result<AccountRecord, BotError> {
        let table = self.table();
        let user_id = &self.config.bot.user_id;
        let kept = table.get("account")?;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.user_id != *user_id) {
            let stored = kept.user_id.clone();
            return Err(BotError::OtherAccount { stored, configured: user_id.clone() });
        }
        let found = self.transport.discover_for_service(user_id.server_name()).await;
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
                made_by_service: false,
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

    fn table(&self) -> Table<AccountRecord> {
        self.store.table("chat_account")
    }

    /// The way in that was found before, if there was one and the configuration still has it.
    fn kept(&self, record: &AccountRecord) -> Result<Option<Way>, StoreError> {
        if record.made_by_service {
            return Ok(self.own_user().map(Box::new).map(Way::Service));
        }
        Ok(self.store.secret(TOKEN)?.map(Way::Token))
    }

    /// Keeps the way in that was found.
    async fn keep(&self, record: &AccountRecord, way: &Way) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let made_by_service = match way {
            Way::Token(token) => {
                batch.put_secret(TOKEN, token);
                false
            }
            Way::Service(_) => {
                batch.remove_secret(TOKEN);
                true
            }
        };
        let record = AccountRecord { made_by_service, ..record.clone() };
        batch.put(&self.table(), "account", &record)?;
        self.store.commit(batch).await
    }

    /// A client with the session that this way gives.
    async fn session(
        &self,
        record: &AccountRecord,
        way: &Way,
        rng: &mut impl Rng,
    ) -> Result<Session, BotError> {
        let (client, forwarder, token) = match way {
            Way::Token(token) => (self.client(&record.base_url, None).await?, None, token.clone()),
            Way::Service(own_user) => {
                let forwarder = own_user.forward(&record.device_id, rng).await;
                let forwarder = forwarder.map_err(BotError::Loopback)?;
                let client = self.client(forwarder.base_url(), Some(&forwarder)).await?;
                let token = forwarder.secret().clone();
                (client, Some(forwarder), token)
            }
        };
        let user_id = record.user_id.clone();
        client
            .matrix_auth()
            .restore_session(session(record, &token), RoomLoadSettings::default())
            .await
            .map_err(|source| BotError::Session { user_id, source: Box::new(source) })?;
        Ok((client, forwarder))
    }

    async fn client(
        &self,
        base_url: &Url,
        forwarder: Option<&Forwarder>,
    ) -> Result<Client, BotError> {
        let path = self.config.storage.path.join("matrix");
        let failed = |source| BotError::EncryptionStore { path: path.clone(), source };
        let store = SqliteStoreConfig::new(&path).key(Some(self.store.matrix_key()));
        let store = stores(&store).await.map_err(|source| failed(Box::new(source)))?;
        let encryption = EncryptionSettings {
            auto_enable_cross_signing: false,
            backup_download_strategy: BackupDownloadStrategy::Manual,
            auto_enable_backups: false,
        };
        // As matrix-sdk has it by default, unverified devices are read and written to: those of
        // people seldom are anything else.
        let client = Client::builder()
            .homeserver_url(base_url)
            .respect_login_well_known(false)
            .store_config(store)
            .with_encryption_settings(encryption)
            .request_config(RequestConfig::new().disable_retry().timeout(REQUEST_TIMEOUT));
        let client = match forwarder {
            Some(forwarder) => client.http_client(forwarder.client().clone()),
            None => client.http_client(
                unredirected().map_err(|error| failed(Box::new(HttpError::from(error).into())))?,
            ),
        };
        client.build().await.map_err(|source| failed(Box::new(source)))
    }

    /// Takes up the session, if it still is one. When the homeserver does not answer, it is taken to
    /// be one: the sync finds out.
    async fn restore(
        &self,
        record: &AccountRecord,
        way: &Way,
        rng: &mut impl Rng,
    ) -> Result<Option<Session>, BotError> {
        let (client, forwarder) = self.session(record, way, rng).await?;
        match client.whoami().await.map_err(matrix_sdk::Error::from) {
            Err(error) if fate(&error) == Fate::SessionGone => {
                tracing::warn!("the homeserver no longer knows the bot's session");
                return Ok(None);
            }
            Err(error) => tracing::warn!(%error, "the bot's session could not be checked"),
            Ok(_) => {}
        }
        Ok(Some((client, forwarder)))
    }

    async fn log_in(&self, record: AccountRecord, rng: &mut impl Rng) -> Result<Session, BotError> {
        let was_device_before = record.made_by_service || self.store.secret(TOKEN)?.is_some();
        let way = match &self.config.bot.entrance {
            config::Entrance::Password(password) => {
                Way::Token(self.log_in_with_password(&record, password).await?)
            }
            config::Entrance::Appservice(_) => {
                way_of(self.own_user(), &record.user_id, &record.device_id).await?
            }
        };
        self.keep(&record, &way).await?;
        let (client, forwarder) = self.session(&record, &way, rng).await?;
        if was_device_before {
            show_keys_again(&client).await;
        }
        tracing::info!(user_id = %record.user_id, device_id = %record.device_id, "logged in");
        Ok((client, forwarder))
    }

    async fn log_in_with_password(
        &self,
        record: &AccountRecord,
        password: &Secret,
    ) -> Result<Secret, BotError> {
        let wrong = |source| BotError::Login { user_id: record.user_id.clone(), source };
        let server = self.transport.server_at(&record.base_url).await;
        let server = server.map_err(|error| wrong(error.into()))?;
        let (user_id, device_id) = (&record.user_id, &record.device_id);
        let login =
            self.transport.login_password(&server, user_id, password, device_id, DEVICE_NAME);
        Ok(login.await.map_err(wrong)?.token)
    }

    fn own_user(&self) -> Option<OwnUser> {
        OwnUser::of(self.config, self.transport)
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

/// matrix-sdk's own stores, which no other process opens: the bot has locked the one beside them.
async fn stores(config: &SqliteStoreConfig) -> Result<StoreConfig, ClientBuildError> {
    let (state, event_cache, media, keys) = tokio::try_join!(
        SqliteStateStore::open_with_config(config),
        SqliteEventCacheStore::open_with_config(config),
        SqliteMediaStore::open_with_config(config),
        SqliteCryptoStore::open_with_config(config),
    )?;
    Ok(StoreConfig::new(CrossProcessLockConfig::SingleProcess)
        .state_store(state)
        .event_cache_store(event_cache)
        .media_store(media)
        .crypto_store(WholeKeys::new(keys)))
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

/// What matrix-sdk sends with, past no redirect: the bot's token and password go to its homeserver
/// alone.
fn unredirected() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("tern/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::{owned_device_id, owned_user_id};

    use super::*;

    #[test]
    fn what_is_kept_about_the_bots_account_is_stored_in_this_form() {
        let record = AccountRecord {
            user_id: owned_user_id!("@tern:example.org"),
            device_id: owned_device_id!("TERN1234ABCD"),
            base_url: "https://matrix.example.org".parse().unwrap(),
            first_started: Timestamp::UNIX_EPOCH,
            made_by_service: true,
        };
        insta::assert_json_snapshot!(record, @r#"
        {
          "user_id": "@tern:example.org",
          "device_id": "TERN1234ABCD",
          "base_url": "https://matrix.example.org/",
          "first_started": "1970-01-01T00:00:00Z",
          "made_by_service": true
        }
        "#);
    }
}
