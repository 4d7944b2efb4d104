//! The device that a session of the bot's has in an account: with it, what is said as the account in
//! an encrypted room is encrypted.
//!
//! A [`Device`] keeps keys and makes and reads ciphertext. It sends nothing by itself: each request
//! goes out as the [`Account`], and so needs its mandate and waits for its turn. The keys lie in
//! a folder beside the store, encrypted with a key that goes when the migration is forgotten.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
};

use matrix_sdk::{SqliteCryptoStore, SqliteStoreConfig};
use matrix_sdk_crypto::{
    CollectStrategy, DecryptionSettings, EncryptionSettings, EncryptionSyncChanges, MegolmError,
    OlmMachine, TrustRequirement,
    store::CryptoStoreError,
    types::{
        events::room::encrypted::EncryptedEvent,
        requests::{AnyOutgoingRequest, KeysQueryRequest, ToDeviceRequest},
    },
};
use ruma::{
    DeviceId, OwnedEventId, OwnedRoomId, RoomId, TransactionId, UserId,
    api::client::{
        keys::{get_keys, upload_keys},
        sync::sync_events,
        to_device::send_event_to_device,
    },
    events::room::{encryption::RoomEncryptionEventContent, history_visibility::HistoryVisibility},
    serde::Raw,
};
use serde_json::{Value, value::to_raw_value};
use tokio::sync::Mutex;

use crate::{
    crypto_store::WholeKeys,
    homeserver::{Account, Failure},
    record::MigrationId,
    store::{Scope, Store, StoreError},
};

/// For how many people's devices is asked at a time.
const PEOPLE_AT_ONCE: usize = 250;

/// How many events wait for their keys at most.
const MOST_SEALED: usize = 50;

/// Whoever answers is a member of the room, as its homeserver tells; whether their device was
/// verified by the person who moves says nothing about that.
const READ_FROM: DecryptionSettings =
    DecryptionSettings { sender_device_trust_requirement: TrustRequirement::Untrusted };

/// All devices that the bot has in accounts of others.
#[derive(Debug)]
pub(super) struct Devices {
    store: Store,
    open: Mutex<HashMap<String, Weak<Device>>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Device {
    machine: OlmMachine,
    /// Held while keys are exchanged: half of an exchange is worth nothing.
    turn: Mutex<()>,
    /// Events whose keys have not come yet.
    sealed: std::sync::Mutex<Vec<(OwnedRoomId, String)>>,
}

/// Why a device's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("{path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("the migration was forgotten")]
    Forgotten,
    #[error("{0}")]
    Store(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Session(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] CryptoStoreError),
}

impl Devices {
    pub(super) fn new(store: Store) -> Self {
        Self { store, open: Mutex::default() }
    }

    fn folder(&self, session: &str) -> PathBuf {
        self.store.beside("devices").join(session.replace('/', "-"))
    }

    /// Whether something was encrypted or read with a session's device before.
    pub(super) fn is_known(&self, session: &str) -> bool {
        self.folder(session).is_dir()
    }

