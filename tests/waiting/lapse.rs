//! Consent lapses some time after the end, and a plan to which nobody says `go`: told before it
//! happens, however often the bot ends meanwhile. And nobody is told who is in a migration.

use std::{sync::Arc, time::Duration};

use lab::sim::{Rates, Simulation};
use ruma::{OwnedUserId, UserId};
use serde_json::json;
use tern::{
    access::Login,
    clock::{Clock as _, HeldClock, Timestamp},
    migration::{Ending, Event, Migrations, Phase, Refusal, Said},
    secret::Secret,
};

use crate::{
    at,
    life::{PASSWORD, Pair, begin, open},
    wire::Wire,
};

const DAY: Duration = Duration::from_secs(86_400);
const FRIEND: &str = "@friend:old.example";

struct Scene {
    wire: Arc<Wire>,
    pair: Pair,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let pair = Pair::of("mara");
        let simulation = Simulation::new(Rates::open());
        for user in [pair.old.as_str(), pair.new.as_str(), FRIEND] {
            simulation.register(user, PASSWORD);
        }
        let public = json!({ "preset": "public_chat" });
        let before = Duration::from_secs(1_779_000_000);
        simulation.found_room(FRIEND, &public, &[pair.old.as_str()], before);
        let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), simulation);
        Self { wire, pair, folder: tempfile::tempdir().unwrap() }
    }

    /// A life of the bot until this time, in which everybody reads what they are told.
    fn live(&self, until: Duration, go: bool) -> Vec<(Timestamp, OwnedUserId, Event)> {
        let mut told = Vec::new();
        self.wire.run(async {
            let (migrations, _moderation) = open(&self.wire, self.folder.path()).await;
            let mut notices = migrations.notices().unwrap();
            migrations.resume_all();
            begin(&migrations, &self.pair).await;
            let read = async {
                while let Some(notice) = notices.recv().await {
                    let now = self.wire.clock.now();
                    told.push((now, notice.to.clone(), notice.event.clone()));
                    if go && notice.event == Event::PlanReady && notice.to == self.pair.old {
                        self.go(&migrations).await.unwrap();
                    }
                    migrations.delivered(notice.id).await.unwrap();
                }
            };
            let left = Duration::try_from(at(until).duration_since(self.wire.clock.now())).unwrap();
            tokio::select! {
                () = read => panic!("nothing is told any more"),
                () = self.wire.clock.sleep(left) => {}
            }
        });
        told
    }

    async fn go(&self, migrations: &Migrations) -> Result<(), Refusal> {
        let plan = migrations.of(&self.pair.old).unwrap().0.plan_id();
        migrations.go(&say("go", &self.pair.old), Some(plan)).await
    }

    fn sessions(&self) -> [usize; 2] {
        [&self.pair.old, &self.pair.new].map(|user| self.wire.simulation.sessions(user.as_str()))
    }
}

fn say(word: &str, by: &UserId) -> Said {
    Said {
        by: by.to_owned(),
        room_id: "!chat:old.example".try_into().unwrap(),
        event_id: format!("${word}-{}", by.server_name()).try_into().unwrap(),
    }
}

/// When it was told, and to how many.
fn when(told: &[(Timestamp, OwnedUserId, Event)], what: &Event) -> (Option<Timestamp>, usize) {
    let those: Vec<_> = told.iter().filter(|(.., event)| event == what).collect();
    (those.first().map(|(at, ..)| *at), those.len())
}

#[test]
fn consent_lapses_a_week_after_the_end_and_is_told_before_however_often_the_bot_ends() {
    let scene = Scene::new();
    let first = scene.live(2 * DAY, true);
    let (ended, reports) = when(&first, &Event::Finished);
    let ended = ended.unwrap();
    assert_eq!((reports, scene.sessions()), (2, [1, 1]));
    assert!(scene.live(5 * DAY, false).is_empty());
    let told = scene.live(6 * DAY + DAY / 2, false);
    assert_eq!(when(&told, &Event::LapsesSoon), (Some(ended + 6 * DAY), 2), "{told:?}");
    assert!(scene.live(6 * DAY + DAY / 2 + DAY / 4, false).is_empty(), "told once");
    assert_eq!(scene.sessions(), [1, 1]);
    assert!(scene.live(8 * DAY, false).is_empty());
    assert_eq!(scene.sessions(), [0, 0], "the bot has logged out");
    assert!(scene.live(40 * DAY, false).is_empty());
}

#[test]
fn what_lapsed_while_no_bot_was_running_is_told_a_day_before_all_the_same() {
    let scene = Scene::new();
    scene.live(DAY, true);
    scene.wire.clock.set(at(20 * DAY));
    let told = scene.live(20 * DAY + DAY / 2, false);
    assert_eq!(when(&told, &Event::LapsesSoon), (Some(at(20 * DAY)), 2));
    assert_eq!(scene.sessions(), [1, 1]);
    scene.live(21 * DAY + DAY / 2, false);
    assert_eq!(scene.sessions(), [0, 0]);
}

