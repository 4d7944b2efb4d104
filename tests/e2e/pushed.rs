//! What homeservers push to the bot as an application service.

use std::{fs, path::Path, time::Duration};

use futures_util::{StreamExt as _, stream};
use lab::{
    Fault, Homeserver, Lab, Options, Pair, Proxy, RoomSpec, Rule, Service, served_pair, wait,
};
use reqwest::{Method, StatusCode};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    limits::{limits, open_besides},
    scene::{Chats, Scene, TERN, is_in},
};

const SOON: Duration = Duration::from_secs(30);

/// In the path of each join.
const JOIN: &str = "/join/";

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

/// Homeservers of which only the new one knows the bot, so that what the old account does is
/// limited.
async fn half_served() -> (Pair, Service) {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let registered = Options { services: vec![service.clone()], ..Options::default() };
    let pair = Lab::new().unwrap().pair_of(&Options::default(), &registered).await.unwrap();
    (pair, service)
}

/// A run that has brought the new account into one private room, and waits for hours until it may
/// invite it into the other, which is returned.
async fn held_up(scene: &Scene<'_>, service: &Service) -> (Chats, OwnedRoomId) {
    let rooms = [scene.private_room("One").await, scene.private_room("Two").await];
    let chats = scene.planned().await;
    limit_invites(&scene.pair.old, service).await;
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
    (chats, second.clone())
}

#[tokio::test]
async fn a_moderators_invitation_is_used_at_once_while_the_bots_own_waits_for_a_limit() {
    let (pair, service) = half_served().await;
    let scene = Scene::with_service(&pair, "pushed", Some(&service), json!({})).await;
    let (chats, room) = held_up(&scene, &service).await;
    scene.friend.invite(&room, scene.new.user_id()).await.unwrap();
    joined(&scene, &room).await;
    chats.old.hear_about("`forget`").await.unwrap();
}

#[tokio::test]
async fn a_moderators_invitation_opens_a_room_that_nobody_was_asked_to_open() {
    let (pair, service) = half_served().await;
    let scene = Scene::with_service(&pair, "opened", Some(&service), json!({})).await;
    let spec = RoomSpec::private("Closed").needs("invite", 50).invite(scene.old.user_id());
    let closed = scene.friend.create_room(spec).await.unwrap();
    scene.old.join(&closed).await.unwrap();
    let _run = held_up(&scene, &service).await;
    scene.friend.invite(&closed, scene.new.user_id()).await.unwrap();
    joined(&scene, &closed).await;
}

#[tokio::test]
async fn an_invitation_that_comes_while_bot_and_homeserver_are_away_is_used_afterwards() {
    let (pair, service) = half_served().await;
    let scene = Scene::with_service(&pair, "away", Some(&service), json!({})).await;
    let (chats, room) = held_up(&scene, &service).await;
    scene.bot.kill().await.unwrap();
    scene.friend.invite(&room, scene.new.user_id()).await.unwrap();
    // What it could not push it repeats, also after it was stopped.
    pair.new.stop().await.unwrap();
    pair.new.start_again().await.unwrap();
    scene.bot.start_again().await.unwrap();
    joined(&scene, &room).await;
    chats.old.hear_about("`forget`").await.unwrap();
}

/// A homeserver, as far as the bot can tell.
struct Pusher {
    client: reqwest::Client,
    url: String,
    hs_token: String,
}

impl Pusher {
    fn new(homeserver: &Homeserver, service: &Service) -> Self {
        let registration = homeserver.registration(service).unwrap();
        let registration = fs::read_to_string(registration).unwrap();
        let hs_token = registration.lines().find_map(|line| line.strip_prefix("hs_token: "));
        let url = format!("http://{}/_matrix/app/v1/transactions/", service.listen());
        Self { client: reqwest::Client::new(), url, hs_token: hs_token.unwrap().to_owned() }
    }

    async fn push(&self, id: &str, events: Value) -> StatusCode {
        let request = self.client.put(format!("{}{id}", self.url));
        let request = request.bearer_auth(&self.hs_token).json(&json!({ "events": events }));
        request.send().await.unwrap().status()
    }
}

fn event(scene: &Scene<'_>, event_type: &str, content: Value) -> Value {
    json!({
        "type": event_type, "room_id": "!private_room:elsewhere.example", "content": content,
        "sender": scene.friend.user_id(), "event_id": "$event", "origin_server_ts": 1,
    })
}

/// Whether `word` occurs in a file below `folder`.
fn occurs(folder: &Path, word: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return occurs(&path, word);
        }
        // A file may be gone by now.
        let content = fs::read(path).unwrap_or_default();
        content.windows(word.len()).any(|window| window == word.as_bytes())
    })
}

