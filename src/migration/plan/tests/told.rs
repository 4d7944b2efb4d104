//! What a plan leaves out, and what it tells of rooms.

use super::*;

#[test]
fn an_upgraded_room_is_left_for_its_newest_successor_that_can_be_reached() {
    let upgraded = |id, to: &str| {
        Room::new(id).public().state("m.room.tombstone", "", json!({ "replacement_room": to }))
    };
    let rooms = [
        upgraded("!1-first:c.example", "!2-second:c.example"),
        upgraded("!2-second:c.example", "!3-third:c.example"),
        Room::new("!3-third:c.example").public(),
        upgraded("!4-to-public:c.example", "!public:c.example"),
        upgraded("!5-to-nowhere:c.example", "!hidden:c.example"),
        upgraded("!6-to-itself:c.example", "!6-to-itself:c.example"),
    ];
    let mut old = old_survey(&rooms, &json!({}));
    old.successors.insert(
        ruma::room_id!("!public:c.example").to_owned(),
        Successor {
            name: Some("Public".to_owned()),
            alias: None,
            space: false,
            encrypted: false,
            version: None,
            public: true,
            let_in_from: vec![],
        },
    );
    insta::assert_snapshot!(lines(&plan(&old, &new_survey(&json!({})))));
}

#[test]
fn empty_rooms_server_notices_and_the_chat_with_the_bot_are_left_out_until_asked_for() {
    let mut empty = Room::new("!1-empty:a.example").public();
    empty.members = 1;
    let mut notes = Room::new("!2-notes-to-self:a.example").public();
    notes.members = 1;
    let rooms = [
        empty,
        notes,
        Room::new("!3-server:a.example").public().tagged("m.server_notice", 0.0),
        Room::new("!4-bot:a.example").public().of_two_with("@tern:a.example"),
        Room::new("!consent:a.example").named("Not marked as a direct chat"),
    ];
    let direct = json!({ OLD: ["!2-notes-to-self:a.example"] });
    let made = plan(&old_survey(&rooms, &direct), &new_survey(&json!({})));
    assert_eq!(made.direct.keys().collect::<Vec<_>>(), [NEW], "notes to self stay such");
    let all = made.rooms.iter().map(|room| room.room.id.clone());
    let included = Options { included: all.collect(), ..Options::default() };
    let texts = [lines(&made.clone().with(&Options::default())), lines(&made.with(&included))];
    insta::assert_snapshot!(texts.join("\nincluded:\n"));
}

#[test]
fn what_to_know_is_noted_with_each_room() {
    let hidden = |visibility: &str| json!({ "history_visibility": visibility });
    let room = |id| Room::new(id).public();
    let rooms = [
        room("!1-shared:c.example").state("m.room.history_visibility", "", hidden("shared")),
        room("!2-world:c.example").state("m.room.history_visibility", "", hidden("world_readable")),
        room("!3-invited:c.example").state("m.room.history_visibility", "", hidden("invited")),
        room("!4-joined:c.example").state("m.room.history_visibility", "", hidden("joined")),
        room("!5-bridged:c.example").state(
            "uk.half-shot.bridge",
            "irc",
            json!({ "protocol": { "id": "irc", "displayname": "IRC" } }),
        ),
        room("!6-alias:c.example").power(json!({ "users": { OLD: 100 } })).state(
            "m.room.canonical_alias",
            "",
            json!({ "alias": "#mine:a.example" }),
        ),
        room("!7-alias-of-others:c.example").closed().state(
            "m.room.canonical_alias",
            "",
            json!({ "alias": "#theirs:a.example" }),
        ),
        Room::new("!8-quiet:c.example").public().quiet(),
    ];
    insta::assert_snapshot!(lines(&plan_of(&rooms)));
}

#[test]
fn a_direct_chat_that_no_client_marked_is_recognized() {
    let mut invited = Room::new("!begun:c.example").of_two_with("@bob:c.example");
    invited = invited.state("m.room.member", "@bob:c.example", json!({ "membership": "join" }));
    invited.state.last_mut().unwrap()["unsigned"] =
        json!({ "prev_content": { "membership": "invite", "is_direct": true } });
    let rooms = [invited, Room::new("!group-of-two:c.example").of_two_with("@eve:c.example")];
    let plan = plan_of(&rooms);
    insta::assert_json_snapshot!(plan.direct, @r#"
    {
      "@bob:c.example": [
        "!begun:c.example"
      ]
    }
    "#);
}

#[test]
fn open_invitations_and_knocks_are_listed_with_who_invited() {
    let member = |membership: &str| {
        json!({ "type": "m.room.member", "state_key": OLD, "sender": "@bea:c.example",
            "content": { "membership": membership } })
    };
    let old = survey(
        user_id!("@old:a.example"),
        &json!({ "next_batch": "s", "rooms": {
            "invite": { "!1:c.example": { "invite_state": { "events": [member("invite")] } } },
            "knock": { "!2:c.example": { "knock_state": { "events": [member("knock")] } } },
        } }),
    );
    let plan = plan(&old, &new_survey(&json!({})));
    let pending: Vec<_> = plan
        .pending
        .iter()
        .map(|pending| {
            (pending.room.id.as_str(), pending.invited_by.as_ref().map(|by| by.as_str()))
        })
        .collect();
    assert_eq!(pending, [("!1:c.example", Some("@bea:c.example")), ("!2:c.example", None)]);
    assert!(plan.rooms.is_empty());
}

#[test]
fn a_room_that_one_of_the_servers_tells_nonsense_of_is_left_alone() {
    let mut old = old_survey(
        &[Room::new("!1-new:c.example").public(), Room::new("!2-fine:c.example").public()],
        &json!({}),
    );
    old.unreadable.insert(ruma::owned_room_id!("!3-old:c.example"));
    let mut new = new_survey(&json!({}));
    new.unreadable.insert(ruma::owned_room_id!("!1-new:c.example"));
    insta::assert_snapshot!(lines(&plan(&old, &new)), @r#"
    !1-new:c.example Unreachable(Unreadable { server: "b.example" })
    !2-fine:c.example Join(Public)
    !3-old:c.example Unreachable(Unreadable { server: "a.example" })
    "#);
}

#[test]
fn who_is_on_the_other_side_is_known_by_name_where_that_says_more() {
    let named = |id, user: &'static str, name: &str| {
        let content = json!({ "membership": "join", "displayname": name });
        Room::new(id).of_two_with(user).state("m.room.member", user, content)
    };
    let rooms = [
        named("!1:c.example", "@bob:c.example", "Bob <3"),
        named("!2:c.example", "@eve:c.example", "eve"),
    ];
    let plan = plan_of(&rooms);
    let names = |at: usize| plan.rooms[at].room.names.values().collect::<Vec<_>>();
    assert_eq!(names(0), ["Bob <3"]);
    assert_eq!(names(1), [""; 0], "that is in the user ID already");
}
