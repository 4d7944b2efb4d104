//! What is copied besides rooms: in the plan, in the report, and in its files.

use std::collections::{BTreeSet, HashMap};

use super::{
    files::plain,
    labels::room,
    message::{Line, Message, line},
    report::{failed, listed_lines},
    value::{Value, count, quote},
};
use crate::{
    bot::grammar::{HOLDINGS, holding_name},
    migration::{
        Holding, HoldingKind, HoldingOutcome, HoldingRow, Migration, Plan, PlannedHolding, Report,
        RoomLabel, Side, StepResult, Treatment,
    },
};

/// What the plan does about them.
pub(super) fn in_plan(plan: &Plan, migration: &Migration, reader: Side) -> Vec<Line> {
    let treated = |treatment| {
        let planned = plan.with_treatment(treatment);
        let tagged = plan.rooms.iter().filter(|room| match treatment {
            Treatment::Replace => room.after.prefers_old_tags,
            Treatment::KeepOwn => !room.after.contested_tags.is_empty(),
            _ => false,
        });
        let holdings = planned.map(|planned: &PlannedHolding| (&planned.holding, planned.parts()));
        phrases(holdings, tagged.count())
    };
    let mut lines = Vec::new();
    if let Some(what) = treated(Treatment::Add) {
        lines.push(line!("The new account also **gets** the old one's {what}.", what = what));
    }
    if let Some(what) = treated(Treatment::Replace) {
        lines.push(line!(
            "Set in both accounts, and **replaced** in the new one, as you said: {what}.",
            what = what
        ));
    }
    if let Some(what) = treated(Treatment::KeepOwn) {
        let kept =
            line!("Set in both accounts, so the new one **keeps its own**: {what}.", what = what);
        let hint = line!("Say `prefer old` to replace these.");
        lines.push(if reader == Side::Old { kept.followed_by(&hint) } else { kept });
    }
    if let Some(what) = treated(Treatment::TooLarge) {
        lines.push(line!("**Too large** to be copied: {what}.", what = what));
    }
    if plan.with_treatment(Treatment::Unreadable).next().is_some() {
        lines.push(line!(
            "I could **not read the profile** of one of the accounts, so names and avatars do not \
             come along. Say `plan` to have me look again."
        ));
    }
    lines.extend(left_out(migration));
    lines
}

fn left_out(migration: &Migration) -> Option<Line> {
    let kinds = migration.options.skipped_holdings.iter();
    let what = joined(kinds.map(|kind| line!("{name}", name = holding_name(*kind))))?;
    Some(line!("**Left out**, as you said: {what}.", what = what))
}

/// After `skip`, `include` or `prefer`: what they did.
pub(super) fn changed(taken_out: bool, kinds: &[HoldingKind]) -> Line {
    let names = kinds.iter().map(|kind| line!("{name}", name = holding_name(*kind)));
    let what = joined(names).unwrap_or_default();
    if taken_out {
        line!("Now **taken out of the plan**: {what}.", what = what)
    } else {
        line!("Now **put into the plan**: {what}.", what = what)
    }
}

/// After `prefer`.
pub(super) fn preferred(side: Side) -> Line {
    match side {
        Side::Old => line!(
            "Where both accounts have something of their own, the **old** account's now replaces \
             the new one's. `prefer new` takes that back."
        ),
        Side::New => {
            line!("Where both accounts have something of their own, the **new** account keeps it.")
        }
    }
}

/// What can be named in `skip`.
pub(super) fn names() -> Line {
    let names = HOLDINGS.iter().map(|(name, _)| line!("`{name}`", name = *name));
    joined(names).unwrap_or_default()
}

/// What became of them.
pub(super) fn in_report(message: Message, report: &Report, migration: &Migration) -> Message {
    let ended = |test: fn(&HoldingOutcome) -> bool, tagged| {
        let rows = report.holdings.iter().filter(move |row| test(&row.outcome));
        phrases(rows.map(|row| (&row.holding, row.parts)), tagged)
    };
    let own_tags = report.rooms.iter().filter(|row| row.own_tags_kept).count();
    let is_copied = |outcome: &_| {
        use StepResult::{AlreadySo, Done, ImagesLeft};
        matches!(outcome, HoldingOutcome::Copied(Done | AlreadySo | ImagesLeft(_)))
    };
    let copied = ended(is_copied, 0);
    let kept = ended(|outcome| *outcome == HoldingOutcome::KeptOwn, own_tags);
    let message =
        message
            .and_maybe(copied.map(|what| {
                line!("The new account also **got** the old one's {what}.", what = what)
            }))
            .and_maybe(kept.map(|what| {
                line!("Set in both accounts, so the new one **kept its own**: {what}.", what = what)
            }))
            .and_maybe(left_out(migration));
    let rooms: HashMap<&str, &RoomLabel> =
        report.rooms.iter().map(|row| (row.room.id.as_str(), &row.room)).collect();
    let not_copied = report.holdings.iter().filter_map(|row| {
        let why = match &row.outcome {
            HoldingOutcome::Copied(result) => failed(result)?,
            HoldingOutcome::TooLarge => line!("it is too large"),
            HoldingOutcome::Unreadable => line!("one of the servers did not tell it"),
            HoldingOutcome::KeptOwn | HoldingOutcome::Skipped => return None,
        };
        Some(line!("{what}: {why}", what = named(row, &rooms), why = why))
    });
    listed_lines(message, "This could **not be copied**, and why:", not_copied.collect())
}

