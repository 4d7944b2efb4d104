//! `start`, `accept`, `decline`.

use std::sync::Arc;

use ruma::UserId;

use super::{access::go_on_after_access, consent_of, wrong_phase};
use crate::migration::{
    Access, Ending, Event, Migration, Migrations, Options, Party, Phase, PlanNumber, Refusal, Said,
    Side,
    asking::respect_no,
    job::{Job, Turn},
    journal::Change,
};

impl Migrations {
    /// `start`: the old account wants to move to `new`, which is asked for its consent.
    ///
    /// # Errors
    ///
    /// [`Refusal::SameAccount`], [`Refusal::TheBot`], [`Refusal::Busy`], [`Refusal::Declined`],
    /// [`Refusal::AskedTooOften`].
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
        let before = inner.all_jobs().into_iter().map(|job| job.migration());
        respect_no(before, &said.by, new, now)?;
        inner.asking.allow(&said.by, now)?;
        migration.old.consent = Some(consent_of(said, now));
        let change = Change::of(&migration)
            .said(said)
            .tell(Side::Old, Event::ConsentRequested)
            .tell(Side::New, Event::ConsentQuestion);
        let committed = inner.journal.commit(change, now).await?;
        inner.asking.note(&said.by, now);
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
        migration.phase = Phase::Cancelled(Ending::Declined);
        migration.ended = Some(inner.now());
        let change = Change::of(&migration).said(said).tell_both(Event::ConsentDeclined);
        inner.commit(&job, &turn, change).await?;
        inner.set_to_work(&job);
        Ok(())
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
            .all_jobs()
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
