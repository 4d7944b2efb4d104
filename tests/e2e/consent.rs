use lab::wait;
use serde_json::json;

use crate::scene::{Scene, is_in};

#[tokio::test]
async fn the_bot_writes_to_a_new_account_that_never_wrote_to_it() {
    let scene = Scene::new("asked").await;
    let old = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    old.hear_about("I am asking").await.unwrap();
    let new = scene.new.chat_from(scene.bot.user_id()).await.unwrap();
    let question = new.hear_about("wants to move to this account").await.unwrap();
    assert!(question.encrypted, "the bot began the chat encrypted");
    assert!(question.body.contains(scene.old.user_id().as_str()));
    new.say(&format!("accept {}", scene.old.user_id())).await.unwrap();
    old.hear_about("agreed").await.unwrap();
}

#[tokio::test]
async fn a_new_account_that_declines_ends_it() {
    let scene = Scene::new("declined").await;
    let room = scene.private_room("Stays").await;
    let chats = scene.chats().await;
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    let question = chats.new.hear_about("wants to move to this account").await.unwrap();
    chats.new.react(&question.event_id, "❌").await.unwrap();
    chats.old.hear_about("said no").await.unwrap();
    chats.new.hear_about("said no").await.unwrap();
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chats.old.hear_about("it does not want to be asked").await.unwrap();
    chats.old.say("login none").await.unwrap();
    chats.old.hear_about("no migration").await.unwrap();
    assert!(!is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn a_no_and_a_block_outlast_what_anybody_forgets() {
    let scene = Scene::new("lasting").await;
    let chats = scene.chats().await;
    let start = format!("start {}", scene.new.user_id());
    chats.old.say(&start).await.unwrap();
    chats.new.hear_about("wants to move to this account").await.unwrap();
    chats.new.say(&format!("decline {}", scene.old.user_id())).await.unwrap();
    chats.old.hear_about("said no").await.unwrap();
    // What one of the two forgets is forgotten for both.
    chats.old.say("forget").await.unwrap();
    chats.old.hear_about("all that I stored about your migration is deleted").await.unwrap();
    chats.old.say(&start).await.unwrap();
    chats.old.hear_about("it does not want to be asked").await.unwrap();
    chats.new.say("unblock").await.unwrap();
    chats.new.hear_about("may be asked again").await.unwrap();
    chats.old.say(&start).await.unwrap();
    chats.new.hear_about("wants to move to this account").await.unwrap();

    chats.new.say("block").await.unwrap();
    chats.new.hear_about("ask this account nothing more").await.unwrap();
    chats.old.hear_about("said no").await.unwrap();
    chats.new.say("forget").await.unwrap();
    chats.new.hear_about("all that I stored about your migration is deleted").await.unwrap();
    let other = scene.friend.user_id().to_owned();
    chats.new.say(&format!("start {other}")).await.unwrap();
    chats.new.hear_about("I am asking").await.unwrap();
    chats.new.say("cancel").await.unwrap();
    chats.new.hear_about("has ended").await.unwrap();
    chats.old.say(&start).await.unwrap();
    chats.old.hear_about("it does not want to be asked").await.unwrap();
}

#[tokio::test]
async fn a_question_that_nobody_answers_lapses() {
    let settings = json!({ "consent": { "expires": "2s" } });
    let scene = Scene::with_settings("expired", settings).await;
    let chats = scene.chats().await;
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chats.old.hear_about("did not answer in time").await.unwrap();
    chats.new.say(&format!("accept {}", scene.old.user_id())).await.unwrap();
    chats
        .new
        .hear_about("has not asked for this account, or the question has lapsed")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stranger_cannot_accept() {
    let scene = Scene::new("stranger").await;
    let stranger = scene.pair.new.person("stranger-mallory").await.unwrap();
    let chats = scene.chats().await;
    let theirs = stranger.chat_with(scene.bot.user_id(), true).await.unwrap();
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chats.old.hear_about("I am asking").await.unwrap();
    theirs.say(&format!("accept {}", scene.old.user_id())).await.unwrap();
    theirs.hear_about("has not asked for this account").await.unwrap();
    chats.old.say("status").await.unwrap();
    chats.old.hear_about("agree").await.unwrap();
    let said: String = chats.old.messages().into_iter().map(|message| message.body).collect();
    assert!(!said.contains("agreed to the move") && !said.contains("login password"), "{said}");
}

#[tokio::test]
async fn an_account_takes_part_in_one_migration_at_a_time() {
    let scene = Scene::new("second").await;
    let other = scene.pair.new.account("second-other").await.unwrap();
    let chats = scene.consented().await;
    chats.old.say(&format!("start {}", other.user_id())).await.unwrap();
    chats.old.hear_about("in a migration already").await.unwrap();
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chats.old.hear_about("has begun already").await.unwrap();
    chats.new.say(&format!("start {}", other.user_id())).await.unwrap();
    chats.new.hear_about("in a migration already").await.unwrap();
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_told_of_with_the_reason() {
    let scene = Scene::new("nobody").await;
    let chats = scene.chats().await;
    let nobody = format!("@nobody-at-all:{}", scene.pair.new.name());
    chats.old.say(&format!("start {nobody}")).await.unwrap();
    let answer = chats.old.hear_about("no such account").await.unwrap();
    assert!(answer.body.contains(&nobody), "{}", answer.body);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_of_and_how_the_new_account_can_write_instead() {
    let scene = Scene::new("nowhere").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say("start @somebody:does-not-exist.invalid").await.unwrap();
    let chat = chat.with_patience(std::time::Duration::from_secs(120));
    let answer = chat.hear_about("cannot reach does-not-exist.invalid").await.unwrap();
    assert!(answer.body.contains(scene.bot.user_id().as_str()), "{}", answer.body);
    assert!(answer.body.contains("accept"), "{}", answer.body);
}

#[tokio::test]
async fn a_new_account_that_refuses_the_chat_can_still_be_asked_in_its_own() {
    let scene = Scene::new("refused").await;
    let old = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    let invitation = wait::until("the bot invites", std::time::Duration::from_secs(30), || async {
        Ok(scene.new.client().invited_rooms().pop())
    });
    scene.new.leave(invitation.await.unwrap().room_id()).await.unwrap();
    let new = scene.new.chat_with(scene.bot.user_id(), true).await.unwrap();
    new.say(&format!("accept {}", scene.old.user_id())).await.unwrap();
    old.hear_about("agreed").await.unwrap();
}
