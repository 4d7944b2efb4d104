//! `forget`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "forget",
    from: From::Either,
    help: help_texts::FORGET,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: Some(|_| Box::pin(async { Ok(wording::forgot().into()) })),
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    let (migration, _) = context.bot.migrations.of(&context.said.by)?;
    context.bot.migrations.forget(context.said).await?;
    context.bot.records.forget(&migration).await?;
    Ok(wording::forgot().into())
}
