//! A thousand people who write to the bot in the same moment. They and their chats are made up by a
//! proxy before the bot's homeserver, since to make so many takes a homeserver minutes: the bot is
//! told of them in its syncs, and what it says there is counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lab::{Bot, Chat, Fault, Proxy, Rule};
use reqwest::Method;
use ruma::MilliSecondsSinceUnixEpoch;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::scene::{Chats, Scene, log_in};

const PEOPLE: usize = 1000;
const AT_A_TIME: usize = 100;
const PATIENCE: Duration = Duration::from_secs(120);
/// How soon a person is answered whatever others do: on a machine that does nothing else within two
/// seconds.
const SOON: Duration = Duration::from_secs(20);
/// How much memory all that may take, in bytes.
const MOST_MEMORY: u64 = 100_000_000;

/// What was made up: rooms and people on a homeserver that does not exist.
fn made_up(what: &str, number: usize) -> String {
    format!("{what}{number}:crowd.example")
}

fn event(id: String, kind: &str, sender: &str, state_key: Option<&str>, content: &Value) -> Value {
    let mut event = json!({
        "event_id": id,
        "type": kind,
        "sender": sender,
        "origin_server_ts": MilliSecondsSinceUnixEpoch::now(),
        "content": content,
    });
    if let Some(state_key) = state_key {
        event["state_key"] = json!(state_key);
    }
    event
}

/// Who is in one of the chats: the bot and one person.
fn members(bot: &str, number: usize) -> Value {
    let joined = json!({ "membership": "join" });
    let member =
        |id, user: &str| event(made_up(id, number), "m.room.member", user, Some(user), &joined);
    json!([member("$bot", bot), member("$person", &made_up("@person", number))])
}

/// A chat as a sync first tells of it, and with one message of the person in it.
fn chat(bot: &str, number: usize) -> Value {
    json!({
        "summary": { "m.joined_member_count": 2 },
        "state": { "events": members(bot, number) },
        "timeline": { "events": [] },
    })
}

fn question(number: usize) -> Value {
    let content = json!({ "msgtype": "m.text", "body": "status" });
    let person = made_up("@person", number);
    let said = event(made_up("$said", number), "m.room.message", &person, None, &content);
    json!({ "timeline": { "events": [said] } })
}

/// What the next syncs tell of everybody as well, some in each: a homeserver hands on what was said
/// as soon as it is asked. First of their chats, and then what they ask there.
#[derive(Default)]
struct Crowd {
    told: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    fn join(&self, sync: &mut Value, bot: &str) {
        let told = self.told.load(Ordering::SeqCst);
        if told == self.most.load(Ordering::SeqCst) {
            return;
        }
        for number in told..told + AT_A_TIME {
            let update =
                if number < PEOPLE { chat(bot, number) } else { question(number - PEOPLE) };
            sync["rooms"]["join"][made_up("!chat", number % PEOPLE)] = update;
        }
        self.told.store(told + AT_A_TIME, Ordering::SeqCst);
    }
}

/// The most memory that the bot had so far, in bytes.
fn memory(bot: &Bot) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bot.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// A migration that goes on until the person joins a room by hand.
async fn migrating(scene: &Scene<'_>) -> Chats {
    scene.private_room("By invitation").await;
    let chats = scene.consented().await;
    log_in(&chats.old).await;
    chats.new.say("login none").await.unwrap();
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("This message tells how far it is").await.unwrap();
    chats
}

#[tokio::test]
async fn a_thousand_who_write_at_once_are_all_answered_and_nobody_else_waits() {
    let pair = lab::pair().await.unwrap();
    let proxy = Proxy::before(&pair.old).await.unwrap();
    let through = json!({ "bot": { "homeserver": proxy.url() } });
    let scene = Scene::with_settings("thousand", through).await;
    let Chats { old: mover, new: _new } = migrating(&scene).await;
    let bot = scene.bot.user_id().to_string();

    let sent = json!({ "event_id": made_up("$sent", 0) });
    proxy.add(Rule::on(Method::PUT, "crowd.example/send/", Fault::json(200, &sent)));
    proxy.add(Rule::on(Method::PUT, "crowd.example/typing/", Fault::json(200, &json!({}))));
    let unencrypted = json!({ "errcode": "M_NOT_FOUND", "error": "There is no such event" });
    let asked = "crowd.example/state/m.room.encryption";
    proxy.add(Rule::on(Method::GET, asked, Fault::json(404, &unencrypted)));
    for number in 0..PEOPLE {
        let path = format!("{}/members", made_up("!chat", number));
        let members = json!({ "chunk": members(&bot, number) });
        proxy.add(Rule::on(Method::GET, &path, Fault::json(200, &members)));
    }
    let crowd = Arc::new(Crowd::default());
    let joining = crowd.clone();
    let join = Fault::rewrite(move |sync| joining.join(sync, &bot));
    // In the bot's own syncs, and not in those of the account that it moves.
    proxy.add(Rule::on(Method::GET, "\"limit\":50", join));
    crowd.most.store(PEOPLE, Ordering::SeqCst);
    ask_until_written(&proxy, &mover, "greeting").await;

    let before = memory(&scene.bot);
    crowd.most.store(2 * PEOPLE, Ordering::SeqCst);
    let times = ask_until_written(&proxy, &mover, "$said").await;
    for number in 0..PEOPLE {
        let answer = format!("/tern-{}-0", made_up("$said", number));
        assert_eq!(proxy.seen(&Method::PUT, &answer), 1, "{answer}");
    }
    assert!(times.len() > 2, "answered while the others are: {times:?}");
    assert!(times.iter().all(|time| *time < SOON), "{times:?}");
    assert!(memory(&scene.bot) < before + MOST_MEMORY);
}

/// Says `status` until the bot has written to everybody for this cause. How long the answers took.
async fn ask_until_written(proxy: &Proxy, mover: &Chat, cause: &str) -> Vec<Duration> {
    let part = format!("crowd.example/send/m.room.message/tern-{cause}");
    let (begun, mut times) = (Instant::now(), Vec::new());
    while proxy.seen(&Method::PUT, &part) < PEOPLE {
        let asked = Instant::now();
        mover.say("status").await.unwrap();
        mover.hear_about("It has been going on").await.unwrap();
        times.push(asked.elapsed());
        let written = proxy.seen(&Method::PUT, &part);
        assert!(begun.elapsed() < PATIENCE, "the bot wrote to {written} only");
    }
    times
}
