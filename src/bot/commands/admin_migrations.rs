//! `admin migrations`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "admin migrations",
    from: From::Admin,
    help: help_texts::ADMIN_MIGRATIONS,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: None,
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    let migrations = context.bot.migrations.all();
    Ok(wording::admin_migrations(&migrations, context.bot.clock.now()).into())
}
