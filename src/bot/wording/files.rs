//! The words in `report.csv` and `report.html`.

use super::{message::line, refusals::failure_words};
use crate::{
    homeserver::Failure,
    migration::{Outcome, Reason, StepResult},
};

/// The heads of the columns.
pub fn csv_header() -> [&'static str; 9] {
    ["room", "name", "alias", "route", "outcome", "why", "power level", "tags", "creator stays"]
}

/// How a room ended, and why.
pub fn outcome_words(outcome: &Outcome) -> (&'static str, String) {
    let why = match outcome {
        Outcome::Failed(why) => plain(why),
        Outcome::Unreachable(reason) => reason_words(reason).to_owned(),
        Outcome::NeedsModerator => "only a moderator can let the new account in".to_owned(),
        Outcome::Missing => "the check did not find the new account there".to_owned(),
        _ => String::new(),
    };
    let words = match outcome {
        Outcome::AlreadyThere => "was there before",
        Outcome::Joined => "joined",
        Outcome::Invited => "invited: accept by hand",
        Outcome::ByHand => "join by hand",
        Outcome::NeedsModerator => "needs a moderator",
        Outcome::Unreachable(_) => "cannot get in",
        Outcome::Skipped => "skipped",
        Outcome::Failed(_) => "failed",
        Outcome::NotTried => "not tried",
        Outcome::Missing => "not found there",
    };
    (words, why)
}

/// Why the new account cannot get into a room.
pub fn reason_words(reason: &Reason) -> &'static str {
    match reason {
        Reason::Banned => "the new account is banned there",
        Reason::NotFederated => "the room is closed to other servers",
        Reason::ServerDenied => "the room shuts the new account's server out",
        Reason::NoAccessToOld => "it needs an invitation, and I may not act as the old account",
    }
}

/// What came of one step.
pub fn step_words(result: &StepResult) -> String {
    match result {
        StepResult::Done => "done".to_owned(),
        StepResult::AlreadySo => "was so already".to_owned(),
        StepResult::Failed(why) => format!("failed: {}", plain(why)),
        StepResult::NoAccess => "no access".to_owned(),
        StepResult::NotTried => "not tried".to_owned(),
        StepResult::Undone => "somebody changed it since".to_owned(),
    }
}

fn plain(failure: &Failure) -> String {
    line!("{why}", why = failure_words(failure)).into_plain()
}
