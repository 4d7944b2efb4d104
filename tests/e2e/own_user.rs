//! The bot as an application service's own user.

use std::path::Path;

use lab::{Bot, BotOptions, Homeserver, Lab, Limits, Options, Service, served_pair};
use reqwest::Method;
use ruma::UserId;
use serde_json::{Value, json};

use crate::{
    other_clients::nio_chats_with,
    scene::{Scene, TERN, is_in},
};

/// The bot's devices with their keys, as another account sees them.
async fn device_keys(scene: &Scene<'_>) -> Value {
    let bot = scene.bot.user_id().as_str();
    let query = json!({ "device_keys": { bot: [] } });
    let path = "/_matrix/client/v3/keys/query";
    let answer = scene.old.send_raw(Method::POST, path, &query).await.unwrap();
    json!([answer["device_keys"][bot], answer["master_keys"][bot]["keys"]])
}

#[tokio::test]
async fn it_moves_people_in_encrypted_chats_over_restart_and_kill_as_one_device() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::as_own_user(pair, &service, json!({})).await;
    let room = scene.private_room("Private").await;
    let old = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    let device = device_keys(&scene).await;
    assert_eq!(device[0].as_object().unwrap().len(), 1);
    assert!(device[1].is_object(), "its device is signed by its own identity");
    old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    old.hear_about("I am asking").await.unwrap();
    scene.bot.stop().await.unwrap();
    scene.bot.start_again().await.unwrap();
    let new = scene.new.chat_from(scene.bot.user_id()).await.unwrap();
    let question = new.hear_about("wants to move to this account").await.unwrap();
    assert!(question.encrypted, "the bot began the chat encrypted");
    new.react(&question.event_id, "✅").await.unwrap();
    let agreed = old.hear_about("agreed").await.unwrap();
    assert!(agreed.encrypted);
    old.hear_about("The plan:").await.unwrap();
    scene.bot.kill().await.unwrap();
    scene.bot.start_again().await.unwrap();
    old.say("go").await.unwrap();
    let report = old.hear_about("`forget`").await.unwrap();
    assert!(report.encrypted);
    assert!(is_in(&scene.new, &room).await);
    assert_eq!(device_keys(&scene).await, device);
}

#[tokio::test]
async fn an_independent_client_talks_with_it_encrypted_before_and_after_a_kill() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::as_own_user(pair, &service, json!({})).await;
    nio_chats_with(&scene).await;
    scene.bot.kill().await.unwrap();
    scene.bot.start_again().await.unwrap();
    nio_chats_with(&scene).await;
}

/// Lets everybody make one room, and then one an hour.
fn few_rooms(service: &Service) -> Options {
    let limits = json!({ "rc_room_creation": { "per_second": 0.0003, "burst_count": 1 } });
    let Value::Object(limits) = limits else { unreachable!() };
    Options { limits: Limits::Given(limits), services: vec![service.clone()], ..Options::default() }
}

#[tokio::test]
async fn it_writes_first_to_more_people_than_one_may_make_rooms() {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let lab = Lab::new().unwrap();
    let pair = lab.pair(&few_rooms(&service)).await.unwrap();
    let scene = Scene::as_own_user(&pair, &service, json!({})).await;
    for number in 0..3 {
        let old = pair.old.person(&format!("old-{number}")).await.unwrap();
        let new = pair.new.person(&format!("new-{number}")).await.unwrap();
        let chat = old.chat_with(scene.bot.user_id(), true).await.unwrap();
        chat.say(&format!("start {}", new.user_id())).await.unwrap();
        let asked = new.chat_from(scene.bot.user_id()).await.unwrap();
        asked.hear_about("wants to move to this account").await.unwrap();
    }
}

#[tokio::test]
async fn a_homeserver_that_lets_services_make_devices_but_not_log_in_is_named() {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let lab = Lab::new().unwrap();
    let options = Options { services: vec![service.clone()], ..Options::default() };
    let homeserver = lab.homeserver(&options).await.unwrap();
    refuse_logins(&homeserver, &service, &options).await;
    let account = homeserver.own_user(&service, "bot").unwrap();
    let settings = json!({ "bot": { "password": null, "appservice": homeserver.name() } });
    let servers = [&homeserver];
    let bot = BotOptions {
        settings,
        service: Some(&service),
        ..BotOptions::new(Path::new(TERN), &account, &servers)
    };
    let error = Bot::start(&lab, bot).await.unwrap_err();
    let error = format!("{error:#}");
    let bot: &UserId = account.user_id();
    assert!(
        error.contains(&format!("the homeserver of {bot} does not let application")),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_whom_the_homeserver_tells_nothing_is_named() {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let lab = Lab::new().unwrap();
    let options = Options { services: vec![service.clone()], ..Options::default() };
    let homeserver = lab.homeserver(&options).await.unwrap();
    let account = homeserver.own_user(&service, "bot").unwrap();
    let sender = format!("@{}:{}", service.id(), homeserver.name());
    let settings = json!({
        "bot": { "user_id": sender, "password": null, "appservice": homeserver.name() },
    });
    let servers = [&homeserver];
    let bot = BotOptions {
        settings,
        service: Some(&service),
        ..BotOptions::new(Path::new(TERN), &account, &servers)
    };
    let error = format!("{:#}", Bot::start(&lab, bot).await.unwrap_err());
    assert!(error.contains(&format!("the homeserver of {sender} tells it nothing")), "{error}");
}

/// As servers do that have no logins but those of OAuth 2.0.
async fn refuse_logins(homeserver: &Homeserver, service: &Service, options: &Options) {
    let path = homeserver.registration(service).unwrap();
    let registration = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{registration}io.element.msc4190: true\n")).unwrap();
    homeserver.restart_with(options).await.unwrap();
}
