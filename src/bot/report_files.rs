//! The report as files.

use std::collections::HashMap;

use askama::Template;

use super::wording::{
    clean_name, csv_header, held_for, holding_label, holding_outcome_words, labels_of_counts,
    outcome_words, request_words, room_name, step_words,
};
use crate::{
    bot::grammar::route_name,
    migration::{HoldingRow, Report, ReportRow},
    moderation::InviteRequest,
};

/// A file to be sent.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) content: Vec<u8>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `report.csv` and `report.html`.
pub(super) fn all(report: &Report, requests: &[InviteRequest]) -> Vec<File> {
    vec![
        File { name: "report.csv", content_type: "text/csv", content: csv(report, requests) },
        File { name: "report.html", content_type: "text/html", content: html(report, requests) },
    ]
}

/// One room, in words.
struct Row {
    id: String,
    name: String,
    alias: String,
    route: &'static str,
    outcome: &'static str,
    why: String,
    power_level: String,
    tags: String,
    creator_stays: bool,
    request: String,
}

impl Row {
    fn new(row: &ReportRow, request: Option<&InviteRequest>) -> Self {
        let (outcome, why) = outcome_words(&row.outcome);
        let power_level = match (&row.power_level, row.power_out_of_reach) {
            (Some((level, result)), _) => format!("{level}: {}", step_words(result)),
            (None, Some(level)) => format!("{level}: out of reach"),
            (None, None) => String::new(),
        };
        Self {
            id: row.room.id.to_string(),
            name: room_name(&row.room),
            alias: row.room.alias.as_ref().map(ToString::to_string).unwrap_or_default(),
            route: route_name(row.route),
            outcome,
            why,
            power_level,
            tags: row.tags.as_ref().map(step_words).unwrap_or_default(),
            creator_stays: row.creator_stays,
            request: request.map(request_words).unwrap_or_default(),
        }
    }

    fn cells(&self) -> [&str; 10] {
        [
            &self.id,
            &self.name,
            &self.alias,
            self.route,
            self.outcome,
            &self.why,
            &self.power_level,
            &self.tags,
            if self.creator_stays { "yes" } else { "" },
            &self.request,
        ]
    }
}

/// What is copied besides rooms, in words.
struct HoldingLine {
    room_id: String,
    name: String,
    outcome: &'static str,
    why: String,
}

impl HoldingLine {
    fn new(row: &HoldingRow) -> Self {
        let (outcome, why) = holding_outcome_words(&row.outcome);
        Self {
            room_id: row.holding.room_id().map(ToString::to_string).unwrap_or_default(),
            name: holding_label(&row.holding),
            outcome,
            why,
        }
    }

    /// In the columns of the rooms.
    fn cells(&self) -> [&str; 10] {
        [&self.room_id, &self.name, "", "", self.outcome, &self.why, "", "", "", ""]
    }
}

fn rows(report: &Report, requests: &[InviteRequest]) -> Vec<Row> {
    let by_room: HashMap<&str, &InviteRequest> =
        requests.iter().rev().map(|request| (request.room_id.as_str(), request)).collect();
    let row = |row: &ReportRow| Row::new(row, by_room.get(row.room.id.as_str()).copied());
    report.rooms.iter().map(row).collect()
}

fn csv(report: &Report, requests: &[InviteRequest]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |cells: [&str; 10]| writer.write_record(cells.map(harmless));
    let rows = rows(report, requests);
    let holdings = || report.holdings.iter().map(HoldingLine::new);
    let written = write(csv_header())
        .and_then(|()| rows.iter().try_for_each(|row| write(row.cells())))
        .and_then(|()| holdings().try_for_each(|line| write(line.cells())))
        .and_then(|()| {
            let Some(time) = held_for(report) else { return Ok(()) };
            let why = format!("{time} for {}", report.new.server_name());
            write(["", "invitations", "", "", "waited", &why, "", "", "", ""])
        });
    // Records of one length, written to memory, cannot fail; half a report would be worse than none.
    match (written, writer.into_inner()) {
        (Ok(()), Ok(csv)) => csv,
        _ => Vec::new(),
    }
}

/// A cell that table programs do not take for a formula, whatever a room is called.
fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage {
    old: String,
    new: String,
    went: String,
    checked: String,
    unchecked: bool,
    held: Option<String>,
    server: String,
    counts: Vec<(&'static str, usize)>,
    rows: Vec<Row>,
    holdings: Vec<HoldingLine>,
}

fn html(report: &Report, requests: &[InviteRequest]) -> Vec<u8> {
    let page = ReportPage {
        old: clean_name(report.old.as_str()),
        new: clean_name(report.new.as_str()),
        went: minutes(report.went),
        checked: minutes(report.checked),
        unchecked: report.unchecked.is_some(),
        held: held_for(report),
        server: clean_name(report.new.server_name().as_str()),
        counts: labels_of_counts(&report.counts()),
        rows: rows(report, requests),
        holdings: report.holdings.iter().map(HoldingLine::new).collect(),
    };
    page.render().unwrap_or_default().into_bytes()
}

fn minutes(time: crate::clock::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::wording::tests::{sample_report, sample_requests};

    #[test]
    fn whatever_a_room_is_called_no_formula_and_no_script_runs() {
        let names = [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "</td></table><svg/onload=alert(1)>",
            "=HYPERLINK(\"https://evil.example\")",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "\u{202e}=1",
            "{{ 7 * 7 }}",
        ];
        let long = format!("={}", "x".repeat(10_240));
        for name in names.into_iter().chain([long.as_str()]) {
            let mut report = sample_report();
            report.rooms.iter_mut().for_each(|row| row.room.name = Some(name.to_owned()));
            let table = csv(&report, &sample_requests());
            for record in ::csv::Reader::from_reader(&*table).records() {
                for cell in &record.unwrap() {
                    let first = cell.trim_start().chars().next();
                    let runs = first.is_some_and(|first| "=+-@\u{202e}".contains(first));
                    assert!(!runs && !cell.starts_with(['\t', '\r', '\n']), "{cell:?}");
                }
            }
            let page = String::from_utf8(html(&report, &sample_requests())).unwrap();
            for tag in ["<script", "<img", "<svg", "\u{202e}"] {
                assert!(!page.contains(tag), "{page}");
            }
        }
    }

    #[test]
    fn the_table_holds_no_formulas() {
        insta::assert_snapshot!(
            String::from_utf8(csv(&sample_report(), &sample_requests())).unwrap()
        );
    }

    #[test]
    fn the_page_holds_no_markup_of_others() {
        let page = String::from_utf8(html(&sample_report(), &sample_requests())).unwrap();
        assert!(!page.contains("<script"));
        insta::assert_snapshot!(page);
    }
}
