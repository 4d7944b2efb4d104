//! `tern check`, against real homeservers that know the bot as an application service.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
};

use lab::{Fault, Pair, Proxy, Rule, Service, served_pair};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::scene::{Scene, TERN};

/// A bot that is registered on the old server, with its own copy of the registration.
struct Registered {
    folder: tempfile::TempDir,
    pair: &'static Pair,
    service: Service,
    registration: String,
}

impl Registered {
    async fn new() -> Self {
        let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
        let registration = fs::read_to_string(pair.old.registration(&service).unwrap()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), pair, service, registration }
    }

    /// Whether `tern check` is content, and what it says, when the bot reads `registration` and
    /// listens on `listen`.
    async fn check(&self, registration: &str, listen: SocketAddr) -> (bool, String) {
        let old = &self.pair.old;
        let bot = json!({ "user_id": format!("@tern:{}", old.name()), "password": "unused" });
        self.check_as(&bot, registration, listen).await
    }

    /// The same for any bot.
    async fn check_as(
        &self,
        bot: &Value,
        registration: &str,
        listen: SocketAddr,
    ) -> (bool, String) {
        self.check_at(self.pair.old.url(), bot, registration, listen).await
    }

    /// The same where the homeserver is reached at `url`.
    async fn check_at(
        &self,
        url: &str,
        bot: &Value,
        registration: &str,
        listen: SocketAddr,
    ) -> (bool, String) {
        let path = self.folder.path().join("registration.yaml");
        fs::write(&path, registration).unwrap();
        let old = &self.pair.old;
        let config = json!({
            "bot": bot,
            "homeservers": { old.name().as_str(): url },
            "appservices": { old.name().as_str(): { "registration": path } },
            "web": { "listen": listen },
            "storage": { "path": self.folder.path().join("data") },
        });
        run_check(&self.folder.path().join("config.yaml"), &config.to_string()).await
    }

    /// The one thing that `tern check` says is wrong when `from` is `to` in the bot's registration.
    async fn wrong_with(&self, from: &str, to: &str) -> String {
        assert!(self.registration.contains(from), "{}", self.registration);
        let registration = self.registration.replace(from, to);
        one_wrong(self.check(&registration, self.service.listen()).await)
    }

    fn value(&self, key: &str) -> &str {
        let value = self.registration.lines().find_map(|line| line.strip_prefix(key));
        value.unwrap().trim()
    }
}

