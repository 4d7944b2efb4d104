//! How a migration stands.

use std::time::Duration;

use matrix_sdk::ruma::UserId;

use super::{
    labels::server,
    message::{Line, Message, line},
    refusals::{failure_words, failure_words_in_short},
    value::{about, count, rooms},
};
use crate::{
    clock::Timestamp,
    homeserver::{Action, WaitReason},
    migration::{Access, Ending, Migration, Phase, Progress, Reading, Side, Wait},
};

/// The message that is edited in place while a plan is run.
pub(crate) fn progress(
    migration: &Migration,
    progress: Option<&Progress>,
    reader: Side,
) -> Message {
    let Some(progress) = progress else {
        return Message::new("**Moving.** I have begun to run the plan.")
            .and("This message tells how far it is. `pause` and `cancel` stop it.");
    };
    let head = match &migration.phase {
        Phase::Finished | Phase::WaitingForModerators => "**Done.**",
        Phase::Cancelled(_) => "**Cancelled.**",
        Phase::Paused(_) => "**Paused.**",
        _ => "**Moving.**",
    };
    let message = Message::new(line!(
        "{head} {done} of {rooms} done.",
        head = Line::from(head),
        done = progress.done,
        rooms = rooms(progress.rooms)
    ))
    .lines(details(migration, progress, reader));
    match &migration.phase {
        Phase::Finished | Phase::Cancelled(_) | Phase::WaitingForModerators => {
            message.and("`report` tells room by room.")
        }
        Phase::Paused(_) => message.and("Say `resume` to go on."),
        _ => message.and("This message tells how far it is. `pause` and `cancel` stop it."),
    }
}

/// The message that is edited in place while both accounts are read, where that takes long.
pub(crate) fn reading(migration: &Migration, reading: Option<&Reading>) -> Message {
    match &migration.phase {
        Phase::Surveying => {}
        Phase::Failed(_) => {
            return Message::new("**I stopped reading**: one of the accounts could not be read.")
                .and("`status` tells why.");
        }
        Phase::AwaitingGo => return Message::new("**Both accounts are read.** The plan is below."),
        _ => return Message::new("**I stopped reading.** `status` tells how it stands."),
    }
    let head = Message::new(
        "**Reading both accounts.** That takes a while where there are many rooms, and changes \
         nothing.",
    );
    let Some(reading) = reading else { return head };
    let line = |user: &UserId, found: Option<usize>| match found {
        Some(found) => line!("{user}: read, {rooms}", user = user, rooms = rooms(found)),
        None => line!("{user}: its server is putting the list together", user = user),
    };
    let parties = [(&migration.old, reading.old_rooms), (&migration.new, reading.new_rooms)];
    let read = parties.into_iter().filter(|(party, _)| party.access != Access::None);
    head.list(read.map(|(party, found)| line(&party.user_id, found)))
    .and(line!(
        "It has been going on for {elapsed}. The plan comes by itself; `cancel` ends the migration.",
        elapsed = about(reading.elapsed)
    ))
}

fn details(migration: &Migration, progress: &Progress, reader: Side) -> Vec<Line> {
    let mut lines = Vec::new();
    if progress.failed > 0 {
        let failed = rooms(progress.failed);
        lines.push(if migration.phase.is_over() {
            line!("{failed} failed; `retry` tries again.", failed = failed)
        } else {
            line!("{failed} failed; `retry` tries again once the rest is done.", failed = failed)
        });
    }
    if progress.by_hand > 0 {
        lines.push(by_hand_line(migration, progress.by_hand, reader));
    }
    if migration.phase == Phase::Running {
        lines.extend(progress.left.map(|left| line!("It takes {left} more.", left = about(left))));
        lines.extend(progress.waits.first().map(|wait| wait_line(wait, migration)));
    }
    lines
}

fn by_hand_line(migration: &Migration, number: usize, reader: Side) -> Line {
    let n = count(number, "room waits", "rooms wait");
    match reader {
        Side::New => {
            line!("{n} for you: accept the invitations, and follow the links I sent.", n = n)
        }
        Side::Old => line!(
            "{n} for {new}: accept the invitations there by hand.",
            n = n,
            new = &migration.new.user_id
        ),
    }
}

