//! What is counted, for whoever watches the bot: how much is done and how long it waits, and never
//! by whom. Where nobody watches, nothing is counted.
//!
//! Every name and every label is in here. Each label has few values, however many people move from
//! and to however many servers.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

const MIGRATIONS: &str = "tern_migrations";
const STEPS: &str = "tern_steps_total";
const REQUESTS: &str = "tern_requests_total";
const PANICS: &str = "tern_panics_total";
const WAITED: &str = "tern_limit_wait_seconds";

/// From which durations on waits are told apart, in seconds.
const WAITS: [f64; 5] = [1.0, 10.0, 60.0, 600.0, 3600.0];

/// How many hosts have a label of their own, besides those in the configuration.
const MOST_HOSTS: usize = 50;

/// Everything that was counted since the process began.
#[derive(Clone)]
pub struct Counted(PrometheusHandle);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

impl Counted {
    /// Begins to count. Once for a process.
    ///
    /// # Errors
    ///
    /// When something else counts already.
    pub fn begin() -> Result<Self, BuildError> {
        let counted = Self(PrometheusBuilder::new().set_buckets(&WAITS)?.install_recorder()?);
        describe_gauge!(MIGRATIONS, "Migrations that are stored, by the phase that they are in");
        describe_counter!(STEPS, "Steps of migrations that were taken, by what came of them");
        describe_counter!(
            REQUESTS,
            "Requests to homeservers by their answer's status, without those of the bot's own chat"
        );
        describe_counter!(PANICS, "Mistakes in the program that a task ran into, by what it does");
        describe_histogram!(
            WAITED,
            Unit::Seconds,
            "How long requests were held back because a homeserver limits them; those that wait \
             behind another do not count"
        );
        Ok(counted)
    }

    /// All of it, as [Prometheus] reads it. `migrations` tells how many there are in each phase.
    ///
    /// [Prometheus]: https://prometheus.io/docs/instrumenting/exposition_formats/
    pub fn render(&self, migrations: impl IntoIterator<Item = (&'static str, u32)>) -> String {
        for (phase, number) in migrations {
            gauge!(MIGRATIONS, "phase" => phase).set(number);
        }
        self.0.render()
    }
}

/// A step has a result.
pub(crate) fn step(step: &'static str, outcome: &'static str) {
    counter!(STEPS, "step" => step, "outcome" => outcome).increment(1);
}

/// A homeserver answered, or did not.
pub(crate) fn request(server: String, status: Option<u16>) {
    let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
    counter!(REQUESTS, "server" => server, "status" => status).increment(1);
}

/// A task of this name panicked.
pub(crate) fn panicked(task: &'static str) {
    counter!(PANICS, "task" => task).increment(1);
}

/// A request of this kind was held back because of a limit.
pub(crate) fn wait(requests: &'static str, wait: Duration) {
    histogram!(WAITED, "requests" => requests).record(wait);
}

/// The hosts that are told apart: people choose the servers that they move from and to, and there
/// is no end of those.
#[derive(Debug)]
pub(crate) struct Hosts {
    named: Mutex<BTreeSet<String>>,
    most: usize,
}

impl Hosts {
    /// With these told apart in any case.
    pub(crate) fn new(configured: impl IntoIterator<Item = String>) -> Self {
        let named: BTreeSet<_> = configured.into_iter().collect();
        Self { most: named.len() + MOST_HOSTS, named: named.into() }
    }

    /// What a host is called here.
    pub(crate) fn label(&self, host: &str) -> String {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(host) {
            return host.to_owned();
        }
        if named.len() == self.most {
            return "other".to_owned();
        }
        named.insert(host.to_owned());
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_hosts_makes_more_labels_than_there_may_be() {
        let hosts = Hosts::new(["matrix.example.org".to_owned()]);
        let labels: BTreeSet<_> =
            (0..1000).map(|number| hosts.label(&format!("{number}.example"))).collect();
        assert_eq!(labels.len(), MOST_HOSTS + 1);
        assert!(labels.contains("other"));
        assert_eq!(hosts.label("matrix.example.org"), "matrix.example.org");
        assert_eq!(hosts.label("0.example"), "0.example");
    }
}
