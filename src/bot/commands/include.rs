//! `include`

use super::{Command, Context, From, Run, choices};
use crate::{
    bot::{answer::Answer, grammar::Choices, wording::help_texts},
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "include",
    from: From::Old,
    help: help_texts::INCLUDE,
    run: Run::Choices(|context, choices| Box::pin(run(context, choices))),
    tell_again: Some(|context| Box::pin(async move { choices::show_plan(context) })),
};

async fn run(context: Context<'_>, chosen: Choices) -> Result<Answer, Refusal> {
    let migrations = &context.bot.migrations;
    let rooms = match chosen {
        Choices::Holdings(kinds) => {
            migrations.include_holdings(context.said, &kinds).await?;
            return choices::show_holdings_change(context, false, &kinds);
        }
        Choices::Rooms(rooms) => rooms,
    };
    let rooms = match choices::resolve(context, &rooms)? {
        Ok(rooms) => rooms,
        Err(answer) => return Ok(answer),
    };
    migrations.include(context.said, &rooms).await?;
    choices::show_change(context, false, &rooms)
}
