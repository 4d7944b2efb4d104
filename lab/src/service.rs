//! The bot as an application service that homeservers know.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use ruma::ServerName;
use tokio::sync::OnceCell;

use crate::{Lab, Options, Pair, random};

/// How many services the shared pair of homeservers knows.
const SHARED: usize = 40;

/// A bot to be registered: [`Options`] of the homeservers that are to know it, and the
/// [`BotOptions`](crate::BotOptions) of the one bot that is to be it, take clones of this.
///
/// Each homeserver gets a registration of its own, written by `tern registration`.
#[derive(Clone, Debug)]
pub struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    binary: PathBuf,
    id: String,
    users: Option<String>,
    listen: SocketAddr,
}

impl Service {
    /// One that covers all users of its homeservers, whose ID and own localpart are both `id`.
    /// `tern` is the binary.
    pub fn new(tern: &Path, id: &str) -> Result<Self> {
        Self::covering(tern, id, None)
    }

    /// One that covers the localparts that `users` matches.
    pub fn covering(tern: &Path, id: &str, users: Option<&str>) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            binary: tern.to_owned(),
            id: id.to_owned(),
            users: users.map(ToOwned::to_owned),
            listen: (Ipv4Addr::LOCALHOST, random::port()?).into(),
        })))
    }

    /// Its ID, which is also the localpart of its own user.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Where the bot is to listen, and the homeservers send to.
    pub fn listen(&self) -> SocketAddr {
        self.0.listen
    }

    /// Writes the registration on `server` into `folder`, unless it is there already.
    pub(crate) fn register(&self, server: &ServerName, folder: &Path) -> Result<()> {
        let path = self.registration(folder);
        if path.exists() {
            return Ok(());
        }
        let Inner { binary, id, users, listen } = &*self.0;
        let mut command = Command::new(binary);
        command.args(["registration", "--server-name", server.as_str()]);
        command.args(["--url", &format!("http://{listen}"), "--id", id, "--sender", id]);
        if let Some(users) = users {
            command.args(["--users", users]);
        }
        let output =
            command.output().with_context(|| format!("cannot run {}", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no registration: {said}");
        fs::write(&path, output.stdout)?;
        Ok(())
    }

    pub(crate) fn registration(&self, folder: &Path) -> PathBuf {
        folder.join(format!("registration-{}.yaml", self.0.id))
    }
}

/// The pair that all tests of this process share which need a bot that is registered on both, and
/// a service that is the test's alone: started when first asked for, with limits open.
///
/// The service covers the accounts whose localparts begin with its ID and a hyphen.
///
/// # Errors
///
/// Also when more tests than expected ask for a service.
pub async fn served_pair(tern: &Path) -> Result<(&'static Pair, Service)> {
    static PAIR: OnceCell<(Pair, Vec<Service>)> = OnceCell::const_new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let start = || async {
        let service = |number| {
            let id = format!("tern{number}");
            Service::covering(tern, &id, Some(&format!("{id}-.*")))
        };
        let services = (0..SHARED).map(service).collect::<Result<Vec<_>>>()?;
        let options = Options { services: services.clone(), ..Options::default() };
        anyhow::Ok((Lab::new()?.pair(&options).await?, services))
    };
    let (pair, services) = PAIR.get_or_try_init(start).await?;
    let service = services.get(NEXT.fetch_add(1, Ordering::Relaxed));
    Ok((pair, service.context("all services of the shared pair are taken")?.clone()))
}
