//! Invitations of the bot: taken where a direct chat begins, declined elsewhere without a look
//! inside.
//!
//! Whoever wants to can invite the bot, and to join a large room costs its homeserver much. So only
//! some invitations are dealt with at once, fewer of one server, and none for long; what says that
//! it is no direct chat is declined without joining.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use matrix_sdk::{
    Room, RoomState,
    ruma::{
        OwnedRoomId, OwnedServerName, OwnedUserId, UInt,
        api::client::room::get_summary,
        room::{JoinRule, JoinRuleKind, RoomType},
        uint,
    },
};
use tokio::task::JoinSet;

use super::{retry::until_final, rooms, shared::Bot};

/// How many invitations are dealt with at once, in all and of accounts of one server.
const AT_ONCE: usize = 16;
const AT_ONCE_OF_SERVER: usize = 4;
/// How many wait in all and of one server. More than that are left where they are until the bot is
/// started again.
const MOST_WAITING: usize = 5_000;
const MOST_WAITING_OF_SERVER: usize = 200;
/// How long one invitation is tried.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the bot's homeserver may take to find out about a room.
const SUMMARY_PATIENCE: Duration = Duration::from_secs(10);
/// Pauses after which a refused invitation is tried again. A homeserver may send an invitation out
/// before it knows of it itself, and says until then that there is none.
const AGAIN_AFTER: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// Deals with one invitation.
pub(super) trait Invited: Clone + Send + Sync + 'static {
    fn deal_with<'a>(&'a self, room: &'a OwnedRoomId) -> BoxFuture<'a, ()>;
}

/// The invitations that are to be dealt with. Cheap to clone.
pub(super) struct Invitations<I> {
    invited: I,
    lines: Arc<Mutex<Lines>>,
}

/// Which wait for which.
#[derive(Default)]
struct Lines {
    known: HashSet<OwnedRoomId>,
    waiting: HashMap<OwnedServerName, VecDeque<OwnedRoomId>>,
    /// How many are dealt with.
    busy: HashMap<OwnedServerName, usize>,
    tasks: JoinSet<()>,
    stopped: bool,
}

impl Lines {
    fn add(&mut self, room: OwnedRoomId, server: OwnedServerName) -> bool {
        if self.known.contains(&room) {
            return true;
        }
        let line = self.waiting.get(&server).map_or(0, VecDeque::len);
        if self.stopped || self.known.len() >= MOST_WAITING || line >= MOST_WAITING_OF_SERVER {
            return false;
        }
        self.known.insert(room.clone());
        self.waiting.entry(server).or_default().push_back(room);
        true
    }

    /// The next of a server that has the fewest dealt with.
    fn next(&mut self) -> Option<(OwnedRoomId, OwnedServerName)> {
        if self.stopped || self.busy.values().sum::<usize>() >= AT_ONCE {
            return None;
        }
        let busy = |server: &OwnedServerName| self.busy.get(server).copied().unwrap_or(0);
        let servers = self.waiting.keys().filter(|server| busy(server) < AT_ONCE_OF_SERVER);
        let server = servers.min_by_key(|server| busy(server))?.clone();
        let line = self.waiting.get_mut(&server)?;
        let room = line.pop_front()?;
        if line.is_empty() {
            self.waiting.remove(&server);
        }
        *self.busy.entry(server.clone()).or_default() += 1;
        Some((room, server))
    }

    fn done(&mut self, room: &OwnedRoomId, server: &OwnedServerName) {
        self.known.remove(room);
        if let Some(busy) = self.busy.get_mut(server) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(server);
            }
        }
    }
}

impl<I: Invited> Invitations<I> {
    pub(super) fn new(invited: I) -> Self {
        Self { invited, lines: Arc::default() }
    }

    /// Has an invitation by somebody of `server` dealt with, when its turn comes.
    pub(super) fn add(&self, room: OwnedRoomId, server: OwnedServerName) {
        if !self.lines().add(room.clone(), server.clone()) {
            tracing::warn!(%room, %server, "too many invitations; one is left for later");
        }
        self.begin_next();
    }

