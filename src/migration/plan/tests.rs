//! Plans for a table of survey pairs. The surveys are read from answers of `/sync`, so that these
//! tests need no homeserver.

mod told;

use std::time::Duration;

use ruma::{MilliSecondsSinceUnixEpoch, OwnedUserId, room_id, user_id};
use serde_json::{Value, json};

use super::{
    Accounts, Plan, PlannedRoom,
    fixtures::{NEW, NOW, OLD, Room, new_survey, old_survey, plan, plan_of, restricted, survey},
    make, via_members,
};
use crate::migration::{HoldingKind, Options, holdings::Copies, survey::Successor};

/// A line for each room.
fn lines(plan: &Plan) -> String {
    let line = |room: &PlannedRoom| {
        let after = &room.after;
        let mut parts = vec![format!("{} {:?}", room.room.id, room.route)];
        parts.extend(after.power_level.map(|level| format!("power {level}")));
        parts.extend(after.power_out_of_reach.map(|level| format!("power out of reach {level}")));
        parts.extend(after.creator_stays.then(|| "creator stays".to_owned()));
        parts.extend(room.omission.iter().map(|omission| format!("omitted: {omission:?}")));
        parts.extend(room.notes.iter().map(|note| format!("{note:?}")));
        parts.extend(after.tags.iter().map(|(tag, order)| format!("{tag} {order:?}")));
        let contested = after.contested_tags.iter();
        parts.extend(contested.map(|(tag, order)| format!("not without asking: {tag} {order:?}")));
        parts.join(", ")
    };
    plan.rooms.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_room_gets_the_route_that_its_rules_and_powers_leave_open() {
    let power = |old: u32, invite: u32| json!({ "users": { OLD: old }, "invite": invite });
    let rooms = [
        Room::new("!01-public:c.example").public(),
        Room::new("!02-private-may-invite:c.example").power(power(50, 50)),
        Room::new("!03-private-may-not-invite:c.example").power(power(0, 50)),
        Room::new("!04-no-power-levels-event:c.example"),
        Room::new("!05-knock:c.example").power(power(0, 50)).state(
            "m.room.join_rules",
            "",
            json!({ "join_rule": "knock" }),
        ),
        Room::new("!06-not-federated:a.example").public().created(
            "10",
            "@creator:a.example",
            json!({ "m.federate": false }),
        ),
        Room::new("!07-denied-by-acl:c.example").public().state(
            "m.room.server_acl",
            "",
            json!({ "allow": ["*"], "deny": ["b.example"] }),
        ),
        Room::new("!08-malformed-join-rule:c.example").power(power(0, 50)).state(
            "m.room.join_rules",
            "",
            json!({ "join_rule": 7 }),
        ),
        Room::new("!09-private:c.example").joined_by(json!({ "join_rule": "private" })),
        Room::new("!10-unknown:c.example").joined_by(json!({ "join_rule": "org.example.tea" })),
    ];
    insta::assert_snapshot!(lines(&plan_of(&rooms)), @"
    !01-public:c.example Join(Public)
    !02-private-may-invite:c.example InviteAndJoin, power 50
    !03-private-may-not-invite:c.example NeedsModerator
    !04-no-power-levels-event:c.example InviteAndJoin
    !05-knock:c.example NeedsModerator
    !06-not-federated:a.example Unreachable(NotFederated)
    !07-denied-by-acl:c.example Unreachable(ServerDenied)
    !08-malformed-join-rule:c.example NeedsModerator
    !09-private:c.example Unreachable(Closed)
    !10-unknown:c.example Unreachable(Closed)
    ");
}

#[test]
fn where_the_new_account_stands_already_decides_before_anything_else() {
    let may_invite = || json!({ "users": { OLD: 100 } });
    let rooms = [
        Room::new("!1-joined:c.example").power(may_invite()),
        Room::new("!2-invited:c.example").power(may_invite()),
        Room::new("!3-banned:c.example").public(),
        Room::new("!4-left:c.example").power(may_invite()),
    ];
    let event = |membership: &str| {
        json!({ "type": "m.room.member", "state_key": NEW, "sender": OLD, "event_id": "$m",
            "origin_server_ts": 1, "content": { "membership": membership } })
    };
    let state = |membership: &str| json!({ "state": { "events": [event(membership)] } });
    let new = new_survey(&json!({
        "join": { "!1-joined:c.example": state("join") },
        "invite": {
            "!2-invited:c.example": { "invite_state": { "events": [event("invite")] } },
        },
        "leave": {
            "!3-banned:c.example": state("ban"),
            "!4-left:c.example": state("leave"),
        },
    }));
    insta::assert_snapshot!(lines(&plan(&old_survey(&rooms, &json!({})), &new)), @"
    !1-joined:c.example AlreadyThere, power 100
    !2-invited:c.example Join(Invited), power 100
    !3-banned:c.example Unreachable(Banned)
    !4-left:c.example InviteAndJoin, power 100
    ");
}

#[test]
fn power_is_raised_to_the_old_accounts_and_never_lowered() {
    let rooms = [
        Room::new("!1-administrator:c.example").power(json!({ "users": { OLD: 100 } })),
        Room::new("!2-new-one-has-more:c.example")
            .power(json!({ "users": { OLD: 50, NEW: 100 }, "state_default": 0 })),
        Room::new("!3-everybody-has-it:c.example")
            .power(json!({ "users_default": 50, "users": {} })),
        Room::new("!4-may-not-hand-it-on:c.example")
            .power(json!({ "users": { OLD: 50 }, "events": { "m.room.power_levels": 100 } })),
        Room::new("!5-creator-of-version-12:c.example")
            .created("12", OLD, json!({}))
            .power(json!({ "users": { "@someone:c.example": 70 },
                "events": { "m.room.tombstone": 150, "m.room.power_levels": 100 } })),
        Room::new("!6-additional-creator:c.example")
            .created("12", "@creator:c.example", json!({ "additional_creators": [OLD] }))
            .power(json!({ "users": {} })),
        Room::new("!7-both-created-it:c.example")
            .created("12", OLD, json!({ "additional_creators": [NEW] }))
            .power(json!({ "users": {} })),
        Room::new("!8-created-version-10:c.example").created("10", OLD, json!({})),
    ];
    insta::assert_snapshot!(lines(&plan_of(&rooms)), @"
    !1-administrator:c.example InviteAndJoin, power 100
    !2-new-one-has-more:c.example InviteAndJoin
    !3-everybody-has-it:c.example InviteAndJoin
    !4-may-not-hand-it-on:c.example InviteAndJoin, power out of reach 50
    !5-creator-of-version-12:c.example InviteAndJoin, power 150, creator stays
    !6-additional-creator:c.example InviteAndJoin, power 100, creator stays
    !7-both-created-it:c.example InviteAndJoin
    !8-created-version-10:c.example InviteAndJoin, power 100
    ");
}

#[test]
fn spaces_come_first_then_what_is_dear_then_what_was_last_active() {
    let rooms = [
        Room::new("!quiet:c.example").public().active(10),
        Room::new("!lively:c.example").public().active(90),
        Room::new("!favorite:c.example").public().active(1).tagged("m.favourite", 0.5),
        Room::new("!direct:c.example").public().active(2),
        Room::new("!space:c.example").public().created(
            "10",
            "@creator:c.example",
            json!({ "type": "m.space" }),
        ),
    ];
    let direct = json!({ "@bob:c.example": ["!direct:c.example", "!long-gone:c.example"] });
    let plan = plan(&old_survey(&rooms, &direct), &new_survey(&json!({})));
    insta::assert_snapshot!(lines(&plan), @"
    !space:c.example Join(Public)
    !direct:c.example Join(Public)
    !favorite:c.example Join(Public), m.favourite Some(0.5)
    !lively:c.example Join(Public)
    !quiet:c.example Join(Public)
    ");
    insta::assert_json_snapshot!(plan.direct, @r#"
    {
      "@bob:c.example": [
        "!direct:c.example"
      ]
    }
    "#);
}

#[test]
fn a_chat_with_the_bot_is_left_alone_and_nobody_who_takes_part_becomes_a_direct_chat() {
    let rooms = [
        Room::new("!with-bot:a.example").of_two_with("@tern:a.example"),
        Room::new("!club-with-bot:a.example").member("@tern:a.example", "join"),
        Room::new("!with-new:a.example").of_two_with(NEW),
    ];
    let direct =
        json!({ "@tern:a.example": ["!with-bot:a.example"], NEW: ["!with-new:a.example"] });
    let plan = plan(&old_survey(&rooms, &direct), &new_survey(&json!({})));
    insta::assert_snapshot!(lines(&plan), @"
    !club-with-bot:a.example InviteAndJoin
    !with-bot:a.example InviteAndJoin, omitted: ChatWithBot
    !with-new:a.example InviteAndJoin
    ");
    assert!(plan.direct.is_empty());
}

#[test]
fn a_room_that_the_old_account_made_for_fast_is_in_no_plan() {
    let mark = json!({ "tern.lobby": [OLD, NEW] });
    let rooms = [
        Room::new("!lobby:a.example").created("12", OLD, mark.clone()),
        Room::new("!marked-by-others:a.example").created("12", "@eve:c.example", mark),
    ];
    let plan = plan(&old_survey(&rooms, &json!({})), &new_survey(&json!({})));
    insta::assert_snapshot!(lines(&plan), @"!marked-by-others:a.example InviteAndJoin");
}

#[test]
fn tags_go_only_to_rooms_that_the_new_account_has_not_tagged_itself() {
    let rooms = || {
        [
            Room::new("!tagged-by-new:c.example").public().tagged("m.favourite", 0.1),
            Room::new("!untagged:c.example").public().tagged("u.work", 0.2),
        ]
    };
    let mut by_new = rooms();
    by_new[0].tags = json!({ "m.lowpriority": {} });
    by_new[1].tags = json!({});
    let join: Value = by_new.iter().map(|room| (room.id.to_owned(), room.json())).collect();
    let new = new_survey(&json!({ "join": join }));
    let plan = plan(&old_survey(&rooms(), &json!({})), &new);
    insta::assert_snapshot!(lines(&plan), @"
    !tagged-by-new:c.example AlreadyThere, not without asking: m.favourite Some(0.1)
    !untagged:c.example AlreadyThere, u.work Some(0.2)
    ");
    let preferring = Options { prefer_old: true, ..Options::default() };
    insta::assert_snapshot!(lines(&plan.clone().with(&preferring)), @"
    !tagged-by-new:c.example AlreadyThere, m.favourite Some(0.1)
    !untagged:c.example AlreadyThere, u.work Some(0.2)
    ");
    let skipped_holdings = [HoldingKind::Tags].into();
    let skipping = Options { skipped_holdings, ..preferring };
    insta::assert_snapshot!(lines(&plan.with(&skipping)), @"
    !tagged-by-new:c.example AlreadyThere
    !untagged:c.example AlreadyThere
    ");
}

#[test]
fn an_account_is_in_a_room_whose_older_state_still_says_invited() {
    let rooms = [Room::new("!room:c.example").public()];
    let mut by_new = rooms[0].json();
    by_new["state"]["events"] = json!([{
        "type": "m.room.member", "state_key": NEW, "sender": OLD,
        "content": { "membership": "invite" },
    }]);
    let new = new_survey(&json!({ "join": { "!room:c.example": by_new } }));
    insta::assert_snapshot!(
        lines(&plan(&old_survey(&rooms, &json!({})), &new)),
        @"!room:c.example AlreadyThere"
    );
}

#[test]
fn an_account_without_rooms_has_an_empty_plan() {
    assert_eq!(plan_of(&[]), Plan::default());
}

#[test]
fn without_access_to_the_old_account_its_own_invitations_are_the_plan() {
    let invite = |by: &str| {
        json!({ "invite_state": { "events": [
            { "type": "m.room.name", "state_key": "", "sender": by, "content": { "name": "Club" } },
            { "type": "m.room.member", "state_key": NEW, "sender": by,
              "content": { "membership": "invite" } },
        ] } })
    };
    let new = new_survey(&json!({ "invite": {
        "!by-old:a.example": invite(OLD),
        "!by-somebody:a.example": invite("@somebody:a.example"),
    } }));
    let plan = make(&Accounts {
        old: user_id!("@old:a.example"),
        new: user_id!("@new:b.example"),
        bot: user_id!("@tern:a.example"),
        chat_with_bot: Some(room_id!("!consent:a.example")),
        old_survey: None,
        new_survey: &new,
        surveyed: MilliSecondsSinceUnixEpoch(NOW.into()),
        quiet_after: Duration::from_secs(500),
        copies: &Copies::new(),
    });
    insta::assert_snapshot!(lines(&plan), @"!by-old:a.example Join(Invited)");
    assert_eq!(plan.rooms[0].room.name.as_deref(), Some("Club"));
}

#[test]
fn choices_take_rooms_out_and_add_rooms_that_no_survey_showed() {
    let plan = plan_of(&[
        Room::new("!kept:c.example").public(),
        Room::new("!skipped:c.example").public().named("Old stuff"),
    ]);
    let options = Options {
        skipped: [ruma::room_id!("!skipped:c.example").to_owned().into()].into(),
        included: Default::default(),
        named: [
            ruma::room_alias_id!("#extra:d.example").to_owned().into(),
            ruma::room_id!("!extra:e.example").to_owned().into(),
        ]
        .into(),
        named_via: [(
            ruma::room_id!("!extra:e.example").to_owned().into(),
            vec![ruma::owned_server_name!("f.example")],
        )]
        .into(),
        ..Options::default()
    };
    let plan = plan.with(&options);
    insta::assert_snapshot!(lines(&plan), @"
    !kept:c.example Join(Public)
    !skipped:c.example Skipped(Asked)
    !extra:e.example Join(Public)
    #extra:d.example Join(Public)
    ");
    assert_eq!(plan.rooms[2].via, ["f.example", "e.example"], "as the link told");
    assert_eq!(plan.rooms[3].via, ["d.example"]);
}

#[test]
fn rooms_are_joined_through_servers_other_than_the_old_accounts_too() {
    let room = Room::new("!room:c.example").public().power(json!({ "users": {
        "@admin:d.example": 100, "@moderator:e.example": 50, OLD: 10,
    } }));
    let plan = plan_of(&[room]);
    assert_eq!(plan.rooms[0].via, ["d.example", "e.example", "a.example"]);
}

#[test]
fn restricted_rooms_are_joined_through_what_the_new_account_is_or_will_be_in() {
    let rooms = [
        Room::new("!1-space:c.example").space(&[]).public(),
        Room::new("!2-through:c.example")
            .closed()
            .joined_by(restricted("restricted", "!1-space:c.example")),
        Room::new("!3-through-that:c.example")
            .closed()
            .joined_by(restricted("knock_restricted", "!2-through:c.example")),
        Room::new("!4-or-invited:c.example")
            .joined_by(restricted("restricted", "!1-space:c.example")),
        Room::new("!5-through-unknown:c.example")
            .closed()
            .joined_by(restricted("restricted", "!unknown:c.example")),
        Room::new("!6-invited-space:c.example").space(&[]),
        Room::new("!7-through-invited:c.example")
            .closed()
            .joined_by(restricted("restricted", "!6-invited-space:c.example")),
        Room::new("!8-through-own:c.example")
            .closed()
            .joined_by(restricted("restricted", "!own:b.example")),
    ];
    let new = new_survey(&json!({ "join": { "!own:b.example": {} } }));
    insta::assert_snapshot!(lines(&plan(&old_survey(&rooms, &json!({})), &new)));
}

#[test]
fn who_leaves_a_space_out_gets_into_its_rooms_another_way_or_not_at_all() {
    let rooms = [
        Room::new("!1-space:c.example").space(&[]).public(),
        Room::new("!2-closed:c.example")
            .closed()
            .joined_by(restricted("restricted", "!1-space:c.example")),
        Room::new("!3-may-invite:c.example")
            .joined_by(restricted("restricted", "!1-space:c.example")),
    ];
    let options = Options {
        skipped: [ruma::room_id!("!1-space:c.example").to_owned().into()].into(),
        ..Options::default()
    };
    insta::assert_snapshot!(lines(&plan_of(&rooms).with(&options)), @"
    !1-space:c.example Skipped(Asked)
    !2-closed:c.example NeedsModerator
    !3-may-invite:c.example InviteAndJoin
    ");
}

#[test]
fn outer_spaces_come_before_inner_ones() {
    let rooms = [
        Room::new("!a-innermost:c.example").space(&["!c-outer:c.example"]).public(),
        Room::new("!b-inner:c.example").space(&["!a-innermost:c.example"]).public(),
        Room::new("!c-outer:c.example").space(&["!b-inner:c.example"]).public(),
        Room::new("!d-apart:c.example").space(&[]).public(),
    ];
    // The first lies in the last in a circle; whatever the order, the plan is made.
    assert_eq!(plan_of(&rooms).rooms.len(), 4);
    let rooms = [
        Room::new("!a-innermost:c.example").space(&[]).public(),
        Room::new("!b-inner:c.example").space(&["!a-innermost:c.example"]).public(),
        Room::new("!c-outer:c.example").space(&["!b-inner:c.example"]).public(),
    ];
    insta::assert_snapshot!(lines(&plan_of(&rooms)), @"
    !c-outer:c.example Join(Public)
    !b-inner:c.example Join(Public)
    !a-innermost:c.example Join(Public)
    ");
}

#[test]
fn rooms_that_others_are_entered_through_come_first_and_then_what_matters_most() {
    let rooms = [
        Room::new("!1-active:c.example").active(3),
        Room::new("!2-quieter:c.example").active(2),
        Room::new("!3-favorite:c.example").active(1).tagged("m.favourite", 0.5),
        Room::new("!4-space:c.example").space(&[]),
        Room::new("!5-inside:c.example")
            .active(4)
            .joined_by(restricted("restricted", "!6-gate:c.example")),
        Room::new("!6-gate:c.example").active(0),
    ];
    let plan = plan_of(&rooms);
    let order: Vec<_> = plan.rooms.iter().map(|room| room.room.id.as_str()).collect();
    let numbers: Vec<_> = order.iter().map(|id| &id[1..2]).collect();
    assert_eq!(numbers, ["6", "4", "3", "5", "1", "2"], "{order:?}");
}

#[test]
fn rooms_that_could_be_opened_for_a_moment_are_private_new_enough_and_the_old_accounts_to_change() {
    let owned = |id| Room::new(id).power(json!({ "users": { OLD: 100 } }));
    let rule = |rule: &str| json!({ "join_rule": rule });
    let rooms = [
        owned("!01-invite:c.example").joined_by(rule("invite")),
        owned("!02-invite-of-version-8:c.example").created("8", OLD, json!({})),
        owned("!03-invite-of-version-7:c.example").created("7", OLD, json!({})),
        owned("!04-knock-of-version-10:c.example").joined_by(rule("knock")),
        owned("!05-knock-of-version-9:c.example")
            .created("9", OLD, json!({}))
            .joined_by(rule("knock")),
        Room::new("!06-may-only-invite:c.example").power(json!({ "users": { OLD: 0 } })),
        owned("!07-public:c.example").public(),
        owned("!08-own-rule:c.example").joined_by(rule("org.example.own")),
        owned("!09-restricted:c.example").joined_by(restricted("restricted", "!x:c.example")),
    ];
    let all: Vec<_> = rooms.iter().map(|room| room.id.try_into().unwrap()).collect();
    let options = Options { fast: all.into_iter().collect(), ..Options::default() };
    let plan = plan_of(&rooms).with(&options);
    let opened = plan.rooms.iter().filter(|room| room.opens).map(|room| room.room.id.as_str());
    let numbers: Vec<_> = opened.map(|id| &id[1..3]).collect();
    assert_eq!(numbers, ["01", "02", "04"]);
    let skipped = Options { skipped: [rooms[0].id.try_into().unwrap()].into(), ..options };
    assert_eq!(plan_of(&rooms).with(&skipped).rooms.iter().filter(|room| room.opens).count(), 2);
    assert!(plan_of(&rooms).rooms.iter().all(|room| !room.opens), "nobody agreed");
}

#[test]
fn a_room_version_that_the_new_server_does_not_know_is_out_of_reach() {
    let rooms = [
        Room::new("!1-old:c.example").created("10", OLD, json!({})).public(),
        Room::new("!2-new:c.example").created("12", OLD, json!({})).public(),
    ];
    let mut new = new_survey(&json!({}));
    new.versions = Some([ruma::RoomVersionId::V10].into());
    insta::assert_snapshot!(lines(&plan(&old_survey(&rooms, &json!({})), &new)));
}

#[test]
fn servers_to_join_through_are_chosen_as_the_specification_proposes() {
    let acl = json!({ "allow": ["*"], "deny": ["denied.example"] });
    let room = Room::new("!room:c.example")
        .public()
        .power(json!({ "users": { "@admin:few.example": 100 } }))
        .state("m.room.server_acl", "", acl.clone());
    let members = [
        ("denied.example", 6),
        ("127.0.0.1", 5),
        ("many.example", 4),
        ("a.example", 3),
        ("some.example", 2),
        ("least.example", 1),
        ("tiny.example", 1),
    ];
    let members: Vec<OwnedUserId> = members
        .iter()
        .flat_map(|(server, count)| (0..*count).map(move |n| format!("@user{n}:{server}")))
        .map(|user| user.try_into().unwrap())
        .collect();
    let seen = members.iter().fold(room, |room, user| room.member(user.as_str(), "join"));
    assert_eq!(
        plan_of(&[seen]).rooms[0].via,
        ["few.example", "many.example", "some.example", "a.example"],
        "power first, then members; the old server last, denied servers and IP literals not at all"
    );
    let acl = serde_json::from_value(acl).unwrap();
    assert_eq!(
        via_members("a.example".try_into().unwrap(), members.iter(), Some(&acl)),
        ["many.example", "some.example", "least.example", "a.example"],
        "the same, where nobody has power"
    );
}

#[test]
fn members_are_asked_for_only_where_no_other_server_is_known_and_there_may_be_one() {
    let hides = |room: Room| plan_of(&[room]).rooms[0].hides_servers;
    let own = || json!({ "users": { OLD: 100 } });
    let room = || Room::new("!room:a.example").public().power(own());
    assert!(hides(room()), "four of five members are not known");
    assert!(!hides(room().of_two_with("@bea:a.example")), "both members are known");
    assert!(!hides(room().member("@bea:b.example", "join")), "another server is known");
    let left = room().of_two_with("@bea:a.example").member("@cleo:a.example", "leave");
    assert!(!hides(left), "who left does not count");
    assert!(
        !hides(Room::new("!room:a.example").power(own())),
        "whoever is invited joins through the inviter"
    );
}

#[test]
fn a_plan_is_stored_in_this_form() {
    let room = Room::new("!room:c.example")
        .named("Club")
        .tagged("m.favourite", 0.5)
        .power(json!({ "users": { OLD: 100 } }))
        .state("m.room.encryption", "", json!({ "algorithm": "m.megolm.v1.aes-sha2" }));
    let plan = plan(
        &old_survey(&[room], &json!({ "@bob:c.example": ["!room:c.example"] })),
        &new_survey(&json!({})),
    );
    insta::assert_json_snapshot!(plan);
}
