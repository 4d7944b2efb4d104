//! Chats that others could read, and words that others could have made up.

use lab::RoomSpec;
use reqwest::Method;
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn a_question_does_not_come_in_a_room_that_somebody_else_made_to_read_along() {
    let scene = Scene::new("onlooker").await;
    let onlooker = scene.pair.old.account("onlooker-himself").await.unwrap();
    let victim = scene.pair.old.person("onlooker-victim").await.unwrap();
    let (bot, second) = (scene.bot.user_id(), scene.friend.user_id());
    for spec in [RoomSpec::private("Alone"), RoomSpec::private("Invited").invite(second)] {
        let room = onlooker.create_room(spec.invite(victim.user_id())).await.unwrap();
        victim.join(&room).await.unwrap();
        onlooker.invite(&room, bot).await.unwrap();
        onlooker.leave(&room).await.unwrap();
    }
    let old = scene.old.chat_with(bot, true).await.unwrap();
    old.say(&format!("start {}", victim.user_id())).await.unwrap();
    let theirs = victim.chat_from(bot).await.unwrap();
    theirs.hear_about("wants to move to this account").await.unwrap();
}

#[tokio::test]
async fn a_chat_to_which_somebody_is_invited_is_none_any_more_and_another_is() {
    let scene = Scene::new("crowding").await;
    let chats = scene.chats().await;
    let friend = scene.friend.user_id();
    scene.old.invite(chats.old.room_id(), friend).await.unwrap();
    chats.old.hear_about("Somebody else is invited").await.unwrap();
    chats.old.say("status").await.unwrap();
    let again = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    again.say("status").await.unwrap();
    again.hear_about("You are in no migration").await.unwrap();
    assert!(!chats.old.transcript().contains("You are in no migration"));
}

#[tokio::test]
async fn plain_words_in_an_encrypted_chat_are_no_commands() {
    let scene = Scene::new("plainly").await;
    let chats = scene.chats().await;
    chats.old.say("help").await.unwrap();
    chats.old.hear_about("I understand").await.unwrap();
    for _ in 0..2 {
        let start = format!("start {}", scene.new.user_id());
        scene.old.message(chats.old.room_id(), &start).await.unwrap();
    }
    chats.old.hear_about("without encryption").await.unwrap();
    chats.old.say("status").await.unwrap();
    chats.old.hear_about("You are in no migration").await.unwrap();
    let said = chats.old.transcript();
    assert_eq!(said.matches("A message came here").count(), 1, "{said}");
}

#[tokio::test]
async fn a_secret_in_a_lone_message_an_emote_or_an_edit_is_deleted_and_not_quoted() {
    let scene = Scene::new("lone").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    chat.say("login password").await.unwrap();
    chat.hear_about("is missing").await.unwrap();
    let lone = chat.say("Hunter2-lone").await.unwrap();
    chat.hear_about("Treat what was in it as known").await.unwrap();
    chat.redacted(&lone).await.unwrap();
    let send = async |number: u8, content| {
        let room = chat.room_id();
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/secret-{number}");
        scene.old.send_raw(Method::PUT, &path, &content).await.unwrap();
        chat.hear_about("Treat what was in it as known").await.unwrap();
    };
    send(1, json!({ "msgtype": "m.emote", "body": "login password Hunter2-emote" })).await;
    let typed = chat.say("nothing").await.unwrap();
    chat.hear_about("I do not know").await.unwrap();
    let edit = json!({
        "msgtype": "m.text",
        "body": "* login password Hunter2-edit",
        "m.new_content": { "msgtype": "m.text", "body": "login password Hunter2-edit" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": typed },
    });
    send(2, edit).await;
    chat.redacted(&typed).await.unwrap();
    let said = chat.messages().into_iter().filter(|message| message.sender == *scene.bot.user_id());
    assert!(said.into_iter().all(|message| !message.body.contains("Hunter2")));
}
