//! What admins of the bot may see and do, and others may not.

use serde_json::json;

use crate::scene::{Scene, is_in, log_in};

/// A scene with an admin, who is named after it.
async fn scene(name: &str) -> Scene<'static> {
    let pair = lab::pair().await.unwrap();
    let admin = format!("@{name}-admin:{}", pair.old.name());
    Scene::with_settings(name, json!({ "access": { "admins": [admin] } })).await
}

#[tokio::test]
async fn an_admin_sees_counts_and_phases_and_stops_a_migration_whose_person_is_told() {
    let scene = scene("adminsees").await;
    let admin = scene.pair.old.person("adminsees-admin").await.unwrap();
    let room = scene.private_room("Very secret room").await;
    let chats = scene.planned().await;
    let chat = admin.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say("admin migrations").await.unwrap();
    let listed = chat.hear_about("1 migration not over").await.unwrap().body;
    assert!(listed.contains(scene.old.user_id().as_str()) && listed.contains("waiting for"));
    chat.say(&format!("admin show {}", scene.new.user_id())).await.unwrap();
    let shown = chat.hear_about("access to the old account: by a session").await.unwrap().body;
    assert!(!shown.contains("secret") && !shown.contains(room.as_str()), "{shown}");
    assert!(!shown.contains(scene.friend.user_id().as_str()), "{shown}");
    chat.say(&format!("admin pause {}", scene.old.user_id())).await.unwrap();
    chat.hear_about("is now paused").await.unwrap();
    for told in [&chats.old, &chats.new] {
        told.hear_about("An admin of this bot said `pause`").await.unwrap();
    }
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("not possible now").await.unwrap();
    chat.say(&format!("admin pause {}", scene.old.user_id())).await.unwrap();
    chat.hear_about("is paused. Nothing was changed").await.unwrap();
    chat.say(&format!("admin resume {}", scene.old.user_id())).await.unwrap();
    chats.old.hear_about("An admin of this bot said `resume`").await.unwrap();
    chat.say("admin announce This server closes on Friday.").await.unwrap();
    // The new account is on another server.
    chat.hear_about("1 local account").await.unwrap();
    chats.old.hear_about("closes on Friday").await.unwrap();
    chat.say(&format!("admin cancel {}", scene.old.user_id())).await.unwrap();
    chat.hear_about("is now cancelled").await.unwrap();
    chats.new.hear_about("An admin of this bot said `cancel`").await.unwrap();
    assert!(!chats.new.transcript().contains("closes on Friday"));
    assert!(!is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn for_everybody_else_the_commands_of_admins_do_not_exist() {
    let scene = scene("adminnot").await;
    let chats = scene.consented().await;
    chats.old.say("help").await.unwrap();
    let help = chats.old.hear_about("`start @new:server`").await.unwrap().body;
    assert!(!help.contains("admin"), "{help}");
    for said in ["migrations", "announce Hello", "pause 1", "cancel 1", "show 1"] {
        chats.new.say(&format!("admin {said}")).await.unwrap();
        let answer = chats.new.hear_about("I do not know").await.unwrap().body;
        assert!(!answer.contains("admin migrations"), "{answer}");
    }
    log_in(&chats.old).await;
}
