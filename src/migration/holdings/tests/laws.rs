//! What holds for all accounts.

use std::collections::BTreeSet;

use proptest::prelude::*;
use ruma::serde::JsonObject;
use serde_json::{Value, json};

use super::{super::push_rules::KINDS, Account, merge, planned, trio};
use crate::migration::{
    Options,
    holdings::{PlannedHolding, PushRules, profile},
};

const TYPES: [&str; 8] = [
    "m.ignored_user_list",
    "im.ponies.user_emotes",
    "im.ponies.emote_rooms",
    "im.vector.web.settings",
    "io.element.recent_emoji",
    "m.marked_unread",
    "org.example.one",
    "org.example.two",
];

/// JSON of few keys and few values, so that two of them often meet.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::Bool),
        (0..3).prop_map(|number| json!(number)),
        Just(json!(["😀", 1])),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            object_of(inner).prop_map(Value::Object),
        ]
    })
}

fn object_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = JsonObject> {
    let key = prop::sample::select(vec![
        "a",
        "b",
        "unread",
        "recent_emoji",
        "images",
        "rooms",
        "ignored_users",
        "@new:b.example",
        "@spam:c.example",
    ]);
    prop::collection::btree_map(key.prop_map(str::to_owned), value, 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

fn rules() -> impl Strategy<Value = Value> {
    let rule =
        (prop::sample::select(vec!["a", "b", "c", "@old:a.example", ".m.rule.x"]), any::<bool>());
    prop::collection::btree_map(0..5_usize, prop::collection::vec(rule, 0..5), 0..4).prop_map(
        |kinds| {
            let rules = |rules: Vec<(&str, bool)>| {
                let mut seen = std::collections::BTreeSet::new();
                let rules = rules.into_iter().filter(|(rule_id, _)| seen.insert(*rule_id));
                rules
                    .map(|(rule_id, enabled)| {
                        json!({ "rule_id": rule_id, "default": rule_id.starts_with('.'),
                        "enabled": enabled, "actions": [] })
                    })
                    .collect::<Value>()
            };
            kinds.into_iter().map(|(kind, of)| (KINDS[kind].to_string(), rules(of))).collect()
        },
    )
}

prop_compose! {
    fn account()(
        data in prop::collection::btree_map(prop::sample::select(TYPES.to_vec()), object_of(value()), 0..6),
        room_data in prop::collection::btree_map(prop::sample::select(TYPES.to_vec()), object_of(value()), 0..3),
        name in prop::sample::select(vec![json!(null), json!("new"), json!("old"), json!("Alice"), json!("Bob")]),
        field in value(),
        push_rules in rules(),
    ) -> Account {
        let all = |data: std::collections::BTreeMap<&str, JsonObject>| {
            data.into_iter().map(|(of, content)| (of.to_owned(), Value::Object(content))).collect()
        };
        Account {
            profile: json!({ "displayname": name, "org.example.field": field }),
            data: all(data),
            room_data: all(room_data),
            member: json!({}),
            push_rules,
        }
    }
}

/// The new account as it is once the plan was carried out.
fn after(old: &Account, new: &Account, prefer_old: bool) -> Account {
    Account {
        profile: profile_after(old, new, prefer_old),
        data: data_after(&old.data, &new.data, prefer_old),
        room_data: data_after(&old.room_data, &new.room_data, prefer_old),
        member: new.member.clone(),
        push_rules: rules_after(&old.push_rules, &new.push_rules, prefer_old),
    }
}

fn profile_after(old: &Account, new: &Account, prefer_old: bool) -> Value {
    let read = |account: &Account| serde_json::from_value(account.profile.clone()).unwrap();
    let (theirs, own) = (read(old), read(new));
    let mut after = new.profile.clone();
    let name = profile::display_name(&theirs, trio().old);
    if profile::compare_names(&theirs, &own, trio()).calls_for_writing(prefer_old) {
        after["displayname"] = json!(name);
    }
    let field = profile::field(&theirs, "org.example.field");
    let lack = profile::compare(field, profile::field(&own, "org.example.field"));
    if lack.calls_for_writing(prefer_old) {
        after["org.example.field"] = json!(field);
    }
    after
}

fn data_after(
    old: &[(String, Value)],
    new: &[(String, Value)],
    prefer_old: bool,
) -> Vec<(String, Value)> {
    let mut after = new.to_vec();
    for (event_type, theirs) in old {
        let place = after.iter().position(|(known, _)| known == event_type);
        let own = place.map_or_else(|| json!({}), |place| after[place].1.clone());
        let (Value::Object(theirs), Value::Object(own)) = (theirs.clone(), own) else { continue };
        let (merged, lack) = merge(event_type, trio(), theirs, own, prefer_old);
        if !lack.calls_for_writing(prefer_old) {
            continue;
        }
        match place {
            Some(place) => after[place].1 = Value::Object(merged),
            None => after.push((event_type.clone(), Value::Object(merged))),
        }
    }
    after
}

fn rules_after(old: &Value, new: &Value, prefer_old: bool) -> Value {
    let mut after = new.clone();
    for kind in KINDS {
        let given = PushRules::read(new).missing(
            &PushRules::read(old),
            &kind,
            trio(),
            prefer_old,
            &BTreeSet::new(),
        );
        let mut rules = after[kind.as_str()].as_array().cloned().unwrap_or_default();
        for (rule, place) in given {
            rules.retain(|known| known["rule_id"] != rule.rule_id);
            let place = place.map_or(0, |place| {
                let place = rules.iter().position(|known| known["rule_id"] == place);
                place.expect("the rule that it goes after is there") + 1
            });
            rules.insert(place, serde_json::to_value(rule).unwrap());
        }
        after[kind.as_str()] = Value::Array(rules);
    }
    after
}

/// What is still to be done.
fn left(old: &Account, new: &Account, prefer_old: bool) -> Vec<PlannedHolding> {
    let options = Options { prefer_old, ..Options::default() };
    let mut planned = planned(old, new);
    planned.iter_mut().for_each(|planned| planned.choose(&options));
    // What the server has predefined is changed by calls of its own, and tested by itself.
    planned.retain(|planned| {
        planned.prefers_old().is_some()
            && planned.holding != crate::migration::Holding::PredefinedPushRules
    });
    planned
}

/// Whether all that is in `part` is in `whole` as it was: no key and no item is gone, and no value
/// is another one.
fn is_kept(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| is_kept(value, found))),
        (Value::Array(part), Value::Array(whole)) => part.iter().all(|item| whole.contains(item)),
        (part, whole) => part == whole,
    }
}

