use std::fs;

use ruma::{server_name, user_id};
use tempfile::TempDir;

use super::*;
use crate::secret::ExposeSecret;

const LEAST: &str = "bot:\n  user_id: \"@tern:example.org\"\n  password: hunter2\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}

fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new("config.yaml"), text, environment)
}

fn error(text: &str) -> String {
    error_with(text, &[])
}

fn error_with(text: &str, environment: &[(&str, &str)]) -> String {
    parse_with(text, environment).expect_err("the configuration is wrong").to_string()
}

fn password(config: &Config) -> &str {
    match &config.bot.entrance {
        Entrance::Password(password) => password.expose_secret(),
        Entrance::Appservice(server) => panic!("an application service on {server}"),
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.bot.display_name, "Tern");
    assert_eq!(config.bot.prefix.as_str(), "!migrate");
    assert!(config.access.allows(user_id!("@anyone:example.org")));
    assert!(!config.access.allows(user_id!("@anyone:elsewhere.org")));
    assert!(config.access.admins.is_empty());
    assert!(config.homeservers.is_empty());
    assert_eq!(config.storage.path, Path::new("data"));
    assert_eq!(config.storage.key_file, Path::new("data/key"));
    assert_eq!(config.consent.expires, Duration::from_secs(86_400));
    assert_eq!(config.plan.quiet_after, Duration::from_secs(365 * 86_400));
    assert_eq!(config.log.as_str(), "info");
}

#[test]
fn every_key_can_be_given() {
    let config = parse(
        r#"
bot:
  homeserver: https://matrix.example.org
  user_id: "@tern:example.org"
  password: hunter2
  display_name: Arctic
  prefix: "!move"
access:
  allow: ["@*:example.org", "@a?:*"]
  admins: ["@admin:example.org"]
homeservers:
  other.org: http://127.0.0.1:8008
storage:
  path: state
  key_file: keys/tern
consent:
  expires: 3d
plan:
  quiet_after: 90d
log: warn,tern=trace
"#,
    )
    .unwrap();
    assert_eq!(config.bot.display_name, "Arctic");
    assert_eq!(config.bot.prefix.as_str(), "!move");
    assert!(config.access.allows(user_id!("@ab:elsewhere.org")));
    assert!(!config.access.allows(user_id!("@abc:elsewhere.org")));
    assert_eq!(config.access.admins, ["@admin:example.org"]);
    assert_eq!(
        config.homeservers[server_name!("example.org")].as_str(),
        "https://matrix.example.org/"
    );
    assert_eq!(config.homeservers[server_name!("other.org")].as_str(), "http://127.0.0.1:8008/");
    assert_eq!(config.storage.path, Path::new("state"));
    assert_eq!(config.storage.key_file, Path::new("keys/tern"));
    assert_eq!(config.consent.expires, Duration::from_secs(3 * 86_400));
    assert_eq!(config.plan.quiet_after, Duration::from_secs(90 * 86_400));
    assert_eq!(config.log.as_str(), "warn,tern=trace");
}

#[test]
fn the_example_loads() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "hunter2\n").unwrap();
    let example = include_str!("../../config.example.yaml");
    let example = example.replace("/run/secrets/tern", file.to_str().unwrap());
    let config = parse(&example).unwrap();
    assert_eq!(password(&config), "hunter2");
}

#[test]
fn the_example_with_every_key_put_in_loads() {
    let example = include_str!("../../config.example.yaml");
    let all: Vec<_> = example
        .lines()
        .filter(|line| !line.trim_start().starts_with("password_file"))
        .map(|line| match line.find("# ") {
            Some(at) if line[at + 2..].split_once(':').is_some_and(|(key, _)| is_key(key)) => {
                format!("{}{}", &line[..at], &line[at + 2..])
            }
            _ => line.to_owned(),
        })
        .collect();
    let config = parse(&all.join("\n")).unwrap();
    assert_eq!(password(&config), "in quotes");
    assert_eq!(config.homeservers.len(), 1);
    assert_eq!(config.access.admins.len(), 1);
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_lowercase() || "_.".contains(char))
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let text = format!("{LEAST}  prefx: \"!move\"\n");
    insta::assert_snapshot!(error(&text), @"config.yaml: bot: unknown field `prefx`, expected one of `homeserver`, `user_id`, `password`, `password_file`, `appservice`, `display_name`, `prefix` at line 4 column 3");
    let text = format!("{LEAST}logs: info\n");
    insta::assert_snapshot!(error(&text), @"config.yaml: unknown field `logs`, expected one of `bot`, `access`, `homeservers`, `appservices`, `storage`, `web`, `consent`, `moderation`, `plan`, `log` at line 4 column 1");
}

