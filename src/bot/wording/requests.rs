//! Invite requests, as the person who asks is told of them.

use std::time::Duration;

use matrix_sdk::ruma::OwnedUserId;

use super::{
    labels::room,
    message::{Line, Message, line},
    refusals::failure_words,
    report::listed_lines,
    value::{about, clean, rooms},
};
use crate::{
    migration::{Migration, RoomLabel, Side, Unanswered},
    moderation::{
        InviteRequest, Obstacle, Proposal, Proposed, RequestState, TIME_PER_ROOM, Text, Way, Words,
    },
};

/// What would be asked, and whom.
pub(crate) fn proposal(proposal: &Proposal, words: &dyn Words) -> Message {
    if proposal.rooms.is_empty() {
        return Message::new("None of these rooms needs a moderator, so there is nobody to ask.")
            .and("`rooms moderator` lists those that do.");
    }
    let askable = proposal.askable().count();
    let (open, closed): (Vec<_>, Vec<_>) =
        proposal.rooms.iter().partition(|proposed| proposed.obstacle.is_none());
    let head = if askable == 0 {
        Line::from("There is no room now in which I could ask for help.")
    } else {
        line!(
            "I can ask for help in **{rooms}**. Nothing is sent before you say yes.",
            rooms = rooms(askable)
        )
    };
    let message = Message::new(head);
    let message = listed_lines(message, "Whom I would ask:", open.iter().map(asking).collect());
    let hindered = closed.iter().filter_map(obstacle).collect();
    let message = listed_lines(message, "The others:", hindered);
    if askable == 0 {
        return message.and("`report` tells how each room stands.");
    }
    let message = examples(&open, words)
        .into_iter()
        .fold(message, |message, (head, text)| message.and(head).then(text));
    let own = if proposal.own_words {
        "The first words are yours; `ask text` without any brings mine back."
    } else {
        "To begin it in your own words, say `ask text` and the words."
    };
    message.and(own).and(line!(
        "To send, tap ✅ or say `ask yes`. It takes {time}: I send one after the other, slowly. \
         Everything else goes on meanwhile.",
        time = about(time_for(askable))
    ))
}

fn time_for(rooms: usize) -> Duration {
    TIME_PER_ROOM * u32::try_from(rooms.saturating_sub(1)).unwrap_or(u32::MAX)
}

fn asking(proposed: &&Proposed) -> Line {
    let request = &proposed.request;
    let room = room(&request.room);
    match request.way {
        Some(Way::Knock) => line!("{room}: the new account knocks", room = room),
        Some(Way::DirectMessage) => {
            line!("{room}: I write to {who}", room = room, who = names(request))
        }
        _ => line!("{room}: you write there to {who}", room = room, who = names(request)),
    }
}

fn names(request: &InviteRequest) -> Line {
    let mut asked = request.asked.iter();
    let first = asked.next().map(|user| line!("{user}", user = user)).unwrap_or_default();
    asked.fold(first, |all, user| line!("{all}, {user}", all = all, user = user))
}

fn obstacle(proposed: &&Proposed) -> Option<Line> {
    let why = match proposed.obstacle? {
        Obstacle::Asked => "asked already; it waits for an answer",
        Obstacle::Opened => "the new account can get in by now, and joins on your yes",
        Obstacle::Refused => "a moderator said no",
        Obstacle::Stopped => "a moderator wants nobody to be asked there",
        Obstacle::Nobody => "there is nobody there whom I could ask",
        Obstacle::OutOfRoom => "the old account is not in it any more",
    };
    Some(line!("{room}: {why}", room = room(&proposed.request.room), why = why))
}

/// The exact text for the first room of each way.
fn examples(open: &[&Proposed], words: &dyn Words) -> Vec<(Line, Message)> {
    let first = |way| open.iter().map(|it| &it.request).find(|request| request.way == Some(way));
    let count = |way| open.iter().filter(|it| it.request.way == Some(way)).count();
    let others = |way| match count(way) {
        1 => Line::from(":"),
        _ => Line::from("; in the others the same, with the names that belong there:"),
    };
    let mut examples = Vec::new();
    if let Some(request) = first(Way::Message) {
        let others = others(Way::Message);
        let head =
            line!("In {room}, exactly this{others}", room = room(&request.room), others = others);
        examples.push((head, Message::quoted(&words.request(request))));
    }
    if let Some(request) = first(Way::DirectMessage) {
        let others = others(Way::DirectMessage);
        let head = line!(
            "About {room}, in a direct message{others}",
            room = room(&request.room),
            others = others
        );
        examples.push((head, Message::quoted(&words.request(request))));
    }
    if let Some(request) = first(Way::Knock) {
        let reason = clean(&words.knock_reason(request), 1_000);
        let head = match count(Way::Knock) {
            1 => line!("With the knock on {room}:", room = room(&request.room)),
            _ => Line::from("With each knock:"),
        };
        let plain = reason.clone();
        let html = Message::new(Line::text(&reason)).html;
        examples.push((head, Message::quoted(&Text { plain, html })));
    }
    examples
}

