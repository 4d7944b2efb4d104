use proptest::prelude::*;

use super::{Argument, ArgumentProblem, Arguments, Mistake, Named, Words, parse};
use crate::{access::Login, secret::ExposeSecret as _};

#[derive(Debug, PartialEq)]
struct Spec(&'static str, Arguments);

impl Named for Spec {
    fn name(&self) -> &'static str {
        self.0
    }
    fn arguments(&self) -> Arguments {
        self.1
    }
}

const COMMANDS: &[Spec] = &[
    Spec("help", Arguments::Command),
    Spec("start", Arguments::User),
    Spec("login", Arguments::Login),
    Spec("admin show", Arguments::Migration),
    Spec("admin announce", Arguments::Text),
    Spec("rooms", Arguments::Route),
    Spec("skip", Arguments::Choices),
    Spec("prefer", Arguments::Side),
    Spec("fast", Arguments::YesOrNo),
    Spec("go", Arguments::None),
    Spec("ask", Arguments::Ask),
];

fn read(body: &str, html: Option<&str>) -> String {
    match parse(&Words::new(body, html, "!migrate"), COMMANDS) {
        Ok((command, argument)) => format!("{} {}", command.0, shown(&argument)),
        Err(mistake) => format!("{mistake:?}"),
    }
}

