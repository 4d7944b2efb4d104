//! The bot as an account that an application service covers.

use std::{io::ErrorKind, net::TcpListener, path::Path};

use lab::{
    Bot, BotOptions, Fault, Homeserver, Lab, Limits, Options, Proxy, Rule, Service, served_pair,
};
use reqwest::Method;
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

/// Moves somebody, in encrypted chats, while the bot is stopped and killed: as one device, which its
/// own identity signed.
async fn moves_people_over_restart_and_kill(scene: &Scene<'_>) {
    let room = scene.private_room("Private").await;
    let old = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    let device = device_keys(scene).await;
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
    assert_eq!(device_keys(scene).await, device);
}

#[tokio::test]
async fn it_moves_people_in_encrypted_chats_over_restart_and_kill_as_one_device() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::as_own_user(pair, &service, json!({})).await;
    moves_people_over_restart_and_kill(&scene).await;
}

#[tokio::test]
async fn where_services_make_no_devices_it_logs_in_and_moves_people_as_well() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let proxy = Proxy::before(&pair.old).await.unwrap();
    let unknown = json!({ "errcode": "M_NOT_FOUND", "error": "There is no such device" });
    proxy.add(Rule::on(Method::PUT, "/devices/", Fault::json(404, &unknown)));
    let through = json!({ "bot": { "homeserver": proxy.url() } });
    let scene = Scene::as_own_user(pair, &service, through).await;
    moves_people_over_restart_and_kill(&scene).await;
    assert_eq!(proxy.seen(&Method::POST, "/login"), 1, "its session is kept");
}

#[tokio::test]
async fn where_services_make_devices_and_may_not_log_in_it_talks_encrypted_over_a_restart() {
    let (lab, homeserver, service) = homeserver_without_logins().await;
    let account = homeserver.own_user(&service, "bot").unwrap();
    let servers = [&homeserver];
    let settings = json!({
        "bot": { "password": null, "appservice": homeserver.name() },
        "access": { "allow": ["@*:*"] },
    });
    let bot = BotOptions {
        settings,
        service: Some(&service),
        ..BotOptions::new(Path::new(TERN), &account, &servers)
    };
    let bot = Bot::start(&lab, bot).await.unwrap();
    let person = homeserver.person("person").await.unwrap();
    let chat = person.chat_with(bot.user_id(), true).await.unwrap();
    for _ in 0..2 {
        chat.say("status").await.unwrap();
        assert!(chat.hear_about("no migration").await.unwrap().encrypted);
        bot.stop().await.unwrap();
        bot.start_again().await.unwrap();
    }
}

#[tokio::test]
async fn what_it_sends_to_itself_goes_past_a_proxy_that_the_environment_names() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let account = pair.old.own_user(&service, "unproxied").unwrap();
    let servers = [&pair.old];
    // By this name the homeserver is excepted; 127.0.0.1, where the bot listens for itself, is not.
    let url = pair.old.url().replace("127.0.0.1", "localhost");
    let settings = json!({
        "bot": { "password": null, "appservice": pair.old.name(), "homeserver": url },
        "homeservers": { pair.old.name().as_str(): url },
        "access": { "allow": ["@*:*"] },
    });
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let environment = ["http_proxy", "HTTP_PROXY", "ALL_PROXY"]
        .map(|name| (name.to_owned(), format!("http://{}", proxy.local_addr().unwrap())))
        .into_iter()
        .chain(["no_proxy", "NO_PROXY"].map(|name| (name.to_owned(), "localhost".to_owned())));
    let options = BotOptions {
        settings,
        service: Some(&service),
        environment: environment.collect(),
        ..BotOptions::new(Path::new(TERN), &account, &servers)
    };
    let bot = Bot::start(&pair.lab, options).await.unwrap();
    let person = pair.old.person("unproxied-person").await.unwrap();
    let chat = person.chat_with(bot.user_id(), true).await.unwrap();
    chat.say("status").await.unwrap();
    chat.hear_about("no migration").await.unwrap();
    let connected = proxy.accept().map(|_| "connected").map_err(|error| error.kind());
    assert_eq!(connected, Err(ErrorKind::WouldBlock));
}

#[tokio::test]
async fn a_bot_that_lost_its_data_signs_its_new_device_with_a_new_identity() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::as_own_user(pair, &service, json!({})).await;
    let before = device_keys(&scene).await;
    scene.bot.stop().await.unwrap();
    std::fs::remove_dir_all(scene.bot.data_dir()).unwrap();
    scene.bot.start_again().await.unwrap();
    let after = device_keys(&scene).await;
    assert_ne!(after[1], before[1], "it has another identity");
    let devices = after[0].as_object().unwrap();
    let new = devices.iter().find(|(id, _)| before[0].get(id).is_none()).unwrap().1;
    let signatures = new["signatures"][scene.bot.user_id().as_str()].as_object().unwrap();
    assert_eq!(signatures.len(), 2, "by itself, and by that identity: {signatures:?}");
}

#[tokio::test]
async fn a_device_that_somebody_removed_is_made_again() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::as_own_user(pair, &service, json!({})).await;
    let device = device_keys(&scene).await;
    let own = pair.old.own_user(&service, "bot").unwrap();
    let id = device[0].as_object().unwrap().keys().next().unwrap();
    let path = format!("/_matrix/client/v3/devices/{id}?user_id={}", own.user_id());
    own.send_raw(Method::DELETE, &path, &json!({})).await.unwrap();
    let chat = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    chat.say("status").await.unwrap();
    chat.hear_about("no migration").await.unwrap();
    assert_eq!(device_keys(&scene).await[0].as_object().unwrap().keys().next(), Some(id));
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

/// As servers are that have no logins but those of OAuth 2.0.
async fn homeserver_without_logins() -> (Lab, Homeserver, Service) {
    let service = Service::new(Path::new(TERN), "tern").unwrap();
    let options = Options { services: vec![service.clone()], ..Options::default() };
    let lab = Lab::new().unwrap();
    let homeserver = lab.homeserver(&options).await.unwrap();
    let path = homeserver.registration(&service).unwrap();
    let registration = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{registration}io.element.msc4190: true\n")).unwrap();
    homeserver.restart_with(&options).await.unwrap();
    (lab, homeserver, service)
}
