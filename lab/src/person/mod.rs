//! A person at a real client: logged in, syncing, encrypting, chatting.

mod chat;
mod message;
mod timeline;

use std::{ops::Deref, sync::Arc, time::Duration};

use anyhow::Result;
use matrix_sdk::{
    Client, Room, RoomState,
    config::{RequestConfig, SyncSettings},
    encryption::EncryptionSettings,
    sync::SyncResponse,
};
use ruma::{
    OwnedEventId, OwnedRoomId, RoomId, UserId,
    api::client::{
        filter::{FilterDefinition, RoomEventFilter, RoomFilter},
        sync::sync_events::{self, v3::Filter},
    },
    events::room::{member::MembershipState, message::RoomMessageEventContent},
};
use tokio::{sync::watch, task::JoinHandle};

use self::timeline::Timelines;
pub use self::{
    chat::Chat,
    message::{Attachment, Message},
};
use crate::{Account, Homeserver, RoomSpec, wait};

/// How long a sync waits for news.
const POLL: Duration = Duration::from_secs(30);

/// How long something may take that homeservers do within a second when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A client session with end-to-end encryption and cross-signing that syncs in the background.
///
/// It is also the [`Account`] whose session it is. Clones are the same session. It belongs to the
/// runtime that it was made on: make one for each test.
#[derive(Clone, Debug)]
pub struct Person {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    account: Account,
    client: Client,
    timelines: watch::Sender<Timelines>,
    sync: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sync.abort();
    }
}

impl Homeserver {
    /// Makes an account and logs a person in to it.
    pub async fn person(&self, localpart: &str) -> Result<Person> {
        Person::log_in(&self.account(localpart).await?).await
    }
}

impl Person {
    /// Logs in to an account with its password, as a new device.
    pub async fn log_in(account: &Account) -> Result<Self> {
        Self::log_in_to(account, Look::default()).await
    }

    /// Logs in to an account with its password, as a new device that is told of a single room and
    /// of no other, so that its first sync is short even where there are thousands.
    pub async fn log_in_for(account: &Account, room: &RoomId) -> Result<Self> {
        Self::log_in_to(account, Look { only: Some(room.to_owned()), when: None }).await
    }

    /// As [`log_in_for`](Self::log_in_for), but looks only when `other` is told of something in the
    /// room. A homeserver wakes a client that waits whenever anything happens in any of its rooms,
    /// which costs much while much happens there; `other` is to be in few.
    pub async fn log_in_beside(account: &Account, room: &RoomId, other: &Account) -> Result<Self> {
        let look = Look { only: Some(room.to_owned()), when: Some(other.clone()) };
        Self::log_in_to(account, look).await
    }

    async fn log_in_to(account: &Account, look: Look) -> Result<Self> {
        let client = Client::builder()
            .homeserver_url(account.url())
            // A homeserver that was stopped and started again is not waited for a minute.
            .request_config(RequestConfig::new().max_retry_time(Duration::from_secs(1)))
            .with_encryption_settings(EncryptionSettings {
                auto_enable_cross_signing: true,
                ..EncryptionSettings::default()
            })
            .build()
            .await?;
        let session = client
            .matrix_auth()
            .login_username(account.user_id(), account.password())
            .initial_device_display_name("lab")
            .await?;
        client.encryption().wait_for_e2ee_initialization_tasks().await;
        let account = Account::known(
            account.url(),
            session.user_id,
            session.device_id,
            session.access_token,
            account.password(),
        );

        let timelines = watch::Sender::default();
        // Uploads the device's keys, so that others can write to it from now on.
        let first = client.sync_once(look.settings().timeout(Duration::ZERO)).await?;
        timeline::absorb(&client, &timelines, first).await;
        let sync = tokio::spawn(sync(client.clone(), look, timelines.clone()));
        Ok(Self { inner: Arc::new(Inner { account, client, timelines, sync }) })
    }

    /// The client itself.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The session as one that sends plain requests.
    pub fn account(&self) -> &Account {
        &self.inner.account
    }

    /// Posts a text as a client does: encrypted where the room is.
    pub async fn post(&self, room: &RoomId, text: &str) -> Result<OwnedEventId> {
        let room = self.room(room).await?;
        let content = RoomMessageEventContent::text_plain(text);
        Ok(room.send(content).await?.response.event_id)
    }

    /// Begins a direct chat, and waits until the other has joined it.
    pub async fn chat_with(&self, other: &UserId, encrypted: bool) -> Result<Chat> {
        let spec = RoomSpec::direct(other);
        let room = self.create_room(if encrypted { spec.encrypted() } else { spec }).await?;
        self.chat_in(&room, other).await
    }

    /// Waits for an invitation to a direct chat, and accepts it.
    pub async fn chat_from(&self, other: &UserId) -> Result<Chat> {
        let room =
            wait::until(&format!("{other} invites {}", self.user_id()), PATIENCE, || async {
                for room in self.client().invited_rooms() {
                    // The room may be known before the invitation to it is.
                    let Ok(invite) = room.invite_details().await else { continue };
                    if invite.inviter_id == other && room.is_direct().await? {
                        return Ok(Some(room));
                    }
                }
                Ok(None)
            })
            .await?;
        // The invited homeserver may show a federated invitation before the inviting one has
        // written it down, and so knows of it.
        wait::until(&format!("{} is let in", self.user_id()), PATIENCE, || async {
            Ok(room.join().await.ok())
        })
        .await?;
        self.chat_in(room.room_id(), other).await
    }