#[test]
fn a_plan_to_which_nobody_says_go_lapses_and_the_migration_ends() {
    let scene = Scene::new();
    let told = scene.live(30 * DAY, false);
    let (planned, _) = when(&told, &Event::PlanReady);
    let planned = planned.unwrap();
    // The record is a moment older than its message.
    let is_after = |what, time: Duration| {
        let (at, times) = when(&told, what);
        let passed = at.unwrap().duration_since(planned);
        assert!(times == 2 && (Duration::try_from(passed).unwrap()).abs_diff(time) < DAY / 24);
    };
    is_after(&Event::LapsesSoon, 6 * DAY);
    is_after(&Event::PlanLapsed, 7 * DAY);
    assert_eq!(scene.sessions(), [0, 0]);
    assert_eq!(scene.wire.simulation.rooms_of(scene.pair.new.as_str()), 0);
    scene.wire.run(async {
        let (migrations, _moderation) = open(&scene.wire, scene.folder.path()).await;
        let phase = migrations.of(&scene.pair.old).unwrap().0.phase;
        assert_eq!(phase, Phase::Cancelled(Ending::Lapsed));
    });
}

#[test]
fn once_the_consent_has_lapsed_plan_asks_both_again() {
    let scene = Scene::new();
    scene.live(DAY, true);
    scene.live(9 * DAY, false);
    let (old, new) = (&scene.pair.old, &scene.pair.new);
    scene.wire.run(async {
        let (migrations, _moderation) = open(&scene.wire, scene.folder.path()).await;
        let mut notices = migrations.notices().unwrap();
        migrations.resume_all();
        let id = migrations.of(old).unwrap().0.id;
        assert!(migrations.current_report(id).is_ok(), "the report stays");
        let refused = migrations.plan(&say("plan", new)).await.unwrap_err();
        assert!(matches!(refused, Refusal::Lapsed { .. }), "{refused:?}");
        migrations.plan(&say("plan", old)).await.unwrap();
        assert_eq!(notices.recv().await.unwrap().event, Event::ConsentRequested);
        assert_eq!(notices.recv().await.unwrap().event, Event::ConsentQuestion);
        let waiting = migrations.get(id).unwrap();
        assert_eq!(waiting.phase, Phase::AwaitingConsent);
        assert!(waiting.new.consent.is_none() && !waiting.new.access.is_given());
        migrations.accept(&say("accept again", new), old).await.unwrap();
        for user in [old, new] {
            let password = Login::Password(Secret::from(PASSWORD.to_owned()));
            migrations.login(&say("login again", user), password).await.unwrap();
        }
        while notices.recv().await.unwrap().event != Event::PlanReady {}
        let planned = migrations.get(id).unwrap();
        assert!(planned.phase == Phase::AwaitingGo && !planned.may_run(), "{planned:?}");
        scene.go(&migrations).await.unwrap();
        while notices.recv().await.unwrap().event != Event::Finished {}
        assert!(migrations.lapses_in(&migrations.get(id).unwrap()).unwrap() > 6 * DAY);
    });
}

#[test]
fn who_asks_for_an_account_is_not_told_that_it_is_in_a_migration() {
    let scene = Scene::new();
    let user = |name: &str| OwnedUserId::try_from(format!("@{name}:old.example")).unwrap();
    let (mallory, trudy, nobody) = (user("mallory"), user("trudy"), user("nobody"));
    scene.wire.run(async {
        let (migrations, _moderation) = open(&scene.wire, scene.folder.path()).await;
        let mut notices = migrations.notices().unwrap();
        begin(&migrations, &scene.pair).await;
        let (old, new) = (&scene.pair.old, &scene.pair.new);
        while notices.recv().await.unwrap().event != Event::PlanReady {}
        // To one who moves, to where somebody moves, and to one who does neither.
        let asking = [(&mallory, old), (&trudy, new), (new, &nobody)];
        let refused = migrations.start(&say("start", new), &nobody).await.unwrap_err();
        assert!(matches!(refused, Refusal::Busy { .. }), "of oneself one is told");
        let asker = user("asker");
        for (by, whom) in [asking[0], asking[1], (&asker, &nobody)] {
            migrations.start(&say(&format!("start-{}", by.localpart()), by), whom).await.unwrap();
            let asked = migrations.of(by).unwrap().0;
            assert_eq!(asked.phase, Phase::AwaitingConsent);
        }
        let to = |by: &OwnedUserId| (by.clone(), Event::ConsentRequested);
        let mut told = Vec::new();
        while told.len() < 6 {
            let notice = notices.recv().await.unwrap();
            if [Event::ConsentRequested, Event::ConsentQuestion].contains(&notice.event) {
                told.push((notice.to, notice.event));
            }
        }
        for (by, whom) in [asking[0], asking[1], (&asker, &nobody)] {
            assert!(told.contains(&to(by)));
            assert!(told.contains(&(whom.clone(), Event::ConsentQuestion)));
        }
        // Who accepts is told itself what is in the way, and who asked sees nothing of it.
        let refused = migrations.accept(&say("accept2", new), &trudy).await.unwrap_err();
        assert!(matches!(refused, Refusal::Busy { busy, .. } if busy == *new));
        let [seen, other] = [&trudy, &asker].map(|by| migrations.of(by).unwrap().0);
        assert_eq!(seen.phase, other.phase);
        scene.wire.clock.sleep(DAY + DAY / 24).await;
        for by in [&mallory, &trudy, &asker] {
            let ended = migrations.of(by).unwrap().0.phase;
            assert_eq!(ended, Phase::Cancelled(Ending::Expired));
        }
    });
}
