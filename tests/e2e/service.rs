//! The bot as an application service: people give no password, and the bot acts as them all the
//! same, once they have agreed.

use std::{fs, path::Path, time::Duration};

use lab::{
    Account, Bot, BotOptions, Homeserver, Lab, Options, Pair, RoomSpec, Service, served_pair, wait,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Chats, Scene, TERN, is_in, log_in};

/// On which servers the bot is an application service, as far as its configuration says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    Old,
    New,
    Both,
}

/// Takes the registrations out of a configuration that are not to be in it.
fn without(pair: &Pair, on: On) -> Value {
    match on {
        On::Both => json!({}),
        On::Old => json!({ "appservices": { pair.new.name().as_str(): null } }),
        On::New => json!({ "appservices": { pair.old.name().as_str(): null } }),
    }
}

async fn scene(on: On) -> Scene<'static> {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    Scene::with_service(pair, service.id(), Some(&service), without(pair, on)).await
}

/// How many sessions of the bot's an account has.
async fn sessions(account: &Account) -> usize {
    let path = "/_matrix/client/v3/devices";
    let devices = account.send_raw(Method::GET, path, &Value::Null).await.unwrap();
    let devices = devices["devices"].as_array().unwrap().iter();
    devices.filter(|device| device["device_id"].as_str().unwrap().starts_with("TERN")).count()
}

/// Says `go`, and hears the report.
async fn moved(chats: &Chats) {
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
}

async fn rooms(scene: &Scene<'_>) -> [ruma::OwnedRoomId; 2] {
    [scene.private_room("Private").await, scene.room(RoomSpec::public("Public")).await]
}

#[tokio::test]
async fn where_the_bot_is_a_service_of_both_servers_consent_is_all_it_takes() {
    let scene = scene(On::Both).await;
    let rooms = rooms(&scene).await;
    let chats = scene.consented().await;
    let told = chats.new.hear_about("without a password").await.unwrap();
    assert!(told.body.contains("`login none`"), "{}", told.body);
    moved(&chats).await;
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
    assert!(!chats.old.transcript().contains("login password"), "{}", chats.old.transcript());
    assert_eq!((sessions(&scene.old).await, sessions(&scene.new).await), (0, 0));
}

#[tokio::test]
async fn where_it_is_a_service_of_the_old_server_only_the_new_account_logs_in() {
    let scene = scene(On::Old).await;
    let rooms = rooms(&scene).await;
    let chats = scene.consented().await;
    log_in(&chats.new).await;
    moved(&chats).await;
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
    assert_eq!((sessions(&scene.old).await, sessions(&scene.new).await), (0, 1));
}

#[tokio::test]
async fn where_it_is_a_service_of_the_new_server_only_the_old_account_logs_in() {
    let scene = scene(On::New).await;
    let rooms = rooms(&scene).await;
    let chats = scene.consented().await;
    log_in(&chats.old).await;
    moved(&chats).await;
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
    assert_eq!((sessions(&scene.old).await, sessions(&scene.new).await), (1, 0));
}

