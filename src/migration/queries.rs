//! What can be asked about migrations.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError},
    time::Duration,
};

use ruma::{EventId, RoomId, UserId};
use tokio::sync::{mpsc, watch};

use super::{
    Access, FastOffer, Job, Migration, MigrationId, Migrations, Notice, Phase, Plan, Progress,
    Reading, Refusal, Report, Said, Side, Wait,
    estimate::{self, BUDGETS, Work},
    report::{Check, Findings},
    step::RoomRecord,
};
use crate::{
    homeserver::{Action, Budget, Kind},
    store::StoreError,
};

impl Migrations {
    /// The notices that are not delivered yet, in order, and from then on each new one. There is
    /// one reader at a time: the last to call this.
    ///
    /// # Errors
    ///
    /// When the stored ones cannot be read.
    pub fn notices(&self) -> Result<mpsc::UnboundedReceiver<Notice>, StoreError> {
        self.0.journal.notices()
    }

    /// A notice was delivered and is not to be given out again.
    ///
    /// # Errors
    ///
    /// When that cannot be written down.
    pub async fn delivered(&self, notice: u64) -> Result<(), StoreError> {
        self.0.journal.delivered(notice).await
    }

    /// Changes whenever the progress of some run does.
    pub fn progressed(&self) -> watch::Receiver<u64> {
        self.0.progressed.subscribe()
    }