#[test]
fn a_wrong_value_is_named_with_its_key_and_line() {
    let with = |text: &str| error(&format!("{LEAST}{text}"));
    insta::assert_snapshot!(with("consent:\n  expires: soon\n"), @r#"config.yaml: consent.expires: a duration looks like "24h" or "3d" at line 5 column 12"#);
    insta::assert_snapshot!(with("consent:\n  expires: 0s\n"), @r#"config.yaml: consent.expires: a duration looks like "24h" or "3d" at line 5 column 12"#);
    insta::assert_snapshot!(with("access:\n  allow: [\"example.org\"]\n"), @r#"config.yaml: access.allow[0]: a pattern for user IDs looks like "@*:example.org" at line 5 column 11"#);
    insta::assert_snapshot!(with("access:\n  admins: [admin]\n"), @r#"config.yaml: access.admins[0]: leading sigil is incorrect or missing; a user ID looks like "@tern:example.org" at line 5 column 12"#);
    insta::assert_snapshot!(with("homeservers:\n  example.org: matrix.example.org\n"), @r#"config.yaml: homeservers.example.org: a homeserver's URL looks like "https://matrix.example.org" at line 5 column 16"#);
    insta::assert_snapshot!(with("homeservers:\n  \"no server\": https://example.org\n"), @"config.yaml: homeservers: server name is not a valid IP address or domain name at line 5 column 3");
    insta::assert_snapshot!(with("  prefix: \"two words\"\n"), @r#"config.yaml: bot.prefix: a prefix is one word, like "!migrate" at line 4 column 11"#);
    insta::assert_snapshot!(with("log: loud\n"), @r#"config.yaml: log: "loud" is not a log level; a log filter looks like "info" or "warn,tern=debug" at line 4 column 6"#);
    insta::assert_snapshot!(with("log: tern=loud\n"), @r#"config.yaml: log: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5; a log filter looks like "info" or "warn,tern=debug" at line 4 column 6"#);
    insta::assert_snapshot!(error("bot:\n  user_id: tern\n"), @r#"config.yaml: bot.user_id: leading sigil is incorrect or missing; a user ID looks like "@tern:example.org" at line 2 column 12"#);
    insta::assert_snapshot!(error("bot: [\n"), @"config.yaml: bot: invalid type: sequence, expected keys with values at line 1 column 6");
}

#[test]
fn what_is_missing_is_named() {
    insta::assert_snapshot!(error(""), @"config.yaml: bot.user_id is missing: it is the account that the bot logs in to");
    insta::assert_snapshot!(error("# nothing\n"), @"config.yaml: bot.user_id is missing: it is the account that the bot logs in to");
    insta::assert_snapshot!(error("bot:\n  user_id: \"@tern:example.org\"\n"), @"config.yaml: bot.password is missing: the bot needs it, or bot.password_file or bot.appservice, to log in");
    insta::assert_snapshot!(error(&format!("{LEAST}  password_file: secret\n")), @"config.yaml: bot.password and bot.password_file are both given; give one of them");
}

#[test]
fn a_password_file_that_is_missing_or_empty_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("password");
    let text = format!("bot:\n  user_id: \"@tern:example.org\"\n  password_file: {file:?}\n");
    assert!(error(&text).ends_with("/password cannot be read"));
    fs::write(&file, "\n").unwrap();
    assert!(error(&text).ends_with("/password is empty"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("nowhere.yaml"), []).unwrap_err();
    assert_eq!(error.to_string(), "nowhere.yaml cannot be read");
}

#[test]
fn no_error_and_no_debug_output_shows_a_password() {
    let unquoted = error("bot:\n  user_id: \"@tern:example.org\"\n  password: 8472\n");
    insta::assert_snapshot!(unquoted, @"config.yaml: bot.password: a secret that is a number or a word of YAML must be written in quotes at line 3 column 13");
    assert!(!format!("{:?}", parse(LEAST).unwrap()).contains("hunter2"));
}

#[test]
fn the_environment_overrides_the_file() {
    let config = parse_with(
        LEAST,
        &[
            ("PATH", "irrelevant"),
            ("TERN_BOT__PASSWORD", "0123"),
            ("TERN_BOT__DISPLAY_NAME", "null"),
            ("TERN_ACCESS__ALLOW", "[\"@*:one.org\", \"@*:two.org\"]"),
            ("TERN_HOMESERVERS__example.org", "https://matrix.example.org"),
            ("TERN_CONSENT__EXPIRES", "2h"),
            ("TERN_LOG", "debug"),
        ],
    )
    .unwrap();
    assert_eq!(password(&config), "0123");
    assert_eq!(config.bot.display_name, "null");
    assert!(config.access.allows(user_id!("@anyone:two.org")));
    assert_eq!(config.homeservers.len(), 1);
    assert_eq!(config.consent.expires, Duration::from_secs(7200));
    assert_eq!(config.log.as_str(), "debug");
}

#[test]
fn the_environment_alone_is_enough() {
    let config = parse_with(
        "",
        &[("TERN_BOT__USER_ID", "@tern:example.org"), ("TERN_BOT__PASSWORD", "hunter2")],
    )
    .unwrap();
    assert_eq!(config.bot.user_id, "@tern:example.org");
}

#[test]
fn a_wrong_override_names_its_variable() {
    let with = |name, value| error_with(LEAST, &[(name, value)]);
    insta::assert_snapshot!(with("TERN_BOT__PREFX", "!move"), @"environment variable TERN_BOT__PREFX: unknown field `prefx`, expected one of `homeserver`, `user_id`, `password`, `password_file`, `appservice`, `display_name`, `prefix`");
    insta::assert_snapshot!(with("TERN_CONSENT__EXPIRES", "soon"), @r#"environment variable TERN_CONSENT__EXPIRES: a duration looks like "24h" or "3d""#);
    insta::assert_snapshot!(with("TERN_CONSENT__EXPIRES", "7"), @"environment variable TERN_CONSENT__EXPIRES: a duration looks like \"24h\" or \"3d\"");
    insta::assert_snapshot!(with("TERN_LOG__LEVEL", "info"), @"environment variable TERN_LOG__LEVEL: invalid type: map, expected a string");
    insta::assert_snapshot!(with("TERN_BOT", "hunter2"), @r#"environment variable TERN_BOT: invalid type: string "hunter2", expected keys with values"#);
    insta::assert_snapshot!(with("TERN_", "hunter2"), @"environment variable TERN_: unknown field ``, expected one of `bot`, `access`, `homeservers`, `appservices`, `storage`, `web`, `consent`, `moderation`, `plan`, `log`");
}
