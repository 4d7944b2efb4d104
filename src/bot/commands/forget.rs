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
    tell_again: Some(|_| Box::pin(async { Ok(wording::forgot(&[]).into()) })),
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    let (migrations, records) = (&context.bot.migrations, &context.bot.records);
    let not_logged_out = migrations.forget(context.said).await?;
    records.forget_person(&context.said.by).await?;
    records.drop_prompts_of_forgotten(|id| migrations.get(id).is_ok()).await?;
    Ok(wording::forgot(&not_logged_out).into())
}
