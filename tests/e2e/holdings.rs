//! What an account holds besides its rooms.

use lab::{Account, Chat, RoomSpec};
use reqwest::Method;
use ruma::{OwnedRoomId, RoomId, events::tag::TagName};
use serde_json::{Value, json};

use crate::scene::{Chats, Scene};

const CLIENT: &str = "/_matrix/client/v3";
const NOTHING: Value = Value::Null;

async fn get(account: &Account, path: &str) -> Value {
    account.send_raw(Method::GET, &format!("{CLIENT}{path}"), &NOTHING).await.unwrap()
}

async fn put(account: &Account, path: &str, body: Value) {
    account.send_raw(Method::PUT, &format!("{CLIENT}{path}"), &body).await.unwrap();
}

async fn profile(account: &Account) -> Value {
    get(account, &format!("/profile/{}", account.user_id())).await
}

async fn set_profile(account: &Account, field: &str, value: Value) {
    put(account, &format!("/profile/{}/{field}", account.user_id()), json!({ field: value })).await;
}

async fn upload(account: &Account, content: &[u8]) -> String {
    let url = format!("{}/_matrix/media/v3/upload", account.url());
    let request = reqwest::Client::new()
        .post(url)
        .bearer_auth(account.access_token())
        .header("Content-Type", "image/png")
        .body(content.to_vec());
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["content_uri"].as_str().unwrap().to_owned()
}

async fn download(account: &Account, uri: &str) -> Vec<u8> {
    let path = uri.strip_prefix("mxc://").unwrap();
    let url = format!("{}/_matrix/client/v1/media/download/{path}", account.url());
    let request = reqwest::Client::new().get(url).bearer_auth(account.access_token());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/png");
    answer.bytes().await.unwrap().to_vec()
}

fn is_on_server_of(uri: &Value, account: &Account) -> bool {
    let server = account.user_id().server_name();
    uri.as_str().unwrap().starts_with(&format!("mxc://{server}/"))
}

fn room_data_path(account: &Account, room: &RoomId, event_type: &str) -> String {
    format!("/user/{}/rooms/{room}/account_data/{event_type}", account.user_id())
}

async fn set_room_data(account: &Account, room: &RoomId, event_type: &str, content: Value) {
    put(account, &room_data_path(account, room, event_type), content).await;
}

async fn room_data(account: &Account, room: &RoomId, event_type: &str) -> Value {
    get(account, &room_data_path(account, room, event_type)).await
}

async fn member(account: &Account, room: &RoomId) -> Value {
    let user_id = account.user_id().as_str();
    account.state(room, "m.room.member", user_id).await.unwrap().unwrap()
}

/// Sets what an account is called in one room.
async fn set_member(account: &Account, room: &RoomId, mut content: Value) {
    content["membership"] = json!("join");
    let user_id = account.user_id().as_str();
    account.set_state(room, "m.room.member", user_id, &content).await.unwrap();
}

async fn push_rules(account: &Account) -> Value {
    get(account, "/pushrules/").await["global"].clone()
}

async fn add_push_rule(account: &Account, rule: &str, body: Value) {
    put(account, &format!("/pushrules/global/{rule}"), body).await;
}

/// The account's own rules of one kind: which, in which order, and whether each is in force.
fn own_rules(rules: &Value, kind: &str) -> Vec<(String, bool)> {
    let rules = rules[kind].as_array().unwrap().iter().filter(|rule| rule["default"] == false);
    let own = |rule: &Value| {
        let enabled = rule["enabled"].as_bool().unwrap();
        (rule["rule_id"].as_str().unwrap().to_owned(), enabled)
    };
    rules.map(own).collect()
}

fn rule<'r>(rules: &'r Value, kind: &str, rule_id: &str) -> &'r Value {
    rules[kind].as_array().unwrap().iter().find(|rule| rule["rule_id"] == rule_id).unwrap()
}

/// Runs the plan, and gives the report.
async fn run(chats: &Chats) -> String {
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap().body
}

/// What the bot answers to a choice.
async fn choose(chat: &Chat, said: &str, answer: &str) -> String {
    chat.say(said).await.unwrap();
    chat.hear_about(answer).await.unwrap().body
}

