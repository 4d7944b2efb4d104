//! What happened in a migration, told to one of its two accounts.

use std::time::Duration;

use super::{
    greetings::lapses_in,
    labels::{account, server},
    message::{Line, Message, line},
    plan::{going_on_by_itself, plan},
    progress::progress,
    refusals::{failure_words, failure_words_in_short},
    report::report,
    value::{about, clean},
};
use crate::{
    clock::Timestamp,
    homeserver::{Excess, Failure},
    migration::{Access, By, Event, Migration, OutcomeKind, Phase, Plan, Progress, Report, Side},
    moderation::InviteRequest,
};

/// How many characters of a line of an announcement are told.
const LONGEST_ANNOUNCEMENT: usize = 4_000;

/// What is known when something is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The migration, as it is now.
    pub migration: &'a Migration,
    /// Which of its accounts reads this.
    pub reader: Side,
    /// The plan, if there is one.
    pub plan: Option<&'a Plan>,
    /// How the run stands, if it was begun.
    pub progress: Option<&'a Progress>,
    /// The report, if there is one.
    pub report: Option<&'a Report>,
    /// What moderators were asked for.
    pub requests: &'a [InviteRequest],
    /// What became of the message with the secret.
    pub secret: SecretFate,
    /// Whether the reader's direct message is encrypted.
    pub encrypted: bool,
    /// Whether the bot may act as the reader without a `login`, once the reader agreed.
    pub served: bool,
    /// The time now.
    pub now: Timestamp,
    /// How long consent is kept after the end.
    pub keep: Duration,
    /// How long until the consent lapses, where it does.
    pub lapses_in: Option<Duration>,
}

/// What became of the message with a password or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretFate {
    /// There was none.
    None,
    /// It is deleted.
    Redacted,
    /// Neither the bot nor the account's own session could delete it.
    LeftToPerson,
}

/// Why a message with a secret was redacted, for everybody to see.
pub(crate) fn redact_reason() -> &'static str {
    "It carried a password or token."
}

/// What is said about `event`. [`Event::Forgotten`] is told without a migration, by
/// [`forgotten`](super::forgotten); [`Event::ToModerator`] by
/// [`ModeratorWords`](super::ModeratorWords).
pub(crate) fn notice(event: &Event, facts: &Facts<'_>) -> Message {
    let migration = facts.migration;
    match event {
        Event::ConsentRequested => consent_requested(facts),
        Event::ConsentQuestion => consent_question(facts),
        Event::ConsentGiven => consent_given(facts),
        Event::ConsentDeclined => consent_declined(facts),
        Event::ConsentExpired => consent_expired(facts),
        Event::AccessGiven { side, .. } => access_given(*side, facts),
        Event::AccessLost { side } => access_lost(*side, facts),
        Event::ServiceBegan { side } => service_began(*side, facts),
        Event::ServiceEnded { side } => service_ended(*side, facts),
        Event::AccessNeeded => access_needed(facts),
        Event::PlanReady => match facts.plan {
            Some(ready) => plan(ready, migration, facts.reader),
            None => Message::new("There is a plan. Say `plan` to see it."),
        },
        Event::SurveyFailed { side, reason } => survey_failed(*side, reason, facts),
        Event::Started => progress(migration, facts.progress, facts.reader),
        Event::Paused { by } => Message::new(line!(
            "{who} said `pause`: the migration is **paused**. What was being sent at that moment \
             is still finished; nothing is lost.",
            who = you_or_account(*by, facts)
        ))
        .and("Say `resume` to go on, or `cancel` to end it."),
        Event::Resumed { by } => Message::new(line!(
            "{who} said `resume`: the migration **goes on**.",
            who = you_or_account(*by, facts)
        ))
        .and("`status` tells how it stands."),
        Event::Stumbled => Message::new(
            "I ran into a mistake of my own again and again, so the migration is **paused**. What was \
             done stays done, and nothing is lost; my admin finds the mistake in my log.",
        )
        .and("Say `resume` to let me try again, or `cancel` to end it."),
        Event::GoesOn => Message::new(
            "I have the access again that I was waiting for: the migration **goes on**.",
        )
        .and("`status` tells how it stands."),
        Event::ResumedWithoutOld => resumed_without_old(facts),
        Event::Cancelled { by } => cancelled(*by, facts),
        Event::Finished => match facts.report {
            Some(ready) => {
                report(ready, facts.requests, migration, (facts.reader, facts.lapses_in))
            }
            None => Message::new("The migration is finished. Say `report` for the report."),
        },
        Event::LapsesSoon => lapses_soon(facts),
        Event::PlanLapsed => plan_lapsed(facts),
        Event::Announced { text } => announced(text),
        Event::LetIn { rooms } => super::requests::let_in(rooms, migration),
        Event::RequestRefused { room, by } => super::requests::said_no(room, by),
        Event::RequestsEnded { rooms, why } => {
            super::requests::unanswered(rooms, *why, facts.reader)
        }
        Event::Forgotten { .. } => super::forgotten(),
        // Told in the words that moderators read.
        Event::ToModerator { .. } => Message::default(),
    }
}

