//! Sending: messages, edits, reactions, files, redactions.
//!
//! Each is sent until it is through or refused for good. What must not be sent twice carries a
//! transaction ID that is the same for each try, also after a restart.

use std::sync::{Arc, Mutex, PoisonError};

use matrix_sdk::{
    Client, Error, Room,
    attachment::AttachmentConfig,
    ruma::{
        EventId, OwnedEventId, OwnedTransactionId, RoomId,
        events::{
            AnyMessageLikeEventContent, Mentions,
            reaction::ReactionEventContent,
            relation::Annotation,
            room::message::{ReplacementMetadata, RoomMessageEventContent},
        },
    },
};

use super::{
    company::{Company, Lookout},
    pace::Pace,
    report_files::File,
    retry::{Failed, Fate, until_final},
    wording::Message,
};
use crate::{
    clock::{SharedClock, Timestamp},
    migration::PlanId,
    store::StoreError,
};

/// The bot's voice.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    client: Client,
    clock: SharedClock,
    lookout: Lookout,
    pace: Arc<Mutex<Pace>>,
}

/// A message was not sent, and never will be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error("the bot is not in that room")]
    NotThere,
    #[error("others than the person it is for could read it")]
    Overheard,
    #[error(transparent)]
    Refused(#[from] Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failed for Unsent {
    fn fate(&self) -> Fate {
        match self {
            Self::Refused(error) => error.fate(),
            Self::NotThere | Self::Overheard | Self::Store(_) => Fate::Final,
        }
    }
}

/// What transaction IDs are derived from: the command that is answered, or the notice.
#[derive(Clone, Debug)]
pub(super) struct Cause(String);

impl Cause {
    pub(super) fn command(event: &EventId) -> Self {
        Self(format!("tern-{event}"))
    }

    pub(super) fn notice(id: u64) -> Self {
        Self(format!("tern-notice-{id}"))
    }

    pub(super) fn other(what: &str, room: &RoomId) -> Self {
        Self(format!("tern-{what}-{room}"))
    }

    /// What shows this plan: another one would be another message, also when the first was sent just
    /// before a crash. So what a person reads is always the plan that their ✅ names.
    pub(super) fn showing(self, plan: PlanId) -> Self {
        Self(format!("{}-plan-{}", self.0, plan.number.0))
    }

    /// The ID of one of the messages that come of it.
    pub(super) fn transaction(&self, part: impl std::fmt::Display) -> OwnedTransactionId {
        OwnedTransactionId::from(format!("{}-{part}", self.0))
    }
}

impl Talk {
    /// `is_unlimited` is whether the homeserver is known not to limit the bot.
    pub(super) fn new(client: Client, lookout: Lookout, is_unlimited: bool) -> Self {
        let clock = lookout.clock.clone();
        let pace = Pace::new(is_unlimited, clock.now());
        Self { client, clock, lookout, pace: Arc::new(Mutex::new(pace)) }
    }

    /// Whether a message may be sent that could also wait.
    pub(super) fn can_spare_one(&self) -> bool {
        self.with_pace(Pace::can_spare_one)
    }

    /// Whether the homeserver is known to take no message now.
    pub(super) fn is_denied(&self) -> bool {
        self.with_pace(|pace, now| pace.is_denied(now))
    }

