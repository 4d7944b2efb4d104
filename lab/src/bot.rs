//! The real bot binary, as a process that can be killed and started again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use ruma::UserId;
use serde_json::{Map, Value, json};

use crate::{
    Account, Homeserver, Lab, Service,
    guard::{Guarded, Program},
    homeserver::last_lines,
    install, wait,
};

/// What the bot logs once it answers.
const READY: &str = "tern is ready";

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How a bot is started.
#[derive(Clone, Debug)]
pub struct BotOptions<'a> {
    /// The binary, for a test of `tern` itself `env!("CARGO_BIN_EXE_tern")`.
    pub binary: &'a Path,
    /// The bot's own account.
    pub account: &'a Account,
    /// The homeservers that it is to know.
    pub homeservers: &'a [&'a Homeserver],
    /// The application service that it is, on those of `homeservers` that know it.
    pub service: Option<&'a Service>,
    /// More of its configuration, laid over what the lab writes: maps are merged, `null` removes.
    pub settings: Value,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

impl<'a> BotOptions<'a> {
    /// With nothing unusual.
    pub fn new(binary: &'a Path, account: &'a Account, homeservers: &'a [&'a Homeserver]) -> Self {
        let (service, settings, environment) = (None, json!({}), Vec::new());
        Self { binary, account, homeservers, service, settings, environment }
    }
}

/// A running (or stopped) bot. Dropping it kills it.
///
/// It is tied to no async runtime, so one test may start it and another use it.
#[derive(Debug)]
pub struct Bot {
    process: Mutex<Option<Guarded>>,
    account: Account,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    /// Declared last: the folder is removed only after the process has ended.
    _lab: Lab,
}

impl Bot {
    /// Writes a configuration, starts the bot, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it ends instead; the error has the end of its log.
    pub async fn start(lab: &Lab, options: BotOptions<'_>) -> Result<Self> {
        let folder = lab.folder("bot")?;
        fs::write(folder.join("config.yaml"), format!("{:#}\n", config(&folder, &options)))?;
        let bot = Self {
            process: Mutex::new(None),
            account: options.account.clone(),
            binary: options.binary.to_owned(),
            environment: options.environment,
            folder,
            _lab: lab.clone(),
        };
        bot.start_again().await?;
        Ok(bot)
    }

    /// Starts it after [`kill`](Self::kill) or [`stop`](Self::stop), with the same configuration
    /// and data.
    pub async fn start_again(&self) -> Result<()> {
        // One at a time: they would share the data.
        drop(self.lock().take());
        let python = install::synapse().await?;
        let before = self.log().len();
        let process = Guarded::spawn(&Program {
            python: &python,
            command: vec![
                self.binary.as_os_str(),
                "--config".as_ref(),
                self.config_path().as_os_str(),
            ],
            environment: &self.environment,
            directory: &self.folder,
            log: &self.log_path(),
        })?;
        *self.lock() = Some(process);
        wait::until("the bot is ready", START_LIMIT, || async {
            if self.log().get(before..).is_some_and(|log| log.contains(READY)) {
                return Ok(Some(()));
            }
            if self.lock().as_ref().is_none_or(Guarded::has_exited) {
                bail!("the bot ended at once:\n{}", last_lines(&self.log_path()));
            }
            Ok(None)
        })
        .await
        .with_context(|| format!("log: {}", self.log_path().display()))
    }

    /// Kills it as a crash would, with SIGKILL, and waits until it is gone.
    pub async fn kill(&self) -> Result<()> {
        self.end(Guarded::kill).await?;
        Ok(())
    }

    /// Stops it as an admin would, with SIGTERM, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it does not end, or ends with anything but success.
    pub async fn stop(&self) -> Result<()> {
        let status = self.end(Guarded::terminate).await?;
        ensure!(status == Some(0), "the bot ended with {status:?} when it was stopped");
        Ok(())
    }

    async fn end(&self, how: impl Fn(&Guarded)) -> Result<Option<i32>> {
        let process = self.lock().take().context("the bot does not run")?;
        how(&process);
        tokio::time::timeout(STOP_LIMIT, process.exited()).await.context("the bot does not end")
    }

    /// Who it is.
    pub fn user_id(&self) -> &UserId {
        self.account.user_id()
    }

    /// Its own account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Process ID, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().and_then(Guarded::pid)
    }

    /// Its configuration.
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    /// What it stores.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its standard output and standard error, of all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("bot.log")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map_or_else(|_none_yet| String::new(), |log| String::from_utf8_lossy(&log).into())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON, which is YAML.
fn config(folder: &Path, options: &BotOptions<'_>) -> Value {
    let homeservers: BTreeMap<_, _> =
        options.homeservers.iter().map(|server| (server.name(), server.url())).collect();
    let data = folder.join("data");
    let mut config = json!({
        "bot": {
            "homeserver": options.account.url(),
            "user_id": options.account.user_id(),
            "password": options.account.password(),
        },
        "homeservers": homeservers,
        "storage": { "path": data, "key_file": data.join("key") },
    });
    if let Some(service) = options.service {
        let registered: BTreeMap<_, _> = options
            .homeservers
            .iter()
            .filter_map(|server| Some((server.name(), server.registration(service)?)))
            .map(|(name, registration)| (name, json!({ "registration": registration })))
            .collect();
        config["appservices"] = json!(registered);
        config["web"] = json!({ "listen": service.listen() });
    }
    lay_over(&mut config, &options.settings);
    config
}

/// JSON Merge Patch (RFC 7396).
fn lay_over(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|target| target.remove(key));
        } else {
            lay_over(&mut target[key], value);
        }
    }
}
