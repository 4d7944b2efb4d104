//! What homeservers limit by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A kind of limit. Each account, or room where it is one of rooms, has a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Reading.
    Reads,
    /// Syncs.
    Syncs,
    /// Joining rooms that the account's homeserver is in already.
    LocalJoins,
    /// Joining rooms that the account's homeserver is not in yet.
    RemoteJoins,
    /// Joins into one room, by anybody.
    JoinsInto,
    /// Invitations that an account sends.
    InvitesBy,
    /// Invitations that an account is sent, as its inviter's homeserver counts them.
    InvitesOf,
    /// Invitations that reach an account over federation, as its own homeserver counts them.
    InvitesFromAfar,
    /// Invitations into one room, by anybody.
    InvitesInto,
    /// Whatever else is done in one room.
    OtherIn,
    /// Messages, state events, and whatever else becomes an event that the account sends: a join
    /// of a room that its homeserver is in, an invitation, a changed profile.
    Messages,
    /// Account data, tags and push rules.
    AccountData,
    /// Changes of the profile.
    Profile,
    /// Making rooms.
    RoomCreations,
    /// Files.
    Media,
}

impl Kind {
    /// How many tokens are left over for the person themself: with their messages to the bot they
    /// draw from the same budget as what the bot sends as them. A homeserver does not say which of
    /// several limits was met, and that on invitations is nearly as fast, so it may be taken for the
    /// other.
    pub(super) fn reserve(self) -> u32 {
        u32::from(matches!(self, Self::Messages | Self::InvitesBy))
    }

    /// The limit that Synapse has unless its admin says otherwise, where it has one: how long from
    /// one token to the next, and how many there are at most
    /// ([documentation](https://element-hq.github.io/synapse/latest/usage/configuration/config_documentation.html#ratelimiting)).
    pub fn documented(self) -> Option<(Duration, u32)> {
        let (per_second, burst) = match self {
            Self::LocalJoins => (0.1, 10),
            Self::RemoteJoins => (0.01, 10),
            Self::JoinsInto => (1.0, 10),
            Self::InvitesBy | Self::InvitesInto => (0.3, 10),
            Self::InvitesOf | Self::InvitesFromAfar => (0.003, 5),
            Self::Messages => (0.2, 10),
            Self::RoomCreations => (0.016, 10),
            Self::Reads
            | Self::Syncs
            | Self::OtherIn
            | Self::AccountData
            | Self::Profile
            | Self::Media => return None,
        };
        Some((Duration::from_secs_f64(1.0 / per_second), burst))
    }
}