/// `You`, or the account or the admin who did it.
fn you_or_account(by: By, facts: &Facts<'_>) -> Line {
    match by.side() {
        Some(side) if side == facts.reader => "You".into(),
        Some(side) => line!("{who}", who = &facts.migration.party(side).user_id),
        None => "An admin of this bot".into(),
    }
}

/// An admin's own words, line by line, marked as theirs.
fn announced(text: &str) -> Message {
    Message::new("An admin of this bot tells everybody whose migration is not finished:")
        .lines(text.lines().map(|said| Line::text(&clean(said, LONGEST_ANNOUNCEMENT))))
        .and("`status` tells how your migration stands.")
}

fn time_left(facts: &Facts<'_>) -> Duration {
    let left = facts.migration.consent_expires.duration_since(facts.now);
    Duration::try_from(left).unwrap_or_default()
}

fn consent_requested(facts: &Facts<'_>) -> Message {
    let (old, new) = (&facts.migration.old.user_id, &facts.migration.new.user_id);
    Message::new(line!(
        "I am asking {new} whether it agrees. Nothing else happens before it does.",
        new = new
    ))
    .and_maybe(will_be_served(facts))
    .and(line!(
        "Now open your **new** account: my question waits there, in a chat with me. Accept the \
         chat if you are asked to, and tap ✅ under the question, or say `accept {old}`. There \
         are {left} for that.",
        old = old,
        left = lapses_in(time_left(facts))
    ))
    .and("`status` tells how it stands; `cancel` takes the question back.")
}

fn consent_question(facts: &Facts<'_>) -> Message {
    let old = &facts.migration.old.user_id;
    Message::new(line!("**{old} wants to move to this account.** Do you agree?", old = old))
        .and(
            "If that is you: your rooms and direct chats come to this account, with tags and power \
             levels, and so do your profile, ignored people, notification rules and other settings. \
             Nothing is taken away from it, and nothing is changed before you have seen a plan.",
        )
        .and_maybe(will_be_served(facts))
        .and(line!(
            "You agree to this one migration only, until {keep} after its end or until you say \
             `cancel`.",
            keep = about(facts.keep)
        ))
        .and(line!(
            "To agree, tap ✅ or say `accept {old}`. To refuse, tap ❌ or say `decline {old}`.",
            old = old
        ))
        .and(line!(
            "If you do not know this account, refuse, or do nothing: the question lapses in {left}.",
            left = lapses_in(time_left(facts))
        ))
        .and("After a no it cannot have you asked again. After `block` nobody can.")
}

fn consent_given(facts: &Facts<'_>) -> Message {
    let (new, reader) = (&facts.migration.new.user_id, facts.reader);
    let agreed = match reader {
        Side::Old => line!("{new} **agreed** to the migration.", new = new),
        Side::New => line!(
            "You **agreed** that {old} moves to this account.",
            old = &facts.migration.old.user_id
        ),
    };
    let message = Message::new(agreed).and_maybe(service(facts));
    let missing = |side: Side| facts.migration.party(side).access.is_missing();
    match (&facts.migration.phase, missing(reader), missing(reader.other())) {
        (Phase::AwaitingAccess, true, true) => message
            .and(
                "Next I need to know how I may act as **each of the two accounts**. Say one of \
                 these from each, in its own chat with me:",
            )
            .list(login_ways(reader))
            .and(where_to_login(facts.encrypted)),
        (Phase::AwaitingAccess, true, false) => message
            .and("Next I need to know how I may act as **this account**. Say one of these here:")
            .list(login_ways(reader))
            .and(where_to_login(facts.encrypted)),
        (Phase::AwaitingAccess, false, true) => message.and(line!(
            "Next I need to know how I may act as {other}: say `login` from there, in its own chat \
             with me.",
            other = &facts.migration.party(reader.other()).user_id
        )),
        (Phase::Surveying, ..) => message.and(going_on_by_itself(&Phase::Surveying, reader)),
        _ => message.and("`status` tells what comes next."),
    }
}

