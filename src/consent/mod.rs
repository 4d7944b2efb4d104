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

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, owned_user_id};

    use super::*;
    use crate::migration::{Consent, Ending, Options, Party};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn migration(phase: Phase, old_consents: bool, new_consents: bool) -> Migration {
        let party = |user_id, consents: bool| Party {
            user_id,
            consent: consents.then(|| Consent {
                room_id: owned_room_id!("!chat:a.example"),
                event_id: owned_event_id!("$said"),
                at: at(1),
            }),
            access: Access::Session,
        };
        Migration {
            id: MigrationId(1),
            old: party(owned_user_id!("@old:a.example"), old_consents),
            new: party(owned_user_id!("@new:b.example"), new_consents),
            phase,
            options: Options::default(),
            started: at(1),
            consent_expires: at(2),
            went: None,
            ended: None,
        }
    }

    #[test]
    fn no_consent_stands_that_was_not_given() {
        let migration = migration(Phase::AwaitingConsent, true, false);
        assert!(Standing::of(&migration, Side::Old).is_some());
        assert!(Standing::of(&migration, Side::New).is_none());
    }

    #[test]
    fn one_accounts_consent_is_not_the_others() {
        let migration = migration(Phase::Running, false, true);
        assert!(Standing::of(&migration, Side::Old).is_none());
        let standing = Standing::of(&migration, Side::New).unwrap();
        assert_eq!(standing.user_id(), "@new:b.example");
    }

    #[test]
    fn a_consent_ends_with_no_lapse_or_cancel() {
        for ending in [Ending::Declined, Ending::Expired, Ending::CancelledBy(Side::New)] {
            let migration = migration(Phase::Cancelled(ending), true, true);
            assert!(Standing::of(&migration, Side::Old).is_none(), "{ending:?}");
            assert!(Standing::of(&migration, Side::New).is_none(), "{ending:?}");
        }
    }
}
