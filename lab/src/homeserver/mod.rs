//! A real homeserver: Synapse, as one process on loopback.

mod registration;
mod settings;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ruma::OwnedServerName;

pub use self::settings::{Limits, Options};
use crate::{
    guard::{Guarded, Program},
    install,
    lab::Inner,
    random,
    service::Service,
    wait,
};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How often a start is tried with other ports, should somebody else take one in between.
const ATTEMPTS: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    federation: u16,
}

impl Ports {
    /// A name with a port, so that no well-known file is asked for.
    fn server_name(self) -> String {
        format!("localhost:{}", self.federation)
    }

    fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }
}

/// A running (or stopped) Synapse. Dropping it ends it.
///
/// It is tied to no async runtime, so one test may start it and another use it.
#[derive(Debug)]
pub struct Homeserver {
    process: Mutex<Option<Guarded>>,
    folder: PathBuf,
    name: OwnedServerName,
    url: String,
    ports: Ports,
    shared_secret: String,
    /// Declared last: the folder is removed only after the process has ended.
    lab: Arc<Inner>,
}

impl Homeserver {
    pub(crate) async fn start(lab: Arc<Inner>, options: &Options) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let homeserver = Self::prepare(Arc::clone(&lab), options)?;
            match homeserver.start_again().await {
                Ok(()) => return Ok(homeserver),
                Err(error) if attempt < ATTEMPTS && homeserver.lost_its_port() => {
                    tracing::debug!(%error, "trying other ports");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(lab: Arc<Inner>, options: &Options) -> Result<Self> {
        let ports = Ports { client: random::port()?, federation: random::port()? };
        let folder = lab.run.folder(&format!("homeserver-{}", ports.federation))?;
        let shared_secret = random::word();
        settings::write(&folder, ports, &shared_secret, &lab.authority, options)?;
        Ok(Self {
            process: Mutex::new(None),
            folder,
            name: ports.server_name().try_into()?,
            url: ports.url(),
            ports,
            shared_secret,
            lab,
        })
    }

    /// The server name, `localhost:PORT`.
    pub fn name(&self) -> &OwnedServerName {
        &self.name
    }

    /// Base URL of the client-server API, plain HTTP.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The registration of `service`, if it was ever in the options.
    pub fn registration(&self, service: &Service) -> Option<PathBuf> {
        Some(service.registration(&self.folder)).filter(|path| path.exists())
    }

    /// What Synapse logs at level info.
    pub fn log_path(&self) -> PathBuf {
        settings::log(&self.folder)
    }

    /// Process ID, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().and_then(Guarded::pid)
    }

    /// Starts it after [`stop`](Self::stop), with the same name, ports and database.
    ///
    /// # Errors
    ///
    /// When it ends instead of answering; the error has the end of its output.
    pub async fn start_again(&self) -> Result<()> {
        // One at a time: they would share ports and database.
        drop(self.lock().take());
        let python = install::synapse().await?;
        let configuration = self.folder.join("homeserver.yaml");
        let before = self.log_path().metadata().map_or(0, |log| log.len());
        let process = Guarded::spawn(&Program {
            python: &python,
            command: vec![
                python.as_os_str(),
                OsStr::new("-m"),
                OsStr::new("synapse.app.homeserver"),
                OsStr::new("--config-path"),
                configuration.as_os_str(),
            ],
            environment: &[],
            directory: &self.folder,
            log: &self.output_path(),
        })?;
        *self.lock() = Some(process);
        wait::until("a homeserver is ready", START_LIMIT, || self.is_ready(before))
            .await
            .with_context(|| format!("logs: {}", self.folder.display()))
    }

    /// Stops it as an admin would, with SIGTERM.
    pub async fn stop(&self) -> Result<()> {
        let Some(process) = self.lock().take() else { return Ok(()) };
        process.terminate();
        tokio::time::timeout(STOP_LIMIT, process.exited())
            .await
            .with_context(|| format!("{} does not stop", self.name))?;
        Ok(())
    }

    /// Stops it and starts it with other options, say with limits that were open while rooms were
    /// made, or with an application service whose registration needs the server's name.
    pub async fn restart_with(&self, options: &Options) -> Result<()> {
        self.stop().await?;
        let Self { folder, ports, shared_secret, lab, .. } = self;
        settings::write(folder, *ports, shared_secret, &lab.authority, options)?;
        self.start_again().await
    }

    /// `Some` once its own log says that it listens (on its ports there might be somebody else) and
    /// it answers.
    async fn is_ready(&self, before: u64) -> Result<Option<()>> {
        if self.lock().as_ref().is_none_or(Guarded::has_exited) {
            bail!("the homeserver ended at once:\n{}", last_lines(&self.output_path()));
        }
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = log.get(usize::try_from(before)?..).unwrap_or_default();
        let listens = |port| {
            let line = format!("now listening on TCP port {port}");
            String::from_utf8_lossy(log).contains(&line)
        };
        if !listens(self.ports.client) || !listens(self.ports.federation) {
            return Ok(None);
        }
        let answer = crate::http().get(format!("{}/_matrix/client/versions", self.url)).send();
        Ok(answer.await.is_ok_and(|answer| answer.status().is_success()).then_some(()))
    }

    fn lost_its_port(&self) -> bool {
        [self.output_path(), self.log_path()].iter().any(|log| {
            fs::read_to_string(log).is_ok_and(|log| log.contains("Address already in use"))
        })
    }

    fn output_path(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a log, for an error message.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