async fn run_check(path: &Path, config: &str) -> (bool, String) {
    fs::write(path, config).unwrap();
    let output = Command::new(TERN).arg("--config").arg(path).arg("check").output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

fn one_wrong((well, said): (bool, String)) -> String {
    let wrong: Vec<_> = said.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert!(!well && wrong.len() == 1, "{said}");
    wrong[0].to_owned()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn all_is_well_with_a_registration_that_both_sides_have() {
    let registered = Registered::new().await;
    let listen = registered.service.listen();
    let (well, said) = registered.check(&registered.registration, listen).await;
    assert!(well, "{said}");
    let sender = format!("knows it as @{}:", registered.service.id());
    assert!(said.contains(&sender), "{said}");
    assert!(said.contains(&format!("reaches Tern at http://{listen}/ in ")), "{said}");
    assert!(said.contains(&format!("{listen} can be listened on")), "{said}");
    for secret in ["as_token: ", "hs_token: "] {
        assert!(!said.contains(registered.value(secret)), "{said}");
    }
}

#[tokio::test]
async fn a_bot_that_runs_is_checked_through_its_own_listener() {
    let scene = Scene::served(json!({})).await;
    let config = fs::read_to_string(scene.bot.config_path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (well, said) = run_check(&folder.path().join("config.yaml"), &config).await;
    assert!(well, "{said}");
    assert!(said.contains("already, which should be Tern"), "{said}");
    assert_eq!(said.matches("reaches Tern at").count(), 2, "{said}");
}

#[tokio::test]
async fn a_homeserver_that_does_not_know_the_token_is_named() {
    let registered = Registered::new().await;
    let wrong = registered.wrong_with(registered.value("as_token:"), "another").await;
    assert!(wrong.contains("does not know its as_token"), "{wrong}");
    assert!(wrong.contains(registered.pair.old.url()), "{wrong}");
}

#[tokio::test]
async fn a_homeserver_that_shows_another_token_is_named() {
    let registered = Registered::new().await;
    let wrong = registered.wrong_with(registered.value("hs_token:"), "another").await;
    assert!(wrong.contains("shows another hs_token"), "{wrong}");
}

#[tokio::test]
async fn a_homeserver_that_cannot_reach_the_bot_is_named_with_both_addresses() {
    let registered = Registered::new().await;
    let listen = free_address();
    let wrong = one_wrong(registered.check(&registered.registration, listen).await);
    assert!(
        wrong.contains(&format!("cannot reach Tern at http://{}/", registered.service.listen()))
    );
    assert!(wrong.contains(&format!("Tern listens on {listen} (web.listen)")), "{wrong}");
}

#[tokio::test]
async fn something_else_in_the_place_of_the_bot_is_named() {
    let registered = Registered::new().await;
    let listener = tokio::net::TcpListener::bind(registered.service.listen()).await.unwrap();
    let elsewhere = axum::Router::new();
    let _serving = tokio::spawn(async { axum::serve(listener, elsewhere).await });
    let wrong = one_wrong(registered.check(&registered.registration, free_address()).await);
    assert!(wrong.contains("reaches something else than Tern"), "{wrong}");
}

#[tokio::test]
async fn limits_that_are_left_on_are_told() {
    let registered = Registered::new().await;
    let wrong = registered.wrong_with("rate_limited: false", "rate_limited: true").await;
    assert!(wrong.contains("rate_limited is not false"), "{wrong}");
}

#[tokio::test]
async fn a_namespace_that_covers_nobody_is_told() {
    let registered = Registered::new().await;
    let server = registered.pair.old.name().as_str();
    let wrong = registered.wrong_with(&format!(":{server}$"), ":example.org$").await;
    assert!(wrong.contains(&format!("covers no account of {server}")), "{wrong}");
}

#[tokio::test]
async fn what_is_called_otherwise_on_the_homeserver_is_told() {
    let registered = Registered::new().await;
    let id = registered.service.id();
    let wrong = registered.wrong_with(&format!("id: {id}\n"), "id: other\n").await;
    assert!(wrong.contains("calls it otherwise than \"other\""), "{wrong}");
    let sender = format!("sender_localpart: {id}\n");
    let wrong = registered.wrong_with(&sender, "sender_localpart: other\n").await;
    assert!(wrong.contains(&format!("takes its as_token for that of @{id}:")), "{wrong}");
}

#[tokio::test]
async fn what_would_keep_the_bot_from_being_its_own_user_is_told() {
    let registered = Registered::new().await;
    let server = registered.pair.old.name();
    let bot = |name: &str| {
        let user_id = format!("@{}{name}:{server}", registered.service.id());
        json!({ "user_id": user_id, "appservice": server })
    };
    let listen = registered.service.listen();
    let (well, said) = registered.check_as(&bot("-bot"), &registered.registration, listen).await;
    assert!(well && said.contains("can have a device"), "{said}");
    let account = registered.pair.old.own_user(&registered.service, "bot").unwrap();
    let path = format!("/_matrix/client/v3/devices?user_id={}", account.user_id());
    let devices = account.send_raw(Method::GET, &path, &Value::Null).await.unwrap();
    assert_eq!(devices["devices"], json!([]), "it leaves no device behind");
    let sender = registered.check_as(&bot(""), &registered.registration, listen).await;
    let wrong = one_wrong(sender);
    assert!(wrong.contains("tells it nothing of what happens"), "{wrong}");
}

#[tokio::test]
async fn a_homeserver_that_gives_the_bot_no_device_is_told() {
    let registered = Registered::new().await;
    let proxy = Proxy::before(&registered.pair.old).await.unwrap();
    let no = |status, code: &str| Fault::json(status, &json!({ "errcode": code, "error": "No" }));
    proxy.add(Rule::on(Method::PUT, "/devices/", no(404, "M_NOT_FOUND")));
    proxy.add(Rule::on(Method::POST, "/login", no(400, "M_APPSERVICE_LOGIN_UNSUPPORTED")));
    let server = registered.pair.old.name();
    let user_id = format!("@{}-bot:{server}", registered.service.id());
    let bot = json!({ "user_id": user_id, "appservice": server });
    let listen = registered.service.listen();
    let wrong = registered.check_at(&proxy.url(), &bot, &registered.registration, listen).await;
    let wrong = one_wrong(wrong);
    assert!(wrong.contains("neither make devices nor log in"), "{wrong}");
}
