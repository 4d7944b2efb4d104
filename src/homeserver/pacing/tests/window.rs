//! How many requests are on their way at a time, against models of homeservers, on a clock that goes
//! on whenever everybody waits.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use rand::Rng as _;
use ruma::{OwnedUserId, UserId};
use tokio::{sync::Semaphore, task::JoinSet};

use super::*;
use crate::{
    clock::{Clock as _, HeldClock},
    homeserver::{
        Failure,
        failure::Fault,
        pacing::{Persistence, window::Window},
    },
};

/// A homeserver that works on so many requests at a time, and how long each takes it.
struct Homeserver {
    clock: Arc<HeldClock>,
    workers: Semaphore,
    takes: Mutex<Duration>,
    rng: Mutex<StdRng>,
    here: AtomicUsize,
    /// How many were there when each came.
    seen: Mutex<Vec<usize>>,
}

impl Homeserver {
    async fn answer(&self) {
        let here = self.here.fetch_add(1, SeqCst) + 1;
        self.seen.lock().unwrap().push(here);
        let worker = self.workers.acquire().await.unwrap();
        let takes = self.takes.lock().unwrap().as_secs_f64();
        // No two rooms are the same.
        let takes = takes * self.rng.lock().unwrap().random_range(0.7..1.3);
        self.clock.sleep(seconds(takes)).await;
        drop(worker);
        self.here.fetch_sub(1, SeqCst);
    }
}

struct World {
    clock: Arc<HeldClock>,
    pacing: Arc<Pacing>,
    homeserver: Arc<Homeserver>,
    requests: JoinSet<Result<(), Failure>>,
}

impl World {
    fn new(workers: usize, takes: Duration) -> Self {
        let clock = HeldClock::new(Timestamp::UNIX_EPOCH);
        let rng = StdRng::seed_from_u64(1);
        let pacing = Arc::new(Pacing::new(clock.clone(), rng.clone(), seconds(2.0)));
        let homeserver = Arc::new(Homeserver {
            clock: clock.clone(),
            workers: Semaphore::new(workers),
            takes: Mutex::new(takes),
            rng: Mutex::new(rng),
            here: AtomicUsize::default(),
            seen: Mutex::default(),
        });
        Self { clock, pacing, homeserver, requests: JoinSet::new() }
    }

    /// Sends so many from an account.
    fn send(&mut self, account: &UserId, action: Action, count: usize) {
        for _ in 0..count {
            let (pacing, homeserver) = (self.pacing.clone(), self.homeserver.clone());
            let account = account.to_owned();
            self.requests.spawn(async move {
                let stop = CancellationToken::new();
                let answer = async || {
                    homeserver.answer().await;
                    Ok(())
                };
                pacing.run(&account, action.into(), &stop, answer).await
            });
        }
    }

    async fn all_answered(&mut self) {
        while let Some(request) = self.requests.join_next().await {
            request.unwrap().unwrap();
        }
    }

    fn now(&self) -> f64 {
        self.clock.now().duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
    }

    /// How many were there at a time, of the last `count` that came: in the middle, and at most.
    fn at_a_time(&self, count: usize) -> (usize, usize) {
        let seen = self.homeserver.seen.lock().unwrap();
        let mut seen = seen[seen.len() - count..].to_vec();
        seen.sort_unstable();
        (seen[count / 2], seen[count - 1])
    }
}

fn accounts(count: usize) -> Vec<OwnedUserId> {
    (0..count).map(|n| format!("@tern{n}:example.org").parse().unwrap()).collect()
}

/// Runs what happens in a world, on a clock that goes on when nothing else is left to do.
fn happens<F: Future<Output = ()>>(world: World, happening: impl FnOnce(World) -> F) {
    let clock = world.clock.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(move || {
            clock.advance_to_next();
        })
        .build()
        .unwrap();
    runtime.block_on(happening(world));
}

#[test]
fn a_homeserver_that_works_on_few_is_sent_few_and_is_never_idle() {
    for workers in [1, 3, 10] {
        happens(World::new(workers, seconds(0.1)), async |mut world| {
            for account in accounts(100) {
                world.send(&account, Action::RemoteJoin, 10);
            }
            world.all_answered().await;
            let least = 1000.0 * 0.1 / f64::from(u32::try_from(workers).unwrap());
            let case = format!("{workers}: {} of {least}, {:?}", world.now(), world.at_a_time(700));
            assert!(world.now() < least * 1.1 + 1.0, "{case}");
            let (middle, most) = world.at_a_time(700);
            assert!(middle <= 12.max(8 + workers) && most <= 16 + workers, "{case}");
        });
    }
}

#[test]
fn a_homeserver_that_works_on_many_is_sent_many() {
    happens(World::new(1000, seconds(0.3)), async |mut world| {
        for account in accounts(5) {
            world.send(&account, Action::LocalJoin, 400);
        }
        world.all_answered().await;
        let eight_at_a_time = 2000.0 * 0.3 / 8.0;
        assert!(world.now() < eight_at_a_time / 3.0, "{} of {eight_at_a_time}", world.now());
        assert!(world.at_a_time(1000).0 >= 32, "{:?}", world.at_a_time(1000));
    });
}

