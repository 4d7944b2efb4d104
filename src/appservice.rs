//! Registrations as an application service: on which servers the bot may act as accounts without
//! their passwords, and which accounts those are.
//!
//! That a registration covers an account is no permission to act as it: only
//! [`access`](crate::access) opens accounts, and only for a consent that stands.
//!
//! Follows <https://spec.matrix.org/v1.17/application-service-api/#registration>.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use regex::Regex;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, api::appservice::Registration};
use url::Url;

use crate::secret::{ExposeSecret as _, Secret};

mod registration;

pub use self::registration::{NewRegistration, NewRegistrationError};

/// Why a registration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is not a registration. The words quote no value: it may be a token.
    #[error("it is not a registration{0}")]
    Invalid(String),
    /// A namespace is not a pattern.
    #[error("namespaces.users: {0}")]
    Namespace(#[from] PatternError),
    /// `sender_localpart` makes no user ID.
    #[error("sender_localpart makes no user ID on {0}")]
    Sender(OwnedServerName),
    /// `url` is not one.
    #[error("url is not one, like \"http://localhost:29340\"")]
    Url,
    /// A token is empty.
    #[error("{0} is empty")]
    NoToken(&'static str),
}

/// A regular expression is none, or is too large.
#[derive(Debug, thiserror::Error)]
#[error("{pattern} is not a regular expression: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

fn pattern(pattern: &str) -> Result<Regex, PatternError> {
    Regex::new(pattern).map_err(|error| {
        // The lines before the last one draw where it is.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default();
        let why = why.trim_start_matches("error: ").to_owned();
        PatternError { pattern: pattern.to_owned(), why }
    })
}

/// One registration, on one homeserver.
#[derive(Clone, Debug)]
pub struct Appservice {
    server: OwnedServerName,
    id: String,
    url: Option<Url>,
    as_token: Secret,
    hs_token: Secret,
    sender: OwnedUserId,
    users: Vec<Regex>,
    /// As they are written.
    namespace: Vec<String>,
    rate_limited: bool,
}

impl Appservice {
    /// Reads the registration at `path`, which the homeserver `server` has too.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, without any value from it.
    pub fn load(server: &ServerName, path: &Path) -> Result<Self, RegistrationError> {
        Self::parse(server, &fs::read_to_string(path)?)
    }

    pub(crate) fn parse(server: &ServerName, text: &str) -> Result<Self, RegistrationError> {
        let registration: Registration = serde_yaml::from_str(text).map_err(|error| {
            let at = |at: serde_yaml::Location| {
                format!(": look at line {} column {}", at.line(), at.column())
            };
            let words = error.to_string();
            match words.strip_prefix("missing field") {
                // Of all that can be wrong, this alone quotes nothing from the file.
                Some(field) => RegistrationError::Invalid(format!(": it has no{field}")),
                None => RegistrationError::Invalid(error.location().map(at).unwrap_or_default()),
            }
        })?;
        let token = |name, token: String| match token.as_str() {
            "" => Err(RegistrationError::NoToken(name)),
            _ => Ok(Secret::from(token)),
        };
        let url = registration
            .url
            .filter(|url| !url.is_empty())
            .map(|url| Url::parse(&url).map_err(|_| RegistrationError::Url))
            .transpose()?;
        // Homeservers match from the beginning of a user ID, and need not reach its end.
        let users = registration
            .namespaces
            .users
            .iter()
            .map(|namespace| {
                pattern(&namespace.regex)?;
                pattern(&format!("^(?:{})", namespace.regex))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            server: server.to_owned(),
            id: registration.id,
            url,
            as_token: token("as_token", registration.as_token)?,
            hs_token: token("hs_token", registration.hs_token)?,
            sender: UserId::parse(format!("@{}:{server}", registration.sender_localpart))
                .map_err(|_| RegistrationError::Sender(server.to_owned()))?,
            users,
            namespace: registration.namespaces.users.into_iter().map(|users| users.regex).collect(),
            rate_limited: registration.rate_limited.unwrap_or(true),
        })
    }

    /// The homeserver that it is a registration on.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// What the homeserver calls the application service.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the homeserver sends events to.
    pub fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    /// What the application service shows to the homeserver.
    pub fn as_token(&self) -> &Secret {
        &self.as_token
    }

    /// What the homeserver shows to the application service.
    pub fn hs_token(&self) -> &Secret {
        &self.hs_token
    }

    /// The application service's own user.
    pub fn sender(&self) -> &UserId {
        &self.sender
    }

    /// The patterns of the accounts that it covers, as they are written.
    pub fn namespace(&self) -> &[String] {
        &self.namespace
    }

    /// Whether none of its patterns is about its homeserver, as far as can be seen: none names it,
    /// and none matches what user IDs of this homeserver are like.
    pub fn is_for_elsewhere(&self) -> bool {
        let server = self.server.as_str();
        let names_it = |pattern: &String| pattern.replace('\\', "").contains(server);
        let localparts = ["a", "user", "user1", "user_1", "first.last"];
        let covers = |localpart| {
            let user = format!("@{localpart}:{server}");
            self.users.iter().any(|users| users.is_match(&user))
        };
        !self.namespace.iter().any(names_it) && !localparts.into_iter().any(covers)
    }

    /// Whether the homeserver limits the application service as it limits everybody.
    pub fn is_rate_limited(&self) -> bool {
        self.rate_limited
    }

    /// Whether the homeserver lets the application service act as `user`.
    pub fn covers(&self, user: &UserId) -> bool {
        user.server_name() == self.server
            && (user == self.sender || self.users.iter().any(|users| users.is_match(user.as_str())))
    }
}

/// Every registration of the bot, one a server at most. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Appservices(Arc<BTreeMap<OwnedServerName, Appservice>>);

impl Appservices {
    /// The registration on `server`.
    pub fn on(&self, server: &ServerName) -> Option<&Appservice> {
        self.0.get(server)
    }

    /// The registration that covers `user`.
    pub fn covering(&self, user: &UserId) -> Option<&Appservice> {
        self.on(user.server_name()).filter(|appservice| appservice.covers(user))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Appservice> {
        self.0.values()
    }

    /// Two whose homeservers could not be told apart by what they show, if there are such.
    pub fn indistinguishable(&self) -> Option<(&Appservice, &Appservice)> {
        let mut seen = BTreeMap::new();
        self.iter().find_map(|appservice| {
            let before = seen.insert(appservice.hs_token.expose_secret(), appservice)?;
            Some((before, appservice))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Appservice> for Appservices {
    fn from_iter<I: IntoIterator<Item = Appservice>>(appservices: I) -> Self {
        let by_server = |appservice: Appservice| (appservice.server.clone(), appservice);
        Self(Arc::new(appservices.into_iter().map(by_server).collect()))
    }
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::*;

    const REGISTRATION: &str = "
id: tern
url: http://localhost:29340
as_token: hunter2
hs_token: hunter3
sender_localpart: tern
rate_limited: false
namespaces:
  users:
    - exclusive: false
      regex: '@a.*:example\\.org'
";

    fn registration() -> Appservice {
        Appservice::parse(server_name!("example.org"), REGISTRATION).unwrap()
    }

    #[test]
    fn a_registration_covers_its_namespace_on_its_own_server_and_its_own_user() {
        let registration = registration();
        assert!(registration.covers(user_id!("@alice:example.org")));
        assert!(registration.covers(user_id!("@tern:example.org")));
        assert!(!registration.covers(user_id!("@bob:example.org")));
        assert!(!registration.covers(user_id!("@alice:elsewhere.org")));
    }

    #[test]
    fn a_namespace_is_matched_from_the_beginning_of_a_user_id() {
        let text = REGISTRATION.replace("@a.*:example\\.org", "alice");
        let registration = Appservice::parse(server_name!("example.org"), &text).unwrap();
        assert!(!registration.covers(user_id!("@alice:example.org")));
    }

    #[test]
    fn a_namespace_for_another_server_is_seen() {
        let is_for_elsewhere = |pattern: &str| {
            let text = REGISTRATION.replace("@a.*:example\\.org", pattern);
            Appservice::parse(server_name!("example.org"), &text).unwrap().is_for_elsewhere()
        };
        for pattern in ["@.*", "@.*:example.org", r"^@_irc_.*:example\.org$", "@u", "@[a-z]+:.*"] {
            assert!(!is_for_elsewhere(pattern), "{pattern}");
        }
        for pattern in ["@.*:example.com", r"^@.*:matrix\.example\.com$", "alice"] {
            assert!(is_for_elsewhere(pattern), "{pattern}");
        }
    }

    #[test]
    fn no_error_and_no_debug_output_shows_a_token() {
        assert!(!format!("{:?}", registration()).contains("hunter"));
        let broken = REGISTRATION.replace("as_token: hunter2", "as_token: [hunter2]");
        let error = Appservice::parse(server_name!("example.org"), &broken).unwrap_err();
        assert!(!error.to_string().contains("hunter"), "{error}");
    }
}