    /// Whether this command was followed already, perhaps before a restart.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn is_handled(&self, event: &EventId) -> Result<bool, StoreError> {
        self.0.journal.is_handled(event)
    }

    /// Remembers that a command that changed nothing was answered.
    ///
    /// # Errors
    ///
    /// When that cannot be written down.
    pub async fn handled(&self, said: &Said) -> Result<(), StoreError> {
        self.0.journal.handled(said, self.0.now()).await
    }

    /// Whether this is too old to be obeyed, whatever it says: older than the last `forget` of its
    /// sender, or than what the sender said so long ago that it is not known any more what of it
    /// [was followed](Self::is_handled).
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn is_old(&self, said: &Said) -> Result<bool, StoreError> {
        self.0.journal.is_old(said, self.0.now())
    }

    /// A number for [`settle`](Self::settle), greater than all before.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn next_mark(&self) -> Result<u64, StoreError> {
        self.0.journal.next_mark()
    }

    /// What the bot's homeserver told before it told what this number was taken for is dealt with,
    /// and is not told again. So it need not be known event by event any longer.
    ///
    /// # Errors
    ///
    /// When that cannot be written down.
    pub async fn settle(&self, before: u64) -> Result<(), StoreError> {
        self.0.journal.settle(before, self.0.now()).await
    }

    /// The migration that the account takes part in, or else the last one that it took part in,
    /// with its side. A request that it did not answer is not a part.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`].
    pub fn of(&self, user: &UserId) -> Result<(Migration, Side), Refusal> {
        self.0
            .jobs
            .of(user)
            .into_iter()
            .map(|job| job.migration())
            .filter_map(|migration| {
                let side = migration.side_of(user)?;
                migration.party(side).consent.is_some().then_some((migration, side))
            })
            .max_by_key(|(migration, _)| (!migration.phase.is_over(), migration.id))
            .ok_or(Refusal::NoMigration)
    }

    /// A migration by its number.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMigration`] when it was forgotten.
    pub fn get(&self, id: MigrationId) -> Result<Migration, Refusal> {
        Ok(self.0.job(id).ok_or(Refusal::NoMigration)?.migration())
    }

    /// Whether the bot may act as `user` without a `login`, once `user` consents.
    pub fn needs_no_login(&self, user: &UserId) -> bool {
        self.0.sessions.covers(user)
    }

    /// Requests that wait for this account's answer. Several old accounts may have asked.
    pub fn requests_to(&self, new: &UserId) -> Vec<Migration> {
        self.0
            .jobs
            .of(new)
            .into_iter()
            .map(|job| job.migration())
            .filter(|migration| {
                migration.new.user_id == new && migration.phase == Phase::AwaitingConsent
            })
            .collect()
    }

    /// Whether moderators of this room were asked to let somebody in, and may still do so.
    pub fn awaits_moderators_of(&self, room: &RoomId) -> bool {
        let awaits = |migration: &Migration| {
            !migration.phase.is_over() && migration.awaited.contains_key(room)
        };
        self.0.all_jobs().iter().any(|job| job.look(awaits))
    }

    /// How many migrations are in each phase.
    pub fn phases(&self) -> Vec<(&'static str, u32)> {
        let phases = Phase::NAMES.map(|name| {
            let in_it = |job: &&Arc<Job>| job.look(|migration| migration.phase.name() == name);
            (name, self.0.all_jobs().iter().filter(in_it).count())
        });
        phases.map(|(name, number)| (name, number.try_into().unwrap_or(u32::MAX))).into()
    }

    /// The plan as last made, with `skip` and `include` applied.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoPlan`] before the first survey.
    pub fn current_plan(&self, id: MigrationId) -> Result<Plan, Refusal> {
        let migration = self.get(id)?;
        // The record is read before the plan: were another made in between, this one would have the
        // number of the one before, and nobody could say `go` to it.
        let plan = self.0.journal.plan(id)?.ok_or(Refusal::NoPlan)?;
        let mut plan = plan.with(&migration.options);
        plan.number = migration.plan;
        plan.takes = self.0.takes(&migration, &Work::of(&plan, &migration, &HashMap::new()));
        let is_chosen = plan.rooms.iter().any(|room| room.opens);
        if migration.phase == Phase::AwaitingGo && !is_chosen {
            plan.takes_with_fast = self.0.fast_offer(&migration)?.map(|offer| offer.takes);
        }
        Ok(plan)
    }

    /// The migrations whose accounts are being read, and how far that is.
    pub fn readings(&self) -> BTreeMap<MigrationId, Reading> {
        let now = self.0.now();
        let readings = self.0.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let told = readings.iter().map(|(id, (since, reading))| {
            let elapsed = Duration::try_from(now.duration_since(*since)).unwrap_or_default();
            (*id, Reading { elapsed, ..*reading })
        });
        told.collect()
    }

    /// How the run stands.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoPlan`] before the first survey.
    pub fn progress(&self, id: MigrationId) -> Result<Progress, Refusal> {
        let migration = self.get(id)?;
        let plan = self.current_plan(id)?;
        let records = self.0.records(&migration)?;
        let check = Check::Nothing(None);
        let report = self.0.findings(&migration, &plan, &check, &records)?.report();
        let left = || self.0.takes(&migration, &Work::of(&plan, &migration, &records));
        let next = estimate::next(&plan, &migration, &records);
        let mut progress = Progress {
            left: if migration.phase == Phase::Running { left() } else { None },
            elapsed: migration
                .went
                .and_then(|went| Duration::try_from(self.0.now().duration_since(went)).ok())
                .unwrap_or_default(),
            waits: self.waits(&migration, &next),
            ..Progress::default()
        };
        progress.count(&report);
        Ok(progress)
    }

    /// The report: as last checked when the migration is over, else of what was done so far.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoReport`] when nothing was ever begun.
    pub fn current_report(&self, id: MigrationId) -> Result<Report, Refusal> {
        let migration = self.get(id)?;
        // Of a plan that nobody said `go` to there is nothing to report.
        if (migration.phase.is_over() || !migration.may_run())
            && let Some(report) = self.0.journal.report(id)?
        {
            return Ok(report);
        }
        if migration.went.is_none() {
            return Err(Refusal::NoReport);
        }
        self.report_so_far(&migration)
    }

    fn report_so_far(&self, migration: &Migration) -> Result<Report, Refusal> {
        let plan = self.current_plan(migration.id)?;
        Ok(self.0.report(migration, &plan, &Check::Nothing(None))?)
    }

    /// What the homeservers make a migration wait for. `next` is what its rooms are to be brought on
    /// by: of these, only some stand in line at a time.
    fn waits(&self, migration: &Migration, next: &HashMap<Action, usize>) -> Vec<Wait> {
        let now = self.0.now();
        let pacing = self.0.transport.pacing();
        let sides = [Side::Old, Side::New].into_iter();
        let mut waits: Vec<_> = sides
            .flat_map(|side| {
                let waits = pacing.waits_of(&migration.party(side).user_id);
                waits.into_iter().map(move |wait| (side, wait))
            })
            .filter_map(|(side, wait)| {
                Some(Wait {
                    side,
                    action: wait.action,
                    remaining: Duration::try_from(wait.until.duration_since(now)).ok()?,
                    reason: wait.reason,
                    waiting: wait.waiting.max(next.get(&wait.action).copied().unwrap_or(0)),
                    interval: wait.interval,
                })
            })
            .collect();
        // Where it cannot be told how long it takes, it may take longest.
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.in_all().unwrap_or(Duration::MAX)));
        waits
    }
}

