//! The client-server API: typed requests as one account, failures sorted once, and pacing.
//!
//! A [`Transport`] finds homeservers and carries requests. An [`Account`] is one account on one of
//! them together with the right to act as it; what it asks of its homeserver goes through
//! [`Pacing`], which sends as fast as the homeserver allows and no faster.

mod account;
mod addresses;
mod calls;
mod clients;
mod discovery;
mod echo;
mod failure;
mod intake;
mod own_user;
mod pacing;
mod pins;
mod transport;

pub(crate) use self::{account::Mandate, own_user::Forwarder, pacing::Retries};
pub use self::{
    account::{Account, AccountRequest, Auth},
    calls::{Alias, File, Login, LoginFlow, Nearness, Synced},
    discovery::{DiscoverError, Moved, Server},
    failure::{Excess, Failure, Fault},
    own_user::OwnUser,
    pacing::{Action, Budget, Kind, Pacing, Wait, WaitReason},
    transport::{Carrier, Reach, Transport, TransportError},
};

pub use crate::config::Timeouts;

#[cfg(test)]
mod tests;
