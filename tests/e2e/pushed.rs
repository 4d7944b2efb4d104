//! What homeservers push to the bot as an application service.

use std::{path::Path, time::Duration};

use lab::{Homeserver, Lab, Options, Service, wait};
use ruma::RoomId;
use serde_json::json;

use crate::{
    limits::{limits, open_besides},
    scene::{Scene, TERN, is_in},
};

const SOON: Duration = Duration::from_secs(30);

async fn joined(scene: &Scene<'_>, room: &RoomId) {
    let arrives = || async { Ok(is_in(&scene.new, room).await.then_some(())) };
    wait::until("the new account is in", SOON, arrives).await.unwrap();
}

/// Lets each account invite once, and then for a long time not.
async fn limit_invites(homeserver: &Homeserver, service: &Service) {
    let once = json!({ "per_second": 0.001, "burst_count": 1 });
    let limits = limits(open_besides(json!({ "rc_invites": { "per_issuer": once } })));
    let options = Options { services: vec![service.clone()], ..limits };
    homeserver.restart_with(&options).await.unwrap();
}

#[tokio::test]
async fn a_moderators_invitation_is_used_at_once_while_the_bots_own_waits_for_a_limit() {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let registered = Options { services: vec![service.clone()], ..Options::default() };
    // Registered on the new server only: what the old account does is limited.
    let pair = Lab::new().unwrap().pair_of(&Options::default(), &registered).await.unwrap();
    let scene = Scene::with_service(&pair, "pushed", Some(&service), json!({})).await;
    let rooms = [scene.private_room("One").await, scene.private_room("Two").await];
    let chats = scene.planned().await;
    limit_invites(&pair.old, &service).await;

    chats.old.say("go").await.unwrap();
    let first = wait::until("the new account is in one of them", SOON, || async {
        for room in &rooms {
            if is_in(&scene.new, room).await {
                return Ok(Some(room));
            }
        }
        Ok(None)
    });
    let first = first.await.unwrap();
    let second = rooms.iter().find(|room| *room != first).unwrap();
    scene.friend.invite(second, scene.new.user_id()).await.unwrap();
    joined(&scene, second).await;
    chats.old.hear_about("`forget`").await.unwrap();
}
