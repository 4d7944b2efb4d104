//! How the bot is, for the admin who watches it: `/health` and `/metrics`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde_json::json;

use crate::measure::Counted;

/// Whether the bot answers people. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// The bot takes commands from now on.
    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The bot takes no commands for now.
    pub fn set_away(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many migrations are in each phase.
type Phases = dyn Fn() -> Vec<(&'static str, u32)> + Send + Sync;

/// What an admin can see from outside.
#[derive(Clone)]
pub struct Observation {
    health: Health,
    counted: Counted,
    migrations: Arc<Phases>,
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Observation {
    /// `migrations` counts them by phase, whenever somebody looks.
    pub fn new(
        health: Health,
        counted: Counted,
        migrations: impl Fn() -> Vec<(&'static str, u32)> + Send + Sync + 'static,
    ) -> Self {
        Self { health, counted, migrations: Arc::new(migrations) }
    }

    pub(super) fn router(self) -> Router {
        Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(self)
    }
}

async fn health(State(observation): State<Observation>) -> impl IntoResponse {
    if observation.health.is_ready() {
        (StatusCode::OK, Json(json!({ "status": "ready" })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "away" })))
    }
}

async fn metrics(State(observation): State<Observation>) -> impl IntoResponse {
    let text = observation.counted.render((observation.migrations)());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
