//! `block`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "block",
    from: From::Anyone,
    help: help_texts::BLOCK,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: Some(|_| Box::pin(async { Ok(wording::blocked().into()) })),
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    context.bot.migrations.block(context.said).await?;
    Ok(wording::blocked().into())
}
