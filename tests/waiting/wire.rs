//! The way to the simulated homeservers, on a held clock that goes on to whatever comes next when
//! nothing else is left to do.

use std::{
    collections::BTreeSet,
    future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use lab::sim::Simulation;
use ruma::exports::http;
use tern::{
    clock::{Clock as _, HeldClock, Timestamp},
    homeserver::{Carrier, Failure},
    store::Witness,
};

/// A message that was sent, or tried to be.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) at: Timestamp,
    pub(crate) path: String,
    pub(crate) status: u16,
}

/// Carries requests, and notes the messages among them.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) clock: Arc<HeldClock>,
    pub(crate) simulation: Simulation,
    pub(crate) posts: Mutex<Vec<Post>>,
    /// Messages of which nobody hears that they were sent, by number.
    lost: Mutex<BTreeSet<usize>>,
    /// What is never answered: requests whose path ends so.
    hangs: Mutex<Option<&'static str>>,
    /// What makes the program panic, and how often still: requests whose path has this in it.
    stumbles: Mutex<Option<(&'static str, usize)>>,
    /// Writes that the store's own threads are about.
    writing: AtomicUsize,
}

impl Wire {
    pub(crate) fn new(clock: Arc<HeldClock>, simulation: Simulation) -> Arc<Self> {
        let (posts, lost, hangs) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (stumbles, writing) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { clock, simulation, posts, lost, hangs, stumbles, writing })
    }

    /// Leaves requests without an answer whose path ends so.
    pub(crate) fn hang(&self, end: &'static str) {
        *self.hangs.lock().unwrap() = Some(end);
    }

    /// Has the program panic so many times, when it sends a request whose path has this in it.
    pub(crate) fn stumble(&self, at: &'static str, times: usize) {
        *self.stumbles.lock().unwrap() = Some((at, times));
    }

    fn panic_at(&self, path: &str) {
        // Not while it is locked.
        let is_to_panic = match &mut *self.stumbles.lock().unwrap() {
            Some((at, times)) if *times > 0 && path.contains(*at) => {
                *times -= 1;
                true
            }
            _ => false,
        };
        assert!(!is_to_panic, "a mistake in the program");
    }

    /// The answers to these messages come when there is no process any more to take them.
    pub(crate) fn lose(&self, numbers: impl Into<BTreeSet<usize>>) {
        *self.lost.lock().unwrap() = numbers.into();
    }

    /// Runs one life of a process. What goes on when it is over is dropped where it is.
    pub(crate) fn run<T>(self: &Arc<Self>, life: impl Future<Output = T>) -> T {
        let wire = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || {
                if wire.writing.load(Ordering::SeqCst) == 0 {
                    wire.clock.advance_to_next();
                }
            })
            .build()
            .unwrap();
        let lived = runtime.block_on(life);
        // A write that was begun is finished by the store's own threads.
        self.writing.store(0, Ordering::SeqCst);
        lived
    }
}

impl Wire {
    /// Whether nobody is to hear of it.
    fn note(&self, post: Post) -> bool {
        let mut posts = self.posts.lock().unwrap();
        posts.push(post);
        self.lost.lock().unwrap().contains(&(posts.len() - 1))
    }
}

impl Carrier for Wire {
    fn carry(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, Failure>> {
        Box::pin(async move {
            if self.hangs.lock().unwrap().is_some_and(|end| request.uri().path().ends_with(end)) {
                future::pending::<()>().await;
            }
            self.panic_at(request.uri().path());
            let now = self.clock.now();
            let since_1970 = Duration::try_from(now.as_duration()).unwrap();
            let answer = self.simulation.answer(&request, since_1970);
            let path = request.uri().path().to_owned();
            if path.contains("/send/m.room.message/")
                && self.note(Post { at: now, path, status: answer.status })
            {
                future::pending::<()>().await;
            }
            self.clock.sleep(answer.hold).await;
            let response = http::Response::builder().status(answer.status);
            let response = response.header(http::header::CONTENT_TYPE, answer.content_type);
            Ok(response.body(answer.body).unwrap())
        })
    }
}

impl Witness for Wire {
    fn before_write(&self) -> BoxFuture<'_, ()> {
        self.writing.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }

    fn after_write(&self) -> BoxFuture<'_, ()> {
        self.writing.fetch_sub(1, Ordering::SeqCst);
        Box::pin(async {})
    }
}
