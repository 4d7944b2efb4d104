//! A conversation of a person with the bot.

use std::{
    fmt::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use matrix_sdk::{
    Room,
    media::{MediaFormat, MediaRequestParameters},
};
use ruma::{
    EventId, OwnedEventId, OwnedUserId, RoomId, UserId,
    events::{
        reaction::ReactionEventContent, relation::Annotation,
        room::message::RoomMessageEventContent,
    },
};

use super::{Message, PATIENCE, Person};

/// A room in which a person talks with somebody, most likely the bot.
#[derive(Debug)]
pub struct Chat {
    person: Person,
    room: Room,
    other: OwnedUserId,
    patience: Duration,
    /// The last message that was heard.
    heard: Mutex<Option<OwnedEventId>>,
}

impl Chat {
    pub(super) fn new(person: Person, room: Room, other: OwnedUserId) -> Self {
        Self { person, room, other, patience: PATIENCE, heard: Mutex::new(None) }
    }

    /// Waits this long for each thing to be heard, and not 30 seconds.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where it takes place.
    pub fn room_id(&self) -> &RoomId {
        self.room.room_id()
    }

    /// Who talks here with the bot.
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// Whom they talk with.
    pub fn other(&self) -> &UserId {
        &self.other
    }

    /// Posts a text, encrypted where the room is.
    pub async fn say(&self, text: &str) -> Result<OwnedEventId> {
        self.send(RoomMessageEventContent::text_plain(text)).await
    }

    /// Posts any message, encrypted where the room is.
    pub async fn send(&self, content: RoomMessageEventContent) -> Result<OwnedEventId> {
        Ok(self.room.send(content).await?.response.event_id)
    }

    /// Reacts to a message.
    pub async fn react(&self, to: &EventId, key: &str) -> Result<OwnedEventId> {
        let annotation = Annotation::new(to.to_owned(), key.to_owned());
        let reaction = ReactionEventContent::new(annotation);
        Ok(self.room.send(reaction).await?.response.event_id)
    }

    /// Waits for the next message of the other that fits, now or after an edit. It and all before
    /// it count as heard: the next call looks only at what comes after it.
    ///
    /// # Errors
    ///
    /// When patience runs out; the error has the conversation so far.
    pub async fn hear(&self, fits: impl Fn(&Message) -> bool) -> Result<Message> {
        let last = self.heard().clone();
        let message = self
            .find("the message did not come", |messages| {
                let after = last.as_ref().map_or(0, |last| {
                    1 + messages.iter().position(|message| message.event_id == *last).unwrap_or(0)
                });
                messages
                    .iter()
                    .skip(after)
                    .filter(|message| message.sender == self.other)
                    // What cannot be read yet might be the one, so nothing after it is.
                    .take_while(|message| !message.sealed)
                    .find(|message| fits(message))
                    .cloned()
            })
            .await?;
        *self.heard() = Some(message.event_id.clone());
        Ok(message)
    }

    /// Waits for the next message of the other whose text contains `part`.
    pub async fn hear_about(&self, part: &str) -> Result<Message> {
        self.hear(|message| message.body.contains(part))
            .await
            .with_context(|| format!("waiting for {part:?}"))
    }

    /// Waits until a message fits, as it is or after an edit, heard already or not.
    pub async fn hear_edit(
        &self,
        event: &EventId,
        fits: impl Fn(&Message) -> bool,
    ) -> Result<Message> {
        self.find("the message did not become so", |messages| {
            messages.iter().find(|message| message.event_id == event && fits(message)).cloned()
        })
        .await
    }

    /// Waits until a message is redacted.
    pub async fn redacted(&self, event: &EventId) -> Result<()> {
        self.hear_edit(event, |message| message.redacted).await?;
        Ok(())
    }

    /// Everything said so far, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.person.messages(self.room_id())
    }

    /// Fetches what is attached to a message, decrypted.
    pub async fn download(&self, message: &Message) -> Result<Vec<u8>> {
        let source = message.file.as_ref().context("nothing is attached")?.source.clone();
        let request = MediaRequestParameters { source, format: MediaFormat::File };
        Ok(self.person.client().media().get_media_content(&request, false).await?)
    }

    /// The conversation so far, to be read by people.
    pub fn transcript(&self) -> String {
        let mut transcript = String::new();
        for message in self.messages() {
            // Writing to a string cannot fail.
            let _ok = writeln!(transcript, "{message}");
        }
        transcript
    }

    async fn find<T>(&self, failed: &str, look: impl Fn(&[Message]) -> Option<T>) -> Result<T> {
        let mut timelines = self.person.inner.timelines.subscribe();
        let found = async {
            loop {
                timelines.mark_unchanged();
                if let Some(found) = look(&self.messages()) {
                    return Ok(found);
                }
                timelines.changed().await?;
            }
        };
        match tokio::time::timeout(self.patience, found).await {
            Ok(found) => found,
            Err(_elapsed) => {
                let seconds = self.patience.as_secs();
                let transcript = self.transcript();
                Err(anyhow!("{failed} within {seconds} s. The conversation:\n{transcript}"))
            }
        }
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Option<OwnedEventId>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
