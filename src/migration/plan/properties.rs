//! What holds of every plan, whatever the accounts.

use proptest::prelude::*;
use ruma::{
    events::room::{member::MembershipState, power_levels::UserPowerLevel},
    user_id,
};
use serde_json::{Value, json};

use super::{
    Plan, Route,
    fixtures::{NEW, OLD, Room, new_survey, old_survey, plan, restricted},
};
use crate::migration::{Options, step::after_join, survey::Survey};

/// The rooms that surveys are made of: their IDs are known beforehand, so that they can name each
/// other.
const IDS: [&str; 6] = [
    "!0:c.example",
    "!1:c.example",
    "!2:c.example",
    "!3:a.example",
    "!4:b.example",
    "!5:c.example",
];

fn power_levels() -> impl Strategy<Value = Option<Value>> {
    let level = || prop_oneof![Just(None), (-10_i64..160).prop_map(Some)];
    let event = (level(), level(), level(), level(), level());
    let content = event.prop_map(|(old, new, third, invite, default)| {
        let mut users = serde_json::Map::new();
        for (user, level) in [(OLD, old), (NEW, new), ("@third:c.example", third)] {
            users.extend(level.map(|level| (user.to_owned(), json!(level))));
        }
        let mut content = json!({ "users": users });
        for (key, level) in [("invite", invite), ("users_default", default)] {
            if let Some(level) = level {
                content[key] = json!(level);
            }
        }
        content
    });
    prop_oneof![1 => Just(None), 4 => content.prop_map(Some)]
}

fn join_rule() -> impl Strategy<Value = Value> {
    let plain = prop::sample::select(vec!["public", "invite", "knock", "private", "strange"])
        .prop_map(|rule| json!({ "join_rule": rule }));
    let through = (prop::sample::select(vec!["restricted", "knock_restricted"]), 0..IDS.len())
        .prop_map(|(rule, space)| restricted(rule, IDS[space]));
    prop_oneof![plain, through]
}

fn room(id: &'static str) -> impl Strategy<Value = Room> {
    let version = prop::sample::select(vec!["1", "10", "12"]);
    let creator = prop::sample::select(vec![OLD, NEW, "@third:c.example"]);
    let shape = (version, creator, any::<bool>(), 1..5_u64, any::<bool>(), 0..1_000_u64);
    (shape, power_levels(), join_rule(), prop::option::of(0..IDS.len())).prop_map(
        move |((version, creator, space, members, tagged, active), power, rule, successor)| {
            let content = if space { json!({ "type": "m.space" }) } else { json!({}) };
            let mut room = Room::new(id)
                .created(version, creator, content)
                .state("m.room.join_rules", "", rule)
                .active(active);
            room.members = members;
            if let Some(power) = power {
                room = room.power(power);
            }
            if tagged {
                room = room.tagged("m.favourite", 0.5);
            }
            if let Some(successor) = successor.filter(|_| active % 7 == 0) {
                let content = json!({ "replacement_room": IDS[successor] });
                room = room.state("m.room.tombstone", "", content);
            }
            room
        },
    )
}

/// What both accounts see: the new one of each room may be in it, invited, banned or gone.
fn surveys() -> impl Strategy<Value = (Survey, Survey)> {
    let rooms: Vec<_> = IDS.into_iter().map(|id| room(id).boxed()).collect();
    let seen = prop::collection::vec(prop::option::of(0..4_usize), IDS.len());
    (rooms, seen, 0..IDS.len()).prop_map(|(rooms, seen, direct)| {
        let direct = json!({ "@bob:c.example": [IDS[direct]], OLD: [IDS[(direct + 1) % 6]] });
        let mut by_new = json!({ "join": {}, "invite": {}, "leave": {} });
        for (room, seen) in rooms.iter().zip(seen) {
            let member = |membership: &str| {
                json!({ "type": "m.room.member", "state_key": NEW, "sender": OLD,
                    "content": { "membership": membership } })
            };
            match seen {
                Some(0) => by_new["join"][room.id] = room.json(),
                Some(1) => {
                    by_new["invite"][room.id] =
                        json!({ "invite_state": { "events": [member("invite")] } });
                }
                Some(2) => {
                    by_new["leave"][room.id] = json!({ "state": { "events": [member("ban")] } });
                }
                Some(_) => {
                    by_new["leave"][room.id] = json!({ "state": { "events": [member("leave")] } });
                }
                None => {}
            }
        }
        (old_survey(&rooms, &direct), new_survey(&by_new))
    })
}