    /// Goes on with a chat in a room that this person is in, and waits until the other is too.
    pub async fn chat_in(&self, room: &RoomId, other: &UserId) -> Result<Chat> {
        let room = self.room(room).await?;
        wait::until(&format!("{other} joins {}", room.room_id()), PATIENCE, || async {
            let member = room.get_member_no_sync(other).await?;
            Ok(member.filter(|member| *member.membership() == MembershipState::Join).map(drop))
        })
        .await?;
        Ok(Chat::new(self.clone(), room, other.to_owned()))
    }

    /// Tells from now on when the client has seen something new.
    pub fn news(&self) -> News {
        News(self.inner.timelines.subscribe())
    }

    /// A room as the client sees it, once it knows that it has joined.
    async fn room(&self, room: &RoomId) -> Result<Room> {
        wait::until(&format!("{} syncs {room}", self.user_id()), PATIENCE, || async {
            let room = self.client().get_room(room);
            Ok(room.filter(|room| room.state() == RoomState::Joined))
        })
        .await
    }

    /// Everything said in a room since this person's client knows it, oldest first.
    pub fn messages(&self, room: &RoomId) -> Vec<Message> {
        message::messages(self.inner.timelines.borrow().get(room).map_or(&[], Vec::as_slice))
    }
}

/// Tells when a person's client has seen something new, in whatever room.
#[derive(Debug)]
pub struct News(watch::Receiver<Timelines>);

impl News {
    /// Waits for something newer than at the last call.
    ///
    /// # Errors
    ///
    /// When the client is gone.
    pub async fn come(&mut self) -> Result<()> {
        Ok(self.0.changed().await?)
    }
}

impl Deref for Person {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.inner.account
    }
}

/// Where a client looks, and when.
#[derive(Debug, Default)]
struct Look {
    /// In this room only.
    only: Option<OwnedRoomId>,
    /// Only when this account is told of something there.
    when: Option<Account>,
}

impl Look {
    /// As much timeline at once as Synapse gives, so that gaps are rare.
    fn settings(&self) -> SyncSettings {
        let mut timeline = RoomEventFilter::default();
        timeline.limit = Some(100_u32.into());
        let mut room = RoomFilter::default();
        room.timeline = timeline;
        room.rooms = self.only.clone().map(|room| vec![room]);
        let mut filter = FilterDefinition::default();
        filter.room = room;
        SyncSettings::new().filter(Filter::FilterDefinition(filter))
    }

    /// Looks once, when it is time.
    async fn once(&self, client: &Client, since: &mut Option<String>) -> Result<SyncResponse> {
        let Some(other) = &self.when else {
            return Ok(client.sync_once(self.settings().timeout(POLL)).await?);
        };
        let mut filter = FilterDefinition::ignore_all();
        filter.room = RoomFilter::empty();
        filter.room.rooms = self.only.clone().map(|room| vec![room]);
        let mut request = sync_events::v3::Request::new();
        request.filter = Some(filter.into());
        request.since = since.take();
        request.timeout = Some(POLL);
        *since = Some(other.send(request).await?.next_batch);
        Ok(client.sync_once(self.settings().timeout(Duration::ZERO)).await?)
    }
}

async fn sync(client: Client, look: Look, timelines: watch::Sender<Timelines>) {
    let mut since = None;
    loop {
        match look.once(&client, &mut since).await {
            Ok(response) => timeline::absorb(&client, &timelines, response).await,
            Err(error) => {
                tracing::debug!(%error, "the homeserver is away");
                wait::pause().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair;

    #[tokio::test]
    async fn nothing_is_lost_when_more_is_said_than_one_sync_holds() {
        let pair = pair().await.unwrap();
        let gina = pair.old.person("gina").await.unwrap();
        let hugo = pair.old.account("hugo").await.unwrap();
        let spec = RoomSpec::private("Busy").invite(hugo.user_id());
        let room = gina.create_room(spec).await.unwrap();
        hugo.join(&room).await.unwrap();
        let chat = gina.chat_in(&room, hugo.user_id()).await.unwrap();

        gina.inner.sync.abort();
        for number in 0..250 {
            hugo.message(&room, &format!("number {number}.")).await.unwrap();
        }
        let Inner { client, timelines, .. } = &*gina.inner;
        // Another timeout than that of the sync that was broken off: Synapse would answer the same
        // request with what it had for that one.
        let response =
            client.sync_once(Look::default().settings().timeout(Duration::ZERO)).await.unwrap();
        assert!(response.rooms.joined[&room].timeline.limited);
        timeline::absorb(client, timelines, response).await;

        let heard: Vec<_> = chat.messages().into_iter().map(|message| message.body).collect();
        let said: Vec<_> = (0..250).map(|number| format!("number {number}.")).collect();
        assert_eq!(heard, said);
    }

    #[tokio::test]
    async fn a_client_for_one_room_is_told_of_no_other() {
        let pair = pair().await.unwrap();
        let account = pair.old.account("busy").await.unwrap();
        let room = account.create_room(RoomSpec::private("This")).await.unwrap();
        let other = account.create_room(RoomSpec::private("Other")).await.unwrap();

        let person = Person::log_in_for(&account, &room).await.unwrap();

        assert!(person.client().get_room(&room).is_some());
        assert!(person.client().get_room(&other).is_none());
    }

    #[tokio::test]
    async fn a_client_that_looks_beside_another_account_hears_what_is_said() {
        let pair = pair().await.unwrap();
        let account = pair.old.account("beside").await.unwrap();
        let other = pair.old.account("other").await.unwrap();
        let spec = RoomSpec::private("Beside").invite(other.user_id());
        let room = account.create_room(spec).await.unwrap();
        let person = Person::log_in_beside(&account, &room, &other).await.unwrap();
        other.join(&room).await.unwrap();
        let chat = person.chat_in(&room, other.user_id()).await.unwrap();
        for text in ["one", "two"] {
            other.message(&room, text).await.unwrap();
            chat.hear_about(text).await.unwrap();
        }
    }
}
