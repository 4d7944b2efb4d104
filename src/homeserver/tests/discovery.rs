use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use ruma::server_name;
use serde_json::json;
use url::Url;

use super::{super::discovery::WellKnown, fake::json, *};

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
    let transport = Transport::new(
        clock.clone(),
        StdRng::seed_from_u64(1),
        BTreeMap::from([(name.to_owned(), fake.url().clone())]),
        Timeouts::default(),
    )
    .unwrap();
    let server = transport.discover(name).await.unwrap();
    assert_eq!(server.base_url(), fake.url());

    drop(fake);
    tokio::task::yield_now().await;
    transport.discover(name).await.unwrap();
    clock.advance(Duration::from_secs(3601));
    transport.discover(name).await.unwrap_err();
}

#[tokio::test]
async fn a_name_that_is_no_host_is_told() {
    let error = transport(&clock()).discover(server_name!("1.2.3.4.5")).await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotAHost { .. }), "{error}");
}
