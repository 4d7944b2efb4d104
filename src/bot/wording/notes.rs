//! What a person should know about rooms before they are moved, and why some are left out.

use super::{
    labels::room,
    message::{Line, line},
    value::rooms,
};
use crate::{
    clock::Timestamp,
    migration::{Note, Omission, Pending, Plan, PlannedRoom, Route},
};

/// How many rooms are named where a count alone would be too little.
const NAMED: usize = 5;

/// Why a room is left out of the plan.
pub(crate) fn omission_words(omission: &Omission) -> &'static str {
    match omission {
        Omission::Asked => "you said skip",
        Omission::Empty => "nobody else is in it",
        Omission::ServerNotices => "it is for notices of the old server",
        Omission::ChatWithBot => "it is the old account's chat with me",
        Omission::Upgraded { .. } => "it was replaced by a newer room",
    }
}

/// The old account's chat with the bot is listed, but counted nowhere: nobody would move it.
pub(super) fn is_chat_with_bot(planned: &PlannedRoom) -> bool {
    planned.route == Route::Skipped(Omission::ChatWithBot)
}

/// Rooms that are left out, by reason.
pub(super) fn omissions(plan: &Plan, total: usize) -> Line {
    let reasons = tally(&plan.rooms, |planned| match &planned.route {
        Route::Skipped(omission) if !is_chat_with_bot(planned) => Some(omission_words(omission)),
        _ => None,
    });
    let is_one = reasons.len() == 1;
    let reasons = reasons
        .into_iter()
        .map(|(why, number)| match is_one {
            true => line!("{why}", why = why),
            false => line!("{why} ({number})", why = why, number = number),
        })
        .reduce(|before, why| line!("{before}, {why}", before = before, why = why));
    let told = line!(
        "{n}: **left out**: {reasons}.",
        n = rooms(total),
        reasons = reasons.unwrap_or_default()
    );
    let can_be_included = plan.rooms.iter().any(|planned| match &planned.route {
        Route::Skipped(omission) => omission.can_be_included(),
        _ => false,
    });
    if can_be_included {
        line!("{told} `include` and a room's number puts one back in.", told = told)
    } else {
        told
    }
}

/// How often each value comes, in the order of their first coming.
fn tally<'a, T, K: PartialEq>(items: &'a [T], key: impl Fn(&'a T) -> Option<K>) -> Vec<(K, usize)> {
    let mut tally: Vec<(K, usize)> = Vec::new();
    for key in items.iter().filter_map(key) {
        match tally.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += 1,
            None => tally.push((key, 1)),
        }
    }
    tally
}

/// What a note says of its room, after the room's name.
pub(crate) fn note_words(note: &Note) -> Line {
    match note {
        Note::EarlierHidden => line!("earlier messages stay hidden"),
        Note::Bridged { with } => line!("bridged with {with}", with = super::value::quote(with)),
        Note::AliasOnOldServer { alias } => {
            line!("its address {alias} may end with the old server", alias = alias)
        }
        Note::Quiet { since } => line!("quiet since {since}", since = month(*since)),
    }
}

fn month(at: ruma::MilliSecondsSinceUnixEpoch) -> String {
    Timestamp::from_millisecond(at.get().into())
        .map(|at| at.strftime("%B %Y").to_string())
        .unwrap_or_default()
}

