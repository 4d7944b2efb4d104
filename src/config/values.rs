//! Values that are more than a string.

use std::{fmt, marker::PhantomData, net::SocketAddr, str::FromStr, time::Duration};

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Deserializer, de};
use url::Url;
use wildmatch::WildMatch;
use zeroize::Zeroize as _;

use crate::{logging, secret::Secret};

/// A pattern for user IDs: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq)]
pub struct UserGlob(WildMatch);

impl UserGlob {
    /// The accounts of one server.
    pub(super) fn server(name: &ruma::ServerName) -> Self {
        Self(WildMatch::new(&format!("@*:{name}")))
    }

    /// Whether `user` fits the pattern.
    pub fn matches(&self, user: &UserId) -> bool {
        self.0.matches(user.as_str())
    }
}

impl FromStr for UserGlob {
    type Err = &'static str;

    fn from_str(glob: &str) -> Result<Self, Self::Err> {
        if glob.starts_with('@') && glob.contains(':') {
            Ok(Self(WildMatch::new(glob)))
        } else {
            Err("a pattern for user IDs looks like \"@*:example.org\"")
        }
    }
}

/// What commands begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The prefix as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("!migrate".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(prefix: &str) -> Result<Self, Self::Err> {
        if prefix.is_empty() || prefix.contains(char::is_whitespace) {
            return Err("a prefix is one word, like \"!migrate\"");
        }
        Ok(Self(prefix.to_owned()))
    }
}

/// What is logged: a level, or levels by module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(filter: &str) -> Result<Self, Self::Err> {
        const LIKE: &str = "a log filter looks like \"info\" or \"warn,tern=debug\"";
        logging::parse(filter)
            .map(|_| Self(filter.to_owned()))
            .map_err(|error| format!("{error}; {LIKE}"))
    }
}

/// A value that is read from a string. Read in a visitor, so that serde_yaml adds key and line to
/// the errors.
#[derive(Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for TextVisitor<T> {
    type Value = Text<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(Text).map_err(E::custom)
    }
}

/// A full user ID, that a homeserver of today could give.
#[derive(Debug)]
pub(super) struct FullUserId(pub(super) OwnedUserId);

impl FromStr for FullUserId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        UserId::parse(text)
            .map(Self)
            .map_err(|error| format!("{error}; a user ID looks like \"@tern:example.org\""))
    }
}

/// The base URL of a homeserver.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl(pub(super) Url);

impl FromStr for BaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const LIKE: &str = "a homeserver's URL looks like \"https://matrix.example.org\"";
        let url = text.parse::<Url>().map_err(|_| LIKE)?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
            Ok(Self(url))
        } else {
            Err(LIKE)
        }
    }
}

/// A time span that is longer than none.
#[derive(Debug)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match humantime::parse_duration(text) {
            Ok(span) if !span.is_zero() => Ok(Self(span)),
            _ => Err("a duration looks like \"24h\" or \"3d\""),
        }
    }
}

/// A secret, whose value is in no error.
pub(super) fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    deserializer.deserialize_any(SecretVisitor)
}

struct SecretVisitor;

impl de::Visitor<'_> for SecretVisitor {
    type Value = Option<Secret>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Secret::from(text)))
    }

    fn visit_string<E>(self, mut text: String) -> Result<Self::Value, E> {
        let secret = Secret::from(text.as_str());
        text.zeroize();
        Ok(Some(secret))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(unquoted())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(unquoted())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Err(unquoted())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(unquoted())
    }
}

fn unquoted<E: de::Error>() -> E {
    E::custom("a secret that is a number or a word of YAML must be written in quotes")
}

/// Where to listen. Not the name of a host: it could stand for several addresses.
#[derive(Debug)]
pub(super) struct Address(pub(super) SocketAddr);

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "an address looks like \"127.0.0.1:29340\"")
    }
}
