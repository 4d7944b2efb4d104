//! What homeservers push, and who is told of it.

use std::borrow::Cow;

use futures_util::future::BoxFuture;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{appservice::Appservice, store::StoreError};

/// An event as it lies in a transaction: what it is, where and by whom, and not what it says.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    /// Its type, as in `m.room.member`.
    #[serde(rename = "type", borrow)]
    pub event_type: Cow<'a, str>,
    /// The room that it is in.
    pub room_id: OwnedRoomId,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// What it is the state of, if it is a state event: of a membership, the member.
    #[serde(borrow, default)]
    pub state_key: Option<Cow<'a, str>>,
    /// Which one it is.
    #[serde(default)]
    pub event_id: Option<OwnedEventId>,
}

/// A pushed event that an [`Audience`] waits for.
#[derive(Debug)]
pub struct Pushed<'a> {
    /// The registration on the homeserver that pushed it.
    pub by: &'a Appservice,
    /// What it is.
    pub envelope: Envelope<'a>,
    content: &'a RawValue,
}

impl<'a> Pushed<'a> {
    pub(crate) fn new(by: &'a Appservice, envelope: Envelope<'a>, content: &'a RawValue) -> Self {
        Self { by, envelope, content }
    }

    /// What it says, as it came.
    pub(crate) fn raw_content(&self) -> &str {
        self.content.get()
    }

    /// What it says; nothing if it is not a `C`.
    pub fn content<C: DeserializeOwned>(&self) -> Option<C> {
        serde_json::from_str(self.content.get()).ok()
    }
}

/// Who waits for what homeservers push.
pub trait Audience: std::fmt::Debug + Send + Sync + 'static {
    /// Sees each event pass, and may remember that for a while, in memory alone.
    fn pass(&self, _pushed: &Pushed<'_>) {}

    /// Whether such an event is of use, said before its content is looked at. Everything else is
    /// dropped: nothing of it is kept, and nothing is written into a log.
    fn awaits(&self, by: &Appservice, envelope: &Envelope<'_>) -> bool;

    /// Takes note of an event that it awaits. The homeserver is told that the event arrived only
    /// after this is done, and sends it again if this fails; so it may come more than once.
    fn hear<'a>(&'a self, pushed: &'a Pushed<'a>) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// An audience that waits for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Audience for Nobody {
    fn awaits(&self, _: &Appservice, _: &Envelope<'_>) -> bool {
        false
    }

    fn hear<'a>(&'a self, _: &'a Pushed<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
