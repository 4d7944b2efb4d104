//! `fast`: rooms that are opened to the new account for a moment.

use std::time::Duration;

use lab::{Account, Fault, Proxy, RoomSpec, Rule, pair, wait};
use reqwest::Method;
use ruma::{OwnedRoomId, RoomId, RoomVersionId, events::tag::TagName, room::JoinRuleKind};
use serde_json::{Value, json};

use crate::scene::{Chats, Scene, is_in};

/// So many that inviting into all of them would take long with the limits that homeservers are
/// known to have. These here have none, so that nothing is waited for.
const ROOMS: usize = 8;
/// How many of them are opened: the others can be invited into at once, and so can the room that
/// both accounts share.
const OPENED: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// The contents that events of this type had, oldest first.
async fn contents(account: &Account, room: &RoomId, event_type: &str) -> Vec<Value> {
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100");
    let answer = account.send_raw(Method::GET, &path, &Value::Null).await.unwrap();
    let events = answer["chunk"].as_array().unwrap().iter().rev();
    let events = events.filter(|event| event["type"] == event_type);
    events.filter(|event| event["state_key"] == "").map(|event| event["content"].clone()).collect()
}

async fn rule(account: &Account, room: &RoomId) -> Value {
    contents(account, room, "m.room.join_rules").await.pop().unwrap()
}

/// How the new account came in.
async fn memberships(scene: &Scene<'_>, room: &RoomId) -> Vec<String> {
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100");
    let answer = scene.old.send_raw(Method::GET, &path, &Value::Null).await.unwrap();
    let events = answer["chunk"].as_array().unwrap().iter().rev();
    let new = scene.new.user_id().as_str();
    let events = events.filter(|event| event["state_key"] == new);
    events.map(|event| event["content"]["membership"].as_str().unwrap().to_owned()).collect()
}

/// A room that comes before others in the plan.
async fn favorite(scene: &Scene<'_>, spec: RoomSpec) -> OwnedRoomId {
    let room = scene.room(spec).await;
    scene.old.set_tag(&room, TagName::Favorite, None).await.unwrap();
    room
}

async fn ordinary(scene: &Scene<'_>, number: usize) -> Vec<OwnedRoomId> {
    let mut rooms = Vec::new();
    for number in 0..number {
        rooms.push(scene.private_room(&format!("Room {number}")).await);
    }
    rooms
}

/// The plan offers it, the person asks what it is, and agrees.
async fn agree(scene: &Scene<'_>) -> Chats {
    let chats = scene.planned().await;
    chats.old.say("fast").await.unwrap();
    let offer = chats.old.hear_about("What others see").await.unwrap();
    assert!(offer.body.contains(&format!("in {OPENED} rooms")), "{}", offer.body);
    chats.old.react(&offer.event_id, "✅").await.unwrap();
    chats.old.hear_about(&format!("I open {OPENED} rooms")).await.unwrap();
    chats
}

