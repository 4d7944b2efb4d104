//! What `skip`, `include` and `prefer` choose, and the plan that comes of it.

use matrix_sdk::ruma::OwnedRoomOrAliasId;

use super::Context;
use crate::{
    bot::{
        answer::Answer,
        grammar::RoomRef,
        records::Prompt,
        wording::{self, Message},
    },
    migration::{HoldingKind, Migration, Plan, Refusal, Side},
};

/// The rooms meant; or, when a number is in no list, the answer to that.
pub(super) fn resolve(
    context: Context<'_>,
    named: &[RoomRef],
) -> Result<Result<Vec<OwnedRoomOrAliasId>, Answer>, Refusal> {
    let listed = context.bot.records.person(&context.said.by)?.listed;
    let mut rooms = Vec::new();
    for room in named {
        match room {
            RoomRef::Id(id) => rooms.push(id.clone()),
            RoomRef::Numbers(first, last) => match range(&listed, *first, *last) {
                Some(meant) => rooms.extend_from_slice(meant),
                None => return Ok(Err(wording::no_such_number(listed.len()).into())),
            },
        }
    }
    Ok(Ok(rooms))
}

/// Numbers begin with 1.
fn range<T>(listed: &[T], first: u32, last: u32) -> Option<&[T]> {
    let first = usize::try_from(first).ok()?.checked_sub(1)?;
    listed.get(first..usize::try_from(last).ok()?)
}

/// The plan after a change, with what was changed.
pub(super) fn show_change(
    context: Context<'_>,
    taken_out: bool,
    changed: &[OwnedRoomOrAliasId],
) -> Result<Answer, Refusal> {
    show_with(context, |plan, migration, reader| {
        wording::plan_changed(taken_out, changed, plan, migration, reader)
    })
}

/// The plan after a change of what is copied besides rooms.
pub(super) fn show_holdings_change(
    context: Context<'_>,
    taken_out: bool,
    changed: &[HoldingKind],
) -> Result<Answer, Refusal> {
    show_with(context, |plan, migration, reader| {
        wording::plan_holdings_changed(taken_out, changed, plan, migration, reader)
    })
}

/// The plan as it is.
pub(super) fn show_plan(context: Context<'_>) -> Result<Answer, Refusal> {
    show_with(context, wording::plan)
}

/// The plan in these words, which can be answered with a ✅.
pub(super) fn show_with(
    context: Context<'_>,
    words: impl Fn(&Plan, &Migration, Side) -> Message,
) -> Result<Answer, Refusal> {
    let (migration, reader) = context.bot.migrations.of(&context.said.by)?;
    let plan = context.bot.migrations.current_plan(migration.id)?;
    let prompt = Prompt::Plan { migration: migration.id };
    Ok(Answer::from(words(&plan, &migration, reader)).with_prompt(prompt))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn numbers_begin_with_one_and_end_with_the_list() {
        let listed = ["a", "b", "c"];
        assert_eq!(range(&listed, 1, 1), Some(&["a"][..]));
        assert_eq!(range(&listed, 2, 3), Some(&["b", "c"][..]));
        assert_eq!(range(&listed, 0, 1), None);
        assert_eq!(range(&listed, 3, 4), None);
        assert_eq!(range(&listed, u32::MAX, u32::MAX), None);
        assert_eq!(range::<()>(&[], 1, 1), None);
    }
}
