//! What the homeservers know: accounts, rooms, events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Rates, Refusal,
    limits::{Kind, Limiter},
};

/// Everything. What one homeserver knows the other one knows in the same moment.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) limiters: BTreeMap<String, Limiter>,
    pub(super) accounts: HashMap<String, Account>,
    pub(super) tokens: HashMap<String, Device>,
    pub(super) rooms: HashMap<String, Room>,
    /// Rooms that invited accounts' homeservers have a fault with.
    pub(super) faulty_rooms: BTreeSet<String>,
    /// Accounts that nothing is limited for.
    pub(super) exempt: BTreeSet<String>,
    pub(super) aliases: HashMap<String, String>,
    /// Filters that were uploaded; each is named by its place.
    pub(super) filters: Vec<Value>,
    pub(super) files: HashMap<String, (Vec<u8>, String)>,
    /// Counts events, rooms, tokens and files: whatever needs a name of its own.
    pub(super) last_number: u64,
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Device {
    pub(super) user: String,
    pub(super) id: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) password: String,
    /// Rooms that it ever had to do with.
    pub(super) rooms: BTreeSet<String>,
    pub(super) profile: BTreeMap<String, Value>,
    pub(super) data: BTreeMap<String, Value>,
    /// By room and type.
    pub(super) room_data: BTreeMap<(String, String), Value>,
    /// Events sent with a transaction ID.
    pub(super) sent: HashMap<String, String>,
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) kind: Arc<str>,
    pub(super) state_key: Option<Arc<str>>,
    pub(super) sender: Arc<str>,
    pub(super) content: Arc<Value>,
    /// The content that this one replaced.
    pub(super) before: Option<Arc<Value>>,
    /// When, in milliseconds.
    pub(super) at: u64,
}

impl Event {
    pub(super) fn id(&self) -> String {
        format!("${}", self.number)
    }

    /// As a client is given it.
    pub(super) fn shown(&self) -> Value {
        let mut event = json!({
            "type": &*self.kind,
            "sender": &*self.sender,
            "content": &*self.content,
            "event_id": self.id(),
            "origin_server_ts": self.at,
        });
        if let Some(key) = &self.state_key {
            event["state_key"] = json!(&**key);
        }
        if let Some(before) = &self.before {
            event["unsigned"] = json!({ "prev_content": &**before });
        }
        event
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    pub(super) state: BTreeMap<(Arc<str>, Arc<str>), Arc<Event>>,
    pub(super) timeline: Vec<Arc<Event>>,
}

impl Room {
    pub(super) fn event(&self, kind: &str, key: &str) -> Option<&Arc<Event>> {
        self.state.get(&(kind.into(), key.into()))
    }

    pub(super) fn content(&self, kind: &str, key: &str) -> &Value {
        self.event(kind, key).map_or(&Value::Null, |event| &*event.content)
    }

    pub(super) fn membership(&self, user: &str) -> Option<&str> {
        self.content("m.room.member", user)["membership"].as_str()
    }

    pub(super) fn is_joined(&self, user: &str) -> bool {
        self.membership(user) == Some("join")
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Event)> {
        let members = self.state.iter().filter(|((kind, _), _)| &**kind == "m.room.member");
        members.map(|((_, user), event)| (&**user, &**event))
    }

    pub(super) fn joined(&self) -> impl Iterator<Item = &str> {
        self.members()
            .filter(|(_, event)| event.content["membership"] == "join")
            .map(|(user, _)| user)
    }

    pub(super) fn has_server(&self, server: &str) -> bool {
        self.joined().any(|user| server_of(user) == server)
    }

    fn version(&self) -> u64 {
        let version = self.content("m.room.create", "")["room_version"].as_str();
        version.and_then(|version| version.parse().ok()).unwrap_or(1)
    }

    fn is_creator_above_numbers(&self, user: &str) -> bool {
        let Some(create) = self.event("m.room.create", "") else { return false };
        let more = create.content["additional_creators"].as_array();
        let is_one = &*create.sender == user
            || more.is_some_and(|more| more.iter().any(|creator| creator == user));
        self.version() >= 12 && is_one
    }

    /// The power of `user`.
    pub(super) fn power(&self, user: &str) -> i64 {
        if self.is_creator_above_numbers(user) {
            return i64::MAX;
        }
        let levels = self.content("m.room.power_levels", "");
        let own = levels["users"][user].as_i64();
        own.or(levels["users_default"].as_i64()).unwrap_or(0)
    }

    /// The power that it takes to do something named in the power levels.
    pub(super) fn needed(&self, name: &str, default: i64) -> i64 {
        self.content("m.room.power_levels", "")[name].as_i64().unwrap_or(default)
    }

