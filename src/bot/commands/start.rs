//! `start`

use matrix_sdk::ruma::OwnedUserId;

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "start",
    from: From::Old,
    help: help_texts::START,
    run: Run::User(|context, new| Box::pin(run(context, new))),
    tell_again: None,
};

async fn run(context: Context<'_>, new: OwnedUserId) -> Result<Answer, Refusal> {
    if !context.bot.config.access.allows(&context.said.by) {
        return Ok(wording::not_allowed(&context.said.by).into());
    }
    context.bot.migrations.start(context.said, &new).await?;
    Ok(Answer::by_notice())
}
