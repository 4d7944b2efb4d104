//! What people see: chat with the bot in direct messages.
//!
//! [`sync`] hands what arrives to a task for each room, in which [`inbox`] makes a command of it
//! and gives the answer. What a migration tells by itself comes from [`deliver`] to each person's
//! direct message, which [`reach`] finds or makes. What a command does is in [`commands`]; what
//! is said, and only that, in [`wording`].

mod account;
mod answer;
mod chats;
mod commands;
mod deliver;
mod error;
mod grammar;
mod hands;
mod inbox;
mod invitations;
mod pace;
mod progress;
mod queues;
mod reach;
mod reactions;
mod records;
mod report_files;
mod retry;
mod rooms;
mod shared;
mod stewardship;
mod sync;
mod talk;
mod wording;

use std::sync::Arc;

use rand::Rng;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::{
    account::Entrance,
    deliver::Deliverer,
    progress::Keeper,
    records::Records,
    shared::{Bot, Shared},
    sync::Sync,
    wording::ModeratorWords,
};
pub use self::{account::try_service, commands::command_table, error::BotError};
use crate::{
    clock::SharedClock,
    config::Config,
    homeserver::Transport,
    migration::Migrations,
    moderation::Moderation,
    store::{Store, StoreError},
    web::Health,
};

/// What the bot is run with.
#[derive(Debug)]
pub struct Parts {
    /// What it is told.
    pub config: Config,
    /// Where it keeps things.
    pub store: Store,
    /// How it finds its homeserver.
    pub transport: Transport,
    /// What it is about.
    pub migrations: Migrations,
    /// What moderators are asked, as [`moderation`] makes it.
    pub moderation: Moderation,
    /// The time.
    pub clock: SharedClock,
    /// Where it is told whether it answers people.
    pub health: Health,
}

/// What moderators are asked, in the bot's words. There before anything is pushed to the bot: of what
/// a homeserver was told that it arrived, nothing is to be lost.
pub fn moderation(
    config: &Config,
    migrations: &Migrations,
    store: &Store,
    clock: &SharedClock,
) -> Moderation {
    let words = ModeratorWords { bot: config.bot.user_id.clone() };
    let (store, clock) = (store.clone(), clock.clone());
    Moderation::new(config.moderation, migrations.clone(), store, clock, Box::new(words))
}

/// Logs in, and serves until the process is told to stop (SIGTERM or SIGINT). Logs `tern is ready`
/// once it takes commands.
///
/// # Errors
///
/// When the bot cannot log in, or its store fails.
pub async fn run(parts: Parts, mut rng: impl Rng) -> Result<(), BotError> {
    let Parts { config, store, transport, migrations, moderation, clock, health } = parts;
    let records = Records::new(store.clone());
    records.drop_prompts_of_forgotten(|id| migrations.get(id).is_ok()).await?;
    let config = Arc::new(config);
    let shared = Shared { config, migrations, moderation, records, clock, health };
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let entrance = Entrance {
        config: &shared.config,
        store: &store,
        transport: &transport,
        clock: &shared.clock,
    };
    let stop = CancellationToken::new();
    let told_to_stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
        stop.cancel();
    };
    let (served, ()) = tokio::join!(
        async {
            let served = serve_for_good(&shared, &entrance, &mut rng, &stop).await;
            stop.cancel();
            served
        },
        async {
            tokio::select! {
                () = told_to_stop => {}
                () = stop.cancelled() => {}
            }
        },
    );
    shared.migrations.suspend_all().await;
    served
}

/// Serves, and logs in again whenever the homeserver has forgotten the session.
async fn serve_for_good(
    shared: &Shared,
    entrance: &Entrance<'_>,
    rng: &mut impl Rng,
    stop: &CancellationToken,
) -> Result<(), BotError> {
    loop {
        let account = tokio::select! {
            account = entrance.enter(rng) => account?,
            () = stop.cancelled() => return Ok(()),
        };
        match serve(Arc::new(Bot::new(shared.clone(), account)), stop).await {
            End::Stopped => return Ok(()),
            End::SessionGone => tracing::warn!("the bot's session is gone; logging in again"),
            End::Store(error) => return Err(error.into()),
        }
    }
}

/// Serves until told to stop, or until the session is gone. What was begun and is not finished is
/// dropped then, and comes again.
async fn serve(bot: Arc<Bot>, stop: &CancellationToken) -> End {
    let mut sync = Sync::new(bot.clone());
    let mut deliverer = Deliverer::new(bot.clone());
    let health = bot.shared.health.clone();
    let end = tokio::select! {
        end = attend(bot, &mut sync, &mut deliverer) => end,
        () = stop.cancelled() => End::Stopped,
    };
    health.set_away();
    // matrix-sdk's store closes with the last that holds it, and must not do so in their midst.
    sync.stop().await;
    deliverer.stop().await;
    end
}

async fn attend(bot: Arc<Bot>, sync: &mut Sync, deliverer: &mut Deliverer) -> End {
    if let Err(end) = sync.begin().await {
        return end;
    }
    let notices = match bot.shared.migrations.notices() {
        Ok(notices) => notices,
        Err(error) => return error.into(),
    };
    bot.shared.migrations.resume_all();
    let moderation = bot.shared.moderation.clone();
    tracing::info!("tern is ready");
    bot.shared.health.set_ready();
    tokio::select! {
        end = sync.go_on() => end,
        // Another reader of notices means another bot in this process.
        () = deliverer.run(notices) => End::Stopped,
        error = moderation.run(bot.clone()) => error.into(),
        error = Keeper::new(bot.clone()).run() => error.into(),
        error = bot.shared.migrations.tidy() => error.into(),
    }
}

/// Why the bot no longer serves.
#[derive(Debug)]
enum End {
    /// It was told to stop.
    Stopped,
    /// The homeserver no longer knows its session.
    SessionGone,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
