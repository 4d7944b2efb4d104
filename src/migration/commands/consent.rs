//! `start`, `accept`, `decline`.

use std::sync::Arc;

use ruma::UserId;

use super::{access::go_on_after_access, consent_of, wrong_phase};
use crate::migration::{
    Access, Ending, Event, Inner, Migration, Migrations, Options, Party, Phase, PlanNumber,
    Refusal, Said, Side,
    asking::{Question, Recipient, Turn as AskingTurn},
    job::{Job, Turn},
    journal::Change,
};
use crate::store::{Batch, StoreError};

impl Inner {
    /// Nobody is pestered: a no lasts, and each account gets one question at a time from each server,
    /// and few in a day. Writes into `batch` that one more is asked.
    fn may_ask(
        &self,
        old: &UserId,
        new: &UserId,
        turn: &mut AskingTurn<'_>,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let is_open = |migration: &Migration| {
            migration.phase == Phase::AwaitingConsent
                && migration.new.user_id == new
                && migration.old.user_id.server_name() == old.server_name()
        };
        if self.all_jobs().iter().any(|job| job.look(is_open)) {
            return Err(Refusal::Unwanted { new: new.to_owned() });
        }
        let from_home = old.server_name() == self.bot.server_name() || self.sessions.covers(old);
        self.asking.ask(Question { old, new, from_home }, self.now(), turn, batch)
    }
}

impl Migrations {
    /// `start`: the old account wants to move to `new`, which is asked for its consent.
    ///
    /// # Errors
    ///
    /// [`Refusal::SameAccount`], [`Refusal::TheBot`], [`Refusal::Busy`], [`Refusal::AskedTooOften`],
    /// [`Refusal::ServerAskedTooOften`], [`Refusal::Unwanted`].
    pub async fn start(&self, said: &Said, new: &UserId) -> Result<(), Refusal> {
        let inner = self.inner();
        if new == said.by {
            return Err(Refusal::SameAccount);
        }
        if [new, said.by.as_ref()].contains(&inner.bot.as_ref()) {
            return Err(Refusal::TheBot);
        }
        let _entry = inner.entry.lock().await;
        let now = inner.now();
        let party = |user_id: &UserId| Party {
            user_id: user_id.to_owned(),
            consent: None,
            access: Access::Unknown,
        };
        let mut migration = Migration {
            id: inner.journal.next_id()?,
            old: party(&said.by),
            new: party(new),
            phase: Phase::AwaitingConsent,
            options: Options::default(),
            started: now,
            consent_expires: now + inner.settings.consent_expires,
            plan: PlanNumber::default(),
            planned: None,
            go: None,
            interrupted: None,
            went: None,
            ended: None,
            awaited: std::collections::BTreeMap::new(),
        };
        inner.busy(&said.by, &migration)?;
        inner.busy(new, &migration)?;
        let mut asking = inner.asking.turn().await;
        let mut batch = Batch::new();
        inner.may_ask(&said.by, new, &mut asking, &mut batch)?;
        inner.make_room(&said.by).await?;
        migration.old.consent = Some(consent_of(said, now));
        let change = Change::of(&migration)
            .said(said)
            .tell(Side::Old, Event::ConsentRequested)
            .tell(Side::New, Event::ConsentQuestion);
        let change = Change { batch, ..change };
        let committed = inner.journal.commit(change, now).await?;
        drop(asking);
        let job = inner.add_job(migration);
        inner.journal.hand_out(committed);
        inner.set_to_work(&job);
        Ok(())
    }

