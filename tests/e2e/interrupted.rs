use std::time::Duration;

use lab::{Chat, Lab, Options, wait};
use serde_json::{Value, json};
use tern::clock::{Clock as _, SystemClock};

use crate::scene::Scene;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_bot_that_was_logged_out_logs_in_again_as_the_same_device_and_can_still_be_written_to() {
    let scene = Scene::new("logout").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say("help").await.unwrap();
    chat.hear_about("I understand").await.unwrap();
    let device = device_keys(&scene).await;
    let path = "/_matrix/client/v3/logout/all";
    scene.bot.account().send_raw(reqwest::Method::POST, path, &json!({})).await.unwrap();
    wait::until("the bot logs in again", PATIENCE, || async {
        Ok((scene.bot.log().matches("tern is ready").count() == 2).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(device_keys(&scene).await, device);
    chat.say("help start").await.unwrap();
    chat.hear_about("That account must exist already").await.unwrap();
}

/// The keys of the bot's devices without their signatures, which cross-signing adds to.
async fn device_keys(scene: &Scene<'_>) -> Value {
    let bot = scene.bot.user_id().as_str();
    let query = json!({ "device_keys": { bot: [] } });
    let path = "/_matrix/client/v3/keys/query";
    let mut answer = scene.old.send_raw(reqwest::Method::POST, path, &query).await.unwrap();
    let mut devices = answer["device_keys"][bot].take();
    for device in devices.as_object_mut().unwrap().values_mut() {
        device.as_object_mut().unwrap().remove("signatures");
    }
    devices
}

#[tokio::test]
async fn more_messages_than_fit_into_one_answer_are_all_answered_once_and_in_order() {
    let scene = Scene::new("burst").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    chat.say("help").await.unwrap();
    chat.hear_about("I understand").await.unwrap();
    scene.bot.stop().await.unwrap();
    for number in 0..70 {
        chat.say(&format!("word{number}")).await.unwrap();
    }
    scene.bot.start_again().await.unwrap();
    chat.hear_about("“word69”").await.unwrap();
    let answered: Vec<_> = answers(&chat, "I do not know “word");
    let expected: Vec<_> = (0..70).map(|number| format!("I do not know “word{number}”")).collect();
    assert_eq!(answered.len(), 70);
    assert!(answered.iter().zip(&expected).all(|(is, should)| is.starts_with(should.as_str())));
}

fn answers(chat: &Chat, part: &str) -> Vec<String> {
    let bodies = chat.messages().into_iter().map(|message| message.body);
    bodies.filter(|body| body.contains(part)).collect()
}

#[tokio::test]
async fn a_message_that_cannot_be_decrypted_is_told_of() {
    let scene = Scene::new("sealed").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say("help").await.unwrap();
    chat.hear_about("I understand").await.unwrap();
    let sealed = json!({
        "algorithm": "m.megolm.v1.aes-sha2",
        "ciphertext": "AwgAEnACgAkLmt6qF84IK++J7UDH2Za1YVchHyprqTqsg2yyOwAtHaZTwyNg37afzg8f3r9IsN9r4RNFg7MaZencUJe4qvELiDiopUjy5wYVDAtqdBzer5bWRD9ldxp1FLgbQvBcjkkywYjCsmsq6+hArILd9oAQZnGKn/qLsK+5uNX3PaWzDRC9wZPQvWYYPCTov3jCwXKTPsLKIiTrcCXDqMvnn8m+T3zF/",
        "device_id": "NOBODY",
        "sender_key": "IlRMeOPX2e0MurIyfWEucYBRVOEEUMrOHqn/8mLqMjA",
        "session_id": "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ",
    });
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.encrypted/1", chat.room_id());
    scene.old.send_raw(reqwest::Method::PUT, &path, &sealed).await.unwrap();
    chat.hear_about("cannot read one of your messages").await.unwrap();
    chat.say("help start").await.unwrap();
    chat.hear_about("That account must exist already").await.unwrap();
}

#[tokio::test]
async fn a_bot_whose_homeserver_goes_away_waits_for_it() {
    let lab = Lab::new().unwrap();
    let pair = lab.pair(&Options::default()).await.unwrap();
    let scene = Scene::on(&pair, "outage", json!({})).await;
    let chat = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    chat.say("help").await.unwrap();
    chat.hear_about("I understand").await.unwrap();
    pair.old.stop().await.unwrap();
    wait::until("the bot notices", PATIENCE, || async {
        Ok(scene.bot.log().contains("does not answer").then_some(()))
    })
    .await
    .unwrap();
    pair.old.start_again().await.unwrap();
    let chat = chat.with_patience(PATIENCE);
    wait::until("the client sends again", PATIENCE, || async {
        Ok(chat.say("help start").await.ok().map(drop))
    })
    .await
    .unwrap();
    chat.hear_about("That account must exist already").await.unwrap();
    assert_eq!(scene.bot.log().matches("tern is ready").count(), 1);
    assert_eq!(scene.bot.log().matches("does not answer").count(), 1);
}

#[tokio::test]
async fn a_bot_that_is_killed_while_it_invites_makes_one_room_and_asks_once() {
    let scene = Scene::new("inviting").await;
    let old = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    for milliseconds in [50, 150, 250, 350, 450] {
        SystemClock.sleep(Duration::from_millis(milliseconds)).await;
        scene.bot.kill().await.unwrap();
        scene.bot.start_again().await.unwrap();
    }
    old.hear_about("I am asking").await.unwrap();
    let new = scene.new.chat_from(scene.bot.user_id()).await.unwrap();
    let question = new.hear_about("wants to move to this account").await.unwrap();
    new.react(&question.event_id, "✅").await.unwrap();
    new.hear_about("You agreed").await.unwrap();
    old.hear_about("agreed to the migration").await.unwrap();
    assert!(scene.new.client().invited_rooms().is_empty(), "it was invited once");
    assert_eq!(answers(&new, "wants to move to this account").len(), 1);
    assert_eq!(answers(&old, "I am asking").len(), 1);
    // Its own rooms: the chat that the old account began, and the one made for the new account.
    assert_eq!(scene.bot.account().joined_rooms().await.unwrap().len(), 2);
}
