//! What was measured, side by side.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use lab::access_log::Requests;

use crate::{Measured, memory::Memory};

/// How wide the names of the rows and the figures are.
const NAME: usize = 28;
const FIGURE: usize = 14;

/// How wide the number of requests of one kind is.
const NUMBER: usize = 7;

/// The table, and below it which requests the two surveys sent.
pub(crate) fn of(few: &Measured, many: &Measured) -> String {
    let of = [few, many];
    let mut table = Table::default();
    table.row("", ["survey", "survey", "room by room", "room by room"], "room by room");
    let rooms = of.map(|measured| format!("{} rooms", measured.rooms));
    table.row("", [&rooms[0], &rooms[1], &rooms[0], &rooms[1]], ": survey");
    table.figures(
        "requests",
        of.map(|measured| measured.survey.requests.count()),
        of.map(|measured| measured.room_by_room.requests.count()),
        |count| (*count as f64, count.to_string()),
    );
    table.figures(
        "answers",
        of.map(|measured| measured.survey.requests.answered),
        of.map(|measured| measured.room_by_room.requests.answered),
        bytes,
    );
    table.figures(
        "time until all is known",
        of.map(|measured| measured.survey.duration),
        of.map(|measured| measured.room_by_room.duration),
        seconds,
    );
    let first_answer = of.map(|measured| seconds(&measured.survey.first_answer).1);
    table.row("time until the person hears", [&first_answer[0], &first_answer[1], "", ""], "");
    table.memory(
        of.map(|measured| measured.survey.memory),
        of.map(|measured| measured.room_by_room.memory),
    );
    table.endpoints(&few.survey.requests, &many.survey.requests);
    table.0
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, figures: [&str; 4], ratio: &str) {
        let mut line = format!("{name:<NAME$}");
        for figure in figures.into_iter().chain([ratio]) {
            // Writing to a string cannot fail.
            let _ok = write!(line, "{figure:>FIGURE$}");
        }
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// A row of figures, and how the last ones of both kinds compare.
    fn figures<T>(
        &mut self,
        name: &str,
        survey: [T; 2],
        room_by_room: [T; 2],
        show: impl Fn(&T) -> (f64, String),
    ) {
        let [few, many] = survey.each_ref().map(&show);
        let [few_asked, many_asked] = room_by_room.each_ref().map(&show);
        let ratio = many_asked.0 / many.0;
        let digits = usize::from(ratio < 10.0);
        let ratio = format!("{ratio:.digits$} : 1");
        self.row(name, [&few.1, &many.1, &few_asked.1, &many_asked.1], &ratio);
    }

    fn memory(&mut self, survey: [Option<Memory>; 2], room_by_room: [Option<Memory>; 2]) {
        let ([Some(few), Some(many)], [Some(few_asked), Some(many_asked)]) = (survey, room_by_room)
        else {
            self.line("peak memory: not measured, since there is no /proc that tells");
            return;
        };
        let (survey, asked) = ([few, many], [few_asked, many_asked]);
        let peak = |memory: [Memory; 2]| memory.map(|memory| memory.peak);
        let more = |memory: [Memory; 2]| memory.map(|memory| memory.more());
        self.figures("peak memory", peak(survey), peak(asked), bytes);
        self.figures("  more than before", more(survey), more(asked), bytes);
    }

    /// Which requests the survey sent, with few rooms and with many.
    fn endpoints(&mut self, few: &Requests, many: &Requests) {
        self.line("\nThe survey's requests, with those of the login before it:");
        let endpoints: BTreeSet<_> =
            few.by_endpoint.keys().chain(many.by_endpoint.keys()).collect();
        for endpoint in endpoints {
            let [few, many] = [few, many].map(|requests| requests.by_endpoint.get(endpoint));
            let [few, many] = [few, many].map(|count| count.copied().unwrap_or_default());
            self.line(&format!("{few:>NUMBER$}{many:>NUMBER$}  {endpoint}"));
        }
    }
}

fn bytes(bytes: &u64) -> (f64, String) {
    let bytes = *bytes as f64;
    (bytes, format!("{:.1} MB", bytes / 1e6))
}

fn seconds(duration: &Duration) -> (f64, String) {
    let seconds = duration.as_secs_f64();
    (seconds, format!("{seconds:.1} s"))
}
