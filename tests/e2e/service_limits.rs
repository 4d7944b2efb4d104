//! Homeservers with Synapse's own limits, which let those pass for whom the bot acts as a service.

use std::{path::Path, time::Duration};

use futures_util::{StreamExt as _, stream};
use lab::{Lab, Limits, Options, Pair, RoomSpec, Service, access_log::Mark};
use ruma::{OwnedRoomId, UserId};
use serde_json::{Map, Value, json};

use crate::scene::{Chats, Scene, TERN, log_in};

/// Rooms of each kind: far more than Synapse lets anybody join or invite into in a minute.
const OF_EACH: usize = 30;
/// Longer than Synapse takes for that many on a busy machine, and shorter than any of its limits.
const AT_ONCE: Duration = Duration::from_secs(100);

/// The service, and homeservers that know it and do not limit anybody yet.
async fn pair() -> (Service, Pair) {
    let service = Service::covering(Path::new(TERN), "tern", Some(".*")).unwrap();
    let options = Options { services: vec![service.clone()], ..Options::default() };
    let pair = Lab::new().unwrap().pair(&options).await.unwrap();
    (service, pair)
}

/// Starts both homeservers anew with these limits.
async fn limit(pair: &Pair, service: &Service, old: Limits, new: Limits) {
    let options =
        |limits| Options { limits, services: vec![service.clone()], ..Options::default() };
    let (old, new) = (options(old), options(new));
    let (old, new) = tokio::join!(pair.old.restart_with(&old), pair.new.restart_with(&new));
    old.and(new).unwrap();
}

/// Synapse's own, but for what the invited account's own server allows: nothing exempts from that.
fn with_faster_invitations() -> Limits {
    let faster = json!({ "rc_invites": { "per_user": { "per_second": 2, "burst_count": 5 } } });
    let faster: Map<String, Value> = serde_json::from_value(faster).unwrap();
    Limits::Given(faster)
}

/// As many public rooms, made by the friend, as private ones, made by the old account.
async fn make_rooms(scene: &Scene<'_>) -> Vec<OwnedRoomId> {
    let (old, friend) = (&scene.old, &scene.friend);
    let make = |number: usize| async move {
        let private = scene.private_room(&format!("Private {number}")).await;
        let public = RoomSpec::public(&format!("Public {number}"));
        let public = friend.create_room(public).await.unwrap();
        old.join(&public).await.unwrap();
        [private, public]
    };
    let rooms: Vec<_> = stream::iter(0..OF_EACH).map(make).buffer_unordered(4).collect().await;
    rooms.into_iter().flatten().collect()
}

async fn assert_in(scene: &Scene<'_>, rooms: &[OwnedRoomId]) {
    let joined = scene.new.joined_rooms().await.unwrap();
    let missing: Vec<_> = rooms.iter().filter(|room| !joined.contains(*room)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Runs the plan, and hears the report in time. What was done as `exempt` was limited by nothing.
async fn moved(pair: &Pair, chats: Chats, exempt: &[&UserId]) -> String {
    let (old, mark) = (chats.old.with_patience(AT_ONCE), Mark::end(pair).unwrap());
    old.say("go").await.unwrap();
    let report = old.hear_about("`forget`").await.unwrap().body;
    let requests = mark.requests(exempt, "tern/").unwrap();
    assert!(requests.count() > OF_EACH, "{requests:?}");
    assert!(requests.limited.is_empty(), "{requests:?}");
    report
}

#[tokio::test]
async fn sixty_rooms_within_one_server_are_moved_in_one_go() {
    let (service, pair) = pair().await;
    let mut scene = Scene::with_service(&pair, "one", Some(&service), json!({})).await;
    scene.new = pair.old.person("one-new").await.unwrap();
    let rooms = make_rooms(&scene).await;
    let chats = scene.consented().await;
    chats.old.hear_about("The plan:").await.unwrap();
    limit(&pair, &service, Limits::Default, Limits::Default).await;
    let report = moved(&pair, chats, &[scene.old.user_id(), scene.new.user_id()]).await;
    assert!(!report.contains("waited"), "{report}");
    assert_in(&scene, &rooms).await;
}

#[tokio::test]
async fn sixty_rooms_between_two_servers_wait_for_nothing_but_the_invited_accounts_own() {
    let (service, pair) = pair().await;
    let scene = Scene::with_service(&pair, "two", Some(&service), json!({})).await;
    let rooms = make_rooms(&scene).await;
    let chats = scene.consented().await;
    chats.old.hear_about("The plan:").await.unwrap();
    limit(&pair, &service, Limits::Default, with_faster_invitations()).await;
    moved(&pair, chats, &[scene.old.user_id(), scene.new.user_id()]).await;
    assert_in(&scene, &rooms).await;
}

/// The configuration of a bot that knows of its registration on one server only.
fn without(other: &lab::Homeserver) -> Value {
    json!({ "appservices": { other.name().as_str(): null } })
}

#[tokio::test]
async fn where_only_the_old_server_knows_the_bot_it_invites_into_all_rooms_in_one_go() {
    let (service, pair) = pair().await;
    let settings = without(&pair.new);
    let scene = Scene::with_service(&pair, "oldalone", Some(&service), settings).await;
    let rooms = make_rooms(&scene).await;
    let chats = scene.consented().await;
    log_in(&chats.new).await;
    chats.old.hear_about("The plan:").await.unwrap();
    limit(&pair, &service, Limits::Default, Limits::Open).await;
    moved(&pair, chats, &[scene.old.user_id()]).await;
    assert_in(&scene, &rooms).await;
}

#[tokio::test]
async fn where_only_the_new_server_knows_the_bot_it_joins_all_rooms_in_one_go() {
    let (service, pair) = pair().await;
    let settings = without(&pair.old);
    let scene = Scene::with_service(&pair, "newalone", Some(&service), settings).await;
    let rooms = make_rooms(&scene).await;
    let chats = scene.consented().await;
    log_in(&chats.old).await;
    chats.old.hear_about("The plan:").await.unwrap();
    limit(&pair, &service, Limits::Open, with_faster_invitations()).await;
    moved(&pair, chats, &[scene.new.user_id()]).await;
    assert_in(&scene, &rooms).await;
}
