//! What an account has for itself: sessions, profile, account data, push rules, files.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Answer, Refusal,
    limits::Kind,
    world::{Device, World, server_of},
};

const PUSH_RULES: &str = "m.push_rules";

impl World {
    /// Makes an account.
    pub(super) fn register(&mut self, user: &str, password: &str) {
        let account = self.account(user);
        account.password = password.to_owned();
        account.data.insert(PUSH_RULES.to_owned(), predefined_rules());
    }

    pub(super) fn log_in(
        &mut self,
        server: &str,
        body: &Value,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let wrong = || Refusal::forbidden("Invalid username or password");
        if body["type"] != "m.login.password" {
            return Err(Refusal::new(400, "M_UNKNOWN", "Unknown login type"));
        }
        let name = body["identifier"]["user"].as_str().unwrap_or_default();
        let user =
            if name.starts_with('@') { name.to_owned() } else { format!("@{name}:{server}") };
        self.take(&user, Kind::Login, &user, now)?;
        let account = self.accounts.get(&user).filter(|_| server_of(&user) == server);
        let account = account.ok_or_else(wrong)?;
        if body["password"] != account.password.as_str() {
            return Err(wrong());
        }
        let device = body["device_id"].as_str().map(str::to_owned);
        let device = device.unwrap_or_else(|| format!("DEVICE{}", self.number()));
        let token = self.open_session(&user, &device);
        let body = json!({ "user_id": user, "access_token": token, "device_id": device });
        Ok(Answer::ok(&body))
    }

    /// Gives a device a token; one that it had is good for nothing any more.
    pub(super) fn open_session(&mut self, user: &str, device: &str) -> String {
        let session = Device { user: user.to_owned(), id: device.to_owned() };
        self.tokens.retain(|_, known| *known != session);
        let token = format!("token{}", self.number());
        self.tokens.insert(token.clone(), session);
        token
    }

    /// Sets a field of the profile. Rooms are told of a new name or picture at once.
    pub(super) fn set_profile(
        &mut self,
        user: &str,
        field: &str,
        value: &Value,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let in_rooms = ["displayname", "avatar_url"].contains(&field);
        if in_rooms {
            self.take(user, Kind::Message, user, now)?;
        }
        self.account(user).profile.insert(field.to_owned(), value.clone());
        if in_rooms {
            let rooms = self.account(user).rooms.clone();
            for room_id in rooms {
                if self.rooms.get(&room_id).is_some_and(|room| room.is_joined(user)) {
                    let content = self.member_content(user, "join");
                    self.write(&room_id, user, "m.room.member", Some(user), content, now);
                }
            }
        }
        Ok(Answer::ok(&json!({})))
    }

    pub(super) fn profile(&self, user: &str) -> Result<Answer, Refusal> {
        let account = self.accounts.get(user);
        let account = account.ok_or_else(|| Refusal::new(404, "M_UNKNOWN", "Profile not found"))?;
        Ok(Answer::ok(&json!(account.profile)))
    }

    pub(super) fn account_data(&self, user: &str, kind: &str) -> Result<Answer, Refusal> {
        let data = self.accounts.get(user).and_then(|account| account.data.get(kind));
        data.map(Answer::ok).ok_or_else(no_data)
    }

    pub(super) fn set_account_data(&mut self, user: &str, kind: &str, content: Value) -> Answer {
        self.account(user).data.insert(kind.to_owned(), content);
        Answer::ok(&json!({}))
    }

    pub(super) fn room_data(&self, user: &str, room: &str, kind: &str) -> Result<&Value, Refusal> {
        let key = (room.to_owned(), kind.to_owned());
        let data = self.accounts.get(user).and_then(|account| account.room_data.get(&key));
        data.ok_or_else(no_data)
    }

    pub(super) fn set_room_data(
        &mut self,
        user: &str,
        room: &str,
        kind: &str,
        content: Value,
    ) -> Answer {
        let key = (room.to_owned(), kind.to_owned());
        self.account(user).room_data.insert(key, content);
        Answer::ok(&json!({}))
    }

    pub(super) fn set_tag(&mut self, user: &str, room: &str, tag: &str, info: Value) -> Answer {
        let tags = self.room_data(user, room, "m.tag").cloned();
        let mut tags = tags.unwrap_or_else(|_| json!({ "tags": {} }));
        tags["tags"][tag] = info;
        self.set_room_data(user, room, "m.tag", tags)
    }

    /// Everything below `/pushrules/`.
    pub(super) fn push_rules(
        &mut self,
        user: &str,
        path: &[&str],
        after: Option<&str>,
        body: &Value,
    ) -> Result<Answer, Refusal> {
        let data = &mut self.account(user).data;
        let rules = data.entry(PUSH_RULES.to_owned()).or_insert_with(predefined_rules);
        let [_global, kind, id, part @ ..] = path else { return Ok(Answer::ok(rules)) };
        let unknown = || Refusal::new(400, "M_INVALID_PARAM", format!("Unrecognized {kind}"));
        let rules = rules["global"][*kind].as_array_mut().ok_or_else(unknown)?;
        let found = rules.iter().position(|rule| rule["rule_id"] == *id);
        match (part, found) {
            ([part @ ("enabled" | "actions")], Some(place)) => {
                rules[place][*part] = body[*part].clone();
            }
            ([], None) if id.starts_with('.') => {
                let message = "cannot add new rule_ids that start with '.'";
                return Err(Refusal::new(400, "M_INVALID_PARAM", message));
            }
            ([], found) => {
                let mut rule = body.clone();
                rule["rule_id"] = json!(id);
                rule["default"] = json!(false);
                let enabled = found.map(|place| rules.remove(place)["enabled"].clone());
                rule["enabled"] = enabled.unwrap_or(json!(true));
                let after = after.map(|after| {
                    let place = rules.iter().position(|rule| rule["rule_id"] == after);
                    let missing = || Refusal::new(400, "M_UNKNOWN", "before/after rule not found");
                    place.map(|place| place + 1).ok_or_else(missing)
                });
                let place = after.transpose()?.unwrap_or(0);
                rules.insert(place, rule);
            }
            _ => return Err(Refusal::not_found("Unknown rule")),
        }
        Ok(Answer::ok(&json!({})))
    }

    pub(super) fn upload(&mut self, user: &str, content: Vec<u8>, content_type: &str) -> Answer {
        let uri = format!("mxc://{}/file{}", server_of(user), self.number());
        self.files.insert(uri.clone(), (content, content_type.to_owned()));
        Answer::ok(&json!({ "content_uri": uri }))
    }

    pub(super) fn download(&self, server: &str, id: &str) -> Result<Answer, Refusal> {
        let file = self.files.get(&format!("mxc://{server}/{id}"));
        let (content, content_type) =
            file.cloned().ok_or_else(|| Refusal::not_found("Not found"))?;
        Ok(Answer::file(content, content_type))
    }
}

fn no_data() -> Refusal {
    Refusal::not_found("Account data not found")
}

/// Two of the rules that every account has from the start.
fn predefined_rules() -> Value {
    let rule = |id: &str, enabled: bool, actions: Value| {
        json!({
            "rule_id": id, "default": true, "enabled": enabled,
            "conditions": [], "actions": actions,
        })
    };
    json!({ "global": {
        "override": [rule(".m.rule.master", false, json!([]))],
        "content": [],
        "room": [],
        "sender": [],
        "underride": [rule(".m.rule.message", true, json!(["notify"]))],
    }})
}
