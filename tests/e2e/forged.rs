//! Homeservers that put words into other people's mouths: a homeserver's word counts for its own
//! accounts and for nothing else.

use std::path::Path;

use lab::{Chat, Fault, Person, Proxy, Rule, served_pair, wait};
use reqwest::Method;
use ruma::{RoomId, events::room::member::MembershipState};
use serde_json::{Value, json};

use crate::{
    moderators::{Court, PATIENCE, ask, react, set_level},
    scene::{Chats, Scene, TERN, is_in, log_in},
};

/// An answer to `/sync` that tells an account that it is out of a room, and of events in it.
fn left(room: &RoomId, events: &Value) -> Fault {
    let timeline = json!({ "limited": false, "prev_batch": "p", "events": events });
    let left = json!({ room.as_str(): { "state": { "events": [] }, "timeline": timeline } });
    Fault::json(200, &json!({ "next_batch": "forged", "rooms": { "leave": left } }))
}

/// What somebody is made to have said to `request`.
fn reaction(by: &Person, request: &Value, key: &str) -> Value {
    json!({
        "type": "m.reaction", "event_id": "$forged", "sender": by.user_id(),
        "origin_server_ts": 4_000_000_000_000_u64,
        "content": { "m.relates_to": {
            "rel_type": "m.annotation", "event_id": request["event_id"], "key": key,
        } },
    })
}

/// Has an account told this by its homeserver, and waits until the bot has dealt with it.
async fn tell(court: &Court, proxy: &Proxy, events: &Value) {
    const TIMES: usize = 3;
    // The request that is open would be answered only after half a minute.
    court.scene.bot.kill().await.unwrap();
    let before = proxy.seen(&Method::GET, "/sync");
    proxy.add(Rule::on(Method::GET, "/sync", left(&court.room, events)).times(TIMES));
    court.scene.bot.start_again().await.unwrap();
    // The bot asks for more only when it is through with what it was told.
    wait::until("the bot was told", PATIENCE, || async {
        Ok((proxy.seen(&Method::GET, "/sync") > before + TIMES).then_some(()))
    })
    .await
    .unwrap();
}

/// Where the bot finds the new server: behind this.
fn behind(proxy: &Proxy, scene_of: &lab::Pair) -> Value {
    json!({ "homeservers": { scene_of.new.name().as_str(): proxy.url() } })
}

async fn ask_in(court: &Court, chats: &Chats) -> Value {
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("Say `ask`").await.unwrap();
    ask(&chats.old).await;
    court.request().await
}

async fn invited(court: &Court) -> Option<MembershipState> {
    court.moderator.member(&court.room, court.scene.new.user_id()).await.unwrap()
}

#[tokio::test]
async fn the_new_accounts_homeserver_cannot_make_up_a_moderators_yes() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let proxy = Proxy::before(&pair.new).await.unwrap();
    let mut settings = behind(&proxy, pair);
    settings["appservices"] = json!({ pair.new.name().as_str(): null });
    let scene = Scene::with_service(pair, service.id(), Some(&service), settings).await;
    let court = Court::of(scene, service.id(), |spec| spec).await;
    let chats = court.scene.consented().await;
    log_in(&chats.new).await;
    let request = ask_in(&court, &chats).await;
    tell(&court, &proxy, &json!([reaction(&court.moderator, &request, "✅")])).await;
    assert_eq!(invited(&court).await, None);
    // What the moderator says is what their own homeserver pushes.
    react(&court.moderator, &court.room, &request, "✅").await;
    court.let_in().await;
    let invitation = court.events().await.into_iter().find(|event| {
        event["state_key"] == court.scene.new.user_id().as_str()
            && event["content"]["membership"] == "invite"
    });
    assert_eq!(invitation.unwrap()["sender"], court.moderator.user_id().as_str());
}

