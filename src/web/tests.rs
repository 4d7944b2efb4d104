//! A real listener, asked over HTTP.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use rand::{SeedableRng as _, rngs::StdRng};
use reqwest::{Method, RequestBuilder, StatusCode};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{appservice::Appservice, store::StoreError};

/// Waits for messages, and keeps what they say.
#[derive(Debug, Default)]
struct Listeners {
    heard: Mutex<Vec<String>>,
    is_broken: AtomicBool,
}

impl Audience for Listeners {
    fn awaits(&self, _: &Appservice, envelope: &Envelope<'_>) -> bool {
        envelope.event_type == "m.room.message"
    }

    fn hear<'a>(&'a self, pushed: &'a Pushed<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async {
            if self.is_broken.load(Ordering::Relaxed) {
                return Err(StoreError::encode("table", "key", "broken"));
            }
            let content: Value = pushed.content().unwrap();
            let heard = format!("{}: {}", pushed.by.server(), content["body"].as_str().unwrap());
            self.heard.lock().unwrap().push(heard);
            Ok(())
        })
    }
}

/// A bot that is an application service of two homeservers.
struct Scene {
    dir: TempDir,
    store: Store,
    audience: Arc<Listeners>,
    url: String,
    stop: CancellationToken,
    client: reqwest::Client,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn appservices() -> Appservices {
    let registration = |server: &str, token: &str| {
        let text = format!(
            "{{id: tern, url: null, as_token: as, hs_token: {token}, sender_localpart: tern, \
             namespaces: {{users: [{{exclusive: false, regex: '@.*'}}]}}}}"
        );
        Appservice::parse(server.try_into().unwrap(), &text).unwrap()
    };
    [registration("old.example", "one"), registration("new.example", "other")].into_iter().collect()
}

impl Scene {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("data");
        let mut rng = StdRng::seed_from_u64(1);
        let store = Store::open(&path, &path.join("key"), &mut rng).unwrap();
        let audience = Arc::<Listeners>::default();
        let (url, stop) = listen(&store, audience.clone()).await;
        Self { dir, store, audience, url, stop, client: reqwest::Client::new() }
    }

