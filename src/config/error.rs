use std::{io, path::PathBuf};

use ruma::OwnedServerName;

use crate::appservice::RegistrationError;

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The file is not YAML, or a key is unknown or has a value that it cannot have.
    #[error("{path}: {what}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, what is wrong with it, and its line.
        what: String,
    },

    /// An environment variable overrides no key, or with a value that the key cannot have.
    #[error("environment variable {variable}: {what}")]
    Override {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        what: String,
    },

    /// A key that must be there is not.
    #[error("{path}: {key} is missing: {why}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The key, as in `bot.user_id`.
        key: &'static str,
        /// What it is needed for.
        why: &'static str,
    },

    /// Two keys are there that exclude each other.
    #[error("{path}: {keys} are both given; give one of them")]
    Both {
        /// The file.
        path: PathBuf,
        /// The two keys.
        keys: &'static str,
    },

    /// A file that a key names cannot be read.
    #[error("{path}: {key}: {file} cannot be read")]
    FileUnreadable {
        /// The configuration file.
        path: PathBuf,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A file that a key names has nothing in it.
    #[error("{path}: {key}: {file} is empty")]
    FileEmpty {
        /// The configuration file.
        path: PathBuf,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        file: PathBuf,
    },

    /// A registration as an application service cannot be used.
    #[error("{path}: appservices.{server}.registration: {file}")]
    Registration {
        /// The configuration file.
        path: PathBuf,
        /// The homeserver that it is for.
        server: OwnedServerName,
        /// The registration.
        file: PathBuf,
        /// What is wrong with it.
        source: RegistrationError,
    },

    /// Two homeservers would send the same token.
    #[error(
        "{path}: appservices: the registrations on {} and {} have the same hs_token; \
         write one of them anew with `tern registration`",
        .servers[0], .servers[1]
    )]
    SameToken {
        /// The configuration file.
        path: PathBuf,
        /// The two homeservers.
        servers: [OwnedServerName; 2],
    },

    /// The application service cannot act as the bot.
    #[error("{path}: bot.appservice: {server}: {what}")]
    OwnUser {
        /// The configuration file.
        path: PathBuf,
        /// The server that `bot.appservice` names.
        server: OwnedServerName,
        /// What does not fit.
        what: String,
    },
}
