//! Which request is which.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use ruma::exports::http;
use serde_json::{Value, json};

use super::{
    Answer, Refusal,
    world::{World, server_of},
};

/// A request, read as far as any answer needs it.
#[derive(Debug)]
pub(super) struct Request {
    method: String,
    /// The segments of the path, decoded.
    path: Vec<String>,
    query: Vec<(String, String)>,
    token: Option<String>,
    content_type: String,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn read(request: &http::Request<Vec<u8>>) -> Self {
        let header = |name| {
            let value = request.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let decode = |segment| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        // Only so that the query can be read.
        let uri = format!("http://any/?{}", request.uri().query().unwrap_or_default());
        let query = Url::parse(&uri).map(|url| url.query_pairs().into_owned().collect());
        Self {
            method: request.method().to_string(),
            path: request.uri().path().split('/').skip(1).map(decode).collect(),
            query: query.unwrap_or_default(),
            token: header(http::header::AUTHORIZATION)
                .and_then(|value| Some(value.strip_prefix("Bearer ")?.to_owned())),
            content_type: header(http::header::CONTENT_TYPE).unwrap_or_default(),
            body: request.body().clone(),
        }
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn queries(&self, names: &[&str]) -> Vec<String> {
        let named = self.query.iter().filter(|(key, _)| names.contains(&key.as_str()));
        named.map(|(_, value)| value.clone()).collect()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| json!({}))
    }
}

fn unrecognized() -> Refusal {
    Refusal::new(404, "M_UNRECOGNIZED", "Unrecognized request")
}

impl World {
    pub(super) fn answer(&mut self, request: &Request, now: Duration) -> Result<Answer, Refusal> {
        let segments: Vec<_> = request.path.iter().map(String::as_str).collect();
        let [server, "_matrix", rest @ ..] = &*segments else { return Err(unrecognized()) };
        let method = request.method.as_str();
        match (method, rest) {
            ("GET", ["client", "versions"]) => return Ok(Answer::ok(&versions())),
            ("GET", ["client", "v3", "login"]) => {
                let flows = json!({ "flows": [{ "type": "m.login.password" }] });
                return Ok(Answer::ok(&flows));
            }
            ("POST", ["client", "v3", "login"]) => {
                return self.log_in(server, &request.json(), now);
            }
            _ => {}
        }
        let missing = || Refusal::new(401, "M_MISSING_TOKEN", "Missing access token");
        let token = request.token.as_deref().ok_or_else(missing)?;
        let device = self.tokens.get(token).filter(|device| server_of(&device.user) == *server);
        let unknown = || Refusal::new(401, "M_UNKNOWN_TOKEN", "Invalid access token passed.");
        let device = device.cloned().ok_or_else(unknown)?;
        let user = device.user.as_str();
        match (method, rest) {
            ("POST", ["client", "v3", "logout"]) => {
                self.tokens.remove(token);
                Ok(Answer::ok(&json!({})))
            }
            ("GET", ["client", "v3", "account", "whoami"]) => {
                Ok(Answer::ok(&json!({ "user_id": user, "device_id": device.id })))
            }
            ("GET", ["client", "v3", "capabilities"]) => Ok(Answer::ok(&capabilities())),
            ("GET", ["client", "v3", "sync"]) => {
                let filter = request.query("filter").and_then(|filter| self.filter(filter));
                let since = request.query("since").and_then(|since| since.strip_prefix('s'));
                let timeout = request.query("timeout").and_then(|time| time.parse().ok());
                let timeout = Duration::from_millis(timeout.unwrap_or(0));
                let since = since.and_then(|since| since.parse().ok());
                Ok(self.sync(user, &filter.unwrap_or_default(), since, timeout))
            }
            (_, ["client", "v3", "rooms", room, rest @ ..]) => {
                self.in_room(request, user, room, rest, now)
            }
            ("GET", ["client", "v1", "rooms", room, "relations", event, relation, kind]) => {
                self.relations(user, room, event, (relation, kind))
            }
            (_, ["client", "v3", "user", owner, rest @ ..]) if *owner == user => {
                self.own_data(request, user, rest)
            }
            (_, ["client", "v3", "profile", owner, rest @ ..]) => {
                self.profiles(request, user, (owner, rest), now)
            }
            (_, ["client", "v3", "pushrules", rest @ ..]) => {
                self.push_rules(user, rest, request.query("after"), &request.json())
            }
            (_, ["client", "v1", "media", "download", server, id]) => self.download(server, id),
            ("POST", ["media", "v3", "upload"]) => {
                Ok(self.upload(user, request.body.clone(), &request.content_type))
            }
            _ => self.finding_rooms(request, user, rest, now),
        }
    }

    /// A filter as it is, or by the name that it was given.
    fn filter(&self, filter: &str) -> Option<Value> {
        match filter.parse::<usize>() {
            Ok(place) => self.filters.get(place).cloned(),
            Err(_) => serde_json::from_str(filter).ok(),
        }
    }