#[tokio::test]
async fn a_request_that_was_edited_is_answered_by_hand() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::with_service(pair, service.id(), Some(&service), json!({})).await;
    let court = Court::of(scene, service.id(), |spec| spec).await;
    let chats = court.scene.consented().await;
    let request = ask_in(&court, &chats).await;
    let pizza = json!({ "msgtype": "m.text", "body": "Who wants pizza? ✅" });
    let mut edit = pizza.clone();
    edit["m.new_content"] = pizza;
    edit["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": request["event_id"] });
    crate::moderators::send(&court.scene.old, &court.room, "m.room.message", &edit).await;
    react(&court.moderator, &court.room, &request, "✅").await;
    wait::until("the moderator is thanked", PATIENCE, || async {
        let thanked = court.events().await.into_iter().any(|event| {
            event["content"]["body"].as_str().is_some_and(|body| body.contains("thank you"))
        });
        Ok(thanked.then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(invited(&court).await, None);
}

#[tokio::test]
async fn a_yes_that_was_made_up_moves_the_bots_own_hand_no_more() {
    let pair = lab::pair().await.unwrap();
    let proxy = Proxy::before(&pair.new).await.unwrap();
    let court = Court::with("forgedbot", behind(&proxy, pair), |spec| spec).await;
    let bot = court.scene.bot.user_id();
    let chats = court.asked().await;
    let request = court.request().await;
    set_level(&court, bot, 50).await;
    court.moderator.invite(&court.room, bot).await.unwrap();
    wait::until("the bot stays in the room", PATIENCE, || async {
        let events = court.events().await.into_iter();
        Ok(events.filter(|event| event["sender"] == bot.as_str()).count())
            .map(|said| (said > 1).then_some(()))
    })
    .await
    .unwrap();
    tell(&court, &proxy, &json!([reaction(&court.moderator, &request, "✅")])).await;
    assert_eq!(invited(&court).await, None);
    assert!(!is_in(&court.scene.new, &court.room).await);
    drop(chats);
}

/// Somebody else moves within the old server, and has asked in the same room.
async fn second_request(court: &Court) -> Chat {
    let Court { scene, moderator, room } = court;
    let (old, new) = tokio::join!(
        scene.pair.old.person("forgedstop-other"),
        scene.pair.old.person("forgedstop-othernew"),
    );
    let (old, new) = (old.unwrap(), new.unwrap());
    moderator.invite(room, old.user_id()).await.unwrap();
    old.join(room).await.unwrap();
    let bot = scene.bot.user_id();
    let (chat, other) = (old.chat_with(bot, true).await, new.chat_with(bot, true).await);
    let (chat, other) = (chat.unwrap(), other.unwrap());
    chat.say(&format!("start {}", new.user_id())).await.unwrap();
    other.hear_about("wants to move to this account").await.unwrap();
    other.say(&format!("accept {}", old.user_id())).await.unwrap();
    chat.hear_about("agreed").await.unwrap();
    log_in(&chat).await;
    log_in(&other).await;
    chat.hear_about("The plan:").await.unwrap();
    chat.say("go").await.unwrap();
    chat.hear_about("Say `ask`").await.unwrap();
    ask(&chat).await;
    chat
}

#[tokio::test]
async fn a_stop_that_one_migrations_homeserver_tells_of_ends_nobody_elses_request() {
    let pair = lab::pair().await.unwrap();
    let proxy = Proxy::before(&pair.new).await.unwrap();
    let court = Court::with("forgedstop", behind(&proxy, pair), |spec| spec).await;
    let chats = court.asked().await;
    let request = court.request().await;
    let other = second_request(&court).await;
    wait::until("both have asked", PATIENCE, || async {
        Ok((court.requests().await.len() == 2).then_some(()))
    })
    .await
    .unwrap();
    let stop = |event_id: &str| {
        json!({
            "type": "m.room.message", "event_id": event_id, "sender": court.moderator.user_id(),
            "origin_server_ts": 4_000_000_000_000_u64,
            "content": { "msgtype": "m.text", "body": "stop", "m.relates_to": {
                "m.in_reply_to": { "event_id": request["event_id"] },
            } },
        })
    };
    tell(&court, &proxy, &json!([stop("$forged")])).await;
    other.say("status").await.unwrap();
    other.hear_about("waits for the moderators").await.unwrap();
    assert!(!other.transcript().contains("said no"), "{}", other.transcript());
    // What the old account's homeserver tells counts for the old account's own request alone.
    let relation = json!({ "m.in_reply_to": { "event_id": request["event_id"] } });
    let said = json!({ "msgtype": "m.text", "body": "stop", "m.relates_to": relation });
    crate::moderators::send(&court.moderator, &court.room, "m.room.message", &said).await;
    chats.old.hear_about("said no").await.unwrap();
    other.say("status").await.unwrap();
    other.hear_about("waits for the moderators").await.unwrap();
}
