//! What is done as an account.

use crate::homeserver::transport::Allowance;

/// What is done as an account, as far as homeservers limit it by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Reading anything but a sync.
    Read,
    /// A sync.
    Sync,
    /// A sync that waits for what moderators answer.
    Listen,
    /// Joining a room that the account's homeserver is in already.
    LocalJoin,
    /// Joining any other room.
    RemoteJoin,
    /// Inviting into a room.
    Invite,
    /// Knocking on a room.
    Knock,
    /// Sending a message.
    Message,
    /// Writing a state event.
    State,
    /// Making a room.
    CreateRoom,
    /// Writing account data, a tag or a push rule.
    AccountData,
    /// Changing the profile.
    Profile,
    /// Downloading or uploading a file.
    Media,
    /// Redacting an event.
    Redact,
}

impl Action {
    /// How many requests may be on their way at a time in one lane.
    pub(super) fn most_in_flight(self) -> usize {
        match self {
            // Homeservers carry a changed profile into every room, one change after the other.
            Self::Sync | Self::Listen | Self::Profile | Self::Message => 1,
            // Each may be ten megabytes in memory.
            Self::Media => 2,
            // What follows a join is not to take the homeserver's time from joins and invitations.
            // And a knock that takes minutes, by way of a server far away, not that of others.
            Self::State | Self::Knock => 3,
            // Those that take long are on their way as well, and the window does not count them.
            _ => 32,
        }
    }

    /// Whether it counts among the requests that a homeserver works on. Syncs are kept open to wait
    /// for news.
    pub(super) fn is_work(self) -> bool {
        !matches!(self, Self::Sync | Self::Listen)
    }

    /// What it is counted as.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Sync => "sync",
            Self::Listen => "listen",
            Self::LocalJoin => "local_join",
            Self::RemoteJoin => "remote_join",
            Self::Invite => "invite",
            Self::Knock => "knock",
            Self::Message => "message",
            Self::State => "state",
            Self::CreateRoom => "create_room",
            Self::AccountData => "account_data",
            Self::Profile => "profile",
            Self::Media => "media",
            Self::Redact => "redact",
        }
    }

    pub(in crate::homeserver) fn allowance(self) -> Allowance {
        match self {
            Self::Sync => Allowance::SYNC,
            Self::Listen => Allowance::LISTEN,
            // Synapse takes three invitations at a time from another homeserver; all others that
            // people send there wait, on the inviting one.
            Self::LocalJoin | Self::RemoteJoin | Self::Knock | Self::Invite => Allowance::JOIN,
            Self::Media => Allowance::MEDIA,
            _ => Allowance::ORDINARY,
        }
    }
}
