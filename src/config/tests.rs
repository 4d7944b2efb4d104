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
    assert!(config.homeservers.is_empty() && !config.private_addresses);
    assert_eq!(config.storage.path, Path::new("data"));
    assert_eq!(config.storage.key_file, Path::new("data/key"));
    assert_eq!(config.consent.expires, Duration::from_secs(86_400));
    assert_eq!(config.consent.keep, Duration::from_secs(7 * 86_400));
    assert_eq!(config.plan.quiet_after, Duration::from_secs(365 * 86_400));
    assert!(config.appservices.is_empty());
    assert_eq!(config.web.listen.to_string(), "127.0.0.1:29340");
    assert_eq!(config.web.metrics, None);
    assert_eq!(config.moderation.remind_after, Duration::from_secs(3 * 86_400));
    assert_eq!(config.moderation.expire_after, Duration::from_secs(14 * 86_400));
    assert_eq!(config.timeouts, Timeouts::default());
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
appservices:
  example.org:
    registration: registration.example.yaml
storage:
  path: state
  key_file: keys/tern
web:
  listen: "[::1]:8080"
  metrics: 127.0.0.1:9090
consent:
  expires: 3d
  keep: 2d
moderation:
  remind_after: 1d
  expire_after: 2days
plan:
  quiet_after: 90d