    /// The power that it takes to send an event.
    pub(super) fn needed_to_send(&self, kind: &str, is_state: bool) -> i64 {
        let levels = self.content("m.room.power_levels", "");
        let default = match is_state {
            true => self.needed("state_default", 50),
            false => self.needed("events_default", 0),
        };
        levels["events"][kind].as_i64().unwrap_or(default)
    }

    pub(super) fn join_rule(&self) -> &str {
        self.content("m.room.join_rules", "")["join_rule"].as_str().unwrap_or("invite")
    }

    pub(super) fn is_restricted(&self) -> bool {
        matches!(self.join_rule(), "restricted" | "knock_restricted")
    }

    /// Rooms whose members are let in.
    pub(super) fn lets_in_from(&self) -> impl Iterator<Item = &str> {
        let rule = self.content("m.room.join_rules", "");
        let allowed = if self.is_restricted() { rule["allow"].as_array() } else { None };
        allowed.into_iter().flatten().filter_map(|allow| allow["room_id"].as_str())
    }

    pub(super) fn is_federated(&self) -> bool {
        self.content("m.room.create", "")["m.federate"] != false
    }
}

/// The server name of a user ID.
pub(super) fn server_of(user: &str) -> &str {
    user.split_once(':').map_or("", |(_, server)| server)
}

impl World {
    pub(super) fn new(servers: &[&str], rates: Rates) -> Self {
        let limiters =
            servers.iter().map(|name| ((*name).to_owned(), Limiter::new(rates))).collect();
        Self { limiters, ..Self::default() }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Lets an action of `user` pass, as far as its homeserver limits that. `key` is what is
    /// counted by.
    pub(super) fn take(
        &mut self,
        user: &str,
        kind: Kind,
        key: &str,
        now: Duration,
    ) -> Result<(), Refusal> {
        if self.exempt.contains(user) {
            return Ok(());
        }
        let limiter = self.limiters.get_mut(server_of(user));
        limiter.map_or(Ok(()), |limiter| limiter.take(kind, key, now))
    }

    /// Whether `user` may write an event now.
    pub(super) fn may_write(&self, user: &str, now: Duration) -> Result<(), Refusal> {
        let limiter = self.limiters.get(server_of(user)).filter(|_| !self.exempt.contains(user));
        limiter.map_or(Ok(()), |limiter| limiter.check(Kind::Message, user, now))
    }

    pub(super) fn room(&self, room: &str) -> Result<&Room, Refusal> {
        self.rooms.get(room).ok_or_else(|| Refusal::not_found("Unknown room"))
    }

    /// The room, if `user` is in it.
    pub(super) fn room_of(&self, user: &str, room: &str) -> Result<&Room, Refusal> {
        let refusal = || Refusal::forbidden(format!("User {user} not in room {room}"));
        self.rooms.get(room).filter(|room| room.is_joined(user)).ok_or_else(refusal)
    }

    pub(super) fn account(&mut self, user: &str) -> &mut Account {
        self.accounts.entry(user.to_owned()).or_default()
    }

    /// Writes an event without asking whether its sender may.
    pub(super) fn write(
        &mut self,
        room_id: &str,
        sender: &str,
        kind: &str,
        state_key: Option<&str>,
        content: impl Into<Arc<Value>>,
        now: Duration,
    ) -> Arc<Event> {
        let number = self.number();
        let room = self.rooms.entry(room_id.to_owned()).or_default();
        let kind: Arc<str> = kind.into();
        let state_key: Option<Arc<str>> = state_key.map(Into::into);
        let before = state_key
            .as_ref()
            .and_then(|key| room.state.get(&(kind.clone(), key.clone())))
            .map(|event| event.content.clone());
        let event = Arc::new(Event {
            number,
            kind: kind.clone(),
            state_key: state_key.clone(),
            sender: sender.into(),
            content: content.into(),
            before,
            at: now.as_millis() as u64,
        });
        room.timeline.push(event.clone());
        if let Some(key) = state_key {
            if &*kind == "m.room.member" {
                self.accounts.entry(key.to_string()).or_default().rooms.insert(room_id.to_owned());
            }
            if let Some(room) = self.rooms.get_mut(room_id) {
                room.state.insert((kind, key), event.clone());
            }
        }
        event
    }

    /// The content of a member event of `user`, with its profile.
    pub(super) fn member_content(&self, user: &str, membership: &str) -> Value {
        let mut content = json!({ "membership": membership });
        let profile = self.accounts.get(user).map(|account| &account.profile);
        for field in ["displayname", "avatar_url"] {
            if let Some(value) = profile.and_then(|profile| profile.get(field)) {
                content[field] = value.clone();
            }
        }
        content
    }
}
