//! The file as it is written.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ruma::{OwnedServerName, ServerName, UserId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_yaml::Value;
use url::Url;
use zeroize::Zeroizing;

use super::{
    Access, Bot, Config, ConfigError, Consent, Entrance, Moderation, Plan, Storage, Timeouts, Web,
    values::{Address, BaseUrl, FullUserId, LogFilter, Prefix, Span, Text, UserGlob, secret},
};
use crate::{
    appservice::{Appservice, Appservices},
    private::SecretFile,
    secret::Secret,
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 29340);
const DEFAULT_REMIND_AFTER: Duration = Duration::from_secs(3 * 24 * 60 * 60);
const DEFAULT_EXPIRE_AFTER: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const DEFAULT_DISPLAY_NAME: &str = "Tern";
const DEFAULT_PATH: &str = "data";
const DEFAULT_CONSENT_EXPIRES: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_CONSENT_KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// When a room counts as quiet, if nothing else is said: after a year.
const DEFAULT_QUIET_AFTER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
pub(super) struct File {
    bot: Option<BotKeys>,
    access: Option<AccessKeys>,
    homeservers: Option<BTreeMap<OwnedServerName, Text<BaseUrl>>>,
    private_addresses: Option<bool>,
    appservices: Option<BTreeMap<OwnedServerName, AppserviceKeys>>,
    storage: Option<StorageKeys>,
    web: Option<WebKeys>,
    consent: Option<ConsentKeys>,
    moderation: Option<ModerationKeys>,
    plan: Option<PlanKeys>,
    timeouts: Option<TimeoutKeys>,
    log: Option<Text<LogFilter>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct BotKeys {
    homeserver: Option<Text<BaseUrl>>,
    user_id: Option<Text<FullUserId>>,
    #[serde(deserialize_with = "secret")]
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    appservice: Option<Text<OwnedServerName>>,
    display_name: Option<String>,
    prefix: Option<Text<Prefix>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct AccessKeys {
    allow: Option<Vec<Text<UserGlob>>>,
    admins: Option<Vec<Text<FullUserId>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct StorageKeys {
    path: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct ConsentKeys {
    expires: Option<Text<Span>>,
    keep: Option<Text<Span>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct AppserviceKeys {
    registration: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct WebKeys {
    listen: Option<Text<Address>>,
    metrics: Option<Text<Address>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct ModerationKeys {
    remind_after: Option<Text<Span>>,
    expire_after: Option<Text<Span>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct PlanKeys {
    quiet_after: Option<Text<Span>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values")]
struct TimeoutKeys {
    connect: Option<Text<Span>>,
    request: Option<Text<Span>>,
    long_request: Option<Text<Span>>,
    retry_after: Option<Text<Span>>,
}

/// Reads the file by itself. serde_yaml names the key and the line of what is wrong.
pub(super) fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    // A file of nothing but comments is `null`.
    Ok(read::<Option<File>>(path, text)?.unwrap_or_default())
}

/// Reads the file as a tree, in which keys can be overridden.
pub(super) fn tree(path: &Path, text: &str) -> Result<Value, ConfigError> {
    read(path, text)
}

fn read<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    serde_yaml::from_str(text)
        .map_err(|error| ConfigError::Invalid { path: path.to_owned(), what: error.to_string() })
}

impl File {
    /// Puts in the defaults, and misses what has none.
    /// Whether the bot's password stands in the file itself.
    pub(super) fn has_password(&self) -> bool {
        self.bot.as_ref().is_some_and(|bot| bot.password.is_some())
    }

    /// The files with secrets that it names.
    pub(super) fn secret_files(&self) -> Vec<SecretFile> {
        let password = self.bot.as_ref().and_then(|bot| bot.password_file.clone());
        let password = password.map(|path| SecretFile { key: "bot.password_file".into(), path });
        let registration = |(server, keys): (&OwnedServerName, &AppserviceKeys)| {
            let key = format!("appservices.{server}.registration");
            Some(SecretFile { key, path: keys.registration.clone()? })
        };
        let registrations = self.appservices.iter().flatten().filter_map(registration);
        password.into_iter().chain(registrations).collect()
    }

    pub(super) fn complete(self, path: &Path) -> Result<Config, ConfigError> {
        let bot = self.bot.unwrap_or_default();
        let appservices = self
            .appservices
            .unwrap_or_default()
            .into_iter()
            .map(|(server, keys)| keys.complete(path, &server))
            .collect::<Result<Appservices, _>>()?;
        if let Some((one, other)) = appservices.indistinguishable() {
            let servers = [one.server().to_owned(), other.server().to_owned()];
            return Err(ConfigError::SameToken { path: path.to_owned(), servers });
        }
        let (bot, base_url) = bot.complete(path, &appservices)?;
        let server = bot.user_id.server_name().to_owned();
        let access = self.access.unwrap_or_default();
        let mut homeservers: BTreeMap<_, _> = self
            .homeservers
            .unwrap_or_default()
            .into_iter()
            .map(|(name, Text(BaseUrl(url)))| (name, url))
            .collect();
        if let Some(url) = base_url {
            homeservers.insert(server.clone(), url);
        }
        let allow = match access.allow {
            Some(globs) => globs.into_iter().map(|Text(glob)| glob).collect(),
            None => vec![UserGlob::server(&server)],
        };
        Ok(Config {
            bot,
            secret_files: Vec::new(),
            access: Access {
                allow,
                admins: access
                    .admins
                    .unwrap_or_default()
                    .into_iter()
                    .map(|Text(FullUserId(id))| id)
                    .collect(),
            },
            homeservers,
            private_addresses: self.private_addresses.unwrap_or(false),
            appservices,
            web: self.web.unwrap_or_default().complete(),
            moderation: self.moderation.unwrap_or_default().complete(),
            storage: self.storage.unwrap_or_default().complete(),
            consent: self.consent.unwrap_or_default().complete(),
            plan: Plan {
                quiet_after: self
                    .plan
                    .unwrap_or_default()
                    .quiet_after
                    .map_or(DEFAULT_QUIET_AFTER, |Text(Span(span))| span),
            },
            timeouts: self.timeouts.unwrap_or_default().complete(),
            log: self.log.map_or_else(LogFilter::default, |Text(log)| log),
        })
    }
}

impl ConsentKeys {
    fn complete(self) -> Consent {
        let span =
            |text: Option<Text<Span>>, default| text.map_or(default, |Text(Span(span))| span);
        Consent {
            expires: span(self.expires, DEFAULT_CONSENT_EXPIRES),
            keep: span(self.keep, DEFAULT_CONSENT_KEEP),
        }
    }
}

impl BotKeys {
    fn complete(
        self,
        path: &Path,
        appservices: &Appservices,
    ) -> Result<(Bot, Option<Url>), ConfigError> {
        let missing = |key, why| ConfigError::Missing { path: path.to_owned(), key, why };
        let Text(FullUserId(user_id)) = self
            .user_id
            .ok_or_else(|| missing("bot.user_id", "it is the account that the bot logs in to"))?;
        let both = |keys| ConfigError::Both { path: path.to_owned(), keys };
        let entrance = match (self.password, self.password_file, self.appservice) {
            (Some(password), None, None) => Entrance::Password(password),
            (None, Some(file), None) => Entrance::Password(read_password(path, file)?),
            (None, None, Some(Text(server))) => own_user(path, &user_id, server, appservices)?,
            (None, None, None) => {
                let why = "the bot needs it, or bot.password_file or bot.appservice, to log in";
                return Err(missing("bot.password", why));
            }
            (Some(_), Some(_), _) => return Err(both("bot.password and bot.password_file")),
            (Some(_), None, Some(_)) => return Err(both("bot.password and bot.appservice")),
            (None, Some(_), Some(_)) => return Err(both("bot.password_file and bot.appservice")),
        };
        let display_name = self.display_name.unwrap_or_else(|| DEFAULT_DISPLAY_NAME.to_owned());
        let prefix = self.prefix.map_or_else(Prefix::default, |Text(prefix)| prefix);
        let base_url = self.homeserver.map(|Text(BaseUrl(url))| url);
        Ok((Bot { user_id, entrance, display_name, prefix }, base_url))
    }
}

/// The bot as an account that an application service covers.
fn own_user(
    path: &Path,
    user_id: &UserId,
    server: OwnedServerName,
    appservices: &Appservices,
) -> Result<Entrance, ConfigError> {
    let mismatch =
        |what| ConfigError::OwnUser { path: path.to_owned(), server: server.clone(), what };
    match appservices.on(&server) {
        None => Err(mismatch(format!("appservices has no {server}"))),
        Some(found) if !found.covers(user_id) => {
            Err(mismatch(format!("the registration does not cover {user_id} (bot.user_id)")))
        }
        Some(_) => Ok(Entrance::Appservice(server)),
    }
}

impl AppserviceKeys {
    fn complete(self, path: &Path, server: &ServerName) -> Result<Appservice, ConfigError> {
        let path = path.to_owned();
        let Some(file) = self.registration else {
            let key = "appservices.….registration";
            let why = "it is the file that the homeserver has, too";
            return Err(ConfigError::Missing { path, key, why });
        };
        Appservice::load(server, &file).map_err(|source| ConfigError::Registration {
            path,
            server: server.to_owned(),
            file,
            source,
        })
    }
}

impl WebKeys {
    fn complete(self) -> Web {
        Web {
            listen: self.listen.map_or(DEFAULT_LISTEN, |Text(Address(listen))| listen),
            metrics: self.metrics.map(|Text(Address(metrics))| metrics),
        }
    }
}

impl ModerationKeys {
    fn complete(self) -> Moderation {
        let or = |span: Option<Text<Span>>, default| span.map_or(default, |Text(Span(span))| span);
        Moderation {
            remind_after: or(self.remind_after, DEFAULT_REMIND_AFTER),
            expire_after: or(self.expire_after, DEFAULT_EXPIRE_AFTER),
        }
    }
}

impl TimeoutKeys {
    fn complete(self) -> Timeouts {
        let or = |span: Option<Text<Span>>, default| span.map_or(default, |Text(Span(span))| span);
        let default = Timeouts::default();
        Timeouts {
            connect: or(self.connect, default.connect),
            request: or(self.request, default.request),
            long_request: or(self.long_request, default.long_request),
            retry_after: or(self.retry_after, default.retry_after),
        }
    }
}

impl StorageKeys {
    fn complete(self) -> Storage {
        let path = self.path.unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        let key_file = self.key_file.unwrap_or_else(|| path.join("key"));
        Storage { path, key_file }
    }
}

/// The password is the file's content without the line break that editors put at its end.
fn read_password(path: &Path, file: PathBuf) -> Result<Secret, ConfigError> {
    let key = "bot.password_file";
    let path = path.to_owned();
    let content = match std::fs::read_to_string(&file) {
        Ok(content) => Zeroizing::new(content),
        Err(source) => return Err(ConfigError::FileUnreadable { path, key, file, source }),
    };
    match content.trim_end_matches(['\r', '\n']) {
        "" => Err(ConfigError::FileEmpty { path, key, file }),
        password => Ok(Secret::from(password)),
    }
}
