//! What most tests begin with: a bot, two people, and their chats with it.

use std::path::Path;

use lab::{Account, Bot, BotOptions, Chat, Pair, Person, RoomSpec, Service, pair, served_pair};
use ruma::{OwnedRoomId, RoomId, UserId, events::room::power_levels::UserPowerLevel};
use serde_json::{Value, json};

/// A bot on the old server, and a person with an account on each.
pub(crate) struct Scene<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) bot: Bot,
    pub(crate) old: Person,
    pub(crate) new: Person,
    /// Somebody else, on the old server.
    pub(crate) friend: Account,
}

/// The chats of both accounts with the bot.
pub(crate) struct Chats {
    pub(crate) old: Chat,
    pub(crate) new: Chat,
}

pub(crate) const TERN: &str = env!("CARGO_BIN_EXE_tern");

impl Scene<'static> {
    /// A scene of its own for the test `name`.
    pub(crate) async fn new(name: &str) -> Self {
        Self::with_settings(name, json!({})).await
    }

    /// With more of the bot's configuration.
    pub(crate) async fn with_settings(name: &str, settings: Value) -> Self {
        Self::on(pair().await.unwrap(), name, settings).await
    }

    /// On homeservers that know the bot as an application service, which covers the old and the
    /// new account.
    pub(crate) async fn served(settings: Value) -> Self {
        let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
        Self::with_service(pair, service.id(), Some(&service), settings).await
    }
}

impl<'a> Scene<'a> {
    /// On homeservers of its own.
    pub(crate) async fn on(pair: &'a Pair, name: &str, settings: Value) -> Self {
        Self::with_service(pair, name, None, settings).await
    }

    /// On homeservers of its own, which know the bot as `service`.
    pub(crate) async fn with_service(
        pair: &'a Pair,
        name: &str,
        service: Option<&Service>,
        settings: Value,
    ) -> Self {
        let account = pair.old.account(&format!("{name}-tern")).await.unwrap();
        Self::with_bot(pair, name, account, service, settings).await
    }

    /// The bot is the own user of `service`, on the old server.
    pub(crate) async fn as_own_user(
        pair: &'a Pair,
        service: &Service,
        mut settings: Value,
    ) -> Self {
        let account = pair.old.own_user(service, "bot").unwrap();
        settings["bot"]["password"] = Value::Null;
        settings["bot"]["appservice"] = json!(pair.old.name());
        Self::with_bot(pair, service.id(), account, Some(service), settings).await
    }

    async fn with_bot(
        pair: &'a Pair,
        name: &str,
        account: Account,
        service: Option<&Service>,
        mut settings: Value,
    ) -> Self {
        settings["access"]["allow"] = json!(["@*:*"]);
        let servers = [&pair.old, &pair.new];
        let options = BotOptions {
            settings,
            service,
            ..BotOptions::new(Path::new(TERN), &account, &servers)
        };
        let bot = Bot::start(&pair.lab, options).await.unwrap();
        Self {
            pair,
            bot,
            old: pair.old.person(&format!("{name}-old")).await.unwrap(),
            new: pair.new.person(&format!("{name}-new")).await.unwrap(),
            friend: pair.old.account(&format!("{name}-friend")).await.unwrap(),
        }
    }

    /// Both accounts in encrypted chats with the bot, which each began itself.
    pub(crate) async fn chats(&self) -> Chats {
        let (old, new) = tokio::join!(
            self.old.chat_with(self.bot.user_id(), true),
            self.new.chat_with(self.bot.user_id(), true),
        );
        Chats { old: old.unwrap(), new: new.unwrap() }
    }

    /// Chats in which `start` and `accept` were said.
    pub(crate) async fn consented(&self) -> Chats {
        let chats = self.chats().await;
        chats.old.say(&format!("!migrate start {}", self.new.user_id())).await.unwrap();
        let question = chats.new.hear_about("wants to move to this account").await.unwrap();
        chats.new.react(&question.event_id, "✅").await.unwrap();
        chats.old.hear_about("agreed").await.unwrap();
        chats
    }

    /// Chats in which both accounts also logged in with their passwords, and saw the plan.
    pub(crate) async fn planned(&self) -> Chats {
        let chats = self.consented().await;
        log_in(&chats.old).await;
        log_in(&chats.new).await;
        chats.old.hear_about("The plan:").await.unwrap();
        chats
    }

    /// A private room of the old account, with the friend in it.
    pub(crate) async fn private_room(&self, name: &str) -> OwnedRoomId {
        self.room(RoomSpec::private(name)).await
    }

    /// A room of the old account, with the friend in it: a room with nobody else is left out.
    pub(crate) async fn room(&self, spec: RoomSpec) -> OwnedRoomId {
        let spec = spec.invite(self.friend.user_id());
        let room = self.old.create_room(spec).await.unwrap();
        self.friend.join(&room).await.unwrap();
        room
    }
}

/// Says `login password` with the account's own.
pub(crate) async fn log_in(chat: &Chat) {
    let password = chat.person().password();
    chat.say(&format!("login password {password}")).await.unwrap();
    chat.hear_about("can act as").await.unwrap();
}

/// Whether `account` is in `room`.
pub(crate) async fn is_in(account: &Account, room: &RoomId) -> bool {
    account.joined_rooms().await.unwrap().contains(room)
}

/// The power level of `user` in `room`, as `seen_by` sees it.
pub(crate) async fn level(seen_by: &Account, room: &RoomId, user: &UserId) -> i64 {
    match seen_by.power_level(room, user).await.unwrap() {
        UserPowerLevel::Int(level) => level.into(),
        other => panic!("{user} has {other:?}"),
    }
}
