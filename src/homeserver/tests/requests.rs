use ruma::{
    device_id,
    events::{
        GlobalAccountDataEventType, StateEventType,
        room::member::MembershipState,
        tag::{TagInfo, TagName},
    },
    owned_server_name,
    push::{NewPatternedPushRule, NewPushRule},
};
use serde_json::{Value, json};

use super::{
    fake::{Seen, error, json, limited, ok},
    *,
};

async fn sent_by<F: Future>(act: impl FnOnce(Account) -> F) -> Seen {
    let fake = Fake::start(|_, _| ok()).await;
    let account = account(&transport(&clock()), &fake).await;
    act(account).await;
    let [seen] = <[Seen; 1]>::try_from(fake.seen()).expect("one request was sent");
    seen
}

#[tokio::test]
async fn a_request_carries_the_token_in_its_header_only() {
    let seen = sent_by(async |account| {
        account.join(arctic().into(), vec![], Nearness::Here).await.unwrap()
    })
    .await;
    assert_eq!(seen.headers["authorization"], "Bearer syt_token");
    assert_eq!(seen.query, "");
}

#[tokio::test]
async fn a_join_names_the_servers_to_ask() {
    let via = vec![owned_server_name!("one.org"), owned_server_name!("two.org")];
    let seen =
        sent_by(async |account| account.join(arctic().into(), via, Nearness::Here).await.unwrap())
            .await;
    assert_eq!(seen.call, "POST join/!arctic:example.org");
    assert_eq!(seen.query, "via=one.org&via=two.org");
}

#[tokio::test]
async fn an_invite_names_the_invited() {
    let seen = sent_by(async |account| account.invite(arctic(), bob()).await.unwrap()).await;
    assert_eq!(seen.call, "POST rooms/!arctic:example.org/invite");
    assert_eq!(seen.body, json!({ "user_id": "@bob:example.org" }));
}

#[tokio::test]
async fn a_tag_keeps_its_order() {
    let mut info = TagInfo::new();
    info.order = Some(0.25);
    let seen = sent_by(async |account| {
        account.set_tag(arctic(), &TagName::Favorite, info).await.unwrap();
    })
    .await;
    assert_eq!(seen.call, "PUT user/@alice:example.org/rooms/!arctic:example.org/tags/m.favourite");
    assert_eq!(seen.body, json!({ "order": 0.25 }));
}

#[tokio::test]
async fn a_push_rule_goes_after_another_one() {
    let rule = NewPatternedPushRule::new("garden".into(), "garden".into(), vec![]);
    let seen = sent_by(async |account| {
        let rule = NewPushRule::Content(rule);
        account.set_push_rule(rule, Some("flowers".into())).await.unwrap();
    })
    .await;
    assert_eq!(seen.call, "PUT pushrules/global/content/garden");
    assert_eq!(seen.query, "after=flowers");
    assert_eq!(seen.body, json!({ "actions": [], "pattern": "garden" }));
}

#[tokio::test]
async fn a_profile_field_is_sent_under_its_name() {
    let seen = sent_by(async |account| {
        account.set_profile_field("displayname", json!("Alice")).await.unwrap();
    })
    .await;
    assert_eq!(seen.call, "PUT profile/@alice:example.org/displayname");
    assert_eq!(seen.body, json!({ "displayname": "Alice" }));
}

#[tokio::test]
async fn a_file_keeps_its_type() {
    let file = File { content: b"[1]".to_vec(), content_type: Some("image/png".into()) };
    let fake = Fake::start(|_, _| json(200, &json!({ "content_uri": "mxc://a.b/c" }))).await;
    let account = account(&transport(&clock()), &fake).await;
    assert_eq!(account.upload(file).await.unwrap(), "mxc://a.b/c");
    let [seen] = <[Seen; 1]>::try_from(fake.seen()).unwrap();
    assert_eq!(seen.headers["content-type"], "image/png");
    assert_eq!(seen.body, json!([1]));
}

#[tokio::test]
async fn a_profile_that_is_not_there_has_no_fields() {
    let fake = Fake::start(|_, _| error(404, "M_NOT_FOUND", "")).await;
    let account = account(&transport(&clock()), &fake).await;
    assert!(account.profile(bob()).await.unwrap().is_empty());
}

#[tokio::test]
async fn push_rules_are_read_from_homeservers_that_do_not_give_them_as_account_data() {
    let fake = Fake::start(|call, _| match call {
        "GET pushrules/" => json(200, &json!({ "global": { "content": [] } })),
        _ => error(404, "M_NOT_FOUND", ""),
    })
    .await;
    let account = account(&transport(&clock()), &fake).await;
    assert!(account.push_rules().await.unwrap().contains_key("global"));
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let fake = Fake::start(|_, _| error(404, "M_NOT_FOUND", "Not found")).await;
    let account = account(&transport(&clock()), &fake).await;
    let direct = GlobalAccountDataEventType::Direct;
    assert_eq!(account.account_data(direct).await, Ok(None));
    assert!(account.member(arctic(), bob()).await.unwrap().is_none());
    assert_eq!(account.resolve_alias(ruma::room_alias_id!("#a:example.org")).await, Ok(None));
}

