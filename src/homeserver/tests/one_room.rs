//! One room must not hold up the others.

use axum::response::Response;

use super::{
    fake::{error, limited, ok},
    lanes::{invite, join, pass_the_next_wait, seconds},
    *,
};

fn healthy() -> [&'static RoomId; 12] {
    [
        room_id!("!1:example.org"),
        room_id!("!2:example.org"),
        room_id!("!3:example.org"),
        room_id!("!4:example.org"),
        room_id!("!5:example.org"),
        room_id!("!6:example.org"),
        room_id!("!7:example.org"),
        room_id!("!8:example.org"),
        room_id!("!9:example.org"),
        room_id!("!10:example.org"),
        room_id!("!11:example.org"),
        room_id!("!12:example.org"),
    ]
}

/// A homeserver that says this for one room, and takes all others.
async fn fails_in_arctic(says: fn() -> Response) -> Fake {
    Fake::start(move |call, _| if call.contains("!arctic") { says() } else { ok() }).await
}

/// How long until it is over, with a clock that goes on whenever somebody waits for it.
async fn end(
    clock: &HeldClock,
    request: tokio::task::JoinHandle<Result<(), Failure>>,
) -> (Duration, Result<(), Failure>) {
    let mut waited = Duration::ZERO;
    while !request.is_finished() {
        tokio::select! {
            wait = pass_the_next_wait(clock) => waited += wait,
            () = tokio::task::yield_now() => {}
        }
    }
    (waited, request.await.unwrap())
}

#[tokio::test]
async fn an_invitation_that_never_passes_fails_with_its_words_and_holds_up_no_other() {
    let fake = fails_in_arctic(|| error(502, "M_UNKNOWN", "Can't connect to example.com")).await;
    let clock = clock();
    let transport = transport(&clock);
    let account = account(&transport, &fake).await;
    let bad = invite(arctic(), &account);
    assert_eq!(clock.asleep(1).await, seconds(5));
    // Nobody waits for the clock any more, or this would hang.
    for _ in 0..4 {
        for room in healthy() {
            invite(room, &account).await.unwrap().unwrap();
        }
        assert!(transport.pacing().waits_of(account.user_id()).len() <= 1);
        if !bad.is_finished() {
            pass_the_next_wait(&clock).await;
            // Until it was tried again.
            while !bad.is_finished() && transport.pacing().waits_of(account.user_id()).is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
    let failure = bad.await.unwrap().unwrap_err();
    assert!(failure.to_string().contains("Can't connect to example.com"), "{failure}");
    let tries = fake.calls().iter().filter(|call| call.contains("!arctic")).count();
    assert_eq!(tries, 4);
    let held = transport.pacing().take_held(user_id!("@bob:example.com"));
    assert_eq!(held, Duration::ZERO, "it is no wait for that server");
}

#[tokio::test]
async fn a_second_room_that_does_not_pass_makes_it_a_limit_that_all_wait_for() {
    let fake = Fake::start(|call, before| match (call, before) {
        ("POST rooms/!arctic:example.org/invite" | "POST rooms/!sooty:example.org/invite", 0) => {
            error(502, "M_UNKNOWN", "Can't connect to example.com")
        }
        _ => ok(),
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let first = invite(arctic(), &account);
    clock.asleep(1).await;
    let second = invite(sooty(), &account);
    clock.asleep(2).await;
    let third = invite(healthy()[0], &account);
    tokio::task::yield_now().await;
    assert_eq!(fake.calls().len(), 2, "the third waits");
    while !(first.is_finished() && second.is_finished() && third.is_finished()) {
        tokio::select! {
            _ = pass_the_next_wait(&clock) => {}
            () = tokio::task::yield_now() => {}
        }
    }
    for request in [first, second, third] {
        request.await.unwrap().unwrap();
    }
    assert_eq!(fake.calls().len(), 5);
}

#[tokio::test]
async fn several_rooms_that_never_pass_hold_up_no_other() {
    let fake = Fake::start(|call, _| {
        if call.contains("!arctic") || call.contains("!sooty") {
            error(502, "M_UNKNOWN", "Can't connect to example.com")
        } else {
            ok()
        }
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let bad = [invite(arctic(), &account), invite(sooty(), &account)];
    clock.asleep(2).await;
    let healthy: Vec<_> = healthy().into_iter().map(|room| invite(room, &account)).collect();
    let mut waited = Duration::ZERO;
    while !healthy.iter().all(|request| request.is_finished()) {
        tokio::select! {
            wait = pass_the_next_wait(&clock) => waited += wait,
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(waited <= seconds(60), "{waited:?}");
    for request in bad {
        let (waited, result) = end(&clock, request).await;
        result.unwrap_err();
        assert!(waited <= seconds(15 * 60), "{waited:?}");
    }
}

#[tokio::test]
async fn a_room_that_is_limited_again_and_again_waits_alone_and_fails_in_the_end() {
    let fake = fails_in_arctic(|| limited(60_000)).await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let bad = join(arctic(), &account);
    // It is waited for twice as for a limit of the account.
    pass_the_next_wait(&clock).await;
    pass_the_next_wait(&clock).await;
    clock.asleep(1).await;
    while fake.calls().len() < 3 {
        tokio::task::yield_now().await;
    }
    for room in healthy() {
        join(room, &account).await.unwrap().unwrap();
    }
    let (_, result) = end(&clock, bad).await;
    let failure = result.unwrap_err();
    assert!(matches!(failure, Failure::Faulty { status: 429, .. }), "{failure}");
}

#[tokio::test]
async fn a_room_that_is_not_answered_for_slows_down_no_other() {
    let says: [fn() -> Response; 2] =
        [|| error(503, "M_UNKNOWN", "Not this one"), || error(504, "M_X", "Took too long")];
    for says in says {
        let fake = fails_in_arctic(says).await;
        let clock = clock();
        let account = account(&transport(&clock), &fake).await;
        let bad = join(arctic(), &account);
        for room in healthy() {
            join(room, &account).await.unwrap().unwrap();
        }
        end(&clock, bad).await.1.unwrap_err();
    }
}
