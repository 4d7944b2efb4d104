//! What strangers make the bot do: nothing that they did not say, and nothing without bound.

use std::{path::Path, time::Duration};

use lab::{Fault, Proxy, RoomSpec, Rule, served_pair, wait};
use reqwest::Method;
use ruma::{UserId, events::room::member::MembershipState};
use serde_json::json;

use crate::{
    abuse::direct_message,
    scene::{Scene, TERN},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two who began and forgot, while somebody else's command is not dealt with: after a restart the bot
/// is told of everything again.
#[tokio::test]
async fn what_was_said_and_forgotten_is_not_obeyed_again_after_a_restart() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let (old_proxy, new_proxy) =
        (Proxy::before(&pair.old).await.unwrap(), Proxy::before(&pair.new).await.unwrap());
    let settings = json!({
        "bot": { "homeserver": old_proxy.url() },
        "homeservers": { pair.new.name().as_str(): new_proxy.url() },
    });
    let scene = Scene::with_service(pair, service.id(), Some(&service), settings).await;
    let stuck = direct_message(&scene.friend, &scene).await;
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 3_600_000 });
    let answer = format!("{}/send/", &stuck.as_str()[1..]);
    old_proxy.add(Rule::on(Method::PUT, &answer, Fault::json(429, &limit)));
    scene.friend.message(&stuck, "help").await.unwrap();
    wait::until("the bot tries to answer", PATIENCE, || async {
        Ok((old_proxy.seen(&Method::PUT, &answer) > 0).then_some(()))
    })
    .await
    .unwrap();

    let chats = scene.chats().await;
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chats.new.hear_about("wants to move to this account").await.unwrap();
    chats.new.say(&format!("accept {}", scene.old.user_id())).await.unwrap();
    chats.old.hear_about("agreed").await.unwrap();
    chats.old.say("cancel").await.unwrap();
    chats.old.hear_about("has ended").await.unwrap();
    chats.old.say("forget").await.unwrap();
    chats.old.hear_about("deleted").await.unwrap();
    chats.new.hear_about("deleted").await.unwrap();

    let requests = || {
        let seen = |proxy: &Proxy, user: &UserId| {
            let user = format!("user_id={user}");
            proxy.seen(&Method::GET, &user) + proxy.seen(&Method::POST, &user)
        };
        (seen(&old_proxy, scene.old.user_id()), seen(&new_proxy, scene.new.user_id()))
    };
    scene.bot.stop().await.unwrap();
    let before = (chats.old.messages().len(), chats.new.messages().len());
    let requests_before = requests();
    assert!(requests_before.1 > 0, "{requests_before:?}");
    scene.bot.start_again().await.unwrap();
    // In each chat the bot deals with this after all that was said there before.
    for chat in [&chats.old, &chats.new] {
        chat.say("status").await.unwrap();
        chat.hear_about("You are in no migration").await.unwrap();
    }
    assert_eq!(chats.old.messages().len(), before.0 + 2, "{}", chats.old.transcript());
    assert_eq!(chats.new.messages().len(), before.1 + 2, "{}", chats.new.transcript());
    assert_eq!(requests(), requests_before);
}

#[tokio::test]
async fn an_invitation_to_a_room_that_is_no_direct_chat_is_declined_without_joining() {
    let scene = Scene::new("invited").await;
    let bot = scene.bot.user_id();
    let elsewhere = scene.pair.new.account("invited-elsewhere").await.unwrap();
    let group = RoomSpec::private("Group").invite(scene.friend.user_id());
    let group = scene.old.create_room(group).await.unwrap();
    scene.friend.join(&group).await.unwrap();
    let public = elsewhere.create_room(RoomSpec::public("Open")).await.unwrap();
    let far = RoomSpec::private("Far").invite(scene.new.user_id());
    let far = elsewhere.create_room(far).await.unwrap();
    scene.new.join(&far).await.unwrap();
    let rooms = [(scene.old.account(), &group), (&elsewhere, &public), (&elsewhere, &far)];
    for (host, room) in rooms {
        host.invite(room, bot).await.unwrap();
        wait::until("it is declined", PATIENCE, || async {
            let member = host.member(room, bot).await?;
            assert_ne!(member, Some(MembershipState::Join), "{room}");
            Ok((member == Some(MembershipState::Leave)).then_some(()))
        })
        .await
        .unwrap();
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=50");
        let said = host.send_raw(Method::GET, &path, &json!(null)).await.unwrap();
        let joined = said["chunk"].as_array().unwrap().iter().any(|event| {
            event["sender"] == bot.as_str() && event["content"]["membership"] != "leave"
        });
        assert!(!joined, "{said}");
    }
}

/// Some clients do not say that a room of two is a direct chat.
#[tokio::test]
async fn a_room_of_two_is_a_direct_chat_whatever_the_invitation_says() {
    let scene = Scene::new("unsaid").await;
    let bot = scene.bot.user_id();
    for host in [scene.old.account(), scene.new.account()] {
        let room = host.create_room(RoomSpec::private("Us").invite(bot)).await.unwrap();
        wait::until("the bot joins", PATIENCE, || async {
            let member = host.member(&room, bot).await?;
            Ok((member == Some(MembershipState::Join)).then_some(()))
        })
        .await
        .unwrap();
    }
}
