//! `cargo bench-open`: without limits, beside the same invitations and joins over eight plain
//! connections.

use std::path::Path;

use anyhow::Result;
use lab::{Lab, Options};

use crate::{
    floor,
    moving::{self, Access},
    say,
    table::Table,
    town::{Makers, Town},
};

const MOST_TIMES_THE_FLOOR: f64 = 1.25;
const MOST_REQUESTS_A_ROOM: f64 = 3.5;

/// The floor is measured before and after the migration, with rooms of its own each time.
pub(crate) async fn measure(lab: &Lab, tern: &Path, rooms: usize) -> Result<Table> {
    say("Starting two homeservers")?;
    let pair = lab.pair(&Options::default()).await?;
    say(&format!("Making three times {rooms} rooms"))?;
    let [before, town, after] = [
        Town::build((&pair.old, &pair.new), "before", rooms, Makers::Mixed).await?,
        Town::build((&pair.old, &pair.new), "moving", rooms, Makers::Mixed).await?,
        Town::build((&pair.old, &pair.new), "after", rooms, Makers::Mixed).await?,
    ];
    let planned = moving::plan(&pair, tern, &town, Access::LOGIN).await?;
    say("Inviting and joining over plain connections")?;
    let floor_before = floor::measure(&before).await?;
    say("Moving")?;
    let moved = planned.go(&pair, &town, None).await?;
    say("Inviting and joining over plain connections again")?;
    let floor_after = floor::measure(&after).await?;

    let floor = (floor_before + floor_after) / 2;
    let a_room = moved.requests.count() as f64 / rooms as f64;
    let mut table = Table::default();
    table.figure("rooms, half of them private", rooms);
    let seconds = |time: std::time::Duration| format!("{:.1} s", time.as_secs_f64());
    table.figure("floor before", seconds(floor_before));
    table.figure("floor after", seconds(floor_after));
    table.figure("Tern, from `go` to the report", seconds(moved.took));
    let ratio = moved.took.as_secs_f64() / floor.as_secs_f64();
    table.goal("Tern : floor", ratio, MOST_TIMES_THE_FLOOR);
    table.goal("requests a room", a_room, MOST_REQUESTS_A_ROOM);
    table.words("\nTern's requests:");
    for (endpoint, count) in &moved.requests.by_endpoint {
        table.words(format!("{count:>7}  {endpoint}"));
    }
    Ok(table)
}