/// Whether `retry` would try something of it again.
pub(super) fn has_failed(report: &Report) -> bool {
    report.holdings.iter().any(|row| match &row.outcome {
        HoldingOutcome::Copied(result) => result.is_to_be_retried(),
        _ => false,
    })
}

/// What became of one, and why, for the files.
pub(crate) fn holding_outcome_words(outcome: &HoldingOutcome) -> (&'static str, String) {
    let why = match outcome {
        HoldingOutcome::Copied(StepResult::Failed(why)) => plain(why),
        _ => String::new(),
    };
    let words = match outcome {
        HoldingOutcome::Copied(StepResult::Done) => "copied",
        HoldingOutcome::Copied(StepResult::AlreadySo) => "was so already",
        HoldingOutcome::Copied(StepResult::ImagesLeft(_)) => "copied, but not all images",
        HoldingOutcome::Copied(StepResult::Failed(_)) => "failed",
        HoldingOutcome::Copied(StepResult::NoAccess) => "no access",
        HoldingOutcome::Copied(StepResult::NotTried) => "not tried",
        HoldingOutcome::Copied(StepResult::Undone) => "somebody changed it since",
        HoldingOutcome::KeptOwn => "the new account kept its own",
        HoldingOutcome::Skipped => "skipped",
        HoldingOutcome::TooLarge => "too large to be copied",
        HoldingOutcome::Unreadable => "could not be read",
    };
    (words, why)
}

/// What one is called, for the files.
pub(crate) fn holding_label(holding: &Holding) -> String {
    label(holding).into_plain()
}

fn named(row: &HoldingRow, rooms: &HashMap<&str, &RoomLabel>) -> Line {
    let what = label(&row.holding);
    match row.holding.room_id().and_then(|room_id| rooms.get(room_id.as_str())) {
        Some(known) => line!("{what} in {room}", what = what, room = room(known)),
        None => what,
    }
}

fn label(holding: &Holding) -> Line {
    match holding {
        Holding::Profile => line!("profile"),
        Holding::DisplayName => line!("display name"),
        Holding::Avatar => line!("avatar"),
        Holding::ProfileField(field) if field == "m.tz" => line!("time zone"),
        Holding::ProfileField(field) => line!("profile field {field}", field = quote(field)),
        Holding::RoomProfile(_) => line!("display name or avatar"),
        Holding::AccountData(of) if of == "m.ignored_user_list" => line!("ignored people"),
        Holding::AccountData(_) if holding.kind() == HoldingKind::Emotes => {
            line!("emotes, stickers and emoji")
        }
        Holding::AccountData(of) | Holding::RoomAccountData { event_type: of, .. } => {
            line!("settings {of}", of = quote(of))
        }
        Holding::PushRules(kind) => {
            line!("push rules ({kind})", kind = Value::from(kind.to_string()))
        }
        Holding::PredefinedPushRules => line!("standard push rules"),
    }
}

/// A few words for each kind of what there is, after one another, and for the tags of some rooms.
fn phrases<'h>(
    holdings: impl Iterator<Item = (&'h Holding, usize)>,
    tagged: usize,
) -> Option<Line> {
    let holdings: Vec<_> = holdings.collect();
    joined(HoldingKind::ALL.into_iter().flat_map(|kind| {
        let of_kind: Vec<_> =
            holdings.iter().filter(|(holding, _)| holding.kind() == kind).collect();
        let parts = |one, many| count(of_kind.iter().map(|(_, parts)| parts).sum(), one, many);
        let rooms = || {
            let rooms: BTreeSet<_> =
                of_kind.iter().filter_map(|(holding, _)| holding.room_id()).collect();
            super::value::rooms(rooms.len())
        };
        match kind {
            HoldingKind::Tags if tagged > 0 => {
                vec![line!("tags of {n}", n = super::value::rooms(tagged))]
            }
            _ if of_kind.is_empty() => Vec::new(),
            HoldingKind::Profile => of_kind.iter().map(|(holding, _)| label(holding)).collect(),
            HoldingKind::RoomProfiles => vec![line!("own name or avatar in {n}", n = rooms())],
            HoldingKind::RoomSettings => vec![line!("settings of {n}", n = rooms())],
            HoldingKind::IgnoredUsers => {
                vec![line!("{n}", n = parts("ignored person", "ignored people"))]
            }
            HoldingKind::PushRules => vec![line!("{n}", n = parts("push rule", "push rules"))],
            HoldingKind::Emotes => {
                vec![line!(
                    "{n}",
                    n = parts("emote, sticker or emoji", "emotes, stickers and emoji")
                )]
            }
            HoldingKind::Settings => vec![line!("{n}", n = parts("setting", "settings"))],
            HoldingKind::DirectChats | HoldingKind::Tags => Vec::new(),
        }
    }))
}

/// `a, b and c`.
fn joined(lines: impl IntoIterator<Item = Line>) -> Option<Line> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    let last = lines.pop()?;
    let before = lines
        .into_iter()
        .reduce(|before, line| line!("{before}, {line}", before = before, line = line));
    Some(match before {
        Some(before) => line!("{before} and {last}", before = before, last = last),
        None => last,
    })
}