/// What agreeing comes to where no `login` is needed: a person should know that before.
fn will_be_served(facts: &Facts<'_>) -> Option<Line> {
    let asked = match facts.reader {
        Side::Old => line!("once it agrees"),
        Side::New => line!("once you agree"),
    };
    facts.served.then(|| {
        line!(
            "The admin of {server} runs me as a service of that server: {asked}, I can act as this \
             account **without a password**, for this migration and nothing else. Then `login none` \
             ends that.",
            server = server(facts.migration, facts.reader),
            asked = asked
        )
    })
}

/// For whom no `login` is needed, and why; and how to say no to that.
fn service(facts: &Facts<'_>) -> Option<Line> {
    let (migration, reader) = (facts.migration, facts.reader);
    let by_service = |side: Side| migration.party(side).access == Access::Masquerade;
    let served = [reader, reader.other()].into_iter().filter(|side| by_service(*side));
    let server = |side: Side| server(migration, side);
    let same_server = migration.old.user_id.server_name() == migration.new.user_id.server_name();
    let line = match served.collect::<Vec<_>>()[..] {
        [] => return None,
        [one] => line!(
            "The admin of {server} runs me as a service of that server, so I can act as {who} \
             **without a password**.",
            server = server(one),
            who = account(migration, one, reader)
        ),
        _ if same_server => line!(
            "The admin of {server} runs me as a service of that server, so I can act as both \
             accounts **without a password**.",
            server = server(reader)
        ),
        _ => line!(
            "The admins of {old} and {new} run me as a service of their servers, so I can act as \
             both accounts **without a password**.",
            old = server(Side::Old),
            new = server(Side::New)
        ),
    };
    let how_not = line!("If I am not to act as this account, say `login none`.");
    Some(if by_service(reader) { line.followed_by(&how_not) } else { line })
}

fn login_ways(reader: Side) -> [Line; 3] {
    let none = match reader {
        Side::Old => line!(
            "`login none`: I do not act as this account. The new one then only gets into rooms \
             that it can join by itself."
        ),
        Side::New => line!(
            "`login none`: I do not act as this account. You then accept the invitations by hand."
        ),
    };
    [
        line!(
            "`login password` and this account's password: I use it once, to make a session of my \
             own, and do not keep it."
        ),
        line!("`login token` and an access token, if this account logs in through a website."),
        none,
    ]
}

fn where_to_login(encrypted: bool) -> &'static str {
    if encrypted {
        "This chat is encrypted, and I delete the message with the password or token afterwards."
    } else {
        "**This chat is not encrypted**, so send no password or token here: start an encrypted \
         direct chat with me first."
    }
}

fn consent_declined(facts: &Facts<'_>) -> Message {
    let (old, new) = (&facts.migration.old.user_id, &facts.migration.new.user_id);
    match facts.reader {
        Side::Old => Message::new(line!(
            "{new} **said no**. The migration has ended, and nothing was changed.",
            new = new
        ))
        .and(line!("If that was a mistake, say `start {new}` to ask again.", new = new)),
        Side::New => Message::new(line!(
            "You **said no**. {old} is told so; nothing was changed, and there is nothing more to \
             do.",
            old = old
        ))
        .and(line!(
            "If that was a mistake, say `start {new}` from {old} to be asked again.",
            new = new,
            old = old
        )),
    }
}

fn consent_expired(facts: &Facts<'_>) -> Message {
    let (old, new) = (&facts.migration.old.user_id, &facts.migration.new.user_id);
    match facts.reader {
        Side::Old => Message::new(line!(
            "{new} **did not answer in time**. The migration has ended, and nothing was changed.",
            new = new
        ))
        .and(line!("Say `start {new}` to ask again.", new = new)),
        Side::New => Message::new(line!(
            "The question from {old} has **lapsed**. Nothing was changed.",
            old = old
        ))
        .and(line!(
            "To be asked again, say `start {new}` from {old}.",
            new = new,
            old = old
        )),
    }
}