#[tokio::test]
async fn a_person_may_say_that_the_bot_does_not_act_as_them_and_change_their_mind() {
    let scene = scene(On::Both).await;
    let room = scene.private_room("Private").await;
    let chats = scene.consented().await;
    chats.new.hear_about("The plan:").await.unwrap();
    chats.new.say("login none").await.unwrap();
    chats.new.hear_about("I will not act as this account").await.unwrap();
    chats.new.say("login service").await.unwrap();
    chats.new.hear_about("as a service of").await.unwrap();
    chats.old.hear_about("as a service of").await.unwrap();
    moved(&chats).await;
    assert!(is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn both_accounts_on_one_server_are_moved_as_well() {
    let mut scene = scene(On::Old).await;
    let new_name = scene.new.user_id().localpart().to_owned();
    scene.new = scene.pair.old.person(&new_name).await.unwrap();
    let rooms = rooms(&scene).await;
    let chats = scene.consented().await;
    moved(&chats).await;
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
}

/// Changes the configuration of a bot that does not run.
fn configure<T>(bot: &Bot, change: impl FnOnce(&mut Value) -> T) -> T {
    let mut config = serde_json::from_slice(&fs::read(bot.config_path()).unwrap()).unwrap();
    let changed = change(&mut config);
    fs::write(bot.config_path(), config.to_string()).unwrap();
    changed
}

#[tokio::test]
async fn a_registration_that_is_taken_away_is_told_of_and_one_that_comes_back_is_used() {
    let scene = scene(On::Both).await;
    let room = scene.private_room("Private").await;
    let chats = scene.consented().await;
    chats.old.hear_about("The plan:").await.unwrap();
    scene.bot.stop().await.unwrap();
    let old = scene.pair.old.name().as_str();
    let registration = configure(&scene.bot, |config| {
        config["appservices"].as_object_mut().unwrap().remove(old).unwrap()
    });
    scene.bot.start_again().await.unwrap();
    let told = chats.old.hear_about("no longer lets me act").await.unwrap();
    assert!(told.body.contains("say `login` here"), "{}", told.body);
    let told = chats.new.hear_about("no longer lets me act").await.unwrap();
    assert!(told.body.contains(scene.old.user_id().as_str()), "{}", told.body);
    scene.bot.stop().await.unwrap();
    configure(&scene.bot, |config| config["appservices"][old] = registration);
    scene.bot.start_again().await.unwrap();
    chats.old.hear_about("can act as this account").await.unwrap();
    moved(&chats).await;
    assert!(is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn a_homeserver_that_does_not_know_the_registration_is_told_of_and_login_helps() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let known = pair.new.registration(&service).unwrap();
    let forged = pair.lab.folder("forged").unwrap().join("registration.yaml");
    let mut registration: Value =
        serde_yaml::from_str(&fs::read_to_string(known).unwrap()).unwrap();
    registration["as_token"] = json!("never-seen-before");
    fs::write(&forged, registration.to_string()).unwrap();
    let settings =
        json!({ "appservices": { pair.new.name().as_str(): { "registration": forged } } });
    let scene = Scene::with_service(pair, service.id(), Some(&service), settings).await;
    let room = scene.private_room("Private").await;
    let chats = scene.consented().await;
    chats.new.hear_about("no longer lets me act as this account").await.unwrap();
    log_in(&chats.new).await;
    moved(&chats).await;
    assert!(is_in(&scene.new, &room).await);
}

/// Moves somebody from one server to another, without a password.
async fn moves(bot: &Bot, from: &Homeserver, to: &Homeserver) {
    let old = from.person("old").await.unwrap();
    let new = to.person("new").await.unwrap();
    let friend = from.account("friend").await.unwrap();
    let room = RoomSpec::private("Private").invite(friend.user_id());
    let room = old.create_room(room).await.unwrap();
    friend.join(&room).await.unwrap();
    let chat = old.chat_with(bot.user_id(), false).await.unwrap();
    let other = new.chat_with(bot.user_id(), false).await.unwrap();
    chat.say(&format!("start {}", new.user_id())).await.unwrap();
    other.hear_about("wants to move to this account").await.unwrap();
    other.say(&format!("accept {}", old.user_id())).await.unwrap();
    moved(&Chats { old: chat, new: other }).await;
    assert!(is_in(&new, &room).await);
}

#[tokio::test]
async fn a_bot_that_three_servers_know_moves_people_between_all_of_them_at_once() {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let options = Options { services: vec![service.clone()], ..Options::default() };
    let lab = Lab::new().unwrap();
    let start = || lab.homeserver(&options);
    let (a, b, c) = tokio::try_join!(start(), start(), start()).unwrap();
    let account = a.account("bot").await.unwrap();
    let servers = [&a, &b, &c];
    let options = BotOptions {
        settings: json!({ "access": { "allow": ["@*:*"] } }),
        service: Some(&service),
        ..BotOptions::new(Path::new(TERN), &account, &servers)
    };
    let bot = Bot::start(&lab, options).await.unwrap();
    tokio::join!(moves(&bot, &a, &b), moves(&bot, &b, &c), moves(&bot, &c, &a));
}

#[tokio::test]
async fn homeservers_that_are_stopped_in_the_middle_of_a_run_only_delay_it() {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let options = Options { services: vec![service.clone()], ..Options::default() };
    let pair = Lab::new().unwrap().pair(&options).await.unwrap();
    let sooner = json!({ "timeouts": { "retry_after": "1s" } });
    let scene = Scene::with_service(&pair, "stopped", Some(&service), sooner).await;
    let mut rooms = Vec::new();
    for number in 0..12 {
        rooms.push(scene.private_room(&format!("Private {number}")).await);
    }
    let chats = scene.consented().await;
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    wait::until("the run has begun", Duration::from_secs(30), || async {
        Ok(is_in(&scene.new, &rooms[0]).await.then_some(()))
    })
    .await
    .unwrap();
    for homeserver in [&pair.new, &pair.old] {
        homeserver.stop().await.unwrap();
        homeserver.start_again().await.unwrap();
    }
    let old = chats.old.with_patience(Duration::from_secs(100));
    let report = old.hear_about("`forget`").await.unwrap().body;
    assert!(!report.to_lowercase().contains("failed"), "{report}");
    for room in &rooms {
        assert!(is_in(&scene.new, room).await);
    }
}
