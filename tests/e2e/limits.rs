//! Homeservers that limit how often something may be asked. They are started anew for these tests.

use lab::{Homeserver, Lab, Limits, Options, Pair, RoomSpec};
use serde_json::{Map, Value, json};

use crate::scene::{Scene, is_in};

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
async fn the_invited_servers_limit_which_comes_as_502_is_waited_for() {
    let lab = Lab::new().unwrap();
    let slow = json!({ "per_second": 0.2, "burst_count": 1 });
    let (old, new) = tokio::join!(
        homeserver(&lab, json!({})),
        homeserver(&lab, json!({ "rc_invites": { "per_user": slow } })),
    );
    let pair = Pair { old, new, lab };
    let scene = Scene::on(&pair, "badgateway", json!({})).await;
    let public = scene.room(RoomSpec::public("Public")).await;
    let mut rooms = vec![public];
    for number in 0..3 {
        let private = RoomSpec::private(&format!("Private {number}"));
        rooms.push(scene.room(private).await);
    }
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    let patient = chats.old.with_patience(std::time::Duration::from_secs(120));
    patient.hear_about("`forget`").await.unwrap();
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
}