    /// Stops all that goes on, and waits for that. What was not dealt with comes again.
    pub(super) async fn stop(&self) {
        let mut tasks = {
            let mut lines = self.lines();
            lines.stopped = true;
            std::mem::take(&mut lines.tasks)
        };
        tasks.shutdown().await;
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_next(&self) {
        let mut lines = self.lines();
        while lines.tasks.try_join_next().is_some() {}
        while let Some((room, server)) = lines.next() {
            let this = Self { invited: self.invited.clone(), lines: self.lines.clone() };
            lines.tasks.spawn(async move {
                // Its place is free again whatever becomes of it.
                let _place = Place { of: &this, room: &room, server: &server };
                this.invited.deal_with(&room).await;
            });
        }
    }
}

struct Place<'a, I: Invited> {
    of: &'a Invitations<I>,
    room: &'a OwnedRoomId,
    server: &'a OwnedServerName,
}

impl<I: Invited> Drop for Place<'_, I> {
    fn drop(&mut self) {
        self.of.lines().done(self.room, self.server);
        self.of.begin_next();
    }
}

impl Invitations<Arc<Bot>> {
    /// Has an invitation dealt with, when its turn comes.
    pub(super) async fn add_room(&self, room: &Room) {
        // Who invited shows in the invitation; without that it is one like no other.
        let Ok(invite) = room.invite_details().await else { return };
        self.add(room.room_id().to_owned(), invite.inviter_id.server_name().to_owned());
    }
}

impl Invited for Arc<Bot> {
    fn deal_with<'a>(&'a self, room: &'a OwnedRoomId) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(room) = self.client.get_room(room) else { return };
            tokio::select! {
                () = deal_with(self, &room) => {}
                () = self.shared.clock.sleep(PATIENCE) => {
                    tracing::warn!(room = %room.room_id(), "an invitation takes too long");
                }
            }
        })
    }
}

async fn deal_with(bot: &Bot, room: &Room) {
    let Some(facts) = Facts::of(bot, room).await else { return };
    if facts.is_worth_joining() {
        accept(bot, room).await;
    } else {
        tracing::info!(room = %room.room_id(), "invited to a room that is no direct chat; declined");
        if let Err(error) = rooms::leave(bot, room).await {
            tracing::warn!(room = %room.room_id(), %error, "an invitation could not be declined");
        }
    }
}

/// Accepts an invitation.
async fn accept(bot: &Bot, room: &Room) {
    let mut pauses = AGAIN_AFTER.into_iter();
    loop {
        let joined = until_final(&bot.shared.clock, || async {
            // Meanwhile it may have been taken back.
            if room.state() == RoomState::Invited { bot.hands.join(room).await } else { Ok(()) }
        });
        let Err(error) = joined.await else { return };
        let Some(pause) = pauses.next() else {
            tracing::warn!(room = %room.room_id(), %error, "an invitation could not be accepted");
            return;
        };
        bot.shared.clock.sleep(pause).await;
    }
}

/// What is known of a room before it is joined.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Moderators of it were asked for something, and may let the bot do it.
    is_awaited: bool,
    /// Whether the invitation says that it is to a direct chat. Not all clients say so.
    is_direct: bool,
    room_type: Option<RoomType>,
    has_alias: bool,
    join_rule: Option<JoinRuleKind>,
    /// How many are in it.
    joined: Option<UInt>,
}

impl Facts {
    /// Nothing when the invitation was taken back meanwhile.
    async fn of(bot: &Bot, room: &Room) -> Option<Self> {
        let invite = room.invite_details().await.ok()?;
        let mut facts = Self {
            is_awaited: bot.shared.migrations.awaits_moderators_of(room.room_id()),
            is_direct: room.is_direct().await.unwrap_or(false),
            room_type: room.room_type(),
            has_alias: room.canonical_alias().is_some(),
            join_rule: room.join_rule().as_ref().map(JoinRule::kind),
            joined: None,
        };
        if facts.is_worth_joining() && !facts.is_awaited {
            facts.joined = joined_members(bot, room, invite.inviter_id).await;
        }
        Some(facts)
    }

    /// Whether the bot joins: where it is to help moderators whom it asked, and where a direct chat
    /// may begin, with only the one in it who invites.
    fn is_worth_joining(&self) -> bool {
        let looks_direct = self.is_direct
            || (!self.has_alias
                && self.join_rule.as_ref().is_none_or(|rule| *rule == JoinRuleKind::Invite));
        self.is_awaited
            || (looks_direct
                && self.room_type.is_none()
                && self.joined.is_none_or(|joined| joined <= uint!(1)))
    }
}

