//! `cargo bench-limits`: with limits, beside the least time that these token buckets allow.

use std::{path::Path, time::Duration};

use anyhow::Result;
use lab::{Homeserver, Lab, Limits, Options, Pair};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    moving::{self, Access, Moved},
    say,
    table::Table,
    town::{Makers, Town},
};

const MOST_TIMES_THE_LEAST: f64 = 1.05;
const MOST_WHERE_NOBODY_TELLS: f64 = 1.3;
const MOST_OFF: f64 = 2.0;

/// Tokens a second, and how many there are at most.
type Bucket = (f64, f64);

const JOINS: Bucket = (1.0, 5.0);
const INVITES_OF: Bucket = (0.5, 5.0);
/// Synapse's own.
const INVITES_BY: Bucket = (0.3, 10.0);
/// Synapse's own. Invitations count as messages of who invites.
const MESSAGES: Bucket = (0.2, 10.0);
/// What the old account says itself: `go`, and `status` halfway.
const SAID: usize = 2;
/// After so long without a request all buckets are full.
const FULL_AFTER: Duration = Duration::from_secs(60);

/// What is done.
struct Counts {
    rooms: usize,
    invitations: usize,
    /// Rooms that are opened for a moment.
    opened: usize,
    /// One more room, if there are such.
    lobby: usize,
}

/// The buckets that hold up a migration, with the tokens that it takes out of them, and how near to
/// that it is to come.
struct Case {
    needed: fn(&Counts) -> Vec<(Bucket, usize)>,
    goal: f64,
}

pub(crate) async fn measure(lab: &Lab, tern: &Path, rooms: usize) -> Result<Table> {
    let mut table = Table::default();
    table.figure("rooms, half of them private", rooms);
    say("Both homeservers limit")?;
    let limited = given(json!({
        "rc_joins": { "local": limit(JOINS), "remote": limit(JOINS) },
        "rc_invites": { "per_user": limit(INVITES_OF) },
    }));
    let start = async || lab.pair(&limited).await;
    let needed = |it: &Counts| {
        vec![
            (JOINS, it.rooms + it.lobby),
            (INVITES_OF, it.invitations),
            (INVITES_BY, it.invitations),
            (MESSAGES, it.invitations + 2 * it.opened + it.lobby + SAID),
        ]
    };
    let told = Case { needed, goal: MOST_TIMES_THE_LEAST };
    with_and_without_fast(start, &told, tern, rooms, &mut table).await?;

    say("Only the new homeserver limits, and tells nobody")?;
    let untold = given(json!({ "rc_invites": {
        "per_user": limit(INVITES_OF), "per_room": limit(OPEN), "per_issuer": limit(OPEN),
    } }));
    let new = open_besides(&untold);
    let start = async || two(lab, &Options::default(), &new).await;
    let needed = |it: &Counts| vec![(INVITES_OF, it.invitations)];
    let untold = Case { needed, goal: MOST_WHERE_NOBODY_TELLS };
    table.words("\nOnly a 502 tells of the limit:");
    with_and_without_fast(start, &untold, tern, rooms, &mut table).await?;
    Ok(table)
}

/// Each on homeservers of its own: logins from one address are limited, too.
async fn with_and_without_fast(
    start: impl AsyncFn() -> Result<Pair>,
    case: &Case,
    tern: &Path,
    rooms: usize,
    table: &mut Table,
) -> Result<()> {
    run(&start().await?, case, tern, rooms, false, table).await?;
    table.words("\nThe same with `fast`:");
    run(&start().await?, case, tern, rooms, true, table).await
}

const OPEN: Bucket = (100_000.0, 100_000.0);

fn limit((per_second, burst): Bucket) -> Value {
    json!({ "per_second": per_second, "burst_count": burst as u64 })
}

fn given(limits: Value) -> Options {
    let Value::Object(limits) = limits else { return Options::default() };
    Options { limits: Limits::Given(limits), ..Options::default() }
}

/// No limits but these, which are laid over the open ones.
fn open_besides(options: &Options) -> Options {
    let Limits::Given(given) = &options.limits else { return options.clone() };
    Options { settings: given.clone(), ..Options::default() }
}

async fn two(lab: &Lab, old: &Options, new: &Options) -> Result<Pair> {
    let start = async |options: &Options| -> Result<Homeserver> { lab.homeserver(options).await };
    let (old, new) = tokio::try_join!(start(old), start(new))?;
    Ok(Pair { old, new, lab: lab.clone() })
}

async fn run(
    pair: &Pair,
    case: &Case,
    tern: &Path,
    rooms: usize,
    fast: bool,
    table: &mut Table,
) -> Result<()> {
    say("  Making rooms")?;
    let name = if fast { "fast" } else { "moving" };
    let town = Town::build((&pair.old, &pair.new), name, rooms, Makers::Friend).await?;
    let planned = moving::plan(pair, tern, &town, Access::LOGIN).await?;
    let opened = if fast { planned.agree_to_fast().await? } else { 0 };
    let lobby = usize::from(fast);
    let counts = Counts { rooms, invitations: town.private() - opened + lobby, opened, lobby };
    let bounds = (case.needed)(&counts).into_iter().map(|(bucket, count)| least(bucket, count));
    let least = bounds.max().unwrap_or_default();
    say("  Waiting until nothing is left of what was said so far")?;
    tokio::time::sleep_until(Instant::now() + FULL_AFTER).await;
    say(&format!("  Moving, which takes {} s at least", least.as_secs()))?;
    let moved = planned.go(pair, &town, Some(least / 2)).await?;
    show(&moved, &counts, least, case.goal, table);
    Ok(())
}

fn show(moved: &Moved, counts: &Counts, least: Duration, goal: f64, table: &mut Table) {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    table.figure("invitations", counts.invitations);
    if counts.opened > 0 {
        table.figure("rooms opened for a moment", counts.opened);
    }
    table.figure("least that the limits allow", seconds(least));
    table.figure("Tern, from `go` to the report", seconds(moved.took));
    table.goal("Tern : least", moved.took.as_secs_f64() / least.as_secs_f64(), goal);
    if let Some((estimate, took)) = moved.estimate {
        table.figure("estimate after half of it", seconds(estimate));
        table.figure("what it then took", seconds(took));
        let (a, b) = (estimate.as_secs_f64(), took.as_secs_f64());
        table.goal("estimate off by a factor of", (a / b).max(b / a), MOST_OFF);
    }
    if let Some(answered) = moved.answered {
        table.figure("`status` was answered in", seconds(answered));
    }
    let sent: usize = moved
        .requests
        .by_endpoint
        .iter()
        .filter(|(endpoint, _)| endpoint.ends_with("/invite") || endpoint.contains("/join/"))
        .map(|(_, count)| count)
        .sum();
    let needed = counts.rooms + counts.lobby + counts.invitations;
    table.figure("invitations and joins sent in vain", sent.saturating_sub(needed));
}

/// The least time until the last of `count` tokens comes out of a full bucket.
fn least((per_second, burst): Bucket, count: usize) -> Duration {
    Duration::from_secs_f64(((count as f64 - burst) / per_second).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_takes_no_time_and_each_token_after_it_its_own() {
        assert_eq!(least(JOINS, 5), Duration::ZERO);
        assert_eq!(least(JOINS, 80), Duration::from_secs(75));
        assert_eq!(least(MESSAGES, 40), Duration::from_secs(150));
    }
}
