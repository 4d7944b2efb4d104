//! Nothing runs that was not shown: whatever is said, taken away, given back or restarted, and in
//! which order, nothing is done as an account without a `go` said after the last plan, and to it.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use lab::sim::{Rates, Simulation};
use proptest::{collection::vec, prelude::*};
use ruma::UserId;
use serde_json::json;
use tern::{
    access::Login,
    appservice::{Appservice, Appservices},
    clock::{Clock as _, HeldClock, Timestamp},
    migration::{Event, Migrations, PlanId, PlanNumber, Said, Side},
    secret::Secret,
};

use crate::{
    at,
    life::{PASSWORD, Pair, begin, open_as},
    wire::Wire,
};

const FRIEND: &str = "@friend:old.example";
/// What the application service shows, which acts as the old account only.
const SERVICE_TOKEN: &str = "a service's token";
/// After that everything has come to rest that goes on by itself.
const A_WHILE: Duration = Duration::from_secs(2 * 3600);

/// Something that happens in the life of a migration.
#[derive(Clone, Copy, Debug)]
enum Act {
    Plan(Side),
    /// `go`, to the plan that was shown last.
    Go,
    /// `go`, to the plan before.
    GoToTheOneBefore,
    Skip,
    Pause(Side),
    Resume(Side),
    Retry,
    Password(Side),
    LoginNone(Side),
    LoginService,
    /// A client ends the bot's session.
    SessionEnds(Side),
    /// The bot is started again, with the registration in its configuration or without.
    Restart {
        with_service: bool,
    },
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Old), Just(Side::New)]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => side().prop_map(Act::Plan),
        4 => Just(Act::Go),
        1 => Just(Act::GoToTheOneBefore),
        1 => Just(Act::Skip),
        1 => side().prop_map(Act::Pause),
        3 => side().prop_map(Act::Resume),
        1 => Just(Act::Retry),
        2 => side().prop_map(Act::Password),
        1 => side().prop_map(Act::LoginNone),
        2 => Just(Act::LoginService),
        2 => side().prop_map(Act::SessionEnds),
        3 => any::<bool>().prop_map(|with_service| Act::Restart { with_service }),
    ]
}

/// What somebody who looks on knows.
#[derive(Debug, Default)]
struct Onlooker {
    /// The plan that the old account was shown last.
    shown: Option<PlanId>,
    /// Whether `go` was said to it.
    went: bool,
    /// From when on nothing is to be done, if it was not.
    since: u64,
    words: u64,
    with_service: bool,
}

struct Scene {
    wire: Arc<Wire>,
    pair: Pair,
    folder: tempfile::TempDir,
    onlooker: Mutex<Onlooker>,
}

