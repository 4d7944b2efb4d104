//! The job: survey, plan, run, report.
//!
//! [`Migrations`] holds every migration of one bot. Commands change it; a worker for each migration
//! does what its phase asks for; both write each change down before anyone is told of it, by a
//! [`Notice`].

mod asking;
mod awaited;
mod commands;
mod ended;
mod estimate;
mod event;
mod fast;
mod holdings;
mod job;
mod jobs;
mod journal;
mod plan;
mod progress;
mod pushed;
mod queries;
mod refusal;
mod report;
mod run;
#[cfg(test)]
mod scaling;
mod step;
mod survey;
#[cfg(test)]
mod tests;
mod work;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::{
    asking::Asking,
    job::{Job, Turn},
    jobs::Jobs,
    journal::{Change, Journal},
};
pub(crate) use self::{
    awaited::{Closed, Follower, closed_rooms},
    survey::{Survey, survey_filter},
};
pub use self::{
    commands::Which,
    event::{Event, Notice, SecretMessage, ToModerator, Unanswered},
    fast::{FastOffer, OpenedRoom, OpeningState},
    holdings::{Holding, PlannedHolding, Treatment},
    plan::{
        AfterJoin, Entry, Note, Omission, Pending, Plan, PlannedRoom, Reason, RoomLabel, Route,
        RouteKind,
    },
    progress::{Progress, Reading, Wait},
    refusal::Refusal,
    report::{HoldingOutcome, HoldingRow, Outcome, OutcomeKind, Report, ReportRow, StepResult},
};
pub use crate::record::{
    Access, Awaited, By, Consent, Ending, HoldingKind, Migration, MigrationId, Options, Party,
    Phase, PlanId, PlanNumber, RoomAddress, Side,
};
use crate::{
    access::Sessions,
    appservice::Appservices,
    clock::{SharedClock, Timestamp},
    consent::Vouchers,
    homeserver::Transport,
    store::{Store, StoreError},
};

/// Who said a command, and where: every change of a migration by a person has one.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who.
    pub by: OwnedUserId,
    /// In which direct message.
    pub room_id: OwnedRoomId,
    /// The message or reaction.
    pub event_id: OwnedEventId,
    /// When, as its sender's homeserver dates it.
    pub sent: Timestamp,
}

/// What an admin decides about all migrations.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the new account may take to answer.
    pub consent_expires: Duration,
    /// After how long without anything happening in it the plan calls a room quiet.
    pub quiet_after: Duration,
}

/// All migrations of one bot. Cheap to clone.
///
/// Commands that change something answer by a [`Notice`], stored in the same moment as the change,
/// together with the mark that `said.event_id` was [handled](Migrations::is_handled).
#[derive(Clone, Debug)]
pub struct Migrations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bot: OwnedUserId,
    settings: Settings,
    clock: SharedClock,
    transport: Transport,
    sessions: Sessions,
    journal: Journal,
    jobs: Jobs,
    /// One at a time begins or joins a migration, so that no account gets into two. Taken after the
    /// turn to change a migration, which may be long in coming: nobody else waits for that.
    entry: tokio::sync::Mutex<()>,
    progressed: watch::Sender<u64>,
    /// Counted up with each change of a migration.
    changed: watch::Sender<u64>,
    follower: OnceLock<Box<dyn awaited::Follower>>,
    /// The accounts that are being read, and since when.
    readings: Mutex<BTreeMap<MigrationId, (Timestamp, Reading)>>,
    asking: Asking,
    readers: Readers,
    vouchers: Vouchers,
}

/// How many accounts are read at once that move from one server to the same other one: a survey of
/// a large account takes tens of megabytes.
const READERS: usize = 8;

/// Whose turn it is to be read, for each two servers: one that does not answer holds up nobody who
/// has nothing to do with it.
#[derive(Debug)]
struct Readers {
    pairs: Mutex<HashMap<(OwnedServerName, OwnedServerName), Arc<Semaphore>>>,
    /// For those whose reading the process ended in before.
    alone: Arc<Semaphore>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { pairs: Mutex::default(), alone: Arc::new(Semaphore::new(1)) }
    }
}

impl Readers {
    /// Waits until no other account is read whose reading the process ended in before.
    async fn alone(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.alone.clone().acquire_owned().await.ok()
    }

    /// Waits until the accounts of `migration` may be read; they may be until the answer is dropped.
    /// Nothing when told to stop before.
    async fn turn(
        &self,
        migration: &Migration,
        stop: &CancellationToken,
    ) -> Option<OwnedSemaphorePermit> {
        let server = |party: &Party| party.user_id.server_name().to_owned();
        let servers = (server(&migration.old), server(&migration.new));
        let readers = {
            let mut readers = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
            readers.entry(servers).or_insert_with(|| Arc::new(Semaphore::new(READERS))).clone()
        };
        // It is never closed.
        stop.run_until_cancelled(readers.acquire_owned()).await?.ok()
    }
}

impl Migrations {
    /// Reads what is stored. Nothing is done before [`resume_all`](Self::resume_all).
    ///
    /// # Errors
    ///
    /// When a stored migration cannot be read.
    pub fn open(
        bot: OwnedUserId,
        settings: Settings,
        store: Store,
        transport: Transport,
        appservices: Appservices,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let journal = Journal::open(store.clone())?;
        let stored = journal.migrations()?;
        let asking = Asking::new(store.clone());
        Ok(Self(Arc::new(Inner {
            bot,
            settings,
            clock,
            sessions: Sessions::new(store, transport.clone(), appservices),
            transport,
            journal,
            jobs: Jobs::stored(stored),
            entry: tokio::sync::Mutex::default(),
            progressed: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            follower: OnceLock::new(),
            readings: Mutex::default(),
            asking,
            readers: Readers::default(),
            vouchers: Vouchers::default(),
        })))
    }

    /// Goes on with everything that is not over.
    pub fn resume_all(&self) {
        for job in self.0.all_jobs() {
            self.0.set_to_work(&job);
        }
    }

    /// Stops all work, and waits until no request is on its way any more. What is not over goes on
    /// with the next [`resume_all`](Self::resume_all), also that of the next process.
    pub async fn suspend_all(&self) {
        for job in self.0.all_jobs() {
            job.rest().await;
        }
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn all_jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.all()
    }

    fn job(&self, id: MigrationId) -> Option<Arc<Job>> {
        self.jobs.get(id)
    }

    fn add_job(&self, migration: Migration) -> Arc<Job> {
        self.jobs.add(Job::new(migration))
    }

    fn remove_job(&self, id: MigrationId) {
        self.jobs.remove(id);
    }

    /// Writes a change down, makes it known to whoever asks, and then has people told of it.
    async fn commit(&self, job: &Job, turn: &Turn, change: Change<'_>) -> Result<(), StoreError> {
        let migration = change.migration.clone();
        if matches!(migration.phase, Phase::Cancelled(_)) {
            job.end_consent();
        }
        let committed = self.journal.commit(change, self.now()).await?;
        job.set(turn, migration);
        self.changed.send_modify(|count| *count += 1);
        self.journal.hand_out(committed);
        Ok(())
    }

    fn tell_progress(&self) {
        self.progressed.send_modify(|count| *count += 1);
    }
}
