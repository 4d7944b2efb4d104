//! What becomes of the content of events that many write to: added to, and nothing else changed.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, OwnedUserId, UserId, serde::JsonObject};
use serde_json::{Value, json};

/// What became of the content of `m.room.power_levels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    Yes,
    Needless,
    Impossible,
}

/// Raises one user in the content of `m.room.power_levels`, and changes nothing else in it.
pub(super) fn raise(content: &mut JsonObject, user: &UserId, level: i64) -> Raised {
    if power_of(content, user) >= level {
        return Raised::Needless;
    }
    let users = content.entry("users").or_insert_with(|| json!({}));
    let Some(users) = users.as_object_mut() else { return Raised::Impossible };
    users.insert(user.to_string(), json!(level));
    Raised::Yes
}

fn power_of(content: &JsonObject, user: &UserId) -> i64 {
    let users = content.get("users").and_then(Value::as_object);
    let level =
        users.and_then(|users| users.get(user.as_str())).or_else(|| content.get("users_default"));
    level.and_then(number).unwrap_or(0)
}

/// Before room version 10, a power level may be written as text
/// ([spec](https://spec.matrix.org/v1.16/rooms/v10/#values-in-mroompower_levels-events-must-be-integers)).
fn number(level: &Value) -> Option<i64> {
    level.as_i64().or_else(|| level.as_str()?.trim().parse().ok())
}

/// Adds `direct` to the content of `m.direct` without taking anything out of it.
pub(super) fn merge_direct(
    mut content: JsonObject,
    direct: &BTreeMap<OwnedUserId, Vec<OwnedRoomId>>,
) -> JsonObject {
    for (person, rooms) in direct {
        let known = content.entry(person.as_str()).or_insert_with(|| json!([]));
        if let Some(known) = known.as_array_mut() {
            let missing: Vec<_> =
                rooms.iter().map(|room| json!(room)).filter(|room| !known.contains(room)).collect();
            known.extend(missing);
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::{room_id, user_id};

    use super::*;

    fn object(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn merging_direct_chats_adds_and_takes_nothing_away() {
        let content = object(json!({
            "@bob:a": ["!kept:a"],
            "mail@example.org": ["!strange:a"],
        }));
        let direct = BTreeMap::from([
            (
                user_id!("@bob:a").to_owned(),
                vec![room_id!("!kept:a").to_owned(), room_id!("!added:a").to_owned()],
            ),
            (user_id!("@eve:a").to_owned(), vec![room_id!("!new:a").to_owned()]),
        ]);
        let merged = merge_direct(content, &direct);
        assert_eq!(
            merged,
            object(json!({
                "@bob:a": ["!kept:a", "!added:a"],
                "@eve:a": ["!new:a"],
                "mail@example.org": ["!strange:a"],
            }))
        );
        assert_eq!(merge_direct(merged.clone(), &direct), merged, "merging again changes nothing");
    }

    proptest! {
        #[test]
        fn raising_somebody_lowers_nobody_and_changes_nothing_else(
            users in prop::collection::btree_map("@[ab]:a", power(), 0..3),
            default in prop::option::of(power()),
            level in -200_i64..200,
        ) {
            let mut before = object(json!({ "users": users, "ban": 50 }));
            before.extend(default.map(|default| ("users_default".to_owned(), default)));
            let mut after = before.clone();
            let user = user_id!("@a:a");
            let raised = raise(&mut after, user, level);
            prop_assert_eq!(power_of(&after, user), power_of(&before, user).max(level));
            prop_assert_eq!(raised == Raised::Needless, after == before);
            for content in [&mut before, &mut after] {
                content["users"].as_object_mut().unwrap().remove(user.as_str());
            }
            prop_assert_eq!(after, before, "nobody else's power, and nothing else");
        }
    }

    /// As numbers, and as text, as old rooms have them.
    fn power() -> impl Strategy<Value = Value> {
        (-200_i64..200, any::<bool>())
            .prop_map(|(level, text)| if text { json!(level.to_string()) } else { json!(level) })
    }

    #[test]
    fn power_falls_back_to_the_rooms_default_and_then_to_none() {
        let content = object(json!({ "users": { "@a:a": 100 }, "users_default": 10 }));
        assert_eq!(power_of(&content, user_id!("@a:a")), 100);
        assert_eq!(power_of(&content, user_id!("@b:a")), 10);
        assert_eq!(power_of(&JsonObject::new(), user_id!("@a:a")), 0);
    }
}
