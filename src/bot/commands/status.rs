//! `status`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "status",
    from: From::Either,
    help: help_texts::STATUS,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: None,
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    let bot = context.bot;
    let requests = bot.migrations.requests_to(&context.said.by);
    let (migration, side) = match bot.migrations.of(&context.said.by) {
        Err(Refusal::NoMigration) if !requests.is_empty() => {
            return Ok(wording::asked(&requests, bot.clock.now()).into());
        }
        found => found?,
    };
    let progress = match migration.went {
        Some(_) => Some(bot.migrations.progress(migration.id)?),
        None => None,
    };
    let time = (bot.clock.now(), bot.migrations.lapses_in(&migration));
    Ok(wording::status(&migration, progress.as_ref(), side, time).into())
}
