//! People who ask too much of the bot, or of others through it.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lab::{Account, RoomSpec, wait};
use reqwest::Method;
use ruma::OwnedRoomId;
use serde_json::Value;

use crate::scene::Scene;

/// How soon a person is to be answered while another keeps the bot busy.
const SOON: Duration = Duration::from_secs(20);

/// A direct message with the bot, without encryption and without a client.
pub(crate) async fn direct_message(account: &Account, scene: &Scene<'_>) -> OwnedRoomId {
    let room = account.create_room(RoomSpec::direct(scene.bot.user_id())).await.unwrap();
    wait::until("the bot joins", Duration::from_secs(120), || async {
        let bot = account.member(&room, scene.bot.user_id()).await?;
        Ok((bot == Some(ruma::events::room::member::MembershipState::Join)).then_some(()))
    })
    .await
    .unwrap();
    room
}

/// Waits until the bot has said this there.
async fn hear(
    account: &Account,
    scene: &Scene<'_>,
    room: &OwnedRoomId,
    part: &str,
    limit: Duration,
) {
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=50");
    wait::until(part, limit, || async {
        let answer = account.send_raw(Method::GET, &path, &Value::Null).await?;
        let said = answer["chunk"].as_array().into_iter().flatten().any(|event| {
            event["sender"] == scene.bot.user_id().as_str()
                && event["content"]["body"].as_str().is_some_and(|body| body.contains(part))
        });
        Ok(said.then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_person_who_sends_a_thousand_commands_keeps_nobody_else_waiting() {
    let scene = Scene::new("flood").await;
    let (flooder, other) = (&scene.friend, scene.pair.old.account("flood-other").await.unwrap());
    let flooded = direct_message(flooder, &scene).await;
    let quiet = direct_message(&other, &scene).await;
    let say = async |number| flooder.message(&flooded, &format!("help {number}")).await;
    let sent = stream::iter(0..1000).map(say).buffer_unordered(8);
    sent.try_collect::<Vec<_>>().await.unwrap();
    other.message(&quiet, "status").await.unwrap();
    hear(&other, &scene, &quiet, "You are in no migration", SOON).await;
    assert_eq!(scene.bot.log().matches("ERROR").count(), 0, "{}", scene.bot.log());
}

#[tokio::test]
async fn many_people_who_write_at_once_are_all_answered() {
    let scene = Scene::new("crowd").await;
    let come = async |number| {
        let account = scene.pair.old.account(&format!("crowd-{number}")).await.unwrap();
        let room = direct_message(&account, &scene).await;
        (account, room)
    };
    let people: Vec<_> = stream::iter(0..40).map(come).buffer_unordered(8).collect().await;
    let say = people.iter().map(|(account, room)| account.message(room, "status"));
    futures_util::future::try_join_all(say).await.unwrap();
    for (account, room) in &people {
        hear(account, &scene, room, "You are in no migration", Duration::from_secs(60)).await;
    }
}

#[tokio::test]
async fn nobody_is_asked_by_a_person_who_asks_everybody() {
    let scene = Scene::new("asker").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    for number in 0..5 {
        let victim = format!("asker-victim-{number}");
        let victim = scene.pair.new.account(&victim).await.unwrap();
        chat.say(&format!("start {}", victim.user_id())).await.unwrap();
        chat.hear_about(&format!("I am asking {}", victim.user_id())).await.unwrap();
        chat.say("cancel").await.unwrap();
        chat.hear_about("has ended").await.unwrap();
        chat.say("forget").await.unwrap();
        chat.hear_about("deleted").await.unwrap();
    }
    chat.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chat.hear_about("I asked several accounts for you today already").await.unwrap();
    assert!(scene.new.client().invited_rooms().is_empty());
}

#[tokio::test]
async fn hostile_room_names_are_shown_harmlessly() {
    let scene = Scene::new("hostile").await;
    let names = [
        "<img src=x onerror=alert(1)><script>alert(2)</script>".to_owned(),
        "\u{202e}gnp.exe [click](https://evil.example) @room".to_owned(),
        format!("=HYPERLINK(\"https://evil.example\",\"{}\")", "x".repeat(200)),
        "@friend:evil.example `**bold**` !migrate forget".to_owned(),
    ];
    for name in &names {
        scene.private_room(name).await;
    }
    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    chats.old.hear_about("HYPERLINK").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    for message in chats.old.messages() {
        let html = message.formatted.unwrap_or_default();
        assert!(!html.contains("<img") && !html.contains("<script"), "{html}");
        assert!(!html.contains("href=\"https://evil.example"), "{html}");
        assert!(!message.body.contains('\u{202e}'), "{}", message.body);
        assert!(!message.body.contains("@room"), "{}", message.body);
    }
}
