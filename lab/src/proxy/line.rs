//! The connections of clients, which can be broken.

use std::{error::Error, fmt, future::poll_fn};

use axum::{body::Body, response::Response};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ruma::exports::http;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The connection is to be broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl Error for Broken {}

/// Answers whatever comes in, until this is dropped, and all connections with it.
pub(super) async fn serve<F>(
    listener: TcpListener,
    answer: impl Fn(http::Request<Body>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Result<Response, Broken>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Such as a connection that is gone before it was taken.
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve_one(stream, answer.clone()));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn serve_one<F>(stream: TcpStream, answer: impl Fn(http::Request<Body>) -> F)
where
    F: Future<Output = Result<Response, Broken>>,
{
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        Box::pin(answer(request.map(Body::new)))
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if poll_fn(|context| connection.poll_without_shutdown(context)).await.is_err() {
        // Without this, the end of a broken answer would look like the end of a connection that
        // nobody needs any more.
        let stream = connection.into_parts().io.into_inner();
        let _too_late = stream.set_zero_linger();
    }
}