fn shown(argument: &Argument) -> String {
    match argument {
        Argument::None => String::new(),
        Argument::Command(word) => word.clone(),
        Argument::User(user) => user.to_string(),
        Argument::Choices(choices) => format!("{choices:?}"),
        Argument::Side(side) => format!("{side:?}"),
        Argument::YesOrNo(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Argument::Route(route) => format!("{route:?}"),
        Argument::Login(Login::Password(secret)) => {
            format!("password [{}]", secret.expose_secret())
        }
        Argument::Login(Login::Token(secret)) => format!("token [{}]", secret.expose_secret()),
        Argument::Migration(which) => format!("{which:?}"),
        Argument::Text(text) => format!("[{text}]"),
        Argument::Login(Login::Service) => "service".to_owned(),
        Argument::Login(Login::None) => "none".to_owned(),
        Argument::Ask(ask) => format!("{ask:?}"),
    }
}

#[test]
fn commands_are_read_in_every_way_people_write_them() {
    let table = [
        "help",
        "HELP Start",
        "!migrate help",
        "!MIGRATE   help",
        "!migratehelp",
        "!migrate",
        "",
        "   \n ",
        "go",
        " go ",
        "go now",
        "ask",
        "ask YES",
        "ask yes please",
        "ask 3 5-7",
        "ask text",
        "ask text Hi, it is me.\nAlice",
        "ask Garden",
        "start",
        "start @new:example.org",
        "Start new:example.org",
        "start <@new:example.org>,",
        "start @new:localhost:18448",
        "start https://matrix.to/#/@new:example.org",
        "start https://matrix.to/#/%40new%3Aexample.org",
        "start matrix:u/new:example.org?action=chat",
        "start #room:example.org",
        "start @new",
        "start @new:example.org and more",
        "sart @new:example.org",
        "halp",
        "hello",
        "rooms",
        "rooms Invite",
        "rooms invit",
        "rooms nonsense",
        "skip",
        "skip 3",
        "skip 3 5, 7-9",
        "skip 3,5,9-7",
        "skip 3–7",
        "skip #a:b.c !old:b.c !WLqkWj8ZR1Yhf3Vg_no_server_0123456789abcdefghi",
        "skip https://matrix.to/#/!a:b.c?via=b.c https://matrix.to/#/#a:b.c matrix:r/a:b.c",
        "skip https://matrix.to/#/!a:b.c/$event",
        "skip Garden",
        "skip profile",
        "skip Push Rules, emotes settings room settings",
        "skip data",
        "skip push",
        "skip profil",
        "skip profile 3",
        "prefer old",
        "prefer NEW",
        "prefer",
        "prefer mine",
        "fast",
        "fast YES",
        "fast no",
        "fast lane",
        "skip 99999999999999999999",
        "login",
        "login none",
        "login none please",
        "login service",
        "login service please",
        "admin show 7",
        "Admin  Show @a:b.c",
        "admin show that one",
        "admin show me",
        "admin shwo 7",
        "admin",
        "admin announce We *close* on\nFriday",
        "help admin show",
        "login passwort geheim",
        "login password",
        "login password   with spaces and trailing  \nsecond line",
        "LOGIN PASSWORD MiXeD > *a_b* `c`",
        "!migrate login token syt_abc ",
        "> <@tern:example.org> say go\n> or not\n\ngo",
        "> my own quote\ngo",
        "> only a quote",
    ];
    let read: Vec<_> =
        table.iter().map(|body| format!("{body:?}\n    {}", read(body, None))).collect();
    insta::assert_snapshot!(read.join("\n"));
}

#[test]
fn a_pill_names_the_user_it_links_to() {
    let html = r#"start <a href="https://matrix.to/#/@new:example.org">Alice</a>"#;
    assert_eq!(read("start Alice", Some(html)), "start @new:example.org");
}

#[test]
fn a_reply_fallback_in_the_formatted_body_is_left_out() {
    let html = r#"<mx-reply><blockquote><a href="https://matrix.to/#/!r:s/$e">In reply to</a></blockquote></mx-reply>!migrate skip <a href="https://matrix.to/#/#a:b.c?via=x&amp;via=y">A &amp; B</a>"#;
    assert_eq!(
        read("> <@tern:s> which?\n\n!migrate skip A & B", Some(html)),
        r##"skip Rooms([Address(RoomAddress { id: "#a:b.c", via: ["x", "y"] })])"##
    );
}

#[test]
fn a_formatted_body_does_not_change_a_password() {
    let html = r#"login password <a href="https://matrix.to/#/@a:b.c">x</a>"#;
    assert_eq!(read("login password **x** &amp;", Some(html)), "login password [**x** &amp;]");
}

#[test]
fn whatever_may_be_a_secret_is_known_however_it_is_typed() {
    let tells = |body: &str| Words::new(body, None, "!migrate").may_tell_secret();
    for secret in [
        "password hunter2",
        "Passwort: hunter2",
        "pwd=hunter2",
        "my password is hunter2",
        "login-password hunter2",
        "loginpassword hunter2",
        "!login password hunter2",
        "/login hunter2",
        "`login password hunter2`",
        "lgoin password hunter2",
        "* login password hunter2",
        "!migrate password hunter2",
        "token syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe",
        "syt_YWxpY2U_abcdefghijklmnopqrst_0aBcDe",
        "it is mct_abcdefghijklmnop0123",
        "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d",
    ] {
        assert!(tells(secret), "{secret}");
    }
    for harmless in
        ["help", "password", "hello there", "login", "login service", "what do I have to do now?"]
    {
        assert!(!tells(harmless), "{harmless}");
    }
}

#[test]
fn a_user_id_that_could_be_read_as_a_sentence_is_no_user() {
    for link in ["Alice%20wants%20you%20to%20agree", "a%0Ab", "a%E2%80%8Bb", "%D0%B0lice"] {
        let read = read(&format!("start https://matrix.to/#/@{link}:a.example"), None);
        assert!(read.contains("NotAUser"), "{read}");
    }
    for good in ["Alice", "al=c3=a9", "x~y!z*"] {
        let read = read(&format!("start @{good}:a.example"), None);
        assert_eq!(read, format!("start @{good}:a.example"));
    }
}

#[test]
fn words_do_not_show_a_password() {
    let words = Words::new("login password hunter2", None, "!migrate");
    assert!(words.may_hold_secret());
    assert_eq!(format!("{words:?}"), "Words(..)");
}

#[test]
fn a_word_longer_than_any_command_is_like_none() {
    let body = "g".repeat(64_000);
    let words = Words::new(&body, None, "!migrate");
    assert!(matches!(parse(&words, COMMANDS), Err(Mistake::UnknownCommand { nearest: None, .. })));
    let words = Words::new(&format!("skip {body}"), None, "!migrate");
    assert!(matches!(
        parse(&words, COMMANDS),
        Err(Mistake::Arguments { problem: ArgumentProblem::NotARoom { .. }, .. })
    ));
}

#[test]
fn tag_soup_is_read_in_no_time() {
    for soup in ["<", "<a href=\"", "<a href=\"matrix:u/a:b\">", "<mx-reply>", "<b>", "&lt;"] {
        let html = soup.repeat(64_000 / soup.len());
        let _ = read("start", Some(&html));
    }
}

proptest! {
    #[test]
    fn no_message_makes_the_parser_panic(body in ".{0,300}", html in proptest::option::of(".{0,300}")) {
        let _ = read(&body, html.as_deref());
    }

    #[test]
    fn no_argument_makes_the_parser_panic(
        command in "(help|start|login|rooms|skip|go|login password|> x\n!migrate)",
        rest in "[ \\n@!#:,.0-9a-z<>/%–\\-–é]{0,60}",
    ) {
        let _ = read(&format!("{command} {rest}"), None);
    }

    #[test]
    fn a_password_is_taken_as_it_is(password in "[^\\s\\p{C}](.{0,40}[^\\s\\p{C}])?") {
        prop_assume!(password.lines().count() == 1);
        prop_assert_eq!(read(&format!("login password {password}"), None), format!("login password [{password}]"));
    }
}
