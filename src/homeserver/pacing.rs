//! Sending as fast as the homeservers' rate limits allow, and no faster.
//!
//! Homeservers keep a token bucket for each account and [`Kind`] of action, and some for each room.
//! What they answer tells how fast tokens come ([`bucket`]), or has to be guessed ([`guess`]); from
//! then on requests go out when their tokens are there ([`budgets`]), also after a restart
//! ([`ledger`]). A homeserver that denied a request did not use up a token, but held it for half a
//! second.
//!
//! Every account has a [`lane`] for each [`Action`], in which requests go in the order in which they
//! came, several at a time. A wait in one lane holds up another only if both draw from the budget
//! that is empty. How many are on their way at a time, of all accounts together, is as many as the
//! homeserver can work on ([`window`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rand::{RngCore as _, rngs::StdRng};
use ruma::{OwnedServerName, OwnedUserId, RoomId, ServerName, UserId, api::error::ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) use self::retries::Retries;
pub use self::{action::Action, kind::Kind};
use self::{
    bucket::between,
    budgets::{Budgets, Draws, Key, hash},
    doubt::Verdict,
    held::{Held, Span},
    lane::{Lane, Line, Ticket},
    ledger::Ledger,
    window::Window,
};
use super::Failure;
use crate::{
    clock::SharedClock,
    measure,
    store::{Store, StoreError},
};

mod action;
mod bucket;
mod budgets;
mod doubt;
mod guess;
mod held;
mod kind;
mod lane;
mod ledger;
mod retries;
#[cfg(test)]
mod tests;
mod window;

/// How long to wait when the homeserver limits without saying for how long.
const UNTOLD_WAIT: Duration = Duration::from_secs(5);
/// Longer waits are asked about again after this time: limits may have been lifted meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Keeps a homeserver that says "after 0 ms" from being asked in a tight circle.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// How long Synapse holds a request that it denies. What it says of the next token counts from
/// before that.
const HELD_FOR: Duration = Duration::from_millis(500);
/// How often in a row invites are answered with the invited server's limit before one counts as
/// failed. With pauses of up to ten minutes, these are hours.
const MOST_INVITEE_WAITS: u32 = 16;
/// How often in a row one request has to be limited before that counts as a limit of its room.
const DENIALS_OF_ROOM: u32 = 3;
/// How often one request about a room is limited before it fails. What a homeserver says of the next
/// token is true, give or take what others do meanwhile, so a few times are enough.
const MOST_DENIALS: u32 = 32;
/// Waits that are shorter are not worth keeping.
const KEPT_FROM: Duration = Duration::from_secs(2);
/// A lane without requests is forgotten after this time.
const LANE_KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);
/// How many requests may be on their way to one homeserver, of all migrations together. Each has a
/// connection of its own, and systems let a process have about a thousand.
const MOST_CONNECTIONS: usize = 400;

/// What is to be done: an action, and the others whose budgets it draws from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    pub(super) action: Action,
    /// The room that is joined or invited into.
    pub(super) room: Option<&'a RoomId>,
    /// Who is invited.
    pub(super) invited: Option<&'a UserId>,
    /// Whether it waits for tokens; if not, it fails as limited.
    pub(super) patient: bool,
    /// For how long it is tried again.
    pub(super) persistence: Persistence,
}

impl From<Action> for Errand<'_> {
    fn from(action: Action) -> Self {
        let persistence = match action {
            Action::CreateRoom => Persistence::Once,
            _ => Persistence::AFewTimes,
        };
        Self { action, room: None, invited: None, patient: true, persistence }
    }
}

/// For how long what fails for now is sent again. A wait for a limit is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Not at all: it is not to be sent twice, or whoever sends it sees to that.
    Once,
    /// A few times.
    AFewTimes,
    /// Also while its homeserver is away for hours.
    Outlasting,
}

/// Why requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WaitReason {
    /// The homeserver cannot be reached, or failed; it is tried again.
    Retry,
    /// The account's homeserver limits how often this may be asked.
    RateLimit,
    /// The invited account's homeserver takes no more invites for now, or cannot be reached by the
    /// inviting one; the two cannot be told apart.
    InviteeServer,
}

/// A wait that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Which requests wait.
    pub action: Action,
    /// When the next one is sent.
    pub until: Timestamp,
    /// Why they wait.
    pub reason: WaitReason,
    /// How many of them wait.
    pub waiting: usize,
    /// How long from one to the next, as far as that is known.
    pub interval: Option<Duration>,
}