async fn room_of_both(scene: &Scene<'_>, name: &str) -> OwnedRoomId {
    let room =
        scene.old.create_room(RoomSpec::private(name).invite(scene.new.user_id())).await.unwrap();
    scene.new.join(&room).await.unwrap();
    room
}

#[tokio::test]
async fn name_avatar_and_other_fields_of_the_profile_come_along_before_the_rooms() {
    let scene = Scene::new("profile").await;
    let (old, new) = (&scene.old, &scene.new);
    let room = scene.private_room("Club").await;
    let face = b"\x89PNG not really a face";
    set_profile(old, "displayname", json!("Alice A.")).await;
    set_profile(old, "avatar_url", json!(upload(old, face).await)).await;
    set_profile(old, "m.tz", json!("Europe/Paris")).await;
    set_profile(old, "org.example.pronouns", json!(["she", "her"])).await;

    let chats = scene.planned().await;
    let report = run(&chats).await;

    assert!(report.contains("avatar") && report.contains("time zone"), "{report}");
    let profile = profile(new).await;
    assert_eq!(profile["displayname"], "Alice A.");
    assert_eq!(profile["m.tz"], "Europe/Paris");
    assert_eq!(profile["org.example.pronouns"], json!(["she", "her"]));
    let avatar = &profile["avatar_url"];
    assert!(is_on_server_of(avatar, new), "{avatar}");
    assert_eq!(download(new, avatar.as_str().unwrap()).await, face);
    let path = format!("/rooms/{room}/messages?dir=b&limit=100");
    let timeline = get(new, &path).await;
    let joins: Vec<_> = timeline["chunk"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["state_key"] == new.user_id().as_str())
        .filter(|event| event["content"]["membership"] == "join")
        .collect();
    assert_eq!(joins.len(), 1, "the room saw no change of the name: {joins:?}");
    assert_eq!(joins[0]["content"]["displayname"], "Alice A.");
}

#[tokio::test]
async fn push_rules_come_along_in_their_order_and_name_the_new_account() {
    let scene = Scene::new("pushrules").await;
    let (old, new) = (&scene.old, &scene.new);
    let room = scene.private_room("Muted").await;
    let named = json!([{ "kind": "event_match", "key": "sender", "pattern": old.user_id() }]);
    for (rule, body) in [
        ("override/third", json!({ "actions": ["notify"], "conditions": [] })),
        ("override/second", json!({ "actions": ["dont_notify"], "conditions": named })),
        ("override/first", json!({ "actions": [], "conditions": [] })),
        ("content/garden", json!({ "actions": ["notify"], "pattern": "garden" })),
        ("content/pushrules-old", json!({ "actions": ["notify"], "pattern": "pushrules-old" })),
        (&format!("room/{room}"), json!({ "actions": [] })),
        (&format!("sender/{}", old.user_id()), json!({ "actions": [] })),
        ("underride/low", json!({ "actions": ["notify"], "conditions": [] })),
    ] {
        add_push_rule(old, rule, body).await;
    }
    add_push_rule(old, "override/second/enabled", json!({ "enabled": false })).await;
    add_push_rule(old, "underride/.m.rule.message/actions", json!({ "actions": [] })).await;
    add_push_rule(old, "override/.m.rule.roomnotif/enabled", json!({ "enabled": false })).await;
    add_push_rule(new, "override/own", json!({ "actions": [], "conditions": [] })).await;

    let chats = scene.planned().await;
    run(&chats).await;

    let rules = push_rules(new).await;
    let own = |kind| own_rules(&rules, kind);
    let on = |rule: &str| (rule.to_owned(), true);
    let off = |rule: &str| (rule.to_owned(), false);
    assert_eq!(own("override"), [on("own"), on("first"), off("second"), on("third")]);
    assert_eq!(own("content"), [on("pushrules-new"), on("garden")]);
    assert_eq!(own("room"), [on(room.as_str())]);
    assert_eq!(own("sender"), [on(new.user_id().as_str())]);
    assert_eq!(own("underride"), [on("low")]);
    let condition = &rule(&rules, "override", "second")["conditions"][0];
    assert_eq!(condition["pattern"], new.user_id().as_str());
    assert_eq!(rule(&rules, "underride", ".m.rule.message")["actions"], json!([]));
    assert_eq!(rule(&rules, "override", ".m.rule.roomnotif")["enabled"], false);

    chats.old.say("plan").await.unwrap();
    let plan = chats.old.hear_about("already there").await.unwrap().body;
    assert!(!plan.contains("push rule"), "there is nothing left to do: {plan}");
}

