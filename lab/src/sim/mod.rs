//! A simulated pair of homeservers, for a scale and for faults that real ones cannot give:
//! thousands of accounts, hours of rate limits in moments, and an end of the bot's process at any
//! point, hundreds of times over.
//!
//! It is in memory, sends nothing and reads no clock: an [`Answer`] is a function of what the
//! homeservers know, a request, and the time that comes with it. It knows the requests that Tern's
//! library sends, and those that make rooms to send them about, and limits them as Synapse does.
//! `lab/tests/same_answers.rs` asks it and real Synapse the same.
//!
//! Not simulated: what federation does to events (delay, loss, two histories of one room), and with
//! it everything that shows late; encryption, presence, receipts; application services; servers
//! beside the pair; Synapse's limit of joins by room. Which state a sync has in `state` and which in
//! `timeline` can differ from Synapse. A sync that waits for news answers after its whole timeout,
//! with what there was when it came.

mod answer;
mod create;
mod limits;
mod personal;
mod request;
mod rooms;
mod serve;
mod sync;
mod view;
mod world;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ruma::exports::http;
use serde_json::Value;

pub use self::{
    answer::Answer,
    limits::{Rate, Rates},
    serve::{Served, TIME},
    view::Sent,
};
use self::{answer::Refusal, request::Request, world::World};
use crate::Account;

/// The name of the homeserver with the old accounts.
pub const OLD: &str = "old.example";
/// The name of the homeserver with the new accounts.
pub const NEW: &str = "new.example";

/// Two homeservers that federate, in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct Simulation(Arc<Mutex<World>>);

impl Simulation {
    /// [`OLD`] and [`NEW`], without accounts, with the same limits.
    pub fn new(rates: Rates) -> Self {
        Self(Arc::new(Mutex::new(World::new(&[OLD, NEW], rates))))
    }

    /// Another pair that knows the same, and goes its own way from here.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.world().clone())))
    }

    /// Answers a request that comes at `now`, as time since 1970. The first segment of its path is
    /// the name of the homeserver that is asked: its base URL may have any host.
    pub fn answer(&self, request: &http::Request<Vec<u8>>, now: Duration) -> Answer {
        let request = Request::read(request);
        self.world().answer(&request, now).unwrap_or_else(Answer::from)
    }

    /// Sets what one homeserver limits. What was used up before counts on.
    pub fn limit(&self, server: &str, rates: Rates) {
        if let Some(limiter) = self.world().limiters.get_mut(server) {
            limiter.rates = rates;
        }
    }

    /// Lifts all limits of its own homeserver for one account, as an admin can.
    pub fn exempt(&self, user: &str) {
        self.world().exempt.insert(user.to_owned());
    }

    /// Lets homeservers fail with each invitation into a room that comes from another one, as Synapse
    /// does with some rooms.
    pub fn break_invites(&self, room: &str) {
        self.world().faulty_rooms.insert(room.to_owned());
    }

    /// Makes an account, with a session for the lab. `base_url` is what the simulation is
    /// [served](Served) at.
    pub fn account(&self, base_url: &str, user: &str) -> anyhow::Result<Account> {
        let mut world = self.world();
        let password = format!("password of {user}");
        world.register(user, &password);
        let token = world.open_session(user, "LAB");
        let url = format!("{base_url}/{}", world::server_of(user));
        Ok(Account::known(&url, user.try_into()?, "LAB".into(), token, &password))
    }

    /// Makes an account without a session.
    pub fn register(&self, user: &str, password: &str) {
        self.world().register(user, password);
    }

    /// Gives a device of an account a token, without asking for a password.
    pub fn log_in(&self, user: &str, device: &str) -> String {
        self.world().open_session(user, device)
    }

    /// Ends every session of an account, as the person can in their client.
    pub fn log_out_everywhere(&self, user: &str) {
        self.world().tokens.retain(|_, device| device.user != user);
    }

    /// Gives a device of an account this very token.
    pub fn give_token(&self, user: &str, device: &str, token: &str) {
        let device = world::Device { user: user.to_owned(), id: device.to_owned() };
        self.world().tokens.insert(token.to_owned(), device);
    }

    /// Makes a room with a body as for `POST /createRoom`, and with `members` in it.
    pub fn found_room(
        &self,
        creator: &str,
        body: &Value,
        members: &[&str],
        now: Duration,
    ) -> String {
        let mut world = self.world();
        let room = world.found_room(creator, body, now);
        for member in members {
            let content = world.member_content(member, "join");
            world.write(&room, member, "m.room.member", Some(member), content, now);
        }
        room
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