impl super::Inner {
    /// How long work takes, as homeservers' limits are known right now; nothing to say of none.
    fn takes(&self, migration: &Migration, work: &Work) -> Option<Duration> {
        (work.rooms > 0).then(|| estimate::time(work, self.budgets_of(migration)))
    }

    /// What `fast` would do, where that is worth it.
    pub(super) fn fast_offer(&self, migration: &Migration) -> Result<Option<FastOffer>, Refusal> {
        if !migration.old.access.is_given() || !migration.new.access.is_given() {
            return Ok(None);
        }
        let plan = self.journal.plan(migration.id)?.ok_or(Refusal::NoPlan)?;
        let plan = plan.with(&migration.options);
        let records = self.records(migration)?;
        let offer = estimate::fast_offer(&plan, migration, &records, self.budgets_of(migration));
        Ok(Some(offer).filter(FastOffer::is_worth_it))
    }

    /// What each side's homeserver allows, as far as that is known right now.
    fn budgets_of(&self, migration: &Migration) -> impl Fn(Side, Kind) -> Option<Budget> {
        let budget = |side, kind| self.budget(migration, side, kind);
        let known: HashMap<_, _> =
            BUDGETS.into_iter().map(|(side, kind)| ((side, kind), budget(side, kind))).collect();
        move |side, kind| known.get(&(side, kind)).copied().flatten()
    }

    fn budget(&self, migration: &Migration, side: Side, kind: Kind) -> Option<Budget> {
        let servers = |side| migration.party(side).user_id.server_name();
        // Invitations are counted by who is invited.
        let of = match kind {
            Kind::InvitesOf | Kind::InvitesFromAfar => &migration.new.user_id,
            _ => &migration.party(side).user_id,
        };
        let is_far = servers(Side::Old) != servers(Side::New);
        let party = migration.party(side);
        // Nothing exempts from the limit on invitations that come over federation.
        if kind != Kind::InvitesFromAfar
            && party.access == Access::Masquerade
            && self.sessions.exempts(&party.user_id)
        {
            return None;
        }
        let pacing = self.transport.pacing();
        (kind != Kind::InvitesFromAfar || is_far)
            .then(|| pacing.budget(servers(side), kind, of))
            .flatten()
    }

    /// Writes a report of what is recorded, held against `check`.
    pub(super) fn report(
        &self,
        migration: &Migration,
        plan: &Plan,
        check: &Check,
    ) -> Result<Report, StoreError> {
        let records = self.records(migration)?;
        Ok(self.findings(migration, plan, check, &records)?.report())
    }

    /// What was done in the rooms of a migration, by room.
    pub(super) fn records(
        &self,
        migration: &Migration,
    ) -> Result<HashMap<String, RoomRecord>, StoreError> {
        Ok(self.journal.rooms(migration.id)?.into_iter().collect())
    }

    /// What is recorded, beside what `check` found.
    pub(super) fn findings<'a>(
        &self,
        migration: &'a Migration,
        plan: &'a Plan,
        check: &'a Check,
        records: &'a HashMap<String, RoomRecord>,
    ) -> Result<Findings<'a>, StoreError> {
        Ok(Findings {
            migration,
            plan,
            records,
            direct_chats: self.journal.direct_chats(migration.id)?,
            holdings: self.journal.holdings(migration.id)?,
            openings: self.journal.openings(migration.id)?,
            check,
            now: self.now(),
        })
    }
}
