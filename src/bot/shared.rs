//! What every part of the bot has.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use matrix_sdk::{
    Client,
    ruma::{OwnedUserId, RoomId, UserId},
};
use tokio::sync::watch;

use super::{
    account::Account, chats::Chats, hands::Hands, records::Records, stewardship, talk::Talk,
};
use crate::{
    clock::{SharedClock, Timestamp},
    config::Config,
    homeserver::Forwarder,
    migration::Migrations,
    moderation::{Host, Moderation},
    web::Health,
};

/// What every part of the bot has: nothing in it talks to a homeserver as the bot.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) migrations: Migrations,
    pub(super) moderation: Moderation,
    pub(super) records: Records,
    pub(super) clock: SharedClock,
    pub(super) health: Health,
}

impl Shared {
    /// What commands begin with.
    pub(super) fn prefix(&self) -> &str {
        self.config.bot.prefix.as_str()
    }
}

/// The bot while it is logged in: what it has, and its own account.
#[derive(Debug)]
pub(super) struct Bot {
    pub(super) shared: Shared,
    pub(super) client: Client,
    /// Carries the client's requests for as long as there is the bot.
    _forwarder: Option<Forwarder>,
    pub(super) talk: Talk,
    pub(super) hands: Hands,
    pub(super) me: OwnedUserId,
    /// What was said before is not for this bot.
    pub(super) first_started: Timestamp,
    /// Who is in which direct chat.
    pub(super) chats: Chats,
    /// Counts changes of who is in which room.
    pub(super) company_changed: watch::Sender<u64>,
}

impl Host for Bot {
    fn may_invite<'a>(&'a self, room: &'a RoomId, user: &'a UserId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            stewardship::may_invite(self, room, user).await.unwrap_or_else(|error| {
                tracing::info!(%room, %error, "who may invite in a room is not known");
                false
            })
        })
    }

    fn invite<'a>(&'a self, room: &'a RoomId, user: &'a UserId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            stewardship::invite(self, room, user).await.unwrap_or_else(|error| {
                tracing::info!(%room, %error, "the bot may not invite there");
                false
            })
        })
    }
}

impl Bot {
    pub(super) fn new(shared: Shared, account: Account) -> Self {
        let Account { client, forwarder, own_user, first_started } = account;
        // A session's own token is limited also where the service is not.
        let is_unlimited =
            forwarder.is_some() && own_user.as_ref().is_some_and(|user| !user.is_rate_limited());
        Self {
            talk: Talk::new(client.clone(), shared.clock.clone(), is_unlimited),
            hands: Hands::new(client.clone(), own_user),
            me: shared.config.bot.user_id.clone(),
            chats: Chats::default(),
            company_changed: watch::Sender::new(0),
            shared,
            client,
            _forwarder: forwarder,
            first_started,
        }
    }
}
