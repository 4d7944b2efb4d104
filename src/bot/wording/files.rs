//! The words in `report.csv` and `report.html`.

use std::collections::BTreeMap;

use super::{
    labels::server,
    message::{Line, line},
    notes::omission_words,
    refusals::failure_words,
    value::about_text,
};
use crate::{
    homeserver::Failure,
    migration::{Migration, Outcome, OutcomeKind, Reason, Report, Side, StepResult},
};

/// The heads of the columns.
pub(crate) fn csv_header() -> [&'static str; 10] {
    [
        "room",
        "name",
        "alias",
        "route",
        "outcome",
        "why",
        "power level",
        "tags",
        "creator stays",
        "invite request",
    ]
}

/// What is counted, in the words of the rows.
pub(crate) fn labels_of_counts(
    counts: &BTreeMap<OutcomeKind, usize>,
) -> Vec<(&'static str, usize)> {
    counts.iter().map(|(kind, number)| (outcome_kind_words(*kind), *number)).collect()
}

/// How a room ended, and why.
pub(crate) fn outcome_words(outcome: &Outcome) -> (&'static str, String) {
    let why = match outcome {
        Outcome::Failed(why) => plain(why),
        Outcome::Unreachable(reason) => reason_words(reason),
        Outcome::Skipped(omission) => omission_words(omission).to_owned(),
        Outcome::NeedsModerator => "only a moderator can let the new account in".to_owned(),
        Outcome::Missing => "the check did not find the new account there".to_owned(),
        _ => String::new(),
    };
    (outcome_kind_words(outcome.kind()), why)
}

fn outcome_kind_words(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::AlreadyThere => "was there before",
        OutcomeKind::Joined => "joined",
        OutcomeKind::Invited => "invited: accept by hand",
        OutcomeKind::ByHand => "join by hand",
        OutcomeKind::NeedsModerator => "needs a moderator",
        OutcomeKind::Unreachable => "cannot get in",
        OutcomeKind::Skipped => "skipped",
        OutcomeKind::Failed => "failed",
        OutcomeKind::NotTried => "not tried",
        OutcomeKind::Missing => "not found there",
    }
}

/// Why the new account cannot get into a room.
pub(crate) fn reason_words(reason: &Reason) -> String {
    match reason {
        Reason::Banned => "the new account is banned there".to_owned(),
        Reason::NotFederated => "the room is closed to other servers".to_owned(),
        Reason::ServerDenied => "the room shuts the new account's server out".to_owned(),
        Reason::VersionUnsupported(version) => {
            format!("the new account's server does not know rooms of version {version}")
        }
        Reason::Closed => "it lets nobody in, not even who is invited".to_owned(),
        Reason::Unreadable { server } => format!("what {server} tells of the room makes no sense"),
    }
}

/// How long invitations waited for the new account's homeserver, if they did.
pub(crate) fn held_for(report: &Report) -> Option<String> {
    (!report.held.is_zero()).then(|| about_text(report.held.unsigned_abs()))
}

/// What the person can do about that.
pub(super) fn reason_advice(reason: &Reason, migration: &Migration) -> Line {
    match reason {
        Reason::Banned => line!("Ask a moderator there to lift the ban"),
        Reason::NotFederated => line!(
            "Only accounts on {server} can be in it, so keep the old account for it",
            server = server(migration, Side::Old)
        ),
        Reason::ServerDenied => {
            line!("Ask a moderator there to allow {server}", server = server(migration, Side::New))
        }
        Reason::VersionUnsupported(_) => line!(
            "It can be joined once the admin of {server} has updated that",
            server = server(migration, Side::New)
        ),
        Reason::Closed => line!("Ask a moderator there to change who may join"),
        Reason::Unreadable { server } => line!(
            "Try again later; if it stays like this, tell the admin of {server}",
            server = server.to_string()
        ),
    }
}

/// What came of one step.
pub(crate) fn step_words(result: &StepResult) -> String {
    match result {
        StepResult::Done => "done".to_owned(),
        StepResult::AlreadySo => "was so already".to_owned(),
        StepResult::ImagesLeft(_) => "done, but for images".to_owned(),
        StepResult::Failed(why) => format!("failed: {}", plain(why)),
        StepResult::NoAccess => "no access".to_owned(),
        StepResult::NotTried => "not tried".to_owned(),
        StepResult::Undone => "somebody changed it since".to_owned(),
    }
}

/// Why something failed, without markup.
pub(super) fn plain(failure: &Failure) -> String {
    line!("{why}", why = failure_words(failure)).into_plain()
}
