//! Command line.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _, stderr, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};
use futures_util::future::join_all;
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::OwnedServerName;
use tern::{
    appservice::NewRegistration,
    bot::{self, BotError},
    clock::{SharedClock, SystemClock},
    config::Config,
    homeserver::{Reach, Transport},
    logging,
    measure::Counted,
    migration::{Migrations, Settings},
    moderation::Moderation,
    private::{self, SecretFile},
    store::{Store, StoreError},
    supervise,
    web::{Health, Listener, Observation},
};
use tokio_util::sync::CancellationToken;
use url::Url;

mod check;

/// A Matrix bot that moves a person from one Matrix account to another.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration; config.example.yaml explains it.
    #[arg(long, value_name = "FILE", default_value = "config.yaml", global = true)]
    config: PathBuf,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the configuration, reach every homeserver that it names, and say what is wrong.
    Check,
    /// Print a new registration as an application service, with random tokens of its own.
    ///
    /// The homeserver and the bot both read it; registration.example.yaml explains it.
    Registration(RegistrationArguments),
}

#[derive(Debug, Args)]
struct RegistrationArguments {
    /// The name of the homeserver, as in the IDs of its users.
    #[arg(long, value_name = "NAME")]
    server_name: OwnedServerName,
    /// Where the homeserver reaches the bot, like http://tern:29340.
    #[arg(long)]
    url: Url,
    /// Which localparts it covers, if not all of them: a regular expression, like 'a.*'.
    #[arg(long, value_name = "REGEX")]
    users: Option<String>,
    /// What the homeserver calls it; no two may have the same.
    #[arg(long, default_value = "tern")]
    id: String,
    /// The localpart of its own user: another one than the account in bot.user_id.
    #[arg(long, value_name = "LOCALPART", default_value = "tern-service")]
    sender: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    private::keep_new_files();
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => run(&arguments.config).await.map(|()| true),
        Some(Command::Check) => check(&arguments.config).await,
        Some(Command::Registration(arguments)) => registration(arguments).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs the bot until it is told to stop.
async fn run(config: &Path) -> anyhow::Result<()> {
    let config = Config::load(config, environment())?;
    logging::init(&config.log)?;
    supervise::log_panics();
    private::keep_old_files(&config.storage);
    for exposed in config.secret_files.iter().filter_map(SecretFile::is_exposed) {
        tracing::warn!("{exposed}");
    }
    let mut rng = StdRng::from_os_rng();
    let path = &config.storage.path;
    let store = Store::open(path, &config.storage.key_file, &mut rng)
        .map_err(|error| damaged(error.into(), || Store::keep_files(path)))?;
    let ended = run_on(store.clone(), config, rng).await;
    ended.map_err(|error| damaged(error, || store.keep_records()))
}

/// Says besides what became of a store that is damaged, if that is why the bot cannot run.
fn damaged(error: anyhow::Error, keep: impl FnOnce() -> io::Result<PathBuf>) -> anyhow::Error {
    let of_store = match error.downcast_ref::<BotError>() {
        Some(BotError::Store(error)) => Some(error),
        _ => error.downcast_ref::<StoreError>(),
    };
    if !of_store.is_some_and(StoreError::is_damage) {
        return error;
    }
    let kept = match keep() {
        Ok(kept) => format!("What there still is of it is kept in {}.", kept.display()),
        Err(why) => format!("What there still is of it could not be kept aside ({why})."),
    };
    anyhow!(
        "{error:#}. {kept} Bring the directory storage.path back from a backup, and start Tern again; \
         docs/admin.md tells more"
    )
}

/// Runs the bot on this store until it is told to stop.
async fn run_on(store: Store, config: Config, mut rng: StdRng) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let transport = Transport::new(clock.clone(), StdRng::from_rng(&mut rng), reach(&config))?;
    transport.pacing().keep_in(&store).await?;
    transport.pin_in(&store)?;
    let migrations = Migrations::open(
        config.bot.user_id.clone(),
        Settings {
            consent_expires: config.consent.expires,
            consent_keep: config.consent.keep,
            quiet_after: config.plan.quiet_after,
        },
        store.clone(),
        transport.clone(),
        config.appservices.clone(),
        clock.clone(),
    )?;
    let health = Health::default();
    let moderation = bot::moderation(&config, &migrations, &store, &clock);
    let listeners = listen(&config, &store, &migrations, &moderation, &health).await?;
    let stop = CancellationToken::new();
    let serve = join_all(listeners.into_iter().map(|listener| listener.serve(stop.clone())));
    let chat = async {
        let parts = bot::Parts { config, store, transport, migrations, moderation, clock, health };
        let ended = bot::run(parts, rng).await;
        stop.cancel();
        ended
    };
    let (ended, _) = tokio::join!(chat, serve);
    Ok(ended?)
}

/// How the configuration has homeservers reached.
fn reach(config: &Config) -> Reach {
    Reach {
        configured: config.homeservers.clone(),
        private_addresses: config.private_addresses,
        plain_http: false,
        timeouts: config.timeouts,
    }
}

/// Listens for whom the configuration names: homeservers that the bot is an application service of,
/// and whoever watches it.
async fn listen(
    config: &Config,
    store: &Store,
    migrations: &Migrations,
    moderation: &Moderation,
    health: &Health,
) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    if !config.appservices.is_empty() {
        let (address, appservices) = (config.web.listen, &config.appservices);
        let audience = Arc::new(moderation.clone());
        let listener = Listener::for_homeservers(address, appservices, store, audience).await?;
        listeners.push(listener);
    }
    if let Some(address) = config.web.metrics {
        let migrations = migrations.clone();
        let observation =
            Observation::new(health.clone(), Counted::begin()?, move || migrations.phases());
        listeners.push(Listener::for_admins(address, observation).await?);
    }
    Ok(listeners)
}

/// Whether all is well with the configuration.
async fn check(config: &Path) -> anyhow::Result<bool> {
    let config = Config::load(config, environment())?;
    logging::init(&config.log)?;
    let (clock, rng) = (Arc::new(SystemClock), StdRng::from_os_rng());
    let transport = Transport::new(clock, rng, reach(&config))?;
    check::check(&config, &transport, &mut stdout()).await.context("cannot print the result")
}

/// Prints a registration.
fn registration(arguments: RegistrationArguments) -> anyhow::Result<()> {
    let RegistrationArguments { server_name: server, url, users, id, sender } = arguments;
    let new = NewRegistration { server, url, users, id, sender };
    let text = new.write(&mut StdRng::from_os_rng())?;
    stdout().write_all(text.as_bytes()).context("cannot print the registration")
}

/// What may override the configuration.
fn environment() -> impl Iterator<Item = (String, String)> {
    let unicode = |text: OsString| text.to_string_lossy().into_owned();
    env::vars_os().map(move |(name, value)| (unicode(name), unicode(value)))
}

/// Prints an error and its causes as one line.
fn report(error: &anyhow::Error) {
    // `{:#}` joins the causes with colons. Where standard error is gone, nobody reads it.
    let _ = writeln!(stderr(), "tern: {error:#}");
}
