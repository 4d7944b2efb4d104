//! matrix-sdk's store of keys, made to lose no key when the bot is killed.
//!
//! Who writes to the bot for the first time sends the key to what they say through a new session
//! (Olm), and what came through a session can be read only once. matrix-sdk writes the session down
//! before the key that came through it, so that a bot that is killed in between has lost the key: when
//! the homeserver sends it again, it counts as read. Here both are written together.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

use matrix_sdk::{
    async_trait, cross_process_lock::CrossProcessLockGeneration,
    ruma::events::secret::request::SecretName,
};
use matrix_sdk_crypto::{
    Account, DeviceData, GossipRequest, SecretInfo, Session, UserIdentityData,
    olm::{
        Curve25519PublicKey, InboundGroupSession, OlmMessageHash, OutboundGroupSession,
        PrivateCrossSigningIdentity, SenderDataType,
    },
    store::{
        CryptoStore, CryptoStoreError,
        types::{
            BackupKeys, Changes, DehydratedDeviceKey, PendingChanges, RoomKeyCounts,
            RoomKeyWithheldEntry, RoomPendingKeyBundleDetails, RoomSettings,
            StoredRoomKeyBundleData, TrackedUser,
        },
    },
};
use ruma::{DeviceId, OwnedDeviceId, RoomId, TransactionId, UserId};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// A store that holds a new session back until something is written that it was needed for.
#[derive(Debug)]
pub(crate) struct WholeKeys<S> {
    store: S,
    /// Sessions that are not in the store yet, by their IDs.
    held: Mutex<BTreeMap<String, Session>>,
}

impl<S> WholeKeys<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, held: Mutex::default() }
    }
}

impl<S: CryptoStore> WholeKeys<S> {
    /// Takes out of these changes a session that is new, if they hold nothing else: it was made,
    /// and nothing read or written with it yet. Its next change is what it was made for.
    async fn hold_back(
        &self,
        held: &mut BTreeMap<String, Session>,
        changes: &mut Changes,
    ) -> Result<(), CryptoStoreError> {
        let mut sessions = std::mem::take(&mut changes.sessions);
        // That a device has a new session is counted at once: after a kill it may count twice.
        let devices = std::mem::take(&mut changes.devices);
        if changes.is_empty() {
            let mut known = Vec::new();
            for session in sessions {
                let is_known = self.knows(&session).await?;
                match held.entry(session.session_id().to_owned()) {
                    Entry::Vacant(place) if !is_known => drop(place.insert(session)),
                    _ => known.push(session),
                }
            }
            sessions = known;
        }
        changes.sessions = sessions;
        changes.devices = devices;
        Ok(())
    }

    async fn knows(&self, session: &Session) -> Result<bool, CryptoStoreError> {
        let sessions = self.store.get_sessions(&session.sender_key().to_base64()).await;
        let sessions = sessions.map_err(Into::into)?.unwrap_or_default();
        Ok(sessions.iter().any(|known| known.session_id() == session.session_id()))
    }
}