    /// The device of a session, with the keys that it had before, or with new ones.
    pub(super) async fn open(
        &self,
        migration: MigrationId,
        session: &str,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Arc<Device>, DeviceError> {
        let mut open = self.open.lock().await;
        let known = open.get(session).and_then(Weak::upgrade);
        if let Some(device) = known.filter(|known| known.machine.device_id() == device_id) {
            return Ok(device);
        }
        let path = self.folder(session);
        let key = self.store.key_about(Scope::Migration(migration.0), session);
        let key = key.ok_or(DeviceError::Forgotten)?;
        let machine = match self.machine(&path, &key, user_id, device_id).await {
            // The session is a later one, whose device has another name.
            Err(DeviceError::Keys(CryptoStoreError::MismatchedAccount { .. })) => {
                remove(&path).await?;
                self.machine(&path, &key, user_id, device_id).await?
            }
            machine => machine?,
        };
        let (turn, sealed) = (Mutex::default(), std::sync::Mutex::default());
        let device = Arc::new(Device { machine, turn, sealed });
        open.insert(session.to_owned(), Arc::downgrade(&device));
        Ok(device)
    }

    async fn machine(
        &self,
        path: &Path,
        key: &[u8; 32],
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<OlmMachine, DeviceError> {
        let config = SqliteStoreConfig::with_low_memory_config(path).key(Some(key));
        let store = SqliteCryptoStore::open_with_config(&config).await;
        let store = store.map_err(|error| DeviceError::Store(Box::new(error)))?;
        let machine =
            OlmMachine::with_store(user_id, device_id, WholeKeys::new(store), None).await?;
        // Keys that did not come are not asked of the person's other devices, which would ask the
        // person, and none are given to them.
        machine.set_room_key_requests_enabled(false);
        machine.set_room_key_forwarding_enabled(false);
        Ok(machine)
    }

    /// Deletes the keys of a session that ends.
    pub(super) async fn remove(&self, session: &str) {
        let mut open = self.open.lock().await;
        open.remove(session);
        if let Err(error) = remove(&self.folder(session)).await {
            tracing::warn!(%error, "keys of a device that is gone are still there");
        }
    }
}

async fn remove(path: &Path) -> Result<(), DeviceError> {
    // Most sessions have none.
    if !path.exists() {
        return Ok(());
    }
    match tokio::fs::remove_dir_all(path).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DeviceError::Folder { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

impl Device {
    /// Sends a message to an encrypted room, for everybody who is in it. `encryption` is the
    /// content of the room's `m.room.encryption`.
    ///
    /// # Errors
    ///
    /// As in [`Account::act`]; [`Failure::Unencryptable`] when it cannot be encrypted.
    pub(crate) async fn send_message(
        &self,
        account: &Account,
        room: &RoomId,
        encryption: RoomEncryptionEventContent,
        content: &Value,
        transaction: &TransactionId,
    ) -> Result<OwnedEventId, Failure> {
        let _turn = self.turn.lock().await;
        // Who is invited later is not to read what was said before.
        let settings = EncryptionSettings::new(
            encryption,
            HistoryVisibility::Joined,
            CollectStrategy::AllDevices,
        );
        self.share_key(account, room, settings).await?;
        let content = Raw::from_json(to_raw_value(content).map_err(unencryptable)?);
        let sealed = self.machine.encrypt_room_event_raw(room, "m.room.message", &content).await;
        account.send_encrypted(room, &sealed.map_err(unencryptable)?.content, transaction).await
    }

    /// Gives everybody in a room the key to what is said next.
    async fn share_key(
        &self,
        account: &Account,
        room: &RoomId,
        settings: EncryptionSettings,
    ) -> Result<(), Failure> {
        self.send_outgoing(account).await?;
        let members = account.joined_members(room).await?;
        let people: Vec<&UserId> = members.keys().map(|user| &**user).collect();
        // As things are now, whether or not a sync told of new devices.
        for some in people.chunks(PEOPLE_AT_ONCE) {
            let (id, query) = self.machine.query_keys_for_users(some.iter().copied());
            self.ask_for_devices(account, &id, &query).await?;
        }
        let claim = self.machine.get_missing_sessions(people.iter().copied()).await;
        if let Some((id, claim)) = claim.map_err(unencryptable)? {
            let answer = account.claim_keys(claim).await?;
            self.machine.mark_request_as_sent(&id, &answer).await.map_err(unencryptable)?;
        }
        let shared = self.machine.share_room_key(room, people.iter().copied(), settings).await;
        for request in shared.map_err(unencryptable)? {
            self.send_to_devices(account, &request.txn_id, &request).await?;
        }
        Ok(())
    }

    /// Takes in what a sync of this device brought, and sends what follows from it.
    ///
    /// # Errors
    ///
    /// As in [`Account::act`]; [`Failure::Unencryptable`] when the keys cannot be read or written.
    pub(crate) async fn receive(
        &self,
        account: &Account,
        response: &sync_events::v3::Response,
    ) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        let changes = EncryptionSyncChanges {
            to_device_events: response.to_device.events.clone(),
            changed_devices: &response.device_lists,
            one_time_keys_counts: &response.device_one_time_keys_count,
            unused_fallback_keys: response.device_unused_fallback_key_types.as_deref(),
            next_batch_token: Some(response.next_batch.clone()),
        };
        let received = self.machine.receive_sync_changes(changes, &READ_FROM).await;
        received.map_err(unencryptable)?;
        self.send_outgoing(account).await
    }

    /// Reads an encrypted event, if its key has come; if not, it is read [later](Self::read_late).
    pub(crate) async fn read(&self, room: &RoomId, event: &str) -> Option<String> {
        let raw: Raw<EncryptedEvent> = Raw::from_json_string(event.to_owned()).ok()?;
        match self.machine.decrypt_room_event(&raw, room, &READ_FROM).await {
            Ok(decrypted) => return Some(decrypted.event.json().get().to_owned()),
            Err(MegolmError::MissingRoomKey(_)) => {
                let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
                if sealed.len() < MOST_SEALED {
                    sealed.push((room.to_owned(), event.to_owned()));
                }
            }
            Err(error) => tracing::debug!(%room, %error, "an event cannot be read"),
        }
        None
    }

    /// Reads the events of a room whose keys came after them.
    pub(crate) async fn read_late(&self, room: &RoomId) -> Vec<String> {
        let sealed = {
            let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
            sealed.extract_if(.., |(of, _)| of == room).collect::<Vec<_>>()
        };
        let mut read = Vec::new();
        for (_, event) in sealed {
            read.extend(self.read(room, &event).await);
        }
        read
    }

    /// Sends what there is to be sent about keys.
    async fn send_outgoing(&self, account: &Account) -> Result<(), Failure> {
        for request in self.machine.outgoing_requests().await.map_err(unencryptable)? {
            let id = request.request_id();
            match request.request() {
                AnyOutgoingRequest::KeysUpload(upload) => {
                    let answer = account.upload_keys(upload.clone()).await?;
                    self.machine.mark_request_as_sent(id, &answer).await.map_err(unencryptable)?;
                }
                AnyOutgoingRequest::KeysQuery(query) => {
                    self.ask_for_devices(account, id, query).await?;
                }
                AnyOutgoingRequest::KeysClaim(claim) => {
                    let answer = account.claim_keys(claim.clone()).await?;
                    self.machine.mark_request_as_sent(id, &answer).await.map_err(unencryptable)?;
                }
                AnyOutgoingRequest::ToDeviceRequest(request) => {
                    self.send_to_devices(account, id, request).await?;
                }
                // They belong to verifications, which nobody does with this device.
                AnyOutgoingRequest::SignatureUpload(_) | AnyOutgoingRequest::RoomMessage(_) => {}
            }
        }
        Ok(())
    }

    async fn ask_for_devices(
        &self,
        account: &Account,
        id: &TransactionId,
        query: &KeysQueryRequest,
    ) -> Result<(), Failure> {
        let mut request = get_keys::v3::Request::new();
        request.device_keys.clone_from(&query.device_keys);
        request.timeout = query.timeout;
        let answer = account.query_keys(request).await?;
        let own = answer.device_keys.get(self.machine.user_id());
        let is_shown = own.is_some_and(|devices| devices.contains_key(self.machine.device_id()));
        self.machine.mark_request_as_sent(id, &answer).await.map_err(unencryptable)?;
        if query.device_keys.contains_key(self.machine.user_id()) && !is_shown {
            self.show_again(account).await?;
        }
        Ok(())
    }

    /// A device that was logged out and is logged in again has lost its keys on the homeserver,
    /// though it still has them itself.
    async fn show_again(&self, account: &Account) -> Result<(), Failure> {
        let (user_id, device_id) = (self.machine.user_id(), self.machine.device_id());
        let device =
            self.machine.get_device(user_id, device_id, None).await.map_err(unencryptable)?;
        let Some(device) = device else { return Ok(()) };
        let keys = to_raw_value(device.as_device_keys()).map_err(unencryptable)?;
        let mut request = upload_keys::v3::Request::new();
        request.device_keys = Some(Raw::from_json(keys));
        account.upload_keys(request).await.map(drop)
    }

    async fn send_to_devices(
        &self,
        account: &Account,
        id: &TransactionId,
        request: &ToDeviceRequest,
    ) -> Result<(), Failure> {
        let send = send_event_to_device::v3::Request::new_raw(
            request.event_type.clone(),
            request.txn_id.clone(),
            request.messages.clone(),
        );
        let answer = account.send_to_devices(send).await?;
        self.machine.mark_request_as_sent(id, &answer).await.map_err(unencryptable)
    }
}

fn unencryptable(error: impl std::fmt::Display) -> Failure {
    Failure::Unencryptable(error.to_string())
}
