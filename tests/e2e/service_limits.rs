//! Homeservers with Synapse's own limits, which let those pass for whom the bot acts as a service.

use std::{path::Path, time::Duration};

use lab::{Lab, Limits, Options, Pair, RoomSpec, Service};
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use crate::scene::{Chats, Scene, TERN};

/// Rooms of each kind: far more than Synapse lets anybody join or invite into in a minute.
const OF_EACH: usize = 30;
/// Longer than Synapse takes for that many on a busy machine, and shorter than any of its limits.
const AT_ONCE: Duration = Duration::from_secs(100);

async fn pair(service: &Service) -> Pair {
    // Rooms are made without limits, and moved with them.
    let options = Options { services: vec![service.clone()], ..Options::default() };
    Lab::new().unwrap().pair(&options).await.unwrap()
}

/// Starts both homeservers anew with Synapse's own limits. `besides` are settings of the new one.
async fn limit(pair: &Pair, service: &Service, besides: &Value) {
    let options =
        |limits| Options { limits, services: vec![service.clone()], ..Options::default() };
    let Value::Object(besides) = besides.clone() else { panic!("limits are a map") };
    let (old, new) = (options(Limits::Default), options(Limits::Given(besides)));
    let (old, new) = tokio::join!(pair.old.restart_with(&old), pair.new.restart_with(&new));
    old.and(new).unwrap();
}

async fn make_rooms(scene: &Scene<'_>) -> Vec<OwnedRoomId> {
    let mut rooms = Vec::new();
    for number in 0..OF_EACH {
        rooms.push(scene.private_room(&format!("Private {number}")).await);
        rooms.push(scene.room(RoomSpec::public(&format!("Public {number}"))).await);
    }
    rooms
}

async fn assert_in(scene: &Scene<'_>, rooms: &[OwnedRoomId]) {
    let joined = scene.new.joined_rooms().await.unwrap();
    let missing: Vec<_> = rooms.iter().filter(|room| !joined.contains(*room)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Runs the plan, and hears the report in time.
async fn moved(chats: Chats) {
    let old = chats.old.with_patience(AT_ONCE);
    old.hear_about("The plan:").await.unwrap();
    old.say("go").await.unwrap();
    old.hear_about("`forget`").await.unwrap();
}

#[tokio::test]
async fn sixty_rooms_within_one_server_are_moved_in_one_go() {
    let service = Service::covering(Path::new(TERN), "tern", Some(".*")).unwrap();
    let pair = pair(&service).await;
    let mut scene = Scene::with_service(&pair, "one", Some(&service), json!({})).await;
    scene.new = pair.old.person("one-new").await.unwrap();
    let rooms = make_rooms(&scene).await;
    let chats = scene.consented().await;
    limit(&pair, &service, &json!({})).await;
    moved(chats).await;
    assert_in(&scene, &rooms).await;
}

/// What the invited account's own server allows is scaled: nothing exempts from that.
fn faster_invitations() -> Value {
    json!({ "rc_invites": { "per_user": { "per_second": 2, "burst_count": 5 } } })
}

#[tokio::test]
async fn sixty_rooms_between_two_servers_wait_for_nothing_but_the_invited_accounts_own() {
    let service = Service::covering(Path::new(TERN), "tern", Some(".*")).unwrap();
    let pair = pair(&service).await;
    let scene = Scene::with_service(&pair, "two", Some(&service), json!({})).await;
    let rooms = make_rooms(&scene).await;
    let chats = scene.consented().await;
    limit(&pair, &service, &faster_invitations()).await;
    moved(chats).await;
    assert_in(&scene, &rooms).await;
}