/// The notes of the whole plan, a line for each kind.
pub(super) fn note_lines(plan: &Plan) -> Vec<Line> {
    let with = |test: fn(&Note) -> bool| {
        let is_moved = |planned: &&PlannedRoom| !matches!(planned.route, Route::Skipped(_));
        let rooms: Vec<_> = plan
            .rooms
            .iter()
            .filter(is_moved)
            .filter(|planned| planned.notes.iter().any(test))
            .collect();
        rooms
    };
    let mut lines = Vec::new();
    let hidden = with(|note| *note == Note::EarlierHidden);
    if !hidden.is_empty() {
        lines.push(line!(
            "In {n} the new account sees **nothing of what was said before** it comes{named}. \
             Keep the old account to read that, or save it first.",
            n = rooms(hidden.len()),
            named = which(&hidden)
        ));
    }
    let encrypted =
        plan.rooms.iter().filter(|planned| planned.room.encrypted && is_moving(planned)).count();
    if encrypted > 0 {
        lines.push(line!(
            "{n} encrypted: to read earlier messages there, export the keys in the old account's \
             app and import them in the new one's.",
            n = be(encrypted)
        ));
    }
    let bridged = with(|note| matches!(note, Note::Bridged { .. }));
    if !bridged.is_empty() {
        lines.push(line!(
            "{n} **bridged** with another network, and the bridge knows the old account, not the \
             new one{named}. Log in to the bridge again from the new account.",
            n = be(bridged.len()),
            named = which(&bridged)
        ));
    }
    let aliases = with(|note| matches!(note, Note::AliasOnOldServer { .. }));
    if !aliases.is_empty() {
        lines.push(line!(
            "You run {n} whose **address** is on the old server, and may end with it{named}. Give \
             such a room an address on another server.",
            n = rooms(aliases.len()),
            named = which(&aliases)
        ));
    }
    let quiet = with(|note| matches!(note, Note::Quiet { .. }));
    if !quiet.is_empty() {
        lines.push(line!(
            "{n} long been **quiet**{named}. `skip` leaves a room behind.",
            n = have(quiet.len()),
            named = which(&quiet)
        ));
    }
    lines
}

fn is_moving(planned: &PlannedRoom) -> bool {
    matches!(planned.route, Route::Join(_) | Route::InviteAndJoin)
}

fn be(number: usize) -> Line {
    let be = if number == 1 { "is" } else { "are" };
    line!("{n} {be}", n = rooms(number), be = be)
}

fn have(number: usize) -> Line {
    let have = if number == 1 { "has" } else { "have" };
    line!("{n} {have}", n = rooms(number), have = have)
}

/// Invitations and knocks that nobody can pass on.
pub(super) fn pending_line(pending: &[Pending]) -> Option<Line> {
    if pending.is_empty() {
        return None;
    }
    if pending.iter().any(|pending| pending.room.is_nameless()) {
        return Some(line!(
            "The old account has **{n}** that I cannot pass on.",
            n = super::value::count(pending.len(), "open invitation", "open invitations")
        ));
    }
    let one = |pending: &Pending| match &pending.invited_by {
        Some(by) => line!("{room} (from {by})", room = room(&pending.room), by = by),
        None => line!("{room} (you knocked)", room = room(&pending.room)),
    };
    let named = pending.iter().take(NAMED).map(one);
    let named = named.reduce(|before, one| line!("{before}, {one}", before = before, one = one));
    let more = match pending.len().saturating_sub(NAMED) {
        0 => Line::default(),
        more => line!(" and {more} more", more = more),
    };
    Some(line!(
        "The old account has **open invitations** that I cannot pass on: {named}{more}. Accept them \
         first, or ask to be invited anew.",
        named = named.unwrap_or_default(),
        more = more
    ))
}

/// After what is said of some rooms: a colon and the first few by name, where they are named.
pub(super) fn which(planned: &[&PlannedRoom]) -> Line {
    if planned.iter().any(|planned| planned.room.is_nameless()) {
        return Line::default();
    }
    line!(": {named}", named = named(planned))
}

/// The first few rooms by name.
pub(super) fn named(planned: &[&PlannedRoom]) -> Line {
    let first =
        planned.iter().take(NAMED).map(|planned| line!("{room}", room = room(&planned.room)));
    let first = first.reduce(|before, one| line!("{before}, {one}", before = before, one = one));
    let first = first.unwrap_or_default();
    match planned.len().saturating_sub(NAMED) {
        0 => first,
        more => line!("{first} and {more} more", first = first, more = more),
    }
}
