//! What an account holds besides its rooms: profile, settings, push rules, ignored users, emotes.
//!
//! [`Holdings`] is what a survey shows of one account. [`plan`] compares those of two accounts and
//! names what the new one lacks, without the contents: these are read again right before they are
//! written, by [`transfer`], so that a plan holds nothing private and nothing is overwritten that
//! was changed meanwhile. Both use the same comparisons, of [`merge`], [`push_rules`] and
//! [`profile`].

mod exceptions;
mod images;
mod merge;
mod names;
mod plan;
mod profile;
mod push_rules;
mod read;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::BTreeMap;

use ruma::{OwnedMxcUri, OwnedRoomId, UserId, serde::JsonObject};
use serde_json::{Value, value::RawValue};

pub(crate) use self::{
    exceptions::{NEVER_READ, never_copied},
    plan::{Comparison, plan},
    profile::RoomProfile,
    push_rules::PushRules,
    transfer::Transfer,
};
pub use self::{
    names::Holding,
    plan::{PlannedHolding, Treatment},
};

/// A profile, by the names of its fields
/// ([spec](https://spec.matrix.org/v1.18/client-server-api/#profiles)).
pub(crate) type Profile = BTreeMap<String, Value>;

/// What became of uploaded files of the old account: where each is on the new account's server.
pub(crate) type Copies = BTreeMap<OwnedMxcUri, OwnedMxcUri>;

/// What one account holds besides its rooms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holdings {
    /// `None` when it could not be read.
    pub(crate) profile: Option<Profile>,
    /// Global account data by type, without what is [never copied](never_copied).
    pub(crate) account_data: BTreeMap<String, Piece>,
    /// `None` when they are too large to be read.
    pub(crate) push_rules: Option<PushRules>,
    /// By rooms that the account is in.
    pub(crate) rooms: BTreeMap<OwnedRoomId, RoomHoldings>,
}

/// What an account holds in one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomHoldings {
    /// By type, without what is [never copied](never_copied).
    pub(crate) account_data: BTreeMap<String, Piece>,
    /// What the account is called there.
    pub(crate) profile: RoomProfile,
}

/// The content of one piece of account data.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// As the homeserver gave it.
    Content(Box<RawValue>),
    /// Too large to be kept in memory, and so to be copied.
    TooLarge,
}

impl Piece {
    /// The content; nothing for what is no JSON object, which the specification does not allow.
    pub(crate) fn content(&self) -> Option<JsonObject> {
        match self {
            Self::Content(content) => serde_json::from_str(content.get()).ok(),
            Self::TooLarge => None,
        }
    }
}

/// The three accounts that take part in a migration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trio<'a> {
    pub(crate) old: &'a UserId,
    pub(crate) new: &'a UserId,
    pub(crate) bot: &'a UserId,
}

/// How much one account lacks of what another one holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lack {
    /// Things that only the old account has.
    pub(crate) adds: usize,
    /// Things that both accounts have, each its own.
    pub(crate) differs: usize,
}

impl Lack {
    /// Whether there is something to be written.
    fn calls_for_writing(self, prefer_old: bool) -> bool {
        self.adds > 0 || (prefer_old && self.differs > 0)
    }
}

impl std::ops::AddAssign for Lack {
    fn add_assign(&mut self, other: Self) {
        self.adds += other.adds;
        self.differs += other.differs;
    }
}
