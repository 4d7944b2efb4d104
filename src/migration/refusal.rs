//! Why a command could not be followed.

use std::time::Duration;

use ruma::{OwnedRoomOrAliasId, OwnedUserId};

use super::{Phase, Side};
use crate::store::StoreError;

/// Why a command could not be followed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The person is in no migration.
    #[error("there is no migration with this account")]
    NoMigration,
    /// There is no such migration that an admin could name.
    #[error("there is no such migration")]
    NoSuchMigration,
    /// Old and new account are the same.
    #[error("old and new account are the same")]
    SameAccount,
    /// The person named the bot itself.
    #[error("the bot cannot be moved to or from")]
    TheBot,
    /// The person, or the account named, is in another migration that is not over.
    #[error("{busy} is in another migration")]
    Busy {
        /// The account that is in one.
        busy: OwnedUserId,
        /// Whether that is the very pair that was asked for.
        same_pair: bool,
    },
    /// The person has had as many accounts asked as one may in a day.
    #[error("too many accounts were asked")]
    AskedTooOften {
        /// How long until the next one may be asked.
        left: Duration,
    },
    /// As many accounts were asked from the person's server as one server may have asked in a day.
    #[error("too many accounts were asked from one server")]
    ServerAskedTooOften {
        /// How long until the next one may be asked.
        left: Duration,
    },
    /// The account named is not asked: it said no to this person, or `block`, or was asked often
    /// enough today. Which of them is nobody's business but its own.
    #[error("{new} is not to be asked")]
    Unwanted {
        /// The account that was named.
        new: OwnedUserId,
    },
    /// An account has a user ID that could be read as something else.
    #[error("a user ID beyond the grammar of user IDs")]
    UnreadableName,
    /// Only the other side may say this.
    #[error("only the other account may say this")]
    WrongSide {
        /// Who may.
        may: Side,
    },
    /// Nobody asked this account to be the new account of `old`.
    #[error("there is no request from {old}")]
    NoSuchRequest {
        /// The account that was named.
        old: OwnedUserId,
    },
    /// Not in this phase.
    #[error("not possible in phase {phase:?}")]
    WrongPhase {
        /// How far the migration is.
        phase: Phase,
    },
    /// Access was given by somebody who did not consent yet.
    #[error("consent comes before access")]
    NoConsentYet,
    /// The login did not work.
    #[error(transparent)]
    Login(#[from] crate::access::LoginError),
    /// A room that was named is in no list.
    #[error("no room {0}")]
    NoSuchRoom(OwnedRoomOrAliasId),
    /// The `go` meant another plan than the last one.
    #[error("the plan has changed")]
    PlanChanged,
    /// More rooms were named that no survey showed than are taken.
    #[error("more than {most} rooms were named that the old account is not in")]
    TooManyNamed {
        /// How many are taken.
        most: usize,
    },
    /// There is no plan yet.
    #[error("there is no plan yet")]
    NoPlan,
    /// There is no report yet.
    #[error("there is no report yet")]
    NoReport,
    /// Nothing in the plan failed.
    #[error("nothing failed")]
    NothingToRetry,
    /// The rooms could not be looked at as the old account.
    #[error("the old account's rooms cannot be read: {0}")]
    Unread(crate::homeserver::Failure),
    /// Nothing was shown that could be sent to moderators.
    #[error("no invite requests were shown")]
    NothingShown,
    /// The store failed, and with it everything.
    #[error(transparent)]
    Store(#[from] StoreError),
}
