//! One migration in memory: its record, whose turn it is to change it, and its worker.

use std::{
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ruma::{RoomId, events::room::member::MembershipState};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Migration, Phase, Side, run::Memberships};
use crate::{
    clock::SharedClock,
    consent::{Standing, Term},
};

#[derive(Debug)]
pub(super) struct Job {
    migration: Arc<Mutex<Migration>>,
    term: Term,
    turn: Arc<tokio::sync::Mutex<()>>,
    worker: Mutex<Option<Worker>>,
    /// Whether it was running when the bot last stopped, and has not been gone on with since.
    resumed: AtomicBool,
    /// What the run that goes on knows of the new account's memberships.
    memberships: Mutex<Option<watch::Sender<Memberships>>>,
}

/// The task that does what the migration's phase asks for.
#[derive(Debug)]
struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The right to change a migration. Whoever waits for it may be the person who takes their consent
/// back, so nobody holds it while somebody else's server is asked.
///
/// That is for the compiler to see to: it is not [`Send`], and so cannot be kept over an `await` by
/// anything that runs in a task. Only what is written down takes it along.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn {
    held: Held,
    not_over_an_await: PhantomData<*const ()>,
}

/// A turn that is kept while a change is written to the store.
#[derive(Debug)]
pub(super) struct Held {
    _guard: OwnedMutexGuard<()>,
    migration: Arc<Mutex<Migration>>,
}

impl Turn {
    /// For a write to the store, which waits for the disk, and for nothing else.
    pub(super) fn while_writing(self) -> Held {
        self.held
    }
}

impl Held {
    /// Replaces the record, now that it is written down.
    pub(super) fn set(&self, migration: Migration) {
        *self.migration.lock().unwrap_or_else(PoisonError::into_inner) = migration;
    }
}

impl Job {
    pub(super) fn new(migration: Migration) -> Self {
        Self {
            migration: Arc::new(Mutex::new(migration)),
            term: Term::default(),
            turn: Arc::default(),
            worker: Mutex::default(),
            resumed: AtomicBool::new(false),
            memberships: Mutex::default(),
        }
    }

    /// One that was stored by a process before this one.
    pub(super) fn stored(migration: Migration) -> Self {
        let was_running = *migration.phase.underlying() == Phase::Running;
        Self { resumed: AtomicBool::new(was_running), ..Self::new(migration) }
    }

    /// Whether a run goes on that a process before this one began: told once.
    pub(super) fn was_resumed(&self) -> bool {
        self.resumed.swap(false, Ordering::Relaxed)
    }

    /// The record as it is now.
    pub(super) fn migration(&self) -> Migration {
        self.migration.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something about the record as it is now, without a copy of it.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Migration) -> T) -> T {
        at(&self.migration.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A run begins, which is to know of memberships that are heard of.
    pub(super) fn tell_memberships_to(&self, run: watch::Sender<Memberships>) {
        *self.memberships.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    /// Tells the run that goes on, if there is one, of a membership of the new account.
    pub(super) fn learn(&self, room: &RoomId, membership: MembershipState) {
        let run = self.memberships.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = &*run {
            run.send_modify(|known| {
                known.insert(room.to_owned(), membership);
            });
        }
    }

    /// The proof that this side consented, if it did: it ends with [`end_consent`](Self::end_consent).
    pub(super) fn standing(&self, side: Side) -> Option<Standing> {
        Standing::of(&self.migration(), side, &self.term)
    }

    /// Nothing more is sent as either account: not even what only waits for its turn.
    pub(super) fn end_consent(&self) {
        self.term.end();
    }

    /// Waits until nobody else changes the migration. Held from reading the record that a decision
    /// is based on until the decision is written down.
    pub(super) async fn turn(&self) -> Turn {
        let guard = self.turn.clone().lock_owned().await;
        let held = Held { _guard: guard, migration: self.migration.clone() };
        Turn { held, not_over_an_await: PhantomData }
    }

    /// Puts a new worker in the place of the one before, which is told to stop and waited for by
    /// the new one: what it has on its way arrives first.
    pub(super) fn employ<F>(&self, work: impl FnOnce(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = worker.take();
        if let Some(before) = &before {
            before.stop.cancel();
        }
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // It may have panicked; its work is then done again.
                drop(before.task.await);
            }
            if !token.is_cancelled() {
                work(token).await;
            }
        });
        *worker = Some(Worker { stop, task });
    }

    /// Tells the worker to stop. It waits for what it has on its way before it does.
    pub(super) fn tell_to_stop(&self) {
        if let Some(worker) = &*self.worker.lock().unwrap_or_else(PoisonError::into_inner) {
            worker.stop.cancel();
        }
    }

    /// Stops the worker and waits for what it has on its way, but not for longer than `time`: then
    /// it is dropped. Whether it stopped by itself.
    pub(super) async fn rest_within(&self, clock: &SharedClock, time: Duration) -> bool {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut worker) = worker else { return true };
        worker.stop.cancel();
        tokio::select! {
            _ = &mut worker.task => true,
            () = clock.sleep(time) => {
                worker.task.abort();
                drop(worker.task.await);
                false
            }
        }
    }
}
