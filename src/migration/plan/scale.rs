//! What a plan costs for accounts that are as large, and as odd, as a homeserver makes them.

use std::collections::HashMap;

use ruma::{OwnedRoomId, RoomId, RoomOrAliasId};
use serde_json::{Map, json};

use super::{
    Entry, Omission, Plan, Route, RouteKind,
    fixtures::{NEW, OLD, Room, new_survey, old_survey, plan, restricted},
};
use crate::{
    homeserver::Excess,
    migration::{
        Migration, Options,
        estimate::{fast_offer, next},
        scaling::assert_grows_as_n_log_n,
        survey::{MOST_ROOMS, Survey},
    },
};

/// The room with this number. The higher it is, the earlier it comes.
fn id(number: usize) -> &'static str {
    format!("!{:07}:c.example", 9_999_999 - number).leak()
}

fn account(size: usize, room: impl Fn(usize) -> Room) -> Survey {
    old_survey(&(0..size).map(room).collect::<Vec<_>>(), &json!({}))
}

fn upgraded(number: usize) -> Room {
    let tombstone = json!({ "body": "", "replacement_room": id(number + 1) });
    Room::new(id(number)).state("m.room.tombstone", "", tombstone)
}

fn let_in_through_the_next(number: usize) -> Room {
    Room::new(id(number)).joined_by(restricted("restricted", id(number + 1)))
}

fn let_in_through_the_one_before(number: usize) -> Room {
    match number {
        0 => Room::new(id(0)).public(),
        _ => Room::new(id(number)).joined_by(restricted("restricted", id(number - 1))).closed(),
    }
}

fn assert_planned_in_moments(what: &str, size: usize, room: impl Fn(usize) -> Room + Copy) {
    let new = new_survey(&json!({}));
    assert_grows_as_n_log_n(what, size, |size| account(size, room), |old| plan(old, &new));
}

#[test]
fn rooms_in_a_row_are_planned_in_moments_however_long_the_row_is() {
    assert_planned_in_moments("upgraded", 500, upgraded);
    assert_planned_in_moments("upgraded in a circle", 500, |number| {
        let next = json!({ "body": "", "replacement_room": id(number ^ 1) });
        Room::new(id(number)).state("m.room.tombstone", "", next)
    });
    assert_planned_in_moments("spaces", 500, |number| {
        Room::new(id(number)).space(&[id(number + 1)])
    });
    assert_planned_in_moments("restricted, closed", 500, let_in_through_the_one_before);
    assert_planned_in_moments("restricted, may invite", 500, let_in_through_the_next);
    assert_planned_in_moments("invites", 500, |number| Room::new(id(number)));
    assert_planned_in_moments("invites that lead on", 500, |number| {
        let rule = restricted("restricted", id(number & !1));
        if number.is_multiple_of(2) {
            Room::new(id(number))
        } else {
            Room::new(id(number)).joined_by(rule)
        }
    });
}

#[test]
fn direct_chats_with_oneself_and_with_the_bot_are_planned_in_moments() {
    let marked = |with: &'static str| {
        move |size: usize| {
            let rooms: Vec<_> = (0..size).map(|number| Room::new(id(number))).collect();
            let ids: Vec<_> = (0..size).map(id).collect();
            old_survey(&rooms, &json!({ with: ids }))
        }
    };
    let new = new_survey(&json!({}));
    for with in [OLD, "@tern:a.example", "@other:a.example"] {
        assert_grows_as_n_log_n(with, 500, marked(with), |old| plan(old, &new));
    }
}

