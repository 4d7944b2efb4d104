//! Sending: messages, edits, reactions, files, redactions.
//!
//! Each is sent until it is through or refused for good. What must not be sent twice carries a
//! transaction ID that is the same for each try, also after a restart.

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

use super::{report_files::File, retry::until_final, wording::Message};
use crate::clock::SharedClock;

/// The bot's voice.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    client: Client,
    clock: SharedClock,
}

/// A message was not sent, and never will be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error("the bot is not in that room")]
    NotThere,
    #[error(transparent)]
    Refused(#[from] Error),
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

    /// The ID of one of the messages that come of it.
    pub(super) fn transaction(&self, part: impl std::fmt::Display) -> OwnedTransactionId {
        OwnedTransactionId::from(format!("{}-{part}", self.0))
    }
}

impl Talk {
    pub(super) fn new(client: Client, clock: SharedClock) -> Self {
        Self { client, clock }
    }

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

    /// Sends a message with any content.
    pub(super) async fn say_content(
        &self,
        room: &RoomId,
        content: serde_json::Value,
        transaction: OwnedTransactionId,
    ) -> Result<OwnedEventId, Unsent> {
        let room = self.room(room)?;
        let sent = until_final(&self.clock, || async {
            let content = content.clone();
            room.send_raw("m.room.message", content).with_transaction_id(&transaction).await
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
        let room = self.room(room)?;
        let content = content.into();
        let sent = until_final(&self.clock, || async {
            room.send(content.clone()).with_transaction_id(transaction.clone()).await
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
        self.room(room)?.send(content).await?;
        Ok(())
    }

    /// Sends a file, encrypted where the room is.
    pub(super) async fn send_file(
        &self,
        room: &RoomId,
        file: &File,
        transaction: OwnedTransactionId,
    ) -> Result<(), Unsent> {
        let room = self.room(room)?;
        let content_type: mime::Mime =
            file.content_type.parse().unwrap_or(mime::APPLICATION_OCTET_STREAM);
        until_final(&self.clock, || async {
            let mut config = AttachmentConfig::new().mentions(Some(Mentions::new()));
            config.txn_id = Some(transaction.clone());
            room.send_attachment(file.name, &content_type, file.content.clone(), config).await
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
        until_final(&self.clock, || async {
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
