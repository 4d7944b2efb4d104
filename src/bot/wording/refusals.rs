//! Why a command was not followed, what that means, and what to type next.

use matrix_sdk::ruma::UserId;

use super::{
    message::{Line, Message, line},
    value::{Value, about, quote},
};
use crate::{
    access::LoginError,
    homeserver::{DiscoverError, Excess, Failure, Fault},
    migration::{Ending, Phase, Refusal, Side},
};

/// Why `reader`'s command was not followed.
pub(crate) fn refusal(refusal: &Refusal, reader: &UserId) -> Message {
    match refusal {
        Refusal::NoMigration => Message::new("You are in no migration, so there is nothing to do.")
            .and("To begin one, say `start @new:server` from the account that you want to leave."),
        Refusal::NoSuchMigration => Message::new("There is no such migration. Nothing was changed.")
            .and("Say `admin migrations` to see those that are not over."),
        Refusal::SameAccount => Message::new(
            "That is the account you are writing from. Old and new account must be two accounts.",
        )
        .and("Say `start @new:server` with the name of the account that you want to move **to**."),
        Refusal::TheBot => Message::new("That is me. I move people, but not to or from myself.")
            .and("Say `start @new:server` with the name of your new account."),
        Refusal::Busy { busy, same_pair } => busy_account(busy, *same_pair, reader),
        Refusal::AskedTooOften { left } => Message::new(
            "I asked several accounts for you today already, and ask no more, so that nobody is \
             bothered. I did not ask this one.",
        )
        .and(line!("In {left} you can say `start` again.", left = about(*left))),
        Refusal::ServerAskedTooOften { left } => Message::new(
            "I asked for many people on your server today already, and ask no more, so that nobody \
             is bothered. I did not ask this account.",
        )
        .and(line!("In {left} you can say `start` again.", left = about(*left))),
        Refusal::Unwanted { new } => Message::new(line!(
            "I do **not** ask {new}: it does not want to be asked, or was asked already. Nothing \
             was changed.",
            new = new
        ))
        .and(line!(
            "If it is yours: answer the question that I may have put to it, or say `unblock` from \
             {new} in a direct chat with me. Then say `start {new}` here again.",
            new = new
        )),
        Refusal::UnreadableName => Message::new(
            "The name of one of the two accounts has characters in it that could be read as something \
             else, as blanks or letters that look like others. I do not move such accounts. Nothing \
             was changed.",
        ),
        Refusal::WrongSide { may } => wrong_side(*may),
        Refusal::NoSuchRequest { old } => Message::new(line!(
            "{old} has not asked for this account, or the question has lapsed. Nothing was changed.",
            old = old
        ))
        .and(line!(
            "To ask, say `start {reader}` from {old}, in a direct chat with me.",
            reader = reader, old = old
        )),
        Refusal::WrongPhase { phase } => wrong_phase(phase),
        Refusal::NoConsentYet => Message::new(
            "The new account has not agreed yet, so I take no access to any account: I did not use \
             what you sent.",
        )
        .and("First say `accept @old:server` from the new account; then `login` here again."),
        Refusal::Login(error) => login(error),
        Refusal::NoSuchRoom(room) => Message::new(line!(
            "{room} is in no list of mine. Nothing was changed.", room = room
        ))
        .and("`rooms` lists the rooms with their numbers."),
        Refusal::PlanChanged => Message::new("The plan has changed, so I ran nothing.")
            .and("Say `plan` to see how things are now, and then `go`."),
        Refusal::TooManyNamed { most } => Message::new(line!(
            "I take {rooms} at most that your old account is not in. Nothing was changed.",
            rooms = super::value::rooms(*most)
        ))
        .and("Name fewer with `include`, or take some out first with `skip`."),
        Refusal::NoPlan => Message::new("There is no plan yet.")
            .and("`status` tells what is missing; `plan` makes a plan as soon as I may look."),
        Refusal::NoReport => Message::new("There is no report yet: nothing was run.")
            .and("`status` tells how it stands."),
        Refusal::NothingToRetry => Message::new("Nothing failed, so there is nothing to try again.")
            .and("`report` tells what was done."),
        Refusal::Unread(failure) => Message::new(line!(
            "I could not look at the rooms as the old account: {why}. Nobody was asked.",
            why = failure_words(failure)
        ))
        .and("Say `ask` again in a few minutes."),
        Refusal::NothingShown => Message::new(
            "There is nothing to send: I show you first what I would ask, and whom.",
        )
        .and("Say `ask` to see it."),
        Refusal::Store(_) => super::broken(),
    }
}