#[tokio::test]
async fn rooms_are_opened_to_the_new_account_alone_and_closed_exactly_as_they_were() {
    let scene = Scene::new("fast").await;
    let noted = favorite(&scene, RoomSpec::private("Noted")).await;
    let note = json!({ "join_rule": "invite", "org.example.note": ["kept"] });
    let path = format!("/_matrix/client/v3/rooms/{noted}/state/m.room.join_rules/");
    scene.old.send_raw(Method::PUT, &path, &note).await.unwrap();
    let knock = RoomSpec::private("Knock").join_rule(JoinRuleKind::Knock);
    let knock = favorite(&scene, knock).await;
    let ancient = favorite(&scene, RoomSpec::private("Old").version(RoomVersionId::V7)).await;
    let rooms = ordinary(&scene, ROOMS - 3).await;
    let chats = agree(&scene).await;
    chats.old.say("go").await.unwrap();
    let report = chats.old.hear_about("`forget`").await.unwrap().body;
    let changed = format!("In {OPENED} rooms who may join was changed for a moment");
    assert!(report.contains(&changed), "{report}");
    for room in rooms.iter().chain([&noted, &knock, &ancient]) {
        assert!(is_in(&scene.new, room).await);
    }
    for (room, before, during) in
        [(&noted, "invite", "restricted"), (&knock, "knock", "knock_restricted")]
    {
        let mut rules = contents(&scene.old, room, "m.room.join_rules").await;
        let [first, open, last] = rules.split_off(rules.len() - 3).try_into().unwrap();
        assert_eq!(first, last);
        assert_eq!((&first["join_rule"], &open["join_rule"]), (&json!(before), &json!(during)));
        assert_eq!(memberships(&scene, room).await, ["join"]);
        let [allow] = open["allow"].as_array().unwrap().as_slice() else { panic!("{open}") };
        let path = format!(
            "/_matrix/client/v3/rooms/{}/joined_members",
            allow["room_id"].as_str().unwrap()
        );
        let lobby = scene.old.send_raw(Method::GET, &path, &Value::Null).await.unwrap();
        let members: Vec<_> = lobby["joined"].as_object().unwrap().keys().cloned().collect();
        let mut both = [scene.old.user_id().as_str(), scene.new.user_id().as_str()];
        both.sort_unstable();
        assert_eq!(members, both);
    }
    assert_eq!(rule(&scene.old, &noted).await, note);
    assert_eq!(contents(&scene.old, &ancient, "m.room.join_rules").await.len(), 1);
    assert_eq!(memberships(&scene, &ancient).await, ["invite", "join"]);
}

#[tokio::test]
async fn it_is_not_offered_where_little_is_waited_for() {
    let scene = Scene::new("littlewait").await;
    let room = scene.private_room("Only one").await;
    let chats = scene.planned().await;
    chats.old.say("plan").await.unwrap();
    let plan = chats.old.hear_about("The plan:").await.unwrap().body;
    assert!(!plan.contains("fast"), "{plan}");
    chats.old.say("fast yes").await.unwrap();
    chats.old.hear_about("would save little").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert_eq!(contents(&scene.old, &room, "m.room.join_rules").await.len(), 1);
}

#[tokio::test]
async fn where_the_room_to_let_in_through_cannot_be_made_the_new_account_is_invited() {
    let pair = pair().await.unwrap();
    let proxy = Proxy::before(&pair.old).await.unwrap();
    let settings = json!({
        "bot": { "homeserver": proxy.url() },
        "homeservers": { pair.old.name().as_str(): proxy.url() },
    });
    let scene = Scene::with_settings("nolobby", settings).await;
    let rooms = ordinary(&scene, ROOMS).await;
    let no = json!({ "errcode": "M_FORBIDDEN", "error": "You make no rooms" });
    proxy.add(Rule::on(Method::POST, "/createRoom", Fault::json(403, &no)));
    let chats = agree(&scene).await;
    chats.old.say("go").await.unwrap();
    let report = chats.old.hear_about("`forget`").await.unwrap().body;
    assert!(!report.contains("who may join"), "{report}");
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
        assert_eq!(contents(&scene.old, room, "m.room.join_rules").await.len(), 1);
    }
}

/// A run that stands still while a room is open: its join is on the way for some seconds.
struct Standstill {
    scene: Scene<'static>,
    chats: Chats,
    room: OwnedRoomId,
    before: Value,
    _proxy: Proxy,
}

async fn standstill(name: &str) -> Standstill {
    let pair = pair().await.unwrap();
    let proxy = Proxy::before(&pair.new).await.unwrap();
    let settings = json!({ "homeservers": { pair.new.name().as_str(): proxy.url() } });
    let scene = Scene::with_settings(name, settings).await;
    let room = favorite(&scene, RoomSpec::private("Open")).await;
    ordinary(&scene, ROOMS - 1).await;
    let before = rule(&scene.old, &room).await;
    let delay = Fault::Delay(Duration::from_secs(4));
    proxy.add(Rule::on(Method::POST, &format!("/join/{room}"), delay).times(1));
    let chats = agree(&scene).await;
    chats.old.say("go").await.unwrap();
    wait::until("the room is open", PATIENCE, || async {
        Ok((rule(&scene.old, &room).await["join_rule"] == "restricted").then_some(()))
    })
    .await
    .unwrap();
    Standstill { scene, chats, room, before, _proxy: proxy }
}

