//! The report, in short.

use std::{collections::HashMap, time::Duration};

use super::{
    fast,
    files::{held_for, reason_advice, reason_words},
    holdings,
    labels::room,
    message::{Line, Message, line},
    refusals::failure_words,
    requests::request_line,
    value::{about, count, rooms},
};
use crate::{
    migration::{
        Migration, Omission, Outcome, OutcomeKind, Phase, Report, ReportRow, Side, StepResult,
    },
    moderation::InviteRequest,
};

/// How many rooms each list in the message has; the files have them all.
const LISTED: usize = 15;

/// The report as a message.
pub(crate) fn report(
    report: &Report,
    requests: &[InviteRequest],
    migration: &Migration,
    (reader, lapses_in): (Side, Option<Duration>),
) -> Message {
    let by_room: HashMap<&str, &InviteRequest> =
        requests.iter().rev().map(|request| (request.room_id.as_str(), request)).collect();
    let request = |row: &ReportRow| by_room.get(row.room.id.as_str()).copied();
    let there = report.rooms.iter().filter(|row| is_there(&row.outcome)).count();
    let left_out =
        report.rooms.iter().filter(|row| matches!(row.outcome, Outcome::Skipped(_))).count();
    let head =
        if report.rooms.iter().all(|row| row.outcome == Outcome::Skipped(Omission::ChatWithBot)) {
            line!("**The report: the old account was in no room, so there was nothing to move.**")
        } else {
            line!(
                "**The report: the new account is in {there} of {rooms}.**",
                there = there,
                rooms = rooms(report.rooms.len() - left_out)
            )
        };
    let message = Message::new(head)
        .and_maybe(report.unchecked.as_ref().map(|why| {
            line!(
                "I could not check that by looking at the new account again: {why}.",
                why = failure_words(why)
            )
        }))
        .list(counts(report))
        .and_maybe(held(report));
    let message = listed(message, "**Failed**, and why:", report, |row| match &row.outcome {
        Outcome::Failed(why) => {
            Some(line!("{room}: {why}", room = room(&row.room), why = failure_words(why)))
        }
        Outcome::Missing => {
            Some(line!("{room}: it joined, but is not there now", room = room(&row.room)))
        }
        _ => None,
    });
    let message = listed(
        message,
        "The new account **is not in** these rooms, but has power there already, which counts once \
         it joins:",
        report,
        power_in_advance,
    );
    let message = listed(message, "I **did not get to** these rooms:", report, |row| {
        (row.outcome == Outcome::NotTried && migration.phase.is_over())
            .then(|| line!("{room}", room = room(&row.room)))
    });
    let message =
        listed(message, "The new account **cannot get into** these rooms:", report, |row| {
            let Outcome::Unreachable(reason) = &row.outcome else { return None };
            Some(line!(
                "{room}: {why}. {advice}.",
                room = room(&row.room),
                why = reason_words(reason),
                advice = reason_advice(reason, migration)
            ))
        });
    let message = listed(
        message,
        "In these rooms **not everything** could be taken along:",
        report,
        unfinished,
    );
    let message = listed(message, "**What moderators were asked for:**", report, |row| {
        let request = request(row).filter(|_| row.outcome == Outcome::NeedsModerator)?;
        Some(line!("{room}: {how}", room = room(&row.room), how = request_line(request)))
    });
    let message = listed(message, "**For you to do by hand:**", report, |row| match row.outcome {
        Outcome::Invited => Some(line!("{room}: accept the invitation", room = room(&row.room))),
        Outcome::ByHand => Some(line!("{room}: follow its link and join", room = room(&row.room))),
        Outcome::NeedsModerator if request(row).is_none() => Some(line!(
            "{room}: ask a moderator to invite {new}",
            room = room(&row.room),
            new = &report.new
        )),
        _ => None,
    });
    let message = listed(
        message,
        "The old account **created** these rooms. Only it can take power from people who have as \
         much there as the new account, so keep it if you may need that:",
        report,
        |row| {
            (row.creator_stays && is_there(&row.outcome))
                .then(|| line!("{room}", room = room(&row.room)))
        },
    );
    let message = fast::in_report(message, report);
    let message = direct_chats(message, report);
    let message = holdings::in_report(message, report, migration);
    let unasked = report
        .rooms
        .iter()
        .any(|row| row.outcome == Outcome::NeedsModerator && request(row).is_none());
    let may_ask = unasked && reader == Side::Old && migration.phase.is_carried_out();
    let ask = line!("Say `ask`, and I show you how I would ask the moderators for you.");
    message.and_maybe(may_ask.then_some(ask)).and(next(report, migration, reader, lapses_in))
}

/// What the invited account's server made wait, which no registration exempts from.
fn held(report: &Report) -> Option<Line> {
    let time = held_for(report)?;
    Some(line!(
        "Invitations waited {time} for {server}, which lets in only so many from other servers. Only \
         its admin can change that.",
        time = time,
        server = report.new.server_name().to_string()
    ))
}

fn is_there(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::AlreadyThere | Outcome::Joined)
}

