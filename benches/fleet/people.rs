//! The homeservers' own process, and who is on them.

use std::time::Duration;

use lab::sim::{NEW, OLD, Rates, Simulation};
use ruma::OwnedUserId;
use serde_json::json;

/// When everything begins, in seconds since 1970.
pub(crate) const BEGINNING: i64 = 1_780_000_000;

/// One person's two accounts, and the bot's access to each.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) old: OwnedUserId,
    pub(crate) new: OwnedUserId,
    pub(crate) old_token: String,
    pub(crate) new_token: String,
}

impl Pair {
    pub(crate) fn of(number: usize) -> Self {
        let user = |server| {
            let id = format!("@person{number}:{server}");
            OwnedUserId::try_from(id).unwrap_or_else(|_| ruma::owned_user_id!("@nobody:nowhere"))
        };
        let token = |server| format!("token-{number}-{server}");
        Self { old: user(OLD), new: user(NEW), old_token: token(OLD), new_token: token(NEW) }
    }
}

/// Accounts with `rooms` rooms each, half of them public, half made by the account itself; a friend
/// is in each.
pub(crate) fn settle(accounts: usize, rooms: usize) -> Simulation {
    let simulation = Simulation::new(Rates::default());
    let now = Duration::from_secs(BEGINNING.unsigned_abs() - 86_400);
    let friend = format!("@friend:{OLD}");
    simulation.register(&friend, "a password");
    for number in 0..accounts {
        let pair = Pair::of(number);
        for (user, token) in [(&pair.old, &pair.old_token), (&pair.new, &pair.new_token)] {
            simulation.register(user.as_str(), "a password");
            simulation.give_token(user.as_str(), "BOT", token);
        }
        let old = pair.old.as_str();
        for room in 0..rooms {
            let name = format!("Room {room}");
            if room % 2 == 0 {
                let body = json!({ "name": name, "preset": "public_chat" });
                simulation.found_room(&friend, &body, &[old], now);
            } else {
                simulation.found_room(old, &json!({ "name": name }), &[&friend], now);
            }
        }
    }
    simulation
}