#[tokio::test]
async fn account_data_of_every_type_comes_along_but_for_secrets() {
    let scene = Scene::new("accountdata").await;
    let (old, new) = (&scene.old, &scene.new);
    let space = old.create_room(RoomSpec::space("Home")).await.unwrap();
    let copied = [
        ("org.example.unheard_of", json!({ "a": [1, { "b": null }] })),
        ("im.vector.web.settings", json!({ "theme": "dark" })),
        ("im.ponies.user_emotes", json!({ "images": { "cat": { "url": "mxc://a.example/c" } } })),
        ("io.element.recent_emoji", json!({ "recent_emoji": [["🎉", 3]] })),
    ];
    let secret = json!({ "encrypted": { "key": { "iv": "", "ciphertext": "", "mac": "" } } });
    let never_copied = [
        ("m.secret_storage.default_key", json!({ "key": "abc" })),
        ("m.secret_storage.key.abc", json!({ "algorithm": "m.secret_storage.v1.aes-hmac-sha2" })),
        ("m.cross_signing.user_signing", secret.clone()),
        ("m.megolm_backup.v1", secret.clone()),
        ("org.matrix.msc3814", secret.clone()),
        ("org.example.secret", secret),
        ("m.identity_server", json!({ "base_url": "https://identity.example" })),
        ("m.accepted_terms", json!({ "accepted": ["https://terms.example"] })),
    ];
    for (event_type, content) in copied.iter().chain(&never_copied) {
        old.set_account_data(event_type, content).await.unwrap();
    }
    let ignored = json!({ "ignored_users": { "@spam:a.example": {}, new.user_id(): {} } });
    old.set_account_data("m.ignored_user_list", &ignored).await.unwrap();
    let own = json!({ "ignored_users": { "@own:a.example": {} } });
    new.set_account_data("m.ignored_user_list", &own).await.unwrap();
    let in_space = [
        ("org.matrix.msc3230.space_order", json!({ "order": "m" })),
        ("m.marked_unread", json!({ "unread": true })),
        ("org.example.room", json!({ "notes": "here" })),
    ];
    for (event_type, content) in &in_space {
        set_room_data(old, &space, event_type, content.clone()).await;
    }

    let chats = scene.planned().await;
    let report = run(&chats).await;

    assert!(report.contains("1 ignored person"), "{report}");
    for (event_type, content) in copied {
        assert_eq!(new.account_data(event_type).await.unwrap(), Some(content), "{event_type}");
    }
    for (event_type, content) in never_copied {
        let found = new.account_data(event_type).await.unwrap();
        assert_ne!(found, Some(content), "{event_type} was copied");
    }
    assert_eq!(
        new.account_data("m.ignored_user_list").await.unwrap().unwrap(),
        json!({ "ignored_users": { "@spam:a.example": {}, "@own:a.example": {} } })
    );
    for (event_type, content) in in_space {
        assert_eq!(room_data(new, &space, event_type).await, content, "{event_type}");
    }
}

