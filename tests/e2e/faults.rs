//! Homeservers that fail, hang, or talk nonsense. The real ones stand behind proxies that break what
//! a test names.

use std::time::Duration;

use lab::{Fault, Lab, Options, Proxy, RoomSpec, Rule, pair};
use reqwest::Method;
use ruma::RoomVersionId;
use serde_json::{Value, json};
use tern::clock::{Clock as _, SystemClock};

use crate::scene::{Scene, is_in, level, log_in};

/// In the query of each sync that is sent for a survey, and of none that is for the bot's own chats.
const SURVEY: &str = "tern.asked_at";

/// How long a run with retries may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// A scene whose bot reaches the homeservers through proxies.
pub(crate) struct Broken {
    pub(crate) scene: Scene<'static>,
    pub(crate) old: Proxy,
    pub(crate) new: Proxy,
}

pub(crate) async fn broken(name: &str) -> Broken {
    let request = Duration::from_secs(5);
    broken_within(name, request, Duration::from_millis(500)).await
}

/// One whose bot gives up a request after `request`, and tries again after `pause`.
async fn broken_within(name: &str, request: Duration, pause: Duration) -> Broken {
    let pair = pair().await.unwrap();
    let old = Proxy::before(&pair.old).await.unwrap();
    let new = Proxy::before(&pair.new).await.unwrap();
    let settings = json!({
        "bot": { "homeserver": old.url() },
        "homeservers": { pair.old.name().as_str(): old.url(), pair.new.name().as_str(): new.url() },
        "timeouts": {
            "connect": "2s",
            "request": format!("{request:?}"),
            "long_request": format!("{request:?}"),
            "retry_after": format!("{pause:?}"),
        },
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

/// Every Synapse that runs today knows all versions, so a proxy keeps one back.
#[tokio::test]
async fn a_room_of_a_version_that_the_new_server_does_not_know_is_out_of_reach() {
    let Broken { scene, old: _passes, new } = broken("odd-version").await;
    let unknown = scene.room(RoomSpec::public("Unknown").version(RoomVersionId::V9)).await;
    let known = scene.room(RoomSpec::public("Known")).await;
    let forget = Fault::rewrite(|answer| {
        let versions = answer.pointer_mut("/capabilities/m.room_versions/available");
        versions.and_then(Value::as_object_mut).unwrap().remove("9");
    });
    new.add(Rule::on(Method::GET, "/capabilities", forget));
    let chats = scene.planned().await;
    chats.old.say("rooms unreachable").await.unwrap();
    chats.old.hear_about("does not know rooms of version 9").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &known).await);
    assert!(!is_in(&scene.new, &unknown).await);
}

#[tokio::test]
async fn a_room_that_a_homeserver_tells_nonsense_of_costs_that_room_only() {
    let Broken { scene, old, new: _passes } = broken("odd-room").await;
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
    chats.old.say("report").await.unwrap();
    let report = chats.old.hear_about("The report:").await.unwrap().body;
    assert!(report.contains(&told), "with its reason in the report: {report}");
}

#[tokio::test]
async fn a_profile_that_cannot_be_read_is_told_of_and_costs_nothing_else() {
    let Broken { scene, new, old: _passes } = broken("no-profile").await;
    scene.old.set_display_name("Alice A.").await.unwrap();
    let room = scene.private_room("Room").await;
    let forbidden = json!({ "errcode": "M_FORBIDDEN", "error": "Profiles are not shown" });
    new.add(Rule::on(Method::GET, "/profile/", Fault::json(403, &forbidden)));
    let chats = scene.planned().await;
    let is_plan = |message: &lab::Message| message.body.contains("not read the profile");
    assert!(chats.old.messages().iter().any(is_plan), "it is told beforehand");
    chats.old.say("go").await.unwrap();
    let report = chats.old.hear_about("`forget`").await.unwrap().body;
    assert!(report.contains("profile: one of the servers did not tell it"), "{report}");
    assert!(is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn a_room_that_no_server_is_left_to_join_through_fails_with_that_reason() {
    let (request, pause) = (Duration::from_secs(20), Duration::from_millis(100));
    let Broken { scene, old: _passes, new: _too } = broken_within("no-way", request, pause).await;
    let other = scene.room(RoomSpec::public("Other")).await;
    let chats = scene.planned().await;
    // Nothing listens there.
    chats.old.say("include https://matrix.to/#/!left:localhost:1?via=localhost:2").await.unwrap();
    chats.old.hear_about("put into the plan").await.unwrap();
    chats.old.say("go").await.unwrap();
    let report = chats.old.with_patience(PATIENCE).hear_about("`forget`").await.unwrap().body;
    let line = report.lines().find(|line| line.contains("!left:localhost:1")).unwrap_or(&report);
    assert!(line.contains("no server that is in the room could be reached"), "{report}");
    assert!(is_in(&scene.new, &other).await);
}

#[tokio::test]
async fn servers_to_join_through_are_kept_for_when_the_old_one_tells_nothing_any_more() {
    let Broken { scene, old, new } = broken("kept-via").await;
    let room = scene.room(RoomSpec::public("Wide")).await;
    // The plan sees who spoke last, and not that somebody of the new server is there.
    let guest = scene.pair.new.account("kept-via-guest").await.unwrap();
    guest.join_via((&*room).into(), &[scene.pair.old.name().clone()]).await.unwrap();
    scene.friend.message(&room, "Welcome").await.unwrap();
    let refused = json!({ "errcode": "M_FORBIDDEN", "error": "Not now" });
    new.add(Rule::on(Method::POST, "/join/", Fault::json(403, &refused)).times(1));
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    let via = format!("via={}", scene.pair.new.name());
    assert_eq!(new.seen(&Method::POST, &via), 1, "the members were asked for");
    old.add(Rule::on(Method::GET, "/joined_members", Fault::json(403, &refused)));
    scene.bot.kill().await.unwrap();
    scene.bot.start_again().await.unwrap();
    chats.old.say("retry").await.unwrap();
    chats.old.hear_about("The report:").await.unwrap();
    assert_eq!(new.seen(&Method::POST, &via), 2, "and what they told was kept");
    assert!(is_in(&scene.new, &room).await);
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
    let (request, pause) = (Duration::from_secs(3), Duration::from_millis(100));
    let Broken { scene, new, old: _passes } = broken_within("one-room", request, pause).await;
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

#[tokio::test]
async fn what_goes_wrong_for_a_while_fails_nothing() {
    let Broken { scene, old, new } = broken("awhile").await;
    let mut rooms = Vec::new();
    for number in 0..3 {
        rooms.push(scene.room(RoomSpec::public(&format!("Public {number}"))).await);
        rooms.push(scene.private_room(&format!("Private {number}")).await);
    }
    let chats = scene.planned().await;
    let limited = |after: Option<u32>| {
        let error = json!({ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": after });
        Fault::json(429, &error)
    };
    for fault in [
        Fault::Reset,
        Fault::Lost,
        Fault::Cut(3),
        limited(Some(300)),
        limited(None),
        Fault::status(502),
        Fault::status(503),
        Fault::status(504),
        Fault::Drip(1, Duration::from_millis(50)),
        Fault::json(200, &json!("{")),
    ] {
        new.add(Rule::on(Method::POST, "/join/", fault).times(1));
    }
    for fault in [Fault::Reset, Fault::Lost, Fault::status(500)] {
        old.add(Rule::on(Method::POST, "/invite", fault.clone()).times(1));
        old.add(Rule::on(Method::PUT, "/state/m.room.power_levels", fault).times(1));
    }
    chats.old.say("go").await.unwrap();
    let report = chats.old.with_patience(PATIENCE).hear_about("`forget`").await.unwrap().body;
    assert!(!report.to_lowercase().contains("failed"), "{report}");
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
        assert!(level(&scene.new, room, scene.new.user_id()).await >= 100);
    }
}

#[tokio::test]
async fn a_server_that_refuses_connections_in_the_middle_of_a_run_is_waited_for() {
    let Broken { scene, old, new } = broken("refusing").await;
    let mut rooms = Vec::new();
    for number in 0..6 {
        rooms.push(scene.private_room(&format!("Private {number}")).await);
    }
    let chats = scene.planned().await;
    // Seen by the test when the run has begun, and late enough to be cut off.
    new.add(Rule::on(Method::POST, "/join/", Fault::Delay(Duration::from_secs(1))));
    chats.old.say("go").await.unwrap();
    for proxy in [&new, &old] {
        let before = new.seen(&Method::POST, "/join/");
        lab::wait::until("a join is on its way", PATIENCE, || async {
            Ok((new.seen(&Method::POST, "/join/") > before).then_some(()))
        })
        .await
        .unwrap();
        proxy.refuse().await;
        SystemClock.sleep(Duration::from_secs(3)).await;
        proxy.accept().await.unwrap();
    }
    let report = chats.old.with_patience(PATIENCE).hear_about("`forget`").await.unwrap().body;
    assert!(!report.to_lowercase().contains("failed"), "{report}");
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
}

#[tokio::test]
async fn a_homeserver_that_is_stopped_and_started_in_the_middle_of_a_run_is_waited_for() {
    let lab = Lab::new().unwrap();
    let pair = lab.pair(&Options::default()).await.unwrap();
    let scene = Scene::on(&pair, "restarted", json!({})).await;
    let mut rooms = Vec::new();
    for number in 0..40 {
        rooms.push(scene.private_room(&format!("Private {number}")).await);
    }
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    for (server, reached) in [(&pair.new, 3), (&pair.old, 15)] {
        lab::wait::until("rooms are joined", PATIENCE, || async {
            Ok((scene.new.joined_rooms().await?.len() >= reached).then_some(()))
        })
        .await
        .unwrap();
        server.stop().await.unwrap();
        SystemClock.sleep(Duration::from_secs(2)).await;
        server.start_again().await.unwrap();
    }
    let report = chats.old.with_patience(PATIENCE).hear_about("`forget`").await.unwrap().body;
    assert!(!report.to_lowercase().contains("failed"), "{report}");
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
}

#[tokio::test]
async fn a_reading_that_takes_long_is_told_of() {
    let Broken { scene, old, new: _passes } = broken("slow").await;
    scene.private_room("Slow").await;
    let chats = scene.consented().await;
    log_in(&chats.old).await;
    old.add(Rule::on(Method::GET, SURVEY, Fault::Hang).times(2));
    log_in(&chats.new).await;
    let told = chats.old.hear_about("Reading both accounts").await.unwrap().body;
    assert!(told.contains("is putting the list together"), "{told}");
    assert!(told.contains("read, "), "that of the new account is known: {told}");
    lab::wait::until("the same message says that it is over", PATIENCE, || async {
        let is_over = |message: &lab::Message| {
            message.body.contains("Both accounts are read") && !message.earlier.is_empty()
        };
        Ok(chats.old.messages().iter().any(is_over).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_invitation_that_the_homeserver_does_not_know_of_yet_is_accepted_again() {
    let Broken { scene, old, new: _passes } = broken("unknowninvite").await;
    let unknown = json!({
        "errcode": "M_FORBIDDEN", "error": "You are not invited to this room.",
    });
    old.add(Rule::on(Method::POST, "/join", Fault::json(403, &unknown)).times(2));
    let chat = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    chat.say("status").await.unwrap();
    chat.hear_about("You are in no migration").await.unwrap();
    assert_eq!(old.seen(&Method::POST, "/join"), 3);
}
