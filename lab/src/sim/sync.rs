//! `/sync`, as far as its filters are used.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    Answer,
    world::{Account, Event, Room, World},
};

/// Which events are shown.
#[derive(Clone, Copy)]
struct Shown<'a>(&'a Value);

impl Shown<'_> {
    fn names(&self, list: &str) -> Option<impl Iterator<Item = &str>> {
        Some(self.0[list].as_array()?.iter().filter_map(Value::as_str))
    }

    fn has_type(&self, kind: &str) -> bool {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == pattern,
        };
        self.names("types").is_none_or(|mut types| types.any(fits))
            && !self.names("not_types").is_some_and(|mut types| types.any(fits))
    }

    fn has(&self, event: &Event) -> bool {
        let is_sender = |sender: &str| sender == &*event.sender;
        self.has_type(&event.kind)
            && self.names("senders").is_none_or(|mut senders| senders.any(is_sender))
    }

    fn lazy(&self) -> bool {
        self.0["lazy_load_members"] == true
    }

    fn limit(&self) -> usize {
        self.0["limit"].as_u64().map_or(10, |limit| limit as usize)
    }
}

impl World {
    /// What is new to `user` after the event `since`. An answer with nothing new takes the whole
    /// `timeout`.
    pub(super) fn sync(
        &self,
        user: &str,
        filter: &Value,
        since: Option<u64>,
        timeout: Duration,
    ) -> Answer {
        let nobody = Account::default();
        let account = self.accounts.get(user).unwrap_or(&nobody);
        let room_filter = &filter["room"];
        let (mut join, mut invite, mut knock, mut leave) =
            (Map::new(), Map::new(), Map::new(), Map::new());
        for (room_id, room) in account.rooms.iter().filter_map(|id| Some((id, self.rooms.get(id)?)))
        {
            let rooms = room_filter["rooms"].as_array();
            if rooms.is_some_and(|rooms| !rooms.iter().any(|named| named == room_id.as_str())) {
                continue;
            }
            let newest = room.timeline.last().map_or(0, |event| event.number);
            if since.is_some_and(|since| newest <= since) {
                continue;
            }
            match room.membership(user) {
                Some("join") => {
                    let mut shown = room.joined_room(user, room_filter, since);
                    let data = account.room_data.range((room_id.clone(), String::new())..);
                    let data = data.take_while(|((id, _), _)| id == room_id);
                    let data = data.map(|((_, kind), content)| (kind, content));
                    let events = data_events(data, Shown(&room_filter["account_data"]));
                    shown["account_data"] = json!({ "events": events });
                    join.insert(room_id.clone(), shown);
                }
                Some("invite") => {
                    let state = json!({ "events": room.stripped(user) });
                    invite.insert(room_id.clone(), json!({ "invite_state": state }));
                }
                Some("knock") => {
                    let state = json!({ "events": room.stripped(user) });
                    knock.insert(room_id.clone(), json!({ "knock_state": state }));
                }
                Some(_) if room_filter["include_leave"] == true => {
                    leave.insert(room_id.clone(), room.joined_room(user, room_filter, since));
                }
                _ => {}
            }
        }
        let nothing = join.is_empty() && invite.is_empty() && knock.is_empty() && leave.is_empty();
        let data = data_events(account.data.iter(), Shown(&filter["account_data"]));
        let answer = Answer::ok(&json!({
            "next_batch": format!("s{}", self.last_number),
            "rooms": { "join": join, "invite": invite, "knock": knock, "leave": leave },
            "account_data": { "events": if since.is_some() { Vec::new() } else { data } },
        }));
        if since.is_some() && nothing { answer.after(timeout) } else { answer }
    }
}

fn data_events<'a>(
    data: impl Iterator<Item = (&'a String, &'a Value)>,
    shown: Shown<'_>,
) -> Vec<Value> {
    data.filter(|(kind, _)| shown.has_type(kind))
        .map(|(kind, content)| json!({ "type": kind, "content": content }))
        .collect()
}

impl Room {
    fn joined_room(&self, user: &str, filter: &Value, since: Option<u64>) -> Value {
        let (state, timeline) = (Shown(&filter["state"]), Shown(&filter["timeline"]));
        let fresh = self.timeline.iter().filter(|event| event.number > since.unwrap_or(0));
        let fresh: Vec<_> = fresh.filter(|event| timeline.has(event)).collect();
        let limited = fresh.len() > timeline.limit();
        let last = &fresh[fresh.len().saturating_sub(timeline.limit())..];
        let senders: BTreeSet<_> = last.iter().map(|event| &*event.sender).collect();
        let in_timeline: BTreeSet<_> = last.iter().map(|event| event.number).collect();
        let is_wanted = |event: &Event| {
            let is_member = &*event.kind == "m.room.member";
            let key = event.state_key.as_deref().unwrap_or_default();
            let too_old = since.is_some_and(|since| event.number <= since);
            state.has(event)
                && !in_timeline.contains(&event.number)
                && !(too_old || is_member && state.lazy() && key != user && !senders.contains(key))
        };
        let events: Vec<_> = self
            .state
            .values()
            .filter(|event| is_wanted(event))
            .map(|event| event.shown())
            .collect();
        let shown: Vec<_> = last.iter().map(|event| event.shown()).collect();
        let mut room = json!({
            "state": { "events": events },
            "timeline": { "events": shown, "limited": limited, "prev_batch": "s0" },
        });
        if state.lazy() {
            let count = |membership: &str| {
                let is = |event: &Event| event.content["membership"] == membership;
                self.members().filter(|(_, event)| is(event)).count()
            };
            let heroes = self.members().map(|(member, _)| member).filter(|member| *member != user);
            room["summary"] = json!({
                "m.heroes": heroes.take(5).collect::<Vec<_>>(),
                "m.joined_member_count": count("join"),
                "m.invited_member_count": count("invite"),
            });
        }
        room
    }

    /// What who is invited is told of the room.
    fn stripped(&self, user: &str) -> Vec<Value> {
        let told = [
            "m.room.create",
            "m.room.join_rules",
            "m.room.name",
            "m.room.canonical_alias",
            "m.room.encryption",
        ];
        let told = told.into_iter().filter_map(|kind| self.event(kind, ""));
        told.chain(self.event("m.room.member", user)).map(|event| event.shown()).collect()
    }
}