#[tokio::test]
async fn state_that_is_read_and_written_keeps_fields_that_tern_does_not_know() {
    let levels = json!({ "users": { "@bob:example.org": 50 }, "org.example.unknown": [1, null] });
    let fake = Fake::start({
        let levels = levels.clone();
        move |call, _| if call.starts_with("GET") { json(200, &levels) } else { ok() }
    })
    .await;
    let account = account(&transport(&clock()), &fake).await;
    let read = account.state(arctic(), StateEventType::RoomPowerLevels, "").await.unwrap().unwrap();
    account.set_state(arctic(), StateEventType::RoomPowerLevels, "", &read).await.unwrap();
    let written = &fake.seen()[1];
    assert_eq!(written.call, "PUT rooms/!arctic:example.org/state/m.room.power_levels/");
    assert_eq!(written.body, levels);
}

#[tokio::test]
async fn a_membership_is_read() {
    let fake = Fake::start(|_, _| json(200, &json!({ "membership": "invite" }))).await;
    let account = account(&transport(&clock()), &fake).await;
    let member = account.member(arctic(), bob()).await.unwrap().unwrap();
    assert_eq!(member.membership, MembershipState::Invite);
}

#[tokio::test]
async fn logging_out_a_session_that_is_gone_is_no_failure() {
    let fake = Fake::start(|_, _| error(401, "M_UNKNOWN_TOKEN", "Invalid")).await;
    let transport = transport(&clock());
    let server = transport.server_at(fake.url()).await.unwrap();
    let token = Secret::from("syt_token");
    assert_eq!(transport.log_out(&server, &token).await, Ok(()));
}

#[tokio::test]
async fn an_application_service_names_the_account_in_each_request_and_an_account_itself_does_not() {
    let fake = Fake::start(|_, _| ok()).await;
    let transport = transport(&clock());
    let own = account(&transport, &fake).await;
    let auth = Auth::Masquerade(Secret::from("as_token"));
    let service = Account::new(transport, own.server().clone(), &alice(), auth);
    own.join(arctic().into(), vec!["a.example".try_into().unwrap()], Nearness::Here).await.unwrap();
    service
        .join(arctic().into(), vec!["a.example".try_into().unwrap()], Nearness::Here)
        .await
        .unwrap();
    let seen = fake.seen();
    assert!(!seen[0].query.contains("user_id"), "{}", seen[0].query);
    assert_eq!(seen[1].query, format!("{}&user_id=%40alice%3Aexample.org", seen[0].query));
    assert_eq!(seen[1].headers["authorization"], "Bearer as_token");
}

#[tokio::test]
async fn nothing_is_sent_once_the_mandate_has_ended_not_even_what_waits_for_its_turn() {
    let fake = Fake::start(|_, before| if before == 0 { limited(60_000) } else { ok() }).await;
    let clock = clock();
    let transport = transport(&clock);
    let server = transport.server_at(fake.url()).await.unwrap();
    let mandate = alice();
    let auth = Auth::Masquerade(Secret::from("as_token"));
    // A worker's own token, which nobody cancels here.
    let account = Account::new(transport, server, &mandate, auth).until(CancellationToken::new());
    let joining = tokio::spawn({
        let account = account.clone();
        async move { account.join(arctic().into(), vec![], Nearness::Here).await.map(drop) }
    });
    let wait = clock.asleep(1).await;
    mandate.ended().cancel();
    clock.advance(wait);
    assert_eq!(joining.await.unwrap(), Err(Failure::Stopped));
    assert_eq!(account.whoami().await.unwrap_err(), Failure::Stopped);
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn a_login_is_sent_once_without_any_token_and_shows_no_secret() {
    let fake = Fake::start(|_, _| {
        let body = json!({ "user_id": "@bob:example.org", "device_id": "TERN", "access_token": "syt_new" });
        json(200, &body)
    })
    .await;
    let transport = transport(&clock());
    let server = transport.server_at(fake.url()).await.unwrap();
    let password = Secret::from("hunter2");
    let login = transport
        .login_password(&server, bob(), &password, device_id!("TERN"), "Tern")
        .await
        .unwrap();
    assert_eq!(login.user_id, bob());
    assert!(!format!("{login:?}").contains("syt_new"));
    let seen = &fake.seen()[0];
    assert!(!seen.headers.contains_key("authorization"));
    assert_eq!(seen.body["identifier"]["user"], "@bob:example.org");
    assert_eq!(seen.body["password"], "hunter2");
    assert_eq!(seen.body["refresh_token"], Value::Null);
}
