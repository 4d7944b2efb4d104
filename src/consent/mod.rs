//! Who agreed.
//!
//! Nothing is sent as an account before that account consented, in its own direct message, to this
//! very pair. [`Standing`] is the proof: it cannot be made without a consent that stands, and
//! [`access`](crate::access) opens no account without it.

use ruma::{OwnedUserId, UserId};

use crate::{
    clock::Timestamp,
    migration::{Access, Migration, MigrationId, Phase, Side},
};

/// The proof that an account's consent to one migration stands.
#[derive(Clone, Debug)]
pub struct Standing {
    migration: MigrationId,
    side: Side,
    user_id: OwnedUserId,
    access: Access,
    since: Timestamp,
}

impl Standing {
    /// The proof, if this side of `migration` consented and nothing ended that: not `decline`, not
    /// the time, not `cancel` from either side. It goes on standing when the migration is finished,
    /// for `retry` and `plan`.
    pub fn of(migration: &Migration, side: Side) -> Option<Self> {
        let party = migration.party(side);
        if party.consent.is_none() || matches!(migration.phase, Phase::Cancelled(_)) {
            return None;
        }
        Some(Self {
            migration: migration.id,
            side,
            user_id: party.user_id.clone(),
            access: party.access,
            since: migration.started,
        })
    }

    /// The migration that was consented to.
    pub fn migration(&self) -> MigrationId {
        self.migration
    }

    /// Which side of it the account is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The account that consented.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// When the migration began.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// How the account said that the bot may act as it.
    pub fn access(&self) -> Access {
        self.access
    }
}
