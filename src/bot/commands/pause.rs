//! `pause`

use super::{Command, Context, From, Run};
use crate::{
    bot::{answer::Answer, wording::help_texts},
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "pause",
    from: From::Either,
    help: help_texts::PAUSE,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: None,
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    context.bot.migrations.pause(context.said).await?;
    Ok(Answer::by_notice())
}