timeouts:
  connect: 1s
  request: 2s
  long_request: 5m
  retry_after: 3s
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
    assert_eq!(config.consent.keep, Duration::from_secs(2 * 86_400));
    assert_eq!(config.plan.quiet_after, Duration::from_secs(90 * 86_400));
    let registration = config.appservices.on(server_name!("example.org")).unwrap();
    assert_eq!(registration.id(), "tern");
    assert_eq!(config.web.listen.to_string(), "[::1]:8080");
    assert_eq!(config.web.metrics.unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(config.moderation.remind_after, Duration::from_secs(86_400));
    assert_eq!(config.moderation.expire_after, Duration::from_secs(2 * 86_400));
    let (connect, request) = (Duration::from_secs(1), Duration::from_secs(2));
    let (long_request, retry_after) = (Duration::from_secs(300), Duration::from_secs(3));
    assert_eq!(config.timeouts, Timeouts { connect, request, long_request, retry_after });
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

/// The example with every key put in, but for those that begin with one of `besides`.
fn whole_example(besides: &[&str]) -> String {
    let example = include_str!("../../config.example.yaml");
    let uncommented = example.lines().map(|line| match line.find("# ") {
        Some(at) if line[at + 2..].split_once(':').is_some_and(|(key, _)| is_key(key)) => {
            format!("{}{}", &line[..at], &line[at + 2..])
        }
        _ => line.to_owned(),
    });
    let all: Vec<_> = uncommented
        .filter(|line| !besides.iter().any(|key| line.trim_start().starts_with(key)))
        .collect();
    all.join("\n").replace("registration.yaml", "registration.example.yaml")
}

#[test]
fn the_example_with_every_key_put_in_loads() {
    let config = parse(&whole_example(&["password_file:", "appservice:"])).unwrap();
    assert_eq!(password(&config), "in quotes");
    assert_eq!(config.homeservers.len(), 1);
    assert_eq!(config.access.admins.len(), 1);
    assert!(config.web.metrics.is_some());
    let config = parse(&whole_example(&["password_file:", "password:"])).unwrap();
    assert!(matches!(config.bot.entrance, Entrance::Appservice(on) if on == "example.org"));
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_lowercase() || "_.".contains(char))
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let text = format!("{LEAST}  prefx: \"!move\"\n");
    insta::assert_snapshot!(error(&text), @"config.yaml: bot: unknown field `prefx`, expected one of `homeserver`, `user_id`, `password`, `password_file`, `appservice`, `display_name`, `prefix` at line 4 column 3");
    let text = format!("{LEAST}logs: info\n");
    insta::assert_snapshot!(error(&text), @"config.yaml: unknown field `logs`, expected one of `bot`, `access`, `homeservers`, `private_addresses`, `appservices`, `storage`, `web`, `consent`, `moderation`, `plan`, `timeouts`, `log` at line 4 column 1");
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
    insta::assert_snapshot!(with("appservices:\n  \"no server\": {}\n"), @"config.yaml: appservices: server name is not a valid IP address or domain name at line 5 column 3");
    insta::assert_snapshot!(with("appservices:\n  example.org: registration.yaml\n"), @r#"config.yaml: appservices.example.org: invalid type: string "registration.yaml", expected keys with values at line 5 column 16"#);
    insta::assert_snapshot!(with("appservices:\n  example.org:\n    registration: [1]\n"), @"config.yaml: appservices.example.org.registration: invalid type: sequence, expected path string at line 6 column 19");
    insta::assert_snapshot!(with("appservices:\n  example.org:\n    file: a\n"), @"config.yaml: appservices.example.org: unknown field `file`, expected `registration` at line 6 column 5");
    insta::assert_snapshot!(with("  appservice: \"no server\"\n"), @"config.yaml: bot.appservice: server name is not a valid IP address or domain name at line 4 column 15");
    insta::assert_snapshot!(with("web:\n  listen: 29340\n"), @r#"config.yaml: web.listen: an address looks like "127.0.0.1:29340" at line 5 column 11"#);
    insta::assert_snapshot!(with("web:\n  listen: localhost:29340\n"), @r#"config.yaml: web.listen: an address looks like "127.0.0.1:29340" at line 5 column 11"#);
    insta::assert_snapshot!(with("web:\n  metrics: all\n"), @r#"config.yaml: web.metrics: an address looks like "127.0.0.1:29340" at line 5 column 12"#);
    insta::assert_snapshot!(with("web:\n  port: 1\n"), @"config.yaml: web: unknown field `port`, expected `listen` or `metrics` at line 5 column 3");
    insta::assert_snapshot!(with("moderation:\n  remind_after: never\n"), @r#"config.yaml: moderation.remind_after: a duration looks like "24h" or "3d" at line 5 column 17"#);
    insta::assert_snapshot!(with("moderation:\n  expire_after: 0s\n"), @r#"config.yaml: moderation.expire_after: a duration looks like "24h" or "3d" at line 5 column 17"#);
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

fn with_registration(own_user: &str, registration: &Path) -> String {
    format!(
        "bot:\n  user_id: \"{own_user}\"\n  appservice: example.org\nappservices:\n  \
         example.org:\n    registration: {registration:?}\n"
    )
}

#[test]
fn a_registration_that_cannot_be_used_is_named_with_its_key_and_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tern.yaml");
    let cause_with = |text: &str| {
        fs::write(&file, text).unwrap();
        let error = parse(&with_registration("@tern:example.org", &file)).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        let error = error.to_string().replace(dir.path().to_str().unwrap(), "DIR");
        assert_eq!(error, "config.yaml: appservices.example.org.registration: DIR/tern.yaml");
        cause
    };
    let good = include_str!("../../registration.example.yaml");
    insta::assert_snapshot!(cause_with(""), @"it is not a registration: it has no `id`");
    insta::assert_snapshot!(cause_with(&good.replace("id: tern", "id: [tern]")), @"it is not a registration: look at line 13 column 5");
    insta::assert_snapshot!(cause_with(&good.replace("as_token:", "token:")), @"it is not a registration: it has no `as_token` at line 13 column 1");
    insta::assert_snapshot!(cause_with(&good.replace("hs_token: replace-this-by-64-other-random-characters", "hs_token: ''")), @"hs_token is empty");
    insta::assert_snapshot!(cause_with(&good.replace("url: http://tern:29340", "url: tern")), @r#"url is not one, like "http://localhost:29340""#);
    insta::assert_snapshot!(cause_with(&good.replace("^@.*", "^@(.*")), @r#"namespaces.users: ^@(.*:example\.org$ is not a regular expression: unclosed group"#);
    insta::assert_snapshot!(cause_with(&good.replace("sender_localpart: tern-service", "sender_localpart: '@tern:example.org'")), @"sender_localpart makes no user ID on example.org");
    fs::remove_file(&file).unwrap();
    let missing = parse(&with_registration("@tern:example.org", &file)).unwrap_err();
    let cause = std::error::Error::source(&missing).unwrap().to_string();
    assert!(cause.starts_with("it cannot be read: "), "{cause}");
    insta::assert_snapshot!(error(&format!("{LEAST}appservices:\n  example.org: {{}}\n")), @"config.yaml: appservices.….registration is missing: it is the file that the homeserver has, too");
}

#[test]
fn a_bot_whose_account_no_registration_covers_is_told_why() {
    let example = Path::new("registration.example.yaml");
    insta::assert_snapshot!(error(&with_registration("@tern:other.org", example)), @"config.yaml: bot.appservice: example.org: the registration does not cover @tern:other.org (bot.user_id)");
    insta::assert_snapshot!(error(&with_registration("@tern:example.org", example).replace("appservice: example.org", "appservice: other.org")), @"config.yaml: bot.appservice: other.org: appservices has no other.org");
    let both = with_registration("@tern:example.org", example)
        .replace("  appservice:", "  password: hunter2\n  appservice:");
    insta::assert_snapshot!(error(&both), @"config.yaml: bot.password and bot.appservice are both given; give one of them");
    let both = both.replace("password: hunter2", "password_file: secret");
    insta::assert_snapshot!(error(&both), @"config.yaml: bot.password_file and bot.appservice are both given; give one of them");
}

#[test]
fn two_homeservers_that_cannot_be_told_apart_are_named() {
    let two = "appservices:\n  one.org:\n    registration: registration.example.yaml\n  \
               two.org:\n    registration: registration.example.yaml\n";
    insta::assert_snapshot!(error(&format!("{LEAST}{two}")), @"config.yaml: appservices: the registrations on one.org and two.org have the same hs_token; write one of them anew with `tern registration`");
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
    insta::assert_snapshot!(with("TERN_", "hunter2"), @"environment variable TERN_: unknown field ``, expected one of `bot`, `access`, `homeservers`, `private_addresses`, `appservices`, `storage`, `web`, `consent`, `moderation`, `plan`, `timeouts`, `log`");
}

proptest::proptest! {
    #[test]
    fn no_file_and_no_variable_makes_the_reader_panic_or_tells_a_secret(
        text in "\\PC{0,200}",
        lines in "([a-z_]{1,12}:[ \n]{1,3}(\\PC{0,20}\n)?){0,8}",
        name in "(TERN_[A-Z_]{0,20})?",
        value in "\\PC{0,40}",
    ) {
        let secret = "password: hunter2";
        for text in [&text, &lines, &format!("bot:\n  {secret}\n{lines}")] {
            if let Err(error) = parse_with(text, &[(&name, &value)]) {
                proptest::prop_assert!(!error.to_string().contains("hunter2"), "{}", error);
            }
        }
    }
}
