//! Where secrets go.

use ruma::{api::client::account::whoami, server_name};
use serde_json::json;
use url::Url;

use super::{
    fake::{json, ok},
    *,
};

fn reaching(configured: &[&Url]) -> Transport {
    let configured = configured
        .iter()
        .map(|url| (server_name!("configured.example").to_owned(), (*url).clone()))
        .collect();
    let reach = Reach { configured, private_addresses: true, ..Reach::default() };
    Transport::new(clock(), StdRng::seed_from_u64(1), reach).unwrap()
}

#[tokio::test]
async fn no_secret_goes_over_plain_http_but_to_what_the_configuration_names() {
    let fake = Fake::start(|_, _| json(200, &json!({ "user_id": "@alice:example.org" }))).await;
    let transport = reaching(&[]);
    let account = account(&transport, &fake).await;
    let failure = account.send(whoami::v3::Request::new()).await.unwrap_err();
    assert!(failure.to_string().contains("over https alone"), "{failure}");
    let (server, password) = (account.server(), Secret::from("hunter2"));
    let login = transport.login_password(server, bob(), &password, "T".into(), "Tern").await;
    assert!(matches!(login, Err(Failure::Unreachable { fault: Fault::Tls(_), .. })), "{login:?}");
    assert!(fake.calls().is_empty());

    let account = super::account(&reaching(&[fake.url()]), &fake).await;
    account.send(whoami::v3::Request::new()).await.unwrap();
}

#[tokio::test]
async fn a_secret_goes_where_the_first_went_and_an_as_token_stays_there() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let store = Store::open(dir.path(), &dir.path().join("key"), &mut rng).unwrap();
    let (first, other) = (Fake::start(|_, _| ok()).await, Fake::start(|_, _| ok()).await);
    let name = server_name!("moving.example");
    let lead_to = async |transport: &Transport, fake: &Fake| {
        let server = transport.server_at(fake.url()).await.unwrap();
        transport.remember(name, &server);
    };
    let before = transport(&clock());
    before.pin_in(&store).unwrap();
    lead_to(&before, &first).await;
    assert_eq!(before.discover_for_secrets(name).await.unwrap().base_url(), first.url());

    // Another process, for which the name leads elsewhere.
    let transport = transport(&clock());
    transport.pin_in(&store).unwrap();
    lead_to(&transport, &other).await;
    let error = transport.discover_for_secrets(name).await.unwrap_err();
    let DiscoverError::Moved(moved) = &error else { panic!("{error}") };
    assert_eq!((&moved.from, &moved.to), (first.url(), other.url()));
    assert!(error.to_string().contains("under `homeservers`"), "{error}");
    assert_eq!(transport.discover_for_service(name).await.unwrap().base_url(), first.url());
    // What carries no secret may look there.
    assert_eq!(transport.discover(name).await.unwrap().base_url(), other.url());

    drop(first);
    tokio::task::yield_now().await;
    let transport = super::transport(&clock());
    transport.pin_in(&store).unwrap();
    lead_to(&transport, &other).await;
    let error = transport.discover_for_service(name).await.unwrap_err();
    assert!(matches!(error, DiscoverError::Moved(_)), "{error}");

    let configured = [(name.to_owned(), other.url().clone())].into();
    let reach = Reach { configured, private_addresses: true, ..Reach::default() };
    let transport = Transport::new(clock(), StdRng::seed_from_u64(1), reach).unwrap();
    transport.pin_in(&store).unwrap();
    assert_eq!(transport.discover_for_secrets(name).await.unwrap().base_url(), other.url());
}