#[tokio::test]
async fn names_and_avatars_of_single_rooms_come_along() {
    let scene = Scene::new("roomnames").await;
    let (old, new) = (&scene.old, &scene.new);
    set_profile(old, "displayname", json!("Alice")).await;
    let (mask, face) = (upload(old, b"a mask").await, upload(old, b"a face").await);
    set_profile(old, "avatar_url", json!(face)).await;
    let joined = room_of_both(&scene, "Already there").await;
    let rooms = [scene.private_room("Stage").await, scene.private_room("Ball").await];
    let plain = scene.private_room("Office").await;
    for room in rooms.iter().chain([&joined]) {
        let own = json!({ "displayname": "The Mask", "avatar_url": mask });
        set_member(old, room, own).await;
    }

    let chats = scene.planned().await;
    run(&chats).await;

    let mut avatars = Vec::new();
    for room in rooms.iter().chain([&joined]) {
        let member = member(new, room).await;
        assert_eq!(member["displayname"], "The Mask", "{member}");
        assert!(is_on_server_of(&member["avatar_url"], new), "{member}");
        avatars.push(member["avatar_url"].as_str().unwrap().to_owned());
    }
    assert_eq!(download(new, &avatars[0]).await, b"a mask");
    assert!(avatars.iter().all(|avatar| *avatar == avatars[0]), "uploaded once: {avatars:?}");
    assert_eq!(member(new, &plain).await["displayname"], "Alice");
}

#[tokio::test]
async fn the_images_of_emotes_are_copied_to_the_new_accounts_server() {
    let scene = Scene::new("packs").await;
    let (old, new) = (&scene.old, &scene.new);
    let (cat, face) = (upload(old, b"a cat").await, upload(old, b"a face").await);
    let gone = format!("mxc://{}/doesnotexist", old.user_id().server_name());
    let elsewhere = "mxc://elsewhere.example/dog";
    let pack = json!({
        "images": { "cat": { "url": cat }, "dog": { "url": elsewhere }, "gone": { "url": gone } },
        "pack": { "display_name": "Mine", "avatar_url": face },
    });
    old.set_account_data("im.ponies.user_emotes", &pack).await.unwrap();
    let own = json!({ "images": { "own": { "url": "mxc://elsewhere.example/own" } } });
    new.set_account_data("im.ponies.user_emotes", &own).await.unwrap();

    let chats = scene.planned().await;
    let report = run(&chats).await;

    assert!(report.contains("1 image stays on the old server"), "{report}");
    let found = new.account_data("im.ponies.user_emotes").await.unwrap().unwrap();
    let copies = [(&found["images"]["cat"]["url"], b"a cat" as &[u8])];
    for (copy, content) in
        copies.into_iter().chain([(&found["pack"]["avatar_url"], b"a face" as _)])
    {
        assert!(is_on_server_of(copy, new), "{found}");
        assert_eq!(download(new, copy.as_str().unwrap()).await, content);
    }
    assert_eq!(found["images"]["dog"]["url"], elsewhere, "does not end with the old server");
    assert_eq!(found["images"]["gone"]["url"], gone);
    assert_eq!(found["images"]["own"], own["images"]["own"]);

    chats.old.say("plan").await.unwrap();
    let plan = chats.old.hear_about("I have changed nothing yet").await.unwrap().body;
    assert!(!plan.contains("emote"), "there is nothing left to do: {plan}");
}

/// Both accounts have a name, an avatar, a push rule and settings of their own, and have tagged a
/// room, each otherwise.
async fn two_who_settled(name: &str) -> Scene<'static> {
    let scene = Scene::new(name).await;
    let room = room_of_both(&scene, "Shared").await;
    scene.old.set_tag(&room, TagName::Favorite, Some(0.5)).await.unwrap();
    scene.new.set_tag(&room, TagName::LowPriority, None).await.unwrap();
    for (account, who) in [(&scene.old, "old"), (&scene.new, "new")] {
        set_profile(account, "displayname", json!(format!("The {who} one"))).await;
        let avatar = upload(account, who.as_bytes()).await;
        set_profile(account, "avatar_url", json!(avatar)).await;
        account.set_account_data("org.example.setting", &json!({ "of": who })).await.unwrap();
        let settings = json!({ "theme": who, who: true });
        account.set_account_data("im.vector.web.settings", &settings).await.unwrap();
        let pattern = json!({ "actions": [], "pattern": who });
        add_push_rule(account, "content/keyword", pattern).await;
    }
    scene
}

/// The account's tags, of whatever rooms.
async fn tags(account: &Account) -> Vec<TagName> {
    let mut tags = Vec::new();
    for room in account.joined_rooms().await.unwrap() {
        tags.extend(account.tags(&room).await.unwrap().into_keys());
    }
    tags
}

