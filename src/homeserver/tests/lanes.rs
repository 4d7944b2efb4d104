use jiff::SignedDuration;
use serde_json::json;

use super::{
    fake::{error, limited, ok},
    *,
};
use crate::clock::Clock as _;

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets the next one that sleeps wake; tells how long it would have slept.
pub(super) async fn pass_the_next_wait(clock: &HeldClock) -> Duration {
    let wait = clock.asleep(1).await;
    clock.advance(wait);
    wait
}

pub(super) fn invite(
    room: &'static RoomId,
    account: &Account,
) -> tokio::task::JoinHandle<Result<(), Failure>> {
    let account = account.clone();
    tokio::spawn(async move { account.invite(room, user_id!("@bob:example.com")).await })
}

pub(super) fn join(
    room: &'static RoomId,
    account: &Account,
) -> tokio::task::JoinHandle<Result<(), Failure>> {
    let account = account.clone();
    tokio::spawn(
        async move { account.join(room.into(), vec![], Nearness::Elsewhere).await.map(drop) },
    )
}

#[tokio::test]
async fn a_limit_is_waited_out_for_as_long_as_the_homeserver_says() {
    let fake = Fake::start(|_, before| if before == 0 { limited(7500) } else { ok() }).await;
    let clock = clock();
    let transport = transport(&clock);
    let account = account(&transport, &fake).await;
    let joining = join(arctic(), &account);

    assert_eq!(clock.asleep(1).await, Duration::from_millis(7500));
    let waits = transport.pacing().waits_of(account.user_id());
    assert_eq!(waits.len(), 1);
    assert_eq!((waits[0].action, waits[0].reason), (Action::RemoteJoin, WaitReason::RateLimit));
    assert_eq!(waits[0].until, Timestamp::UNIX_EPOCH + Duration::from_millis(7500));
    assert_eq!(fake.calls().len(), 1);

    pass_the_next_wait(&clock).await;
    joining.await.unwrap().unwrap();
    assert_eq!(fake.calls().len(), 2);
    assert!(transport.pacing().waits_of(account.user_id()).is_empty());
}

#[tokio::test]
async fn the_header_tells_the_wait_where_the_body_does_not_and_else_it_is_five_seconds() {
    let fake = Fake::start(|_, before| {
        let mut answer = error(429, "M_LIMIT_EXCEEDED", "Too many");
        match before {
            0 => drop(answer.headers_mut().insert("retry-after", "3".parse().unwrap())),
            1 => {}
            _ => return ok(),
        }
        answer
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let joining = join(arctic(), &account);
    assert_eq!(pass_the_next_wait(&clock).await, seconds(3));
    assert_eq!(pass_the_next_wait(&clock).await, seconds(5));
    joining.await.unwrap().unwrap();
}

#[tokio::test]
async fn absurd_delays_are_waited_for_within_reason() {
    let hour = seconds(3600);
    let cases = [
        (json!(31_536_000_000_u64), None, hour),
        (json!(u64::MAX), None, hour),
        (json!(0), None, Duration::from_millis(10)),
        (json!(-5), None, seconds(5)),
        (json!("soon"), None, seconds(5)),
        (json!(1500.5), None, seconds(5)),
        (json!(null), None, seconds(5)),
        (json!(-5), Some("7"), seconds(7)),
        (json!(null), Some("99999999999999999999"), seconds(5)),
        (json!(null), Some("31536000"), hour),
        (json!(null), Some("-3"), seconds(5)),
        (json!(null), Some("Fri, 01 Jan 2100 00:00:00 GMT"), hour),
        (json!(null), Some("Thu, 01 Jan 1970 00:00:00 GMT"), Duration::from_millis(10)),
    ];
    for (body, header, wait) in cases {
        let told = (body.clone(), header);
        let fake = Fake::start(move |_, before| match before {
            0 => limited_in_these_words(&told.0, told.1),
            _ => ok(),
        })
        .await;
        let clock = clock();
        let account = account(&transport(&clock), &fake).await;
        let joining = join(arctic(), &account);
        assert_eq!(pass_the_next_wait(&clock).await, wait, "{body} {header:?}");
        joining.await.unwrap().unwrap();
    }
}

fn limited_in_these_words(
    body: &serde_json::Value,
    header: Option<&'static str>,
) -> axum::response::Response {
    let body = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "No", "retry_after_ms": body });
    let mut answer = fake::json(429, &body);
    if let Some(header) = header {
        answer.headers_mut().insert("retry-after", header.parse().unwrap());
    }
    answer
}

