//! What the homeservers say in the end. Tern is not asked.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    Account,
    town::{Finding, Findings, Place},
    wait,
};
use reqwest::Method;
use ruma::{EventId, RoomId};
use serde_json::Value;

use crate::{
    screen::{Cell, Lane, Screen},
    script::Moved,
    set::Set,
};

/// How long the last events may be on their way between the homeservers.
const ON_THE_WAY: Duration = Duration::from_secs(5);

/// Shows what is so in each room, and whether that is as it should be. Returns whether all is.
pub(crate) async fn show(set: &Set, moved: &Moved, screen: &mut Screen) -> Result<bool> {
    screen.heading("What the homeservers say, asked directly")?;
    // What does not come right in time is shown as it is.
    let _in_time = wait::until("all is as it should be", ON_THE_WAY, || async {
        Ok(rooms(set).await?.iter().flatten().all(Cell::holds).then_some(()))
    })
    .await;
    let rooms = rooms(set).await?;
    screen.table(&["Room", "", "New account", "Power", "Marks"], &rooms)?;
    screen.gap()?;
    let others: Vec<_> = others(set, moved).await?.iter().map(Cell::of).collect();
    for other in &others {
        screen.line(&other.styled())?;
    }
    screen.gap()?;
    Ok(rooms.iter().flatten().chain(&others).all(Cell::holds))
}

async fn rooms(set: &Set) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for place in &set.town.places {
        let findings = place.look(&set.town.people.new).await?;
        rows.push(row(place, &findings));
    }
    Ok(rows)
}

fn row(place: &Place, findings: &Findings) -> Vec<Cell> {
    vec![
        Cell::plain(&place.name),
        Cell::plain(place.nature),
        Cell::of(&findings.joined),
        Cell::all(&findings.power),
        Cell::all(findings.tags.iter().chain(&findings.direct)),
    ]
}

/// Whether the report names the rooms in which not everything can be as it was.
fn named(place: &Place, report: &str) -> Option<Finding> {
    let why = place.expected.lost?;
    let holds = report.contains(&place.name);
    let names = if holds { "names" } else { "does not name" };
    Some(Finding { holds, text: format!("The report {names} “{}”: {why}.", place.name) })
}

/// What is to be so besides.
async fn others(set: &Set, moved: &Moved) -> Result<Vec<Finding>> {
    let mut others = set.town.kept().await?.to_vec();
    for (lane, room, event) in &moved.secrets {
        others.push(secret_is_gone(set, *lane, room, event).await?);
    }
    others.push(report_is_right(set, &moved.report));
    others.extend(set.town.places.iter().filter_map(|place| named(place, &moved.report)));
    Ok(others)
}

async fn secret_is_gone(set: &Set, lane: Lane, room: &RoomId, event: &EventId) -> Result<Finding> {
    let account: &Account = match lane {
        Lane::Old => &set.town.people.old,
        Lane::New => &set.town.people.new,
    };
    let path = format!("/_matrix/client/v3/rooms/{room}/event/{event}");
    let event = account.send_raw(Method::GET, &path, &Value::Null).await?;
    let holds = event["content"].as_object().context("an event has a content")?.is_empty();
    let is = if holds { "is" } else { "is not" };
    let text = format!("The password of the {} account {is} deleted from its chat.", lane.name());
    Ok(Finding { holds, text })
}

/// Whether the report counts the rooms as they are.
fn report_is_right(set: &Set, report: &str) -> Finding {
    let joined = set.town.places.iter().filter(|place| place.expected.joined).count();
    let holds = report.contains(&format!("the new account is in {joined} of"));
    let says = if holds { "says" } else { "does not say" };
    let text = format!("The report {says} that the new account is in {joined} of Mara's rooms.");
    Finding { holds, text }
}