fn is_mark_taken_off(event_type: &str, content: &Value) -> bool {
    event_type == "m.marked_unread" && content["unread"] == json!(false)
}

proptest! {
    #[test]
    fn nothing_of_the_new_account_is_taken_or_changed(old in account(), new in account()) {
        let after = after(&old, &new, false);
        for (before, after) in [(&new.data, &after.data), (&new.room_data, &after.room_data)] {
            for (event_type, content) in before {
                let found = after.iter().find(|(known, _)| known == event_type);
                let (_, found) = found.expect("no type of account data is gone");
                prop_assert!(
                    is_kept(content, found) || is_mark_taken_off(event_type, content),
                    "{event_type}: {content} became {found}"
                );
            }
        }
        for kind in KINDS {
            let ids = |rules: &Value| {
                let rules = rules[kind.as_str()].as_array().cloned().unwrap_or_default();
                rules.iter().map(Value::to_string).collect::<Vec<_>>()
            };
            let (before, after) = (ids(&new.push_rules), ids(&after.push_rules));
            let kept: Vec<_> = after.into_iter().filter(|rule| before.contains(rule)).collect();
            prop_assert_eq!(kept, before, "own rules stay, in their order");
        }
        let name = &new.profile["displayname"];
        if name.is_string() && name != "new" {
            prop_assert_eq!(&after.profile["displayname"], name);
        }
    }

    #[test]
    fn planning_again_after_a_run_gives_nothing(
        old in account(), new in account(), prefer_old: bool,
    ) {
        let after = after(&old, &new, prefer_old);
        prop_assert_eq!(left(&old, &after, prefer_old), []);
    }

    #[test]
    fn nobody_who_takes_part_gets_ignored(old in account(), new in account(), prefer_old: bool) {
        let list = |account: &Account| {
            let list = account.data.iter().find(|(of, _)| of == "m.ignored_user_list");
            list.map(|(_, content)| content["ignored_users"].clone()).unwrap_or_default()
        };
        let (before, after) = (list(&new), list(&after(&old, &new, prefer_old)));
        for user in [trio().old, trio().new, trio().bot] {
            prop_assert!(after.get(user.as_str()).is_none() || before.get(user.as_str()).is_some());
        }
    }
}