#[tokio::test]
async fn events_of_others_are_neither_stored_nor_logged() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let settings = json!({ "log": "trace" });
    let scene = Scene::with_service(pair, service.id(), Some(&service), settings).await;
    let stranger = format!("{}-stranger", service.id());
    let stranger = pair.old.account(&stranger).await.unwrap();
    let chats = scene.consented().await;
    chats.old.hear_about("The plan:").await.unwrap();

    let pusher = Pusher::new(&pair.old, &service);
    let mut member = event(&scene, "m.room.member", json!({ "membership": "invite" }));
    member["state_key"] = json!(stranger.user_id());
    let mut own = event(&scene, "m.room.topic", json!({ "topic": "tern_private_topic" }));
    own["sender"] = json!(scene.new.user_id());
    own["state_key"] = json!("");
    let message = event(&scene, "m.room.message", json!({ "body": "tern_private_words" }));
    let reaction = event(&scene, "m.reaction", json!({ "m.relates_to": { "key": "✅" } }));
    let events = json!([message, member, own, reaction, { "type": "tern_unknown_type" }]);
    assert_eq!(pusher.push("of-others", events).await, 200);

    chats.old.say("status").await.unwrap();
    chats.old.hear_about("`go`").await.unwrap();
    let words = [
        "tern_private_words",
        "tern_private_topic",
        "tern_unknown_type",
        "!private_room:elsewhere.example",
        stranger.user_id().as_str(),
    ];
    for word in words {
        assert!(!scene.bot.log().contains(word), "{word} is logged");
        assert!(!occurs(&scene.bot.data_dir(), word), "{word} is stored");
    }
    assert!(scene.bot.log().contains("TRACE") || scene.bot.log().contains("DEBUG"));
}

#[tokio::test]
async fn who_has_no_token_of_a_homeserver_moves_nobody() {
    let (pair, service) = half_served().await;
    let scene = Scene::with_service(&pair, "forged", Some(&service), json!({})).await;
    let (chats, room) = held_up(&scene, &service).await;
    let mut invited = event(&scene, "m.room.member", json!({ "membership": "join" }));
    invited["room_id"] = json!(room);
    invited["state_key"] = json!(scene.new.user_id());
    let forger = Pusher { hs_token: "guessed".into(), ..Pusher::new(&pair.new, &service) };
    assert_eq!(forger.push("forged", json!([invited])).await, 403);
    // Had it been believed, the run would be through.
    chats.old.say("status").await.unwrap();
    chats.old.hear_about("1 of 2").await.unwrap();
    assert!(!is_in(&scene.new, &room).await);
}

/// As when it is stopped in the middle of a join: the old account's homeserver has let it in then,
/// and tells so.
#[tokio::test]
async fn a_join_that_the_new_accounts_homeserver_lost_is_sent_again() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let proxy = Proxy::before(&pair.new).await.unwrap();
    let settings = json!({
        "homeservers": { pair.new.name().as_str(): proxy.url() },
        "timeouts": { "retry_after": "200ms" },
    });
    let scene = Scene::with_service(pair, service.id(), Some(&service), settings).await;
    let room = scene.private_room("Lost").await;
    let chats = scene.consented().await;
    chats.old.hear_about("The plan:").await.unwrap();
    proxy.add(Rule::on(Method::POST, JOIN, Fault::status(503)));
    chats.old.say("go").await.unwrap();
    let tries = async |least: usize| {
        let tried = || async {
            let tries = proxy.seen(&Method::POST, JOIN);
            Ok((tries >= least).then_some(tries))
        };
        wait::until("it tries to join", SOON, tried).await.unwrap()
    };
    tries(1).await;
    let mut joined = event(&scene, "m.room.member", json!({ "membership": "join" }));
    joined["room_id"] = json!(room);
    joined["state_key"] = json!(scene.new.user_id());
    let pusher = Pusher::new(&pair.old, &service);
    assert_eq!(pusher.push("let-in", json!([joined])).await, 200);
    // One try may have been on its way.
    let before = proxy.seen(&Method::POST, JOIN);
    tries(before + 2).await;
    proxy.clear();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn people_are_answered_while_thousands_of_transactions_come_in() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::with_service(pair, service.id(), Some(&service), json!({})).await;
    let pusher = Pusher::new(&pair.old, &service);
    let chats = scene.chats().await;
    let message = event(&scene, "m.room.message", json!({ "body": "x".repeat(1000) }));
    let pushed = stream::iter(0..5000)
        .map(|id| {
            let (pusher, message) = (&pusher, json!([message]));
            async move { pusher.push(&format!("load-{id}"), message).await }
        })
        .buffer_unordered(50)
        .collect::<Vec<_>>();
    let asked = async {
        chats.old.say("help").await.unwrap();
        chats.old.hear_about("`start").await.unwrap();
    };
    let mut pushed = std::pin::pin!(pushed);
    tokio::select! {
        () = asked => {}
        _ = &mut pushed => panic!("they were all taken before anybody was answered"),
    }
    assert!(pushed.await.into_iter().all(|status| status == 200));
}
