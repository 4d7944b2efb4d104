//! The plan, in short.

use std::{collections::HashSet, time::Duration};

use super::{
    fast,
    files::{reason_advice, reason_words},
    holdings,
    labels::server,
    message::{Line, Message, line},
    notes::{is_chat_with_bot, named, note_lines, omissions, pending_line, which},
    value::{about, count, rooms},
};
use crate::migration::{
    Access, HoldingKind, Migration, Phase, Plan, PlannedRoom, Reason, RoomAddress, Route,
    RouteKind, Side, Treatment,
};

/// Shorter times are not worth telling beforehand.
const WORTH_TELLING: Duration = Duration::from_secs(90);

/// The plan shown, with what to say to run it.
pub(crate) fn plan(plan: &Plan, migration: &Migration, reader: Side) -> Message {
    let message = Message::new(line!(
        "**The plan: {rooms} of {old}, to {new}.** I have changed nothing yet.",
        rooms = rooms(plan.rooms.iter().filter(|room| !is_chat_with_bot(room)).count()),
        old = &migration.old.user_id,
        new = &migration.new.user_id
    ));
    let holdings = holdings::in_plan(plan, migration, reader);
    let message = match (plan.rooms.iter().all(is_chat_with_bot), holdings.is_empty()) {
        (true, true) => message.and("The old account is in no room, so there is nothing to move."),
        (true, false) => message.and("The old account is in no room."),
        (false, _) => message.list(routes(plan, migration)),
    };
    message
        .list(extras(plan).into_iter().chain(holdings))
        .and_maybe(pending_line(&plan.pending))
        .and_maybe(takes_line(plan, migration))
        .and_maybe(fast::offered(plan))
        .and(next(plan, migration, reader))
}

/// The rooms of a plan for whom none is named yet: how many there are, by route.
pub(crate) fn rooms_counted(plan: &Plan, migration: &Migration) -> Message {
    Message::new(line!(
        "**The plan has {n}.**",
        n = rooms(plan.rooms.iter().filter(|room| !is_chat_with_bot(room)).count())
    ))
    .list(routes(plan, migration))
    .and(line!(
        "Which they are I tell you here once {old} has said `go`.",
        old = &migration.old.user_id
    ))
}

/// How long it takes, where that is long enough to be told.
fn takes_line(plan: &Plan, migration: &Migration) -> Option<Line> {
    let takes = plan.takes.filter(|takes| *takes >= WORTH_TELLING)?;
    Some(line!(
        "Moving can take **{takes}**: {old} and {new} may limit how fast it goes. It goes on by \
         itself: you need not wait for it.",
        takes = about(takes),
        old = server(migration, Side::Old),
        new = server(migration, Side::New)
    ))
}

/// After `skip` or `include` of what is no room: what they did, and the plan.
pub(crate) fn plan_holdings_changed(
    taken_out: bool,
    changed: &[HoldingKind],
    new_plan: &Plan,
    migration: &Migration,
    reader: Side,
) -> Message {
    Message::new(holdings::changed(taken_out, changed)).then(plan(new_plan, migration, reader))
}

/// After `prefer`: what it did, and the plan.
pub(crate) fn plan_preferring(
    side: Side,
    new_plan: &Plan,
    migration: &Migration,
    reader: Side,
) -> Message {
    Message::new(holdings::preferred(side)).then(plan(new_plan, migration, reader))
}

/// After `fast yes` or `fast no`: what was chosen, and the plan.
pub(crate) fn plan_with_fast(new_plan: &Plan, migration: &Migration, reader: Side) -> Message {
    Message::new(fast::chosen(new_plan.rooms.iter().filter(|room| room.opens).count()))
        .then(plan(new_plan, migration, reader))
}

