use crate::scene::{Scene, is_in};

#[tokio::test]
async fn either_side_cancels_before_anything_was_done() {
    let scene = Scene::new("cancelold").await;
    let room = scene.private_room("Not moved").await;
    let chats = scene.planned().await;
    chats.old.say("cancel").await.unwrap();
    chats.old.hear_about("has ended").await.unwrap();
    chats.new.hear_about("has ended").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("cancelled").await.unwrap();
    assert!(!is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn the_new_account_cancels_too_and_the_accounts_are_free_again() {
    let scene = Scene::new("cancelnew").await;
    let chats = scene.consented().await;
    chats.new.say("cancel").await.unwrap();
    chats.old.hear_about("has ended").await.unwrap();
    chats.old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    let question = chats.new.hear_about("wants to move to this account").await.unwrap();
    chats.new.react(&question.event_id, "✅").await.unwrap();
    chats.old.hear_about("agreed").await.unwrap();
}

#[tokio::test]
async fn only_the_old_account_says_go_by_a_word_or_a_reaction_to_the_plan() {
    let scene = Scene::new("go").await;
    let room = scene.private_room("Moved").await;
    let chats = scene.planned().await;
    chats.new.say("go").await.unwrap();
    chats.new.hear_about("Only the old account").await.unwrap();
    assert!(!is_in(&scene.new, &room).await);
    let plan = chats.old.messages().into_iter().rev().find(|message| {
        message.sender == *scene.bot.user_id() && message.body.starts_with("The plan")
    });
    chats.old.react(&plan.unwrap().event_id, "✅").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn rooms_are_skipped_and_included_by_their_number_or_name() {
    let scene = Scene::new("skip").await;
    let kept = scene.private_room("Kept").await;
    let skipped = scene.private_room("Skipped").await;
    let chats = scene.planned().await;
    chats.old.say("rooms").await.unwrap();
    let list = chats.old.hear_about("The plan has").await.unwrap().body;
    let line = list.lines().find(|line| line.contains("Skipped")).unwrap();
    let number = line.trim_start_matches(|char: char| !char.is_ascii_digit());
    let number = &number[..number.find('.').unwrap()];
    chats.old.say(&format!("skip {number}")).await.unwrap();
    chats.old.hear(|message| message.body.to_lowercase().contains("skip")).await.unwrap();
    chats.old.say(&format!("skip {kept}")).await.unwrap();
    chats.old.hear(|message| message.body.to_lowercase().contains("skip")).await.unwrap();
    chats.old.say(&format!("include https://matrix.to/#/{kept}")).await.unwrap();
    chats.old.hear(|message| message.body.to_lowercase().contains("plan")).await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &kept).await);
    assert!(!is_in(&scene.new, &skipped).await);
}

#[tokio::test]
async fn a_paused_migration_does_nothing_until_it_is_resumed() {
    let scene = Scene::new("pause").await;
    let room = scene.private_room("Later").await;
    let chats = scene.planned().await;
    chats.new.say("pause").await.unwrap();
    chats.old.hear_about("paused").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("not possible now").await.unwrap();
    assert!(!is_in(&scene.new, &room).await);
    chats.old.say("resume").await.unwrap();
    chats.old.hear_about("goes on").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &room).await);
}

#[tokio::test]
async fn one_persons_migration_is_nothing_to_another() {
    let scene = Scene::new("apart").await;
    let room = scene.private_room("Mine").await;
    let chats = scene.planned().await;
    let other_old = scene.pair.old.person("apart-other-old").await.unwrap();
    let other_new = scene.pair.new.person("apart-other-new").await.unwrap();
    let theirs = other_old.chat_with(scene.bot.user_id(), true).await.unwrap();
    for command in ["go", "cancel", "status", "report", "rooms"] {
        theirs.say(command).await.unwrap();
        theirs.hear_about("no migration").await.unwrap();
    }
    // That the account is in a migration is not told: it is asked like any other.
    theirs.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    theirs.hear_about("I am asking").await.unwrap();
    chats.new.hear_about(other_old.user_id().as_str()).await.unwrap();
    chats.new.say(&format!("accept {}", other_old.user_id())).await.unwrap();
    chats.new.hear_about("You are in a migration already").await.unwrap();
    theirs.say("cancel").await.unwrap();
    theirs.hear_about("has ended").await.unwrap();
    theirs.say(&format!("start {}", other_new.user_id())).await.unwrap();
    theirs.hear_about("I am asking").await.unwrap();
    theirs.say(&format!("skip {room}")).await.unwrap();
    theirs.hear_about("not possible now").await.unwrap();
    theirs.say("cancel").await.unwrap();
    theirs.hear_about("has ended").await.unwrap();
    let said: String = theirs.messages().into_iter().map(|message| message.body).collect();
    assert!(!said.contains("Mine"), "{said}");

    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    assert!(is_in(&scene.new, &room).await);
}
