//! Sessions of the bot's own that are to end: a list in the store, which a lane of its own works off.
//!
//! Nobody waits for it. A change by which a session is no longer needed puts the session on the list
//! and is told at once; a homeserver that does not let it be logged out is asked again, less and
//! less often, and given up in the end. Only what the bot made itself ever gets here: a token that a
//! person gave may be that of the client in their hand.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{Session, device::Devices};
use crate::{
    clock::{SharedClock, Timestamp},
    homeserver::{Failure, Transport},
    secret::Secret,
    store::{Batch, Store, StoreError, Table},
};

/// How many are logged out at a time, and how many of them at one homeserver: one that does not
/// answer holds up few others.
const AT_ONCE: usize = 16;
const AT_ONCE_EACH: usize = 2;
/// How long one try may take.
const TRY_FOR: Duration = Duration::from_secs(30);
/// Pauses between tries, and after what time a session is given up.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A session that is to end, as stored. Its token is stored apart, as a secret. It may outlive
/// `forget`, and so names nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Logout {
    base_url: Url,
    /// What the keys of its device are kept by. Their session is gone when they go.
    device: String,
    since: Timestamp,
}

/// What keys in the table begin with.
const KEY: &str = "session-";

/// One of those on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogoutId(u64);

/// The list, and the lane. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Logouts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    table: Table<Logout>,
    transport: Transport,
    devices: Arc<Devices>,
    clock: SharedClock,
    /// Whether some were put on the list that the lane may not have seen.
    added: AtomicBool,
    look: Notify,
    /// Counted up with each that is off the list.
    ended: watch::Sender<u64>,
    lane: Mutex<Option<Lane>>,
    /// Those that are being put on the list by nobody who waits for it.
    adding: TaskTracker,
}

#[derive(Debug)]
struct Lane {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What became of a try.
enum Tried {
    /// It is logged out, or was already.
    Done,
    /// The homeserver says no, and would say so again.
    Refused(Failure),
    /// It may work later.
    NotNow(Failure),
}

/// When one is tried next.
#[derive(Debug)]
struct Course {
    logout: Logout,
    next: Timestamp,
    pause: Duration,
    is_tried: bool,
}

impl Logouts {
    pub(super) fn new(
        store: Store,
        transport: Transport,
        devices: Arc<Devices>,
        clock: SharedClock,
    ) -> Self {
        Self(Arc::new(Inner {
            table: store.table("logout"),
            store,
            transport,
            devices,
            clock,
            added: AtomicBool::new(false),
            look: Notify::new(),
            ended: watch::Sender::new(0),
            lane: Mutex::default(),
            adding: TaskTracker::new(),
        }))
    }

    /// Adds to `batch` that `session`, which the bot made, is to end, and with it the keys that are
    /// kept by the name of `device`. Once that is written down, the lane is to [look](Self::look).
    pub(super) fn add(
        &self,
        batch: &mut Batch,
        session: &Session,
        device: &str,
    ) -> Result<LogoutId, StoreError> {
        debug_assert!(session.made_by_bot, "a token of a person's own is never logged out");
        let id = LogoutId(self.0.store.next_id()?);
        let (device, since) = (device.to_owned(), self.0.clock.now());
        let logout = Logout { base_url: session.base_url.clone(), device, since };
        batch.put(&self.0.table, &id.key(), &logout)?;
        batch.put_secret(&id.secret_key(), &session.token);
        self.0.added.store(true, Ordering::SeqCst);
        Ok(id)
    }

    /// Has the lane look at what was put on the list.
    pub(super) fn look(&self) {
        if self.0.added.swap(false, Ordering::SeqCst) {
            self.0.look.notify_one();
        }
    }

    /// Ends a session that was never kept, and that nobody waits for.
    pub(super) fn end(&self, session: &Session, device: &str) {
        let mut batch = Batch::new();
        if let Err(error) = self.add(&mut batch, session, device) {
            tracing::error!(%error, "a session that is not needed is not logged out");
            return;
        }
        let logouts = self.clone();
        self.0.adding.spawn(async move {
            match logouts.0.store.commit(batch).await {
                Ok(()) => logouts.look(),
                Err(error) => tracing::error!(%error, "a session is not logged out"),
            }
        });
    }

    /// Begins to work the list off, if that does not go on.
    pub(super) fn begin(&self) {
        let mut lane = self.0.lane.lock().unwrap_or_else(PoisonError::into_inner);
        if lane.as_ref().is_some_and(|lane| !lane.task.is_finished()) {
            return;
        }
        let (inner, stop) = (self.0.clone(), CancellationToken::new());
        let token = stop.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = inner.work(&token).await {
                tracing::error!(%error, "sessions are no longer logged out");
            }
        });
        *lane = Some(Lane { stop, task });
    }

    /// Stops, at once: what is on the list stays there. Waits only for what is to be put on it.
    pub(super) async fn stop(&self) {
        self.0.adding.close();
        self.0.adding.wait().await;
        self.0.adding.reopen();
        let lane = self.0.lane.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lane) = lane {
            lane.stop.cancel();
            drop(lane.task.await);
        }
    }

    /// Waits for these to be off the list, for at most `time`. Those that are not.
    pub(super) async fn left_after(
        &self,
        ids: Vec<LogoutId>,
        time: Duration,
    ) -> Result<Vec<LogoutId>, StoreError> {
        let mut ended = self.0.ended.subscribe();
        let mut timeout = self.0.clock.sleep(time);
        let mut left = ids;
        loop {
            ended.mark_unchanged();
            let mut still = Vec::new();
            for id in left {
                if self.0.table.contains(&id.key())? {
                    still.push(id);
                }
            }
            left = still;
            if left.is_empty() {
                return Ok(left);
            }
            tokio::select! {
                _ = ended.changed() => {}
                () = &mut timeout => return Ok(left),
            }
        }
    }
}

