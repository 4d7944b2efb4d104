use std::future::pending;

use futures_util::future::BoxFuture;
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::exports::http;
use tempfile::TempDir;

use super::*;
use crate::{
    access::Opened,
    clock::{Clock as _, HeldClock},
    homeserver::Carrier,
    secret::ExposeSecret as _,
};

/// Homeservers that let sessions go, or not, by their names.
#[derive(Debug, Default)]
struct Servers {
    /// Which tokens were to be logged out, in order.
    seen: Mutex<Vec<String>>,
    heard: Notify,
}

impl Servers {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    async fn has_seen(&self, token: &str) {
        loop {
            let heard = self.heard.notified();
            if self.seen().iter().any(|seen| seen == token) {
                return;
            }
            heard.await;
        }
    }
}

impl Carrier for Servers {
    fn carry(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, Failure>> {
        Box::pin(async move {
            let answer = |status, body: &str| {
                Ok(http::Response::builder().status(status).body(body.into()).unwrap())
            };
            if request.uri().path().ends_with("/versions") {
                return answer(200, r#"{ "versions": ["v1.11"] }"#);
            }
            let token = request.headers()["authorization"].to_str().unwrap();
            let token = token.trim_start_matches("Bearer ").to_owned();
            self.seen.lock().unwrap().push(token);
            self.heard.notify_waiters();
            match request.uri().host().unwrap() {
                "limits.example" => {
                    answer(429, r#"{ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 3600000 }"#)
                }
                "hangs.example" => pending().await,
                _ => answer(200, "{}"),
            }
        })
    }
}

struct Scene {
    _dir: TempDir,
    store: Store,
    clock: Arc<HeldClock>,
    servers: Arc<Servers>,
}

impl Scene {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("data");
        let store = Store::open(&path, &path.join("key"), &mut StdRng::seed_from_u64(1)).unwrap();
        let clock = HeldClock::new(Timestamp::from_second(1_000_000).unwrap());
        Self { _dir: dir, store, clock, servers: Arc::default() }
    }

    /// A process.
    fn logouts(&self) -> Logouts {
        let rng = StdRng::seed_from_u64(1);
        let (servers, clock) = (self.servers.clone(), self.clock.clone());
        let transport = Transport::carried(servers, clock.clone(), rng, BTreeMap::new());
        let devices = Arc::new(Devices::new(self.store.clone()));
        Logouts::new(self.store.clone(), transport, devices, clock)
    }

    async fn list(&self, logouts: &Logouts, host: &str, token: &str) -> LogoutId {
        let mut batch = Batch::new();
        let id = logouts
            .add(&mut batch, &session(host, token), "00000000000000000001/session/old")
            .unwrap();
        self.store.commit(batch).await.unwrap();
        logouts.look();
        id
    }

    /// Lets time pass until nothing is on the list any more, but none while a try goes on.
    async fn until_empty(&self, logouts: &Logouts) {
        let mut ended = logouts.0.ended.subscribe();
        while logouts.0.table.iter().count() > 0 {
            tokio::select! {
                left = self.clock.asleep(1) => match left > TRY_FOR {
                    true => self.clock.advance(left),
                    false => tokio::task::yield_now().await,
                },
                _ = ended.changed() => {}
            }
        }
    }
}

fn session(host: &str, token: &str) -> Session {
    Session {
        base_url: format!("https://{host}").parse().unwrap(),
        device_id: None,
        made_by_bot: true,
        token: Secret::from(token),
    }
}

#[tokio::test]
async fn a_server_that_denies_for_ever_holds_up_nobody_and_is_given_up() {
    let scene = Scene::new();
    let logouts = scene.logouts();
    logouts.begin();
    for number in 0..10 {
        scene.list(&logouts, "limits.example", &format!("denied {number}")).await;
    }
    let last = scene.list(&logouts, "good.example", "let go").await;
    assert_eq!(logouts.left_after(vec![last], TRY_FOR).await.unwrap(), []);
    // Each is asked for after an hour, and after a week no more.
    scene.until_empty(&logouts).await;
    let days = scene.clock.now().duration_since(Timestamp::from_second(1_000_000).unwrap());
    assert!(days < GIVE_UP_AFTER * 2, "{days:?}");
    let tries = scene.servers.seen().iter().filter(|seen| *seen == "denied 3").count();
    assert!((50..=171).contains(&tries), "{tries}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_up_nobody_and_each_try_ends() {
    let scene = Scene::new();
    let logouts = scene.logouts();
    logouts.begin();
    for number in 0..10 {
        scene.list(&logouts, "hangs.example", &format!("held {number}")).await;
    }
    scene.servers.has_seen("held 0").await;
    scene.servers.has_seen("held 1").await;
    let last = scene.list(&logouts, "good.example", "let go").await;
    assert_eq!(logouts.left_after(vec![last], TRY_FOR).await.unwrap(), []);
    let mut seen = scene.servers.seen();
    seen.sort();
    assert_eq!(seen, ["held 0", "held 1", "let go"]);
    // Those at which a try took too long make room for others.
    scene.clock.asleep(2).await;
    scene.clock.advance(TRY_FOR);
    scene.servers.has_seen("held 3").await;
}

#[tokio::test]
async fn stopping_waits_for_no_server_and_the_next_process_goes_on() {
    let scene = Scene::new();
    let logouts = scene.logouts();
    logouts.begin();
    scene.list(&logouts, "hangs.example", "held").await;
    scene.servers.has_seen("held").await;
    // No time passes.
    logouts.stop().await;
    drop(logouts);
    let next = scene.logouts();
    next.begin();
    while scene.servers.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.servers.seen(), ["held", "held"]);
}

#[tokio::test]
async fn a_session_that_was_opened_and_not_kept_is_ended_unless_a_person_gave_it() {
    let scene = Scene::new();
    let logouts = scene.logouts();
    for (made_by_bot, token) in [(false, "pasted"), (true, "made")] {
        let session = Session { made_by_bot, ..session("good.example", token) };
        let device = "00000000000000000001/session/old".to_owned();
        drop(Opened { session: Some(session), device, logouts: logouts.clone() });
    }
    // Also where the process ends at once.
    logouts.stop().await;
    let listed: Vec<_> = logouts.0.table.iter().map(|record| record.unwrap().0).collect();
    assert_eq!(listed.len(), 1);
    let token = scene.store.secret(&format!("logout/{}", listed[0])).unwrap().unwrap();
    assert_eq!(token.expose_secret(), "made");
    logouts.begin();
    scene.servers.has_seen("made").await;
    assert_eq!(scene.servers.seen(), ["made"]);
}

#[test]
fn a_logout_is_stored_in_this_form_and_names_nobody() {
    let logout = Logout {
        base_url: "https://a.example".parse().unwrap(),
        device: "00000000000000000001/session/old".to_owned(),
        since: Timestamp::from_second(1_000_000).unwrap(),
    };
    insta::assert_json_snapshot!(logout, @r#"
    {
      "base_url": "https://a.example/",
      "device": "00000000000000000001/session/old",
      "since": "1970-01-12T13:46:40Z"
    }
    "#);
}
