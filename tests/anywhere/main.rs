//! The bot's process may end at any point: before or after a write to the store, a request, its
//! answer, or a message. Whoever opens the same store next comes to the same end, does nothing twice
//! that people would notice, and leaves nothing behind. A seed decides in which order things happen
//! and at which points the process ends.
//!
//! `cargo test --test anywhere` takes some hundreds of seeds. `TERN_SEEDS=5000` takes as many as it
//! says, and `TERN_SEED=17` that one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod court;
mod director;
mod life;
#[path = "../waiting/words.rs"]
mod words;
mod world;

use std::{
    collections::BTreeMap,
    env,
    panic::catch_unwind,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use lab::sim::{Sent, Simulation};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tern::{clock::HeldClock, migration::Report};

use self::{
    court::Court,
    director::{Director, Outcome},
    life::{Chat, live},
    world::{MARA, MARA_NEW, Town, beginning, settle},
};

/// How many seeds are taken when nobody says.
const SEEDS: u64 = 200;

/// What a migration comes to.
#[derive(Debug, PartialEq)]
struct End {
    old: Value,
    new: Value,
    /// What people in the rooms saw, sorted.
    seen: Vec<String>,
    /// What the two were told, in order, each.
    told: BTreeMap<String, Vec<String>>,
    /// What the report says of each room and holding.
    report: Vec<String>,
}

/// Goes through a whole migration, with `fast` or without; `ends` are the points at which one process
/// after the other ends.
/// Also returns the course of the last one.
fn migrate(town: &Town, seed: u64, ends: &[usize], fast: bool) -> (End, Vec<String>) {
    let simulation = town.simulation.fork();
    let court = Court::new(simulation.clone(), town.closed.clone());
    let since = simulation.now();
    let clock = HeldClock::new(beginning());
    let folder = folder();
    let chat = Chat::default();
    let mut ends = ends.iter().copied();
    let mut before = Director::new(seed, 0, clock.clone(), simulation.clone());
    loop {
        let last = ends.next().unwrap_or(usize::MAX);
        let director = Director::new(seed, last, clock.clone(), simulation.clone());
        let lived = director.run(async {
            let lives = live(director.clone(), folder.path(), &chat, &court, fast);
            tokio::join!(director.deliver_late(&before), lives).1
        });
        let migrations = match lived {
            Outcome::Done(migrations) => migrations,
            Outcome::Ended => {
                before = director;
                continue;
            }
            Outcome::Stuck => panic!("stuck after {:#?}", director.course()),
        };
        let id = migrations.of(MARA.try_into().unwrap()).unwrap().0.id;
        let report = migrations.current_report(id).unwrap();
        return (end(&simulation, since, &chat, &report, fast), director.course());
    }
}

/// In memory where there is such a place: what is tested is not the disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn end(simulation: &Simulation, since: u64, chat: &Chat, report: &Report, fast: bool) -> End {
    let mut told = BTreeMap::<_, Vec<_>>::new();
    for (to, event) in chat.lock().unwrap().values() {
        told.entry(to.to_string()).or_default().push(format!("{event:?}"));
    }
    let sent = simulation.sent_since(since);
    // What the room that only the two accounts share is called depends on when it was made.
    let lobbies: Vec<_> =
        sent.iter().filter(|sent| sent.content.get("tern.lobby").is_some()).collect();
    assert!(lobbies.len() <= usize::from(fast), "{lobbies:#?}");
    let lobby = lobbies.first().map_or("no lobby", |sent| sent.room.as_str());
    let unnamed = |text: String| text.replace(lobby, "!lobby");
    let mut seen: Vec<_> = sent.iter().filter_map(|sent| shown(sent, fast)).map(unnamed).collect();
    seen.sort();
    let holds = |user| unnamed(simulation.holds(user).to_string()).parse().unwrap();
    let rooms = report.rooms.iter().map(|row| format!("{:?}: {:?}", row.room.name, row.outcome));
    let holdings =
        report.holdings.iter().map(|row| format!("{:?}: {:?}", row.holding, row.outcome));
    let opened = report.opened.iter().map(|row| format!("{:?}: {:?}", row.room.name, row.state));
    End {
        old: holds(MARA),
        new: holds(MARA_NEW),
        seen,
        told,
        report: rooms
            .chain(holdings)
            .chain(opened)
            .map(|line| line.replace("AlreadySo", "Done"))
            .collect(),
    }
}

