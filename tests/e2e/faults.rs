//! Homeservers that fail, hang, or talk nonsense. The real ones stand behind proxies that break what
//! a test names.

use std::time::Duration;

use lab::{Fault, Proxy, RoomSpec, Rule, pair};
use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Scene, is_in};

/// In the query of each sync that is sent for a survey, and of none that is for the bot's own chats.
const SURVEY: &str = "tern.asked_at";

/// How long a run with retries may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// A scene whose bot reaches the homeservers through proxies.
struct Broken {
    scene: Scene<'static>,
    old: Proxy,
    new: Proxy,
}

async fn broken(name: &str) -> Broken {
    let pair = pair().await.unwrap();
    let old = Proxy::before(&pair.old).await.unwrap();
    let new = Proxy::before(&pair.new).await.unwrap();
    let settings = json!({
        "bot": { "homeserver": old.url() },
        "homeservers": { pair.old.name().as_str(): old.url(), pair.new.name().as_str(): new.url() },
        "timeouts": { "connect": "2s", "request": "5s", "long_request": "5s" },
    });
    Broken { scene: Scene::with_settings(name, settings).await, old, new }
}

/// Makes an answer of `/sync` tell this of a room.
fn told(room: &str, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Rule {
    let room = room.to_owned();
    let rewrite = Fault::rewrite(move |answer| {
        let rooms = answer.pointer_mut("/rooms/join").and_then(Value::as_object_mut);
        if let Some(joined) = rooms.and_then(|rooms| rooms.get_mut(&room)) {
            change(joined);
        }
    });
    Rule::on(Method::GET, SURVEY, rewrite)
}

#[tokio::test]
async fn a_room_that_a_homeserver_tells_nonsense_of_costs_that_room_only() {
    let Broken { scene, old, new: _passes } = broken("nonsense").await;
    let odd = scene.private_room("Odd").await;
    let fine = scene.private_room("Fine").await;
    old.add(told(odd.as_str(), |room| room["state"] = json!(7)));
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &fine).await);
    assert!(!is_in(&scene.new, &odd).await);
    chats.old.say("rooms unreachable").await.unwrap();
    let told = format!("what {} tells of the room makes no sense", scene.pair.old.name());
    chats.old.hear_about(&told).await.unwrap();
}

#[tokio::test]
async fn an_event_that_makes_no_sense_costs_what_it_would_have_told() {
    let Broken { scene, old, new: _passes } = broken("malformed").await;
    let room = scene.private_room("Nameless").await;
    old.add(told(room.as_str(), |room| {
        let events = room["state"]["events"].as_array_mut().unwrap();
        for event in events.iter_mut().filter(|event| event["type"] == "m.room.name") {
            event["content"] = json!({ "name": ["no", "name"] });
        }
        events.extend([json!(null), json!({ "type": 5 }), json!("event"), json!([])]);
    }));
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn what_fails_or_hangs_for_one_room_costs_that_room_with_its_reason_and_holds_up_no_other() {
    let Broken { scene, new, old: _passes } = broken("one-room").await;
    let public = |name: &str| scene.room(RoomSpec::public(name));
    let (hanging, failing) = (public("Hanging").await, public("Failing").await);
    let (mad, fine) = (public("Mad").await, public("Fine").await);
    let faults = [
        (&hanging, Fault::Hang),
        (&failing, Fault::status(500)),
        (&mad, Fault::json(200, &json!({ "room_id": 5 }))),
    ];
    for (room, fault) in faults {
        new.add(Rule::on(Method::POST, &format!("/join/{room}"), fault));
    }
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    lab::wait::until("the other room is joined", Duration::from_secs(30), || async {
        Ok(is_in(&scene.new, &fine).await.then_some(()))
    })
    .await
    .unwrap();
    let old = chats.old.with_patience(PATIENCE);
    old.hear_about("`forget`").await.unwrap();
    old.say("report").await.unwrap();
    let report = old.hear_about("Hanging").await.unwrap().body;
    for (name, reason) in [
        ("Hanging", "takes too long to answer"),
        ("Failing", "failed"),
        ("Mad", "gave an answer that makes no sense"),
    ] {
        let line = report.lines().find(|line| line.contains(name)).unwrap_or(&report);
        assert!(line.contains(reason), "{name}: {report}");
    }
    for room in [&hanging, &failing, &mad] {
        assert!(!is_in(&scene.new, room).await);
    }
}
