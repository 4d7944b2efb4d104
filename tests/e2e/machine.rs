//! What the machine does to the bot: a full disk, a second bot on the same store.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use lab::{Bot, BotOptions, pair, wait};
use serde_json::json;
use tokio::process::Command;

use crate::scene::{Scene, TERN};

#[tokio::test]
async fn a_second_bot_on_the_same_store_is_refused_and_the_first_goes_on() {
    let scene = Scene::new("second-bot").await;
    let config = scene.bot.config_path();
    let mut second = Command::new(TERN);
    let second = second.arg("--config").arg(config).current_dir(scene.pair.lab.path());
    let ended = tokio::time::timeout(Duration::from_secs(60), second.output());
    let ended = ended.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success());
    assert!(said.contains("another Tern runs on this storage.path"), "{said}");
    let chat = scene.old.chat_with(scene.bot.user_id(), false).await.unwrap();
    chat.say("status").await.unwrap();
    chat.hear_about("You are in no migration").await.unwrap();
}

/// Runs a bot that cannot start, and gives what it says.
async fn refuses(scene: &Scene<'_>) -> String {
    let mut bot = Command::new(TERN);
    let bot = bot.arg("--config").arg(scene.bot.config_path()).current_dir(scene.pair.lab.path());
    let ended = tokio::time::timeout(Duration::from_secs(60), bot.output()).await.unwrap().unwrap();
    assert!(!ended.status.success());
    String::from_utf8_lossy(&ended.stderr).lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_kept_aside_and_a_backup_goes_on() {
    let scene = Scene::new("damaged").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chat.hear_about("I am asking").await.unwrap();
    scene.bot.stop().await.unwrap();
    let data = scene.bot.data_dir();
    let database = data.join("sled/db");
    let whole = fs::read(&database).unwrap();
    let mut corrupted = whole.clone();
    // Over the first thing that was ever written, which says what the database is.
    corrupted.iter_mut().take(whole.len() / 2).for_each(|byte| *byte ^= 0xff);
    for damaged in [&whole[..100], &corrupted] {
        fs::write(&database, damaged).unwrap();
        for _start in 0..2 {
            let said = refuses(&scene).await;
            assert!(said.contains("is damaged"), "{said}");
            let kept = data.join("damaged/sled");
            assert!(said.contains(&format!("kept in {}", kept.display())), "{said}");
            assert!(said.contains("Bring the directory storage.path back from a backup"), "{said}");
            let mode = fs::metadata(kept.join("db")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::remove_dir_all(data.join("damaged")).unwrap();
    }
    fs::write(&database, &whole).unwrap();
    scene.bot.start_again().await.unwrap();
    chat.say("status").await.unwrap();
    chat.hear_about("I wait for the new account").await.unwrap();
}

#[tokio::test]
async fn what_can_be_read_beside_a_damaged_record_is_kept_aside() {
    let scene = Scene::new("torn-record").await;
    let chat = scene.old.chat_with(scene.bot.user_id(), true).await.unwrap();
    chat.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    chat.hear_about("I am asking").await.unwrap();
    scene.bot.stop().await.unwrap();
    let database = || sled::open(scene.bot.data_dir().join("sled")).unwrap();
    let mut whole = sled::Batch::default();
    // One that is read at once, and one that is read when the bot logs in.
    for table in ["migration/", "chat_account/"] {
        let database = database();
        database.apply_batch(std::mem::take(&mut whole)).unwrap();
        let (key, record) = database.scan_prefix(table).next().unwrap().unwrap();
        database.insert(&key, &record[..record.len() / 2]).unwrap();
        whole.insert(key, record);
        drop(database);
        let said = refuses(&scene).await;
        assert!(said.contains(&format!("record {table}")), "{said}");
        let kept = scene.bot.data_dir().join("damaged/records.jsonl");
        assert!(said.contains(&format!("kept in {}", kept.display())), "{said}");
        let lines = fs::read_to_string(&kept).unwrap();
        assert!(lines.contains(&format!(r#""key":"{table}"#)), "{lines}");
        // Encrypted as it was.
        assert!(!lines.contains(scene.old.user_id().localpart()), "{lines}");
        fs::remove_file(kept).unwrap();
    }
    database().apply_batch(whole).unwrap();
    scene.bot.start_again().await.unwrap();
}

/// A full disk cannot be had without a file system of its own; a limit on the size of files gives
/// the same kind of error to whoever writes.
#[tokio::test]
async fn a_bot_that_cannot_write_any_more_ends_with_the_reason_and_goes_on_once_it_can() {
    let pair = pair().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let limit = folder.path().join("limit");
    let script = folder.path().join("tern");
    // Without the signal, writing beyond the limit is an error and not the end.
    let lines = format!(
        "#!/bin/sh\ntrap '' XFSZ\n[ -e {limit} ] && ulimit -f \"$(cat {limit})\"\nexec {TERN} \"$@\"\n",
        limit = limit.display(),
    );
    fs::write(&script, lines).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let account = pair.old.account("full-tern").await.unwrap();
    let servers = [&pair.old, &pair.new];
    let settings = json!({ "access": { "allow": ["@*:*"] } });
    let options =
        BotOptions { settings, ..BotOptions::new(Path::new(&script), &account, &servers) };
    let bot = Bot::start(&pair.lab, options).await.unwrap();
    let (old, new) =
        (pair.old.person("full-old").await.unwrap(), pair.new.person("full-new").await);
    let new = new.unwrap();
    let chat = old.chat_with(bot.user_id(), false).await.unwrap();
    chat.say(&format!("start {}", new.user_id())).await.unwrap();
    chat.hear_about("I am asking").await.unwrap();
    bot.stop().await.unwrap();

    // The database is this large already, in blocks of 512 bytes.
    let size = fs::metadata(bot.data_dir().join("sled/db")).unwrap().len();
    fs::write(&limit, format!("{}", size / 512)).unwrap();
    let started = bot.start_again().await;
    for number in 0..200 {
        if started.is_err() || bot.log().contains("is the disk full?") {
            break;
        }
        chat.say(&format!("help {number}")).await.unwrap();
    }
    wait::until("the bot says why", Duration::from_secs(60), || async {
        Ok(bot.log().contains("is the disk full?").then_some(()))
    })
    .await
    .unwrap();

    fs::remove_file(&limit).unwrap();
    let _ended = bot.kill().await;
    bot.start_again().await.unwrap();
    chat.say("status").await.unwrap();
    chat.hear_about("I wait for the new account").await.unwrap();
}
