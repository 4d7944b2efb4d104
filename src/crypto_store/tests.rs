use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use matrix_sdk::{SqliteCryptoStore, SqliteStoreConfig};
use matrix_sdk_crypto::{
    CollectStrategy, DecryptionSettings, EncryptionSettings, EncryptionSyncChanges, OlmMachine,
    TrustRequirement,
    store::MemoryStore,
    types::{events::room::encrypted::EncryptedEvent, requests::AnyOutgoingRequest},
};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::{
        keys::{claim_keys, get_keys, upload_keys},
        sync::sync_events::DeviceLists,
    },
    device_id,
    events::AnyToDeviceEvent,
    events::room::history_visibility::HistoryVisibility,
    owned_device_id, owned_user_id, room_id,
    serde::Raw,
    user_id,
};
use serde_json::{Value, json};

use super::*;

const UNVERIFIED: DecryptionSettings =
    DecryptionSettings { sender_device_trust_requirement: TrustRequirement::Untrusted };

/// A store of which the process is killed after some more writes: none that follows comes to be.
#[derive(Debug)]
struct Dying<S> {
    store: S,
    writes_left: Arc<AtomicUsize>,
}

impl<S> Dying<S> {
    fn write(&self) -> Result<(), CryptoStoreError> {
        let spent = |left: usize| left.checked_sub(1);
        let left = self.writes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spent);
        left.map(drop).map_err(|_| CryptoStoreError::Backend("killed".into()))
    }
}

crypto_store! { Dying {
    async fn get_sessions(&self, sender_key: &str) -> Result<Option<Vec<Session>>, Self::Error> {
        self.store.get_sessions(sender_key).await.map_err(Into::into)
    }

    async fn save_changes(&self, changes: Changes) -> Result<(), Self::Error> {
        self.write()?;
        self.store.save_changes(changes).await.map_err(Into::into)
    }

    async fn save_pending_changes(&self, changes: PendingChanges) -> Result<(), Self::Error> {
        self.write()?;
        self.store.save_pending_changes(changes).await.map_err(Into::into)
    }
} }

/// The keys of a device as a homeserver has them.
struct Uploaded {
    user: OwnedUserId,
    device: OwnedDeviceId,
    keys: upload_keys::v3::Request,
}

/// Uploads what a device has to upload.
async fn upload(machine: &OlmMachine) -> Uploaded {
    let mut uploads = Vec::new();
    for request in machine.outgoing_requests().await.unwrap() {
        if let AnyOutgoingRequest::KeysUpload(keys) = request.request() {
            let answer = upload_keys::v3::Response::new(BTreeMap::new());
            machine.mark_request_as_sent(request.request_id(), &answer).await.unwrap();
            uploads.push(keys.clone());
        }
    }
    let keys = uploads.pop().unwrap();
    Uploaded { user: machine.user_id().to_owned(), device: machine.device_id().to_owned(), keys }
}

/// Makes a person's device know the bot's, and gives it a key to begin a session with.
async fn introduce(person: &OlmMachine, bot: &Uploaded) {
    let (id, _) = person.query_keys_for_users([&*bot.user]);
    let mut answer = get_keys::v3::Response::new();
    let keys = bot.keys.device_keys.clone().unwrap();
    answer.device_keys = [(bot.user.clone(), [(bot.device.clone(), keys)].into())].into();
    person.mark_request_as_sent(&id, &answer).await.unwrap();
    let (id, _) = person.get_missing_sessions([&*bot.user].into_iter()).await.unwrap().unwrap();
    let key = bot.keys.one_time_keys.iter().next().unwrap();
    let key = [(key.0.clone(), key.1.clone())].into();
    let claimed = [(bot.user.clone(), [(bot.device.clone(), key)].into())].into();
    let answer = claim_keys::v3::Response::new(claimed);
    person.mark_request_as_sent(&id, &answer).await.unwrap();
}

/// What the bot's homeserver has for it: the key to a message, and the message.
struct Sent {
    key: Raw<AnyToDeviceEvent>,
    message: Raw<EncryptedEvent>,
}

async fn say_start(person: &OlmMachine, bot: &UserId) -> Sent {
    let settings = EncryptionSettings {
        history_visibility: HistoryVisibility::Joined,
        sharing_strategy: CollectStrategy::AllDevices,
        ..EncryptionSettings::default()
    };
    let room = room_id!("!room:a.example");
    let shared = person.share_room_key(room, [bot].into_iter(), settings).await.unwrap();
    let key = shared[0].messages[bot].values().next().unwrap();
    let key = json!({
        "type": shared[0].event_type, "sender": person.user_id(), "content": key,
    });
    let content = Raw::new(&json!({ "msgtype": "m.text", "body": "start" })).unwrap();
    let sealed =
        person.encrypt_room_event_raw(room, "m.room.message", content.cast_ref_unchecked()).await;
    let message = json!({
        "type": "m.room.encrypted", "event_id": "$1", "sender": person.user_id(),
        "origin_server_ts": 0, "content": sealed.unwrap().content,
    });
    Sent {
        key: Raw::new(&key).unwrap().cast_unchecked(),
        message: Raw::new(&message).unwrap().cast_unchecked(),
    }
}

/// A process of the bot's, which is killed after some writes.
async fn bot(path: &Path, writes: usize) -> (OlmMachine, Arc<AtomicUsize>) {
    let store = SqliteCryptoStore::open_with_config(&SqliteStoreConfig::new(path)).await.unwrap();
    let writes_left = Arc::new(AtomicUsize::new(writes));
    let store = Dying { store, writes_left: writes_left.clone() };
    let (user, device) = (user_id!("@tern:a.example"), device_id!("TERN"));
    let machine = OlmMachine::with_store(user, device, WholeKeys::new(store), None).await.unwrap();
    (machine, writes_left)
}