impl LogoutId {
    fn key(self) -> String {
        // Not a bare number, which the store would take for that of a migration, and forget with it.
        format!("{KEY}{:020}", self.0)
    }

    fn secret_key(self) -> String {
        format!("logout/{}", self.key())
    }
}

impl Inner {
    async fn work(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut courses = BTreeMap::new();
        let mut tries = JoinSet::new();
        loop {
            self.read(&mut courses)?;
            let due = self.start_due(&mut courses, &mut tries)?;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.look.notified() => {}
                () = self.wait(due) => {}
                Some(tried) = tries.join_next() => match tried {
                    Ok((id, tried)) => self.note(&mut courses, id, tried).await?,
                    Err(error) => tracing::error!(%error, "a session was not logged out"),
                }
            }
        }
    }

    /// Takes in what is new on the list.
    fn read(&self, courses: &mut BTreeMap<LogoutId, Course>) -> Result<(), StoreError> {
        let now = self.clock.now();
        for record in self.table.iter() {
            let (key, logout) = record?;
            let number = key.strip_prefix(KEY).and_then(|number| number.parse().ok());
            let Some(number) = number else { continue };
            courses.entry(LogoutId(number)).or_insert_with(|| Course {
                logout,
                next: now,
                pause: FIRST_PAUSE,
                is_tried: false,
            });
        }
        Ok(())
    }

    /// Begins with those whose time it is, as far as others leave room for it. How long until the
    /// next one's time comes, where that is not for another to end.
    fn start_due(
        &self,
        courses: &mut BTreeMap<LogoutId, Course>,
        tries: &mut JoinSet<(LogoutId, Tried)>,
    ) -> Result<Option<Duration>, StoreError> {
        let now = self.clock.now();
        let mut at_each: HashMap<Url, usize> = HashMap::new();
        for course in courses.values().filter(|course| course.is_tried) {
            *at_each.entry(course.logout.base_url.clone()).or_default() += 1;
        }
        let mut idle: Vec<_> = courses.iter_mut().filter(|(_, course)| !course.is_tried).collect();
        idle.sort_by_key(|(id, course)| (course.next, **id));
        for (id, course) in idle {
            if course.next > now {
                return Ok(Some(course.next.duration_since(now).unsigned_abs()));
            }
            let at_this = at_each.entry(course.logout.base_url.clone()).or_default();
            if tries.len() >= AT_ONCE || *at_this >= AT_ONCE_EACH {
                continue;
            }
            *at_this += 1;
            course.is_tried = true;
            let (id, token) = (*id, self.store.secret(&id.secret_key())?);
            let (transport, clock) = (self.transport.clone(), self.clock.clone());
            let (devices, logout) = (self.devices.clone(), course.logout.clone());
            let store = self.store.clone();
            tries.spawn(async move {
                // First what is kept here. A later session of the same device has use for it.
                if !matches!(store.secret(&logout.device), Ok(Some(_))) {
                    devices.remove(&logout.device).await;
                }
                let Some(token) = token else { return (id, Tried::Done) };
                (id, log_out(&transport, &clock, &logout.base_url, &token).await)
            });
        }
        Ok(None)
    }

    async fn wait(&self, due: Option<Duration>) {
        match due {
            Some(due) => self.clock.sleep(due).await,
            None => std::future::pending().await,
        }
    }

    async fn note(
        &self,
        courses: &mut BTreeMap<LogoutId, Course>,
        id: LogoutId,
        tried: Tried,
    ) -> Result<(), StoreError> {
        let Some(course) = courses.get_mut(&id) else { return Ok(()) };
        let now = self.clock.now();
        let server = course.logout.base_url.as_str();
        match tried {
            Tried::Done => tracing::debug!(server, "a session is logged out"),
            Tried::Refused(failure) => tracing::warn!(server, %failure, "no logout"),
            Tried::NotNow(failure) if now.duration_since(course.logout.since) >= GIVE_UP_AFTER => {
                tracing::warn!(server, %failure, "a session is not logged out, and given up");
            }
            Tried::NotNow(failure) => {
                let told = match failure {
                    Failure::Limited { retry_after } => retry_after.unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                tracing::debug!(server, %failure, "no logout yet");
                course.next = now + course.pause.max(told.min(LONGEST_PAUSE));
                course.pause = (course.pause * 2).min(LONGEST_PAUSE);
                course.is_tried = false;
                return Ok(());
            }
        }
        courses.remove(&id);
        let mut batch = Batch::new();
        batch.remove(&self.table, &id.key());
        batch.remove_secret(&id.secret_key());
        self.store.commit(batch).await?;
        self.ended.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// One try, which ends whatever the homeserver does.
async fn log_out(
    transport: &Transport,
    clock: &SharedClock,
    base_url: &Url,
    token: &Secret,
) -> Tried {
    let logged_out = async {
        let server = transport.server_at(base_url).await?;
        transport.log_out(&server, token).await
    };
    let logged_out = tokio::select! {
        logged_out = logged_out => logged_out,
        () = clock.sleep(TRY_FOR) => Err(Failure::too_late(base_url)),
    };
    match logged_out {
        Ok(()) => Tried::Done,
        Err(failure) if failure.is_retryable() => Tried::NotNow(failure),
        Err(failure) => Tried::Refused(failure),
    }
}

#[cfg(test)]
mod tests;
