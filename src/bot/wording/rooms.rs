//! Lists of rooms.

use super::{
    labels::{room, room_link},
    message::{Line, Message, line},
    notes::{note_words, omission_words},
    value::rooms,
};
use crate::{
    bot::grammar::route_name,
    migration::{Entry, Migration, Plan, PlannedRoom, Route, RouteKind, Side},
};

/// How large the lines of one message may be in bytes. An event is at most 65,536 bytes, and
/// encryption makes of three bytes four.
const LARGEST: usize = 24_000;

/// The rooms of a plan with their numbers, all of them or those with one route, in as many messages
/// as it takes.
pub(crate) fn rooms_list(plan: &Plan, route: Option<RouteKind>, reader: Side) -> Vec<Message> {
    let numbered = plan.rooms.iter().zip(1_usize..);
    let lines: Vec<_> = numbered
        .filter(|(planned, _)| route.is_none_or(|route| planned.route.kind() == route))
        .map(|(planned, number)| room_line(planned, number))
        .collect();
    let next = match reader {
        Side::Old => line!(
            "Say `skip` or `include` with a room's number to change the plan, and `go` to run it."
        ),
        Side::New => line!("`skip`, `include` and `go` are said from the old account."),
    };
    let head = match route {
        None => line!("**The plan has {n}.**", n = rooms(lines.len())),
        Some(route) => line!(
            "**{n} with the route `{route}`.**",
            n = rooms(lines.len()),
            route = route_name(route)
        ),
    };
    let next = match plan.rooms.iter().any(|planned| planned.room.encrypted) {
        true => line!("🔒: what is said there is encrypted.").followed_by(&next),
        false => next,
    };
    if lines.is_empty() && route.is_some() {
        return vec![Message::new(head).and("`rooms` lists all rooms.")];
    }
    in_parts(head, lines, next)
}

fn room_line(planned: &PlannedRoom, number: usize) -> Line {
    let kind = if planned.room.space {
        ", a space"
    } else if !planned.room.direct_with.is_empty() && planned.room.name.is_some() {
        ", a direct chat"
    } else {
        ""
    };
    let line = line!(
        "**{number}.** {room}{lock}{kind}: {route}",
        number = number,
        room = room(&planned.room),
        lock = if planned.room.encrypted { " 🔒" } else { "" },
        kind = kind,
        route = route_words(planned)
    );
    planned
        .notes
        .iter()
        .fold(line, |line, note| line!("{line}; {note}", line = line, note = note_words(note)))
}

fn route_words(planned: &PlannedRoom) -> Line {
    match &planned.route {
        Route::AlreadyThere => "already there".into(),
        Route::Join(Entry::Public) => "joins by itself".into(),
        Route::Join(Entry::Invited) => "joins, is invited already".into(),
        Route::Join(Entry::Through { .. }) => "joins as a member of its space".into(),
        Route::InviteAndJoin if planned.opens => "is opened to it for a moment".into(),
        Route::InviteAndJoin => "is invited and joins".into(),
        Route::NeedsModerator => "needs a moderator".into(),
        Route::Unreachable(reason) => {
            line!("cannot get in, {why}", why = super::reason_words(reason))
        }
        Route::Skipped(omission) => line!("left out, {why}", why = omission_words(omission)),
    }
}

/// To the new account when the bot may not act as it: what to do by hand. Nothing when there is
/// nothing.
pub(crate) fn by_hand(plan: &Plan, migration: &Migration) -> Vec<Message> {
    let links: Vec<_> = plan
        .with_route(RouteKind::Join)
        .filter(|planned| planned.route != Route::Join(Entry::Invited))
        .map(|planned| room_link(&planned.room, &planned.via))
        .collect();
    let invitations = plan.with_route(RouteKind::InviteAndJoin).count()
        + plan.with_route(RouteKind::Join).count()
        - links.len();
    let mut messages = Vec::new();
    if invitations > 0 {
        messages.push(Message::new(line!(
            "**For you to do by hand:** accept the invitations to {n}. They come from {old}, one \
             after the other. I notice each one that you accept.",
            n = rooms(invitations),
            old = &migration.old.user_id
        )));
    }
    if !links.is_empty() {
        let head = line!("**{n} to join by hand:** follow these links.", n = rooms(links.len()));
        let next = line!("I notice each room that you join. `status` tells what is left.");
        messages.extend(in_parts(head, links, next));
    }
    messages
}

/// Splits what is too long for one message.
fn in_parts(head: Line, lines: Vec<Line>, next: Line) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut message = Message::new(head);
    let (mut part, mut size) = (Vec::new(), 0);
    for line in lines {
        size += line.size();
        if size > LARGEST {
            messages.push(std::mem::take(&mut message).lines(std::mem::take(&mut part)));
            size = line.size();
        }
        part.push(line);
    }
    messages.push(message.lines(part).and(next));
    messages
}