/// The requests that were confirmed are not those that would be sent now.
pub(crate) fn outdated_requests() -> Message {
    Message::new("I have shown you other requests since, so I sent nothing.")
        .and("Say `ask` to see what I would send now.")
}

/// The person's own words were taken, or dropped.
pub(crate) fn own_words(own: bool) -> Message {
    let done = if own {
        "I begin with your words. Who moves where to, and what to do, I still say in mine."
    } else {
        "I use my own words again."
    };
    Message::new(done).and("Say `ask` to see the whole text. Nothing was sent.")
}

/// The requests are on their way.
pub(crate) fn requests_sent(number: usize) -> Message {
    Message::new(line!(
        "I am asking for help in **{rooms}**. It takes {time}.",
        rooms = rooms(number),
        time = about(time_for(number))
    ))
    .and(
        "I tell you when a moderator answers, and bring the new account in at once. `report` tells \
         how each room stands; `cancel` takes back what was asked.",
    )
}

/// Rooms that moderators opened.
pub(super) fn let_in(opened: &[RoomLabel], migration: &Migration) -> Message {
    let message = Message::new(line!(
        "**Moderators let the new account in:** {rooms}.",
        rooms = rooms(opened.len())
    ));
    listed_lines(
        message,
        "These are they:",
        opened.iter().map(|it| line!("{room}", room = room(it))).collect(),
    )
    .and(line!(
        "I still wait for the moderators of {rooms}. `report` tells how each room stands.",
        rooms = rooms(migration.awaited.len())
    ))
}

/// A moderator said no.
pub(super) fn said_no(label: &RoomLabel, by: &OwnedUserId) -> Message {
    Message::new(line!(
        "{by}, who looks after {room}, **said no**: the new account does not get in there. I do not \
         ask there again.",
        by = by,
        room = room(label)
    ))
    .and("If you think that is a mistake, talk to them. `report` tells how each room stands.")
}

/// No answer is waited for any more.
pub(super) fn unanswered(ended: &[RoomLabel], why: Unanswered, reader: Side) -> Message {
    let n = rooms(ended.len());
    let (head, next) = match why {
        Unanswered::Expired => (
            line!("**Nobody answered** in {n}, and I no longer wait.", n = n),
            "You can ask the moderators yourself.",
        ),
        Unanswered::OutOfRoom => (
            line!("The old account **is not any more** in {n}, so I no longer wait there.", n = n),
            "Somebody in there can still invite the new account.",
        ),
        Unanswered::NotAsked => (
            line!("I **could not ask** anybody in {n}.", n = n),
            "You can ask the moderators yourself.",
        ),
    };
    let lines = ended.iter().map(|it| line!("{room}", room = room(it))).collect();
    let message = listed_lines(Message::new(head), "Which:", lines).and(next);
    match (why, reader) {
        (Unanswered::Expired, Side::Old) => message.and("`ask` asks once more."),
        _ => message,
    }
}

/// How a request stands: a clause.
pub(crate) fn request_words(request: &InviteRequest) -> String {
    let how = match request.way {
        Some(Way::Knock) => "by a knock".to_owned(),
        Some(Way::Message) => format!("by a message to {}", names(request).into_plain()),
        Some(Way::DirectMessage) => {
            format!("by a direct message to {}", names(request).into_plain())
        }
        None => String::new(),
    };
    let when = request.asked_at.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let asked = match when {
        Some(when) => format!("asked {when} {how}"),
        None => "to be asked".to_owned(),
    };
    let by = request.answered_by.as_ref().map(|by| clean(by.as_str(), 255));
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    match &request.state {
        RequestState::Planned | RequestState::Sending => "is about to be asked".to_owned(),
        RequestState::Open => format!("{asked}; waiting for an answer"),
        RequestState::Opened => format!("{asked}; let in{by}"),
        RequestState::Refused | RequestState::Stopped => format!("{asked}; refused{by}"),
        RequestState::Expired => format!("{asked}; nobody answered"),
        RequestState::Withdrawn => format!("{asked}; taken back"),
        RequestState::OutOfRoom => format!("{asked}; the old account is not there any more"),
        RequestState::NotAsked(None) => "there was nobody to ask".to_owned(),
        RequestState::NotAsked(Some(why)) => {
            format!("could not be asked: {}", line!("{why}", why = failure_words(why)).into_plain())
        }
    }
}

/// The same with markup.
pub(super) fn request_line(request: &InviteRequest) -> Line {
    Line::text(&clean(&request_words(request), 600))
}