impl Scene {
    fn new() -> Self {
        let pair = Pair::of("mara");
        let simulation = Simulation::new(Rates::open());
        for user in [pair.old.as_str(), pair.new.as_str(), FRIEND] {
            simulation.register(user, PASSWORD);
        }
        let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), simulation);
        let folder = tempfile::tempdir().unwrap();
        Self { wire, pair, folder, onlooker: Mutex::default() }
    }

    fn simulation(&self) -> &Simulation {
        &self.wire.simulation
    }

    /// Goes through all of it, and looks after each whether something was done that was not to be.
    fn play(&self, acts: &[Act]) {
        self.found_room();
        let mut acts = acts.iter();
        loop {
            let service = self.onlooker.lock().unwrap().with_service;
            match self.wire.run(self.live(service, &mut acts)) {
                Some(service) => self.onlooker.lock().unwrap().with_service = service,
                None => return,
            }
        }
    }

    /// One life of the bot. How the next one is configured, if there is one.
    async fn live(&self, with_service: bool, acts: &mut std::slice::Iter<'_, Act>) -> Option<bool> {
        self.simulation().give_token(self.pair.old.as_str(), "SERVICE", SERVICE_TOKEN);
        let (migrations, _moderation) =
            open_as(&self.wire, self.folder.path(), appservices(self.folder.path(), with_service))
                .await;
        let mut notices = migrations.notices().unwrap();
        migrations.resume_all();
        let read = async {
            while let Some(notice) = notices.recv().await {
                if notice.event == Event::PlanReady && notice.to == self.pair.old {
                    self.see_plan(&migrations, &notice.to);
                }
                migrations.delivered(notice.id).await.unwrap();
            }
        };
        let play = async {
            begin(&migrations, &self.pair).await;
            self.wire.clock.sleep(A_WHILE).await;
            self.look_on("the beginning");
            for act in acts.by_ref() {
                self.found_room();
                self.look_on("a room that others made");
                if let Act::Restart { with_service } = act {
                    return Some(*with_service);
                }
                self.act(&migrations, *act).await;
                self.wire.clock.sleep(A_WHILE).await;
                self.look_on(&format!("{act:?}"));
            }
            None
        };
        tokio::select! {
            next = play => next,
            () = read => panic!("nothing is told any more"),
        }
    }

    async fn act(&self, migrations: &Migrations, act: Act) {
        let (old, new) = (&self.pair.old, &self.pair.new);
        let of = |side| if side == Side::Old { old } else { new };
        // What is refused changes nothing, which is all that matters here.
        match act {
            Act::Plan(side) => {
                if migrations.plan(&self.say(of(side))).await.is_ok() {
                    self.stop_here();
                }
            }
            Act::Go => {
                let shown = self.onlooker.lock().unwrap().shown;
                if migrations.go(&self.say(old), shown).await.is_ok() {
                    self.onlooker.lock().unwrap().went = true;
                }
            }
            Act::GoToTheOneBefore => {
                let shown = self.onlooker.lock().unwrap().shown;
                let before = shown.map(|plan| PlanId {
                    number: PlanNumber(plan.number.0.saturating_sub(1)),
                    ..plan
                });
                assert!(migrations.go(&self.say(old), before).await.is_err());
            }
            Act::Skip => {
                let Some(room) = self.some_room(migrations) else { return };
                if migrations.skip(&self.say(old), &[room.into()]).await.is_ok() {
                    // It is answered with the plan as it then is.
                    let went = self.onlooker.lock().unwrap().went;
                    if !went {
                        self.see_plan(migrations, old);
                    }
                }
            }
            Act::Pause(side) => drop(migrations.pause(&self.say(of(side))).await),
            Act::Resume(side) => drop(migrations.resume(&self.say(of(side))).await),
            Act::Retry => drop(migrations.retry(&self.say(old)).await),
            Act::Password(side) => {
                let password = Login::Password(Secret::from(PASSWORD.to_owned()));
                drop(migrations.login(&self.say(of(side)), password).await);
            }
            Act::LoginNone(side) => {
                drop(migrations.login(&self.say(of(side)), Login::None).await);
            }
            Act::LoginService => drop(migrations.login(&self.say(old), Login::Service).await),
            Act::SessionEnds(side) => {
                self.simulation().log_out_everywhere(of(side).as_str());
                self.simulation().give_token(old.as_str(), "SERVICE", SERVICE_TOKEN);
            }
            Act::Restart { .. } => {}
        }
    }

    /// The old account reads a plan.
    fn see_plan(&self, migrations: &Migrations, old: &UserId) {
        let migration = migrations.of(old).unwrap().0;
        let Ok(plan) = migrations.current_plan(migration.id) else { return };
        self.onlooker.lock().unwrap().shown =
            Some(PlanId { migration: migration.id, number: plan.number });
        self.stop_here();
    }

    /// Whatever was agreed to before is over.
    fn stop_here(&self) {
        let mut onlooker = self.onlooker.lock().unwrap();
        (onlooker.went, onlooker.since) = (false, self.simulation().now());
    }

    fn some_room(&self, migrations: &Migrations) -> Option<ruma::OwnedRoomOrAliasId> {
        let migration = migrations.of(&self.pair.old).ok()?.0;
        let plan = migrations.current_plan(migration.id).ok()?;
        plan.rooms.last().map(|planned| planned.room.id.clone())
    }

    /// Another room that could be moved.
    fn found_room(&self) {
        let public = json!({ "preset": "public_chat" });
        let now = Duration::try_from(self.wire.clock.now().as_duration()).unwrap();
        self.simulation().found_room(FRIEND, &public, &[self.pair.old.as_str()], now);
    }

    fn look_on(&self, after: &str) {
        let onlooker = self.onlooker.lock().unwrap();
        let new = self.pair.new.as_str();
        let mut sent = self.simulation().sent_since(onlooker.since);
        sent.retain(|sent| sent.sender == new || sent.state_key.as_deref() == Some(new));
        assert!(onlooker.went || sent.is_empty(), "after {after}, without a `go`: {sent:#?}");
    }

    fn say(&self, by: &UserId) -> Said {
        let mut onlooker = self.onlooker.lock().unwrap();
        onlooker.words += 1;
        Said {
            by: by.to_owned(),
            room_id: "!chat:old.example".try_into().unwrap(),
            event_id: format!("$word{}", onlooker.words).try_into().unwrap(),
            sent: Timestamp::UNIX_EPOCH,
        }
    }

    fn new_is_in(&self) -> usize {
        self.simulation().rooms_of(self.pair.new.as_str())
    }
}

