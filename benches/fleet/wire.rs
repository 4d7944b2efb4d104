//! The way to the simulated homeservers, and the time that passes on it: a held clock that goes on
//! to whatever comes next when nothing else is left to do.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lab::sim::TIME;
use ruma::exports::http;
use tern::{
    clock::{Clock as _, HeldClock},
    homeserver::{Carrier, Failure, Fault},
    store::Witness,
};

/// Counts what is on its way, so that no time passes meanwhile.
#[derive(Debug)]
pub(crate) struct Wire {
    client: reqwest::Client,
    pub(crate) clock: Arc<HeldClock>,
    busy: AtomicUsize,
    pub(crate) requests: AtomicUsize,
}

impl Wire {
    pub(crate) fn new(clock: Arc<HeldClock>) -> anyhow::Result<Arc<Self>> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let (busy, requests) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Arc::new(Self { client, clock, busy, requests }))
    }

    /// Runs `life` on a runtime whose time passes only when nothing else is left to do.
    pub(crate) fn run<T>(self: &Arc<Self>, life: impl Future<Output = T>) -> anyhow::Result<T> {
        let wire = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                if wire.busy.load(Ordering::SeqCst) == 0 {
                    wire.clock.advance_to_next();
                }
            })
            .build()?;
        Ok(runtime.block_on(life))
    }

    async fn exchange(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> anyhow::Result<(http::Response<Vec<u8>>, Duration)> {
        let mut request = reqwest::Request::try_from(request)?;
        let now = self.clock.now().as_microsecond().to_string();
        request.headers_mut().insert(TIME, now.parse()?);
        let answer = self.client.execute(request).await?;
        let mut response = http::Response::builder().status(answer.status());
        let held = answer.headers().get(TIME).and_then(|held| held.to_str().ok()?.parse().ok());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let hold = Duration::from_micros(held.unwrap_or(0));
        Ok((response.body(answer.bytes().await?.to_vec())?, hold))
    }
}

impl Carrier for Wire {
    fn carry(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, Failure>> {
        Box::pin(async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.busy.fetch_add(1, Ordering::SeqCst);
            let answer = self.exchange(request).await;
            self.busy.fetch_sub(1, Ordering::SeqCst);
            let (answer, hold) = answer.map_err(|error| Failure::Unreachable {
                host: "simulated".to_owned(),
                fault: Fault::Broken(error.to_string()),
            })?;
            self.clock.sleep(hold).await;
            Ok(answer)
        })
    }
}

impl Witness for Wire {
    fn before_write(&self) -> BoxFuture<'_, ()> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }

    fn after_write(&self) -> BoxFuture<'_, ()> {
        self.busy.fetch_sub(1, Ordering::SeqCst);
        Box::pin(async {})
    }
}
