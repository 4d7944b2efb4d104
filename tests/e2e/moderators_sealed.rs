//! Encrypted rooms that only their moderators open: what is said there, the old account's own device
//! encrypts, and where it has none, nothing is said there.

use std::fs;

use lab::{Account, Message, RoomSpec, wait};
use matrix_sdk::ruma::events::{
    relation::{InReplyTo, Reply},
    room::message::{Relation, RoomMessageEventContent},
};
use ruma::OwnedRoomId;
use serde_json::json;

use crate::{
    moderators::{Court, PATIENCE, ask, react, refused_in_person},
    scene::log_in,
};

/// The message that asks, as the moderator's client shows it, once it shows it so.
async fn shown(court: &Court, what: &str, test: impl Fn(&Message) -> bool) -> Message {
    wait::until(what, PATIENCE, || async {
        let messages = court.moderator.messages(&court.room).into_iter();
        let old = court.scene.old.user_id();
        Ok(messages.filter(|message| message.sender == old).find(|message| test(message)))
    })
    .await
    .unwrap()
}

/// The types of what an account sent to a room, but its state.
async fn sent(court: &Court, by: &Account) -> Vec<String> {
    let events = court.events().await.into_iter();
    let sent =
        events.filter(|it| it["sender"] == by.user_id().as_str() && it["state_key"].is_null());
    sent.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

async fn reply(court: &Court, room: &OwnedRoomId, to: &Message, text: &str) {
    let mut content = RoomMessageEventContent::text_plain(text);
    content.relates_to = Some(Relation::Reply(Reply::new(InReplyTo::new(to.event_id.clone()))));
    court.moderator.client().get_room(room).unwrap().send(content).await.unwrap();
}

#[tokio::test]
async fn what_is_said_in_an_encrypted_room_is_encrypted_and_so_may_be_the_answer() {
    let court = Court::with("modsealed", json!({}), RoomSpec::encrypted).await;
    let chats = court.asked().await;
    let request = shown(&court, "the request is read", |it| it.body.contains("I am moving")).await;
    assert!(request.encrypted && request.body.contains("/invite"), "{request:?}");
    court.scene.bot.kill().await.unwrap();
    court.scene.bot.start_again().await.unwrap();
    react(&court.moderator, &court.room, &json!({ "event_id": request.event_id }), "✅").await;
    let thanks = shown(&court, "the thanks are read", |it| it.body.contains("thank you")).await;
    assert!(thanks.encrypted);
    reply(&court, &court.room, &request, "stop").await;
    chats.old.hear_about("said no").await.unwrap();
    shown(&court, "the edit is read", |it| it.edited() && it.body.contains("said no")).await;
    assert_eq!(sent(&court, &court.scene.old).await, ["m.room.encrypted"; 3]);
    let keys = court.scene.bot.data_dir().join("devices");
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 1);
    chats.old.say("forget").await.unwrap();
    chats.old.hear_about("is deleted").await.unwrap();
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 0, "the keys go with the session");
}

#[tokio::test]
async fn without_a_device_of_its_own_the_bot_says_nothing_in_an_encrypted_room() {
    let court = Court::with("modtoken", json!({}), RoomSpec::encrypted).await;
    let chats = court.scene.consented().await;
    let token = court.scene.old.client().access_token().unwrap();
    chats.old.say(&format!("login token {token}")).await.unwrap();
    chats.old.hear_about("can act as").await.unwrap();
    log_in(&chats.new).await;
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("Say `ask`").await.unwrap();
    ask(&chats.old).await;
    refused_in_person(&court, &chats).await;
}
