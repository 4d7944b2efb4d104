//! `accept`

use super::{Command, Context, From, Run};
use crate::{
    bot::{answer::Answer, wording::help_texts},
    migration::Refusal,
};
use matrix_sdk::ruma::OwnedUserId;

pub(super) const COMMAND: Command = Command {
    name: "accept",
    from: From::New,
    help: help_texts::ACCEPT,
    run: Run::User(|context, old| Box::pin(run(context, old))),
    tell_again: None,
};

async fn run(context: Context<'_>, old: OwnedUserId) -> Result<Answer, Refusal> {
    context.bot.migrations.accept(context.said, &old).await?;
    Ok(Answer::by_notice())
}
