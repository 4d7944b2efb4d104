use lab::RoomSpec;
use ruma::{events::tag::TagName, user_id};

use crate::scene::{Scene, is_in, level};

#[tokio::test]
async fn a_person_is_moved_with_rooms_power_tags_and_direct_chats() {
    let scene = Scene::new("whole").await;
    let (old, new) = (&scene.old, &scene.new);
    let friend = &scene.friend;
    let stranger = scene.pair.new.account("whole-stranger").await.unwrap();

    let space = old.create_room(RoomSpec::space("Home")).await.unwrap();
    let club = scene.room(RoomSpec::private("Club").encrypted()).await;
    old.set_tag(&club, TagName::Favorite, Some(0.25)).await.unwrap();
    let direct = old.create_room(RoomSpec::direct(friend.user_id())).await.unwrap();
    friend.join(&direct).await.unwrap();
    let public = stranger.create_room(RoomSpec::public("Everybody")).await.unwrap();
    let via = [scene.pair.new.name().clone()];
    old.join_via((&*public).into(), &via).await.unwrap();
    let closed = friend
        .create_room(RoomSpec::private("Closed").needs("invite", 50).invite(old.user_id()))
        .await
        .unwrap();
    old.join(&closed).await.unwrap();
    let moderated = friend
        .create_room(RoomSpec::private("Moderated").power(old.user_id(), 50).invite(old.user_id()))
        .await
        .unwrap();
    old.join(&moderated).await.unwrap();

    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    let rooms = chats.old.hear_about("The plan has").await.unwrap();
    for name in ["Home", "Club", "Everybody", "Moderated"] {
        assert!(rooms.body.contains(name), "{name} is missing in {}", rooms.body);
    }
    assert!(!is_in(new, &club).await, "nothing was done before `go`");

    chats.old.say("go").await.unwrap();
    let report = chats.old.hear_about("`forget`").await.unwrap();
    assert!(report.body.contains("Closed"), "{}", report.body);

    for room in [&space, &club, &direct, &public, &moderated] {
        assert!(is_in(new, room).await, "the new account is not in {room}");
    }
    assert!(!is_in(new, &closed).await);
    // Rooms of version 12: the creator's power is above all numbers and cannot be handed on.
    assert_eq!(level(old, &club, new.user_id()).await, 150);
    assert_eq!(level(old, &space, new.user_id()).await, 150);
    assert_eq!(level(old, &public, new.user_id()).await, 0);
    let tags = new.tags(&club).await.unwrap();
    assert_eq!(tags[&TagName::Favorite].order, Some(0.25));
    assert!(new.direct().await.unwrap()[friend.user_id()].contains(&direct));
    assert!(
        !new.direct().await.unwrap().contains_key(user_id!("@nobody:localhost")),
        "only who is in a direct chat is marked"
    );

    let csv = chats.old.hear(|message| message.file.is_some()).await.unwrap();
    let csv = String::from_utf8(chats.old.download(&csv).await.unwrap()).unwrap();
    assert!(csv.contains("Club") && csv.contains("Closed"), "{csv}");
    let html = chats.old.hear(|message| message.file.is_some()).await.unwrap();
    assert_eq!(html.file.as_ref().unwrap().name, "report.html");
    let html = String::from_utf8(chats.old.download(&html).await.unwrap()).unwrap();
    assert!(html.contains("<html") && html.contains("Club"), "{html}");
}

#[tokio::test]
async fn an_account_without_rooms_is_moved_at_once() {
    let scene = Scene::new("empty").await;
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    let joined = scene.new.joined_rooms().await.unwrap();
    assert_eq!(joined.len(), 1, "only the chat with the bot: {joined:?}");
}

#[tokio::test]
async fn a_second_migration_of_the_same_accounts_finds_nothing_to_do() {
    let scene = Scene::new("twice").await;
    let room = scene.private_room("Once").await;
    let chats = scene.planned().await;
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &room).await);
    let events = || async {
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100");
        let answer = scene.old.send_raw(reqwest::Method::GET, &path, &serde_json::Value::Null);
        answer.await.unwrap()["chunk"].as_array().unwrap().len()
    };
    let before = events().await;

    chats.old.say("plan").await.unwrap();
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();

    assert_eq!(events().await, before, "nothing was sent to the room again");
}
