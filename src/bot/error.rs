//! Why the bot cannot run.

use std::path::PathBuf;

use matrix_sdk::ruma::OwnedUserId;

use crate::{
    homeserver::{DiscoverError, Failure},
    store::StoreError,
};

/// Why the bot cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BotError {
    /// The bot's homeserver was not found.
    #[error("the homeserver of {user_id} (bot.user_id) is not found")]
    Discovery {
        /// The bot's account.
        user_id: OwnedUserId,
        /// What was found instead.
        source: DiscoverError,
    },

    /// The bot cannot log in.
    #[error("cannot log in as {user_id}: check bot.user_id and bot.password")]
    Login {
        /// The bot's account.
        user_id: OwnedUserId,
        /// What the homeserver said.
        source: Failure,
    },

    /// The bot cannot log in as an application service's own user.
    #[error("cannot log in as {user_id}: check that its homeserver has the same registration")]
    ServiceLogin {
        /// The bot's account.
        user_id: OwnedUserId,
        /// What the homeserver said.
        source: Failure,
    },

    /// The homeserver lets application services neither make devices nor log in.
    #[error(
        "the homeserver of {user_id} lets application services neither make devices nor log in, and \
         encryption needs one of the two: give the bot an account with bot.password instead of \
         bot.appservice"
    )]
    NoServiceLogin {
        /// The bot's account.
        user_id: OwnedUserId,
    },

    /// The homeserver tells the bot nothing.
    #[error(
        "the homeserver of {user_id} tells it nothing of what happens, as Synapse does with the user \
         that a registration has as sender_localpart: give the bot another bot.user_id that the \
         registration's namespaces.users cover, or another sender_localpart"
    )]
    NoSync {
        /// The bot's account.
        user_id: OwnedUserId,
    },

    /// The store belongs to another account.
    #[error(
        "the store in storage.path belongs to {stored}, but bot.user_id is {configured}: point \
         storage.path to another directory, or change bot.user_id back"
    )]
    OtherAccount {
        /// The account that the store was made for.
        stored: OwnedUserId,
        /// The account in the configuration.
        configured: OwnedUserId,
    },

    /// matrix-sdk's own store cannot be opened.
    #[error("the encryption store in {path} cannot be opened")]
    EncryptionStore {
        /// Its directory.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<matrix_sdk::ClientBuildError>,
    },

    /// The session that was kept cannot be taken up again.
    #[error("the session of {user_id} cannot be taken up again")]
    Session {
        /// The bot's account.
        user_id: OwnedUserId,
        /// What is wrong with it.
        source: Box<matrix_sdk::Error>,
    },

    /// Nothing can listen on loopback.
    #[error(
        "cannot listen on loopback, which the bot needs as an account of an application service"
    )]
    Loopback(#[source] std::io::Error),

    /// The system does not let the bot listen for signals.
    #[error("cannot listen for signals")]
    Signals(#[from] std::io::Error),

    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
