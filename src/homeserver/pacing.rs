//! Sending as fast as the homeservers' rate limits allow, and no faster.
//!
//! Every account has a lane for each [`Action`], because homeservers limit each by itself. In a
//! lane requests go in the order in which they came, a few at a time. A homeserver that answers
//! 429 stops the lane for as long as it says; the request that was denied goes first again. A wait
//! in one lane never holds up another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};
use rand::{RngCore as _, rngs::StdRng};
use ruma::{OwnedUserId, UserId, api::error::ErrorCode};
use tokio_util::sync::CancellationToken;

use self::lane::{Lane, Ticket};
use super::{Failure, transport::Allowance};
use crate::clock::SharedClock;

mod lane;

/// How long to wait when the homeserver limits without saying for how long.
const UNTOLD_WAIT: Duration = Duration::from_secs(5);
/// Longer waits are asked about again after this time: limits may have been lifted meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Keeps a homeserver that says "after 0 ms" from being asked in a tight circle.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// How often one invite is answered with the invited server's limit before it counts as failed.
/// With pauses of up to ten minutes, these are hours.
const MOST_INVITEE_WAITS: u32 = 16;
/// How often what is worth a retry is sent again.
const MOST_RETRIES: usize = 4;
/// A lane without requests is forgotten after this time.
const LANE_KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What is done as an account, as far as homeservers limit it by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Reading anything but a sync.
    Read,
    /// A sync.
    Sync,
    /// Joining a room.
    Join,
    /// Inviting into a room.
    Invite,
    /// Writing a state event.
    State,
    /// Writing account data, a tag or a push rule.
    AccountData,
    /// Changing the profile.
    Profile,
    /// Downloading or uploading a file.
    Media,
    /// Redacting an event.
    Redact,
    /// Logging out.
    Logout,
}

impl Action {
    /// How many requests may be on their way at a time in one lane.
    fn most_in_flight(self) -> usize {
        match self {
            // Homeservers carry a changed profile into every room, one change after the other.
            Self::Sync | Self::Profile => 1,
            // Each may be ten megabytes in memory.
            Self::Media => 2,
            Self::Read => 8,
            _ => 4,
        }
    }

    pub(super) fn allowance(self) -> Allowance {
        match self {
            Self::Sync => Allowance::SYNC,
            Self::Join => Allowance::JOIN,
            Self::Media => Allowance::MEDIA,
            _ => Allowance::ORDINARY,
        }
    }
}

/// Why a lane waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// The account's homeserver limits how often this may be asked.
    RateLimit,
    /// The invited account's homeserver takes no more invites for now, or cannot be reached by the
    /// inviting one; the two cannot be told apart.
    InviteeServer,
    /// The homeserver cannot be reached, or failed; it is tried again.
    Retry,
}

/// A wait that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Whose requests wait.
    pub account: OwnedUserId,
    /// Which requests wait.
    pub action: Action,
    /// When the next one is sent.
    pub until: Timestamp,
    /// Why they wait.
    pub reason: WaitReason,
}

/// All lanes.
#[derive(Debug)]
pub struct Pacing {
    clock: SharedClock,
    rng: Mutex<StdRng>,
    lanes: Mutex<HashMap<(OwnedUserId, Action), Arc<Lane>>>,
}

impl Pacing {
    pub(super) fn new(clock: SharedClock, rng: StdRng) -> Self {
        Self { clock, rng: Mutex::new(rng), lanes: Mutex::default() }
    }

    /// Every wait that is going on.
    pub fn waits(&self) -> Vec<Wait> {
        let now = self.clock.now();
        let wait = |(account, action): &(OwnedUserId, Action), (until, reason)| Wait {
            account: account.clone(),
            action: *action,
            until,
            reason,
        };
        let lanes = lock(&self.lanes);
        lanes.iter().filter_map(|(key, lane)| Some(wait(key, lane.wait(now)?))).collect()
    }

    /// Runs `attempt` when its turn comes, and again after each wait and for each retry.
    pub(super) async fn run<T, F>(
        &self,
        account: &UserId,
        action: Action,
        stop: &CancellationToken,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut ticket = Ticket::take(self.lane(account, action));
        let mut retries = self.retries();
        let mut invitee_waits = 0;
        loop {
            ticket.turn(&self.clock, stop).await?;
            let failure = match attempt().await {
                Ok(answer) => {
                    ticket.succeeded();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let now = self.clock.now();
            if let Failure::Limited { retry_after } = failure {
                let wait = retry_after.unwrap_or(UNTOLD_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT);
                tracing::debug!(%account, ?action, ?wait, "rate limited");
                ticket.limited(now + wait);
            } else if action == Action::Invite
                && is_invitee_server(&failure)
                && invitee_waits < MOST_INVITEE_WAITS
            {
                invitee_waits += 1;
                tracing::debug!(%account, "the invited account's server takes no invite for now");
                ticket.limited_by_invitee(now);
            } else if failure.is_retryable()
                && let Some(delay) = retries.next()
            {
                tracing::debug!(%account, ?action, ?delay, %failure, "to be tried again");
                ticket.set_aside(now + delay, &self.clock, stop).await?;
            } else {
                return Err(failure);
            }
        }
    }

    fn lane(&self, account: &UserId, action: Action) -> Arc<Lane> {
        let now = self.clock.now();
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(&(account.to_owned(), action)) {
            lane.used(now);
            return lane.clone();
        }
        lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || lane.unused_for(now) < LANE_KEPT_FOR);
        let lane = Arc::new(Lane::new(action.most_in_flight(), now));
        lanes.insert((account.to_owned(), action), lane.clone());
        lane
    }

    /// Pauses of about 2, 6, 18 and 54 seconds: a homeserver that is restarted is back by then.
    fn retries(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(Duration::from_secs(2))
            .with_factor(3.0)
            .with_max_times(MOST_RETRIES)
            .with_jitter()
            .with_jitter_seed(lock(&self.rng).next_u64())
            .build()
    }
}

/// The invited account's server limits invites once more when they come over federation. The
/// inviting server, after retries of its own, then answers with 502 and not with 429.
fn is_invitee_server(failure: &Failure) -> bool {
    matches!(failure, Failure::Faulty { status: 502 | 504, code: Some(ErrorCode::Unknown), .. })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
