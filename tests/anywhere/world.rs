//! Mara's two accounts, with a room for every route and something of everything that is copied.

use std::time::Duration;

use lab::sim::{Rates, Simulation};
use ruma::exports::http;
use serde_json::{Value, json};
use tern::clock::Timestamp;

use crate::court::Manner;

pub(crate) const BOT: &str = "@tern:old.example";
pub(crate) const MARA: &str = "@mara:old.example";
pub(crate) const MARA_NEW: &str = "@mara:new.example";
pub(crate) const PASSWORD: &str = "a password";
pub(crate) const JONAS: &str = "@jonas:old.example";
const AYSE: &str = "@ayse:new.example";

/// When everything begins.
pub(crate) fn beginning() -> Timestamp {
    Timestamp::from_second(1_780_000_000).unwrap()
}

fn now() -> Duration {
    Duration::from_secs(1_780_000_000)
}

/// Everything before the move begins.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) simulation: Simulation,
    /// Rooms that only their moderators open.
    pub(crate) closed: Vec<(String, Manner)>,
}

/// An account that sends requests of its own.
pub(crate) struct Hand<'a> {
    simulation: &'a Simulation,
    user: &'static str,
    token: String,
}

impl<'a> Hand<'a> {
    pub(crate) fn of(simulation: &'a Simulation, user: &'static str) -> Self {
        Self { simulation, user, token: simulation.log_in(user, "HAND") }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask_at(method, &format!("client/v3/{path}"), body)
    }

