//! The moderators of rooms that only they open. They see in their own clients that they are asked, and
//! each answers in another way, some minutes later.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use lab::sim::{Rates, Simulation};
use serde_json::json;
use tern::{
    clock::{Clock as _, Timestamp},
    config,
};

use crate::{
    director::Director,
    world::{Hand, JONAS, MARA, MARA_NEW},
};

/// How often they look.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How long they are there: if all goes well, everything is over long before.
const AT_MOST: Duration = Duration::from_secs(3 * 86_400);

/// How a moderator answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Invites,
    InvitesWhoKnocks,
    SaysNo,
    IsSilent,
}

impl Manner {
    /// How long after the question. Far enough apart that one course is like another.
    fn after(self) -> Option<Duration> {
        let minutes = match self {
            Self::Invites => 3,
            Self::InvitesWhoKnocks => 6,
            Self::SaysNo => 9,
            Self::IsSilent => return None,
        };
        Some(Duration::from_secs(60 * minutes))
    }
}

/// When those who are silent are reminded, and no longer waited for.
pub(crate) fn patience() -> config::Moderation {
    let [remind_after, expire_after] = [11, 14].map(|minutes| Duration::from_secs(60 * minutes));
    config::Moderation { remind_after, expire_after }
}

/// What they have seen and answered, in the lives of however many processes.
#[derive(Debug)]
pub(crate) struct Court {
    simulation: Simulation,
    rooms: Vec<(String, Manner)>,
    asked: Mutex<BTreeMap<String, Timestamp>>,
    answered: Mutex<BTreeSet<String>>,
}

impl Court {
    pub(crate) fn new(simulation: Simulation, rooms: Vec<(String, Manner)>) -> Self {
        Self { simulation, rooms, asked: Mutex::default(), answered: Mutex::default() }
    }

    /// Answers until everything is answered.
    pub(crate) async fn attend(&self, director: &Director) {
        let begun = director.clock.now();
        let mut left = self.rooms.clone();
        while !left.is_empty() && director.clock.now() < begun + AT_MOST {
            for (room, manner) in &left {
                if self.is_due(room, *manner, director.clock.now()) {
                    director.pass(format!("answer in {room}")).await;
                    self.answer(room, *manner);
                }
            }
            let answered = self.answered.lock().unwrap().clone();
            left.retain(|(room, manner)| manner.after().is_some() && !answered.contains(room));
            director.clock.sleep(LOOK_EVERY).await;
        }
    }

    fn is_due(&self, room: &str, manner: Manner, now: Timestamp) -> bool {
        let (Some(after), Some(_)) = (manner.after(), self.question(room)) else { return false };
        let is_answered = self.answered.lock().unwrap().contains(room);
        let mut asked = self.asked.lock().unwrap();
        let asked = *asked.entry(room.to_owned()).or_insert(now);
        !is_answered && now >= asked + after
    }

    /// The event by which a moderator is asked.
    fn question(&self, room: &str) -> Option<String> {
        let path = format!("rooms/{room}/messages?limit=100");
        let events = Hand::of(&self.simulation, JONAS).ask("GET", &path, &json!(null));
        let asks = |event: &&serde_json::Value| match event["type"].as_str() {
            Some("m.room.message") => event["content"].get("tern.invite_request").is_some(),
            Some("m.room.member") => event["content"]["membership"] == "knock",
            _ => false,
        };
        let first = events["chunk"].as_array().unwrap().iter().rev().find(asks)?;
        let by = first["sender"].as_str();
        assert!(by == Some(MARA) || by == Some(MARA_NEW), "{first}");
        Some(first["event_id"].as_str().unwrap().to_owned())
    }

    fn answer(&self, room: &str, manner: Manner) {
        let question = self.question(room);
        let jonas = Hand::of(&self.simulation, JONAS);
        match manner {
            Manner::Invites | Manner::InvitesWhoKnocks => {
                // How long they themselves would have to wait is not what is tried here.
                self.simulation.limit(lab::sim::NEW, Rates::open());
                let path = format!("rooms/{room}/invite");
                jonas.ask("POST", &path, &json!({ "user_id": MARA_NEW }));
                self.simulation.limit(lab::sim::NEW, Rates::default());
            }
            Manner::SaysNo => {
                let no = json!({ "rel_type": "m.annotation", "event_id": question, "key": "❌" });
                let path = format!("rooms/{room}/send/m.reaction/no");
                jonas.ask("PUT", &path, &json!({ "m.relates_to": no }));
            }
            Manner::IsSilent => return,
        }
        self.answered.lock().unwrap().insert(room.to_owned());
    }
}
