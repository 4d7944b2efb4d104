use std::{fs, path::Path};

use serde_json::json;

use crate::scene::Scene;

/// Every file below `folder`, with what is in it.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn no_secret_is_in_the_log_the_data_or_anything_that_the_bot_said() {
    let scene = Scene::with_settings("secrets", json!({ "log": "trace" })).await;
    scene.private_room("Moved").await;
    let chats = scene.consented().await;
    let token = scene.new.log_in().await.unwrap().access_token().to_owned();
    chats.old.say("login password not-the-password-but-still-secret").await.unwrap();
    chats.old.hear_about("did not accept that").await.unwrap();
    chats.old.say(&format!("login password {}", scene.old.password())).await.unwrap();
    chats.old.hear_about("can act as").await.unwrap();
    chats.new.say(&format!("login token {token}")).await.unwrap();
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    let said: String = [&chats.old, &chats.new]
        .into_iter()
        .flat_map(|chat| chat.messages())
        .filter(|message| message.sender == *scene.bot.user_id())
        .map(|message| format!("{} {:?}\n", message.body, message.formatted))
        .collect();
    scene.bot.stop().await.unwrap();

    let mut places = vec![
        ("the log".to_owned(), scene.bot.log().into_bytes()),
        ("what the bot said".to_owned(), said.into_bytes()),
    ];
    files(&scene.bot.data_dir(), &mut places);
    assert!(places.len() > 3, "there is a store to be searched");
    let secrets = [
        scene.old.password(),
        scene.new.password(),
        scene.bot.account().password(),
        token.as_str(),
        "not-the-password-but-still-secret",
    ];
    for (place, content) in &places {
        for secret in secrets {
            assert!(!contains(content, secret), "a secret ({}…) is in {place}", &secret[..4]);
        }
        // Synapse's tokens begin so; this finds those that only the bot knows.
        assert!(!contains(content, "syt_"), "an access token is in {place}");
    }
}
