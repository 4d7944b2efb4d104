//! `stop`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "stop",
    from: From::Moderator,
    help: help_texts::STOP,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: None,
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    let said = context.said;
    let stopped = context.bot.moderation.stop(said).await?;
    Ok(if stopped.is_empty() { wording::no_request_to_stop() } else { wording::stopped(&stopped) }
        .into())
}
