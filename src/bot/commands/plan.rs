//! `plan`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "plan",
    from: From::Either,
    help: help_texts::PLAN,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: None,
};

/// The plan itself comes as a notice, once both accounts were read.
async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    context.bot.migrations.plan(context.said).await?;
    Ok(wording::looking().into())
}
