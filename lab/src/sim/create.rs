//! Making rooms.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Answer, Refusal,
    limits::Kind,
    world::{World, server_of},
};

/// What Synapse makes when it is asked for no other version.
const DEFAULT_VERSION: &str = "12";

impl World {
    /// Makes a room as the body of `POST /createRoom` says.
    pub(super) fn create_room(
        &mut self,
        user: &str,
        body: &Value,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        self.take(user, Kind::RoomCreation, user, now)?;
        self.take(user, Kind::Message, user, now)?;
        let invited: Vec<_> = strings(&body["invite"]);
        let room_id = self.found_room(user, body, now);
        for target in &invited {
            let mut content = self.member_content(target, "invite");
            if body["is_direct"] == true {
                content["is_direct"] = json!(true);
            }
            self.write(&room_id, user, "m.room.member", Some(target), content, now);
        }
        Ok(Answer::ok(&json!({ "room_id": room_id })))
    }

    /// The room with its first state, and `user` in it.
    pub(super) fn found_room(&mut self, user: &str, body: &Value, now: Duration) -> String {
        let version = body["room_version"].as_str().unwrap_or(DEFAULT_VERSION);
        let above_numbers = version.parse().is_ok_and(|version: u64| version >= 12);
        let number = self.number();
        let room_id = match above_numbers {
            true => format!("!{number}room"),
            false => format!("!{number}room:{}", server_of(user)),
        };
        let mut create = body["creation_content"].clone();
        create["room_version"] = json!(version);
        let preset = body["preset"].as_str().unwrap_or("private_chat");
        if above_numbers && preset == "trusted_private_chat" {
            create["additional_creators"] = body["invite"].clone();
        }
        let mut write = |kind: &str, key: &str, content: Value| {
            self.write(&room_id, user, kind, Some(key), content, now);
        };
        write("m.room.create", "", create);
        write("m.room.power_levels", "", power_levels(user, above_numbers, preset, body));
        let rule = if preset == "public_chat" { "public" } else { "invite" };
        write("m.room.join_rules", "", json!({ "join_rule": rule }));
        write("m.room.history_visibility", "", json!({ "history_visibility": "shared" }));
        if let Some(name) = body["name"].as_str() {
            write("m.room.name", "", json!({ "name": name }));
        }
        if let Some(alias) = body["room_alias_name"].as_str() {
            let alias = format!("#{alias}:{}", server_of(user));
            write("m.room.canonical_alias", "", json!({ "alias": alias }));
            self.aliases.insert(alias, room_id.clone());
        }
        for event in body["initial_state"].as_array().into_iter().flatten() {
            let kind = event["type"].as_str().unwrap_or_default();
            let key = event["state_key"].as_str().unwrap_or_default();
            self.write(&room_id, user, kind, Some(key), event["content"].clone(), now);
        }
        let member = self.member_content(user, "join");
        self.write(&room_id, user, "m.room.member", Some(user), member, now);
        room_id
    }
}

fn power_levels(user: &str, above_numbers: bool, preset: &str, body: &Value) -> Value {
    let mut levels = json!({
        "users": {},
        "users_default": 0,
        "events": {},
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": if preset == "public_chat" { 50 } else { 0 },
    });
    if above_numbers {
        levels["events"]["m.room.tombstone"] = json!(150);
    } else {
        levels["users"][user] = json!(100);
    }
    if !above_numbers && preset == "trusted_private_chat" {
        for other in strings(&body["invite"]) {
            levels["users"][other] = json!(100);
        }
    }
    let given = body["power_level_content_override"].as_object();
    for (key, value) in given.into_iter().flatten() {
        levels[key] = value.clone();
    }
    levels
}

pub(super) fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}
