//! What the homeservers know, seen from outside.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    Answer, Refusal, Simulation,
    world::{Event, Room, World, server_of},
};

/// An event that people in a room can see.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Which room.
    pub room: String,
    /// Its type.
    pub kind: String,
    /// Its state key, when it is state.
    pub state_key: Option<String>,
    /// Who sent it.
    pub sender: String,
    /// What it says.
    pub content: Value,
}

impl Simulation {
    /// How many events there are, so that later ones can be told from earlier.
    pub fn now(&self) -> u64 {
        self.world().last_number
    }

    /// The events since, room by room.
    pub fn sent_since(&self, since: u64) -> Vec<Sent> {
        let world = self.world();
        let ids: BTreeSet<_> = world.rooms.keys().collect();
        let rooms = ids.into_iter().filter_map(|id| Some((id, world.rooms.get(id)?)));
        rooms
            .flat_map(|(room, events)| {
                let fresh = events.timeline.iter().filter(move |event| event.number > since);
                fresh.map(|event| Sent {
                    room: room.clone(),
                    kind: event.kind.to_string(),
                    state_key: event.state_key.as_deref().map(str::to_owned),
                    sender: event.sender.to_string(),
                    content: (*event.content).clone(),
                })
            })
            .collect()
    }

    /// Everything that one account has: rooms with membership, power and rules, and what it holds.
    pub fn holds(&self, user: &str) -> Value {
        let world = self.world();
        let Some(account) = world.accounts.get(user) else { return Value::Null };
        let room = |id: &String| {
            let room = world.rooms.get(id)?;
            let seen = json!({
                "membership": room.membership(user),
                "power": room.power(user),
                "join_rule": room.content("m.room.join_rules", ""),
                "called": room.content("m.room.member", user)["displayname"],
            });
            Some((id.clone(), seen))
        };
        let room_data = account.room_data.iter();
        json!({
            "rooms": account.rooms.iter().filter_map(room).collect::<Map<_, _>>(),
            "profile": account.profile,
            "data": account.data,
            "room_data": room_data.map(|((room, kind), data)| (room, kind, data)).collect::<Vec<_>>(),
        })
    }

    /// How many sessions an account has.
    pub fn sessions(&self, user: &str) -> usize {
        self.world().tokens.values().filter(|device| device.user == user).count()
    }

    /// How many rooms an account is in.
    pub fn rooms_of(&self, user: &str) -> usize {
        self.world().joined_rooms(user).len()
    }
}

impl World {
    pub(super) fn joined_rooms(&self, user: &str) -> Vec<&String> {
        let rooms = self.accounts.get(user).into_iter().flat_map(|account| &account.rooms);
        rooms.filter(|id| self.rooms.get(*id).is_some_and(|room| room.is_joined(user))).collect()
    }

    /// The events of one type that relate in one way to another, the newest first.
    pub(super) fn relations(
        &self,
        user: &str,
        room: &str,
        to: &str,
        (relation, kind): (&str, &str),
    ) -> Result<Answer, Refusal> {
        let timeline = &self.room_of(user, room)?.timeline;
        if !timeline.iter().any(|event| event.id() == to) {
            return Err(Refusal::new(404, "M_UNKNOWN", "Unknown parent event."));
        }
        let relates = |event: &&Arc<Event>| {
            let relates_to = &event.content["m.relates_to"];
            &*event.kind == kind
                && relates_to["rel_type"] == relation
                && relates_to["event_id"] == to
        };
        let events = timeline.iter().rev().filter(relates).map(|event| event.shown());
        Ok(Answer::ok(&json!({ "chunk": events.collect::<Vec<_>>() })))
    }

    /// What can be seen of a room from outside.
    pub(super) fn summary(&self, user: &str, room_id: &str) -> Result<Answer, Refusal> {
        let hidden = || Refusal::not_found("Room not found or is not accessible");
        let room = self.rooms.get(room_id).ok_or_else(hidden)?;
        let known = matches!(room.membership(user), Some("join" | "invite"));
        let knockable = room.join_rule().starts_with("knock");
        let lets_in = |id: &str| self.rooms.get(id).is_some_and(|room| room.is_joined(user));
        let visible = room.join_rule() == "public" || room.lets_in_from().any(lets_in);
        if !known && !knockable && !visible {
            return Err(hidden());
        }
        let create = room.content("m.room.create", "");
        let mut summary = json!({
            "room_id": room_id,
            "num_joined_members": room.joined().count(),
            "world_readable": false,
            "guest_can_join": false,
            "join_rule": room.join_rule(),
            "room_version": create["room_version"],
            "allowed_room_ids": room.lets_in_from().collect::<Vec<_>>(),
        });
        let fields = [
            ("name", &room.content("m.room.name", "")["name"]),
            ("canonical_alias", &room.content("m.room.canonical_alias", "")["alias"]),
            ("room_type", &create["type"]),
            ("encryption", &room.content("m.room.encryption", "")["algorithm"]),
            ("membership", &json!(room.membership(user))),
        ];
        for (name, value) in fields {
            if !value.is_null() {
                summary[name] = value.clone();
            }
        }
        Ok(Answer::ok(&summary))
    }
}

impl Room {
    /// The homeservers in it.
    pub(super) fn servers(&self) -> BTreeSet<&str> {
        self.joined().map(server_of).collect()
    }

    /// Who is in it, by what name.
    pub(super) fn profiles(&self) -> Map<String, Value> {
        let joined = self.members().filter(|(_, event)| event.content["membership"] == "join");
        joined
            .map(|(member, event)| {
                let (name, avatar) = (&event.content["displayname"], &event.content["avatar_url"]);
                (member.to_owned(), json!({ "display_name": name, "avatar_url": avatar }))
            })
            .collect()
    }
}
