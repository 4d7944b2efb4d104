//! `rooms`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::{Refusal, RouteKind},
};

pub(super) const COMMAND: Command = Command {
    name: "rooms",
    from: From::Either,
    help: help_texts::ROOMS,
    run: Run::Route(|context, route| Box::pin(run(context, route))),
    tell_again: None,
};

async fn run(context: Context<'_>, route: Option<RouteKind>) -> Result<Answer, Refusal> {
    let (migration, side) = context.bot.migrations.of(&context.said.by)?;
    let plan = context.bot.migrations.plan_for(migration.id, side)?;
    if !migration.may_name(side) {
        return Ok(wording::rooms_counted(&plan, &migration).into());
    }
    // A room keeps its number in every list of one plan, whichever route is asked for.
    let numbered = plan.rooms.iter().map(|planned| planned.room.id.clone()).collect();
    context.bot.records.change_person(&context.said.by, |person| person.listed = numbered).await?;
    Ok(wording::rooms_list(&plan, route, side).into())
}
