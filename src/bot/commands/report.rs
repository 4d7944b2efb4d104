//! `report`

use super::{Command, Context, From, Run};
use crate::{
    bot::{
        answer::Answer,
        report_files,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "report",
    from: From::Either,
    help: help_texts::REPORT,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: None,
};

async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    let (migration, side) = context.bot.migrations.of(&context.said.by)?;
    let report = context.bot.migrations.current_report(migration.id)?;
    let requests = context.bot.moderation.requests(migration.id)?;
    let to = (side, context.bot.migrations.lapses_in(&migration));
    let answer = Answer::from(wording::report(&report, &requests, &migration, to));
    Ok(answer.with_files(report_files::all(&report, &requests)))
}
