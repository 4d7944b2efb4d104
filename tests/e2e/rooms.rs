//! Every kind of room that a real homeserver can be brought to.

use std::time::Duration;

use lab::{Chat, Fault, Lab, Options, Proxy, RoomSpec, Rule, pair, wait};
use reqwest::Method;
use ruma::{OwnedRoomId, RoomVersionId, room::JoinRuleKind};
use serde_json::{Map, Value, json};

use crate::scene::{Scene, is_in, level};

/// What `rooms` says of the room with this name.
async fn line_of(chat: &Chat, name: &str) -> String {
    let list = chat.messages().into_iter().rev().find(|m| m.body.contains("The plan has"));
    let body = list.unwrap().body;
    let line = body.lines().find(|line| line.contains(&format!("“{name}”")));
    line.unwrap_or_else(|| panic!("no {name} in {body}")).to_owned()
}

async fn go(chat: &Chat) {
    chat.say("go").await.unwrap();
    chat.hear_about("`forget`").await.unwrap();
}

#[tokio::test]
async fn restricted_rooms_are_joined_through_their_space_without_an_invitation() {
    let scene = Scene::new("restricted").await;
    let old = &scene.old;
    let friend = &scene.friend;
    let outer = old.create_room(RoomSpec::space("Outer")).await.unwrap();
    let inner = old.create_room(RoomSpec::space("Inner").within(&outer)).await.unwrap();
    // The friend runs the room, and lets nobody invite: only the space opens it.
    let in_space = friend
        .create_room(RoomSpec::private("Restricted").invite(old.user_id()).needs("invite", 100))
        .await
        .unwrap();
    let rule = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": inner }],
    });
    friend.set_state(&in_space, "m.room.join_rules", "", &rule).await.unwrap();
    old.join(&in_space).await.unwrap();
    old.invite(&inner, friend.user_id()).await.unwrap();
    friend.join(&inner).await.unwrap();

    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("The plan has").await.unwrap();
    assert!(line_of(&chats.old, "Restricted").await.contains("member of its space"));
    go(&chats.old).await;
    for room in [&outer, &inner, &in_space] {
        assert!(is_in(&scene.new, room).await, "{room}");
    }
    let sent = member_event_senders(&scene, &in_space).await;
    assert_eq!(sent, [scene.new.user_id().to_string()], "it joined, and nobody invited it");
}

