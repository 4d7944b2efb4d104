//! What takes hours, on simulated homeservers with Synapse's default limits: how fast moderators are
//! asked, what becomes of requests that nobody answers, and how long a migration is said to take.

#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod estimates;
mod go;
mod lapse;
mod life;
mod mistakes;
mod moved;
mod one_room;
mod parked;
mod rest;
mod wire;
mod words;

use std::{collections::BTreeMap, time::Duration};

use lab::sim::{Rates, Simulation};
use serde_json::json;
use tern::{
    clock::{Clock as _, HeldClock, Timestamp},
    migration::{Event, Unanswered},
    moderation::TIME_PER_ROOM,
};

use self::{
    life::{Chat, PASSWORD, Pair, begin, live, open, said as says},
    wire::Wire,
};

const MODERATOR: &str = "@moderator:old.example";

fn at(passed: Duration) -> Timestamp {
    Timestamp::from_second(1_780_000_000).unwrap() + passed
}

fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

/// People who move, each with so many rooms that only the moderator opens, and so many public ones.
fn town(people: &[(&Pair, usize, usize)]) -> Simulation {
    let simulation = Simulation::new(Rates::open());
    let before = Duration::from_secs(1_779_000_000);
    simulation.register(MODERATOR, PASSWORD);
    for (pair, closed, public) in people {
        let old = pair.old.as_str();
        simulation.register(old, PASSWORD);
        simulation.register(pair.new.as_str(), PASSWORD);
        for number in 0..*closed {
            let levels = json!({ "invite": 50, "users": {} });
            let body = json!({
                "name": format!("Closed {number}"), "power_level_content_override": levels,
            });
            simulation.found_room(MODERATOR, &body, &[old], before);
        }
        for number in 0..*public {
            let body = json!({ "name": format!("Public {number}"), "preset": "public_chat" });
            simulation.found_room(MODERATOR, &body, &[old], before);
        }
    }
    for server in [lab::sim::OLD, lab::sim::NEW] {
        simulation.limit(server, Rates::default());
    }
    simulation
}

/// How often each word was said in rooms.
fn said(simulation: &Simulation) -> BTreeMap<String, usize> {
    let mut said = BTreeMap::new();
    for sent in simulation.sent_since(0).iter().filter(|sent| sent.kind == "m.room.message") {
        let new = &sent.content["m.new_content"];
        let content = if new.is_null() { &sent.content } else { new };
        *said.entry(content["body"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    said
}

#[test]
fn nobody_is_asked_reminded_or_told_twice_however_often_the_bot_ends() {
    let mara = Pair::of("mara");
    let people = [mara.clone()];
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&[(&mara, 1, 0)]));
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::default();
    // The bot does not hear any more that these were sent, and ends.
    wire.lose([0, 2, 4]);
    let until = |passed| {
        wire.run(live(&wire, folder.path(), &people, &chat, at(minutes(passed))));
        said(&wire.simulation)
    };
    let asked = [("asked".to_owned(), 1)].into();
    assert_eq!(until(30), asked);
    assert_eq!(until(31), asked, "it knows now that it asked");
    assert_eq!(until(89), asked);
    let reminded = [("asked".to_owned(), 1), ("reminded".to_owned(), 1)].into();
    assert_eq!(until(95), reminded, "an hour after it was known");
    assert_eq!(until(96), reminded);
    assert_eq!(until(200), reminded);
    assert_eq!(until(269), reminded);
    let ended: BTreeMap<_, _> = [("asked", 1), ("ended", 1), ("reminded", 1)]
        .map(|(word, times)| (word.to_owned(), times))
        .into();
    assert_eq!(until(280), ended, "four hours after it was known");
    assert_eq!(until(281), ended);
    assert_eq!(until(600), ended);
    assert_eq!(wire.posts.lock().unwrap().len(), 6, "each was sent again once");
    let expired =
        |event: &Event| matches!(event, Event::RequestsEnded { why: Unanswered::Expired, .. });
    let chat = chat.lock().unwrap();
    let told = chat.values().filter(|(_, event)| expired(event)).map(|(to, _)| to);
    assert_eq!(told.collect::<Vec<_>>(), [&mara.old, &mara.new], "each once");
}

#[test]
fn two_hundred_rooms_are_asked_in_within_the_limits_and_hold_up_nobody() {
    let (mara, nora) = (Pair::of("mara"), Pair::of("nora"));
    let town = town(&[(&mara, 200, 0), (&nora, 20, 5)]);
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town);
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::default();
    let people = [mara, nora.clone()];
    wire.run(live(&wire, folder.path(), &people, &chat, at(minutes(30))));

    let posts = wire.posts.lock().unwrap().clone();
    assert_eq!(said(&wire.simulation), [("asked".to_owned(), 220)].into());
    assert!(posts.iter().all(|post| post.status == 200), "no limit was met");
    for pair in posts.windows(2) {
        let between = Duration::try_from(pair[1].at.duration_since(pair[0].at)).unwrap();
        assert!(between >= TIME_PER_ROOM, "{pair:?}");
    }
    let took = posts.last().unwrap().at.duration_since(posts[0].at);
    let expected = TIME_PER_ROOM * 219;
    assert!(Duration::try_from(took).unwrap() < expected + expected / 10, "{took}");
    // Both take turns, so that twenty are asked in long before two hundred are.
    let is_noras =
        |sent: &lab::sim::Sent| sent.kind == "m.room.message" && sent.sender == nora.old.as_str();
    let sent = wire.simulation.sent_since(0);
    let noras: Vec<_> = sent.iter().filter(|sent| is_noras(sent)).map(|it| &it.room).collect();
    let of_nora = |path: &str| noras.iter().any(|room| path.contains(&room[1..]));
    let last = posts.iter().rposition(|post| of_nora(&post.path)).unwrap();
    assert!(last < 45, "the last of twenty came as number {last}");
    assert_eq!(wire.simulation.rooms_of(nora.new.as_str()), 5);
}

#[test]
fn a_logout_that_is_never_answered_keeps_nobody_else_waiting() {
    let (mara, nora) = (Pair::of("mara"), Pair::of("nora"));
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&[(&mara, 0, 1), (&nora, 0, 1)]));
    let folder = tempfile::tempdir().unwrap();
    wire.run(async {
        let (migrations, _moderation) = open(&wire, folder.path()).await;
        let mut notices = migrations.notices().unwrap();
        begin(&migrations, &mara).await;
        while let Some(notice) = notices.recv().await {
            match notice.event {
                Event::PlanReady if notice.to == mara.old => {
                    let plan = migrations.of(&mara.old).unwrap().0.plan_id();
                    migrations.go(&says("go", &mara.old), Some(plan)).await.unwrap();
                }
                Event::Finished => break,
                _ => {}
            }
        }
        wire.hang("/logout");
        let (forget, plan) = (says("forget", &mara.old), says("plan", &mara.new));
        let hers = async {
            tokio::join!(migrations.forget(&forget), async {
                drop(migrations.plan(&plan).await);
            })
        };
        let start = says("start", &nora.old);
        tokio::select! {
            biased;
            _ = hers => panic!("the logout was not to be answered"),
            started = migrations.start(&start, &nora.new) => started.unwrap(),
            () = wire.clock.sleep(minutes(600)) => panic!("she waits for somebody else"),
        }
    });
}