/// Implements [`CryptoStore`] by what is given, and by the field `store` for everything else.
macro_rules! crypto_store {
    ($type:ident { $($own:tt)* }) => {
        handing_on! { $type { $($own)* }
            fn load_account() -> Option<Account>;
            fn load_identity() -> Option<PrivateCrossSigningIdentity>;
            fn save_inbound_group_sessions(
                sessions: Vec<InboundGroupSession>, backed_up_to_version: Option<&str>
            ) -> ();
            fn get_inbound_group_session(
                room_id: &RoomId, session_id: &str
            ) -> Option<InboundGroupSession>;
            fn get_withheld_info(room_id: &RoomId, session_id: &str) -> Option<RoomKeyWithheldEntry>;
            fn get_withheld_sessions_by_room_id(room_id: &RoomId) -> Vec<RoomKeyWithheldEntry>;
            fn get_inbound_group_sessions() -> Vec<InboundGroupSession>;
            fn inbound_group_session_counts(backup_version: Option<&str>) -> RoomKeyCounts;
            fn get_inbound_group_sessions_by_room_id(room_id: &RoomId) -> Vec<InboundGroupSession>;
            fn get_inbound_group_sessions_for_device_batch(
                curve_key: Curve25519PublicKey, sender_data_type: SenderDataType,
                after_session_id: Option<String>, limit: usize
            ) -> Vec<InboundGroupSession>;
            fn inbound_group_sessions_for_backup(
                backup_version: &str, limit: usize
            ) -> Vec<InboundGroupSession>;
            fn mark_inbound_group_sessions_as_backed_up(
                backup_version: &str, room_and_session_ids: &[(&RoomId, &str)]
            ) -> ();
            fn reset_backup_state() -> ();
            fn load_backup_keys() -> BackupKeys;
            fn load_dehydrated_device_pickle_key() -> Option<DehydratedDeviceKey>;
            fn delete_dehydrated_device_pickle_key() -> ();
            fn get_outbound_group_session(room_id: &RoomId) -> Option<OutboundGroupSession>;
            fn load_tracked_users() -> Vec<TrackedUser>;
            fn save_tracked_users(users: &[(&UserId, bool)]) -> ();
            fn get_device(user_id: &UserId, device_id: &DeviceId) -> Option<DeviceData>;
            fn get_user_devices(user_id: &UserId) -> HashMap<OwnedDeviceId, DeviceData>;
            fn get_own_device() -> DeviceData;
            fn get_user_identity(user_id: &UserId) -> Option<UserIdentityData>;
            fn is_message_known(message_hash: &OlmMessageHash) -> bool;
            fn get_outgoing_secret_requests(request_id: &TransactionId) -> Option<GossipRequest>;
            fn get_secret_request_by_info(secret_info: &SecretInfo) -> Option<GossipRequest>;
            fn get_unsent_secret_requests() -> Vec<GossipRequest>;
            fn delete_outgoing_secret_requests(request_id: &TransactionId) -> ();
            fn get_secrets_from_inbox(secret_name: &SecretName) -> Vec<Zeroizing<String>>;
            fn delete_secrets_from_inbox(secret_name: &SecretName) -> ();
            fn get_room_settings(room_id: &RoomId) -> Option<RoomSettings>;
            fn get_received_room_key_bundle_data(
                room_id: &RoomId, user_id: &UserId
            ) -> Option<StoredRoomKeyBundleData>;
            fn get_pending_key_bundle_details_for_room(
                room_id: &RoomId
            ) -> Option<RoomPendingKeyBundleDetails>;
            fn get_all_rooms_pending_key_bundles() -> Vec<RoomPendingKeyBundleDetails>;
            fn has_downloaded_all_room_keys(room_id: &RoomId) -> bool;
            fn get_custom_value(key: &str) -> Option<Vec<u8>>;
            fn set_custom_value(key: &str, value: Vec<u8>) -> ();
            fn remove_custom_value(key: &str) -> ();
            fn try_take_leased_lock(
                lease_duration_ms: u32, key: &str, holder: &str
            ) -> Option<CrossProcessLockGeneration>;
            fn next_batch_token() -> Option<String>;
            fn close() -> ();
            fn reopen() -> ();
            fn get_size() -> Option<usize>;
        }
    };
}

macro_rules! handing_on {
    ($of:ident { $($own:tt)* } $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl<S: CryptoStore> CryptoStore for $of<S> {
            type Error = CryptoStoreError;

            $($own)*

            $(async fn $name(&self $(, $argument: $type)*) -> Result<$answer, Self::Error> {
                self.store.$name($($argument),*).await.map_err(Into::into)
            })*
        }
    };
}

crypto_store! { WholeKeys {
    async fn get_sessions(&self, sender_key: &str) -> Result<Option<Vec<Session>>, Self::Error> {
        let held = self.held.lock().await;
        let sessions = self.store.get_sessions(sender_key).await.map_err(Into::into)?;
        let is_of_sender = |session: &&Session| session.sender_key().to_base64() == sender_key;
        let held: Vec<_> = held.values().filter(is_of_sender).cloned().collect();
        if held.is_empty() {
            return Ok(sessions);
        }
        Ok(Some(sessions.into_iter().flatten().chain(held).collect()))
    }

    async fn save_changes(&self, mut changes: Changes) -> Result<(), Self::Error> {
        let mut held = self.held.lock().await;
        self.hold_back(&mut held, &mut changes).await?;
        let written: Vec<_> =
            changes.sessions.iter().map(|session| session.session_id().to_owned()).collect();
        if !changes.is_empty() {
            self.store.save_changes(changes).await.map_err(Into::into)?;
        }
        for session in written {
            held.remove(&session);
        }
        Ok(())
    }

    /// With the account, of which the keys are gone that the sessions were made with.
    async fn save_pending_changes(&self, changes: PendingChanges) -> Result<(), Self::Error> {
        let mut held = self.held.lock().await;
        if changes.account.is_some() && !held.is_empty() {
            let sessions = held.values().cloned().collect();
            let of_held = Changes { sessions, ..Changes::default() };
            self.store.save_changes(of_held).await.map_err(Into::into)?;
            held.clear();
        }
        self.store.save_pending_changes(changes).await.map_err(Into::into)
    }
} }

// Below the macros, which it uses.
#[cfg(test)]
mod tests;
