//! How long a migration is said to take, beside how long it takes.

use std::{path::Path, sync::Arc, time::Duration};

use lab::sim::{Rates, Simulation};
use serde_json::json;
use tern::{
    clock::{Clock as _, HeldClock, Timestamp},
    migration::{Event, Migrations, Phase},
};

use crate::{
    at,
    life::{PASSWORD, Pair, begin, open, said},
    wire::Wire,
};

const FRIEND: &str = "@friend:old.example";
const NEIGHBOR: &str = "@neighbor:new.example";

/// Of how many rooms each kind there is.
#[derive(Clone, Copy, Debug, Default)]
struct Rooms {
    /// The old account invites, and hands its power on.
    own: usize,
    /// Anybody invites.
    private: usize,
    public: usize,
    /// Public, and the new account's homeserver is in them.
    near: usize,
}

impl Rooms {
    fn found(self, pair: &Pair) -> Simulation {
        let simulation = Simulation::new(Rates::open());
        let (old, before) = (pair.old.as_str(), Duration::from_secs(1_779_000_000));
        for user in [old, pair.new.as_str(), FRIEND, NEIGHBOR] {
            simulation.register(user, PASSWORD);
        }
        let private =
            json!({ "power_level_content_override": { "invite": 0, "state_default": 0 } });
        let public = json!({ "preset": "public_chat" });
        let kinds = [
            (self.own, old, &private, &[FRIEND][..]),
            (self.private, FRIEND, &private, &[old]),
            (self.public, FRIEND, &public, &[old]),
            (self.near, FRIEND, &public, &[old, NEIGHBOR]),
        ];
        for (number, by, body, guests) in kinds {
            for _ in 0..number {
                simulation.found_room(by, body, guests, before);
            }
        }
        for server in [lab::sim::OLD, lab::sim::NEW] {
            simulation.limit(server, Rates::default());
        }
        simulation
    }
}

/// What was said, when, and what it then took.
#[derive(Debug)]
struct Course {
    went: Timestamp,
    told: Vec<(Timestamp, Duration)>,
    ended: Timestamp,
}

/// Runs a migration, and asks how long it takes still: before it begins, and every few minutes.
async fn follow(wire: &Arc<Wire>, folder: &Path, pair: &Pair, fast: bool) -> Course {
    let (migrations, _) = open(wire, folder).await;
    let mut notices = migrations.notices().unwrap();
    begin(&migrations, pair).await;
    loop {
        let notice = notices.recv().await.unwrap();
        migrations.delivered(notice.id).await.unwrap();
        if matches!(notice.event, Event::PlanReady) && notice.to == pair.old {
            break;
        }
    }
    if fast {
        let word = said("fast", &pair.old);
        migrations.offer_fast(&word).await.unwrap().unwrap();
        migrations.choose_fast(&word, true).await.unwrap();
    }
    let id = migrations.of(&pair.old).unwrap().0.id;
    let went = wire.clock.now();
    let plan = migrations.get(id).unwrap().plan_id();
    let mut told = vec![(went, migrations.current_plan(id).unwrap().takes.unwrap())];
    migrations.go(&said("go", &pair.old), Some(plan)).await.unwrap();
    while is_running(&migrations, pair) {
        wire.clock.sleep(Duration::from_secs(60)).await;
        let left = migrations.progress(id).unwrap().left;
        told.extend(left.map(|left| (wire.clock.now(), left)));
    }
    let ended = migrations.get(id).unwrap().ended.unwrap();
    Course { went, told, ended }
}

fn is_running(migrations: &Migrations, pair: &Pair) -> bool {
    migrations.of(&pair.old).unwrap().0.phase == Phase::Running
}

#[test]
fn how_long_it_takes_is_told_within_a_factor_of_two_from_the_plan_to_the_end() {
    let pair = Pair::of("mara");
    let some = Rooms { own: 20, private: 20, public: 30, near: 30 };
    let cases = [
        (some, false),
        (some, true),
        (Rooms { public: 60, ..Rooms::default() }, false),
        (Rooms { near: 60, ..Rooms::default() }, false),
        (Rooms { own: 40, near: 60, ..Rooms::default() }, true),
    ];
    for (rooms, fast) in cases {
        let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), rooms.found(&pair));
        let folder = tempfile::tempdir().unwrap();
        let course = wire.run(follow(&wire, folder.path(), &pair, fast));
        let in_all = Duration::try_from(course.ended.duration_since(course.went)).unwrap();
        assert!(in_all > Duration::from_secs(300), "{rooms:?} is waited for: {in_all:?}");
        for (when, told) in course.told {
            let took = Duration::try_from(course.ended.duration_since(when)).unwrap_or_default();
            // The last minutes are told as such.
            if took < in_all / 20 {
                continue;
            }
            let factor = told.as_secs_f64() / took.as_secs_f64();
            let passed = in_all - took;
            assert!(
                (0.5..=2.0).contains(&factor),
                "{rooms:?} {fast}: {told:?} told after {passed:?}, and it took {took:?}"
            );
        }
    }
}