/// With `fast`, without what is another course to the same end: a room that is open when the process
/// ends is closed again, and then the new account is invited there. Which rules hold in the end is
/// in what the accounts hold.
fn shown(sent: &Sent, fast: bool) -> Option<String> {
    let Sent { room, kind, state_key, sender, content } = sent;
    let mut content = content.clone();
    if fast {
        if kind == "m.room.join_rules" || content["membership"] == "invite" {
            return None;
        }
        content.as_object_mut().unwrap().remove("join_authorised_via_users_server");
    }
    Some(without_event_ids(&json!([room, kind, state_key, sender, content]).to_string()))
}

/// Events are numbered, and there may be more before one in one course than in another.
fn without_event_ids(line: &str) -> String {
    let mut parts = line.split("\"$");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + "\"$EVENT" + part.trim_start_matches(char::is_numeric))
}

/// A file may be copied once more, under another name, when nobody was told of the first copy.
fn without_file_names(line: &str) -> String {
    let mut parts = line.split("mxc://new.example/file");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + "FILE" + part.trim_start_matches(char::is_numeric))
}

/// Compares, and says what is not as it would have been.
fn difference(expected: &End, found: &End) -> Option<String> {
    let lines = |end: &End| {
        let state =
            |side: &Value| format!("{side:#}").lines().map(str::to_owned).collect::<Vec<_>>();
        let told = end.told.iter().flat_map(|(to, events)| {
            events.iter().enumerate().map(move |(place, event)| format!("{to} {place}: {event}"))
        });
        let lines = [state(&end.old), state(&end.new), end.seen.clone(), told.collect()].concat();
        let lines = lines.iter().chain(&end.report).map(|line| without_file_names(line));
        lines.collect::<Vec<_>>()
    };
    let (expected_lines, found_lines) = (lines(expected), lines(found));
    if expected_lines == found_lines {
        return None;
    }
    let less = |these: &[String], others: &[String], mark| {
        let mut others = others.to_vec();
        let mut left = Vec::new();
        for line in these {
            match others.iter().position(|other| other == line) {
                Some(place) => drop(others.swap_remove(place)),
                None => left.push(format!("{mark} {line}")),
            }
        }
        left
    };
    let missing = less(&expected_lines, &found_lines, "missing:");
    let more = less(&found_lines, &expected_lines, "too much:");
    Some([missing, more].concat().join("\n"))
}

/// Every other seed goes with `fast`.
fn is_fast(seed: u64) -> bool {
    seed % 2 == 1
}

fn try_seed(town: &Town, undisturbed: &End, points: usize, seed: u64) -> Option<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let ends: Vec<_> = (0..rng.random_range(1..4)).map(|_| rng.random_range(1..=points)).collect();
    let migrated = catch_unwind(|| migrate(town, seed, &ends, is_fast(seed)));
    let difference = match migrated {
        Ok((end, _)) => difference(undisturbed, &end)?,
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    };
    Some(format!(
        "seed {seed}, ended at points {ends:?}:\n{difference}\n\
         again: TERN_SEED={seed} cargo test --test anywhere"
    ))
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|number| number.parse().unwrap())
}

#[test]
fn a_process_that_ends_anywhere_changes_nothing_of_the_end() {
    let town = settle();
    let undisturbed = [false, true].map(|fast| migrate(&town, 0, &[], fast));
    for (end, course) in &undisturbed {
        assert!(end.report.iter().any(|line| line.contains("Joined")), "{end:#?}");
        let points = course.len();
        eprintln!("{points} points\n{:#?}\n{:#?}\n{:#?}", end.report, end.told, end.seen);
    }
    assert!(undisturbed[1].0.report.iter().any(|line| line.contains("PutBack")));
    let (first, end) = match number("TERN_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("TERN_SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let failed: Vec<_> = thread::scope(|scope| {
        let work = || {
            let seeds = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let seeds = seeds.take_while(|seed| *seed < end);
            seeds
                .filter_map(|seed| {
                    let (end, course) = &undisturbed[usize::from(is_fast(seed))];
                    try_seed(&town, end, course.len(), seed)
                })
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} of {}\n\n{}", failed.len(), end - first, failed.join("\n\n"));
}

#[test]
fn one_seed_takes_one_course() {
    let town = settle();
    let (_, once) = migrate(&town, 3, &[40], true);
    let (_, again) = migrate(&town, 3, &[40], true);
    let same = once.iter().zip(&again).take_while(|(once, again)| once == again).count();
    assert_eq!(once.get(same..), again.get(same..), "the first {same} are the same");
}