fn busy_account(busy: &UserId, same_pair: bool, reader: &UserId) -> Message {
    if same_pair {
        return Message::new(
            "That migration has begun already, and goes on. I did not begin another.",
        )
        .and("`status` tells how it stands; `cancel` ends it.");
    }
    if busy == reader {
        return Message::new(
            "You are in a migration already, and an account can be in one only. Nothing was changed.",
        )
        .and("`status` tells how it stands. To begin another, first say `cancel`.");
    }
    Message::new(line!(
        "{busy} is in another migration, and an account can be in one only. Nothing was changed.",
        busy = busy
    ))
    .and(line!(
        "Try again when that one is over. If {busy} is yours, say `cancel` from it in its own chat \
         with me.",
        busy = busy
    ))
}

fn wrong_side(may: Side) -> Message {
    match may {
        Side::Old => Message::new(
            "Only the **old** account may say that: it is the one that moves. Nothing was changed.",
        )
        .and("Say it from the old account, in its own chat with me. From here you can say `status`, `plan`, `rooms`, `pause` and `cancel`."),
        Side::New => Message::new(
            "Only the **new** account may say that: it is the one that is asked. Nothing was changed.",
        )
        .and("Say it from the new account, in its own chat with me."),
    }
}

fn wrong_phase(phase: &Phase) -> Message {
    let (now, next) = match phase {
        Phase::AwaitingConsent => (
            "the new account has not agreed yet",
            "Say `accept @old:server` from the new account, or `cancel` from here.",
        ),
        Phase::AwaitingAccess => (
            "I have not been told yet how to act as both accounts",
            "Say `login` from each account, in its own chat with me; `help login` tells how.",
        ),
        Phase::Surveying => (
            "I am still looking at both accounts",
            "The plan comes by itself as soon as I am done; `status` tells how it stands.",
        ),
        Phase::AwaitingGo => (
            "there is a plan, and nothing has been run yet",
            "Say `go` from the old account to run the plan, or `plan` to see it again.",
        ),
        Phase::Running => {
            ("the plan is being run", "`status` tells how far it is; `pause` and `cancel` stop it.")
        }
        Phase::WaitingForModerators => (
            "moderators were asked, and not all have answered",
            "`status` tells how it stands; `cancel` takes back what was asked, and ends it.",
        ),
        Phase::Paused(_) => {
            ("the migration is paused", "Say `resume` to go on, or `cancel` to end it.")
        }
        Phase::Failed(_) => (
            "an account could not be read",
            "Say `plan` to try again, or `login` if my access to it was lost.",
        ),
        Phase::Finished => (
            "the migration is finished",
            "`report` tells what was done; `retry` tries again what failed; `plan` makes a new plan.",
        ),
        Phase::Cancelled(Ending::Declined) => (
            "the new account said no, and the migration has ended",
            "To ask again, say `start @new:server` from the old account.",
        ),
        Phase::Cancelled(Ending::Expired) => (
            "the new account did not answer in time, and the migration has ended",
            "To ask again, say `start @new:server` from the old account.",
        ),
        Phase::Cancelled(Ending::CancelledBy(_)) => (
            "the migration was cancelled",
            "`report` tells what was done. To begin again, say `start @new:server` from the old account.",
        ),
    };
    Message::new(line!("That is not possible now: {now}. Nothing was changed.", now = now))
        .and(next)
}

fn login(error: &LoginError) -> Message {
    match error {
        LoginError::Discovery(error) => no_login(discover_words(error)).and(
            "I keep nothing of what you sent. Try again later with `login`; if it stays like this, \
             tell the admin of this bot.",
        ),
        LoginError::NoPasswordFlow => Message::new(
            "This account's server takes no passwords from programs like me; people log in to it \
             through its website. I keep nothing of what you sent.",
        )
        .and(
            "Use an access token instead: say `login token` and the token. Element shows it under \
             All settings → Help & About → Access Token. Or say `login none`.",
        ),
        LoginError::SomebodyElse(other) => Message::new(line!(
            "That belongs to {other}, not to this account. I logged it out at once and did nothing \
             with it.",
            other = other
        ))
        .and(
            "Each account gives access for itself, in its own chat with me. Say `login` here with \
             this account's own password or token.",
        ),
        LoginError::NotCovered => Message::new(
            "I am no service of this account's server, so I cannot act as this account by that.",
        )
        .and("Say `login password` or `login token` instead; `help login` tells the ways."),
        LoginError::ServiceRefused(failure) => Message::new(line!(
            "This account's server does not let me act as this account: {why}. Its admin can change \
             that.",
            why = failure_words(failure)
        ))
        .and("Until then, say `login password` or `login token`; `help login` tells the ways."),
        LoginError::Wrong(failure) => wrong(failure),
        LoginError::Failed(failure) => no_login(failure_words(failure)).and(later(failure)),
    }
}

fn no_login(why: Line) -> Message {
    Message::new(line!("I could not log in: {why}.", why = why))
}

