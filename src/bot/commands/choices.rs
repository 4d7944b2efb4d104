//! What `skip`, `include` and `prefer` choose, and the plan that comes of it.

use super::Context;
use crate::{
    bot::{
        answer::Answer,
        grammar::{Choices, RoomRef},
        records::Prompt,
        wording::{self, Message},
    },
    migration::{Migration, Plan, PlanId, Refusal, RoomAddress, Side},
};

/// What is to become of parts of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// They are taken out.
    Skip,
    /// They are put back in.
    Include,
}

/// Takes parts of the plan out or puts them back in, and shows the plan as it then is.
pub(super) async fn choose(
    context: Context<'_>,
    choice: Choice,
    chosen: Choices,
) -> Result<Answer, Refusal> {
    let (migrations, said) = (&context.bot.migrations, context.said);
    let taken_out = choice == Choice::Skip;
    match chosen {
        Choices::Holdings(kinds) => {
            match choice {
                Choice::Skip => migrations.skip_holdings(said, &kinds).await?,
                Choice::Include => migrations.include_holdings(said, &kinds).await?,
            };
            show_with(context, |plan, migration, reader| {
                wording::plan_holdings_changed(taken_out, &kinds, plan, migration, reader)
            })
        }
        Choices::Rooms(rooms) => {
            let rooms = match resolve(context, &rooms)? {
                Ok(rooms) => rooms,
                Err(answer) => return Ok(answer),
            };
            match choice {
                Choice::Skip => migrations.skip(said, &rooms).await?,
                Choice::Include => migrations.include(said, &rooms).await?,
            };
            show_with(context, |plan, migration, reader| {
                wording::plan_changed(taken_out, &rooms, plan, migration, reader)
            })
        }
    }
}

/// The rooms meant; or, when a number is in no list, the answer to that.
pub(super) fn resolve(
    context: Context<'_>,
    named: &[RoomRef],
) -> Result<Result<Vec<RoomAddress>, Answer>, Refusal> {
    let listed = context.bot.records.person(&context.said.by)?.listed;
    let mut rooms = Vec::new();
    for room in named {
        match room {
            RoomRef::Address(address) => rooms.push(address.clone()),
            RoomRef::Numbers(first, last) => match range(&listed, *first, *last) {
                Some(meant) => rooms.extend(meant.iter().cloned().map(RoomAddress::from)),
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
    let plan = context.bot.migrations.plan_for(migration.id, reader)?;
    // The number that is in the plan, and not that of a newer one that nobody was shown.
    let prompt = Prompt::Plan(PlanId { migration: migration.id, number: plan.number });
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
