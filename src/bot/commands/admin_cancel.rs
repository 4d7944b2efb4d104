//! `admin cancel`

use super::{Command, Context, From, Run, to_migration};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::{Refusal, Which},
};

pub(super) const COMMAND: Command = Command {
    name: "admin cancel",
    from: From::Admin,
    help: help_texts::ADMIN_CANCEL,
    run: Run::Migration(|context, which| Box::pin(run(context, which))),
    tell_again: Some(|_| Box::pin(async { Ok(wording::admin_done_before().into()) })),
};

async fn run(context: Context<'_>, which: Which) -> Result<Answer, Refusal> {
    let migrations = &context.bot.migrations;
    to_migration(context, &which, async |migration| {
        migrations.cancel_as_admin(context.said, migration.id).await
    })
    .await
}