/// What both accounts would see if everything in the plan succeeded.
fn carried_out(plan: &Plan, old: &Survey, new: &Survey) -> (Survey, Survey) {
    let (mut old, mut new) = (old.clone(), new.clone());
    for planned in &plan.rooms {
        if !matches!(planned.route, Route::AlreadyThere | Route::Join(_) | Route::InviteAndJoin) {
            continue;
        }
        let id = <&ruma::RoomId>::try_from(&*planned.room.id).unwrap();
        let room = old.rooms.get_mut(id).unwrap();
        if let Some(level) = planned.after.power_level {
            let level = level.try_into().unwrap();
            room.power_levels.users.insert(user_id!("@new:b.example").to_owned(), level);
        }
        let mut tags = new.rooms.get(id).map(|room| room.tags.clone()).unwrap_or_default();
        tags.extend(planned.after.tags.clone());
        let mut seen_by_new = room.clone();
        seen_by_new.membership = MembershipState::Join;
        seen_by_new.tags = tags;
        new.rooms.insert(id.to_owned(), seen_by_new);
    }
    (old, new)
}

proptest! {
    #[test]
    fn no_plan_takes_power_or_tags_from_anybody((old, new) in surveys()) {
        for planned in plan(&old, &new).rooms {
            let id = <&ruma::RoomId>::try_from(&*planned.room.id).unwrap();
            let levels = &old.rooms[id].power_levels;
            if let Some(level) = planned.after.power_level {
                let UserPowerLevel::Int(now) = levels.for_user(user_id!("@new:b.example")) else {
                    panic!("a creator is given power");
                };
                prop_assert!(level > i64::from(now), "{} is lowered", planned.room.id);
                prop_assert!(levels.user_can_change_user_power_level(
                    user_id!("@old:a.example"),
                    user_id!("@new:b.example"),
                ));
                if let UserPowerLevel::Int(own) = levels.for_user(user_id!("@old:a.example")) {
                    prop_assert!(level <= i64::from(own), "more than the old account has");
                }
            }
            if let Some(seen) = new.rooms.get(id).filter(|room| !room.tags.is_empty()) {
                prop_assert!(planned.after.tags.is_empty(), "{:?} are replaced", seen.tags);
            }
        }
    }

    #[test]
    fn every_step_is_in_a_room_that_the_old_account_is_in_and_about_the_new_one_alone(
        (old, new) in surveys(),
    ) {
        let plan = plan(&old, &new);
        for planned in &plan.rooms {
            let id = <&ruma::RoomId>::try_from(&*planned.room.id).unwrap();
            prop_assert!(old.is_in(id), "{id} is none of the old account's");
            let gets_in = planned.route.gets_in() || planned.route == Route::NeedsModerator;
            let after = after_join(&planned.clone().into());
            prop_assert!(gets_in || after.is_empty(), "nothing is done outside");
        }
        // People are added to the new account's direct chats, and only in rooms of the old one's.
        for (person, rooms) in &plan.direct {
            prop_assert!(rooms.iter().all(|room| old.is_in(room)));
            let of_old = old.direct.contains_key(person) || person == user_id!("@new:b.example");
            let began_as_such = rooms.iter().all(|room| old.rooms[room].begun_as_direct);
            prop_assert!(of_old || began_as_such, "{person} is in no direct chat of the old one");
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_be_planned(
        (old, new) in surveys(),
        prefer_old: bool,
    ) {
        let options = Options { prefer_old, ..Options::default() };
        let first = plan(&old, &new).with(&options);
        let (old, new) = carried_out(&first, &old, &new);
        let again = plan(&old, &new).with(&options);
        prop_assert_eq!(first.rooms.len(), again.rooms.len());
        for before in &first.rooms {
            let now = again.rooms.iter().find(|now| now.room.id == before.room.id).unwrap();
            if matches!(before.route, Route::AlreadyThere | Route::Join(_) | Route::InviteAndJoin) {
                prop_assert_eq!(&now.route, &Route::AlreadyThere);
                prop_assert_eq!(now.after.power_level, None);
                prop_assert!(now.after.tags.is_empty());
            } else {
                prop_assert_eq!(&now.route, &before.route);
            }
        }
    }
}