fn access_given(side: Side, facts: &Facts<'_>) -> Message {
    let migration = facts.migration;
    let who = account(migration, side, facts.reader);
    let given = match (migration.party(side).access, side) {
        (Access::None, Side::Old) => line!(
            "I will **not** act as {who}. So it invites nobody, and the new account only gets into \
             rooms that it can join by itself.",
            who = who
        ),
        (Access::None, Side::New) => line!(
            "I will **not** act as {who}. So it is invited, and {accepts} the invitations by hand.",
            who = who,
            accepts = if side == facts.reader { "you accept" } else { "accepts" }
        ),
        (Access::Masquerade, _) => line!(
            "I **can act** as {who} now, as a service of {server} and without a password.",
            who = who,
            server = server(migration, side)
        ),
        _ => line!("I **can act** as {who} now.", who = who),
    };
    let secret = match (side == facts.reader, facts.secret) {
        (true, SecretFate::Redacted) => Some("I deleted your message with the secret in it."),
        (true, SecretFate::LeftToPerson) => {
            Some("**Please delete your message** with the secret in it: I am not allowed to.")
        }
        _ => None,
    };
    Message::new(given).and_maybe(secret).and(after_login(facts))
}

/// What comes after a login.
fn after_login(facts: &Facts<'_>) -> Line {
    let migration = facts.migration;
    let missing = [facts.reader, facts.reader.other()]
        .into_iter()
        .find(|side| migration.party(*side).access.is_missing());
    match (&migration.phase, missing) {
        (Phase::AwaitingAccess, Some(side)) if side == facts.reader => line!(
            "Now I need to know how I may act as **this** account: say `login` here. `help login` \
             tells the ways."
        ),
        (Phase::AwaitingAccess, Some(side)) => line!(
            "Now I need to know how I may act as {other}: say `login` from there, in its own chat \
             with me.",
            other = &migration.party(side).user_id
        ),
        // A plan is made after a login, and is told by itself.
        (Phase::AwaitingGo, _) => going_on_by_itself(&Phase::Surveying, facts.reader),
        _ => going_on_by_itself(&migration.phase, facts.reader),
    }
}

fn access_lost(side: Side, facts: &Facts<'_>) -> Message {
    let migration = facts.migration;
    let lost = line!(
        "{server} **no longer accepts my session** for {who}. Perhaps it was logged out. The \
         migration waits; nothing is lost.",
        server = server(migration, side),
        who = account(migration, side, facts.reader)
    );
    let is_other = side != facts.reader;
    Message::new(lost)
        .and(to_go_on(side, facts))
        .and_maybe(is_other.then(|| gone_for_good(migration)))
}

fn gone_for_good(migration: &Migration) -> Line {
    if migration.can_go_on_without_old() {
        line!(
            "If that account is gone for good, say `resume`: I then go on without it, as far as {new} \
             gets in by itself. Or say `cancel`: I then tell you what is done and what is not.",
            new = &migration.new.user_id
        )
    } else {
        line!(
            "If that account is gone for good, say `cancel`: I then tell you what is done and what \
             is not."
        )
    }
}

fn resumed_without_old(facts: &Facts<'_>) -> Message {
    let (old, new) = (&facts.migration.old.user_id, &facts.migration.new.user_id);
    Message::new(line!(
        "{who} said `resume`: the migration **goes on without {old}**. {new} gets into what it can \
         by itself. What only {old} could do stays undone, and the report tells what that is.",
        who = you_or_account(By::New, facts),
        old = old,
        new = new
    ))
    .and("`status` tells how it stands.")
}

fn to_go_on(side: Side, facts: &Facts<'_>) -> Line {
    if side == facts.reader {
        line!("To go on, say `login` here. `help login` tells the ways.")
    } else {
        line!(
            "To go on, say `login` from {who}, in its own chat with me.",
            who = &facts.migration.party(side).user_id
        )
    }
}

fn service_began(side: Side, facts: &Facts<'_>) -> Message {
    let migration = facts.migration;
    Message::new(line!(
        "The admin of {server} runs me as a service of that server now, so I **can act** as {who} \
         without a password.",
        server = server(migration, side),
        who = account(migration, side, facts.reader)
    ))
    .and(after_login(facts))
}

fn service_ended(side: Side, facts: &Facts<'_>) -> Message {
    let migration = facts.migration;
    let ended = line!(
        "{server} **no longer lets me act** as {who} as a service of that server. Perhaps its admin \
         changed that. The migration waits; nothing is lost.",
        server = server(migration, side),
        who = account(migration, side, facts.reader)
    );
    let is_other = side != facts.reader && migration.can_go_on_without_old();
    Message::new(ended)
        .and(to_go_on(side, facts))
        .and_maybe(is_other.then(|| gone_for_good(migration)))
}

