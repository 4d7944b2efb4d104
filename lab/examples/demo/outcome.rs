//! What the homeservers say in the end. Tern is not asked.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    Account,
    town::{Finding, Findings, Place},
    wait,
};
use reqwest::Method;
use serde_json::Value;

use crate::{
    screen::{Cell, Lane, Screen},
    script::Moved,
    set::Set,
};

/// How long the last events may be on their way between the homeservers.
const ON_THE_WAY: Duration = Duration::from_secs(5);

/// Shows what is so in each room, beside what should be. Whether all is well.
pub(crate) async fn show(set: &Set, moved: &Moved, screen: &mut Screen) -> Result<bool> {
    screen.heading("What the homeservers say, asked directly")?;
    // One that never comes right is shown as it is.
    let _settled = wait::until("all is well", ON_THE_WAY, || async {
        let rows = rows(set, moved).await?;
        Ok(rows.iter().flatten().all(|cell| !cell.is_wrong()).then_some(()))
    })
    .await;
    let rows = rows(set, moved).await?;
    screen.table(&["Room", "", "New account", "Power", "Tags", "Direct chat", "Report"], &rows)?;
    screen.gap()?;
    let others = others(set, moved).await?;
    let others: Vec<_> = others.into_iter().map(|cell| vec![cell]).collect();
    screen.table(&["Besides"], &others)?;
    screen.gap()?;
    Ok(rows.iter().chain(&others).flatten().all(|cell| !cell.is_wrong()))
}

async fn rows(set: &Set, moved: &Moved) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for place in &set.town.places {
        let findings = place.look(&set.town.people.new).await?;
        rows.push(row(place, &findings, &moved.report));
    }
    Ok(rows)
}

fn row(place: &Place, findings: &Findings, report: &str) -> Vec<Cell> {
    let cell = |finding: &Finding| Cell::checked(finding.holds, &finding.text);
    let maybe = |finding: &Option<Finding>| finding.as_ref().map_or_else(|| Cell::plain(""), cell);
    let named = match (place.expected.named, report.contains(&place.name)) {
        (true, true) => Cell::checked(true, "names it"),
        (true, false) => Cell::checked(false, "does not name it"),
        (false, _) => Cell::plain(""),
    };
    vec![
        Cell::plain(&place.name),
        Cell::plain(place.nature),
        cell(&findings.joined),
        maybe(&findings.power),
        maybe(&findings.tags),
        maybe(&findings.direct),
        named,
    ]
}

/// What is to be so besides the rooms.
async fn others(set: &Set, moved: &Moved) -> Result<Vec<Cell>> {
    let losses = set.town.losses().await?;
    let mut others: Vec<_> = losses.iter().map(|loss| Cell::checked(false, loss)).collect();
    if losses.is_empty() {
        others.push(Cell::checked(true, "nothing was taken from either account"));
    }
    for (lane, room, event) in &moved.secrets {
        let account: &Account = match lane {
            Lane::Old => &set.town.people.old,
            Lane::New => &set.town.people.new,
        };
        let path = format!("/_matrix/client/v3/rooms/{room}/event/{event}");
        let event = account.send_raw(Method::GET, &path, &Value::Null).await?;
        let content = event["content"].as_object().context("an event has a content")?;
        let gone = content.is_empty();
        let is = if gone { "is" } else { "is not" };
        let said =
            format!("the password of the {} account {is} deleted from its chat", lane.name());
        others.push(Cell::checked(gone, &said));
    }
    Ok(others)
}
