use std::time::Duration;

use lab::{RoomSpec, wait};

use crate::scene::{Scene, is_in, level, log_in};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn without_access_to_the_new_account_the_person_accepts_and_the_bot_notices() {
    let scene = Scene::new("newhand").await;
    let private = scene.room(RoomSpec::private("By invitation")).await;
    let public = scene.room(RoomSpec::public("By link")).await;
    let chats = scene.consented().await;
    log_in(&chats.old).await;
    chats.new.say("login none").await.unwrap();
    chats.new.hear_about("will not act").await.unwrap();
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    let links = chats.new.hear_about("matrix.to").await.unwrap();
    assert!(links.body.contains("By link"), "{}", links.body);

    wait::until("the bot invites", PATIENCE, || async {
        let rooms = scene.new.client().invited_rooms();
        Ok(rooms.iter().any(|room| room.room_id() == private).then_some(()))
    })
    .await
    .unwrap();
    scene.new.join(&private).await.unwrap();
    wait::until("the bot raises the new account", PATIENCE, || async {
        Ok((level(&scene.old, &private, scene.new.user_id()).await == 150).then_some(()))
    })
    .await
    .unwrap();

    scene.new.join_via((&*public).into(), &[scene.pair.old.name().clone()]).await.unwrap();
    chats.new.hear_about("`forget`").await.unwrap();
    assert_eq!(level(&scene.old, &public, scene.new.user_id()).await, 150);
}

#[tokio::test]
async fn without_access_to_the_old_account_the_new_one_joins_what_it_can() {
    let scene = Scene::new("oldhand").await;
    let invited = scene.private_room("Invited by hand").await;
    let public = scene.room(RoomSpec::public("Named").alias("oldhand-named")).await;
    let hidden = scene.private_room("Nobody told the bot").await;
    scene.old.invite(&invited, scene.new.user_id()).await.unwrap();
    let chats = scene.consented().await;
    chats.old.say("login none").await.unwrap();
    chats.old.hear_about("will not act").await.unwrap();
    log_in(&chats.new).await;
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say(&format!("include #oldhand-named:{}", scene.pair.old.name())).await.unwrap();
    chats.old.hear_about("put into the plan").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &invited).await);
    assert!(is_in(&scene.new, &public).await);
    assert!(!is_in(&scene.new, &hidden).await);
}

#[tokio::test]
async fn without_any_access_the_bot_says_that_it_can_do_nothing() {
    let scene = Scene::new("nohand").await;
    let chats = scene.consented().await;
    chats.old.say("login none").await.unwrap();
    chats.old.hear_about("will not act").await.unwrap();
    chats.new.say("login none").await.unwrap();
    chats.old.hear_about("nothing I can do").await.unwrap();
    log_in(&chats.new).await;
    chats.old.hear_about("The plan:").await.unwrap();
}
