//! Homeservers that limit how often something may be asked. They are started anew for these tests.

use std::time::Duration;

use lab::{Fault, Homeserver, Lab, Limits, Options, Pair, Proxy, RoomSpec, Rule, pair, wait};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::scene::{Chats, Scene, is_in};

pub(crate) fn limits(limits: Value) -> Options {
    let Value::Object(limits) = limits else { panic!("limits are a map") };
    Options { limits: Limits::Given(limits), ..Options::default() }
}

/// Synapse's settings for no limits, but for those in `besides`.
pub(crate) fn open_besides(besides: Value) -> Value {
    let open = json!({ "per_second": 1000, "burst_count": 1000 });
    let mut limits: Map<String, Value> = serde_json::from_value(json!({
        "rc_message": open,
        "rc_registration": open,
        "rc_room_creation": open,
        "rc_login": { "address": open, "account": open, "failed_attempts": open },
        "rc_joins": { "local": open, "remote": open },
        "rc_joins_per_room": open,
        "rc_invites": { "per_room": open, "per_user": open, "per_issuer": open },
    }))
    .unwrap();
    let Value::Object(besides) = besides else { panic!("limits are a map") };
    for (name, kinds) in besides {
        for (kind, limit) in kinds.as_object().unwrap() {
            limits[&name][kind] = limit.clone();
        }
    }
    limits.into()
}

async fn homeserver(lab: &Lab, besides: Value) -> Homeserver {
    lab.homeserver(&limits(open_besides(besides))).await.unwrap()
}

#[tokio::test]
async fn limits_delay_a_migration_and_fail_nothing() {
    let lab = Lab::new().unwrap();
    let slow = json!({ "per_second": 1, "burst_count": 2 });
    let (old, new) = tokio::join!(
        homeserver(&lab, json!({ "rc_invites": { "per_issuer": slow } })),
        homeserver(&lab, json!({ "rc_joins": { "remote": slow } })),
    );
    let pair = Pair { old, new, lab };
    let scene = Scene::on(&pair, "limits", json!({})).await;
    let mut rooms = Vec::new();
    for number in 0..4 {
        let private = RoomSpec::private(&format!("Private {number}"));
        rooms.push(scene.room(private).await);
        let public = RoomSpec::public(&format!("Public {number}"));
        rooms.push(scene.room(public).await);
    }
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
}

#[tokio::test]
async fn the_invited_servers_limit_which_comes_as_502_is_waited_for_and_told() {
    let lab = Lab::new().unwrap();
    let slow = json!({ "per_second": 0.05, "burst_count": 1 });
    let (old, new) = tokio::join!(
        homeserver(&lab, json!({})),
        homeserver(&lab, json!({ "rc_invites": { "per_user": slow } })),
    );
    let pair = Pair { old, new, lab };
    let scene = Scene::on(&pair, "badgateway", json!({})).await;
    let public = scene.room(RoomSpec::public("Public")).await;
    let mut rooms = vec![public];
    for number in 0..2 {
        let private = RoomSpec::private(&format!("Private {number}"));
        rooms.push(scene.room(private).await);
    }
    let Chats { old, new: _new } = scene.planned().await;
    let patient = old.with_patience(Duration::from_secs(120));
    patient.say("go").await.unwrap();
    let progress = patient.hear_about("This message tells how far it is").await.unwrap();
    let told = patient
        .hear_edit(&progress.event_id, |message| message.body.contains("no more invitations"))
        .await
        .unwrap();
    let server = scene.new.user_id().server_name();
    assert!(told.body.contains(&format!("{server} takes no more")), "{}", told.body);
    assert!(told.body.contains(&format!("An admin of {server} can change it")), "{}", told.body);
    let report = patient.hear_about("`forget`").await.unwrap().body;
    let waited = format!("for {server}, which lets in only so many");
    assert!(report.contains(&waited), "{report}");
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
}

#[tokio::test]
async fn rooms_that_the_new_server_is_in_do_not_wait_for_others() {
    let lab = Lab::new().unwrap();
    let very_slow = json!({ "per_second": 0.002, "burst_count": 1 });
    let (old, new) = tokio::join!(
        homeserver(&lab, json!({})),
        homeserver(&lab, json!({ "rc_joins": { "remote": very_slow } })),
    );
    let pair = Pair { old, new, lab };
    let scene = Scene::on(&pair, "nearby", json!({})).await;
    let mut near = Vec::new();
    for number in 0..2 {
        let room = scene.room(RoomSpec::public(&format!("Near {number}"))).await;
        // Somebody for each, since they may join as seldom.
        let neighbor = pair.new.account(&format!("nearby-neighbor{number}")).await.unwrap();
        neighbor.join_via((&*room).into(), &[pair.old.name().clone()]).await.unwrap();
        near.push(room);
    }
    // What was active last comes first, and more than are sent at once come before those nearby.
    let mut far = Vec::new();
    for number in 0..9 {
        far.push(scene.room(RoomSpec::public(&format!("Far {number}"))).await);
    }
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    wait::until("the new account is in the rooms nearby", Duration::from_secs(60), || async {
        let joined = scene.new.joined_rooms().await?;
        Ok(near.iter().all(|room| joined.contains(room)).then_some(()))
    })
    .await
    .unwrap();
    let joined = scene.new.joined_rooms().await.unwrap();
    assert!(far.iter().filter(|room| joined.contains(*room)).count() <= 1);
}

#[tokio::test]
async fn rooms_that_a_proxy_gives_up_on_hold_up_no_other_while_they_are_tried_again() {
    let pair = pair().await.unwrap();
    let proxy = Proxy::before(&pair.new).await.unwrap();
    let settings = json!({
        "homeservers": { pair.new.name().as_str(): proxy.url() },
        "timeouts": { "retry_after": "20s" },
    });
    let scene = Scene::with_settings("giveup", settings).await;
    // What was active last comes first.
    let fine = scene.room(RoomSpec::public("Fine")).await;
    let mut slow = Vec::new();
    for number in 0..16 {
        let room = scene.room(RoomSpec::public(&format!("Slow {number}"))).await;
        proxy.add(Rule::on(Method::POST, &format!("/join/{room}"), Fault::status(504)));
        slow.push(room);
    }
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    wait::until("the other room is joined", Duration::from_secs(15), || async {
        Ok(is_in(&scene.new, &fine).await.then_some(()))
    })
    .await
    .unwrap();
    assert!(!is_in(&scene.new, &slow[0]).await);
    proxy.clear();
    chats.old.with_patience(Duration::from_secs(90)).hear_about("`forget`").await.unwrap();
    for room in &slow {
        assert!(is_in(&scene.new, room).await);
    }
}
