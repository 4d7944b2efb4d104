//! What moderators say where somebody vouches for it: their own homeserver, which pushes it, or the
//! bot, which stays in the room. It is kept first, and then followed beside everything else that
//! concerns the same migration.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use ruma::{EventId, OwnedRoomId, RoomId, UserId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Inner, InviteRequest, Moderation, RequestState, Way,
    answer::Reply,
    attend::End,
    content,
    heard::Heard,
    post::AFTER_FAILURE,
    record::Answered,
    sign::{said, said_by_pushed},
};
use crate::{
    appservice::Appservice,
    consent::Vouched,
    migration::MigrationId,
    store::StoreError,
    web::{Audience, Envelope, Pushed},
};

/// The rooms in which an answer to a message is waited for, as they were when the requests had
/// changed so many times.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<Option<(u64, HashSet<OwnedRoomId>)>>);

impl Audience for Moderation {
    fn pass(&self, pushed: &Pushed<'_>) {
        self.0.migrations.pass(pushed);
    }

    fn awaits(&self, by: &Appservice, envelope: &Envelope<'_>) -> bool {
        self.0.migrations.awaits(by, envelope) || self.0.awaits_words(by, envelope)
    }

    fn hear<'a>(&'a self, pushed: &'a Pushed<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if self.0.migrations.awaits(pushed.by, &pushed.envelope) {
                self.0.migrations.hear(pushed).await?;
            }
            if self.0.awaits_words(pushed.by, &pushed.envelope) {
                self.0.pushed(pushed).await?;
            }
            Ok(())
        })
    }
}

impl Moderation {
    /// Somebody answered in a room that the bot stays in: what they answered to, and which requests
    /// that may be. Nothing when the event is no answer to any.
    ///
    /// # Errors
    ///
    /// When the requests cannot be read.
    pub(crate) fn answered(
        &self,
        room: &RoomId,
        event: &str,
    ) -> Result<Option<InRoom>, StoreError> {
        let Some(said) = said(event) else { return Ok(None) };
        if !self.0.watches(room)? {
            return Ok(None);
        }
        let requests = self.0.records.in_room(room)?.into_iter();
        let requests: Vec<_> =
            requests.filter(|it| it.is_asked_in_room_by(&said.to) && !it.is_of(&said.by)).collect();
        let heard = Heard::by_the_bot(&said.by, &said.to, said.answer);
        Ok((!requests.is_empty()).then_some(InRoom { heard, requests }))
    }

    /// Whether `content`, which `by` sent, is what the bot wrote to ask, word for word.
    pub(crate) fn is_asked_by(
        &self,
        request: &InviteRequest,
        by: &UserId,
        content: &Value,
    ) -> bool {
        self.0.is_asked_by(request, by, content)
    }

    /// What somebody answered in a room that the bot stays in is followed in this migration.
    ///
    /// # Errors
    ///
    /// When it cannot be written down.
    pub(crate) async fn overheard(
        &self,
        request: &InviteRequest,
        answered: &InRoom,
    ) -> Result<(), StoreError> {
        self.0.keep(request, &answered.heard).await
    }
}

/// An answer in a room that the bot stays in.
#[derive(Debug)]
pub(crate) struct InRoom {
    heard: Heard,
    /// Which it may be an answer to.
    pub(crate) requests: Vec<InviteRequest>,
}

impl InRoom {
    /// The message that it is an answer to.
    pub(crate) fn to(&self) -> &EventId {
        self.heard.to()
    }
}

impl Inner {
    /// Whether an event of such a kind may be a request, or an answer to one, that the homeserver of
    /// who sent it vouches for.
    fn awaits_words(&self, by: &Appservice, envelope: &Envelope<'_>) -> bool {
        matches!(&*envelope.event_type, "m.reaction" | "m.room.message")
            && envelope.state_key.is_none()
            && self.watches(&envelope.room_id).unwrap_or(true)
            && (envelope.event_type == "m.room.message" || by.covers(&envelope.sender))
    }

    /// Whether the answer to a message in this room is waited for.
    fn watches(&self, room: &RoomId) -> Result<bool, StoreError> {
        let now = *self.changed.borrow();
        let mut watched = self.watched.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.as_ref().is_none_or(|(then, _)| *then != now) {
            *watched = Some((now, self.records.rooms_with_message()?));
        }
        Ok(watched.as_ref().is_some_and(|(_, rooms)| rooms.contains(room)))
    }

