use axum::response::{IntoResponse as _, Response};
use ruma::api::{client::account::whoami, error::ErrorCode};
use serde_json::json;

use super::{
    super::failure::is_known,
    fake::{endless, error, json, silent},
    *,
};

/// How the answer to one request is sorted.
async fn failure(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Failure {
    let fake = Fake::start(move |_, _| answer()).await;
    let account = account(&transport(&clock()), &fake).await;
    account.send(whoami::v3::Request::new()).await.unwrap_err()
}

#[tokio::test]
async fn a_refusal_keeps_the_homeservers_words_but_not_all_of_them() {
    let failure = failure(|| {
        error(403, "M_FORBIDDEN", &format!("You are\u{1b}[2J\n banned {}", "!".repeat(1000)))
    })
    .await;
    assert!(!failure.is_retryable());
    let Failure::Refused { status: 403, code: ErrorCode::Forbidden, message } = failure else {
        panic!("{failure}")
    };
    assert!(message.starts_with("You are[2J banned !!!"), "{message}");
    assert_eq!(message.chars().count(), 201);
}

#[tokio::test]
async fn a_token_that_is_gone_is_told_from_a_soft_logout() {
    let gone = failure(|| error(401, "M_UNKNOWN_TOKEN", "Invalid access token")).await;
    assert_eq!(gone, Failure::TokenGone { soft_logout: false });
    assert!(!gone.is_retryable());
    let soft = failure(|| {
        json(401, &json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "", "soft_logout": true }))
    })
    .await;
    assert_eq!(soft, Failure::TokenGone { soft_logout: true });
}

#[tokio::test]
async fn a_deactivated_account_is_told() {
    let failure = failure(|| error(403, "M_USER_DEACTIVATED", "Deactivated")).await;
    assert_eq!(failure, Failure::Deactivated);
}

#[tokio::test]
async fn what_makes_no_sense_is_garbage() {
    for answer in [
        || (axum::http::StatusCode::OK, "<html>hello</html>").into_response(),
        || (axum::http::StatusCode::OK, "{\"user_id\": 7}").into_response(),
        || (axum::http::StatusCode::NOT_FOUND, "not here").into_response(),
        || (axum::http::StatusCode::FORBIDDEN, "{\"detail\": \"no\"}").into_response(),
    ] {
        let failure = failure(answer).await;
        assert!(matches!(failure, Failure::Garbage { .. }), "{failure}");
        assert!(failure.is_retryable());
    }
}

#[tokio::test]
async fn a_proxy_without_its_homeserver_is_worth_a_retry() {
    let failure =
        failure(|| (axum::http::StatusCode::BAD_GATEWAY, "<html>502</html>").into_response()).await;
    assert!(matches!(failure, Failure::Faulty { status: 502, code: None, .. }), "{failure}");
    assert!(failure.is_retryable());
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let failure = failure(|| endless(vec![b' '; 1 << 20])).await;
    assert_eq!(failure, Failure::TooMuch(Excess::Answer { most: 10 << 20 }));
    assert!(!failure.is_retryable(), "the next one would be as large");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let failure = failure(silent).await;
    assert!(matches!(failure, Failure::Unreachable { fault: Fault::Timeout, .. }), "{failure}");
    assert!(failure.is_retryable());
}

#[test]
fn what_homeservers_talk_over_with_others_may_take_long() {
    use Action::{Invite, Knock, LocalJoin, Read, RemoteJoin, State};
    assert!([LocalJoin, RemoteJoin, Knock, Invite].iter().all(|action| action.allowance().long));
    assert!(![Read, State].iter().any(|action| action.allowance().long));
}