    /// `accept`: the new account takes part.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchRequest`], [`Refusal::Busy`].
    pub async fn accept(&self, said: &Said, old: &UserId) -> Result<(), Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration) = self.request(said, old).await?;
        let _entry = inner.entry.lock().await;
        inner.busy(&said.by, &migration)?;
        let now = inner.now();
        migration.new.consent = Some(consent_of(said, now));
        migration.phase = Phase::AwaitingAccess;
        inner.give_masquerade(&mut migration);
        inner.asking.note_yes(&said.by, old).await?;
        let then = go_on_after_access(&mut migration);
        let mut change = Change::of(&migration).said(said).tell_both(Event::ConsentGiven);
        if let Some(event) = then {
            change = change.tell_both(event);
        }
        inner.commit(&job, &turn, change).await?;
        inner.set_to_work(&job);
        Ok(())
    }

    /// `decline`: the new account does not take part.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchRequest`].
    pub async fn decline(&self, said: &Said, old: &UserId) -> Result<(), Refusal> {
        let inner = self.inner();
        let (job, turn, mut migration) = self.request(said, old).await?;
        // First, so that no crash leaves a no that does not last.
        inner.asking.note_no(&said.by, old).await?;
        migration.phase = Phase::Cancelled(Ending::Declined);
        migration.ended = Some(inner.now());
        let change = Change::of(&migration).said(said).tell_both(Event::ConsentDeclined);
        inner.commit(&job, &turn, change).await?;
        inner.set_to_work(&job);
        Ok(())
    }

    /// `block`: this account is asked nothing more, whoever wants to. What it was asked is answered
    /// with a no.
    ///
    /// # Errors
    ///
    /// [`Refusal::Store`].
    pub async fn block(&self, said: &Said) -> Result<(), Refusal> {
        self.inner().asking.change(&said.by, |recipient| recipient.blocked = true).await?;
        for request in self.requests_to(&said.by) {
            match self.decline(said, &request.old.user_id).await {
                // Answered or lapsed in the meantime.
                Err(Refusal::NoSuchRequest { .. } | Refusal::WrongPhase { .. }) | Ok(()) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    /// `unblock`: this account may be asked again, also by those whom it said no to.
    ///
    /// # Errors
    ///
    /// [`Refusal::Store`].
    pub async fn unblock(&self, said: &Said) -> Result<(), Refusal> {
        let clear = |recipient: &mut Recipient| *recipient = Recipient::default();
        Ok(self.inner().asking.change(&said.by, clear).await?)
    }

    /// Whether this account said `block`: then the bot asks it for nothing, neither for its consent
    /// nor to let somebody into a room, and does not invite it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn is_blocked(&self, user: &UserId) -> Result<bool, StoreError> {
        Ok(self.inner().asking.recipient(user)?.blocked)
    }

    /// Whether this account said no to being asked for `old`, which lasts.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn has_said_no(&self, user: &UserId, old: &UserId) -> Result<bool, StoreError> {
        self.inner().asking.has_said_no(user, old)
    }

    /// This account said no to being asked for `old`, as by turning an invitation down.
    ///
    /// # Errors
    ///
    /// When that cannot be written down.
    pub async fn said_no(&self, user: &UserId, old: &UserId) -> Result<(), StoreError> {
        self.inner().asking.note_no(user, old).await
    }

    /// The request from `old` that waits for the answer of who said this.
    async fn request(
        &self,
        said: &Said,
        old: &UserId,
    ) -> Result<(Arc<Job>, Turn, Migration), Refusal> {
        let inner = self.inner();
        let no_such = || Refusal::NoSuchRequest { old: old.to_owned() };
        let job = inner
            .jobs
            .of(&said.by)
            .into_iter()
            .rev()
            .find(|job| {
                let migration = job.migration();
                migration.phase == Phase::AwaitingConsent
                    && migration.new.user_id == said.by
                    && migration.old.user_id == old
            })
            .ok_or_else(no_such)?;
        if job.migration().consent_expires <= inner.now() {
            inner.expire(&job).await?;
            return Err(no_such());
        }
        let turn = job.turn().await;
        let migration = job.migration();
        if migration.phase == Phase::AwaitingConsent {
            Ok((job, turn, migration))
        } else {
            Err(wrong_phase(&migration))
        }
    }
}