    fn ask_at(&self, method: &str, path: &str, body: &Value) -> Value {
        let server = self.user.split_once(':').unwrap().1;
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://simulated/{server}/_matrix/{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .body(body.to_string().into_bytes())
            .unwrap();
        let answer = self.simulation.answer(&request, now());
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{method} {path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn put(&self, path: &str, body: &Value) {
        self.ask("PUT", path, body);
    }

    fn room(&self, body: &Value, members: &[&str]) -> String {
        self.simulation.found_room(self.user, body, members, now())
    }
}

/// Everything, with Synapse's limits, which nobody has used up yet.
pub(crate) fn settle() -> Town {
    let simulation = Simulation::new(Rates::open());
    for user in [MARA, MARA_NEW, JONAS, AYSE] {
        simulation.register(user, PASSWORD);
    }
    let [mara, new, jonas, ayse] =
        [MARA, MARA_NEW, JONAS, AYSE].map(|user| Hand::of(&simulation, user));
    rooms(&mara, &new, &jonas, &ayse);
    doors(&mara, &jonas);
    holdings(&mara, &new);
    let closed = closed(&jonas);
    // Fresh buckets: what was done so far counts for nothing.
    for server in [lab::sim::OLD, lab::sim::NEW] {
        simulation.limit(server, Rates::default());
    }
    // Moderators are at no limit.
    simulation.exempt(JONAS);
    Town { simulation, closed }
}

/// Rooms that only their moderators open.
fn closed(jonas: &Hand<'_>) -> Vec<(String, Manner)> {
    use Manner::{Invites, InvitesWhoKnocks, IsSilent, SaysNo};
    let room = |(name, manner): (&str, Manner)| {
        let mut body = json!({
            "name": name, "power_level_content_override": { "invite": 50, "users": {} },
        });
        if manner == InvitesWhoKnocks {
            let rule = json!({ "join_rule": "knock" });
            body["initial_state"] = json!([{ "type": "m.room.join_rules", "content": rule }]);
        }
        (jonas.room(&body, &[MARA]), manner)
    };
    let rooms =
        [("Strict", Invites), ("Knock", InvitesWhoKnocks), ("Never", SaysNo), ("Quiet", IsSilent)];
    rooms.map(room).into()
}

/// Rooms that are entered by themselves, by invitation, or not at all.
fn rooms(mara: &Hand<'_>, new: &Hand<'_>, jonas: &Hand<'_>, ayse: &Hand<'_>) {
    for number in 0..3 {
        let name = json!({ "name": format!("Public {number}"), "preset": "public_chat" });
        let room = jonas.room(&name, &[MARA]);
        let tag = json!({ "order": 0.5 });
        mara.put(&format!("user/{MARA}/rooms/{room}/tags/m.favourite"), &tag);
    }
    ayse.room(&json!({ "name": "On the new server", "preset": "public_chat" }), &[MARA]);
    for number in 0..6 {
        let version = if number % 2 == 0 { "12" } else { "10" };
        let body = json!({ "name": format!("Private {number}"), "room_version": version });
        let room = mara.room(&body, &[JONAS]);
        mara.put(&format!("user/{MARA}/rooms/{room}/tags/u.own"), &json!({}));
        mara.put(&format!("user/{MARA}/rooms/{room}/account_data/m.example"), &json!({ "a": 1 }));
    }
    let banned = mara.room(&json!({ "name": "Banned" }), &[JONAS]);
    mara.ask("POST", &format!("rooms/{banned}/ban"), &json!({ "user_id": MARA_NEW }));
    let alone = json!({ "name": "Alone", "creation_content": { "m.federate": false } });
    jonas.room(&alone, &[MARA]);
    mara.room(&json!({ "name": "There already" }), &[JONAS, MARA_NEW]);
    let invited = jonas.room(&json!({ "name": "Invited already" }), &[MARA]);
    jonas.ask("POST", &format!("rooms/{invited}/invite"), &json!({ "user_id": MARA_NEW }));
    mara.room(&json!({ "name": "Empty" }), &[]);
    let mut direct = json!({});
    for (other, hand) in [(JONAS, jonas), (AYSE, ayse)] {
        let room = hand.room(&json!({ "preset": "trusted_private_chat" }), &[MARA]);
        direct[other] = json!([room]);
    }
    mara.put(&format!("user/{MARA}/account_data/m.direct"), &direct);
    let own = new.room(&json!({ "preset": "trusted_private_chat" }), &[AYSE]);
    new.put(&format!("user/{MARA_NEW}/account_data/m.direct"), &json!({ AYSE: [own] }));
}

/// A space that lets into a room, and a room that took the place of another.
fn doors(mara: &Hand<'_>, jonas: &Hand<'_>) {
    let space = json!({ "name": "Space", "creation_content": { "type": "m.space" } });
    let space = mara.room(&space, &[JONAS]);
    for name in ["Inside", "Inside as well"] {
        let allow = json!([{ "type": "m.room_membership", "room_id": space }]);
        let rule = json!({ "join_rule": "restricted", "allow": allow });
        let state = json!([{ "type": "m.room.join_rules", "content": rule }]);
        let inside = jonas.room(&json!({ "name": name, "initial_state": state }), &[MARA]);
        let via = json!({ "via": ["old.example"] });
        mara.put(&format!("rooms/{space}/state/m.space.child/{inside}"), &via);
    }
    let successor = jonas.room(&json!({ "name": "Second", "preset": "public_chat" }), &[]);
    let first = mara.room(&json!({ "name": "First", "preset": "public_chat" }), &[JONAS]);
    let tombstone = json!({ "body": "moved", "replacement_room": successor });
    mara.put(&format!("rooms/{first}/state/m.room.tombstone"), &tombstone);
}

/// Profile, account data, push rules, and another name in one room.
fn holdings(mara: &Hand<'_>, new: &Hand<'_>) {
    mara.put(&format!("profile/{MARA}/displayname"), &json!({ "displayname": "Mara" }));
    mara.put(&format!("profile/{MARA}/m.tz"), &json!({ "m.tz": "Europe/Lisbon" }));
    let ignored = json!({ "ignored_users": { "@troll:old.example": {} } });
    mara.put(&format!("user/{MARA}/account_data/m.ignored_user_list"), &ignored);
    let theme = json!({ "theme": "dark" });
    mara.put(&format!("user/{MARA}/account_data/org.example.theme"), &theme);
    for (place, word) in ["heron", "gull", "tern"].into_iter().enumerate() {
        let rule = json!({ "actions": ["notify"], "pattern": word });
        mara.put(&format!("pushrules/global/content/{word}"), &rule);
        let enabled = json!({ "enabled": place != 1 });
        mara.put(&format!("pushrules/global/content/{word}/enabled"), &enabled);
    }
    let predefined = "pushrules/global/underride/.m.rule.message";
    mara.put(&format!("{predefined}/actions"), &json!({ "actions": [] }));
    mara.put(&format!("{predefined}/enabled"), &json!({ "enabled": false }));
    let file = mara.ask_at("POST", "media/v3/upload", &json!("a face"));
    let face = json!({ "avatar_url": file["content_uri"] });
    mara.put(&format!("profile/{MARA}/avatar_url"), &face);
    let rule = json!({ "actions": ["notify"], "pattern": "own" });
    new.put("pushrules/global/content/own", &rule);
}