fn counts(report: &Report) -> Vec<Line> {
    let line = |(kind, number): (OutcomeKind, usize)| {
        let n = rooms(number);
        match kind {
            OutcomeKind::AlreadyThere => line!("{n}: was there before", n = n),
            OutcomeKind::Joined => line!("{n}: joined, and checked", n = n),
            OutcomeKind::Invited => line!("{n}: invited, not yet accepted", n = n),
            OutcomeKind::ByHand => line!("{n}: to be joined by hand", n = n),
            OutcomeKind::NeedsModerator => line!("{n}: needs a moderator", n = n),
            OutcomeKind::Unreachable => line!("{n}: the new account cannot get in", n = n),
            OutcomeKind::Skipped => line!("{n}: left out", n = n),
            OutcomeKind::Failed => line!("{n}: failed", n = n),
            OutcomeKind::NotTried => line!("{n}: not tried", n = n),
            OutcomeKind::Missing => line!("{n}: joined, but not found there", n = n),
        }
    };
    let mut counts = report.counts();
    if let Some(skipped) = counts.get_mut(&OutcomeKind::Skipped) {
        let chat_with_bot = Outcome::Skipped(Omission::ChatWithBot);
        *skipped -= report.rooms.iter().filter(|row| row.outcome == chat_with_bot).count();
    }
    counts.retain(|_, number| *number > 0);
    counts.into_iter().map(line).collect()
}

/// A list of the rooms for which `tell` has something to tell.
fn listed(
    message: Message,
    head: &'static str,
    report: &Report,
    tell: impl Fn(&ReportRow) -> Option<Line>,
) -> Message {
    listed_lines(message, head, report.rooms.iter().filter_map(tell).collect())
}

/// A list, unless it is empty.
pub(super) fn listed_lines(message: Message, head: &'static str, mut lines: Vec<Line>) -> Message {
    if lines.is_empty() {
        return message;
    }
    let more = lines.len().saturating_sub(LISTED);
    lines.truncate(LISTED);
    if more > 0 {
        lines.push(line!("and {more} more, in the files that `report` sends", more = more));
    }
    message.and(head).list(lines)
}

/// Power is given with the invitation.
fn power_in_advance(row: &ReportRow) -> Option<Line> {
    let Some((level, StepResult::Done | StepResult::AlreadySo)) = &row.power_level else {
        return None;
    };
    let room = || line!("{room}: power level {level}", room = room(&row.room), level = *level);
    (!is_there(&row.outcome)).then(room)
}

/// What could not be done in a room that the new account is in.
fn unfinished(row: &ReportRow) -> Option<Line> {
    let power = row.power_level.as_ref().and_then(|(level, result)| {
        let why = failed(result)?;
        Some(line!("power level {level} ({why})", level = *level, why = why))
    });
    let power = power.or_else(|| {
        let level = row.power_out_of_reach?;
        Some(line!(
            "power level {level} (only somebody with more power can give it)",
            level = level
        ))
    });
    let tags = row.tags.as_ref().and_then(failed).map(|why| line!("tags ({why})", why = why));
    let what = match (power, tags) {
        (Some(power), Some(tags)) => line!("{power}, {tags}", power = power, tags = tags),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    is_there(&row.outcome).then(|| line!("{room}: {what}", room = room(&row.room), what = what))
}

/// Why a step did not do what it was for.
pub(super) fn failed(result: &StepResult) -> Option<Line> {
    match result {
        StepResult::Done | StepResult::AlreadySo => None,
        StepResult::ImagesLeft(left) => Some(line!(
            "{n} on the old server (too large, too many at once, or not to be read)",
            n = count(*left, "image stays", "images stay")
        )),
        StepResult::Failed(why) => Some(line!("{why}", why = failure_words(why))),
        StepResult::NoAccess => Some(line!("no access")),
        StepResult::NotTried => Some(line!("not tried")),
        StepResult::Undone => Some(line!("somebody changed it since")),
    }
}

fn direct_chats(message: Message, report: &Report) -> Message {
    match &report.direct_chats {
        Some(StepResult::Failed(why)) => message.and(line!(
            "The direct chats could not be marked as such in the new account: {why}.",
            why = failure_words(why)
        )),
        Some(StepResult::NoAccess) => message.and(
            "I may not act as the new account, so its direct chats are not marked as such. Most \
             apps let you mark a room as a direct chat.",
        ),
        _ => message,
    }
}

fn next(report: &Report, migration: &Migration, reader: Side, lapses_in: Option<Duration>) -> Line {
    let failed = report.rooms.iter().any(|row| {
        matches!(row.outcome, Outcome::Failed(_) | Outcome::Missing)
            || matches!(row.power_level, Some((_, StepResult::Failed(_))))
            || matches!(row.tags, Some(StepResult::Failed(_)))
    }) || matches!(report.direct_chats, Some(StepResult::Failed(_)))
        || holdings::has_failed(report);
    if migration.phase == Phase::WaitingForModerators {
        return line!(
            "I still wait for the moderators of {rooms}, and tell you when they answer. `cancel` \
             takes back what was asked.",
            rooms = rooms(migration.awaited.len())
        );
    }
    if !migration.phase.is_over() {
        return line!(
            "The migration is not over, so this is how it stands now. `status` tells more."
        );
    }
    let forget = match lapses_in {
        Some(left) => line!(
            "`report` sends it all as files. In {left} I log my sessions out by myself, and what you \
             both agreed to ends. `forget` does that at once, and deletes what I stored.",
            left = about(left)
        ),
        None => line!(
            "`report` sends it all as files. `forget` logs my sessions out and deletes what I stored."
        ),
    };
    match (failed && migration.phase == Phase::Finished, reader) {
        (true, Side::Old) => {
            line!("Say `retry` to try again what failed. {forget}", forget = forget)
        }
        (true, Side::New) => line!(
            "Say `retry` from {old} to try again what failed. {forget}",
            old = &migration.old.user_id,
            forget = forget
        ),
        (false, _) => forget,
    }
}