#[tokio::test]
async fn a_homeserver_that_went_away_is_unreachable() {
    let fake = Fake::start(|_, _| json(200, &json!({}))).await;
    let transport = transport(&clock());
    let account = account(&transport, &fake).await;
    // A new transport, whose connection is not the one that is still open.
    let transport = super::transport(&clock());
    let auth = Auth::Token(Secret::from("syt_token"));
    let account = Account::new(transport, account.server().clone(), &alice(), auth);
    drop(fake);
    tokio::task::yield_now().await;
    let failure = account.send(whoami::v3::Request::new()).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Unreachable { fault: Fault::NoConnection(_), .. }),
        "{failure}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Fake::start(|_, _| json(200, &json!({}))).await;
    let location = format!("{}steal", elsewhere.url());
    let failure = failure(move || {
        (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", location.clone())])
            .into_response()
    })
    .await;
    assert!(matches!(failure, Failure::Garbage { .. }), "{failure}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn no_failure_shows_the_token() {
    let fake = Fake::start(|_, _| error(401, "M_UNKNOWN_TOKEN", "Invalid")).await;
    for token in ["syt_secret", "syt_secret\n", "syt_secret\u{0}ü"] {
        let account = account_with(&transport(&clock()), &fake, token).await;
        let failure = account.send(whoami::v3::Request::new()).await.unwrap_err();
        assert!(!format!("{failure} {failure:?} {account:?}").contains("syt_secret"));
    }
}

/// Repeats what it was asked, in every way that comes to mind.
async fn parrot(says: impl Fn(&str) -> Response + Clone + Send + Sync + 'static) -> Fake {
    Fake::start_asked(move |seen| {
        let token = seen.headers.get("authorization").map(|value| value.to_str().unwrap());
        let token = token.map(|token| token.trim_start_matches("Bearer "));
        says(token.or(seen.body["password"].as_str()).unwrap_or("nothing"))
    })
    .await
}

#[tokio::test]
async fn what_a_homeserver_repeats_of_a_request_is_left_out_of_every_failure() {
    const SECRET: &str = "syt \"hunter\\2\" ü";
    let ways: [fn(&str) -> Response; 12] = [
        |secret| error(403, "M_FORBIDDEN", &format!("Wrong: {secret}")),
        |secret| error(401, "M_UNKNOWN_TOKEN", secret),
        |secret| error(500, "M_UNKNOWN", &format!("{}{secret}", ".".repeat(195))),
        |secret| error(400, &format!("M_{secret}"), "What?"),
        |secret| error(400, "M_FORBIDDEN\n\u{202e}faked", secret),
        |secret| error(502, "M_UNKNOWN", &secret.replace('h', "\u{200b}h\u{0}")),
        |secret| error(403, "M_X", &json!({ "password": secret }).to_string()),
        |secret| {
            error(
                403,
                "M_X",
                &url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>(),
            )
        },
        |secret| json(403, &json!({ "errcode": "M_X", "error": "", secret: 1 })),
        |secret| json(429, &json!({ "errcode": secret, "error": secret })),
        |secret| (axum::http::StatusCode::BAD_GATEWAY, secret.to_owned()).into_response(),
        |secret| json(200, &json!([secret])),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let fake = parrot(way).await;
        let transport = transport(&clock());
        let server = transport.server_at(fake.url()).await.unwrap();
        let password = Secret::from(SECRET);
        let login = transport.login_password(&server, bob(), &password, "T".into(), "Tern");
        let failure = login.await.unwrap_err();
        let told = format!("{failure} {failure:?} {}", serde_json::to_string(&failure).unwrap());
        assert!(!told.contains("hunter") && !told.contains("2\u{202e}"), "{number}: {told}");
        assert!(!told.contains('\u{202e}'), "{number}: {told}");
    }
}

#[tokio::test]
async fn a_refusal_that_repeats_an_as_token_keeps_its_code_and_loses_its_words() {
    let fake = parrot(|token| error(403, "M_FORBIDDEN", &format!("{token} may not"))).await;
    let account = account_with(&transport(&clock()), &fake, "as_token").await;
    let failure = account.send(whoami::v3::Request::new()).await.unwrap_err();
    let Failure::Refused { code: ErrorCode::Forbidden, message, .. } = failure else {
        panic!("{failure}")
    };
    assert_eq!(message, "its words are left out, since they repeat a password or token");
}

#[test]
fn the_specifications_error_codes_are_told_from_made_up_ones() {
    for code in ["M_FORBIDDEN", "M_UNKNOWN", "M_LIMIT_EXCEEDED", "M_USER_DEACTIVATED"] {
        assert!(is_known(&ErrorCode::from(code)), "{code}");
    }
    assert!(!is_known(&ErrorCode::from("M_MADE_UP")));
}
