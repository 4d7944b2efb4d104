//! Invite requests: asking a room's moderators to let the new account in, and hearing their answer.
//!
//! [`Moderation`] keeps a record of every request, written down before anything is sent. For each
//! migration that waits for moderators, [`attend`] runs three things side by side: [`post`] sends,
//! [`hear`] listens as both accounts, and [`time`] reminds and lets lapse. Whom to ask, and how, is
//! [chosen](choose) without I/O. What follows from a yes is the business of
//! [`migration`](crate::migration).

mod answer;
mod ask;
mod attend;
mod bounds;
mod choose;
mod content;
mod hear;
mod heard;
mod overhear;
mod post;
mod read;
mod record;
mod records;
mod say;
mod sign;
mod time;

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use ruma::{EventId, RoomId, UserId};
use serde_json::Value;
use tokio::sync::watch;

pub use self::{
    answer::Reply,
    ask::{Obstacle, Proposal, Proposed, TIME_PER_ROOM},
    choose::Choice,
    content::Text,
    record::{InviteRequest, Posted, RequestState, Way},
    sign::Answer,
};
use self::{overhear::Watched, post::Gate, records::Records};
use crate::{
    clock::SharedClock,
    config,
    migration::{MigrationId, Migrations},
    store::{Store, StoreError},
};

/// What moderators read. Everything that the bot says is worded in one place, which lies above
/// this.
pub trait Words: std::fmt::Debug + Send + Sync {
    /// The invite request.
    fn request(&self, request: &InviteRequest) -> Text;
    /// The same as the reason of a knock: plain, and short.
    fn knock_reason(&self, request: &InviteRequest) -> String;
    /// That it waits for an answer.
    fn reminder(&self, request: &InviteRequest) -> Text;
    /// How it ended.
    fn ended(&self, request: &InviteRequest) -> Text;
    /// To a moderator who said yes, and has to invite by hand.
    fn thanks(&self, request: &InviteRequest, to: &UserId) -> Text;
}

/// The bot's own account, which stays in rooms where it was given the power to invite. What it tells
/// is what its own homeserver knows of those rooms; of any other room it tells nothing, and does
/// nothing there.
pub trait Host: std::fmt::Debug + Send + Sync {
    /// Whether the bot stays in the room, and sees that `user` is there and may invite.
    fn may_invite<'a>(&'a self, room: &'a RoomId, user: &'a UserId) -> BoxFuture<'a, bool>;
    /// Invites somebody, if the bot stays in the room and may invite there. Whether it did.
    fn invite<'a>(&'a self, room: &'a RoomId, user: &'a UserId) -> BoxFuture<'a, bool>;
}

/// All invite requests of one bot. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Moderation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: config::Moderation,
    migrations: Migrations,
    clock: SharedClock,
    words: Box<dyn Words>,
    records: Records,
    gate: Gate,
    /// The bot's own account, while it is logged in.
    host: Mutex<Option<Arc<dyn Host>>>,
    /// Counted up when a request was changed.
    changed: watch::Sender<u64>,
    watched: Watched,
}

impl Moderation {
    /// Keeps its records in `store`, and follows `migrations`.
    pub fn new(
        settings: config::Moderation,
        migrations: Migrations,
        store: Store,
        clock: SharedClock,
        words: Box<dyn Words>,
    ) -> Self {
        let inner = Arc::new(Inner {
            settings,
            gate: Gate::new(clock.clone()),
            clock,
            words,
            host: Mutex::default(),
            records: Records::new(store),
            changed: watch::Sender::new(0),
            watched: Watched::default(),
            migrations: migrations.clone(),
        });
        migrations.followed_by(Box::new(post::Closing(Arc::downgrade(&inner))));
        Self(inner)
    }

    /// The requests of one migration.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn requests(&self, id: MigrationId) -> Result<Vec<InviteRequest>, StoreError> {
        self.0.records.of(id)
    }

    /// One request.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn request(
        &self,
        id: MigrationId,
        room: &RoomId,
    ) -> Result<Option<InviteRequest>, StoreError> {
        self.0.records.request(id, room)
    }

    /// The invite request as a message of the bot's.
    pub(crate) fn request_content(&self, request: &InviteRequest) -> Value {
        content::request(request, &self.0.words.request(request))
    }

    /// The reminder as a message of the bot's.
    pub(crate) fn reminder_content(&self, request: &InviteRequest) -> Value {
        content::reminder(request, &self.0.words.reminder(request))
    }

    /// What takes the place of the message of the bot's that asked.
    pub(crate) fn ended_content(&self, request: &InviteRequest, asked: &EventId) -> Value {
        content::ended(request, asked, &self.0.words.ended(request))
    }

    /// The request was delivered in a direct message.
    pub(crate) async fn delivered(
        &self,
        id: MigrationId,
        room: &RoomId,
        posted: Posted,
    ) -> Result<(), StoreError> {
        let change = |request: &mut InviteRequest| {
            request.to_be_closed = !request.state.is_live();
            request.message = Some(posted);
        };
        self.0.records.change(id, room, change).await?;
        self.0.tell_changed();
        Ok(())
    }

    /// What moderators read.
    pub(crate) fn words(&self) -> &dyn Words {
        &*self.0.words
    }
}

impl Inner {
    fn host(&self) -> Option<Arc<dyn Host>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell_changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}