#[test]
fn choices_are_applied_in_moments_however_many_there_are() {
    let new = new_survey(&json!({}));
    let in_a_row = |size: usize| {
        let plan = plan(&account(size, let_in_through_the_one_before), &new);
        assert_eq!(plan.with_route(RouteKind::Join).count(), size);
        let named = |number: usize| RoomId::parse(format!("!named{number}:c.example")).unwrap();
        let options = Options {
            skipped: [<&RoomOrAliasId>::try_from(id(0)).unwrap().to_owned()].into(),
            named: (0..size).map(|number| named(number).into()).collect(),
            opened: (0..size).map(named).collect(),
            fast: (0..size).map(named).collect(),
            ..Options::default()
        };
        (plan, options)
    };
    assert_grows_as_n_log_n("skipped", 500, in_a_row, |(plan, options)| {
        let plan = plan.clone().with(options);
        assert!(plan.with_route(RouteKind::NeedsModerator).count() + 1 == plan.rooms.len() / 2);
        plan
    });
}

fn migration() -> Migration {
    let party = |user| json!({ "user_id": user, "consent": null, "access": "session" });
    let migration = json!({
        "id": 1, "old": party(OLD), "new": party(NEW), "phase": "awaiting_go",
        "options": { "skipped": [], "named": [] },
        "started": "2026-03-01T12:00:00Z", "consent_expires": "2026-03-01T12:00:00Z",
        "went": null, "ended": null,
    });
    serde_json::from_value(migration).unwrap()
}

#[test]
fn how_long_it_takes_is_told_in_moments_also_with_fast() {
    let new = new_survey(&json!({}));
    let planned = |size: usize| {
        let mut plan = plan(&account(size, |number| Room::new(id(number))), &new);
        plan.rooms.iter_mut().for_each(|room| room.may_open = true);
        plan
    };
    let (migration, records) = (migration(), HashMap::new());
    let budget = |_, kind: crate::homeserver::Kind| {
        let (interval, burst) = kind.documented()?;
        Some(crate::homeserver::Budget { interval, burst, next_in: None })
    };
    assert_grows_as_n_log_n("fast", 500, planned, |plan| {
        let offer = fast_offer(plan, &migration, &records, budget);
        assert!(!offer.rooms.is_empty());
        (offer, next(plan, &migration, &records))
    });
}

#[test]
fn more_rooms_than_anybody_has_are_told_and_not_tried() {
    let excess = |size: usize| {
        let rooms: Map<_, _> = (0..size).map(|number| (id(number).to_owned(), json!({}))).collect();
        new_survey(&json!({ "join": rooms, "leave": { "!left:c.example": {} } })).excess()
    };
    assert_eq!(excess(MOST_ROOMS), None);
    let most = MOST_ROOMS as u64;
    assert_eq!(excess(MOST_ROOMS + 1), Some(Excess::Rooms { rooms: most + 1, most }));
}

#[test]
fn in_a_row_of_upgrades_only_the_last_room_is_moved() {
    let plan = plan(&account(300, upgraded), &new_survey(&json!({})));
    let last: OwnedRoomId = id(299).try_into().unwrap();
    for planned in &plan.rooms {
        let is_last = planned.room.id.as_str() == last.as_str();
        let upgraded = Omission::Upgraded { successor: last.clone() };
        assert_eq!(planned.omission, (!is_last).then_some(upgraded), "{:?}", planned.room.id);
    }
}

#[test]
fn rooms_that_were_upgraded_in_a_circle_are_all_moved() {
    let circle = |number| {
        let next = json!({ "body": "", "replacement_room": id([1, 2, 0, 0][number]) });
        Room::new(id(number)).state("m.room.tombstone", "", next)
    };
    let plan = plan(&account(4, circle), &new_survey(&json!({})));
    assert!(plan.rooms.iter().all(|planned| planned.omission.is_none()), "{plan:#?}");
}

#[test]
fn each_of_a_row_of_rooms_is_entered_through_the_one_before() {
    let plan = plan(&account(100, let_in_through_the_one_before), &new_survey(&json!({})));
    let route = |number: usize, plan: &Plan| {
        let planned = plan.rooms.iter().find(|planned| planned.room.id.as_str() == id(number));
        planned.unwrap().route.clone()
    };
    for number in 1..100 {
        let room = id(number - 1).try_into().unwrap();
        assert_eq!(route(number, &plan), Route::Join(Entry::Through { room, or_invite: false }));
    }
}
