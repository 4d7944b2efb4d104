//! One room must not hold up the others.

use std::{path::Path, sync::Arc, time::Duration};

use lab::sim::{NEW, Rate, Rates, Simulation};
use serde_json::json;
use tern::{
    clock::{Clock as _, HeldClock},
    migration::{Event, Migrations, Outcome, Phase, Report},
};

use crate::{
    at,
    life::{PASSWORD, Pair, begin, open, said},
    wire::Wire,
};

const HEALTHY: usize = 12;

/// Private rooms of the old account, the first of which `broken` say that the new account's
/// homeserver cannot take. It takes four invitations at once, and then one in five seconds.
fn town(pair: &Pair, broken: usize, healthy: usize) -> Simulation {
    let simulation = Simulation::new(Rates::open());
    let before = Duration::from_secs(1_779_000_000);
    for user in [&pair.old, &pair.new] {
        simulation.register(user.as_str(), PASSWORD);
    }
    simulation.register("@friend:old.example", PASSWORD);
    for number in 0..broken + healthy {
        let name = if number < broken { "Broken" } else { "Healthy" };
        let body = json!({ "name": format!("{name} {number}") });
        let room =
            simulation.found_room(pair.old.as_str(), &body, &["@friend:old.example"], before);
        if number < broken {
            simulation.break_invites(&room);
        }
    }
    let invites_per_user = Rate { per_second: 0.2, burst: 4 };
    simulation.limit(NEW, Rates { invites_per_user, ..Rates::open() });
    simulation
}

/// How long it takes from `go` until the new account is in so many rooms, and until the end.
async fn run(wire: &Arc<Wire>, folder: &Path, pair: &Pair) -> (Duration, Duration, Report) {
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
    let id = migrations.of(&pair.old).unwrap().0.id;
    let plan = migrations.get(id).unwrap().plan_id();
    let went = wire.clock.now();
    migrations.go(&said("go", &pair.old), Some(plan)).await.unwrap();
    let passed = || Duration::try_from(wire.clock.now().duration_since(went)).unwrap();
    let mut all_in = None;
    while is_running(&migrations, pair) {
        wire.clock.sleep(Duration::from_secs(1)).await;
        if wire.simulation.rooms_of(pair.new.as_str()) >= HEALTHY {
            all_in.get_or_insert_with(passed);
        }
        assert!(passed() < Duration::from_secs(4 * 3600), "it never ends");
    }
    (all_in.unwrap(), passed(), migrations.current_report(id).unwrap())
}

fn is_running(migrations: &Migrations, pair: &Pair) -> bool {
    migrations.of(&pair.old).unwrap().0.phase == Phase::Running
}

#[test]
fn rooms_that_the_new_server_never_takes_hold_up_no_other_and_fail_with_its_words() {
    let pair = Pair::of("mara");
    let mut alone = None;
    for broken in [0, 1, 2] {
        let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&pair, broken, HEALTHY));
        let folder = tempfile::tempdir().unwrap();
        let (all_in, ended, report) = wire.run(run(&wire, folder.path(), &pair));
        let alone = *alone.get_or_insert(all_in);
        let course = format!("{broken}: in after {all_in:?}, alone {alone:?}; {ended:?} in all");
        // A try takes the old server five and a half seconds, in which tokens come.
        let tries = Duration::from_secs(15 * broken as u64);
        assert!(all_in <= alone + tries, "{course}");
        assert!(ended <= Duration::from_secs(15 * 60), "{course}");
        let failed: Vec<_> = report
            .rooms
            .iter()
            .filter_map(|row| match &row.outcome {
                Outcome::Failed(failure) => Some(failure.to_string()),
                Outcome::Joined => None,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(failed.len(), broken, "{course}");
        let words = "Can't connect to server new.example";
        assert!(failed.iter().all(|failure| failure.contains(words)), "{failed:?}");
    }
}

#[test]
fn a_limit_of_the_new_server_alone_is_waited_for_until_the_last_room_is_in() {
    let pair = Pair::of("mara");
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&pair, 0, HEALTHY));
    let invites_per_user = Rate { per_second: 0.003, burst: 5 };
    wire.simulation.limit(NEW, Rates { invites_per_user, ..Rates::open() });
    let folder = tempfile::tempdir().unwrap();
    let (all_in, ended, report) = wire.run(run(&wire, folder.path(), &pair));
    assert!(report.rooms.iter().all(|row| row.outcome == Outcome::Joined), "{report:?}");
    let least = Duration::from_secs_f64((HEALTHY as f64 - 5.0) / 0.003);
    assert!(all_in <= least.mul_f64(1.1), "{all_in:?} of {least:?}");
    let likely = least.as_secs_f64() * 0.8..=ended.as_secs_f64();
    assert!(likely.contains(&report.held.as_secs_f64()), "{:?} of {ended:?}", report.held);
}