    async fn pushed(&self, pushed: &Pushed<'_>) -> Result<(), StoreError> {
        let envelope = &pushed.envelope;
        let room = &envelope.room_id;
        let said = said_by_pushed(pushed);
        for request in self.records.in_room(room)? {
            let may_be_answered = request.way == Some(Way::Message) && request.state.is_live();
            if !may_be_answered {
                continue;
            }
            if envelope.sender == request.old {
                self.note_shown(&request, pushed).await?;
            }
            let Some(said) = said.as_ref().filter(|said| !request.is_of(&said.by)) else {
                continue;
            };
            let is_meant = request.is_asked_in_room_by(&said.to)
                || self.records.shown(request.migration, room)?.has(&said.to);
            let Some(vouched) = Vouched::of(pushed).filter(|_| is_meant) else { continue };
            self.keep(&request, &Heard::pushed(vouched, &said.to, said.answer)).await?;
        }
        Ok(())
    }

    /// What the old account says in the room, as another homeserver knows it.
    async fn note_shown(
        &self,
        request: &InviteRequest,
        pushed: &Pushed<'_>,
    ) -> Result<(), StoreError> {
        let (id, room, envelope) = (request.migration, &request.room_id, &pushed.envelope);
        let Some(content) = pushed.content::<Value>() else { return Ok(()) };
        let replaces = content.pointer("/m.relates_to/rel_type").and_then(Value::as_str);
        if replaces == Some("m.replace") {
            let of = content.pointer("/m.relates_to/event_id").and_then(Value::as_str);
            let of = of.and_then(|of| <&EventId>::try_from(of).ok());
            let shown = self.records.shown(id, room)?;
            if of.is_some_and(|of| request.is_asked_by(of) || shown.has(of)) {
                return self.records.change_shown(id, room, |shown| shown.note_edit()).await;
            }
        }
        match &envelope.event_id {
            Some(event_id) if self.is_asked_by(request, &envelope.sender, &content) => {
                let server = pushed.by.server().to_owned();
                let event_id = event_id.clone();
                self.records.change_shown(id, room, |shown| shown.note(event_id, server)).await
            }
            _ => Ok(()),
        }
    }

    fn is_asked_by(&self, request: &InviteRequest, by: &UserId, content: &Value) -> bool {
        *by == *request.old
            && (*content == content::request(request, &self.words.request(request))
                || *content == content::reminder(request, &self.words.reminder(request)))
    }

    async fn keep(&self, request: &InviteRequest, heard: &Heard) -> Result<(), StoreError> {
        let (id, room) = (request.migration, &request.room_id);
        self.records.put_answer(id, room, heard).await?;
        if heard.answer() == Answer::Stop {
            self.stop_in(id, room, heard).await?;
        }
        self.tell_changed();
        Ok(())
    }

    /// Follows the answers in one migration that were kept, until `stop`.
    pub(super) async fn follow_all(
        &self,
        id: MigrationId,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let mut failed = false;
            for answered in self.records.answers(id)? {
                match self.follow_kept(id, &answered, stop).await {
                    Ok(()) => {}
                    Err(End::Failed(failure)) => {
                        tracing::info!(migration = %id, %failure, "an answer is followed later");
                        failed = true;
                    }
                    Err(end) => return Err(end),
                }
            }
            let pause = async {
                match failed {
                    true => self.clock.sleep(AFTER_FAILURE).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = pause => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn follow_kept(
        &self,
        id: MigrationId,
        Answered { room_id, heard }: &Answered,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let request = self.records.request(id, room_id)?;
        if let Some(request) = request {
            if request.state == RequestState::Sending {
                // Once it is written down that it was sent, it is seen what was answered.
                return Ok(());
            }
            match self.heed(&request, heard, stop).await {
                Ok(Reply::Thanks) => self.thank(id, room_id, heard.by(), stop).await?,
                Ok(_) => {}
                Err(End::Failed(failure)) if failure.is_retryable() => {
                    return Err(End::Failed(failure));
                }
                Err(End::Failed(failure)) => {
                    tracing::info!(migration = %id, room = %room_id, %failure, "an unheard answer");
                }
                Err(end) => return Err(end),
            }
        }
        self.records.drop_answer(id, room_id, heard).await?;
        Ok(())
    }
}