fn appservices(folder: &Path, with_service: bool) -> Appservices {
    let registration = json!({
        "id": "tern",
        "url": null,
        "as_token": SERVICE_TOKEN,
        "hs_token": "the homeserver's token",
        "sender_localpart": "tern",
        "namespaces": { "users": [{ "exclusive": false, "regex": "@mara:.*" }] },
    });
    let path = folder.join("registration.yaml");
    fs::write(&path, registration.to_string()).unwrap();
    let service = Appservice::load(lab::sim::OLD.try_into().unwrap(), &path).unwrap();
    with_service.then_some(service).into_iter().collect()
}

#[test]
fn a_registration_that_is_taken_away_and_put_back_runs_no_new_plan() {
    let scene = Scene::new();
    let again = Act::Restart { with_service: true };
    let without = Act::Restart { with_service: false };
    scene.play(&[again, Act::LoginService, Act::Go]);
    let moved = scene.new_is_in();
    assert!(moved > 0, "the first plan was run");
    scene.play(&[again, Act::Plan(Side::Old), without, again]);
    assert_eq!(scene.new_is_in(), moved);
    scene.play(&[Act::Go]);
    assert!(scene.new_is_in() > moved);
}

#[test]
fn the_new_account_resumes_only_what_was_interrupted() {
    let scene = Scene::new();
    let without = Act::Restart { with_service: false };
    scene.play(&[Act::Restart { with_service: true }, Act::LoginService, Act::Go]);
    let moved = scene.new_is_in();
    let again = Act::Restart { with_service: true };
    scene.play(&[again, Act::Plan(Side::Old), without, Act::Resume(Side::New)]);
    assert_eq!(scene.new_is_in(), moved);
}

#[test]
fn a_session_that_ends_while_a_new_plan_is_made_is_followed_by_that_plan() {
    let scene = Scene::new();
    scene.play(&[Act::Go]);
    let (moved, before) = (scene.new_is_in(), scene.onlooker.lock().unwrap().shown);
    scene.play(&[Act::SessionEnds(Side::Old), Act::Plan(Side::Old), Act::Password(Side::Old)]);
    assert_eq!(scene.new_is_in(), moved);
    assert_ne!(scene.onlooker.lock().unwrap().shown, before, "there is a new plan");
    scene.play(&[Act::Go]);
    assert!(scene.new_is_in() > moved);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_runs_without_a_go_to_the_last_plan(acts in vec(act(), 1..14)) {
        Scene::new().play(&acts);
    }
}
