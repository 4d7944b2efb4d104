//! Rooms as `skip` and `include` take them, and the plan that comes of it.

use matrix_sdk::ruma::OwnedRoomOrAliasId;

use super::Context;
use crate::{
    bot::{
        answer::Answer,
        grammar::RoomRef,
        wording::{self, Message},
    },
    migration::Refusal,
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
    let (migration, side) = context.bot.migrations.of(&context.said.by)?;
    let plan = context.bot.migrations.current_plan(migration.id)?;
    let shown = wording::plan_changed(taken_out, changed, &plan, &migration, side);
    Ok(as_prompt(shown, migration.id))
}

/// The plan as it is.
pub(super) fn show_plan(context: Context<'_>) -> Result<Answer, Refusal> {
    let (migration, side) = context.bot.migrations.of(&context.said.by)?;
    let plan = context.bot.migrations.current_plan(migration.id)?;
    Ok(as_prompt(wording::plan(&plan, &migration, side), migration.id))
}

fn as_prompt(message: Message, migration: crate::migration::MigrationId) -> Answer {
    Answer::from(message).with_prompt(crate::bot::records::Prompt::Plan { migration })
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
