//! What is left of a plan once the person has chosen.

use ruma::{owned_room_id, owned_user_id};
use serde_json::{Value, json};

use crate::migration::{Holding, HoldingKind, Options, Plan, PlannedHolding, Treatment};

fn room(room_id: &str, route: Value) -> Value {
    let label = json!({ "id": room_id, "name": null, "alias": null, "direct_with": [],
        "space": false, "encrypted": false });
    let after = json!({ "power_level": null, "power_out_of_reach": null, "creator_stays": false,
        "tags": { "m.favourite": 0.5 } });
    json!({ "room": label, "route": route, "after": after, "via": [] })
}

fn plan() -> Plan {
    let rooms = json!([
        room("!there:c.example", json!("already_there")),
        room("!closed:c.example", json!("needs_moderator")),
    ]);
    let planned =
        |holding| PlannedHolding { holding, adds: 1, differs: 0, treatment: Treatment::Add };
    Plan {
        rooms: serde_json::from_value(rooms).unwrap(),
        direct: [(owned_user_id!("@bob:c.example"), vec![owned_room_id!("!there:c.example")])]
            .into(),
        holdings: vec![
            planned(Holding::RoomProfile(owned_room_id!("!there:c.example"))),
            planned(Holding::RoomProfile(owned_room_id!("!closed:c.example"))),
        ],
        ..Plan::default()
    }
}

#[test]
fn what_belongs_to_a_room_is_copied_only_where_the_new_account_gets_in() {
    let plan = plan().with(&Options::default());
    let [left] = &*plan.holdings else { panic!("{:?}", plan.holdings) };
    assert_eq!(left.holding, Holding::RoomProfile(owned_room_id!("!there:c.example")));
}

#[test]
fn direct_chats_and_tags_can_be_left_out_as_well() {
    let skipped = [HoldingKind::DirectChats, HoldingKind::Tags].into();
    let plan = plan().with(&Options { skipped_holdings: skipped, ..Options::default() });
    assert!(plan.direct.is_empty());
    assert!(plan.rooms.iter().all(|room| room.after.tags.is_empty()));
    assert_eq!(plan.holdings[0].treatment, Treatment::Add, "and nothing else");
}
