//! Who agreed.
//!
//! Nothing is sent as an account before that account consented, in its own direct message, to this
//! very pair. [`Standing`] is the proof: it cannot be made without a consent that stands, it ends
//! with it, and without it there is no [`Account`](crate::homeserver::Account) to send anything as.

mod vouched;

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use tokio_util::sync::CancellationToken;

pub(crate) use self::vouched::{Content, Vouched, Vouchers};
use crate::{
    clock::Timestamp,
    homeserver::Mandate,
    record::{Access, Ending, Migration, MigrationId, Phase, Side},
};

/// Ends every proof that was made with it, at once. A migration has one, in memory, and
/// [ends](Self::end) it before it is written down that the consent is gone.
#[derive(Clone, Debug, Default)]
pub struct Term(CancellationToken);

impl Term {
    /// From now on nothing is sent any more.
    pub fn end(&self) {
        self.0.cancel();
    }
}

/// Whether this side of `migration` consented and nothing ended that: not `decline`, not the time,
/// not `cancel` from either side. It goes on standing when the migration is finished, for `retry`
/// and `plan`, until it lapses.
pub fn stands(migration: &Migration, side: Side) -> bool {
    migration.party(side).consent.is_some()
        && migration.lapsed.is_none()
        && !matches!(migration.phase, Phase::Cancelled(_))
}

/// The proof that an account's consent to one migration stands.
#[derive(Clone, Debug)]
pub struct Standing {
    migration: MigrationId,
    side: Side,
    user_id: OwnedUserId,
    access: Access,
    since: Timestamp,
    term: Term,
}

impl Mandate for Standing {
    fn user_id(&self) -> &UserId {
        &self.user_id
    }

    fn ended(&self) -> &CancellationToken {
        &self.term.0
    }
}

impl Standing {
    /// The proof, if the consent of this side of `migration` [stands](stands).
    pub fn of(migration: &Migration, side: Side, term: &Term) -> Option<Self> {
        if !stands(migration, side) || term.0.is_cancelled() {
            return None;
        }
        Some(Self::given(migration, side, term.clone()))
    }

    /// The proof, for carrying out the end of a consent that stood until `cancel` ended it: taking
    /// back what was asked of others in the account's name, and nothing else.
    pub(crate) fn to_take_back(migration: &Migration, side: Side) -> Option<Self> {
        let stood = migration.party(side).consent.is_some() && migration.went.is_some();
        let is_cancelled = matches!(migration.phase, Phase::Cancelled(Ending::CancelledBy(_)));
        (stood && is_cancelled).then(|| Self::given(migration, side, Term::default()))
    }

    fn given(migration: &Migration, side: Side, term: Term) -> Self {
        let party = migration.party(side);
        Self {
            migration: migration.id,
            side,
            user_id: party.user_id.clone(),
            access: party.access,
            since: migration.started,
            term,
        }
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

/// The proof that a moderator, whom a registration of the bot covers, agreed by a ✅ on an invite
/// request to this one invitation being sent in their name. It is made from their own reaction, which
/// their own homeserver vouches for, and used up by the invitation.
#[derive(Debug)]
pub(crate) struct ModeratorsWord {
    moderator: OwnedUserId,
    room_id: OwnedRoomId,
    invited: OwnedUserId,
    never: CancellationToken,
}

impl Mandate for ModeratorsWord {
    fn user_id(&self) -> &UserId {
        &self.moderator
    }

    fn ended(&self) -> &CancellationToken {
        &self.never
    }
}

impl ModeratorsWord {
    /// What a moderator said by `reaction` to the request to invite `invited` to a room.
    pub(crate) fn of(reaction: &Vouched, room_id: OwnedRoomId, invited: OwnedUserId) -> Self {
        let moderator = reaction.sender().to_owned();
        Self { moderator, room_id, invited, never: CancellationToken::new() }
    }

    /// The room of the one invitation.
    pub(crate) fn room_id(&self) -> &RoomId {
        &self.room_id
    }

    /// Whom the one invitation is for.
    pub(crate) fn invited(&self) -> &UserId {
        &self.invited
    }
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, owned_user_id};

    use super::*;
    use crate::record::{By, Consent, Ending, Options, Party, PlanNumber};

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
            plan: PlanNumber::default(),
            planned: None,
            lapsed: None,
            lapse_told: None,
            go: None,
            interrupted: None,
            went: None,
            ended: None,
            awaited: std::collections::BTreeMap::new(),
        }
    }

    fn standing(migration: &Migration, side: Side) -> Option<Standing> {
        Standing::of(migration, side, &Term::default())
    }

    #[test]
    fn no_consent_stands_that_was_not_given() {
        let migration = migration(Phase::AwaitingConsent, true, false);
        assert!(standing(&migration, Side::Old).is_some());
        assert!(standing(&migration, Side::New).is_none());
    }

    #[test]
    fn one_accounts_consent_is_not_the_others() {
        let migration = migration(Phase::Running, false, true);
        assert!(standing(&migration, Side::Old).is_none());
        let standing = standing(&migration, Side::New).unwrap();
        assert_eq!(standing.user_id(), "@new:b.example");
    }

    #[test]
    fn a_consent_ends_with_no_lapse_or_cancel() {
        for ending in
            [Ending::Declined, Ending::Expired, Ending::Lapsed, Ending::CancelledBy(By::New)]
        {
            let migration = migration(Phase::Cancelled(ending), true, true);
            assert!(standing(&migration, Side::Old).is_none(), "{ending:?}");
            assert!(standing(&migration, Side::New).is_none(), "{ending:?}");
        }
    }

    #[test]
    fn a_consent_lapses_some_time_after_the_end() {
        let mut migration = migration(Phase::Finished, true, true);
        assert!(standing(&migration, Side::Old).is_some());
        migration.lapsed = Some(at(3));
        assert!(standing(&migration, Side::Old).is_none());
        assert!(standing(&migration, Side::New).is_none());
    }

    #[test]
    fn only_what_a_cancelled_run_left_open_can_be_taken_back() {
        let cancelled = Phase::Cancelled(Ending::CancelledBy(By::New));
        let mut migration = migration(cancelled, true, true);
        assert!(Standing::to_take_back(&migration, Side::Old).is_none(), "it was never run");
        migration.went = Some(at(1));
        assert!(Standing::to_take_back(&migration, Side::Old).is_some());
        for phase in [Phase::Running, Phase::Cancelled(Ending::Declined)] {
            migration.phase = phase;
            assert!(Standing::to_take_back(&migration, Side::Old).is_none());
        }
    }

    #[test]
    fn a_proof_that_was_given_ends_with_the_consent_and_there_is_none_after_it() {
        let migration = migration(Phase::Running, true, true);
        let term = Term::default();
        let standing = Standing::of(&migration, Side::Old, &term).unwrap();
        assert!(!standing.ended().is_cancelled());
        term.end();
        assert!(standing.ended().is_cancelled());
        assert!(Standing::of(&migration, Side::Old, &term).is_none());
    }
}