/// After `skip` or `include`: what they did, and the plan.
pub(crate) fn plan_changed(
    taken_out: bool,
    changed: &[RoomAddress],
    new_plan: &Plan,
    migration: &Migration,
    reader: Side,
) -> Message {
    let meant: HashSet<&str> = changed.iter().map(|it| it.id.as_str()).collect();
    let is_changed = |planned: &&PlannedRoom| {
        let alias = planned.room.alias.as_ref().map(|alias| alias.as_str());
        meant.contains(planned.room.id.as_str()) || alias.is_some_and(|it| meant.contains(it))
    };
    let changed: Vec<_> = new_plan
        .rooms
        .iter()
        .filter(is_changed)
        .filter(|planned| matches!(planned.route, Route::Skipped(_)) == taken_out)
        .collect();
    let what = if changed.is_empty() {
        line!("The plan is as before: nothing had to be done in those rooms anyway.")
    } else if taken_out {
        line!("Now **taken out of the plan**: {rooms}.", rooms = named(&changed))
    } else {
        line!("Now **put into the plan**: {rooms}.", rooms = named(&changed))
    };
    let told = plan(new_plan, migration, reader);
    Message::new(what).then(told)
}

/// For a `go` or a ✅ that meant another plan than the last one.
pub(crate) fn plan_instead(new_plan: &Plan, migration: &Migration, reader: Side) -> Message {
    Message::new("**The plan has changed**, so I ran nothing. Here it is:")
        .then(plan(new_plan, migration, reader))
}

/// What happens by itself in a phase, or what to say.
pub(super) fn going_on_by_itself(phase: &Phase, reader: Side) -> Line {
    match (phase, reader) {
        (Phase::Surveying, _) => line!(
            "I am looking at both accounts, and show you the plan here in a moment. Nothing is \
             changed before that."
        ),
        (Phase::AwaitingGo, Side::Old) => line!("Say `plan` to see the plan, and `go` to run it."),
        (Phase::AwaitingGo, Side::New) => {
            line!("Say `plan` to see the plan. The old account says `go` to run it.")
        }
        (Phase::Running, _) => {
            line!("The migration goes on by itself. `status` tells how it stands.")
        }
        (Phase::WaitingForModerators, _) => {
            line!("Moderators were asked and have not all answered: `status` tells how it stands.")
        }
        (Phase::Paused(_), _) => line!("The migration is paused: say `resume` to go on."),
        _ => line!("`status` tells how it stands."),
    }
}

fn next(plan: &Plan, migration: &Migration, reader: Side) -> Line {
    let can_do_something = plan
        .rooms
        .iter()
        .any(|room| matches!(room.route.kind(), RouteKind::Join | RouteKind::InviteAndJoin));
    let copies_something =
        [Treatment::Add, Treatment::Replace].iter().any(|t| plan.with_treatment(*t).count() > 0);
    match (reader, &migration.phase) {
        (_, phase) if *phase != Phase::AwaitingGo => going_on_by_itself(phase, reader),
        (Side::Old, _) if plan.rooms.iter().all(is_chat_with_bot) && copies_something => {
            line!("To **run the plan**, tap ✅ or say `go`.")
        }
        (Side::Old, _) if plan.rooms.iter().all(is_chat_with_bot) => {
            line!("Say `go` to end the migration with a report, or `cancel` to end it without.")
        }
        (Side::Old, _) if !can_do_something => line!(
            "As it stands there is little that I can do: `rooms` tells why, room by room. To go on \
             all the same, tap ✅ or say `go`."
        ),
        (Side::Old, _) => line!(
            "Say `rooms` to see every room, and `skip` with a room's number to leave it out. To \
             **run the plan**, tap ✅ or say `go`."
        ),
        (Side::New, _) => line!(
            "To **run the plan**, say `go` from {old}, which sees every room by its name. Here the \
             names come once it has.",
            old = &migration.old.user_id
        ),
    }
}

fn routes(plan: &Plan, migration: &Migration) -> Vec<Line> {
    let by_hand = migration.new.access == Access::None;
    let mut counts = plan.counts();
    if let Some(skipped) = counts.get_mut(&RouteKind::Skipped) {
        *skipped -= plan.rooms.iter().filter(|room| is_chat_with_bot(room)).count();
    }
    counts.retain(|_, number| *number > 0);
    let lines = counts
        .iter()
        .filter_map(|(kind, number)| route_line(*kind, *number, plan, by_hand))
        .collect::<Vec<_>>();
    lines.into_iter().chain(unreachable_lines(plan, migration)).collect()
}

