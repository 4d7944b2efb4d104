use axum::{
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use ruma::{OwnedServerName, server_name};
use serde_json::json;
use url::Url;

use super::{
    super::{clients::Clients, discovery::WellKnown},
    fake::json,
    *,
};

async fn well_known(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> WellKnown {
    let fake = Fake::start(move |_, _| answer()).await;
    transport(&clock()).well_known(fake.url()).await
}

#[tokio::test]
async fn the_well_known_file_says_where_the_homeserver_is() {
    let found =
        well_known(|| json(200, &json!({ "m.homeserver": { "base_url": "https://m.example" } })))
            .await;
    assert!(
        matches!(&found, WellKnown::Found(url) if url.as_str() == "https://m.example/"),
        "{found:?}"
    );
}

#[tokio::test]
async fn no_well_known_file_is_no_error() {
    let found = well_known(|| StatusCode::NOT_FOUND.into_response()).await;
    assert!(matches!(found, WellKnown::Nothing), "{found:?}");
}

#[tokio::test]
async fn a_well_known_file_that_makes_no_sense_is_told() {
    let answers = [
        || (StatusCode::OK, "<html>").into_response(),
        || json(200, &json!({ "m.homeserver": { "base_url": "m.example" } })),
        || json(200, &json!({ "m.homeserver": { "base_url": "file:///etc" } })),
        || json(200, &json!({ "m.homeserver": { "base_url": "http://m.example" } })),
        || json(200, &json!({ "m.homeserver": { "base_url": "https://a:b@m.example" } })),
        || json(200, &json!({ "m.homeserver": { "base_url": "https://m.example/?a" } })),
        || {
            json(
                200,
                &json!({ "m.homeserver": { "base_url": format!("https://{}.example", "m".repeat(300)) } }),
            )
        },
        || json(200, &json!({})),
    ];
    for answer in answers {
        let found = well_known(answer).await;
        assert!(matches!(found, WellKnown::Bad(DiscoverError::BadWellKnown { .. })), "{found:?}");
    }
}

#[tokio::test]
async fn what_is_no_homeserver_is_told_from_what_does_not_answer() {
    let fake = Fake::start(|_, _| (StatusCode::OK, "<html>hello</html>").into_response()).await;
    let transport = transport(&clock());
    let elsewhere = fake.url().join("site/").unwrap();
    let error = transport.server_at(&elsewhere).await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotHomeserver { .. }), "{error}");

    let mut tls = fake.url().clone();
    tls.set_scheme("https").unwrap();
    let error = transport.server_at(&tls).await.unwrap_err();
    assert!(matches!(error, DiscoverError::Tls { .. }), "{error}");

    let gone: Url = fake.url().clone();
    drop(fake);
    tokio::task::yield_now().await;
    let error = super::transport(&clock()).server_at(&gone).await.unwrap_err();
    assert!(matches!(error, DiscoverError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_configuration_goes_before_looking_and_what_was_found_is_kept_for_an_hour() {
    let fake = Fake::start(|_, _| StatusCode::NOT_FOUND.into_response()).await;
    let clock = clock();
    let name = server_name!("nowhere.invalid");
    let configured = BTreeMap::from([(name.to_owned(), fake.url().clone())]);
    let transport = public(&clock, configured);
    let server = transport.discover(name).await.unwrap();
    assert_eq!(server.base_url(), fake.url());

    drop(fake);
    tokio::task::yield_now().await;
    transport.discover(name).await.unwrap();
    clock.advance(Duration::from_secs(3601));
    transport.discover(name).await.unwrap_err();
}

/// One that looks in no private network.
fn public(clock: &Arc<HeldClock>, configured: BTreeMap<OwnedServerName, Url>) -> Transport {
    let reach = Reach { configured, ..Reach::default() };
    Transport::new(clock.clone(), StdRng::seed_from_u64(1), reach).unwrap()
}

#[tokio::test]
async fn what_is_at_a_private_address_is_connected_to_only_where_the_configuration_names_it() {
    let fake = Fake::start(|_, _| StatusCode::NOT_FOUND.into_response()).await;
    let port = fake.url().port().unwrap();
    let by_name: Url = format!("http://localhost:{port}").parse().unwrap();
    let transport = public(&clock(), BTreeMap::new());
    for url in [fake.url(), &by_name] {
        let error = transport.server_at(url).await.unwrap_err();
        let is_private =
            matches!(&error, DiscoverError::Unreachable { fault: Fault::Private(_), .. });
        assert!(is_private && error.to_string().contains("under `homeservers`"), "{error}");
        assert!(matches!(transport.well_known(url).await, WellKnown::Nothing));
    }
    assert_eq!(fake.connections(), 0);
    let name = server_name!("beside.invalid").to_owned();
    let transport = public(&clock(), BTreeMap::from([(name, by_name.clone())]));
    transport.server_at(&by_name).await.unwrap();
    transport.server_at(fake.url()).await.unwrap_err();
}

#[tokio::test]
async fn no_redirect_leads_to_a_private_address() {
    let inside = Fake::start(|_, _| json(200, &json!({}))).await;
    let target = inside.url().to_string();
    let outside = Fake::start(move |_, _| {
        (StatusCode::FOUND, [(header::LOCATION, target.clone())]).into_response()
    })
    .await;
    let clients = |private| Clients::new(Timeouts::default(), private).unwrap();
    let follow = async |clients: Clients| {
        // As if the first address were a public one.
        let client = clients.redirecting().clone();
        client.get(outside.url().clone()).send().await.map(|answer| answer.status())
    };
    assert_eq!(follow(clients(true)).await.unwrap(), 200);
    assert!(follow(clients(false)).await.unwrap_err().is_redirect());
    assert_eq!(inside.calls().len(), 1);
}

#[tokio::test]
async fn a_name_that_is_no_host_is_told() {
    let error = transport(&clock()).discover(server_name!("1.2.3.4.5")).await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotAHost { .. }), "{error}");
}