fn wait_line(wait: &Wait, migration: &Migration) -> Line {
    let left = about(wait.remaining);
    match wait.reason {
        WaitReason::InviteeServer => return invitee_line(wait, migration),
        WaitReason::Retry => {
            return line!(
                "Waiting: {server} does not answer. The next try is in {left}.",
                server = server(migration, wait.side),
                left = left
            );
        }
        WaitReason::RateLimit => {}
    }
    let line = line!(
        "Waiting: {server} lets {who} {act} again in {left}.",
        server = server(migration, wait.side),
        who = &migration.party(wait.side).user_id,
        act = act(wait.action),
        left = left
    );
    match wait.in_all().filter(|_| wait.waiting > 1) {
        Some(in_all) => line.followed_by(&line!(
            "That is still to be done {times}, which takes {in_all}. An admin of {server} can raise \
             this limit.",
            times = count(wait.waiting, "time", "times"),
            in_all = about(in_all),
            server = server(migration, wait.side)
        )),
        None => line,
    }
}

/// What the person is told while the invited account's server takes no invitations.
fn invitee_line(wait: &Wait, migration: &Migration) -> Line {
    let invited = server(migration, wait.side.other());
    let line = line!(
        "Waiting: {server} takes no more invitations for now. The next try is in {left}.",
        server = invited.clone(),
        left = about(wait.remaining)
    );
    let how_long = match wait.in_all() {
        Some(in_all) => line!(
            "{rooms} for that, which takes {in_all}.",
            rooms = count(wait.waiting, "room waits", "rooms wait"),
            in_all = about(in_all)
        ),
        None => line!(
            "{rooms} for that. How long it takes shows once the next ones have passed.",
            rooms = count(wait.waiting, "room waits", "rooms wait")
        ),
    };
    line.followed_by(&how_long).followed_by(&line!(
        "An admin of {server} can change it: the limit is on invitations to one account.",
        server = invited
    ))
}

fn act(action: Action) -> &'static str {
    match action {
        Action::LocalJoin | Action::RemoteJoin => "join rooms",
        Action::Invite => "invite",
        Action::State => "change power levels",
        Action::AccountData => "set tags and settings",
        Action::Profile => "change its profile",
        Action::Media => "copy files",
        _ => "go on",
    }
}

/// The answer to `status`.
pub(crate) fn status(
    migration: &Migration,
    progress: Option<&Progress>,
    reader: Side,
    (now, lapses_in): (Timestamp, Option<Duration>),
) -> Message {
    let head = Message::new(line!(
        "The migration from {old} to {new}:",
        old = &migration.old.user_id,
        new = &migration.new.user_id
    ));
    let (now_line, next) = phase_lines(migration, reader, now);
    let mut message = head.and(now_line).and_maybe(lapse_line(migration, lapses_in));
    if let Some(progress) = progress.filter(|_| migration.went.is_some()) {
        message = message.lines(
            std::iter::once(counts(progress, migration))
                .chain(details(migration, progress, reader)),
        );
    }
    message.and(next)
}

/// What becomes of the consent of both, if nobody says anything.
fn lapse_line(migration: &Migration, lapses_in: Option<Duration>) -> Option<Line> {
    if migration.lapsed.is_some() {
        return Some(line!(
            "My sessions are logged out, and what you both agreed to has ended. `plan` asks both \
             accounts again."
        ));
    }
    let left = about(lapses_in?);
    Some(match migration.phase {
        Phase::Finished => {
            line!("In {left} I log out, and what you both agreed to ends.", left = left)
        }
        _ => line!("Without `go` it ends in {left}.", left = left),
    })
}

/// The answer to `status` from an account that was asked, and has not answered.
pub(crate) fn asked(requests: &[Migration], now: Timestamp) -> Message {
    requests.iter().fold(Message::default(), |message, migration| {
        let (_, next) = awaiting_consent(migration, Side::New, now);
        message
            .and(line!("{old} wants to move to this account.", old = &migration.old.user_id))
            .and(next)
    })
}

fn counts(progress: &Progress, migration: &Migration) -> Line {
    let done =
        line!("{done} of {rooms} done.", done = progress.done, rooms = rooms(progress.rooms));
    if migration.phase != Phase::Running {
        return done;
    }
    done.followed_by(&line!(
        "It has been going on for {elapsed}.",
        elapsed = about(progress.elapsed)
    ))
}

