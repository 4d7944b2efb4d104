//! `prefer`

use super::{Command, Context, From, Run, choices};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::{Refusal, Side},
};

pub(super) const COMMAND: Command = Command {
    name: "prefer",
    from: From::Old,
    help: help_texts::PREFER,
    run: Run::Side(|context, side| Box::pin(run(context, side))),
    tell_again: Some(|context| Box::pin(async move { choices::show_plan(context) })),
};

async fn run(context: Context<'_>, side: Side) -> Result<Answer, Refusal> {
    context.bot.migrations.prefer(context.said, side).await?;
    choices::show_with(context, |plan, migration, reader| {
        wording::plan_preferring(side, plan, migration, reader)
    })
}
