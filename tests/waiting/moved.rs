//! Secrets go where the first ones went, whatever a server name leads to later.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use lab::sim::{Rates, Simulation};
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{exports::http, user_id};
use serde_json::json;
use tern::{
    access::{Login, LoginError},
    appservice::Appservices,
    clock::HeldClock,
    homeserver::{Carrier, DiscoverError, Failure, Transport},
    migration::{Migrations, Refusal, Settings},
    secret::Secret,
    store::Store,
};

use crate::{
    at,
    life::{PASSWORD, Pair, said},
};

/// Homeservers that are found by well-known files, which may change.
#[derive(Debug)]
struct Found {
    simulation: Simulation,
    moved: AtomicBool,
    /// The hosts that passwords were sent to.
    logins: Mutex<Vec<String>>,
}

impl Carrier for Found {
    fn carry(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, Failure>> {
        Box::pin(async move {
            let host = request.uri().host().unwrap().to_owned();
            let path = request.uri().path_and_query().unwrap().as_str().to_owned();
            assert_eq!(request.uri().scheme_str(), Some("https"));
            if path == "/.well-known/matrix/client" {
                let place = if self.moved.load(Ordering::SeqCst) { "new" } else { "first" };
                let body =
                    json!({ "m.homeserver": { "base_url": format!("https://{place}.{host}") } });
                return Ok(http::Response::new(body.to_string().into_bytes()));
            }
            if request.method() == http::Method::POST && path.ends_with("/login") {
                self.logins.lock().unwrap().push(host.clone());
            }
            let (mut parts, body) = request.into_parts();
            let name = host.split_once('.').unwrap().1;
            parts.uri = format!("https://simulated/{name}{path}").parse().unwrap();
            let request = http::Request::from_parts(parts, body);
            let answer = self.simulation.answer(&request, Duration::from_secs(1_780_000_000));
            Ok(http::Response::builder().status(answer.status).body(answer.body).unwrap())
        })
    }
}

fn open(found: &Arc<Found>, clock: &Arc<HeldClock>, folder: &Path) -> Migrations {
    let mut rng = StdRng::seed_from_u64(1);
    let store = Store::open(folder, &folder.join("key"), &mut rng).unwrap();
    let transport = Transport::carried(found.clone(), clock.clone(), rng, [].into());
    transport.pin_in(&store).unwrap();
    let day = Duration::from_secs(86_400);
    let settings = Settings { consent_expires: day, quiet_after: 365 * day };
    let bot = user_id!("@tern:old.example").to_owned();
    let (services, clock) = (Appservices::default(), clock.clone());
    Migrations::open(bot, settings, store, transport, services, clock).unwrap()
}

async fn consent(migrations: &Migrations, pair: &Pair) {
    migrations.start(&said("start", &pair.old), &pair.new).await.unwrap();
    migrations.accept(&said("accept", &pair.new), &pair.old).await.unwrap();
}

async fn login(migrations: &Migrations, word: &str, pair: &Pair) -> Result<(), Refusal> {
    let password = Login::Password(Secret::from(PASSWORD.to_owned()));
    migrations.login(&said(word, &pair.old), password).await
}

fn says_that_it_moved(result: &Result<(), Refusal>) -> bool {
    matches!(
        result,
        Err(Refusal::Login(LoginError::Discovery(DiscoverError::Moved(moved))))
            if moved.from.host_str() == Some("first.old.example")
                && moved.to.host_str() == Some("new.old.example")
    )
}

#[tokio::test]
async fn a_password_goes_elsewhere_than_before_only_when_it_is_said_again() {
    let people = ["mara", "nora", "vera"].map(Pair::of);
    let [mara, nora, vera] = &people;
    let simulation = Simulation::new(Rates::open());
    for pair in &people {
        simulation.register(pair.old.as_str(), PASSWORD);
        simulation.register(pair.new.as_str(), PASSWORD);
    }
    let (moved, logins) = (AtomicBool::new(false), Mutex::default());
    let found = Arc::new(Found { simulation, moved, logins });
    let logins = || std::mem::take(&mut *found.logins.lock().unwrap());
    let clock = HeldClock::new(at(Duration::ZERO));
    let folder = tempfile::tempdir().unwrap();
    {
        let migrations = open(&found, &clock, folder.path());
        consent(&migrations, mara).await;
        login(&migrations, "login", mara).await.unwrap();
        assert_eq!(logins(), ["first.old.example"]);
        migrations.suspend_all().await;
    }
    found.moved.store(true, Ordering::SeqCst);
    let migrations = open(&found, &clock, folder.path());
    consent(&migrations, nora).await;
    let refused = login(&migrations, "login", nora).await;
    assert!(says_that_it_moved(&refused), "{refused:?}");
    let refused = login(&migrations, "login", nora).await;
    assert!(says_that_it_moved(&refused), "the same message is no second word: {refused:?}");
    assert!(logins().is_empty());
    login(&migrations, "login again", nora).await.unwrap();
    assert_eq!(logins(), ["new.old.example"]);
    // One person's agreement is no other's.
    consent(&migrations, vera).await;
    let refused = login(&migrations, "login", vera).await;
    assert!(says_that_it_moved(&refused), "{refused:?}");
    assert!(logins().is_empty());
}
