//! What homeservers answer that is more than anybody means.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use ruma::{
    api::client::{account::whoami, filter::FilterDefinition, membership::joined_rooms},
    events::StateEventType,
};
use serde_json::json;

use super::{
    fake::{endless, json},
    *,
};

/// A body that begins with so many blanks, and then goes on as `rest` does.
fn begun(
    blanks: usize,
    rest: impl futures_util::Stream<Item = Vec<u8>> + Send + 'static,
) -> Response {
    let pieces = stream::once(async move { vec![b' '; blanks] }).chain(rest);
    Body::from_stream(pieces.map(Ok::<_, std::io::Error>)).into_response()
}

#[tokio::test]
async fn an_answer_that_is_said_to_be_too_large_is_not_waited_for() {
    let fake = Fake::start(|_, _| {
        let answer = begun(1, stream::pending());
        ([("content-length", "100000000")], answer).into_response()
    })
    .await;
    let account = account(&transport(&clock()), &fake).await;
    let failure = account.send(whoami::v3::Request::new()).await.unwrap_err();
    assert_eq!(failure, Failure::TooMuch(Excess::Answer { most: 10 << 20 }));
    assert!(!failure.is_retryable(), "the next one would be as large");
}

#[tokio::test]
async fn what_only_listens_is_answered_with_little() {
    let fake = Fake::start(|_, _| endless(vec![b' '; 1 << 20])).await;
    let account = account(&transport(&clock()), &fake).await;
    let filter = FilterDefinition::ignore_all;
    let since = Some("s1".to_owned());
    let too_large = Failure::TooMuch(Excess::Answer { most: 8 << 20 });
    let failure = account.sync(filter(), since.clone(), None).await.unwrap_err();
    assert_eq!(failure, too_large);
    let failure = account.listen(filter().into(), since, Duration::ZERO).await.unwrap_err();
    assert_eq!(failure, too_large);
}

#[tokio::test]
async fn answers_that_never_end_leave_room_for_others() {
    let fake = Fake::start(|call, _| match call {
        "GET joined_rooms" => begun(200 << 10, stream::pending()),
        _ => begun(
            200 << 10,
            stream::once(async { json!({ "user_id": "@a:b" }).to_string().into() }),
        ),
    })
    .await;
    // Room for three of them at a time.
    let transport = transport(&clock()).with_memory(500 << 10);
    let account = account(&transport, &fake).await;
    let endless = async {
        let request = || account.send(joined_rooms::v3::Request::new());
        tokio::join!(request(), request(), request(), request())
    };
    let others = async {
        // Once those have begun, which is when they are cut off for one another.
        while fake.seen().len() < 4 {
            tokio::task::yield_now().await;
        }
        for _ in 0..8 {
            let whoami = account.send(whoami::v3::Request::new()).await.unwrap();
            assert_eq!(whoami.user_id, "@a:b");
        }
    };
    let (endless, ()) = tokio::join!(endless, others);
    let failures = [endless.0, endless.1, endless.2, endless.3].map(Result::unwrap_err);
    for failure in failures {
        assert!(matches!(failure, Failure::Unreachable { fault: Fault::Timeout, .. }), "{failure}");
        assert!(failure.is_retryable());
    }
}

#[tokio::test]
async fn content_that_is_nested_deeper_than_anybody_means_makes_no_sense() {
    for (deep, makes_sense) in [(20, true), (120, false)] {
        let nested = format!(r#"{{"allow":{}{}}}"#, "[".repeat(deep), "]".repeat(deep));
        let fake =
            Fake::start(move |_, _| json(200, &serde_json::from_str(&nested).unwrap())).await;
        let account = account(&transport(&clock()), &fake).await;
        let rule = account.state(arctic(), StateEventType::RoomJoinRules, "").await;
        assert_eq!(rule.is_ok(), makes_sense, "{rule:?}");
    }
}