/// A limit of a homeserver, and how it stands with one account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// How long from one token to the next.
    pub interval: Duration,
    /// How many tokens there are at most.
    pub burst: u32,
    /// How long until the next token, where a limit was met; negative where one came since.
    pub next_in: Option<SignedDuration>,
}

/// An action, and who is invited.
type LaneKey = (Action, Option<OwnedUserId>);

/// The homeserver that requests go to, what they do, and the homeserver that has to answer to that.
type WindowKey = (OwnedServerName, Action, OwnedServerName);

/// All lanes and budgets.
#[derive(Debug)]
pub struct Pacing {
    clock: SharedClock,
    rng: Mutex<StdRng>,
    /// The pause before the first of the retries.
    retry_after: Duration,
    lanes: Mutex<HashMap<OwnedUserId, HashMap<LaneKey, Arc<Lane>>>>,
    /// Those that lanes have.
    windows: Mutex<HashMap<WindowKey, Weak<Window>>>,
    /// When lanes that were not used were last forgotten.
    cleared: Mutex<Timestamp>,
    budgets: Mutex<Budgets>,
    /// How long invitations waited for the invited account's homeserver, until that is taken.
    held: Mutex<HashMap<OwnedUserId, Held>>,
    connections: Mutex<HashMap<OwnedServerName, Arc<Semaphore>>>,
    ledger: OnceLock<Ledger>,
}

impl Pacing {
    pub(super) fn new(clock: SharedClock, rng: StdRng, retry_after: Duration) -> Self {
        Self {
            cleared: Mutex::new(clock.now()),
            clock,
            rng: Mutex::new(rng),
            retry_after,
            lanes: Mutex::default(),
            windows: Mutex::default(),
            budgets: Mutex::default(),
            held: Mutex::default(),
            connections: Mutex::default(),
            ledger: OnceLock::new(),
        }
    }

