use lab::RoomSpec;
use ruma::events::room::message::RoomMessageEventContent;

use crate::scene::Scene;

#[tokio::test]
async fn in_a_group_room_the_bot_says_where_it_can_be_talked_to_and_leaves() {
    let scene = Scene::new("group").await;
    let spec = RoomSpec::private("Group").invite(scene.new.user_id()).invite(scene.bot.user_id());
    let room = scene.old.create_room(spec).await.unwrap();
    scene.new.join(&room).await.unwrap();
    let chat = scene.old.chat_in(&room, scene.bot.user_id()).await;
    // It may have come and gone before the client looked.
    if let Ok(chat) = chat {
        chat.hear_about("direct").await.unwrap();
    }
    lab::wait::until("the bot leaves", std::time::Duration::from_secs(30), || async {
        let member = scene.old.member(&room, scene.bot.user_id()).await?;
        Ok((member == Some(ruma::events::room::member::MembershipState::Leave)).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_direct_chat_that_others_join_is_no_longer_answered() {
    let scene = Scene::new("grown").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say("help").await.unwrap();
    chat.hear_about("start").await.unwrap();
    scene.old.invite(chat.room_id(), scene.new.user_id()).await.unwrap();
    scene.new.join(chat.room_id()).await.unwrap();
    let before = chat.messages().len();
    chat.say("!migrate status").await.unwrap();
    chat.hear_about("direct").await.unwrap();
    chat.say("!migrate status").await.unwrap();
    chat.say("!migrate status").await.unwrap();
    // A chat elsewhere is answered after all of that, so the bot has seen it.
    let elsewhere = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    elsewhere.say("help").await.unwrap();
    elsewhere.hear_about("start").await.unwrap();
    let said = chat.messages().len() - before;
    assert_eq!(said, 4, "three commands and one hint: {}", chat.transcript());
}

#[tokio::test]
async fn nonsense_is_answered_with_what_could_be_meant_and_the_bot_goes_on() {
    let scene = Scene::new("nonsense").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say("statsu").await.unwrap();
    chat.hear_about("status").await.unwrap();
    chat.say("start nobody").await.unwrap();
    chat.hear_about("nobody").await.unwrap();
    chat.say("start @:").await.unwrap();
    chat.hear_about("“@:” is not the full name").await.unwrap();
    chat.say(&format!("start {}", "x".repeat(40_000))).await.unwrap();
    let answer = chat.hear_about("start").await.unwrap();
    assert!(answer.body.len() < 4_000, "{}", answer.body);
    chat.say(&"lorem ipsum ".repeat(3_000)).await.unwrap();
    let answer = chat.hear_about("help").await.unwrap();
    assert!(answer.body.len() < 4_000, "{}", answer.body);
    chat.send(RoomMessageEventContent::notice_plain("help")).await.unwrap();
    chat.say("HELP start").await.unwrap();
    chat.hear_about("start @").await.unwrap();
    for command in ["status", "plan", "rooms", "go", "pause", "cancel", "retry", "report"] {
        chat.say(command).await.unwrap();
        chat.hear_about("no migration").await.unwrap();
    }
}

#[tokio::test]
async fn what_was_said_before_the_bot_first_started_is_ignored_and_what_it_missed_is_not() {
    let scene = Scene::new("missed").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say("help").await.unwrap();
    chat.hear_about("start").await.unwrap();
    scene.bot.stop().await.unwrap();
    chat.say("status").await.unwrap();
    scene.bot.start_again().await.unwrap();
    chat.hear_about("no migration").await.unwrap();
    chat.say("help").await.unwrap();
    chat.hear_about("start").await.unwrap();
    let answers = chat.messages().iter().filter(|m| m.body.contains("no migration")).count();
    assert_eq!(answers, 1);
}