fn phase_lines(migration: &Migration, reader: Side, now: Timestamp) -> (Line, Line) {
    match &migration.phase {
        Phase::AwaitingConsent => awaiting_consent(migration, reader, now),
        Phase::AwaitingAccess => awaiting_access(migration, reader),
        Phase::Surveying => (
            line!("I am **looking at both accounts**."),
            line!("The plan comes by itself; `cancel` ends the migration."),
        ),
        Phase::AwaitingGo => (
            line!("There is a **plan**, and nothing has been changed yet."),
            match reader {
                Side::Old => line!("Say `plan` to see it, and `go` to run it."),
                Side::New => line!("Say `plan` to see it. The old account says `go` to run it."),
            },
        ),
        Phase::Running => {
            (line!("The plan **is being run**."), line!("`pause` and `cancel` stop it."))
        }
        Phase::WaitingForModerators => (
            line!(
                "It **waits for the moderators** of {rooms}. Everything else is done.",
                rooms = rooms(migration.awaited.len())
            ),
            line!(
                "I tell you when one answers; a room without an answer is given up after some \
                 days. `report` tells room by room."
            ),
        ),
        Phase::Paused(_) => {
            (line!("It is **paused**."), line!("Say `resume` to go on, or `cancel` to end it."))
        }
        Phase::Failed(reason) => (
            line!(
                "It is **stuck**: an account could not be read: {reason}.",
                reason = match migration.may_name(reader) {
                    true => failure_words(reason),
                    false => failure_words_in_short(reason),
                }
            ),
            line!("Say `plan` to try again, or `login` if my access to it was lost."),
        ),
        Phase::Finished => (
            line!("It is **finished**."),
            line!(
                "`report` tells what was done. `forget` logs my sessions out and deletes what I stored."
            ),
        ),
        Phase::Cancelled(ending) => (
            ending_line(*ending, migration),
            line!(
                "To begin again, say `start {new}` from the old account. `forget` deletes what I stored.",
                new = &migration.new.user_id
            ),
        ),
    }
}

fn awaiting_consent(migration: &Migration, reader: Side, now: Timestamp) -> (Line, Line) {
    let left = std::time::Duration::try_from(migration.consent_expires.duration_since(now));
    let left = about(left.unwrap_or_default());
    match reader {
        Side::Old => (
            line!("I wait for the new account to **agree**. It has {left}.", left = left),
            line!(
                "Open it and tap ✅ under my question, or say `accept {old}` there. `cancel` takes \
                 the question back.",
                old = &migration.old.user_id
            ),
        ),
        Side::New => (
            line!("I wait for **you** to agree or refuse. There are {left} left.", left = left),
            line!("Say `accept {old}` or `decline {old}`.", old = &migration.old.user_id),
        ),
    }
}

fn awaiting_access(migration: &Migration, reader: Side) -> (Line, Line) {
    let missing = |side: Side| migration.party(side).access.is_missing();
    let other = &migration.party(reader.other()).user_id;
    let neither = !missing(reader) && !missing(reader.other());
    let now = match (missing(reader), missing(reader.other())) {
        (true, true) => line!("I wait for **access** to both accounts."),
        (true, false) => line!("I wait for **access** to this account."),
        (false, true) => line!("I wait for **access** to {other}.", other = other),
        (false, false) => {
            line!("I may act as **neither** of the two accounts, so I can do nothing.")
        }
    };
    let next = if missing(reader) || neither {
        line!("Say `login` here; `help login` tells the ways.")
    } else if migration.can_go_on_without_old() {
        line!(
            "Say `login` from {other}, in its own chat with me. If that account is gone for good, \
             `resume` goes on without it.",
            other = other
        )
    } else {
        line!("Say `login` from {other}, in its own chat with me.", other = other)
    };
    (now, next)
}

fn ending_line(ending: Ending, migration: &Migration) -> Line {
    match ending {
        Ending::Declined => line!("It has **ended**: {new} said no.", new = &migration.new.user_id),
        Ending::Expired => {
            line!("It has **ended**: {new} did not answer in time.", new = &migration.new.user_id)
        }
        Ending::Lapsed => line!("It has **ended**: nobody said `go` in time."),
        Ending::CancelledBy(by) => match by.side() {
            Some(side) => {
                line!("It was **cancelled** by {who}.", who = &migration.party(side).user_id)
            }
            None => line!("It was **cancelled** by an admin of this bot."),
        },
    }
}
