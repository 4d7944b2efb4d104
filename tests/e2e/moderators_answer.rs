//! Who answers an invite request, where, and in which order.

use lab::{RoomSpec, wait};
use reqwest::Method;
use ruma::events::room::member::MembershipState;
use serde_json::{Value, json};

use crate::{
    moderators::{Court, PATIENCE, react, set_level},
    scene::is_in,
};

/// Who invited the new account, and how often it was invited.
async fn inviters(court: &Court) -> Vec<Value> {
    let new = court.scene.new.user_id().as_str();
    let events = court.events().await.into_iter();
    let invitations = events.filter(|event| event["state_key"] == new);
    let invitations = invitations.filter(|event| event["content"]["membership"] == "invite");
    invitations.map(|event| event["sender"].clone()).collect()
}

#[tokio::test]
async fn where_the_bot_is_in_the_room_and_may_invite_a_yes_is_enough() {
    let court = Court::new("modbot").await;
    let bot = court.scene.bot.user_id();
    court.asked().await;
    let request = court.request().await;
    // It joins where it asked, and stays where it was given the power first.
    set_level(&court, bot, 50).await;
    court.moderator.invite(&court.room, bot).await.unwrap();
    wait::until("the bot is in the room", PATIENCE, || async {
        let member = court.moderator.member(&court.room, bot).await?;
        Ok((member == Some(MembershipState::Join)).then_some(()))
    })
    .await
    .unwrap();
    let asked = &request["content"]["m.mentions"]["user_ids"];
    assert_eq!(*asked, json!([court.moderator.user_id()]), "the bot is not asked itself");
    react(&court.scene.friend, &court.room, &request, "✅").await;
    react(&court.moderator, &court.room, &request, "✅").await;
    court.let_in().await;
    assert_eq!(inviters(&court).await, [bot.as_str()]);
}

#[tokio::test]
async fn where_all_others_may_invite_they_are_asked() {
    // The old account may speak, and not invite.
    let more = |spec: RoomSpec| spec.needs("invite", 0).needs("events_default", -1);
    let court = Court::with("modall", json!({}), more).await;
    set_level(&court, court.scene.old.user_id(), -1).await;
    court.asked().await;
    let request = court.request().await;
    let asked = &request["content"]["m.mentions"]["user_ids"];
    assert_eq!(*asked, json!([court.moderator.user_id(), court.scene.friend.user_id()]));
    court.scene.friend.invite(&court.room, court.scene.new.user_id()).await.unwrap();
    court.let_in().await;
}

#[tokio::test]
async fn of_a_yes_that_waits_for_an_invitation_and_a_no_the_no_counts() {
    let court = Court::new("moddiffer").await;
    set_level(&court, court.scene.friend.user_id(), 50).await;
    let chats = court.asked().await;
    let request = court.request().await;
    react(&court.scene.friend, &court.room, &request, "✅").await;
    react(&court.moderator, &court.room, &request, "❌").await;
    let told = chats.old.hear_about("said no").await.unwrap();
    assert!(told.body.contains(court.moderator.user_id().as_str()), "{}", told.body);
    court.closed("said no").await;
    assert!(!is_in(&court.scene.new, &court.room).await);
}

#[tokio::test]
async fn stop_in_a_direct_message_is_for_the_whole_room() {
    let court = Court::with("modquiet", json!({}), |spec| spec.needs("events_default", 50)).await;
    let chats = court.asked().await;
    let chat = court.moderator.chat_from(court.scene.bot.user_id()).await.unwrap();
    chat.hear_about("is moving to a new Matrix account").await.unwrap();
    chat.say("Stop").await.unwrap();
    chat.hear_about("I ask nobody about this any more").await.unwrap();
    chats.old.hear_about("said no").await.unwrap();
    chats.old.say("ask").await.unwrap();
    chats.old.hear_about("wants nobody to be asked there").await.unwrap();
}

#[tokio::test]
async fn a_bot_that_is_killed_between_the_invitation_and_the_join_joins_when_it_is_back() {
    let court = Court::new("modback").await;
    let chats = court.asked().await;
    court.request().await;
    court.scene.bot.kill().await.unwrap();
    court.moderator.invite(&court.room, court.scene.new.user_id()).await.unwrap();
    court.scene.bot.start_again().await.unwrap();
    court.let_in().await;
    court.scene.bot.kill().await.unwrap();
    court.scene.bot.start_again().await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    court.closed("Done").await;
    assert_eq!(court.requests().await.len(), 1);
}

#[tokio::test]
async fn a_room_that_its_homeserver_deletes_is_no_longer_waited_for() {
    let court = Court::new("modgone").await;
    let chats = court.asked().await;
    court.request().await;
    let old_server = &court.scene.pair.old;
    let admin = old_server.register_admin("modgone-admin", "admin").await.unwrap();
    let path = format!("/_synapse/admin/v1/rooms/{}", court.room);
    admin.send_raw(Method::DELETE, &path, &json!({})).await.unwrap();
    chats.old.hear_about("is not any more").await.unwrap();
}
