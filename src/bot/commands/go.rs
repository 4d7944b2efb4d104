//! `go`

use super::{Command, Context, From, Run};
use crate::{
    bot::{answer::Answer, wording::help_texts},
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "go",
    from: From::Old,
    help: help_texts::GO,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: None,
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    context.bot.migrations.go(context.said).await?;
    Ok(Answer::by_notice())
}
