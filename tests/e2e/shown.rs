//! What is shown to whom before it is done: the plan that `go` means, and no names to somebody who
//! may be the wrong person.

use std::time::Duration;

use lab::{Account, Fault, RoomSpec, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    faults::{Broken, broken},
    scene::{Scene, is_in, log_in},
};

/// The bot is limited, as by Synapse's defaults: between the making of a plan and its message is time
/// in which a tap means the plan before.
#[tokio::test]
async fn a_tap_on_a_plan_is_no_go_to_a_newer_one_that_was_not_delivered_yet() {
    let Broken { scene, old, .. } = broken("shown").await;
    scene.private_room("First").await;
    let chats = scene.planned().await;
    let plan = chats.old.messages().into_iter().rev().find(|message| {
        message.sender == *scene.bot.user_id() && message.body.starts_with("The plan")
    });
    let second = scene.private_room("Second").await;
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "Slowly", "retry_after_ms": 2000 });
    let chat = format!("/rooms/{}/send/m.room.encrypted", chats.old.room_id());
    old.add(Rule::on(Method::PUT, &chat, Fault::json(429, &limit)).times(3));
    chats.new.say("plan").await.unwrap();
    chats.new.hear(|message| message.body.starts_with("The plan: 2")).await.unwrap();
    chats.old.react(&plan.unwrap().event_id, "✅").await.unwrap();
    let told = chats.old.hear_about("The plan has changed").await.unwrap();
    assert!(told.body.contains("The plan: 2 rooms"), "{}", told.body);
    assert!(!is_in(&scene.new, &second).await, "nobody said `go` to that");
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &second).await);
}

#[tokio::test]
async fn until_go_the_new_account_reads_counts_and_routes_but_no_names() {
    let scene = Scene::new("nameless").await;
    scene.private_room("Heron lovers").await;
    scene.room(RoomSpec::public("Gull watchers")).await;
    let chats = scene.planned().await;
    for word in ["plan", "rooms", "rooms join", "report", "status"] {
        chats.new.say(word).await.unwrap();
        let answer = match word {
            "plan" => "The plan: 2",
            "report" => "There is no report yet",
            "status" => "The migration from",
            _ => "The plan has",
        };
        chats.new.hear_about(answer).await.unwrap();
    }
    let transcript = chats.new.transcript();
    for name in ["Heron", "Gull", scene.friend.user_id().as_str()] {
        assert!(!transcript.contains(name), "{transcript}");
    }
    chats.old.hear_about("The plan: 2").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.new.hear_about("`forget`").await.unwrap();
    chats.new.say("rooms").await.unwrap();
    chats.new.hear_about("Heron lovers").await.unwrap();
}

/// How many sessions of the bot's an account has.
async fn sessions(account: &Account) -> usize {
    let path = "/_matrix/client/v3/devices";
    let devices = account.send_raw(Method::GET, path, &Value::Null).await.unwrap();
    let devices = devices["devices"].as_array().unwrap().iter();
    devices.filter(|device| device["device_id"].as_str().unwrap().starts_with("TERN")).count()
}

#[tokio::test]
async fn some_time_after_the_end_the_bot_logs_out_and_then_asks_both_again() {
    let settings = json!({ "consent": { "keep": "12s" } });
    let scene = Scene::with_settings("lapse", settings).await;
    scene.private_room("Moved").await;
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("I log my sessions out by myself").await.unwrap();
    chats.new.hear_about("I log my sessions out, and what you both agreed to ends").await.unwrap();
    let patience = Duration::from_secs(60);
    lab::wait::until("the bot has logged out", patience, || async {
        let left = sessions(&scene.old).await + sessions(&scene.new).await;
        Ok((left == 0).then_some(()))
    })
    .await
    .unwrap();
    chats.new.say("plan").await.unwrap();
    chats.new.hear_about("What you agreed to has ended").await.unwrap();
    chats.old.say("plan").await.unwrap();
    chats.old.hear_about("I am asking").await.unwrap();
    chats.new.say(&format!("accept {}", scene.old.user_id())).await.unwrap();
    log_in(&chats.old).await;
    log_in(&chats.new).await;
    chats.old.hear_about("The plan:").await.unwrap();
}