/// The homeserver took the request, and said no.
fn wrong(failure: &Failure) -> Message {
    let again = "Then say `login` here again; `help login` tells the ways.";
    match failure {
        Failure::TokenGone { .. } => Message::new(
            "The server does not know this access token, or it was logged out. I cannot act as \
             this account.",
        )
        .and(line!("Copy the token once more, as a whole. {again}", again = Line::from(again))),
        Failure::Deactivated => no_login(failure_words(failure))
            .and("Say `login none` to go on without access to this account."),
        Failure::Refused { message, .. } => Message::new(line!(
            "The server **did not accept** that. It says {words}.",
            words = quote(message)
        ))
        .and(line!("Check what you sent. {again}", again = Line::from(again))),
        failure => no_login(failure_words(failure)).and(later(failure)),
    }
}

fn later(failure: &Failure) -> &'static str {
    match failure {
        Failure::Limited { .. } => {
            "I keep nothing of what you sent. When that time is over, say `login` here again."
        }
        Failure::Unsendable(_) => {
            "Copy it once more, as a whole, and say `login` here again; `help login` tells the ways."
        }
        _ => "I keep nothing of what you sent. Try again in a few minutes with `login`.",
    }
}

/// What a homeserver's answer, or its silence, means: a clause without a full stop.
pub(super) fn failure_words(failure: &Failure) -> Line {
    match failure {
        Failure::Limited { retry_after: Some(wait) } => {
            line!("the server allows no more of that for {wait}", wait = super::value::about(*wait))
        }
        Failure::Limited { retry_after: None } => {
            "the server allows no more of that for now".into()
        }
        Failure::Unreachable { host, fault } => {
            line!("I cannot reach {host}; {why}", host = host.clone(), why = fault_words(fault))
        }
        failure if failure.is_without_a_way_in() => {
            "no server that is in the room could be reached".into()
        }
        Failure::Faulty { status, .. } => {
            line!("the server itself failed (status {status})", status = i64::from(*status))
        }
        Failure::Garbage { .. } => "the server gave an answer that makes no sense".into(),
        Failure::TooMuch(excess) => excess_words(*excess),
        Failure::TokenGone { .. } => "my session for this account is no longer valid".into(),
        Failure::Deactivated => "the account is deactivated".into(),
        Failure::Refused { message, code, .. } if message.is_empty() => {
            line!("the server refused ({code})", code = code.to_string())
        }
        Failure::Refused { message, .. } => {
            line!("the server refused, and says {words}", words = quote(message))
        }
        Failure::Unsendable(_) => "that cannot be put into a request".into(),
        Failure::Unencryptable(_) => "I could not encrypt the message".into(),
        Failure::Stopped => "it was stopped in the middle".into(),
    }
}

fn excess_words(excess: Excess) -> Line {
    match excess {
        Excess::Answer { most } => line!(
            "the server's answer is larger than {most} megabytes, which is more than I take",
            most = i64::try_from(most >> 20).unwrap_or(i64::MAX)
        ),
        Excess::Rooms { rooms, most } => line!(
            "it has to do with {rooms} rooms, and I can take an account with {most} at most",
            rooms = i64::try_from(rooms).unwrap_or(i64::MAX),
            most = i64::try_from(most).unwrap_or(i64::MAX)
        ),
        Excess::Record => "it is more than I can write down".into(),
        Excess::Restarts { times } => line!(
            "I was stopped {times} times, one after the other, while I was reading",
            times = i64::from(times)
        ),
    }
}

fn discover_words(error: &DiscoverError) -> Line {
    match error {
        DiscoverError::Unreachable { url, fault } => {
            line!("I cannot reach {url}; {why}", url = url.to_string(), why = fault_words(fault))
        }
        DiscoverError::Tls { url, what } => line!(
            "{url} has no secure connection ({what})",
            url = url.to_string(),
            what = what.clone()
        ),
        DiscoverError::NotHomeserver { url, .. } => {
            line!("{url} does not answer like a Matrix server", url = url.to_string())
        }
        DiscoverError::NotAHost { name } => {
            line!("{name} is not the name of a host", name = name.to_string())
        }
        DiscoverError::BadWellKnown { url, .. } => {
            line!("{url} does not say where the server is", url = url.to_string())
        }
    }
}

fn fault_words(fault: &Fault) -> Value {
    match fault {
        Fault::NoConnection(_) => Value::from("it does not answer"),
        Fault::Tls(_) => Value::from("its connection is not secure"),
        Fault::Timeout => Value::from("it takes too long to answer"),
        Fault::Private(_) => Value::from("it is in a private network, where I do not look"),
        Fault::Broken(_) => Value::from("the connection broke"),
    }
}
