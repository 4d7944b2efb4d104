//! `fast`: what it does, and what others see of it.

use super::{
    labels::room,
    message::{Line, Message, line},
    refusals::failure_words,
    report::listed_lines,
    value::{about, rooms},
};
use crate::migration::{FastOffer, Migration, OpenedRoom, OpeningState, Plan, Report};

/// What would be done, before it is agreed to.
pub(crate) fn fast_offer(offer: &FastOffer, migration: &Migration) -> Message {
    let message = Message::new(line!(
        "**With `fast` it takes {takes} instead of {instead_of}.** Homeservers let somebody be \
         invited only so often. So in {n} the new account would get in without an invitation:",
        takes = about(offer.takes),
        instead_of = about(offer.instead_of),
        n = rooms(offer.rooms.len())
    ))
    .list([
        line!(
            "I make a room that only {old} and {new} are in, called “Moving with Tern”. It stays, \
             and you can leave it afterwards.",
            old = &migration.old.user_id,
            new = &migration.new.user_id
        ),
        line!(
            "In each of those rooms the old account changes for some seconds who may join: who is \
             invited, and who is in that room of yours. Nobody else can get in by that."
        ),
        line!("The new account joins, and I put the rule back exactly as it was."),
    ])
    .and(
        "**What others see:** two entries in each of those rooms, most often: that the old account \
         changed who may join, and that it changed it back. If somebody else changes the rule in \
         between, theirs stays, and I tell you. If I am stopped in between, putting it back is the \
         first thing that I do.",
    );
    let names = offer.rooms.iter().map(|label| line!("{room}", room = room(label))).collect();
    listed_lines(message, "These are the rooms:", names).and(
        "To agree, tap ✅ or say `fast yes`. Otherwise the new account is invited there as well, \
         which changes no rule and takes longer.",
    )
}

/// There is nothing that `fast` would be worth.
pub(crate) fn fast_needless() -> Message {
    Message::new(
        "`fast` would save little here: as far as I know, there is no long wait for invitations, or \
         there are no rooms in which it is possible. So I leave it, and nothing was changed.",
    )
    .and("`help fast` tells what it is for.")
}

/// The person agreed, or took that back: before the plan.
pub(super) fn chosen(number: usize) -> Line {
    match number {
        0 => line!("I change **no join rules**, and invite."),
        _ => line!(
            "I open **{n}** to the new account for a moment. `fast no` takes that back.",
            n = rooms(number)
        ),
    }
}

/// That it could go faster.
pub(super) fn offered(plan: &Plan) -> Option<Line> {
    let takes = plan.takes_with_fast?;
    Some(line!(
        "If that is too long, say `fast`: it could take **{takes}**. Others would see something of \
         it, which I explain first.",
        takes = about(takes)
    ))
}

/// That rooms are opened.
pub(super) fn planned(plan: &Plan) -> Option<Line> {
    match plan.rooms.iter().filter(|room| room.opens).count() {
        0 => None,
        number => Some(line!(
            "In {n} the old account does not invite, but changes **who may join** for a moment and \
             puts it back (`fast`).",
            n = rooms(number)
        )),
    }
}

/// A ✅ on what is not the last that was shown.
pub(crate) fn outdated_fast() -> Message {
    Message::new("That is out of date, so I did nothing.").and("Say `fast` to see how it is now.")
}

/// What became of the rules.
pub(super) fn in_report(message: Message, report: &Report) -> Message {
    let put_back =
        report.opened.iter().filter(|opened| opened.state == OpeningState::PutBack).count();
    let done = (put_back > 0).then(|| {
        line!(
            "In {n} who may join was changed for a moment, and is again as it was.",
            n = rooms(put_back)
        )
    });
    let lines = report.opened.iter().filter_map(left).collect();
    listed_lines(message.and_maybe(done), "**Who may join is not as it was** here:", lines)
}

fn left(opened: &OpenedRoom) -> Option<Line> {
    let room = room(&opened.room);
    match &opened.state {
        OpeningState::PutBack => None,
        OpeningState::Open => Some(line!("{room}: I am about to put it back", room = room)),
        OpeningState::ChangedByOthers => Some(line!(
            "{room}: somebody changed it while it was open, and I left theirs",
            room = room
        )),
        OpeningState::Stuck(why) => Some(line!(
            "{room}: I could not put it back: {why}. Set who may join to `{rule}` there, by hand",
            room = room,
            why = failure_words(why),
            rule = opened.rule.clone()
        )),
    }
}
