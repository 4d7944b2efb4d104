//! Surveys as homeservers would answer for them, for tests of plans.

use std::time::Duration;

use ruma::{MilliSecondsSinceUnixEpoch, UserId, api::IncomingResponse, room_id, user_id};
use serde_json::{Value, json};

use super::{Accounts, Plan, make};
use crate::{
    homeserver::Synced,
    migration::{holdings::Copies, survey::Survey},
};

pub(super) const OLD: &str = "@old:a.example";
pub(super) const NEW: &str = "@new:b.example";
/// When the surveys were made, in milliseconds.
pub(super) const NOW: u32 = 1_000_000;

/// What `/sync` says of one joined room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) id: &'static str,
    pub(super) state: Vec<Value>,
    pub(super) tags: Value,
    pub(super) last_active: u64,
    pub(super) members: u64,
    pub(super) heroes: Vec<&'static str>,
}

impl Room {
    pub(super) fn new(id: &'static str) -> Self {
        Self {
            id,
            state: vec![],
            tags: json!({}),
            last_active: u64::from(NOW),
            members: 5,
            heroes: vec![],
        }
        .created("10", "@creator:c.example", json!({}))
    }

    pub(super) fn state(mut self, event_type: &str, state_key: &str, content: Value) -> Self {
        self.state.retain(|event| event["type"] != event_type || event["state_key"] != state_key);
        self.state.push(json!({
            "type": event_type,
            "state_key": state_key,
            "sender": "@creator:c.example",
            "event_id": format!("${event_type}{state_key}"),
            "origin_server_ts": 1,
            "content": content,
        }));
        self
    }

    pub(super) fn created(self, version: &str, by: &str, mut content: Value) -> Self {
        content["room_version"] = json!(version);
        let mut room = self.state("m.room.create", "", content);
        room.state.last_mut().unwrap()["sender"] = json!(by);
        room
    }

    pub(super) fn named(self, name: &str) -> Self {
        self.state("m.room.name", "", json!({ "name": name }))
    }

    pub(super) fn public(self) -> Self {
        self.state("m.room.join_rules", "", json!({ "join_rule": "public" }))
    }

    pub(super) fn power(self, content: Value) -> Self {
        self.state("m.room.power_levels", "", content)
    }

    pub(super) fn member(self, user: &str, membership: &str) -> Self {
        self.state("m.room.member", user, json!({ "membership": membership }))
    }

    pub(super) fn tagged(mut self, tag: &str, order: f64) -> Self {
        self.tags[tag] = json!({ "order": order });
        self
    }

    /// Something happened not long ago; the higher the number, the later.
    pub(super) fn active(mut self, at: u64) -> Self {
        self.last_active = u64::from(NOW) - 1_000 + at;
        self
    }

    pub(super) fn quiet(mut self) -> Self {
        self.last_active = 1;
        self
    }

    pub(super) fn of_two_with(mut self, hero: &'static str) -> Self {
        self.members = 2;
        self.heroes = vec![hero];
        self
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "summary": {
                "m.joined_member_count": self.members,
                "m.invited_member_count": 0,
                "m.heroes": self.heroes,
            },
            "state": { "events": self.state },
            "timeline": { "events": [{
                "type": "m.room.message",
                "sender": OLD,
                "event_id": "$last",
                "origin_server_ts": self.last_active,
                "content": { "msgtype": "m.text", "body": "hello" },
            }] },
            "account_data": { "events": [{ "type": "m.tag", "content": { "tags": self.tags } }] },
        })
    }
}

pub(super) fn survey(user_id: &UserId, sync: &Value) -> Survey {
    let answer = ruma::exports::http::Response::new(serde_json::to_vec(sync).unwrap());
    let mut survey = Survey::read(user_id, &Synced::try_from_http_response(answer).unwrap());
    if let Some(holdings) = &mut survey.holdings {
        holdings.profile = Some(Default::default());
    }
    survey
}

pub(super) fn old_survey(rooms: &[Room], direct: &Value) -> Survey {
    let join: Value = rooms.iter().map(|room| (room.id.to_owned(), room.json())).collect();
    let sync = json!({
        "next_batch": "s",
        "rooms": { "join": join },
        "account_data": { "events": [{ "type": "m.direct", "content": direct }] },
    });
    survey(user_id!("@old:a.example"), &sync)
}

pub(super) fn new_survey(rooms: &Value) -> Survey {
    survey(user_id!("@new:b.example"), &json!({ "next_batch": "s", "rooms": rooms }))
}

pub(super) fn plan(old: &Survey, new: &Survey) -> Plan {
    make(&Accounts {
        old: user_id!("@old:a.example"),
        new: user_id!("@new:b.example"),
        bot: user_id!("@tern:a.example"),
        chat_with_bot: Some(room_id!("!consent:a.example")),
        old_survey: Some(old),
        new_survey: new,
        surveyed: MilliSecondsSinceUnixEpoch(NOW.into()),
        quiet_after: Duration::from_secs(500),
        copies: &Copies::new(),
    })
}

/// The plan for rooms that the new account has nothing to do with yet.
pub(super) fn plan_of(rooms: &[Room]) -> Plan {
    plan(&old_survey(rooms, &json!({})), &new_survey(&json!({})))
}

/// A rule that lets members of `space` in.
pub(super) fn restricted(join_rule: &str, space: &str) -> Value {
    json!({ "join_rule": join_rule, "allow": [{ "type": "m.room_membership", "room_id": space }] })
}

impl Room {
    pub(super) fn space(self, children: &[&str]) -> Self {
        let space = self.created("10", "@creator:c.example", json!({ "type": "m.space" }));
        children.iter().fold(space, |space, child| {
            space.state("m.space.child", child, json!({ "via": ["c.example"] }))
        })
    }

    pub(super) fn joined_by(self, join_rule: Value) -> Self {
        self.state("m.room.join_rules", "", join_rule)
    }

    pub(super) fn closed(self) -> Self {
        self.power(json!({ "users": { OLD: 0 }, "invite": 50 }))
    }
}