    fn with_pace<T>(&self, look: impl FnOnce(&mut Pace, Timestamp) -> T) -> T {
        look(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner), self.clock.now())
    }

    /// Notes what the homeserver made of a message.
    fn learn<T, E: Failed>(&self, sent: Result<T, E>) -> Result<T, E> {
        match sent.as_ref().map_err(Failed::fate) {
            Ok(_) => self.with_pace(Pace::passed),
            Err(Fate::Passing(told)) => self.with_pace(|pace, now| pace.denied(now, told)),
            Err(_) => {}
        }
        sent
    }

    /// Sends until it is through or refused for good.
    async fn until_final<T, E: Failed, F>(&self, request: impl Fn() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        until_final(&self.clock, || async { self.learn(request().await) }).await
    }

    /// A direct message. Asked right before each try to say something: somebody may have been
    /// invited meanwhile, whom matrix-sdk would give the keys.
    async fn direct_message(&self, id: &RoomId) -> Result<Room, Unsent> {
        let room = self.room(id)?;
        match self.lookout.company(&room).await? {
            Company::One(_) => Ok(room),
            Company::NotThere | Company::None => Err(Unsent::NotThere),
            Company::Overheard(_) | Company::Many => Err(Unsent::Overheard),
        }
    }

    /// Any room that the bot is in.
    fn room(&self, id: &RoomId) -> Result<Room, Unsent> {
        let joined = |room: &Room| room.state() == matrix_sdk::RoomState::Joined;
        self.client.get_room(id).filter(joined).ok_or(Unsent::NotThere)
    }

    /// Says something.
    pub(super) async fn say(
        &self,
        room: &RoomId,
        message: &Message,
        transaction: OwnedTransactionId,
    ) -> Result<OwnedEventId, Unsent> {
        self.send(room, message.content(), transaction).await
    }

    /// Says something that concerns nobody, in a room whoever reads it.
    pub(super) async fn say_openly(
        &self,
        room: &RoomId,
        message: &Message,
        transaction: OwnedTransactionId,
    ) -> Result<(), Unsent> {
        let (room, content) = (self.room(room)?, message.content());
        self.until_final(|| async {
            room.send(content.clone()).with_transaction_id(transaction.clone()).await
        })
        .await?;
        Ok(())
    }

    /// Sends a message with any content.
    pub(super) async fn say_content(
        &self,
        room: &RoomId,
        content: serde_json::Value,
        transaction: OwnedTransactionId,
    ) -> Result<OwnedEventId, Unsent> {
        let sent = self
            .until_final(|| async {
                let (room, content) = (self.direct_message(room).await?, content.clone());
                let sent = room.send_raw("m.room.message", content);
                sent.with_transaction_id(&transaction).await.map_err(Unsent::from)
            })
            .await?;
        Ok(sent.response.event_id)
    }

    /// Reacts to a message.
    pub(super) async fn react(
        &self,
        room: &RoomId,
        to: &EventId,
        key: &str,
        transaction: OwnedTransactionId,
    ) -> Result<OwnedEventId, Unsent> {
        let annotation = Annotation::new(to.to_owned(), key.to_owned());
        self.send(room, ReactionEventContent::new(annotation), transaction).await
    }

    async fn send(
        &self,
        room: &RoomId,
        content: impl Into<AnyMessageLikeEventContent>,
        transaction: OwnedTransactionId,
    ) -> Result<OwnedEventId, Unsent> {
        let content = content.into();
        let sent = self
            .until_final(|| async {
                let room = self.direct_message(room).await?;
                let sent = room.send(content.clone());
                sent.with_transaction_id(transaction.clone()).await.map_err(Unsent::from)
            })
            .await?;
        Ok(sent.response.event_id)
    }

    /// Puts `message` in the place of an earlier one. Tried once: the caller decides when again.
    pub(super) async fn edit(
        &self,
        room: &RoomId,
        event: &EventId,
        message: &Message,
    ) -> Result<(), Unsent> {
        let original = ReplacementMetadata::new(event.to_owned(), Some(Mentions::new()));
        let content: RoomMessageEventContent = message.content().make_replacement(original);
        let room = self.direct_message(room).await?;
        self.learn(room.send(content).await)?;
        Ok(())
    }

    /// Sends a file, encrypted where the room is.
    pub(super) async fn send_file(
        &self,
        room: &RoomId,
        file: &File,
        transaction: OwnedTransactionId,
    ) -> Result<(), Unsent> {
        let content_type: mime::Mime =
            file.content_type.parse().unwrap_or(mime::APPLICATION_OCTET_STREAM);
        self.until_final(|| async {
            let mut config = AttachmentConfig::new().mentions(Some(Mentions::new()));
            config.txn_id = Some(transaction.clone());
            let room = self.direct_message(room).await?;
            let sent = room.send_attachment(file.name, &content_type, file.content.clone(), config);
            sent.await.map_err(Unsent::from)
        })
        .await?;
        Ok(())
    }

    /// Deletes a message of somebody's, if the bot may.
    pub(super) async fn redact(
        &self,
        room: &RoomId,
        event: &EventId,
        why: &str,
    ) -> Result<(), Unsent> {
        let room = self.room(room)?;
        let transaction = OwnedTransactionId::from(format!("tern-redact-{event}"));
        self.until_final(|| async {
            let redacted = room.redact(event, Some(why), Some(transaction.clone())).await;
            redacted.map_err(Error::from)
        })
        .await?;
        Ok(())
    }

    /// Shows, or no longer shows, that the bot is at it. Nobody misses it when it fails.
    pub(super) async fn typing(&self, room: &RoomId, typing: bool) {
        let Ok(room) = self.room(room) else { return };
        if let Err(error) = room.typing_notice(typing).await {
            tracing::debug!(%error, "no typing notice");
        }
    }
}
