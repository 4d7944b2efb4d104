//! The job: survey, plan, run, report.
//!
//! [`Migrations`] holds every migration of one bot. Commands change it; a worker for each migration
//! does what its phase asks for; both write each change down before anyone is told of it, by a
//! [`Notice`].

mod asking;
mod awaited;
mod commands;
mod estimate;
mod event;
mod fast;
mod holdings;
mod job;
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

use futures_util::future::join_all;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::{
    asking::Asking,
    job::{Job, Turn},
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
    to_the_end::to_the_end,
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
    journal: Arc<Journal>,
    jobs: Mutex<BTreeMap<MigrationId, Arc<Job>>>,
    /// One at a time begins or joins a migration, so that no account gets into two. Taken before the
    /// turn to change a migration, and like that held over nothing but a write to the store.
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

/// How long what is on its way may take when the bot is told to stop.
const SUSPEND_FOR: Duration = Duration::from_secs(10);

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
        let journal = Arc::new(Journal::open(store.clone())?);
        let stored = journal.migrations()?;
        let asking = Asking::new(store.clone());
        let jobs = stored
            .into_iter()
            .map(|migration| (migration.id, Arc::new(Job::stored(migration))))
            .collect();
        Ok(Self(Arc::new(Inner {
            bot,
            settings,
            sessions: Sessions::new(store, transport.clone(), appservices, clock.clone()),
            transport,
            clock,
            journal,
            jobs: Mutex::new(jobs),
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
        self.0.sessions.begin_logouts();
        for job in self.0.all_jobs() {
            self.0.set_to_work(&job);
        }
    }

    /// Stops all work, and waits until no request is on its way any more; but not for somebody
    /// else's server without end. What is not over goes on with the next
    /// [`resume_all`](Self::resume_all), also that of the next process.
    pub async fn suspend_all(&self) {
        let jobs = self.0.all_jobs();
        // First all are told: each would else wait for those before it.
        for job in &jobs {
            job.tell_to_stop();
        }
        let rest = jobs.iter().map(|job| job.rest_within(&self.0.clock, SUSPEND_FOR));
        let (rested, ()) = tokio::join!(join_all(rest), self.0.sessions.stop_logouts());
        let dropped = rested.into_iter().filter(|rested| !rested).count();
        if dropped > 0 {
            tracing::warn!(dropped, "migrations were stopped in the middle of a request");
        }
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn all_jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn job(&self, id: MigrationId) -> Option<Arc<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn add_job(&self, migration: Migration) -> Arc<Job> {
        let job = Arc::new(Job::new(migration));
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(job.migration().id, job.clone());
        job
    }

    fn remove_job(&self, id: MigrationId) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Writes a change down, makes it known to whoever asks, and then has people told of it.
    fn commit(
        &self,
        job: &Job,
        turn: Turn,
        change: Change<'_>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.commit_then(job, turn, change, || {})
    }

    /// Commits a change, and has the migration's worker do what follows from it.
    fn commit_and_work(
        self: &Arc<Self>,
        job: &Arc<Job>,
        turn: Turn,
        change: Change<'_>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (inner, worked_on) = (self.clone(), job.clone());
        self.commit_then(job, turn, change, move || inner.set_to_work(&worked_on))
    }

    /// Takes the turn along: nobody else changes the migration before this is written down. The
    /// compiler lets nothing but this keep one.
    fn commit_then<Then: FnOnce() + Send + 'static>(
        &self,
        job: &Job,
        turn: Turn,
        change: Change<'_>,
        then: Then,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<Then> {
        let migration = change.migration.clone();
        // A consent that is taken back ends now, whatever else hangs.
        if matches!(migration.phase, Phase::Cancelled(_)) {
            job.end_consent();
        }
        let prepared = self.journal.prepare(change, self.now());
        let (held, changed) = (turn.while_writing(), self.changed.clone());
        let (journal, sessions) = (self.journal.clone(), self.sessions.clone());
        async move {
            let prepared = prepared?;
            to_the_end(async move {
                let committed = journal.write(prepared).await?;
                held.set(migration);
                changed.send_modify(|count| *count += 1);
                sessions.see_to_logouts();
                journal.hand_out(committed);
                then();
                Ok(())
            })
            .await
        }
    }

    fn tell_progress(&self) {
        self.progressed.send_modify(|count| *count += 1);
    }
}
