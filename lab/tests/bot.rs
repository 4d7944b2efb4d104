//! A bot is started, stopped, killed and started again. A shell script stands in for the bot, since
//! the lab knows nothing of the real one but what it says when it is ready.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use lab::{Bot, BotOptions, Lab, pair};
use serde_json::json;

const READY: &str = "
[ -e data ] && echo again || mkdir data
trap 'exit 0' TERM
echo info: tern is ready
while :; do sleep 0.1; done
";

fn script(lab: &Lab, text: &str) -> anyhow::Result<PathBuf> {
    let path = lab.folder("script")?.join("bot");
    fs::write(&path, format!("#!/bin/sh\n{text}"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[tokio::test]
async fn a_bot_keeps_its_data_when_it_is_killed() {
    let pair = pair().await.unwrap();
    let account = pair.old.account("killed").await.unwrap();
    let script = script(&pair.lab, READY).unwrap();
    let bot = Bot::start(&pair.lab, BotOptions::new(&script, &account, &[&pair.old])).await;
    let bot = bot.unwrap();
    assert!(!bot.log().contains("again"));

    bot.kill().await.unwrap();
    assert_eq!(bot.pid(), None);
    bot.start_again().await.unwrap();

    assert!(bot.log().contains("again"));
    bot.stop().await.unwrap();
}

#[tokio::test]
async fn a_bot_finds_its_configuration_with_the_settings_of_the_test() {
    let pair = pair().await.unwrap();
    let account = pair.old.account("configured").await.unwrap();
    let script = script(&pair.lab, READY).unwrap();
    let settings = json!({ "log": "trace", "storage": { "key_file": null } });
    let servers = [&pair.old, &pair.new];
    let options = BotOptions { settings, ..BotOptions::new(&script, &account, &servers) };
    let bot = Bot::start(&pair.lab, options).await.unwrap();

    let config = fs::read_to_string(bot.config_path()).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        config,
        json!({
            "bot": {
                "homeserver": pair.old.url(),
                "user_id": account.user_id(),
                "password": account.password(),
            },
            "homeservers": {
                pair.old.name().as_str(): pair.old.url(),
                pair.new.name().as_str(): pair.new.url(),
            },
            "storage": { "path": bot.data_dir() },
            "log": "trace",
        })
    );
}

#[tokio::test]
async fn a_bot_that_ends_at_once_says_why() {
    let pair = pair().await.unwrap();
    let account = pair.old.account("failing").await.unwrap();
    let script = script(&pair.lab, "echo 'unknown key `bto`' >&2; exit 1").unwrap();
    let options = BotOptions::new(&script, &account, &[]);
    let error = Bot::start(&pair.lab, options).await.unwrap_err();
    assert!(format!("{error:#}").contains("unknown key `bto`"), "{error:#}");
}
