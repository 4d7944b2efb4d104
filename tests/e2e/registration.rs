//! Real homeservers accept the registrations that Tern writes, and the one that it shows.

use std::{fs, path::Path};

use lab::{Account, Lab, Options, Service};
use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Scene, TERN};

const EXAMPLE: &str = "registration.example.yaml";

#[tokio::test]
async fn a_homeserver_takes_both_the_example_and_what_is_written() {
    let service = Service::new(Path::new(TERN), "written").unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE);
    let options = Options {
        appservices: vec![example.clone()],
        services: vec![service.clone()],
        ..Options::default()
    };
    let homeserver = Lab::new().unwrap().homeserver(&options).await.unwrap();
    let person = homeserver.account("person").await.unwrap();

    // The example's namespace is another server's, but its own user is this one's.
    let own = whoami(homeserver.url(), &example, "").await;
    assert_eq!(own["user_id"], format!("@tern-service:{}", homeserver.name()));
    let written = homeserver.registration(&service).unwrap();
    let query = format!("?user_id={}", person.user_id());
    let masked = whoami(homeserver.url(), &written, &query).await;
    assert_eq!(masked["user_id"], person.user_id().as_str());
    make_device(&person, &written).await;
}

#[tokio::test]
async fn a_bot_starts_with_the_registrations_that_its_homeservers_know() {
    let scene = Scene::served(json!({})).await;
    let config = fs::read_to_string(scene.bot.config_path()).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    for server in [&scene.pair.old, &scene.pair.new] {
        assert!(config["appservices"][server.name().as_str()]["registration"].is_string());
    }
}

fn as_token(registration: &Path) -> String {
    let registration: Value =
        serde_yaml::from_str(&fs::read_to_string(registration).unwrap()).unwrap();
    registration["as_token"].as_str().unwrap().to_owned()
}

async fn whoami(url: &str, registration: &Path, query: &str) -> Value {
    let url = format!("{url}/_matrix/client/v3/account/whoami{query}");
    let request = reqwest::Client::new().get(url).bearer_auth(as_token(registration));
    request.send().await.unwrap().json().await.unwrap()
}

/// As only an application service may: without a password.
async fn make_device(account: &Account, registration: &Path) {
    let query = format!("?user_id={}", account.user_id());
    let url = format!("{}/_matrix/client/v3/devices/TERN{query}", account.url());
    let request = reqwest::Client::new().request(Method::PUT, url).json(&json!({}));
    let answer = request.bearer_auth(as_token(registration)).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}
