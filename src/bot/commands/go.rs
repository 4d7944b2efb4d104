//! `go`

use super::{Command, Context, From, Run, choices};
use crate::{
    bot::{
        answer::Answer,
        wording::{self, help_texts},
    },
    migration::{Phase, PlanId, Refusal},
};

pub(super) const COMMAND: Command = Command {
    name: "go",
    from: From::Old,
    help: help_texts::GO,
    run: Run::Nothing(|context| Box::pin(run(context))),
    tell_again: Some(|context| Box::pin(async move { tell_again(context) })),
};

/// Said, it means the plan that was delivered to this person last.
async fn run(context: Context<'_>) -> Result<Answer, Refusal> {
    let shown = context.bot.records.person(&context.said.by)?.plan;
    run_shown(context, shown).await
}

/// Runs the plan that was shown; shows the one that took its place, if there is one.
pub(in crate::bot) async fn run_shown(
    context: Context<'_>,
    shown: Option<PlanId>,
) -> Result<Answer, Refusal> {
    let (migrations, said) = (&context.bot.migrations, context.said);
    match migrations.go(said, shown).await {
        Err(Refusal::PlanChanged) => {
            // Before the other plan is shown: repeated after a crash, this `go` would mean that one.
            migrations.handled(said).await?;
            choices::show_with(context, wording::plan_instead)
        }
        done => done.map(|()| Answer::by_notice()),
    }
}

/// That it runs is told by a notice.
fn tell_again(context: Context<'_>) -> Result<Answer, Refusal> {
    match context.bot.migrations.of(&context.said.by)?.0.phase {
        Phase::AwaitingGo => choices::show_with(context, wording::plan_instead),
        _ => Ok(Answer::default()),
    }
}
