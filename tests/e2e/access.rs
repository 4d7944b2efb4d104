use serde_json::json;

use crate::scene::{Scene, log_in};

#[tokio::test]
async fn a_message_with_a_password_is_redacted_and_the_session_is_the_accounts_own() {
    let scene = Scene::new("password").await;
    let chats = scene.consented().await;
    let said = chats.old.say(&format!("login password {}", scene.old.password())).await.unwrap();
    chats.old.hear_about("can act as").await.unwrap();
    chats.old.redacted(&said).await.unwrap();
}

#[tokio::test]
async fn a_token_gives_access_too() {
    let scene = Scene::new("token").await;
    let chats = scene.consented().await;
    let session = scene.old.log_in().await.unwrap();
    let said = chats.old.say(&format!("login token {}", session.access_token())).await.unwrap();
    chats.old.hear_about("can act as").await.unwrap();
    chats.old.redacted(&said).await.unwrap();
}

#[tokio::test]
async fn a_token_of_another_account_is_refused_and_left_alone() {
    let scene = Scene::new("foreign").await;
    let other = scene.pair.old.account("foreign-other").await.unwrap();
    let chats = scene.consented().await;
    chats.old.say(&format!("login token {}", other.access_token())).await.unwrap();
    let answer = chats.old.hear_about("belongs to").await.unwrap();
    assert!(answer.body.contains(other.user_id().as_str()), "{}", answer.body);
    assert!(answer.body.contains("did not sign it out"), "{}", answer.body);
    other.joined_rooms().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_bot_goes_on() {
    let scene = Scene::new("wrong").await;
    let chats = scene.consented().await;
    chats.old.say("login password correct horse battery staple").await.unwrap();
    let answer = chats.old.hear_about("did not accept that").await.unwrap();
    assert!(!answer.body.contains("horse"));
    log_in(&chats.old).await;
}

#[tokio::test]
async fn a_secret_in_a_plain_chat_is_not_used() {
    let scene = Scene::new("plain").await;
    let plain = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    plain.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    let new = scene.new.chat_from(scene.bot.user_id()).await.unwrap();
    new.say(&format!("accept {}", scene.old.user_id())).await.unwrap();
    plain.hear_about("agreed").await.unwrap();
    let said = plain.say(&format!("login password {}", scene.old.password())).await.unwrap();
    let answer = plain.hear_about("not encrypted").await.unwrap();
    assert!(answer.body.contains("password"), "{}", answer.body);
    let answer = plain.hear(|_| true).await;
    assert!(
        !answer.is_ok_and(|answer| answer.body.contains("can act as")),
        "the password was not used"
    );
    // Direct chats give both sides the same power, so the bot may redact.
    plain.redacted(&said).await.unwrap();
}

#[tokio::test]
async fn access_before_consent_is_refused() {
    let scene = Scene::new("early").await;
    let chats = scene.chats().await;
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chats.new.hear_about("wants to move to this account").await.unwrap();
    chats.new.say(&format!("login password {}", scene.new.password())).await.unwrap();
    chats.new.hear_about("not agreed yet").await.unwrap();
    let devices = scene
        .new
        .send_raw(reqwest::Method::GET, "/_matrix/client/v3/devices", &json!(null))
        .await
        .unwrap();
    let devices = devices["devices"].as_array().unwrap();
    assert!(
        devices.iter().all(|device| !device["device_id"].as_str().unwrap().starts_with("TERN")),
        "no session was made: {devices:?}"
    );
}

#[tokio::test]
async fn forgetting_logs_the_bots_sessions_out() {
    let scene = Scene::new("forget").await;
    let chats = scene.planned().await;
    chats.old.say("forget").await.unwrap();
    chats.old.hear_about("not possible now").await.unwrap();
    chats.old.say("cancel").await.unwrap();
    chats.old.hear_about("has ended").await.unwrap();
    chats.old.say("forget").await.unwrap();
    chats.old.hear_about("deleted").await.unwrap();
    chats.old.say("report").await.unwrap();
    chats.old.hear_about("no migration").await.unwrap();
    for person in [&scene.old, &scene.new] {
        let devices = person
            .send_raw(reqwest::Method::GET, "/_matrix/client/v3/devices", &json!(null))
            .await
            .unwrap();
        let bots =
            |device: &&serde_json::Value| device["device_id"].as_str().unwrap().starts_with("TERN");
        let devices = devices["devices"].as_array().unwrap();
        assert_eq!(devices.iter().filter(bots).count(), 0, "{devices:?}");
    }
}