/// How many are in a room, as the bot's homeserver finds out; nothing where it cannot.
async fn joined_members(bot: &Bot, room: &Room, inviter: OwnedUserId) -> Option<UInt> {
    let via = vec![inviter.server_name().to_owned()];
    let request = get_summary::v1::Request::new(room.room_id().to_owned().into(), via);
    let asked = tokio::select! {
        asked = bot.client.send(request) => asked,
        () = bot.shared.clock.sleep(SUMMARY_PATIENCE) => return None,
    };
    match asked {
        Ok(answer) => Some(answer.summary.num_joined_members),
        Err(error) => {
            tracing::debug!(room = %room.room_id(), %error, "no summary");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::owned_server_name;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    #[derive(Clone)]
    struct Noting {
        begun: mpsc::UnboundedSender<OwnedRoomId>,
        permits: Arc<Semaphore>,
    }

    impl Invited for Noting {
        fn deal_with<'a>(&'a self, room: &'a OwnedRoomId) -> BoxFuture<'a, ()> {
            Box::pin(async move {
                self.begun.send(room.clone()).unwrap();
                self.permits.acquire().await.unwrap().forget();
                assert!(room != "!panic:a.example");
            })
        }
    }

    fn invitations() -> (Invitations<Noting>, mpsc::UnboundedReceiver<OwnedRoomId>, Arc<Semaphore>)
    {
        let (begun, seen) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(0));
        (Invitations::new(Noting { begun, permits: permits.clone() }), seen, permits)
    }

    fn room(name: &str) -> OwnedRoomId {
        format!("!{name}:a.example").try_into().unwrap()
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    fn begun(seen: &mut mpsc::UnboundedReceiver<OwnedRoomId>) -> Vec<OwnedRoomId> {
        std::iter::from_fn(|| seen.try_recv().ok()).collect()
    }

    #[tokio::test]
    async fn a_server_that_invites_without_end_holds_up_nobody_else_and_takes_no_memory() {
        let (invitations, mut seen, permits) = invitations();
        for number in 0..10_000 {
            invitations.add(room(&format!("many{number}")), owned_server_name!("evil.example"));
        }
        invitations.add(room("panic"), owned_server_name!("good.example"));
        settle().await;
        let first = begun(&mut seen);
        assert_eq!(first.len(), AT_ONCE_OF_SERVER + 1);
        assert!(first.contains(&room("panic")));
        assert!(invitations.lines().known.len() <= MOST_WAITING_OF_SERVER + AT_ONCE_OF_SERVER + 1);
        permits.add_permits(10_000);
        while !invitations.lines().known.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun(&mut seen).len(), MOST_WAITING_OF_SERVER);
        let lines = invitations.lines();
        assert!(lines.waiting.is_empty() && lines.busy.is_empty(), "a panic frees its place, too");
    }

    #[tokio::test]
    async fn many_servers_together_have_only_so_many_dealt_with_at_once() {
        let (invitations, mut seen, _permits) = invitations();
        for number in 0..10_000 {
            let server = format!("server{number}.example").try_into().unwrap();
            invitations.add(room(&format!("many{number}")), server);
        }
        settle().await;
        assert_eq!(begun(&mut seen).len(), AT_ONCE);
        assert!(invitations.lines().known.len() <= MOST_WAITING);
        invitations.stop().await;
        assert!(invitations.lines().busy.is_empty());
    }

    #[test]
    fn only_what_may_be_a_direct_chat_is_joined() {
        let chat = Facts { is_direct: true, joined: Some(uint!(1)), ..Facts::default() };
        let unsaid = Facts { join_rule: Some(JoinRuleKind::Invite), ..Facts::default() };
        let public = Facts { join_rule: Some(JoinRuleKind::Public), ..Facts::default() };
        let of_three = Facts { joined: Some(uint!(2)), ..chat.clone() };
        let space = Facts { room_type: Some(RoomType::Space), ..chat.clone() };
        assert!(chat.is_worth_joining());
        assert!(Facts { joined: None, ..chat.clone() }.is_worth_joining(), "no summary");
        assert!(unsaid.is_worth_joining(), "clients that do not say that it is direct");
        assert!(Facts { joined: Some(uint!(1)), ..unsaid.clone() }.is_worth_joining());
        assert!(!public.is_worth_joining());
        assert!(!Facts { has_alias: true, ..unsaid }.is_worth_joining());
        assert!(!of_three.is_worth_joining(), "whatever the invitation says");
        assert!(!space.is_worth_joining());
        assert!(Facts { is_awaited: true, ..of_three }.is_worth_joining());
    }
}
