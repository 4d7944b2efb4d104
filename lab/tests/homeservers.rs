//! The lab's homeservers federate, restart, and never outlive the lab.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use lab::{Lab, Limits, Options, RoomSpec, account::refusal, pair, wait};
use ruma::events::room::member::MembershipState;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_invitation_and_a_message_cross_between_the_homeservers_of_a_pair() {
    let pair = pair().await.unwrap();
    let alice = pair.old.account("alice").await.unwrap();
    let bob = pair.new.account("bob").await.unwrap();

    let room = alice.create_room(RoomSpec::private("Terns")).await.unwrap();
    alice.invite(&room, bob.user_id()).await.unwrap();
    bob.join(&room).await.unwrap();
    let event = bob.message(&room, "kee-arr").await.unwrap();

    assert_eq!(alice.member(&room, bob.user_id()).await.unwrap(), Some(MembershipState::Join));
    wait::until("the message arrives", SOON, || async {
        let path = format!("/_matrix/client/v3/rooms/{room}/event/{event}");
        let event = alice.send_raw(reqwest::Method::GET, &path, &json!({})).await;
        Ok(event.ok().filter(|event| event["content"]["body"] == "kee-arr"))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_public_room_is_joined_by_its_alias_from_the_other_homeserver() {
    let pair = pair().await.unwrap();
    let carol = pair.old.account("carol").await.unwrap();
    let dave = pair.new.account("dave").await.unwrap();

    let room = carol.create_room(RoomSpec::public("Colony").alias("colony")).await.unwrap();
    let alias = format!("#colony:{}", pair.old.name());
    let joined = dave.join_via((&*alias).try_into().unwrap(), &[]).await.unwrap();

    assert_eq!(joined, room);
    assert!(dave.joined_rooms().await.unwrap().contains(&room));
}

#[tokio::test]
async fn a_homeserver_stops_and_starts_again_with_other_limits_and_the_same_accounts() {
    let lab = Lab::new().unwrap();
    let homeserver = lab.homeserver(&Options::default()).await.unwrap();
    let erin = homeserver.account("erin").await.unwrap();
    let room = erin.create_room(RoomSpec::private("Nest")).await.unwrap();

    let limits = json!({ "rc_message": { "per_second": 0.01, "burst_count": 1 } });
    let limits = Limits::Given(limits.as_object().unwrap().clone());
    homeserver.restart_with(&Options { limits, ..Options::default() }).await.unwrap();

    erin.message(&room, "one").await.unwrap();
    let error = erin.message(&room, "two").await.unwrap_err();
    assert_eq!(refusal(&error).unwrap().status_code, 429);
}

#[tokio::test]
async fn a_homeserver_ends_when_its_lab_is_killed() {
    let mut lab =
        Command::new(env!("CARGO_BIN_EXE_homeserver")).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(lab.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let address = url.trim().strip_prefix("http://").unwrap().to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());

    lab.kill().unwrap();
    lab.wait().unwrap();

    wait::until("the port is closed", SOON, || async {
        Ok(std::net::TcpStream::connect(&address).err())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_homeserver_that_cannot_start_says_why() {
    let settings = json!({ "log_config": "/nowhere/at/all" }).as_object().unwrap().clone();
    let options = Options { settings, ..Options::default() };
    let error = Lab::new().unwrap().homeserver(&options).await.unwrap_err();
    assert!(format!("{error:#}").contains("/nowhere/at/all"), "{error:#}");
}
