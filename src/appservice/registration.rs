//! Writing a registration, for the homeserver and the bot to share.

use rand::{CryptoRng, Rng as _, distr::Alphanumeric};
use ruma::{OwnedServerName, UserId};
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use super::{PatternError, pattern};

/// As long as no guess reaches: 62^64 is more than 2^256.
const TOKEN_LENGTH: usize = 64;

/// What an admin decides of a registration.
#[derive(Clone, Debug)]
pub struct NewRegistration {
    /// The homeserver that it is for.
    pub server: OwnedServerName,
    /// Where the homeserver reaches the bot.
    pub url: Url,
    /// Which of the homeserver's accounts it covers, if not all of them: a pattern for localparts,
    /// or for whole user IDs of this homeserver.
    pub users: Option<String>,
    /// What the homeserver calls it.
    pub id: String,
    /// The localpart of the application service's own user: another one than the bot's account.
    pub sender: String,
}

/// Why no registration can be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewRegistrationError {
    /// `url` is none that a homeserver could send to.
    #[error("--url: it looks like \"http://localhost:29340\"")]
    Url,
    /// `users` is not a pattern.
    #[error("--users: {0}")]
    Users(#[from] PatternError),
    /// `users` is a pattern for user IDs that are not all on the homeserver.
    #[error(
        "--users: it is a pattern for localparts, like \"a.*\", or for user IDs of this \
         homeserver, like \"{0}\""
    )]
    Elsewhere(String),
    /// `sender` makes no user ID.
    #[error("--sender: {sender:?} makes no user ID on {server}")]
    Sender {
        /// What was given.
        sender: String,
        /// The homeserver.
        server: OwnedServerName,
    },
    /// `id` is empty.
    #[error("--id is empty")]
    Id,
    /// It cannot be written as YAML.
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
}

/// The keys in the order that they are read best in.
#[derive(Serialize)]
struct File<'a> {
    id: &'a str,
    url: &'a str,
    as_token: &'a str,
    hs_token: &'a str,
    sender_localpart: &'a str,
    rate_limited: bool,
    namespaces: Namespaces,
}

#[derive(Serialize)]
struct Namespaces {
    users: [Namespace; 1],
}

#[derive(Serialize)]
struct Namespace {
    exclusive: bool,
    regex: String,
}

impl NewRegistration {
    /// The registration as YAML, with tokens from `rng`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, in the words of the command line.
    pub fn write(
        &self,
        rng: &mut impl CryptoRng,
    ) -> Result<Zeroizing<String>, NewRegistrationError> {
        if !matches!(self.url.scheme(), "http" | "https") || !self.url.has_host() {
            return Err(NewRegistrationError::Url);
        }
        if self.id.is_empty() {
            return Err(NewRegistrationError::Id);
        }
        let (sender, server) = (&self.sender, &self.server);
        // No full user ID here: the homeserver puts in its own name.
        if sender.is_empty() || UserId::parse(format!("@{sender}:{server}")).is_err() {
            return Err(NewRegistrationError::Sender {
                sender: sender.clone(),
                server: server.clone(),
            });
        }
        let mut token = || -> Zeroizing<String> {
            Zeroizing::new(
                rng.sample_iter(Alphanumeric).take(TOKEN_LENGTH).map(char::from).collect(),
            )
        };
        let file = File {
            id: &self.id,
            // Paths of the application service API begin with a slash.
            url: self.url.as_str().trim_end_matches('/'),
            as_token: &token(),
            hs_token: &token(),
            sender_localpart: sender,
            rate_limited: false,
            namespaces: Namespaces {
                users: [Namespace { exclusive: false, regex: self.namespace()? }],
            },
        };
        Ok(Zeroizing::new(serde_yaml::to_string(&file)?))
    }

    /// The pattern for user IDs. Anchored on both sides: some homeservers look for it anywhere in
    /// a user ID, others from its beginning only.
    fn namespace(&self) -> Result<String, NewRegistrationError> {
        let server = regex::escape(self.server.as_str());
        let localparts = match &self.users {
            None => ".*".to_owned(),
            Some(users) => format!("(?:{})", self.localparts(users)?),
        };
        // By itself first: `)|(` would make a pattern of its surroundings only.
        Ok(format!("^@{localparts}:{server}$"))
    }