    /// Rooms that the account may not be in.
    fn finding_rooms(
        &mut self,
        request: &Request,
        user: &str,
        path: &[&str],
        now: Duration,
    ) -> Result<Answer, Refusal> {
        match (request.method.as_str(), path) {
            ("POST", ["client", "v3", "createRoom"]) => {
                self.create_room(user, &request.json(), now)
            }
            ("POST", ["client", "v3", "join", room]) => {
                let via = request.queries(&["via", "server_name"]);
                self.join(user, room, &via, now)
            }
            ("POST", ["client", "v3", "knock", room]) => self.knock(user, room, now),
            ("GET", ["client", "v3", "joined_rooms"]) => {
                Ok(Answer::ok(&json!({ "joined_rooms": self.joined_rooms(user) })))
            }
            ("GET", ["client", "v3", "directory", "room", alias]) => {
                let room = self.resolve(alias)?;
                let servers = self.room(&room)?.servers();
                Ok(Answer::ok(&json!({ "room_id": room, "servers": servers })))
            }
            ("GET", ["client", _, "room_summary", room])
            | ("GET", ["client", _, "im.nheko.summary", "summary" | "rooms", room, ..]) => {
                let room = self.resolve(room)?;
                self.summary(user, &room)
            }
            _ => Err(unrecognized()),
        }
    }

    /// Everything below `/rooms/ROOM/`.
    fn in_room(
        &mut self,
        request: &Request,
        user: &str,
        room: &str,
        path: &[&str],
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let body = || request.json();
        let target = || body()["user_id"].as_str().unwrap_or_default().to_owned();
        match (request.method.as_str(), path) {
            ("POST", ["invite"]) => self.invite(user, room, &target(), now),
            ("POST", ["join"]) => self.join(user, room, &[], now),
            ("POST", ["leave"]) => self.leave(user, room, now),
            ("POST", ["ban"]) => self.ban(user, room, &target(), "ban", now),
            ("POST", ["kick" | "unban"]) => self.ban(user, room, &target(), "leave", now),
            ("GET", ["joined_members"]) => {
                let room = self.room_of(user, room)?;
                Ok(Answer::ok(&json!({ "joined": room.profiles() })))
            }
            ("GET", ["state"]) => {
                let room = self.room_of(user, room)?;
                let state: Vec<_> = room.state.values().map(|event| event.shown()).collect();
                Ok(Answer::ok(&Value::Array(state)))
            }
            ("GET", ["state", kind, key @ ..]) => {
                let room = self.room_of(user, room)?;
                let event = room.event(kind, key.first().unwrap_or(&""));
                let event = event.ok_or_else(|| Refusal::not_found("Event not found."))?;
                Ok(Answer::ok(&event.content))
            }
            ("PUT", ["state", kind, key @ ..]) => {
                self.set_state(user, room, (kind, key.first().unwrap_or(&"")), body(), now)
            }
            ("PUT", ["send", kind, transaction]) => {
                self.send(user, room, (kind, transaction), body(), now)
            }
            ("PUT", ["redact", event, transaction]) => {
                let content = json!({ "redacts": event });
                self.send(user, room, ("m.room.redaction", transaction), content, now)
            }
            ("GET", ["messages"]) => {
                let limit = request.query("limit").and_then(|limit| limit.parse().ok());
                let events = self.room_of(user, room)?.timeline.iter().rev();
                let events = events.take(limit.unwrap_or(10)).map(|event| event.shown());
                Ok(Answer::ok(&json!({ "start": "s0", "chunk": events.collect::<Vec<_>>() })))
            }
            _ => Err(unrecognized()),
        }
    }

    /// Everything below `/user/USER/` that is the account's own.
    fn own_data(
        &mut self,
        request: &Request,
        user: &str,
        path: &[&str],
    ) -> Result<Answer, Refusal> {
        match (request.method.as_str(), path) {
            ("POST", ["filter"]) => {
                self.filters.push(request.json());
                Ok(Answer::ok(&json!({ "filter_id": (self.filters.len() - 1).to_string() })))
            }
            ("GET", ["account_data", kind]) => self.account_data(user, kind),
            ("PUT", ["account_data", kind]) => {
                Ok(self.set_account_data(user, kind, request.json()))
            }
            ("GET", ["rooms", room, "account_data", kind]) => {
                self.room_data(user, room, kind).map(Answer::ok)
            }
            ("PUT", ["rooms", room, "account_data", kind]) => {
                Ok(self.set_room_data(user, room, kind, request.json()))
            }
            ("GET", ["rooms", room, "tags"]) => {
                let none = json!({ "tags": {} });
                Ok(Answer::ok(self.room_data(user, room, "m.tag").unwrap_or(&none)))
            }
            ("PUT", ["rooms", room, "tags", tag]) => {
                Ok(self.set_tag(user, room, tag, request.json()))
            }
            _ => Err(unrecognized()),
        }
    }

    fn profiles(
        &mut self,
        request: &Request,
        user: &str,
        (owner, path): (&str, &[&str]),
        now: Duration,
    ) -> Result<Answer, Refusal> {
        match (request.method.as_str(), path) {
            ("GET", []) => self.profile(owner),
            ("PUT", [field]) if owner == user => {
                self.set_profile(user, field, &request.json()[*field], now)
            }
            _ => Err(unrecognized()),
        }
    }
}

fn versions() -> Value {
    let versions: Vec<_> = (1..=12).map(|minor| format!("v1.{minor}")).collect();
    json!({ "versions": versions, "unstable_features": { "uk.tcpip.msc4133.stable": true } })
}

fn capabilities() -> Value {
    let versions: serde_json::Map<_, _> =
        (1..=12).map(|version| (version.to_string(), json!("stable"))).collect();
    json!({ "capabilities": { "m.room_versions": { "default": "12", "available": versions } } })
}
