//! One migration in memory: its record, whose turn it is to change it, and its worker.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use ruma::{RoomId, events::room::member::MembershipState};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Migration, Phase, Side, run::Memberships};
use crate::consent::{Standing, Term};

#[derive(Debug)]
pub(super) struct Job {
    migration: Mutex<Migration>,
    /// That of the consent that was given last.
    term: Mutex<Term>,
    turn: std::sync::Arc<tokio::sync::Mutex<()>>,
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

/// The right to change a migration.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedMutexGuard<()>);

impl Job {
    pub(super) fn new(migration: Migration) -> Self {
        Self {
            migration: Mutex::new(migration),
            term: Mutex::default(),
            turn: std::sync::Arc::default(),
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
        let term = self.term.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Standing::of(&self.migration(), side, &term)
    }

    /// Nothing more is sent as either account: not even what only waits for its turn.
    pub(super) fn end_consent(&self) {
        self.term.lock().unwrap_or_else(PoisonError::into_inner).end();
    }

    /// Consent is asked for anew, once it is written down that the one before is over. Proofs that
    /// were made with that one stay ended.
    pub(super) fn begin_consent(&self, _turn: &Turn) {
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = Term::default();
    }

    /// Waits until nobody else changes the migration. Held from reading the record that a decision
    /// is based on until the decision is written down.
    pub(super) async fn turn(&self) -> Turn {
        Turn(self.turn.clone().lock_owned().await)
    }

    /// Replaces the record, once it is written down.
    pub(super) fn set(&self, _turn: &Turn, migration: Migration) {
        *self.migration.lock().unwrap_or_else(PoisonError::into_inner) = migration;
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
                // One that panicked was begun again there.
                drop(before.task.await);
            }
            if !token.is_cancelled() {
                work(token).await;
            }
        });
        *worker = Some(Worker { stop, task });
    }

    /// Stops the worker and waits for what it has on its way.
    pub(super) async fn rest(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            worker.stop.cancel();
            drop(worker.task.await);
        }
    }
}
