//! Plans for a table of survey pairs. The surveys are read from answers of `/sync`, so that these
//! tests need no homeserver.

use ruma::{
    UserId,
    api::{IncomingResponse, client::sync::sync_events::v3},
    user_id,
};
use serde_json::{Value, json};

use super::{Accounts, Plan, PlannedRoom, make};
use crate::migration::{Options, holdings::Copies, survey::Survey};

const OLD: &str = "@old:a.example";
const NEW: &str = "@new:b.example";

/// What `/sync` says of one joined room.
struct Room {
    id: &'static str,
    state: Vec<Value>,
    tags: Value,
    last_active: u64,
    members: u64,
    heroes: Vec<&'static str>,
}

impl Room {
    fn new(id: &'static str) -> Self {
        Self { id, state: vec![], tags: json!({}), last_active: 0, members: 5, heroes: vec![] }
            .created("10", "@creator:c.example", json!({}))
    }

    fn state(mut self, event_type: &str, state_key: &str, content: Value) -> Self {
        self.state.retain(|event| event["type"] != event_type || event["state_key"] != state_key);
        self.state.push(json!({
            "type": event_type,
            "state_key": state_key,
            "sender": "@creator:c.example",
            "event_id": format!("${event_type}{state_key}"),
            "origin_server_ts": 1,
            "content": content,
        }));
        self
    }

    fn created(self, version: &str, by: &str, mut content: Value) -> Self {
        content["room_version"] = json!(version);
        let mut room = self.state("m.room.create", "", content);
        room.state.last_mut().unwrap()["sender"] = json!(by);
        room
    }

    fn named(self, name: &str) -> Self {
        self.state("m.room.name", "", json!({ "name": name }))
    }

    fn public(self) -> Self {
        self.state("m.room.join_rules", "", json!({ "join_rule": "public" }))
    }

    fn power(self, content: Value) -> Self {
        self.state("m.room.power_levels", "", content)
    }

    fn member(self, user: &str, membership: &str) -> Self {
        self.state("m.room.member", user, json!({ "membership": membership }))
    }

    fn tagged(mut self, tag: &str, order: f64) -> Self {
        self.tags[tag] = json!({ "order": order });
        self
    }

    fn active(mut self, at: u64) -> Self {
        self.last_active = at;
        self
    }

    fn of_two_with(mut self, hero: &'static str) -> Self {
        self.members = 2;
        self.heroes = vec![hero];
        self
    }

    fn json(&self) -> Value {
        json!({
            "summary": {
                "m.joined_member_count": self.members,
                "m.invited_member_count": 0,
                "m.heroes": self.heroes,
            },
            "state": { "events": self.state },
            "timeline": { "events": [{
                "type": "m.room.message",
                "sender": OLD,
                "event_id": "$last",
                "origin_server_ts": self.last_active,
                "content": { "msgtype": "m.text", "body": "hello" },
            }] },
            "account_data": { "events": [{ "type": "m.tag", "content": { "tags": self.tags } }] },
        })
    }
}

fn survey(user_id: &UserId, sync: &Value) -> Survey {
    let answer = ruma::exports::http::Response::new(serde_json::to_vec(sync).unwrap());
    Survey::read(user_id, &v3::Response::try_from_http_response(answer).unwrap())
}

fn old_survey(rooms: &[Room], direct: &Value) -> Survey {
    let join: Value = rooms.iter().map(|room| (room.id.to_owned(), room.json())).collect();
    let sync = json!({
        "next_batch": "s",
        "rooms": { "join": join },
        "account_data": { "events": [{ "type": "m.direct", "content": direct }] },
    });
    survey(user_id!("@old:a.example"), &sync)
}

fn new_survey(rooms: &Value) -> Survey {
    survey(user_id!("@new:b.example"), &json!({ "next_batch": "s", "rooms": rooms }))
}

fn plan(old: &Survey, new: &Survey) -> Plan {
    make(&Accounts {
        old: user_id!("@old:a.example"),
        new: user_id!("@new:b.example"),
        bot: user_id!("@tern:a.example"),
        old_survey: Some(old),
        new_survey: new,
        copies: &Copies::new(),
    })
}

/// The plan for rooms that the new account has nothing to do with yet.
fn plan_of(rooms: &[Room]) -> Plan {
    plan(&old_survey(rooms, &json!({})), &new_survey(&json!({})))
}

/// A line for each room.
fn lines(plan: &Plan) -> String {
    let line = |room: &PlannedRoom| {
        let after = &room.after;
        let mut parts = vec![format!("{} {:?}", room.room.id, room.route)];
        parts.extend(after.power_level.map(|level| format!("power {level}")));
        parts.extend(after.power_out_of_reach.map(|level| format!("power out of reach {level}")));
        parts.extend(after.creator_stays.then(|| "creator stays".to_owned()));
        parts.extend(after.tags.iter().map(|(tag, order)| format!("{tag} {order:?}")));
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
    ];
    insta::assert_snapshot!(lines(&plan_of(&rooms)), @"
    !01-public:c.example Join { invited: false }
    !02-private-may-invite:c.example InviteAndJoin, power 50
    !03-private-may-not-invite:c.example NeedsModerator
    !04-no-power-levels-event:c.example InviteAndJoin
    !05-knock:c.example NeedsModerator
    !06-not-federated:a.example Unreachable(NotFederated)
    !07-denied-by-acl:c.example Unreachable(ServerDenied)
    !08-malformed-join-rule:c.example NeedsModerator
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
    !2-invited:c.example Join { invited: true }, power 100
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
    !space:c.example Join { invited: false }
    !direct:c.example Join { invited: false }
    !favorite:c.example Join { invited: false }, m.favourite Some(0.5)
    !lively:c.example Join { invited: false }
    !quiet:c.example Join { invited: false }
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
    !with-new:a.example InviteAndJoin
    ");
    assert!(plan.direct.is_empty());
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
    insta::assert_snapshot!(lines(&plan(&old_survey(&rooms(), &json!({})), &new)), @"
    !tagged-by-new:c.example AlreadyThere
    !untagged:c.example AlreadyThere, u.work Some(0.2)
    ");
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
        old_survey: None,
        new_survey: &new,
        copies: &Copies::new(),
    });
    insta::assert_snapshot!(lines(&plan), @"!by-old:a.example Join { invited: true }");
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
        named: [ruma::room_alias_id!("#extra:d.example").to_owned().into()].into(),
        ..Options::default()
    };
    let plan = plan.with(&options);
    insta::assert_snapshot!(lines(&plan), @"
    !kept:c.example Join { invited: false }
    !skipped:c.example Skipped
    #extra:d.example Join { invited: false }
    ");
    assert!(plan.rooms[2].via.iter().any(|server| server == "d.example"));
}

#[test]
fn rooms_are_joined_through_servers_other_than_the_old_accounts_too() {
    let room = Room::new("!room:c.example").public().power(json!({ "users": {
        "@admin:d.example": 100, "@moderator:e.example": 50, OLD: 10,
    } }));
    let plan = plan_of(&[room]);
    assert_eq!(plan.rooms[0].via, ["a.example", "d.example", "e.example"]);
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
