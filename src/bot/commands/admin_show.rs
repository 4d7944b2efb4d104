//! `admin show`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::{Refusal, Which},
};

pub(super) const COMMAND: Command = Command {
    name: "admin show",
    from: From::Admin,
    help: help_texts::ADMIN_SHOW,
    run: Run::Migration(|context, which| Box::pin(run(context, which))),
    tell_again: None,
};

async fn run(context: Context<'_>, which: Which) -> Result<Answer, Refusal> {
    let migration = context.bot.migrations.named(&which)?;
    let progress = match migration.went {
        Some(_) => Some(context.bot.migrations.progress(migration.id)?),
        None => None,
    };
    let now = context.bot.clock.now();
    Ok(wording::admin_show(&migration, progress.as_ref(), now).into())
}