#[tokio::test]
async fn what_was_limited_goes_first_again() {
    let fake = Fake::start(|call, before| match (call, before) {
        ("POST join/!arctic:example.org", 0 | 1) => limited(1000),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let first = join(arctic(), &account);
    clock.asleep(1).await;
    let second = join(sooty(), &account);
    pass_the_next_wait(&clock).await;
    pass_the_next_wait(&clock).await;
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    let (first, second) = ("POST join/!arctic:example.org", "POST join/!sooty:example.org");
    assert_eq!(fake.calls(), [first, first, first, second]);
}

#[tokio::test]
async fn a_wait_holds_up_no_other_action_and_no_other_account() {
    let fake = Fake::start(|call, _| match call {
        "POST join/!arctic:example.org" => limited(60_000),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let transport = transport(&clock);
    let alice = account(&transport, &fake).await;
    let joining = join(arctic(), &alice);
    clock.asleep(1).await;

    invite(sooty(), &alice).await.unwrap().unwrap();
    let auth = Auth::Token(Secret::from("syt_carol"));
    let carol = Allowed(owned_user_id!("@carol:example.org"), CancellationToken::new());
    let carol = Account::new(transport.clone(), alice.server().clone(), &carol, auth);
    join(sooty(), &carol).await.unwrap().unwrap();
    assert!(!joining.is_finished());
    joining.abort();
}

#[tokio::test]
async fn an_invite_that_the_invited_server_limits_waits_with_growing_pauses() {
    let fake = Fake::start(|call, before| match (call, before) {
        ("POST rooms/!arctic:example.org/invite", 0..9) => {
            error(502, "M_UNKNOWN", "Can't connect to server example.com")
        }
        ("POST rooms/!sooty:example.org/invite", 0) => error(504, "M_UNKNOWN", "Can't connect"),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let transport = transport(&clock);
    let account = account(&transport, &fake).await;
    let inviting = invite(arctic(), &account);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        clock.asleep(1).await;
        assert_eq!(
            transport.pacing().waits_of(account.user_id())[0].reason,
            WaitReason::InviteeServer
        );
        pauses.push(pass_the_next_wait(&clock).await.as_secs());
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    inviting.await.unwrap().unwrap();
    let held = || transport.pacing().take_held(user_id!("@bob:example.com"));
    assert_eq!((held(), held()), (seconds(1835), Duration::ZERO), "told once");

    // One passed in 1,835 seconds: the next pause does not begin from the start.
    let inviting = invite(sooty(), &account);
    assert_eq!(pass_the_next_wait(&clock).await.as_secs(), 1835 / 4);
    inviting.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_invite_that_never_passes_fails_in_the_end() {
    let fake = Fake::start(|_, _| error(502, "M_UNKNOWN", "Can't connect")).await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let inviting = invite(arctic(), &account);
    let failure = loop {
        if inviting.is_finished() {
            break inviting.await.unwrap().unwrap_err();
        }
        tokio::select! {
            _ = pass_the_next_wait(&clock) => {}
            () = tokio::task::yield_now() => {}
        }
    };
    assert!(matches!(failure, Failure::Faulty { status: 502, .. }), "{failure}");
}

#[tokio::test]
async fn a_homeserver_that_is_away_for_long_is_waited_for_by_what_outlasts_that() {
    let fake = Fake::start(|_, before| match before {
        0..20 => fake::json(503, &json!("nobody is here")),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let waiting = join(arctic(), &account.outlasting());
    for _ in 0..20 {
        pass_the_next_wait(&clock).await;
    }
    waiting.await.unwrap().unwrap();
    assert_eq!(fake.calls().len(), 21);
    // A room that the homeserver itself says no about is not waited for.
    let fake = Fake::start(|_, _| error(503, "M_UNKNOWN", "Not this one")).await;
    let account = super::account(&transport(&clock), &fake).await;
    let failing = join(arctic(), &account.outlasting());
    for _ in 0..4 {
        pass_the_next_wait(&clock).await;
    }
    failing.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn other_faults_are_retried_a_few_times() {
    let fake = Fake::start(|_, _| error(500, "M_UNKNOWN", "Internal server error")).await;
    let clock = clock();
    let transport = transport(&clock);
    let account = account(&transport, &fake).await;
    let joining = join(arctic(), &account);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        clock.asleep(1).await;
        assert_eq!(transport.pacing().waits_of(account.user_id())[0].reason, WaitReason::Retry);
        pauses.push(pass_the_next_wait(&clock).await);
    }
    assert!(
        pauses.is_sorted() && pauses[0] >= seconds(2) && pauses[3] >= seconds(54),
        "{pauses:?}"
    );
    let failure = joining.await.unwrap().unwrap_err();
    assert!(matches!(failure, Failure::Faulty { status: 500, .. }), "{failure}");
    assert_eq!(fake.calls().len(), 5);
}

#[tokio::test]
async fn what_is_to_be_sent_once_is_not_retried_but_waits_for_limits() {
    let fake = Fake::start(|_, before| match before {
        0 => limited(1000),
        _ => error(500, "M_UNKNOWN", "Internal server error"),
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let joining = join(arctic(), &account.once());
    assert_eq!(pass_the_next_wait(&clock).await, seconds(1));
    joining.await.unwrap().unwrap_err();
    assert_eq!(fake.calls().len(), 2);
    let limited = Fake::start(|_, _| limited(1000)).await;
    let account = super::account(&transport(&clock), &limited).await.at_once();
    let joined = join(arctic(), &account).await.unwrap();
    assert!(matches!(joined, Err(Failure::Limited { .. })), "{joined:?}");
}

#[tokio::test]
async fn a_retry_does_not_hold_up_the_lane() {
    let fake = Fake::start(|call, before| match (call, before) {
        ("POST join/!arctic:example.org", 0) => error(500, "M_UNKNOWN", "Internal server error"),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let first = join(arctic(), &account);
    clock.asleep(1).await;
    join(sooty(), &account).await.unwrap().unwrap();
    pass_the_next_wait(&clock).await;
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    let fake = Fake::start(|_, _| error(403, "M_FORBIDDEN", "You are banned")).await;
    let account = account(&transport(&clock()), &fake).await;
    join(arctic(), &account).await.unwrap().unwrap_err();
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn stopping_ends_waits_and_leaves_the_lane_to_others() {
    let fake = Fake::start(|call, _| match call {
        "POST join/!arctic:example.org" => limited(60_000),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let transport = transport(&clock);
    let account = account(&transport, &fake).await;
    let stop = CancellationToken::new();
    let first = join(arctic(), &account.clone().until(stop.clone()));
    clock.asleep(1).await;
    let behind = join(sooty(), &account.clone().until(stop.clone()));
    let other = join(sooty(), &account);
    stop.cancel();
    assert_eq!(first.await.unwrap(), Err(Failure::Stopped));
    assert_eq!(behind.await.unwrap(), Err(Failure::Stopped));
    pass_the_next_wait(&clock).await;
    other.await.unwrap().unwrap();
    assert_eq!(join(arctic(), &account.until(stop)).await.unwrap(), Err(Failure::Stopped));
}

#[tokio::test]
async fn stopping_does_not_drop_a_request_that_is_on_its_way() {
    let stop = CancellationToken::new();
    let fake = Fake::start({
        let stop = stop.clone();
        move |_, _| {
            stop.cancel();
            ok()
        }
    })
    .await;
    let account = account(&transport(&clock()), &fake).await;
    join(arctic(), &account.until(stop)).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_that_follow_each_other_go_over_one_connection() {
    let fake = Fake::start(|_, _| ok()).await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let before = fake.connections();
    for _ in 0..10 {
        join(arctic(), &account).await.unwrap().unwrap();
        invite(sooty(), &account).await.unwrap().unwrap();
    }
    assert_eq!(fake.calls().len(), 20);
    assert!(fake.connections() - before <= 1, "{}", fake.connections());
}

#[tokio::test]
async fn a_remote_join_that_waits_holds_up_no_local_one() {
    let fake = Fake::start(|call, _| match call {
        "POST join/!arctic:example.org" => limited(100_000),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let remote = join(arctic(), &account);
    clock.asleep(1).await;
    account.join(sooty().into(), vec![], Nearness::Here).await.unwrap();
    assert!(!remote.is_finished());
    remote.abort();
}

#[tokio::test]
async fn a_join_that_may_be_a_local_one_does_not_wait_like_a_remote_one() {
    let fake = Fake::start(|_, before| if before == 0 { limited(100_000) } else { ok() }).await;
    let account = account(&transport(&clock()), &fake).await;
    for room in [arctic(), sooty()] {
        let joined = account.join(room.into(), vec![], Nearness::Unknown).await;
        assert!(matches!(joined, Err(Failure::Limited { .. })), "{joined:?}");
    }
    // The second was not even sent.
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn what_does_not_wait_for_limits_does_not_wait_behind_others_that_do() {
    let fake = Fake::start(|_, before| if before == 0 { limited(100_000) } else { ok() }).await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let remote = join(arctic(), &account);
    clock.asleep(1).await;
    let joined = account.join(sooty().into(), vec![], Nearness::Unknown).await;
    assert!(matches!(joined, Err(Failure::Limited { .. })), "{joined:?}");
    assert!(account.is_limited(Action::RemoteJoin) && !account.is_limited(Action::State));
    remote.abort();
}

#[tokio::test]
async fn messages_that_wait_hold_up_invitations_since_these_are_messages_too() {
    let fake = Fake::start(|call, _| match call {
        "PUT rooms/!arctic:example.org/state/m.room.topic/" => limited(4000),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let account = account(&transport(&clock), &fake).await;
    let topic = {
        let (account, content) = (account.clone(), JsonObject::new());
        tokio::spawn(async move {
            account.set_state(arctic(), "m.room.topic".into(), "", &content).await
        })
    };
    clock.asleep(1).await;
    let inviting = invite(sooty(), &account);
    clock.asleep(2).await;
    assert_eq!(fake.calls().len(), 1);
    clock.advance(seconds(4));
    inviting.await.unwrap().unwrap();
    topic.abort();
}

#[tokio::test]
async fn a_limit_of_a_room_that_several_join_holds_up_no_other_room() {
    let fake = Fake::start(|call, before| match call {
        "POST join/!arctic:example.org" if before > 0 => limited(900),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let transport = transport(&clock);
    let alice = account(&transport, &fake).await;
    join(arctic(), &alice).await.unwrap().unwrap();
    let auth = Auth::Token(Secret::from("syt_carol"));
    let carol = Allowed(owned_user_id!("@carol:example.org"), CancellationToken::new());
    let carol = Account::new(transport.clone(), alice.server().clone(), &carol, auth);
    let waiting = join(arctic(), &carol);
    clock.asleep(1).await;
    join(sooty(), &carol).await.unwrap().unwrap();
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn limits_are_known_after_a_restart() {
    let dir = tempfile::TempDir::new().unwrap();
    let (path, key) = (dir.path().join("data"), dir.path().join("key"));
    let mut rng = StdRng::seed_from_u64(1);
    let store = Store::open(&path, &key, &mut rng).unwrap();
    let fake = Fake::start(|_, before| match before {
        0 => limited(100_000),
        2 => limited(90_000),
        _ => ok(),
    })
    .await;
    let clock = clock();
    let before = transport(&clock);
    before.pacing().keep_in(&store).await.unwrap();
    let alice = account(&before, &fake).await;
    for _ in 0..2 {
        let joining = join(arctic(), &alice);
        pass_the_next_wait(&clock).await;
        joining.await.unwrap().unwrap();
    }
    // The homeserver said so twice, ninety seconds apart, and one passed in between.
    let limit = |transport: &Transport| {
        transport.pacing().budget(bob().server_name(), Kind::RemoteJoins, alice.user_id()).unwrap()
    };
    assert_eq!(limit(&before).interval, seconds(90));
    let joining = join(arctic(), &alice);
    assert_eq!(clock.asleep(1).await, seconds(90));
    joining.abort();

    let kept: Vec<_> = store.table::<serde_json::Value>("budget").iter().collect();
    let mut kept: Vec<_> =
        kept.into_iter().map(Result::unwrap).map(|(k, v)| format!("{k} = {v}")).collect();
    kept.sort();
    insta::assert_snapshot!(kept.join("\n"));

    let after = transport(&clock);
    after.pacing().keep_in(&store).await.unwrap();
    assert_eq!(limit(&after).interval, seconds(90));
    after.pacing().forget(alice.user_id()).await.unwrap();
    assert_eq!(store.table::<serde_json::Value>("budget").iter().count(), 1);
}

/// As far as a clock can be wrong: a machine without one of its own begins in 1970.
const YEARS: Duration = Duration::from_secs(10 * 31_536_000);

#[tokio::test]
async fn a_clock_that_is_set_forward_or_back_during_a_wait_changes_nothing_of_it() {
    let jump = SignedDuration::from_hours(90_000);
    for jump in [jump, -jump] {
        let fake = Fake::start(|_, before| if before == 0 { limited(7500) } else { ok() }).await;
        let clock = HeldClock::new(Timestamp::UNIX_EPOCH + YEARS * 2);
        let account = account(&transport(&clock), &fake).await;
        let joining = join(arctic(), &account);
        assert_eq!(clock.asleep(1).await, Duration::from_millis(7500));
        clock.set(clock.now() + jump);
        assert_eq!(pass_the_next_wait(&clock).await, Duration::from_millis(7500));
        joining.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_a_wrong_clock_said_of_the_next_token_holds_nothing_up_once_it_is_set_right() {
    let fake = Fake::start(|_, before| if before == 0 { limited(60_000) } else { ok() }).await;
    let right = Timestamp::UNIX_EPOCH + YEARS;
    let clock = HeldClock::new(right + YEARS);
    let dir = tempfile::TempDir::new().unwrap();
    let store =
        Store::open(dir.path(), &dir.path().join("key"), &mut StdRng::seed_from_u64(1)).unwrap();
    let first = transport(&clock);
    first.pacing().keep_in(&store).await.unwrap();
    let account_before = account(&first, &fake).await;
    let joining = join(arctic(), &account_before);
    assert_eq!(clock.asleep(1).await, seconds(60));
    // The one that waits has told; the next to come reads it, in this process and the one after.
    joining.abort();
    assert!(joining.await.unwrap_err().is_cancelled());
    clock.set(right);
    join(arctic(), &account_before).await.unwrap().unwrap();

    let restarted = transport(&clock);
    restarted.pacing().keep_in(&store).await.unwrap();
    join(arctic(), &account(&restarted, &fake).await).await.unwrap().unwrap();
}
