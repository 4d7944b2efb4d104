//! The proxy lets everything pass, but for what it is told to break.

#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::time::Duration;

use lab::{Fault, Homeserver, Proxy, Rule, pair};
use reqwest::{Client, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;

const VERSIONS: &str = "/_matrix/client/versions";

async fn proxy() -> (&'static Homeserver, Proxy, Client) {
    let homeserver = &pair().await.unwrap().old;
    let proxy = Proxy::before(homeserver).await.unwrap();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    (homeserver, proxy, client)
}

async fn ask(proxy: &Proxy, client: &Client) -> reqwest::Result<(StatusCode, String)> {
    let answer = client.get(format!("{}{VERSIONS}", proxy.url())).send().await?;
    Ok((answer.status(), answer.text().await?))
}

fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| (*error).source()).last().unwrap().to_string()
}

#[tokio::test]
async fn what_no_rule_names_passes_as_it_is() {
    let (homeserver, proxy, client) = proxy().await;
    proxy.add(Rule::on(Method::GET, "/sync", Fault::Reset));
    proxy.add(Rule::on(Method::POST, VERSIONS, Fault::Reset));
    let direct = client.get(format!("{}{VERSIONS}", homeserver.url())).send().await.unwrap();
    let through = ask(&proxy, &client).await.unwrap();
    assert_eq!(through, (StatusCode::OK, direct.text().await.unwrap()));

    let account = homeserver.account("proxied").await.unwrap();
    let body = json!({ "displayname": "Näme" });
    let path =
        format!("{}/_matrix/client/v3/profile/{}/displayname", proxy.url(), account.user_id());
    let request = client.put(path).bearer_auth(account.access_token()).json(&body);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    let path = format!("/_matrix/client/v3/profile/{}", account.user_id());
    let profile = account.send_raw(Method::GET, &path, &json!({})).await.unwrap();
    assert_eq!(profile["displayname"], "Näme");
    assert_eq!(proxy.seen(&Method::PUT, "/displayname"), 1);
}

#[tokio::test]
async fn a_connection_is_refused_until_it_is_accepted_again() {
    let (_, proxy, client) = proxy().await;
    ask(&proxy, &client).await.unwrap();
    proxy.refuse().await;
    let error = ask(&proxy, &client).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    proxy.accept().await.unwrap();
    ask(&proxy, &client).await.unwrap();
}

#[tokio::test]
async fn a_connection_is_reset_before_the_homeserver_hears_of_it_or_after() {
    let (homeserver, proxy, client) = proxy().await;
    let account = homeserver.account("reset").await.unwrap();
    let path = format!("/_matrix/client/v3/profile/{}/displayname", account.user_id());
    let url = format!("{}{path}", proxy.url());
    for (fault, arrives) in [(Fault::Reset, false), (Fault::Lost, true)] {
        proxy.add(Rule::on(Method::PUT, "/displayname", fault).times(1));
        let name = format!("arrives: {arrives}");
        let body = json!({ "displayname": name });
        let request = client.put(&url).bearer_auth(account.access_token()).json(&body);
        let error = request.send().await.unwrap_err();
        assert!(cause(&error).contains("reset"), "{error:?}");
        let profile = account.send_raw(Method::GET, &path, &json!({})).await.unwrap();
        assert_eq!(profile["displayname"] == name, arrives);
    }
}

#[tokio::test]
async fn an_answer_is_cut_short_or_comes_drop_by_drop() {
    let (_, proxy, client) = proxy().await;
    let (_, whole) = ask(&proxy, &client).await.unwrap();
    proxy.add(Rule::on(Method::GET, VERSIONS, Fault::Cut(10)).times(1));
    let error = ask(&proxy, &client).await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");

    let drip = Fault::Drip(whole.len().div_ceil(4), Duration::from_millis(50));
    proxy.add(Rule::on(Method::GET, VERSIONS, drip).times(1));
    let begun = Instant::now();
    assert_eq!(ask(&proxy, &client).await.unwrap().1, whole);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_request_hangs_or_is_only_late() {
    let (_, proxy, client) = proxy().await;
    proxy.add(Rule::on(Method::GET, VERSIONS, Fault::Hang).times(1));
    proxy.add(Rule::on(Method::GET, VERSIONS, Fault::Delay(Duration::from_millis(300))).times(1));
    let url = format!("{}{VERSIONS}", proxy.url());
    let impatient = client.get(&url).timeout(Duration::from_millis(500));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    let begun = Instant::now();
    ask(&proxy, &client).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn another_answer_is_given_or_the_real_one_rewritten() {
    let (_, proxy, client) = proxy().await;
    let limited = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "later" });
    let fault = Fault::json(429, &limited)
        .with_header(header::RETRY_AFTER, header::HeaderValue::from_static("7"));
    proxy.add(Rule::on(Method::GET, VERSIONS, fault).times(1));
    let answer = client.get(format!("{}{VERSIONS}", proxy.url())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()[header::RETRY_AFTER], "7");
    assert_eq!(answer.json::<Value>().await.unwrap(), limited);

    let rewrite = Fault::rewrite(|answer| answer["versions"] = json!(["r9.9.9"]));
    proxy.add(Rule::on(Method::GET, VERSIONS, rewrite));
    let (_, answer) = ask(&proxy, &client).await.unwrap();
    assert!(answer.contains(r#""versions":["r9.9.9"]"#) && answer.contains("unstable_features"));
    proxy.clear();
    assert!(!ask(&proxy, &client).await.unwrap().1.contains("r9.9.9"));
}