/// Who sent each membership of the new account in a room.
async fn member_event_senders(scene: &Scene<'_>, room: &OwnedRoomId) -> Vec<String> {
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=100");
    let answer = scene.old.send_raw(Method::GET, &path, &Value::Null).await.unwrap();
    let events = answer["chunk"].as_array().unwrap();
    events
        .iter()
        .filter(|event| event["state_key"] == scene.new.user_id().as_str())
        .map(|event| event["sender"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn whatever_the_join_rule_and_wherever_the_new_account_stands_it_gets_in() {
    let scene = Scene::new("rules").await;
    let (old, new) = (&scene.old, &scene.new);
    let space = old.create_room(RoomSpec::space("Space")).await.unwrap();
    let closed = |name: &str, rule| RoomSpec::private(name).within(&space).join_rule(rule);
    let mut rooms = Vec::new();
    for (name, rule) in
        [("Knock", JoinRuleKind::Knock), ("Knock or member", JoinRuleKind::KnockRestricted)]
    {
        rooms.push(scene.room(closed(name, rule)).await);
    }
    for name in ["Invited", "Left"] {
        let room = scene.private_room(name).await;
        old.invite(&room, new.user_id()).await.unwrap();
        rooms.push(room);
    }
    new.join(&rooms[3]).await.unwrap();
    new.leave(&rooms[3]).await.unwrap();
    let private = scene.private_room("Private").await;
    let rule = json!({ "join_rule": "private" });
    old.set_state(&private, "m.room.join_rules", "", &rule).await.unwrap();

    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("The plan has").await.unwrap();
    for (name, way) in [
        ("Private", "it lets nobody in, not even who is invited"),
        ("Knock", "is invited and joins"),
        ("Knock or member", "joins as a member of its space"),
        ("Invited", "joins, is invited already"),
        ("Left", "is invited and joins"),
    ] {
        let line = line_of(&chats.old, name).await;
        assert!(line.contains(way), "{line}");
    }
    go(&chats.old).await;
    for room in &rooms {
        assert!(is_in(new, room).await, "{room}");
    }
    assert_eq!(old.member(&private, new.user_id()).await.unwrap(), None, "not even invited");
}

#[tokio::test]
async fn what_to_know_of_a_real_room_is_told_beforehand() {
    let scene = Scene::new("know").await;
    let (old, friend) = (&scene.old, &scene.friend);
    let bridged = scene.private_room("Bridged").await;
    let bridge = json!({ "protocol": { "id": "irc", "displayname": "IRC" } });
    old.set_state(&bridged, "m.bridge", "org.example://irc", &bridge).await.unwrap();
    scene.room(RoomSpec::public("Addressed").alias("know-addressed")).await;
    let locked = scene.room(RoomSpec::private("Locked").encrypted()).await;
    let knocked = friend
        .create_room(RoomSpec::public("Knocked").join_rule(JoinRuleKind::Knock))
        .await
        .unwrap();
    let path = format!("/_matrix/client/v3/knock/{knocked}");
    old.send_raw(reqwest::Method::POST, &path, &json!({})).await.unwrap();
    let notes = old.create_room(RoomSpec::private("Notes")).await.unwrap();
    old.add_direct(old.user_id(), &notes).await.unwrap();
    let with_new = old.create_room(RoomSpec::direct(scene.new.user_id())).await.unwrap();
    scene.new.join(&with_new).await.unwrap();

    let chats = scene.planned().await;
    let plan = chats.old.messages().into_iter().rev().find(|m| m.body.contains("The plan:"));
    let plan = plan.unwrap().body;
    assert!(plan.contains("“Knocked” (you knocked)"), "{plan}");
    assert!(plan.contains("created by the old account"), "{plan}");
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("The plan has").await.unwrap();
    for (name, told) in [
        ("Bridged", "bridged with “IRC”"),
        ("Addressed", "may end with the old server"),
        ("Locked", "🔒"),
    ] {
        let line = line_of(&chats.old, name).await;
        assert!(line.contains(told), "{line}");
    }
    go(&chats.old).await;
    assert!(is_in(&scene.new, &locked).await);
    let direct = scene.new.direct().await.unwrap();
    assert!(direct[scene.new.user_id()].contains(&notes), "notes to self stay such: {direct:?}");
    assert!(!direct.values().any(|rooms| rooms.contains(&with_new)), "{direct:?}");
}

#[tokio::test]
async fn rooms_out_of_reach_are_told_with_the_reason_and_not_tried() {
    let scene = Scene::new("reach").await;
    let old = &scene.old;
    let denied = scene.room(RoomSpec::public("Denied")).await;
    // An ACL knows hosts, not ports, so this denies both servers; the old one is in already.
    let acl = json!({ "allow": ["*"], "deny": ["localhost"], "allow_ip_literals": true });
    old.set_state(&denied, "m.room.server_acl", "", &acl).await.unwrap();
    let banned = scene.room(RoomSpec::private("Banned")).await;
    old.invite(&banned, scene.new.user_id()).await.unwrap();
    scene.new.join(&banned).await.unwrap();
    // Synapse answers this when it knows all of the room. It leaves clients waiting of accounts that
    // are banned while it does not.
    let members = format!("/_matrix/client/v3/rooms/{banned}/members");
    scene.new.send_raw(reqwest::Method::GET, &members, &json!({})).await.unwrap();
    let ban = json!({ "user_id": scene.new.user_id() });
    let path = format!("/_matrix/client/v3/rooms/{banned}/ban");
    old.send_raw(reqwest::Method::POST, &path, &ban).await.unwrap();
    let friend = &scene.friend;
    let create = json!({
        "name": "Local",
        "creation_content": { "m.federate": false },
        "invite": [friend.user_id()],
    });
    let path = "/_matrix/client/v3/createRoom";
    old.send_raw(reqwest::Method::POST, path, &create).await.unwrap();
    let knock = RoomSpec::private("Knock")
        .join_rule(JoinRuleKind::Knock)
        .needs("invite", 50)
        .invite(old.user_id());
    let knock = friend.create_room(knock).await.unwrap();
    old.join(&knock).await.unwrap();

    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("The plan has").await.unwrap();
    for (name, reason) in [
        ("Denied", "shuts the new account's server out"),
        ("Banned", "is banned there"),
        ("Local", "closed to other servers"),
        ("Knock", "needs a moderator"),
    ] {
        let line = line_of(&chats.old, name).await;
        assert!(line.contains(reason), "{line}");
    }
    go(&chats.old).await;
    let joined = scene.new.joined_rooms().await.unwrap();
    assert_eq!(joined.len(), 1, "only the chat with the bot: {joined:?}");
    assert_eq!(old.member(&denied, scene.new.user_id()).await.unwrap(), None, "not even invited");
}

#[tokio::test]
async fn a_room_that_the_new_server_blocks_fails_with_its_words_and_no_other_does() {
    let scene = Scene::new("blocked").await;
    let blocked = scene.room(RoomSpec::public("Blocked")).await;
    let other = scene.room(RoomSpec::public("Other")).await;
    let admin = scene.pair.new.register_admin("blocked-admin", "admin").await.unwrap();
    let path = format!("/_synapse/admin/v1/rooms/{blocked}/block");
    admin.send_raw(reqwest::Method::PUT, &path, &json!({ "block": true })).await.unwrap();
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    let report = chats.old.hear_about("`forget`").await.unwrap();
    assert!(report.body.contains("“Blocked”") && report.body.contains("blocked"), "{report}");
    assert!(is_in(&scene.new, &other).await);
}

#[tokio::test]
async fn the_old_servers_notices_are_left_out_and_a_quiet_room_is_called_so() {
    let options = Options {
        settings: Map::from_iter([(
            "server_notices".to_owned(),
            json!({ "system_mxid_localpart": "notices", "room_name": "Notices", "auto_join": true }),
        )]),
        ..Options::default()
    };
    let pair = Lab::new().unwrap().pair(&options).await.unwrap();
    let settings = json!({ "plan": { "quiet_after": "1s" } });
    let scene = Scene::on(&pair, "notices", settings).await;
    let quiet = scene.room(RoomSpec::public("Nobody talks")).await;
    let admin = pair.old.register_admin("notices-admin", "admin").await.unwrap();
    let notice = json!({
        "user_id": scene.old.user_id(),
        "content": { "msgtype": "m.text", "body": "This server closes." },
    });
    let path = "/_synapse/admin/v1/send_server_notice";
    admin.send_raw(reqwest::Method::POST, path, &notice).await.unwrap();

    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("The plan has").await.unwrap();
    let notices = line_of(&chats.old, "Notices").await;
    assert!(notices.contains("it is for notices of the old server"), "{notices}");
    let line = line_of(&chats.old, "Nobody talks").await;
    assert!(line.contains("quiet since"), "{line}");
    go(&chats.old).await;
    assert!(is_in(&scene.new, &quiet).await);
    assert_eq!(scene.new.joined_rooms().await.unwrap().len(), 2, "its chat with the bot beside");
}

#[tokio::test]
async fn an_upgraded_room_is_left_behind_for_its_successor() {
    let scene = Scene::new("upgraded").await;
    let before = scene.room(RoomSpec::private("Before").version(RoomVersionId::V10)).await;
    let path = format!("/_matrix/client/v3/rooms/{before}/upgrade");
    let upgrade = json!({ "new_version": "11" });
    let answer = scene.old.send_raw(reqwest::Method::POST, &path, &upgrade).await.unwrap();
    let after: OwnedRoomId = serde_json::from_value(answer["replacement_room"].clone()).unwrap();
    scene.old.invite(&after, scene.friend.user_id()).await.unwrap();
    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("replaced by a newer room").await.unwrap();
    go(&chats.old).await;
    assert!(is_in(&scene.new, &after).await);
    assert!(!is_in(&scene.new, &before).await);
}

#[tokio::test]
async fn an_upgraded_public_room_is_followed_to_a_successor_that_the_old_account_is_not_in() {
    let scene = Scene::new("followed").await;
    let friend = &scene.friend;
    let before = RoomSpec::public("Before").version(RoomVersionId::V10);
    let before = friend.create_room(before).await.unwrap();
    scene.old.join(&before).await.unwrap();
    let path = format!("/_matrix/client/v3/rooms/{before}/upgrade");
    let upgrade = json!({ "new_version": "11" });
    let answer = friend.send_raw(reqwest::Method::POST, &path, &upgrade).await.unwrap();
    let after: OwnedRoomId = serde_json::from_value(answer["replacement_room"].clone()).unwrap();
    let chats = scene.planned().await;
    go(&chats.old).await;
    assert!(is_in(&scene.new, &after).await);
    assert!(!is_in(&scene.new, &before).await);
}

#[tokio::test]
async fn spring_cleaning_leaves_empty_rooms_out_until_they_are_asked_for() {
    let scene = Scene::new("spring").await;
    let friend = &scene.friend;
    let spec = RoomSpec::private("Emptied").invite(friend.user_id());
    let emptied = scene.old.create_room(spec).await.unwrap();
    friend.join(&emptied).await.unwrap();
    friend.leave(&emptied).await.unwrap();
    let hidden = scene.private_room("Hidden").await;
    let joined = json!({ "history_visibility": "joined" });
    scene.old.set_state(&hidden, "m.room.history_visibility", "", &joined).await.unwrap();
    let waiting =
        friend.create_room(RoomSpec::private("Waiting").invite(scene.old.user_id())).await.unwrap();

    let chats = scene.planned().await;
    let plan = chats.old.messages().into_iter().rev().find(|m| m.body.contains("The plan:"));
    let plan = plan.unwrap().body;
    assert!(plan.contains("nothing of what was said before"), "{plan}");
    assert!(plan.contains("Waiting") && plan.contains("spring-friend"), "{plan}");
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("The plan has").await.unwrap();
    assert!(line_of(&chats.old, "Emptied").await.contains("nobody else is in it"));
    assert!(line_of(&chats.old, "Hidden").await.contains("earlier messages stay hidden"));
    chats.old.say(&format!("include {emptied}")).await.unwrap();
    chats.old.hear_about("put into the plan").await.unwrap();
    go(&chats.old).await;
    assert!(is_in(&scene.new, &emptied).await);
    assert!(is_in(&scene.new, &hidden).await);
    assert!(!is_in(&scene.new, &waiting).await);
}

#[tokio::test]
async fn a_direct_chat_that_no_client_marked_becomes_one() {
    let scene = Scene::new("unmarked").await;
    let friend = &scene.friend;
    // The friend's client began it, and the old account's never marked it.
    let chat = friend.create_room(RoomSpec::direct(scene.old.user_id())).await.unwrap();
    scene.old.join(&chat).await.unwrap();
    assert!(!scene.old.direct().await.unwrap().contains_key(friend.user_id()));
    let chats = scene.planned().await;
    go(&chats.old).await;
    assert!(scene.new.direct().await.unwrap()[friend.user_id()].contains(&chat));
}

/// What became of the new account in a room, oldest first.
async fn course(scene: &Scene<'_>, room: &OwnedRoomId) -> Vec<String> {
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=100");
    let answer = scene.old.send_raw(Method::GET, &path, &Value::Null).await.unwrap();
    let new = scene.new.user_id().as_str();
    let events = answer["chunk"].as_array().unwrap().iter();
    let about_new = events.filter_map(|event| match event["type"].as_str().unwrap() {
        "m.room.member" if event["state_key"] == new => event["content"]["membership"].as_str(),
        "m.room.power_levels" => event["content"]["users"][new].as_i64().map(|_| "power"),
        _ => None,
    });
    about_new.map(str::to_owned).collect()
}

#[tokio::test]
async fn power_comes_with_the_invitation_and_otherwise_after_the_join() {
    let scene = Scene::new("powerfirst").await;
    let invited = scene.private_room("Invited").await;
    let public = scene.room(RoomSpec::public("Public")).await;
    let chats = scene.planned().await;
    go(&chats.old).await;
    assert_eq!(course(&scene, &invited).await, ["invite", "power", "join"]);
    assert_eq!(course(&scene, &public).await, ["join", "power"]);
    for room in [&invited, &public] {
        assert!(level(&scene.new, room, scene.new.user_id()).await >= 100);
    }
}

#[tokio::test]
async fn power_in_a_room_that_the_new_account_does_not_come_into_is_told() {
    let pair = pair().await.unwrap();
    let proxy = Proxy::before(&pair.new).await.unwrap();
    let settings = json!({ "homeservers": { pair.new.name().as_str(): proxy.url() } });
    let scene = Scene::with_settings("powerless", settings).await;
    let room = scene.private_room("Shut").await;
    proxy.add(Rule::on(Method::POST, "/join/", Fault::status(504)));
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    wait::until("the join is tried", Duration::from_secs(30), || async {
        Ok((proxy.seen(&Method::POST, "/join/") > 0).then_some(()))
    })
    .await
    .unwrap();
    chats.old.say("cancel").await.unwrap();
    chats.old.hear_about("It is invited to 1 room besides").await.unwrap();
    chats.old.say("report").await.unwrap();
    let report = chats.old.hear_about("The report:").await.unwrap().body;
    assert!(report.contains("“Shut”: power level 150"), "{report}");
    assert!(report.contains("“Shut”: accept the invitation"), "{report}");
    assert_eq!(course(&scene, &room).await, ["invite", "power"]);
}