#[test]
fn a_homeserver_that_becomes_slower_or_faster_is_sent_as_many_as_it_works_on_then() {
    happens(World::new(20, seconds(0.1)), async |mut world| {
        let accounts = accounts(10);
        for (workers, takes) in [(20, 0.1), (3, 0.1), (20, 0.1), (20, 0.4), (20, 0.05)] {
            *world.homeserver.takes.lock().unwrap() = seconds(takes);
            let available = world.homeserver.workers.available_permits();
            world.homeserver.workers.forget_permits(available.saturating_sub(workers));
            world.homeserver.workers.add_permits(workers.saturating_sub(available));
            let began = world.now();
            for account in &accounts {
                world.send(account, Action::RemoteJoin, 150);
            }
            world.all_answered().await;
            let least = 1500.0 * takes / f64::from(u32::try_from(workers).unwrap());
            let took = world.now() - began;
            let (middle, most) = world.at_a_time(500);
            let case = format!("{workers} in {takes} s: {took} of {least}, {middle} and {most}");
            assert!(took < least * 1.5 + 1.0, "{case}");
            assert!(middle <= 10 + workers, "{case}");
        }
    });
}

#[test]
fn who_has_little_to_send_does_not_wait_for_those_who_have_much() {
    happens(World::new(3, seconds(0.1)), async |mut world| {
        let accounts = accounts(20);
        for account in &accounts[1..] {
            world.send(account, Action::RemoteJoin, 100);
        }
        let _much = std::mem::take(&mut world.requests);
        world.send(&accounts[0], Action::RemoteJoin, 5);
        world.all_answered().await;
        // Five rounds in which each of the twenty has one, three at a time.
        let fair = 5.0 * 20.0 * 0.1 / 3.0;
        assert!(world.now() < fair * 1.5 + 2.0, "{} of {fair}", world.now());
    });
}

#[test]
fn what_waits_for_something_else_than_the_homeserver_holds_up_nobody() {
    happens(World::new(1000, seconds(150.0)), async |mut world| {
        let accounts = accounts(2);
        world.send(&accounts[0], Action::RemoteJoin, 30);
        tokio::task::yield_now().await;
        world.send(&accounts[1], Action::RemoteJoin, 1);
        world.all_answered().await;
        let seconds_to_the_last = world.now();
        // One after the other by twos would be forty minutes.
        assert!(seconds_to_the_last < 150.0 * 1.3 + 60.0, "{seconds_to_the_last}");
        assert!(world.at_a_time(1).1 > 20, "{:?}", world.at_a_time(31));
    });
}

#[test]
fn a_homeserver_that_does_not_answer_in_time_is_sent_fewer() {
    happens(World::new(1000, seconds(0.1)), async |mut world| {
        let [account] = accounts(1).try_into().unwrap();
        world.send(&account, Action::RemoteJoin, 600);
        world.all_answered().await;
        assert!(world.at_a_time(100).0 >= 24, "{:?}", world.at_a_time(100));
        let pacing = world.pacing.clone();
        let (here, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let errand = || Errand { persistence: Persistence::Once, ..Action::RemoteJoin.into() };
        let mut most_at_last = usize::MAX;
        for _ in 0..5 {
            most.store(0, SeqCst);
            let lost = (0..40).map(|_| {
                pacing.run(&account, errand(), &stop, async || {
                    most.fetch_max(here.fetch_add(1, SeqCst) + 1, SeqCst);
                    world.clock.sleep(seconds(1.0)).await;
                    here.fetch_sub(1, SeqCst);
                    let host = "example.org".to_owned();
                    Err::<(), _>(Failure::Unreachable { host, fault: Fault::Timeout })
                })
            });
            futures_util::future::join_all(lost).await;
            most_at_last = most.load(SeqCst);
        }
        assert_eq!(most_at_last, 2);
        world.send(&account, Action::RemoteJoin, 600);
        world.all_answered().await;
        assert!(world.at_a_time(50).0 > 8, "{:?}", world.at_a_time(50));
    });
}

#[test]
fn invitations_between_two_homeservers_do_not_pile_up_on_the_inviting_one() {
    happens(World::new(3, seconds(0.2)), async |mut world| {
        for inviter in accounts(100) {
            let (pacing, homeserver) = (world.pacing.clone(), world.homeserver.clone());
            world.requests.spawn(async move {
                let invited = format!("@{}:example.com", inviter.localpart());
                let invited = <&UserId>::try_from(&*invited).unwrap();
                let errand = Errand { invited: Some(invited), ..Action::Invite.into() };
                let stop = CancellationToken::new();
                let answer = async || {
                    homeserver.answer().await;
                    Ok(())
                };
                let invitations = (0..5).map(|_| pacing.run(&inviter, errand, &stop, answer));
                futures_util::future::try_join_all(invitations).await.map(drop)
            });
        }
        world.all_answered().await;
        let (_, most) = world.at_a_time(500);
        assert!(most <= 16, "{most}");
        let least = 500.0 * 0.2 / 3.0;
        assert!(world.now() < least * 1.1 + 1.0, "{} of {least}", world.now());
    });
}

#[test]
fn changes_to_rooms_leave_the_homeserver_to_joins() {
    happens(World::new(1000, seconds(0.1)), async |mut world| {
        world.send(&accounts(1)[0], Action::State, 30);
        world.all_answered().await;
        assert_eq!(world.at_a_time(30).1, 3);
    });
}

#[test]
fn one_room_that_is_not_answered_for_makes_no_window_smaller_and_several_do() {
    let window = Arc::new(Window::new());
    let slots = || std::iter::from_fn(|| window.enter(at(0.0))).collect::<Vec<_>>();
    let full = slots();
    (0..10).for_each(|_| full[0].overloaded_in(1));
    let size = full.len();
    drop(full);
    let again = slots();
    assert_eq!(again.len(), size);
    again[0].overloaded_in(2);
    drop(again);
    assert_eq!(slots().len(), size / 2);
}