impl Standstill {
    async fn await_closed(&self) {
        wait::until("the rule is put back", PATIENCE, || async {
            Ok((rule(&self.scene.old, &self.room).await == self.before).then_some(()))
        })
        .await
        .unwrap();
    }

    async fn rules(&self) -> usize {
        contents(&self.scene.old, &self.room, "m.room.join_rules").await.len()
    }
}

#[tokio::test]
async fn a_bot_that_is_killed_while_a_room_is_open_closes_it_first_and_opens_it_no_more() {
    let still = standstill("fastkilled").await;
    still.scene.bot.kill().await.unwrap();
    assert_ne!(rule(&still.scene.old, &still.room).await, still.before);
    still.scene.bot.start_again().await.unwrap();
    still.await_closed().await;
    still.chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&still.scene.new, &still.room).await);
    assert_eq!(rule(&still.scene.old, &still.room).await, still.before);
    assert_eq!(still.rules().await, 3, "as it was, open, as it was");
}

#[tokio::test]
async fn a_rule_that_somebody_changes_meanwhile_stays_and_is_told() {
    let still = standstill("fastchanged").await;
    let theirs = json!({ "join_rule": "knock" });
    let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.join_rules/", still.room);
    still.scene.old.send_raw(Method::PUT, &path, &theirs).await.unwrap();
    let report = still.chats.old.hear_about("`forget`").await.unwrap().body;
    assert!(report.contains("somebody changed it while it was open"), "{report}");
    assert_eq!(rule(&still.scene.old, &still.room).await, theirs);
    assert!(is_in(&still.scene.new, &still.room).await, "it was invited after all");
}

#[tokio::test]
async fn a_migration_that_is_cancelled_while_a_room_is_open_closes_it_before_it_logs_out() {
    let still = standstill("fastcancelled").await;
    still.chats.old.say("cancel").await.unwrap();
    still.await_closed().await;
    assert_eq!(still.rules().await, 3, "as it was, open, as it was");
    wait::until("the report tells so", PATIENCE, || async {
        still.chats.old.say("report").await?;
        let report = still.chats.old.hear_about("The report:").await?.body;
        Ok(report.contains("who may join was changed for a moment").then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_migration_that_is_paused_while_a_room_is_open_closes_it() {
    let still = standstill("fastpaused").await;
    still.chats.old.say("pause").await.unwrap();
    still.await_closed().await;
    still.chats.old.say("resume").await.unwrap();
    still.chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&still.scene.new, &still.room).await);
    assert_eq!(still.rules().await, 3, "as it was, open, as it was");
}

#[tokio::test]
async fn a_rule_that_changes_after_the_homeserver_was_given_up_on_is_put_back_all_the_same() {
    let pair = pair().await.unwrap();
    let proxy = Proxy::before(&pair.old).await.unwrap();
    let settings = json!({
        "bot": { "homeserver": proxy.url() },
        "homeservers": { pair.old.name().as_str(): proxy.url() },
        "timeouts": { "request": "6s" },
    });
    let scene = Scene::with_settings("fastlate", settings).await;
    let room = favorite(&scene, RoomSpec::private("Late")).await;
    ordinary(&scene, ROOMS - 1).await;
    let before = rule(&scene.old, &room).await;
    let late = Fault::Late(Duration::from_secs(12));
    let path = format!("/rooms/{room}/state/m.room.join_rules");
    proxy.add(Rule::on(Method::PUT, &path, late).times(1));
    let chats = agree(&scene).await;
    chats.old.say("go").await.unwrap();
    let report = chats.old.hear_about("`forget`").await.unwrap().body;
    let changed = format!("In {OPENED} rooms who may join was changed for a moment");
    assert!(report.contains(&changed), "{report}");
    assert_eq!(contents(&scene.old, &room, "m.room.join_rules").await.len(), 3, "it did change");
    assert_eq!(rule(&scene.old, &room).await, before);
    assert_eq!(memberships(&scene, &room).await, ["invite", "join"]);
}
