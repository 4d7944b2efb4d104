//! The configuration: one YAML file, in which every key has a default or must be there, and
//! environment variables that override it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ruma::{OwnedServerName, OwnedUserId};
use url::Url;

use crate::{appservice::Appservices, private::SecretFile, secret::Secret};

mod error;
mod file;
mod overrides;
mod values;

use self::file::File;
pub use self::{
    error::ConfigError,
    values::{LogFilter, Prefix, UserGlob},
};

/// What the bot is told before it starts.
#[derive(Debug)]
pub struct Config {
    /// The bot's own account.
    pub bot: Bot,
    /// Who may use the bot.
    pub access: Access,
    /// Where homeservers are that need not be looked for; also the bot's own, if it is given.
    pub homeservers: BTreeMap<OwnedServerName, Url>,
    /// Whether homeservers that are looked for may be at addresses of this machine or of a private
    /// network.
    pub private_addresses: bool,
    /// The servers that the bot is an application service of.
    pub appservices: Appservices,
    /// Where things are kept.
    pub storage: Storage,
    /// Where the bot answers HTTP.
    pub web: Web,
    /// How accounts agree.
    pub consent: Consent,
    /// How moderators are asked.
    pub moderation: Moderation,
    /// What plans tell.
    pub plan: Plan,
    /// How long requests to homeservers may take.
    pub timeouts: Timeouts,
    /// What is logged.
    pub log: LogFilter,
    /// The files that hold secrets, as the admin wrote them.
    pub secret_files: Vec<SecretFile>,
}

/// The bot's own account.
#[derive(Debug)]
pub struct Bot {
    /// The account.
    pub user_id: OwnedUserId,
    /// How the bot gets in.
    pub entrance: Entrance,
    /// The name that people see.
    pub display_name: String,
    /// What commands begin with.
    pub prefix: Prefix,
}

/// How the bot gets into its own account.
#[derive(Debug)]
pub enum Entrance {
    /// With a password.
    Password(Secret),
    /// As an account that an application service covers: [`Config::appservices`] has the
    /// registration on this server.
    Appservice(OwnedServerName),
}

/// Who may use the bot.
#[derive(Debug)]
pub struct Access {
    /// Who may begin a migration.
    pub allow: Vec<UserGlob>,
    /// Who runs the bot.
    pub admins: Vec<OwnedUserId>,
}

/// Where things are kept.
#[derive(Debug)]
pub struct Storage {
    /// The directory that everything lies in.
    pub path: PathBuf,
    /// The file with the key to the secrets in it.
    pub key_file: PathBuf,
}

/// Where the bot answers HTTP.
#[derive(Debug)]
pub struct Web {
    /// Where homeservers reach it that it is an application service of.
    pub listen: SocketAddr,
    /// Where `/health` and `/metrics` are, if anywhere.
    pub metrics: Option<SocketAddr>,
}

/// How moderators are asked.
#[derive(Clone, Copy, Debug)]
pub struct Moderation {
    /// After how long without an answer a moderator is reminded, once.
    pub remind_after: Duration,
    /// After how long an invite request is no longer waited for.
    pub expire_after: Duration,
}

/// How long requests to homeservers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// From the first byte sent to the last one read.
    pub request: Duration,
    /// The same for a sync, for a join and for an invitation, which the homeserver may have to talk
    /// over with many others.
    pub long_request: Duration,
    /// From a request that failed to the next attempt. Each further wait is three times as long.
    pub retry_after: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            long_request: Duration::from_secs(180),
            retry_after: Duration::from_secs(2),
        }
    }
}

/// What plans tell.
#[derive(Debug)]
pub struct Plan {
    /// After how long without anything happening in it a room is called quiet.
    pub quiet_after: Duration,
}

/// How accounts agree.
#[derive(Debug)]
pub struct Consent {
    /// How long an account may take to answer.
    pub expires: Duration,
    /// How long consent and sessions are kept after the end of a migration, and a plan that waits
    /// for `go`.
    pub keep: Duration,
}

impl Config {
    /// Reads the file at `path`, and then what `environment` overrides in it: `TERN_BOT__PASSWORD`
    /// is `password` under `bot`. Paths in the file are relative to the working directory.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its key, and its line or variable.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text, environment)
    }

    fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        // Read by itself first, because only then errors have lines.
        let file = file::parse(path, text)?;
        let has_password = file.has_password();
        let file = overrides::apply(path, text, file, environment)?;
        let mut secret_files = file.secret_files();
        if has_password {
            secret_files.push(SecretFile { key: "bot.password".to_owned(), path: path.to_owned() });
        }
        Ok(Self { secret_files, ..file.complete(path)? })
    }
}

impl Access {
    /// Whether `user` may begin a migration.
    pub fn allows(&self, user: &ruma::UserId) -> bool {
        self.allow.iter().any(|glob| glob.matches(user))
    }
}

#[cfg(test)]
mod tests;