fn access_needed(facts: &Facts<'_>) -> Message {
    let other = &facts.migration.party(facts.reader.other()).user_id;
    Message::new(
        "I may act as neither of the two accounts, so there is **nothing I can do** yet.",
    )
    .and(line!(
        "Say `login password` or `login token` from at least one of them: here, or from {other} in \
         its own chat with me. `help login` tells more.",
        other = other
    ))
}

/// Before consent lapses: what is going to happen, and how to have it otherwise.
fn lapses_soon(facts: &Facts<'_>) -> Message {
    let (migration, left) = (facts.migration, about(facts.lapses_in.unwrap_or_default()));
    let old = &migration.old.user_id;
    if migration.phase == Phase::Finished {
        return Message::new(line!(
            "**In {left} I log my sessions out**, and what you both agreed to ends. What was moved \
             stays.",
            left = left
        ))
        .and(
            "There is nothing to do. To move more, say `plan` before that; later I ask both accounts \
             again. `forget` ends it now, and deletes what I stored.",
        );
    }
    Message::new(line!(
        "Nobody has said `go` yet. **In {left} the migration ends** by itself: I then log my sessions \
         out, and nothing more is changed.",
        left = left
    ))
    .and(match facts.reader {
        Side::Old => line!("To go on, say `plan`, and `go` once you have seen it."),
        Side::New => line!("To go on, say `plan`, and then `go` from {old}.", old = old),
    })
}

/// Nobody said `go` in time.
fn plan_lapsed(facts: &Facts<'_>) -> Message {
    Message::new(
        "Nobody said `go` in time, so the migration **has ended**. I log my sessions out, and what \
         you both agreed to has ended, too. Nothing was changed since the plan was made.",
    )
    .and(line!(
        "To begin again, say `start {new}` from the old account. `forget` deletes what I stored.",
        new = &facts.migration.new.user_id
    ))
}

fn survey_failed(side: Side, reason: &Failure, facts: &Facts<'_>) -> Message {
    let next = match reason {
        Failure::TooMuch(Excess::Restarts { times }) => return parked(*times),
        Failure::TooMuch(Excess::Rooms { .. }) => {
            "Leave rooms that you no longer need, and say `plan` to try again; `cancel` ends the \
             migration."
        }
        Failure::TooMuch(_) => {
            "To try again changes little: tell the admin of that server. `cancel` ends the migration."
        }
        _ => "Say `plan` to try again; `cancel` ends the migration.",
    };
    Message::new(line!(
        "I **could not read** {who}: {reason}. So there is no plan yet; nothing was changed.",
        who = account(facts.migration, side, facts.reader),
        reason = match facts.migration.may_name(facts.reader) {
            true => failure_words(reason),
            false => failure_words_in_short(reason),
        }
    ))
    .and(next)
}

fn parked(times: u32) -> Message {
    Message::new(line!(
        "I **could not read** the two accounts: I was stopped {times} times, one after the other, \
         while I was doing that. So there is no plan; nothing was changed.",
        times = i64::from(times)
    ))
    .and("I do not try again by myself. Say `plan` to try once more; `cancel` ends the migration.")
}

fn cancelled(by: By, facts: &Facts<'_>) -> Message {
    let said =
        line!("{who} said `cancel`: the migration **has ended**.", who = you_or_account(by, facts));
    let Some(report) = facts.report else {
        return Message::new(said).and("Nothing was changed in any room.").and(line!(
            "To begin again, say `start {new}` from the old account. `forget` logs my sessions \
             out and deletes what I stored.",
            new = &facts.migration.new.user_id
        ));
    };
    let counts = report.counts();
    let count = |kind| counts.get(&kind).copied().unwrap_or_default();
    let (invited, not_tried) = (count(OutcomeKind::Invited), count(OutcomeKind::NotTried));
    Message::new(said)
        .and(line!(
            "What was done stays: I brought the new account into {rooms}.",
            rooms = super::value::rooms(count(OutcomeKind::Joined))
        ))
        .and_maybe((invited > 0).then(|| {
            line!(
                "It is invited to {rooms} besides, and can join there by hand.",
                rooms = super::value::rooms(invited)
            )
        }))
        .and_maybe(
            (not_tried > 0).then(|| {
                line!("I did not get to {rooms}.", rooms = super::value::rooms(not_tried))
            }),
        )
        .and(
            "`report` tells room by room. `forget` logs my sessions out and deletes what I stored.",
        )
}
