//! Decides in which order everything happens that touches the outside: requests and their answers,
//! writes to the store, messages. By seed, one at a time, and only while nothing else can go on, so
//! that one seed always gives one course. Time passes when nothing else is left to happen.

use std::{
    future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use lab::sim::{Answer, Simulation};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use ruma::exports::http;
use tern::{
    clock::{Clock as _, HeldClock},
    homeserver::{Carrier, Failure},
    store::Witness,
};
use tokio::sync::{Notify, oneshot};

/// How a life came to its end.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// There was nothing left to do.
    Done(T),
    /// The process ended, as it was to.
    Ended,
    /// There was something left to do, and nobody went on with it.
    Stuck,
}

/// When what was on its way arrives, after the next process began.
const LATE: Duration = Duration::from_secs(1);

/// One life of a bot's process.
#[derive(Debug)]
pub(crate) struct Director {
    pub(crate) clock: Arc<HeldClock>,
    simulation: Simulation,
    state: Mutex<State>,
    /// Writes that the store's own threads are about.
    writing: AtomicUsize,
    over: Notify,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    waiting: Vec<Waiting>,
    /// Requests that were on their way when the process ended, and arrive all the same.
    late: Vec<http::Request<Vec<u8>>>,
    /// Which points were passed, for whoever repeats a seed.
    course: Vec<String>,
    /// At which point the process ends.
    last: usize,
    ended: bool,
    /// Nothing happens any more, and nothing will.
    stuck: bool,
}

/// Who waits for its turn to touch the outside.
#[derive(Debug)]
struct Waiting {
    point: String,
    turn: oneshot::Sender<()>,
    /// What is sent then.
    request: Option<http::Request<Vec<u8>>>,
}

impl Director {
    /// A life that ends at its `last` point.
    pub(crate) fn new(
        seed: u64,
        last: usize,
        clock: Arc<HeldClock>,
        simulation: Simulation,
    ) -> Arc<Self> {
        let rng = StdRng::seed_from_u64(seed);
        let state = State {
            rng,
            waiting: Vec::new(),
            late: Vec::new(),
            course: Vec::new(),
            last,
            ended: false,
            stuck: false,
        };
        let (writing, over) = (AtomicUsize::new(0), Notify::new());
        Arc::new(Self { clock, simulation, state: Mutex::new(state), writing, over })
    }

    /// Runs `life` until it is done, or the process ended before. Whatever was going on then is
    /// dropped where it was.
    pub(crate) fn run<T>(self: &Arc<Self>, life: impl Future<Output = T>) -> Outcome<T> {
        let director = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || director.when_idle())
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::select! {
                done = life => Outcome::Done(done),
                () = self.over.notified() => {
                    if self.state().stuck { Outcome::Stuck } else { Outcome::Ended }
                }
            }
        })
    }

    /// Waits for the turn to do what touches the outside.
    pub(crate) async fn pass(&self, point: String) {
        self.pass_with(point, None).await;
    }

    async fn pass_with(&self, point: String, request: Option<http::Request<Vec<u8>>>) {
        let turn = self.line_up(point, request);
        if turn.await.is_err() {
            // The process is over.
            future::pending::<()>().await;
        }
    }

    fn line_up(
        &self,
        point: String,
        request: Option<http::Request<Vec<u8>>>,
    ) -> oneshot::Receiver<()> {
        let (turn, waits) = oneshot::channel();
        let mut state = self.state();
        if !state.ended {
            state.waiting.push(Waiting { point, turn, request });
        }
        waits
    }

    /// Has what was on its way in the life before arrive a moment after this one began.
    pub(crate) async fn deliver_late(&self, before: &Self) {
        let late = std::mem::take(&mut before.state().late);
        if late.is_empty() {
            return;
        }
        self.clock.sleep(LATE).await;
        for request in late {
            self.state().course.push(format!("late {}", request.uri().path()));
            drop(self.answer(&request));
        }
    }

    fn answer(&self, request: &http::Request<Vec<u8>>) -> Answer {
        let now = self.clock.now().as_duration();
        self.simulation.answer(request, Duration::try_from(now).unwrap())
    }

    /// The points passed so far.
    pub(crate) fn course(&self) -> Vec<String> {
        self.state().course.clone()
    }

    /// Has one go on who waits for its turn; without any, lets time pass.
    fn when_idle(&self) {
        let mut state = self.state();
        if state.ended || self.writing.load(Ordering::SeqCst) > 0 {
            return;
        }
        if state.waiting.is_empty() {
            if !self.clock.advance_to_next() {
                state.stuck = true;
                self.over.notify_one();
            }
            return;
        }
        // In which order they came here may be chance, as where several wake at once.
        state.waiting.sort_by(|one, other| one.point.cmp(&other.point));
        let waiting = state.waiting.len();
        let next = state.rng.random_range(0..waiting);
        let next = state.waiting.remove(next);
        state.course.push(next.point);
        if state.course.len() < state.last {
            // Whoever gave up waiting does nothing any more.
            let _ = next.turn.send(());
            return;
        }
        state.ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        for request in waiting.into_iter().filter_map(|waiting| waiting.request) {
            if state.rng.random() && arrives_late(&request) {
                state.late.push(request);
            }
        }
        self.over.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// A homeserver goes on with a join, say, when the connection that it came by is gone. A login that
/// arrives so would end the session of one that came later, and is a case of its own.
fn arrives_late(request: &http::Request<Vec<u8>>) -> bool {
    request.method() != http::Method::GET && !request.uri().path().ends_with("/login")
}

impl Carrier for Director {
    fn carry(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, Failure>> {
        Box::pin(async move {
            let what = format!("{} {}", request.method(), request.uri().path());
            self.pass_with(format!("send {what}"), Some(request.clone())).await;
            let answer = self.answer(&request);
            self.clock.sleep(answer.hold).await;
            self.pass(format!("{} to {what}", answer.status)).await;
            let response = http::Response::builder().status(answer.status);
            let response = response.header(http::header::CONTENT_TYPE, answer.content_type);
            Ok(response.body(answer.body).unwrap())
        })
    }
}

impl Witness for Director {
    fn before_write(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.pass("write".to_owned()).await;
            self.writing.fetch_add(1, Ordering::SeqCst);
        })
    }

    fn after_write(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.writing.fetch_sub(1, Ordering::SeqCst);
            self.pass("written".to_owned()).await;
        })
    }
}
