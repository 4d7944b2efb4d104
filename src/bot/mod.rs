//! What people see: chat with the bot in direct messages.
//!
//! [`sync`] hands what arrives to a task for each room, in which [`inbox`] makes a command of it
//! and gives the answer. What a migration tells by itself comes from [`deliver`] to each person's
//! direct message, which [`reach`] finds or makes. What a command does is in [`commands`]; what
//! is said, and only that, in [`wording`].

mod account;
mod answer;
mod commands;
mod deliver;
mod error;
mod grammar;
mod inbox;
mod progress;
mod reach;
mod reactions;
mod records;
mod report_files;
mod retry;
mod rooms;
mod shared;
mod sync;
mod talk;
mod wording;

use std::sync::Arc;

use rand::Rng;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    account::Entrance,
    progress::Keeper,
    records::Records,
    shared::{Bot, Shared},
    sync::{Sync, SyncEnd},
};
pub use self::{commands::command_table, error::BotError};
use crate::{
    clock::SharedClock, config::Config, homeserver::Transport, migration::Migrations, store::Store,
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
    /// The time.
    pub clock: SharedClock,
}

/// Logs in, and serves until the process is told to stop (SIGTERM or SIGINT). Logs `tern is ready`
/// once it takes commands.
///
/// # Errors
///
/// When the bot cannot log in, or its store fails.
pub async fn run(parts: Parts, mut rng: impl Rng) -> Result<(), BotError> {
    let Parts { config, store, transport, migrations, clock } = parts;
    let records = Records::new(store.clone());
    records.drop_prompts_of_forgotten(|id| migrations.get(id).is_ok()).await?;
    let shared = Shared { config: Arc::new(config), migrations, records, clock };
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let entrance = Entrance {
        config: &shared.config,
        store: &store,
        transport: &transport,
        clock: &shared.clock,
    };
    tokio::select! {
        end = serve_for_good(&shared, &entrance, &mut rng) => end?,
        _ = terminate.recv() => tracing::info!("told to stop"),
        _ = interrupt.recv() => tracing::info!("told to stop"),
    }
    shared.migrations.suspend_all().await;
    Ok(())
}

/// Serves, and logs in again whenever the homeserver has forgotten the session.
async fn serve_for_good(
    shared: &Shared,
    entrance: &Entrance<'_>,
    rng: &mut impl Rng,
) -> Result<(), BotError> {
    loop {
        let account = entrance.enter(rng).await?;
        let bot = Arc::new(Bot::new(shared.clone(), account));
        match serve(bot).await {
            SyncEnd::SessionGone => tracing::warn!("the bot's session is gone; logging in again"),
            SyncEnd::Store(error) => return Err(error.into()),
        }
    }
}

/// Serves until the session is gone. What was begun and is not finished is dropped then, and comes
/// again.
async fn serve(bot: Arc<Bot>) -> SyncEnd {
    let mut sync = Sync::new(bot.clone());
    if let Err(end) = sync.begin().await {
        return end;
    }
    let notices = match bot.shared.migrations.notices() {
        Ok(notices) => notices,
        Err(error) => return error.into(),
    };
    bot.shared.migrations.resume_all();
    tracing::info!("tern is ready");
    tokio::select! {
        end = sync.go_on() => end,
        () = deliver::run(bot.clone(), notices) => SyncEnd::SessionGone,
        error = Keeper::new(bot).run() => error.into(),
    }
}