    /// The same store and audience behind a new listener, as after a restart.
    async fn restart(&mut self) {
        self.stop.cancel();
        (self.url, self.stop) = listen(&self.store, self.audience.clone()).await;
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    fn transaction(&self, id: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let path = format!("/_matrix/app/v1/transactions/{id}");
        self.request(Method::PUT, &path).bearer_auth("one").body(body)
    }

    fn heard(&self) -> Vec<String> {
        self.audience.heard.lock().unwrap().clone()
    }
}

async fn listen(store: &Store, audience: Arc<dyn Audience>) -> (String, CancellationToken) {
    let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let listener =
        Listener::for_homeservers(address, &appservices(), store, audience).await.unwrap();
    let url = format!("http://{}", listener.listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(listener.serve(stop.clone()));
    (url, stop)
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn refusal(request: RequestBuilder) -> (u16, String) {
    let (status, body) = answer(request).await;
    assert!(body["error"].is_string(), "{body}");
    (status.as_u16(), body["errcode"].as_str().unwrap().to_owned())
}

async fn taken(request: RequestBuilder) {
    assert_eq!(answer(request).await, (StatusCode::OK, json!({})));
}

fn event(event_type: &str, body: &str) -> Value {
    json!({
        "type": event_type, "room_id": "!room:old.example", "sender": "@someone:old.example",
        "event_id": "$event", "origin_server_ts": 1, "content": { "body": body },
    })
}

fn events(events: &[Value]) -> String {
    json!({ "events": events }).to_string()
}

fn message(body: &str) -> String {
    events(&[event("m.room.message", body)])
}

#[tokio::test]
async fn only_who_shows_a_homeservers_token_in_the_header_is_let_in() {
    let scene = Scene::new().await;
    for (method, path) in [
        (Method::PUT, "/_matrix/app/v1/transactions/1"),
        (Method::POST, "/_matrix/app/v1/ping"),
        (Method::GET, "/_matrix/app/v1/users/@someone:old.example"),
        (Method::GET, "/_matrix/app/v1/rooms/%23room:old.example"),
    ] {
        let request = |query: &str| {
            scene.request(method.clone(), &format!("{path}{query}")).body(message("let me in"))
        };
        let missing = (401, "M_MISSING_TOKEN".to_owned());
        let forbidden = (403, "M_FORBIDDEN".to_owned());
        assert_eq!(refusal(request("")).await, missing);
        assert_eq!(refusal(request("?access_token=one")).await, missing);
        assert_eq!(refusal(request("").basic_auth("one", Some("one"))).await, missing);
        for token in ["two", "on", "onee", "ONE", "as"] {
            assert_eq!(refusal(request("").bearer_auth(token)).await, forbidden, "{token}");
        }
        assert_eq!(refusal(request("?access_token=other").bearer_auth("one")).await, forbidden);
    }
    assert_eq!(scene.heard(), [""; 0]);
    taken(scene.transaction("1", message("let me in"))).await;
    let both = "/_matrix/app/v1/transactions/2?access_token=one";
    taken(scene.request(Method::PUT, both).bearer_auth("one").body(message("and me"))).await;
    assert_eq!(scene.heard(), ["old.example: let me in", "old.example: and me"]);
}

#[tokio::test]
async fn homeservers_are_told_apart_by_their_tokens() {
    let scene = Scene::new().await;
    taken(scene.transaction("1", message("from the old one"))).await;
    let path = "/_matrix/app/v1/transactions/1";
    let other = scene.request(Method::PUT, path).bearer_auth("other");
    taken(other.body(message("from the new one"))).await;
    assert_eq!(scene.heard(), ["old.example: from the old one", "new.example: from the new one"]);
}

#[tokio::test]
async fn there_are_no_users_and_no_rooms_and_a_ping_is_answered() {
    let scene = Scene::new().await;
    let ask = |method, path: &str| scene.request(method, path).bearer_auth("one");
    let nothing = (404, "M_NOT_FOUND".to_owned());
    for path in ["users/@someone:old.example", "rooms/%23room:old.example"] {
        let path = format!("/_matrix/app/v1/{path}");
        assert_eq!(refusal(ask(Method::GET, &path)).await, nothing);
    }
    taken(ask(Method::POST, "/_matrix/app/v1/ping").json(&json!({ "transaction_id": "x" }))).await;
}

#[tokio::test]
async fn what_is_not_there_is_unrecognized() {
    let scene = Scene::new().await;
    for path in ["/", "/_matrix/app/v1/thirdparty/protocol/x", "/transactions/1", "/metrics"] {
        let unrecognized = (404, "M_UNRECOGNIZED".to_owned());
        assert_eq!(refusal(scene.request(Method::GET, path)).await, unrecognized, "{path}");
    }
    let post = scene.request(Method::POST, "/_matrix/app/v1/transactions/1").bearer_auth("one");
    assert_eq!(refusal(post).await, (405, "M_UNRECOGNIZED".to_owned()));
}

#[tokio::test]
async fn a_transaction_that_is_none_is_refused_and_a_malformed_event_costs_itself_only() {
    let scene = Scene::new().await;
    for body in ["", "{", "\u{feff}{}", "not json", "{\"events\":[{\"type\":}]}"] {
        let refused = refusal(scene.transaction("1", body)).await;
        assert_eq!(refused, (400, "M_NOT_JSON".to_owned()), "{body}");
    }
    for body in ["{}", "[]", "7", "{\"events\":{}}", "{\"events\":null}"] {
        let refused = refusal(scene.transaction("1", body)).await;
        assert_eq!(refused, (400, "M_BAD_JSON".to_owned()), "{body}");
    }
    let mut no_content = event("m.room.message", "");
    no_content.as_object_mut().unwrap().remove("content");
    let mut no_room = event("m.room.message", "");
    no_room["room_id"] = json!("room");
    let mixed = [
        json!(7),
        json!(null),
        json!({}),
        json!({ "type": 7 }),
        no_content,
        no_room,
        event("org.example.unheard_of", ""),
        event("m.room.message", "well"),
    ];
    taken(scene.transaction("1", events(&mixed))).await;
    assert_eq!(scene.heard(), ["old.example: well"]);
}

#[tokio::test]
async fn a_repeated_transaction_is_acknowledged_without_effect_also_after_a_restart() {
    let mut scene = Scene::new().await;
    taken(scene.transaction("1", message("first"))).await;
    taken(scene.transaction("1", message("first"))).await;
    scene.restart().await;
    taken(scene.transaction("1", message("first"))).await;
    // Out of order, which no homeserver should do, loses nothing.
    taken(scene.transaction("3", message("third"))).await;
    taken(scene.transaction("2", message("second"))).await;
    taken(scene.transaction("3", message("third"))).await;
    assert_eq!(scene.heard(), ["old.example: first", "old.example: third", "old.example: second"]);
}

#[tokio::test]
async fn two_of_the_same_at_a_time_have_one_effect() {
    let scene = Scene::new().await;
    let same = || taken(scene.transaction("1", message("once")));
    tokio::join!(same(), same(), same(), same());
    assert_eq!(scene.heard(), ["old.example: once"]);
}

#[tokio::test]
async fn only_the_last_transactions_are_remembered() {
    let scene = Scene::new().await;
    for id in 0..100 {
        taken(scene.transaction(&id.to_string(), message("again"))).await;
    }
    let ids = scene.store.table::<Vec<String>>("transactions").get("old.example").unwrap().unwrap();
    assert_eq!(ids.len(), 32);
    assert_eq!(ids.last().unwrap(), "99");
    let long = "1".repeat(256);
    let refused = refusal(scene.transaction(&long, message("again"))).await;
    assert_eq!(refused, (400, "M_INVALID_PARAM".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_acknowledged_and_heard_when_it_comes_again() {
    let scene = Scene::new().await;
    scene.audience.is_broken.store(true, Ordering::Relaxed);
    let refused = refusal(scene.transaction("1", message("important"))).await;
    assert_eq!(refused, (500, "M_UNKNOWN".to_owned()));
    scene.audience.is_broken.store(false, Ordering::Relaxed);
    taken(scene.transaction("1", message("important"))).await;
    assert_eq!(scene.heard(), ["old.example: important"]);
}

#[tokio::test]
async fn nothing_is_kept_of_what_nobody_waits_for() {
    let scene = Scene::new().await;
    taken(scene.transaction("1", events(&[event("m.room.member", "tern_private_words")]))).await;
    assert_eq!(scene.heard(), [""; 0]);
    assert_eq!(scene.store.table::<Value>("transactions").iter().count(), 0);
    let sled = scene.dir.path().join("data/sled/db");
    let bytes = std::fs::read(sled).unwrap();
    assert!(!bytes.windows(18).any(|window| window == b"tern_private_words"));
}

#[tokio::test]
async fn ten_megabytes_are_taken_and_forty_are_not() {
    let scene = Scene::new().await;
    let long = "x".repeat(10 << 20);
    let body = events(&[event("org.example.long", &long), event("m.room.message", "after it")]);
    taken(scene.transaction("1", body)).await;
    assert_eq!(scene.heard(), ["old.example: after it"]);
    // By hand: a client that is still sending may not get to read the answer.
    let mut connection =
        TcpStream::connect(scene.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "PUT /_matrix/app/v1/transactions/2 HTTP/1.1\r\nHost: tern\r\n\
                Connection: close\r\nAuthorization: Bearer one\r\nContent-Length: 40000000\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("M_TOO_LARGE"), "{answer}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_key() {
    let scene = Scene::new().await;
    let address = scene.url.strip_prefix("http://").unwrap().parse().unwrap();
    let audience = Arc::new(Nobody);
    let error = Listener::for_homeservers(address, &appservices(), &scene.store, audience)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("web.listen: cannot listen on {address}"));
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let scene = Scene::new().await;
    taken(scene.transaction("1", message("still here"))).await;
    scene.stop.cancel();
    let gone = async {
        while scene.transaction("2", message("gone")).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONGEST_END, gone).await.unwrap();
}

#[tokio::test]
async fn health_tells_whether_the_bot_answers_and_metrics_how_much_is_done() {
    let health = Health::default();
    let counted = crate::measure::Counted::begin().unwrap();
    let migrations = || vec![("running", 2), ("finished", 0)];
    let observation = Observation::new(health.clone(), counted, migrations);
    let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let listener = Listener::for_admins(address, observation).await.unwrap();
    let url = format!("http://{}", listener.listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(listener.serve(stop.clone()));
    let get = async |path| reqwest::get(format!("{url}{path}")).await.unwrap();

    assert_eq!(get("/health").await.status(), 503);
    health.set_ready();
    assert_eq!(get("/health").await.status(), 200);
    health.set_away();
    assert_eq!(get("/health").await.status(), 503);
    let metrics = get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let metrics = metrics.text().await.unwrap();
    for line in ["tern_migrations{phase=\"running\"} 2", "tern_migrations{phase=\"finished\"} 0"] {
        assert!(metrics.lines().any(|other| other == line), "{metrics}");
    }
    assert_eq!(get("/_matrix/app/v1/transactions/1").await.status(), 404);
    stop.cancel();
}
