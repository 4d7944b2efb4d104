//! `cargo bench-appservice`: the same account, moved by an application service and by `login`.
//!
//! All limits are Synapse's own, but all of them so many times faster that hours become minutes. A
//! request takes as long as ever, so what waits for no limit looks slower beside the rest than it is.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::Result;
use lab::{Homeserver, Lab, Limits, Options, Pair, Service};
use serde_json::{Value, json};

use crate::{
    moving::{self, Access},
    say,
    table::Table,
    town::{Makers, Town},
};

/// How many times faster than Synapse's own the limits are.
const TIMES: f64 = 100.0;

/// One way to move the account.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// What accounts and service are called.
    name: &'static str,
    what: &'static str,
    old_logs_in: bool,
    new_logs_in: bool,
}

const BOTH: Way =
    Way { name: "both", what: "both servers know Tern", old_logs_in: false, new_logs_in: false };
const OLD: Way =
    Way { name: "old", what: "the old server knows Tern", old_logs_in: false, new_logs_in: true };
const NEW: Way =
    Way { name: "new", what: "the new server knows Tern", old_logs_in: true, new_logs_in: false };
const WITHIN: Way =
    Way { name: "within", what: "the server knows Tern", old_logs_in: false, new_logs_in: false };

pub(crate) async fn measure(lab: &Lab, tern: &Path, rooms: usize) -> Result<Table> {
    let mut table = Table::default();
    table.figure("rooms, half of them private", rooms);
    table.words(format!("limits are {TIMES} times as fast as Synapse's own"));
    let bench = Bench { lab, tern, rooms };

    table.words("\nWithin one server:");
    bench.compare(false, &[WITHIN], &mut table).await?;
    table.words("\nBetween two servers:");
    bench.compare(false, &[BOTH], &mut table).await?;
    table.words("\nBetween two servers, where the new one takes any number of invitations:");
    bench.compare(true, &[BOTH, OLD, NEW], &mut table).await?;
    Ok(table)
}

struct Bench<'a> {
    lab: &'a Lab,
    tern: &'a Path,
    rooms: usize,
}

impl Bench<'_> {
    /// Moves by `login`, and in each of these ways. `lifted` is whether the new server limits no
    /// invitations of one account, as the guide for admins advises.
    async fn compare(&self, lifted: bool, ways: &[Way], table: &mut Table) -> Result<()> {
        say("Starting two homeservers")?;
        let service = |way: &Way| {
            let covered = format!("{}-.*", way.name);
            Service::covering(self.tern, way.name, Some(&covered))
        };
        let services = ways.iter().map(service).collect::<Result<Vec<_>>>()?;
        let options = |lifted| Options {
            limits: limits(lifted),
            services: services.clone(),
            ..Options::default()
        };
        let pair = self.lab.pair_of(&options(false), &options(lifted)).await?;
        let within = ways.iter().any(|way| way.name == WITHIN.name);
        let to = if within { &pair.old } else { &pair.new };
        let login = self.moved(&pair, to, "login", Access::LOGIN).await?;
        table.words(line("by `login`", login, login)?);
        for (way, service) in ways.iter().zip(&services) {
            let Way { old_logs_in, new_logs_in, .. } = *way;
            let access = Access { service: Some(service), old_logs_in, new_logs_in };
            let took = self.moved(&pair, to, way.name, access).await?;
            table.words(line(way.what, took, login)?);
        }
        Ok(())
    }

    async fn moved(
        &self,
        pair: &Pair,
        to: &Homeserver,
        name: &str,
        access: Access<'_>,
    ) -> Result<Duration> {
        say(&format!("  {name}: making rooms, and moving"))?;
        let town = Town::build((&pair.old, to), name, self.rooms, Makers::Friend).await?;
        let planned = moving::plan(pair, self.tern, &town, access).await?;
        Ok(planned.go(pair, &town, None).await?.took)
    }
}

/// How long it took, and how that is to a move by `login`.
fn line(what: &str, took: Duration, login: Duration) -> Result<String> {
    let (took, login) = (took.as_secs_f64(), login.as_secs_f64());
    let mut line = String::new();
    write!(line, "  {what:<36}{took:>10.1} s{:>12.2}", took / login)?;
    Ok(line)
}

fn limits(lifted: bool) -> Limits {
    let open = json!({ "per_second": 100_000, "burst_count": 100_000 });
    let faster = |per_second: f64, burst: u64| json!({ "per_second": per_second * TIMES, "burst_count": burst });
    let per_user = if lifted { open.clone() } else { faster(0.003, 5) };
    let limits = json!({
        "rc_joins": { "local": faster(0.1, 10), "remote": faster(0.01, 10) },
        "rc_joins_per_room": faster(1.0, 10),
        "rc_invites": {
            "per_room": faster(0.3, 10), "per_issuer": faster(0.3, 10), "per_user": per_user,
        },
        "rc_message": faster(0.2, 10),
        "rc_room_creation": faster(0.016, 10),
        // How often somebody logs in is no part of what is measured.
        "rc_login": { "address": open, "account": open, "failed_attempts": open },
    });
    match limits {
        Value::Object(limits) => Limits::Given(limits),
        _ => Limits::Default,
    }
}
