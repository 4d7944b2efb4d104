//! How the bot may act as an account.

use ruma::OwnedUserId;

use crate::{homeserver::Failure, secret::Secret};

/// How a person gives access, as said with `login`.
#[derive(Debug)]
pub enum Login {
    /// With the account's password: the bot makes itself a session of its own.
    Password(Secret),
    /// With an access token that the person made.
    Token(Secret),
    /// Not at all.
    None,
}

/// Why a login did not work.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The account's homeserver could not be found or reached.
    #[error("{0}")]
    Discovery(#[from] crate::homeserver::DiscoverError),
    /// The homeserver takes no passwords from clients; a token is needed.
    #[error("the homeserver offers no login with a password")]
    NoPasswordFlow,
    /// The homeserver refused the password or the token.
    #[error("the homeserver refused: {0}")]
    Wrong(Failure),
    /// The token belongs to another account. It was logged out.
    #[error("this belongs to {0}")]
    SomebodyElse(OwnedUserId),
    /// The homeserver did not answer as it should.
    #[error("{0}")]
    Failed(Failure),
}