    fn localparts(&self, users: &str) -> Result<String, NewRegistrationError> {
        let users = users.strip_prefix('^').unwrap_or(users);
        let localparts = match users.strip_prefix('@') {
            None => users.strip_suffix('$').unwrap_or(users),
            Some(full) => {
                let full = full.strip_suffix('$').unwrap_or(full);
                let escaped = format!(":{}", regex::escape(self.server.as_str()));
                full.strip_suffix(&*escaped)
                    .or_else(|| full.strip_suffix(&*format!(":{}", self.server)))
                    .ok_or_else(|| NewRegistrationError::Elsewhere(format!("@a.*{escaped}")))?
            }
        };
        pattern(localparts)?;
        Ok(localparts.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};
    use ruma::{owned_server_name, server_name, user_id};

    use super::*;
    use crate::appservice::Appservice;

    const EXAMPLE: &str = include_str!("../../registration.example.yaml");

    fn new() -> NewRegistration {
        NewRegistration {
            server: owned_server_name!("example.org"),
            url: "http://tern:29340".parse().unwrap(),
            users: None,
            id: "tern".to_owned(),
            sender: "tern-service".to_owned(),
        }
    }

    fn with_users(users: &str) -> Result<Appservice, NewRegistrationError> {
        let new = NewRegistration { users: Some(users.to_owned()), ..new() };
        let text = new.write(&mut StdRng::seed_from_u64(1))?;
        Ok(Appservice::parse(&new.server, &text).unwrap())
    }

    #[test]
    fn the_registration_of_a_server_covers_its_users_without_limits() {
        let text = new().write(&mut StdRng::seed_from_u64(1)).unwrap();
        insta::assert_snapshot!(*text);
        let registration = Appservice::parse(server_name!("example.org"), &text).unwrap();
        assert!(registration.covers(user_id!("@alice:example.org")));
        assert!(!registration.covers(user_id!("@alice:exampleXorg")));
        assert!(!registration.covers(user_id!("@alice:example.org.evil.org")));
        assert!(!registration.is_rate_limited());
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        let (mut one, mut two) = (StdRng::seed_from_u64(1), StdRng::seed_from_u64(2));
        let texts = [&mut one, &mut two].map(|rng| new().write(rng).unwrap());
        let mut tokens: Vec<_> = texts
            .iter()
            .flat_map(|text| text.lines().filter_map(|line| line.split_once("_token: ")))
            .map(|(_, token)| token)
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 4);
        assert!(tokens.iter().all(|token| token.len() == TOKEN_LENGTH));
    }

    #[test]
    fn a_pattern_for_users_is_one_for_localparts_or_for_user_ids() {
        for users in ["a.*|bob", "@(a.*|bob):example.org", r"^@(a.*|bob):example\.org$"] {
            let registration = with_users(users).unwrap();
            assert!(registration.covers(user_id!("@alice:example.org")), "{users}");
            assert!(registration.covers(user_id!("@bob:example.org")), "{users}");
            assert!(!registration.covers(user_id!("@bobby:example.org")), "{users}");
            assert!(!registration.covers(user_id!("@carol:example.org")), "{users}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_or_for_another_server_is_refused() {
        for users in ["(", ")|(", "@a.*:elsewhere.org", "@.*"] {
            let error = with_users(users).unwrap_err().to_string();
            assert!(error.starts_with("--users: "), "{users}: {error}");
        }
    }

    #[test]
    fn what_makes_no_registration_is_named() {
        let error = |new: NewRegistration| {
            new.write(&mut StdRng::seed_from_u64(1)).unwrap_err().to_string()
        };
        assert!(error(NewRegistration { id: String::new(), ..new() }).starts_with("--id"));
        let sender = "@tern:example.org".to_owned();
        assert!(error(NewRegistration { sender, ..new() }).starts_with("--sender"));
        let url = "ftp://tern".parse().unwrap();
        assert!(error(NewRegistration { url, ..new() }).starts_with("--url"));
    }

    #[test]
    fn the_example_is_what_is_written_with_comments() {
        let values = |text: &str| -> serde_yaml::Mapping {
            let mut values: serde_yaml::Mapping = serde_yaml::from_str(text).unwrap();
            for token in ["as_token", "hs_token"] {
                assert!(values.remove(token).unwrap().is_string());
            }
            values
        };
        let written = new().write(&mut StdRng::seed_from_u64(1)).unwrap();
        assert_eq!(values(EXAMPLE), values(&written));
        Appservice::parse(server_name!("example.org"), EXAMPLE).unwrap();
    }
}