fn route_line(kind: RouteKind, number: usize, plan: &Plan, by_hand: bool) -> Option<Line> {
    let n = rooms(number);
    Some(match kind {
        RouteKind::AlreadyThere => line!("{n}: the new account is **already there**.", n = n),
        RouteKind::Join if by_hand => {
            line!("{n}: the new account can **join** by itself; you follow a link by hand.", n = n)
        }
        RouteKind::Join => line!("{n}: the new account **joins** by itself.", n = n),
        RouteKind::InviteAndJoin if by_hand => line!(
            "{n}: the old account **invites** the new one; you accept the invitations by hand.",
            n = n
        ),
        RouteKind::InviteAndJoin => {
            line!("{n}: the old account **invites** the new one, which joins.", n = n)
        }
        RouteKind::NeedsModerator => line!(
            "{n}: only a **moderator** can let the new account in. Afterwards, `ask` shows you how I \
             would ask them{named}.",
            n = n,
            named = which(&plan.with_route(kind).collect::<Vec<_>>())
        ),
        // A line for each reason, after these.
        RouteKind::Unreachable => return None,
        RouteKind::Skipped => omissions(plan, number),
    })
}

/// The rooms that the new account cannot get into, by reason, with what the person can do.
fn unreachable_lines(plan: &Plan, migration: &Migration) -> Vec<Line> {
    let mut by_reason: Vec<(&Reason, Vec<&PlannedRoom>)> = Vec::new();
    for planned in &plan.rooms {
        let Route::Unreachable(reason) = &planned.route else { continue };
        match by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, rooms)) => rooms.push(planned),
            None => by_reason.push((reason, vec![planned])),
        }
    }
    let line = |(reason, unreachable): (&Reason, Vec<&PlannedRoom>)| {
        line!(
            "{n}: the new account **cannot get in**, since {why}{named}. {advice}.",
            n = rooms(unreachable.len()),
            why = reason_words(reason),
            named = which(&unreachable),
            advice = reason_advice(reason, migration)
        )
    };
    by_reason.into_iter().map(line).collect()
}

/// What comes along with the rooms.
fn extras(plan: &Plan) -> Vec<Line> {
    let taken_along = || plan.rooms.iter().filter(|room| !matches!(room.route, Route::Skipped(_)));
    let after = |test: fn(&PlannedRoom) -> bool| taken_along().filter(|room| test(room)).count();
    let power = after(|room| room.after.power_level.is_some());
    let tags = after(|room| !room.after.tags.is_empty() && !room.after.prefers_old_tags);
    let creators: Vec<_> = taken_along().filter(|room| room.after.creator_stays).collect();
    let direct: usize = plan.direct.values().map(Vec::len).sum();
    let mut lines = Vec::new();
    if power > 0 {
        lines.push(line!(
            "In {n} the new account gets the old one's **power level**.",
            n = rooms(power)
        ));
    }
    if direct > 0 {
        lines.push(line!(
            "{n} will be shown as such in the new account.",
            n = count(direct, "direct chat", "direct chats")
        ));
    }
    if tags > 0 {
        let keep = if tags == 1 { "keeps its tags" } else { "keep their tags" };
        lines.push(line!("{n} {keep}, such as favorites.", n = rooms(tags), keep = keep));
    }
    if !creators.is_empty() {
        lines.push(line!(
            "{n} **created** by the old account{named}. The new account gets the highest power \
             level there is to give. Only the old one can take power from people who have as much, \
             so keep it if you may need that.",
            n = rooms(creators.len()),
            named = which(&creators)
        ));
    }
    lines.extend(fast::planned(plan));
    lines.extend(note_lines(plan));
    lines
}