    /// Keeps in `store` what is learned of homeservers' limits, and takes in what was kept there.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn keep_in(&self, store: &Store) -> Result<(), StoreError> {
        let (ledger, recalled) = Ledger::open(store, self.clock.now()).await?;
        for (key, known) in recalled {
            self.budgets().recall(key, &known);
        }
        // A second store would change nothing.
        let _ = self.ledger.set(ledger);
        Ok(())
    }

    /// Every wait of an account that is going on.
    pub fn waits_of(&self, account: &UserId) -> Vec<Wait> {
        let now = self.clock.now();
        let lanes = lock(&self.lanes).get(account).cloned().unwrap_or_default();
        // Before the budgets are locked: a lane that starts a request locks them after its line.
        let lines: Vec<_> = lanes.into_iter().map(|(key, lane)| (key, lane.line(), lane)).collect();
        let budgets = self.budgets();
        let wait = |((action, _), line, lane): (LaneKey, Line, Arc<Lane>)| {
            let limit = if line.waiting > 0 { budgets.wait(&lane.draws, now) } else { None };
            let (until, reason) = limit.or(line.aside)?;
            let interval = budgets.interval(&lane.draws);
            let waiting = line.waiting.max(1);
            Some(Wait { action, until, reason, waiting, interval })
        };
        lines.into_iter().filter_map(wait).collect()
    }

    /// How long invitations of an account waited for its own homeserver, which lets in only so many
    /// from afar, since this was last asked.
    pub fn take_held(&self, invited: &UserId) -> Duration {
        lock(&self.held).get_mut(invited).map(Held::take).unwrap_or_default()
    }

    /// What `server` allows an account, as far as that is known, or else what is documented; `None`
    /// for what is not limited, and where the account was let do more than is documented.
    pub fn budget(&self, server: &ServerName, kind: Kind, account: &UserId) -> Option<Budget> {
        let (interval, burst) = kind.documented()?;
        let budgets = self.budgets();
        let rate = budgets.rate(server, kind);
        let now = self.clock.now();
        if rate.is_none() && budgets.exceeds((server, kind, account), now, (interval, burst)) {
            return None;
        }
        Some(Budget {
            interval: rate.map_or(interval, |rate| rate.interval),
            burst: rate.and_then(|rate| rate.burst).unwrap_or(burst),
            next_in: budgets.next(server, kind, account, now).map(|next| next.duration_since(now)),
        })
    }

    /// Forgets what is known of an account.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn forget(&self, account: &UserId) -> Result<(), StoreError> {
        self.budgets().forget(account);
        lock(&self.held).remove(account);
        match self.ledger.get() {
            Some(ledger) => ledger.forget(account).await,
            None => Ok(()),
        }
    }

    /// Runs `attempt` when its turn comes, and again after each wait and for each retry.
    pub(super) async fn run<T, F>(
        &self,
        account: &UserId,
        errand: Errand<'_>,
        stop: &CancellationToken,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let action = errand.action;
        let lane = self.lane(account, &errand);
        let mut ticket = Ticket::take(lane.clone(), Draws::of_room(account, &errand));
        let mut retries = self.retries(errand.persistence);
        loop {
            let turn = ticket.turn(self, errand.patient, stop).await;
            self.hold(&errand, std::mem::take(&mut ticket.held));
            turn?;
            let limited_for = std::mem::take(&mut ticket.limited_for);
            if !limited_for.is_zero() {
                measure::wait(action.name(), limited_for);
            }
            let sent = self.clock.now();
            let result = attempt().await;
            let now = self.clock.now();
            if let Some(slot) = &ticket.slot {
                match &result {
                    Ok(_) => slot.answered(now),
                    Err(failure) if failure.is_overload() => match &ticket.room {
                        Some(room) => slot.overloaded_in(hash(room)),
                        None => slot.overloaded(),
                    },
                    Err(_) => {}
                }
            }
            let failure = match result {
                Ok(answer) => {
                    let learned =
                        self.budgets().passed(&lane.draws, ticket.room.as_ref(), sent, now);
                    self.hold(&errand, std::mem::take(&mut ticket.doubted));
                    drop(ticket);
                    Box::pin(self.keep(learned, now)).await;
                    return Ok(answer);
                }
                Err(Failure::Stopped) => return Err(Failure::Stopped),
                Err(failure) => failure,
            };
            if let Failure::Limited { retry_after } = failure {
                let wait = retry_after.unwrap_or(UNTOLD_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT);
                tracing::debug!(%account, ?action, ?wait, "rate limited");
                let next = counted_from(sent, now) + wait;
                let empty = self.denied(&lane, &mut ticket, sent, next);
                if !errand.patient {
                    return Err(failure);
                }
                if ticket.room.is_some() && ticket.denied > MOST_DENIALS {
                    return Err(Failure::endlessly_limited());
                }
                ticket.go_back();
                Box::pin(self.keep(empty.filter(|_| wait >= KEPT_FROM), now)).await;
                continue;
            }
            match self.verdict(&lane, &mut ticket, &failure, sent, now) {
                Some(Verdict::Limit) => {
                    tracing::debug!(%account, "the invited account's server takes no invite now");
                    ticket.go_back();
                    continue;
                }
                Some(Verdict::Doubt(until)) => {
                    let aside = (until, WaitReason::InviteeServer);
                    ticket.set_aside(aside, self, stop).await?;
                    continue;
                }
                Some(Verdict::Aside(until)) => {
                    ticket.set_aside((until, WaitReason::Retry), self, stop).await?;
                    continue;
                }
                Some(Verdict::Room) => return Err(failure),
                None => {}
            }
            let Some(delay) = retries.pause_after(&failure, now) else { return Err(failure) };
            tracing::debug!(%account, ?action, ?delay, %failure, "to be tried again");
            ticket.set_aside((now + delay, WaitReason::Retry), self, stop).await?;
        }
    }

    /// The homeserver limited a request. Where it does so again and again with the same one, and
    /// nothing else was tried meanwhile, it is taken for a limit of that room, so that others are.
    fn denied(
        &self,
        lane: &Lane,
        ticket: &mut Ticket,
        sent: Timestamp,
        next: Timestamp,
    ) -> Option<Key> {
        ticket.denied += 1;
        let mut budgets = self.budgets();
        match &ticket.room {
            Some(room) if ticket.denied >= DENIALS_OF_ROOM => {
                budgets.denied_room(&lane.draws, room, sent, next);
                None
            }
            room => budgets.denied(&lane.draws, room.as_ref(), sent, next),
        }
    }

    /// What it means that an invitation did not pass; nothing where it is a failure like any other.
    fn verdict(
        &self,
        lane: &Lane,
        ticket: &mut Ticket,
        failure: &Failure,
        sent: Timestamp,
        now: Timestamp,
    ) -> Option<Verdict> {
        if !is_invitee_server(failure) {
            return None;
        }
        let room = ticket.room.as_ref();
        let (verdict, in_a_row) = self.budgets().refused(&lane.draws, room, sent, now)?;
        ticket.refused += 1;
        (in_a_row <= MOST_INVITEE_WAITS).then_some(verdict)
    }

    /// Waits for `pause` before something is done again, and shows that as a wait of the errand.
    pub(super) async fn wait_to_retry(
        &self,
        account: &UserId,
        errand: Errand<'_>,
        pause: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut ticket = Ticket::take(self.lane(account, &errand), None);
        let until = self.clock.now() + pause;
        ticket.set_aside((until, WaitReason::Retry), self, stop).await
    }

    /// Whether a request would have to wait for a limit.
    pub(super) fn is_limited(&self, account: &UserId, errand: &Errand<'_>) -> bool {
        self.budgets().wait(&Draws::of(account, errand), self.clock.now()).is_some()
    }

    /// Waits until there are few enough requests on their way to a homeserver. Syncs do not count:
    /// homeservers keep them open to wait for news.
    pub(super) async fn connection(
        &self,
        server: &ServerName,
        action: Action,
    ) -> Option<OwnedSemaphorePermit> {
        if !action.is_work() {
            return None;
        }
        let connections = {
            let mut connections = lock(&self.connections);
            let most = || Arc::new(Semaphore::new(MOST_CONNECTIONS));
            connections.entry(server.to_owned()).or_insert_with(most).clone()
        };
        // It is never closed.
        connections.acquire_owned().await.ok()
    }

    fn hold(&self, errand: &Errand<'_>, waits: Vec<Span>) {
        if let Some(invited) = errand.invited.filter(|_| !waits.is_empty()) {
            let mut held = lock(&self.held);
            let held = held.entry(invited.to_owned()).or_default();
            waits.into_iter().for_each(|wait| held.add(wait));
        }
    }

    /// Keeps what was learned of a budget. It is learned again if that cannot be written down, and
    /// whatever else is to be written then tells of it.
    async fn keep(&self, key: Option<Key>, now: Timestamp) {
        let (Some(key), Some(ledger)) = (key, self.ledger.get()) else { return };
        let known = self.budgets().known(&key, now);
        if let Err(error) = ledger.keep(&key, known).await {
            tracing::warn!(%error, "what was learned of a limit is not kept");
        }
    }

    fn lane(&self, account: &UserId, errand: &Errand<'_>) -> Arc<Lane> {
        let now = self.clock.now();
        let key = (errand.action, errand.invited.map(ToOwned::to_owned));
        let mut lanes = lock(&self.lanes);
        self.forget_unused(&mut lanes, now);
        let lanes = lanes.entry(account.to_owned()).or_default();
        let lane = lanes.entry(key).or_insert_with(|| {
            let draws = Draws::of(account, errand);
            let window = errand.action.is_work().then(|| self.window(account, errand));
            Arc::new(Lane::new(draws, errand.action.most_in_flight(), window, now))
        });
        lane.used(now);
        lane.clone()
    }

    fn window(&self, account: &UserId, errand: &Errand<'_>) -> Arc<Window> {
        let server = account.server_name();
        let answers = errand.invited.map_or(server, UserId::server_name);
        let key = (server.to_owned(), errand.action, answers.to_owned());
        let mut windows = lock(&self.windows);
        let known = windows.entry(key).or_default();
        known.upgrade().unwrap_or_else(|| {
            let window = Arc::new(Window::new());
            *known = Arc::downgrade(&window);
            window
        })
    }

    fn forget_unused(
        &self,
        lanes: &mut HashMap<OwnedUserId, HashMap<LaneKey, Arc<Lane>>>,
        now: Timestamp,
    ) {
        let mut cleared = lock(&self.cleared);
        if now.duration_since(*cleared) < LANE_KEPT_FOR {
            return;
        }
        *cleared = now;
        for lanes in lanes.values_mut() {
            lanes.retain(|_, lane| {
                Arc::strong_count(lane) > 1 || lane.unused_for(now) < LANE_KEPT_FOR
            });
        }
        lanes.retain(|_, lanes| !lanes.is_empty());
        lock(&self.windows).retain(|_, window| window.strong_count() > 0);
    }

    fn budgets(&self) -> MutexGuard<'_, Budgets> {
        lock(&self.budgets)
    }

    pub(super) fn retries(&self, persistence: Persistence) -> Retries {
        let seed = lock(&self.rng).next_u64();
        Retries::new(persistence, self.retry_after, seed, self.clock.now())
    }
}

/// When the homeserver looked into the bucket, for a request that it denied: at the latest, so that
/// the next one does not come too early.
fn counted_from(sent: Timestamp, answered: Timestamp) -> Timestamp {
    let way = between(sent, answered);
    sent + way.checked_sub(HELD_FOR).unwrap_or(way)
}

/// The invited account's server limits invites once more when they come over federation. The
/// inviting server, after retries of its own, then answers with 502 and not with 429.
fn is_invitee_server(failure: &Failure) -> bool {
    matches!(failure, Failure::Faulty { status: 502 | 504, code: Some(ErrorCode::Unknown), .. })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
