//! `unblock`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "unblock",
    from: From::Anyone,
    help: help_texts::UNBLOCK,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: Some(|_| Box::pin(async { Ok(wording::unblocked().into()) })),
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    context.bot.migrations.unblock(context.said).await?;
    Ok(wording::unblocked().into())
}
