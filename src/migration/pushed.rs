//! What homeservers push to the application service about accounts that take part in a migration.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use ruma::{CanonicalJsonValue, EventId, RoomId, UserId, events::room::member::MembershipState};
use serde::Deserialize;

use super::{
    Awaited, Inner, Migration, Migrations, Phase, Said, Side, closed_rooms, job::Job,
    journal::Change,
};
use crate::{
    appservice::Appservice,
    consent::{Content, Vouched, stands},
    store::StoreError,
    web::{Audience, Envelope, Pushed},
};

/// What a pushed event has to do with a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    /// Where the new account is a member.
    Membership,
}

/// What is read of a membership.
#[derive(Deserialize)]
struct Member {
    membership: MembershipState,
}

impl Migrations {
    /// Uses an event that a homeserver pushed, for each migration that it concerns. What it tells
    /// is taken as a hint of when to look or what to try, never as a person's word: an event may
    /// come twice, late or never, and everything is found out without it too, only later.
    ///
    /// The one entry for pushed events. [`concern`] decides which of them are read at all; whoever
    /// waits for further ones adds a [`Concern`].
    async fn pushed(&self, pushed: &Pushed<'_>) -> Result<(), StoreError> {
        for job in self.0.all_jobs() {
            match job.look(|migration| concern(migration, pushed.by, &pushed.envelope)) {
                Some(Concern::Membership) => {
                    let room = &pushed.envelope.room_id;
                    let Some(Member { membership }) = pushed.content() else { continue };
                    let is_invited = membership == MembershipState::Invite;
                    if job.look(|migration| is_believed(migration, pushed.by, &membership)) {
                        job.learn(room, membership);
                    }
                    if is_invited {
                        self.let_in(&job, room, &pushed.envelope.sender).await?;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl Migrations {
    /// The new account was invited. Where only a moderator could do that, and nobody was asked to,
    /// it is brought in now: of an answer to what was asked, moderation hears by itself.
    async fn let_in(&self, job: &Arc<Job>, room: &RoomId, by: &UserId) -> Result<(), StoreError> {
        let turn = job.turn().await;
        let mut migration = job.migration();
        if !goes_on(&migration.phase)
            || by == migration.old.user_id
            || migration.awaited.contains_key(room)
        {
            return Ok(());
        }
        let plan = self.0.journal.plan(migration.id)?.unwrap_or_default().with(&migration.options);
        if !closed_rooms(&plan).any(|(closed, _)| closed == room) {
            return Ok(());
        }
        migration.awaited.insert(room.to_owned(), Awaited::Opened);
        migration.options.opened.insert(room.to_owned());
        self.0.commit_and_work(job, turn, Change::of(&migration)).await?;
        Ok(())
    }
}

impl Migrations {
    /// What the bot's own homeserver told of something that somebody said in their chat, which is
    /// compared with what their own pushes. `content` is that of the event as it came; nothing where
    /// it was encrypted.
    pub(crate) fn heard(&self, event: &EventId, content: Option<&str>) {
        let content = match content {
            None => Content::Sealed,
            Some(content) => self.0.mark(content).map_or(Content::Unknown, Content::Plain),
        };
        self.0.vouchers.heard(event, content);
    }

    /// Whether `user`'s own homeserver pushes what they say.
    pub(crate) fn hears_from(&self, user: &UserId) -> bool {
        self.0.sessions.hears_from(user)
    }

    /// The proof that this was said, once the homeserver of who said it pushed it, if it does so
    /// within `patience`.
    pub(crate) async fn vouched(&self, said: &Said, patience: Duration) -> Option<Vouched> {
        if !self.hears_from(&said.by) {
            return None;
        }
        let event = (&*said.by, &*said.room_id, &*said.event_id);
        self.0.vouchers.wait(event, &self.0.clock, patience).await
    }
}

impl Inner {
    /// A mark of the content of an event, which is the same however it is written.
    fn mark(&self, content: &str) -> Option<String> {
        let content: CanonicalJsonValue = serde_json::from_str(content).ok()?;
        Some(self.journal.mark("content", &content.to_string()))
    }
}

impl Audience for Migrations {
    fn pass(&self, pushed: &Pushed<'_>) {
        self.0.vouchers.pushed(pushed, |content| self.0.mark(content));
    }

    fn awaits(&self, by: &Appservice, envelope: &Envelope<'_>) -> bool {
        // Before the migrations are gone through: of what is pushed, most is messages.
        envelope.event_type == MEMBER
            && self
                .0
                .all_jobs()
                .iter()
                .any(|job| job.look(|migration| concern(migration, by, envelope)).is_some())
    }

    fn hear<'a>(&'a self, pushed: &'a Pushed<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.pushed(pushed))
    }
}

const MEMBER: &str = "m.room.member";

/// What an event has to do with `migration`, if it is of use there: if it is about an account of a
/// run that goes on, and an account that the homeserver pushes events of consented to that.
fn concern(migration: &Migration, by: &Appservice, envelope: &Envelope<'_>) -> Option<Concern> {
    if !goes_on(&migration.phase) || !pushes_for(migration, by) {
        return None;
    }
    let about = envelope.state_key.as_deref();
    (envelope.event_type == MEMBER && about == Some(migration.new.user_id.as_str()))
        .then_some(Concern::Membership)
}

/// Whether the new account need not do any more what `by` tells that it did. That it joined, only
/// its own homeserver knows where the bot joins as it: one that is stopped in the middle of a join
/// forgets of it, and the others have let it in.
fn is_believed(migration: &Migration, by: &Appservice, membership: &MembershipState) -> bool {
    *membership != MembershipState::Join
        || !migration.new.access.is_given()
        || by.covers(&migration.new.user_id)
}

/// Whether rooms are gone into in this phase.
fn goes_on(phase: &Phase) -> bool {
    matches!(phase, Phase::Running | Phase::WaitingForModerators)
}

/// Whether an account that `by` covers has a consent that stands.
fn pushes_for(migration: &Migration, by: &Appservice) -> bool {
    let is_covered = |user: &UserId| by.covers(user);
    [Side::Old, Side::New]
        .into_iter()
        .any(|side| is_covered(&migration.party(side).user_id) && stands(migration, side))
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, owned_user_id};

    use super::*;
    use crate::{
        clock::Timestamp,
        migration::{Access, By, Consent, Ending, MigrationId, Options, Party, PlanNumber},
    };

    fn registration(server: &str) -> Appservice {
        let text = "{id: tern, url: null, as_token: as, hs_token: hs, sender_localpart: tern, \
                    namespaces: {users: [{exclusive: false, regex: '@moving.*'}]}}";
        Appservice::parse(server.try_into().unwrap(), text).unwrap()
    }

    fn migration(phase: Phase, new_consents: bool) -> Migration {
        let at = Timestamp::from_second(1).unwrap();
        let consent = Consent {
            room_id: owned_room_id!("!chat:old.example"),
            event_id: owned_event_id!("$said"),
            at,
        };
        let party = |user_id, consent| Party { user_id, consent, access: Access::Session };
        Migration {
            id: MigrationId(1),
            old: party(owned_user_id!("@moving:old.example"), Some(consent.clone())),
            new: party(owned_user_id!("@moving:new.example"), new_consents.then_some(consent)),
            phase,
            options: Options::default(),
            started: at,
            consent_expires: at,
            plan: PlanNumber::default(),
            planned: None,
            go: None,
            interrupted: None,
            went: None,
            ended: None,
            awaited: std::collections::BTreeMap::new(),
        }
    }

    fn member(user: &str) -> Envelope<'_> {
        Envelope {
            event_type: MEMBER.into(),
            room_id: owned_room_id!("!room:old.example"),
            sender: owned_user_id!("@moderator:old.example"),
            state_key: Some(user.into()),
            event_id: None,
        }
    }

    #[test]
    fn a_membership_of_the_new_account_in_a_run_is_of_use() {
        let run = migration(Phase::Running, true);
        let concern = |server, user| concern(&run, &registration(server), &member(user));
        let new = "@moving:new.example";
        assert_eq!(concern("new.example", new), Some(Concern::Membership));
        // The old account's server sees it too, in the rooms that the old account is in.
        assert_eq!(concern("old.example", new), Some(Concern::Membership));
        assert_eq!(concern("other.example", new), None);
        assert_eq!(concern("new.example", "@moving2:new.example"), None);
        assert_eq!(concern("old.example", "@moving:old.example"), None);
    }

    #[test]
    fn that_the_new_account_joined_its_own_homeserver_knows_unless_it_joins_by_hand() {
        let mut run = migration(Phase::Running, true);
        let [old, new] = ["old.example", "new.example"].map(registration);
        let (join, invite) = (MembershipState::Join, MembershipState::Invite);
        assert!(is_believed(&run, &new, &join));
        assert!(!is_believed(&run, &old, &join));
        assert!(is_believed(&run, &old, &invite));
        run.new.access = Access::None;
        assert!(is_believed(&run, &old, &join));
    }

    #[test]
    fn nothing_is_of_use_without_a_run_that_both_consented_to() {
        let registration = registration("new.example");
        let member = member("@moving:new.example");
        assert_eq!(concern(&migration(Phase::Running, false), &registration, &member), None);
        for phase in [
            Phase::AwaitingConsent,
            Phase::AwaitingAccess,
            Phase::Surveying,
            Phase::AwaitingGo,
            Phase::Paused(Box::new(Phase::Running)),
            Phase::Finished,
            Phase::Cancelled(Ending::CancelledBy(By::New)),
        ] {
            assert_eq!(concern(&migration(phase, true), &registration, &member), None);
        }
    }

    #[test]
    fn other_events_of_an_account_in_a_run_are_of_no_use() {
        let (run, by) = (migration(Phase::Running, true), registration("new.example"));
        for event_type in ["m.room.message", "m.room.encrypted", "m.reaction", "m.room.topic"] {
            let envelope =
                Envelope { event_type: event_type.into(), ..member("@moving:new.example") };
            assert_eq!(concern(&run, &by, &envelope), None, "{event_type}");
        }
    }
}