async fn receive(bot: &OlmMachine, sent: &Sent) -> bool {
    let changes = EncryptionSyncChanges {
        to_device_events: vec![sent.key.clone()],
        changed_devices: &DeviceLists::new(),
        one_time_keys_counts: &BTreeMap::new(),
        unused_fallback_keys: None,
        next_batch_token: None,
    };
    bot.receive_sync_changes(changes, &UNVERIFIED).await.is_ok()
}

async fn read(bot: &OlmMachine, sent: &Sent) -> Option<Value> {
    let room = room_id!("!room:a.example");
    let event = bot.decrypt_room_event(&sent.message, room, &UNVERIFIED).await.ok()?;
    let event: Value = event.event.deserialize_as_unchecked().unwrap();
    Some(event["content"]["body"].clone())
}

/// Whether the bot was killed before it had received a message to the end. However that is, it has
/// to be able to read it in the end.
async fn is_killed_after(writes: usize) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (first, writes_left) = bot(folder.path(), usize::MAX).await;
    let (user, device) = (owned_user_id!("@old:b.example"), owned_device_id!("PHONE"));
    let person = OlmMachine::with_store(&user, &device, MemoryStore::new(), None).await.unwrap();
    upload(&person).await;
    introduce(&person, &upload(&first).await).await;
    let sent = say_start(&person, first.user_id()).await;
    writes_left.store(writes, Ordering::SeqCst);
    let is_received = receive(&first, &sent).await;
    drop(first);
    let (second, _) = bot(folder.path(), usize::MAX).await;
    receive(&second, &sent).await;
    assert_eq!(read(&second, &sent).await, Some(json!("start")), "killed after {writes} writes");
    !is_received
}

#[tokio::test]
async fn a_kill_while_a_key_is_received_does_not_lose_it() {
    let mut writes = 0;
    while is_killed_after(writes).await {
        writes += 1;
    }
    assert!(writes >= 2, "the key and the account are written one after the other");
}

async fn open(path: &Path) -> SqliteCryptoStore {
    let config = SqliteStoreConfig::new(path);
    let store = SqliteCryptoStore::open_with_config(&config).await.unwrap();
    store.load_account().await.unwrap();
    store
}

/// A store that was given a session which was made and not used yet, and its account.
async fn new_session(folder: &Path) -> (WholeKeys<SqliteCryptoStore>, Account, Session) {
    let (bot, _) = bot(&folder.join("bot"), usize::MAX).await;
    let (user, device) = (user_id!("@old:b.example"), device_id!("PHONE"));
    let path = folder.join("person");
    let person = OlmMachine::with_store(user, device, open(&path).await, None).await.unwrap();
    introduce(&person, &upload(&bot).await).await;
    let theirs = open(&path).await;
    let key = bot.identity_keys().curve25519.to_base64();
    let session = theirs.get_sessions(&key).await.unwrap().unwrap().pop().unwrap();
    let account = theirs.load_account().await.unwrap();
    let store = WholeKeys::new(open(&folder.join("store")).await);
    store.save_pending_changes(PendingChanges { account }).await.unwrap();
    let mut changes = Changes::default();
    changes.devices.new.push(theirs.get_own_device().await.unwrap());
    store.save_changes(changes).await.unwrap();
    let account = theirs.load_account().await.unwrap().unwrap();
    let changes = Changes { sessions: vec![session.clone()], ..Changes::default() };
    store.save_changes(changes).await.unwrap();
    (store, account, session)
}

/// How many of the sessions with the same device as this one are there, and are written.
async fn count(store: &WholeKeys<SqliteCryptoStore>, session: &Session) -> (usize, usize) {
    let key = session.sender_key().to_base64();
    let shown = store.get_sessions(&key).await.unwrap().unwrap_or_default();
    let written = store.store.get_sessions(&key).await.unwrap().unwrap_or_default();
    (shown.len(), written.len())
}

#[tokio::test]
async fn a_session_is_written_when_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _, session) = new_session(folder.path()).await;
    assert_eq!(count(&store, &session).await, (1, 0));
    for _ in 0..2 {
        let changes = Changes { sessions: vec![session.clone()], ..Changes::default() };
        store.save_changes(changes).await.unwrap();
        assert_eq!(count(&store, &session).await, (1, 1));
    }
}

#[tokio::test]
async fn a_session_that_is_not_used_is_written_with_the_account() {
    let folder = tempfile::tempdir().unwrap();
    let (store, account, session) = new_session(folder.path()).await;
    store.save_pending_changes(PendingChanges { account: Some(account) }).await.unwrap();
    assert_eq!(count(&store, &session).await, (1, 1));
}

#[tokio::test]
async fn a_session_is_written_with_what_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _, session) = new_session(folder.path()).await;
    let other = Changes { next_batch_token: Some("s1".to_owned()), ..Changes::default() };
    store.save_changes(other).await.unwrap();
    assert_eq!(count(&store, &session).await, (1, 0));
    let changes = Changes {
        sessions: vec![session.clone()],
        next_batch_token: Some("s2".to_owned()),
        ..Changes::default()
    };
    store.save_changes(changes).await.unwrap();
    assert_eq!(count(&store, &session).await, (1, 1));
}
