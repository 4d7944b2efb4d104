//! Whatever a homeserver answers, a survey is read from it or it is none, and a plan is made.

use proptest::prelude::*;
use ruma::{api::IncomingResponse as _, exports::http, user_id};
use serde_json::{Map, Value, json};

use super::fixtures::{new_survey, plan};
use crate::{homeserver::Synced, migration::survey::Survey};

/// Any JSON, with strings that mean something in Matrix among them.
fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,12}",
        Just("@old:a.example".to_owned()),
        Just("!room:a.example".to_owned()),
        Just("join".to_owned()),
        Just("12".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            "[a-z_.]{1,10}",
            Just("users".to_owned()),
            Just("allow".to_owned()),
            Just("room_version".to_owned()),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

/// What a survey reads.
const TYPES: [&str; 12] = [
    "m.bridge",
    "m.room.canonical_alias",
    "m.room.create",
    "m.room.encryption",
    "m.room.join_rules",
    "m.room.member",
    "m.room.name",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.tombstone",
    "m.space.child",
    "m.tag",
];

/// A state event of a type that matters, in which anything may be anything.
fn event() -> impl Strategy<Value = Value> {
    let sender = prop_oneof![4 => Just(json!("@bob:b.example")), 1 => anything()];
    let state_key = prop_oneof![
        2 => Just(json!("")),
        1 => Just(json!("@old:a.example")),
        1 => Just(json!("!child:a.example")),
        1 => anything(),
    ];
    (proptest::sample::select(&TYPES[..]), state_key, sender, anything(), anything()).prop_map(
        |(event_type, state_key, sender, content, unsigned)| {
            json!({
                "type": event_type,
                "state_key": state_key,
                "sender": sender,
                "content": content,
                "unsigned": unsigned,
                "event_id": "$event",
                "origin_server_ts": 1,
            })
        },
    )
}

fn read(sync: &Value) -> Option<Survey> {
    let answer = http::Response::new(serde_json::to_vec(sync).unwrap());
    let synced = Synced::try_from_http_response(answer).ok()?;
    Some(Survey::read(user_id!("@old:a.example"), &synced))
}

proptest! {
    #[test]
    fn whatever_the_events_hold_each_room_is_in_the_plan(
        state in proptest::collection::vec(event(), 0..6),
        timeline in proptest::collection::vec(event(), 0..2),
        account_data in proptest::collection::vec(event(), 0..2),
        other in anything(),
    ) {
        let sync = json!({
            "next_batch": "s",
            "rooms": { "join": {
                "!room:a.example": {
                    "state": { "events": state },
                    "timeline": { "events": timeline },
                    "account_data": { "events": account_data },
                },
                "!other:a.example": other,
            } },
            "account_data": { "events": account_data },
        });
        let survey = read(&sync).expect("what is wrong with a room costs that room");
        let plan = plan(&survey, &new_survey(&json!({})));
        for id in ["!room:a.example", "!other:a.example"] {
            prop_assert!(plan.rooms.iter().any(|room| room.room.id == id), "{} is lost", id);
        }
    }

    #[test]
    fn whatever_is_answered_to_a_sync_is_read_or_is_no_answer(
        rooms in anything(),
        account_data in anything(),
        whole in anything(),
    ) {
        read(&json!({ "next_batch": "s", "rooms": rooms, "account_data": account_data }));
        read(&whole);
    }
}