#[tokio::test]
async fn what_the_new_account_has_itself_stays() {
    let scene = two_who_settled("ownstays").await;
    let before = profile(&scene.new).await;
    let chats = scene.planned().await;
    let report = run(&chats).await;
    assert!(report.contains("kept its own"), "{report}");
    assert_eq!(profile(&scene.new).await, before);
    let data = |event_type| scene.new.account_data(event_type);
    assert_eq!(data("org.example.setting").await.unwrap().unwrap(), json!({ "of": "new" }));
    assert_eq!(
        data("im.vector.web.settings").await.unwrap().unwrap(),
        json!({ "theme": "new", "new": true, "old": true })
    );
    let rules = push_rules(&scene.new).await;
    assert_eq!(rule(&rules, "content", "keyword")["pattern"], "new");
    assert!(report.contains("tags of 1 room"), "{report}");
    assert_eq!(tags(&scene.new).await, [TagName::LowPriority]);
}

#[tokio::test]
async fn who_prefers_the_old_account_gets_what_it_had() {
    let scene = two_who_settled("preferold").await;
    let chats = scene.planned().await;
    let plan = choose(&chats.old, "prefer old", "`prefer new` takes that back").await;
    assert!(plan.contains("display name"), "{plan}");
    run(&chats).await;
    let found = profile(&scene.new).await;
    assert_eq!(found["displayname"], "The old one");
    assert!(is_on_server_of(&found["avatar_url"], &scene.new));
    assert_eq!(download(&scene.new, found["avatar_url"].as_str().unwrap()).await, b"old");
    let data = |event_type| scene.new.account_data(event_type);
    assert_eq!(data("org.example.setting").await.unwrap().unwrap(), json!({ "of": "old" }));
    assert_eq!(
        data("im.vector.web.settings").await.unwrap().unwrap(),
        json!({ "theme": "old", "new": true, "old": true })
    );
    let rules = push_rules(&scene.new).await;
    assert_eq!(rule(&rules, "content", "keyword")["pattern"], "old");
    assert!(plan.contains("tags of 1 room"), "{plan}");
    assert_eq!(tags(&scene.new).await, [TagName::Favorite, TagName::LowPriority]);

    chats.old.say("plan").await.unwrap();
    let plan = chats.old.hear_about("I have changed nothing yet").await.unwrap().body;
    assert!(!plan.contains("replaced"), "there is nothing left to do: {plan}");
}

#[tokio::test]
async fn what_is_skipped_is_not_copied_and_can_be_taken_back_in() {
    let scene = Scene::new("skipdata").await;
    let (old, new) = (&scene.old, &scene.new);
    set_profile(old, "displayname", json!("Alice")).await;
    add_push_rule(old, "content/garden", json!({ "actions": [], "pattern": "garden" })).await;
    old.set_account_data("org.example.setting", &json!({ "a": 1 })).await.unwrap();
    let chats = scene.planned().await;
    choose(&chats.old, "skip data", "taken out of the plan").await;
    choose(&chats.old, "include profile, settings", "put into the plan").await;
    choose(&chats.old, "skip settings", "taken out of the plan").await;
    run(&chats).await;
    assert_eq!(profile(new).await["displayname"], "Alice");
    assert_eq!(own_rules(&push_rules(new).await, "content"), []);
    assert_eq!(new.account_data("org.example.setting").await.unwrap(), None);
}

#[tokio::test]
async fn an_avatar_that_is_gone_costs_the_avatar_only_and_is_tried_again() {
    let scene = Scene::new("gone").await;
    let (old, new) = (&scene.old, &scene.new);
    let gone = format!("mxc://{}/doesnotexist", old.user_id().server_name());
    set_profile(old, "displayname", json!("Alice")).await;
    set_profile(old, "avatar_url", json!(gone)).await;
    let chats = scene.planned().await;
    let report = run(&chats).await;
    assert!(report.contains("avatar: "), "{report}");
    assert_eq!(profile(new).await["displayname"], "Alice");

    set_profile(old, "avatar_url", json!(upload(old, b"found").await)).await;
    chats.old.say("retry").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    let found = profile(new).await;
    assert_eq!(download(new, found["avatar_url"].as_str().unwrap()).await, b"found");
}
