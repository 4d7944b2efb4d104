//! `fast`

use super::{Command, Context, From, Run, choices};
use crate::{
    bot::{
        answer::Answer,
        records::Prompt,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "fast",
    from: From::Old,
    help: help_texts::FAST,
    run: Run::YesOrNo(|context, word| Box::pin(run(context, word))),
    tell_again: Some(|context| Box::pin(async move { choices::show_plan(context) })),
};

async fn run(context: Context<'_>, word: Option<bool>) -> Result<Answer, Refusal> {
    match word {
        None => show(context).await,
        Some(agrees) => choose(context, agrees).await,
    }
}

async fn show(context: Context<'_>) -> Result<Answer, Refusal> {
    let offer = context.bot.migrations.offer_fast(context.said).await?;
    let (migration, _) = context.bot.migrations.of(&context.said.by)?;
    Ok(match offer {
        Some(offer) => Answer::from(wording::fast_offer(&offer, &migration))
            .with_prompt(Prompt::Fast { migration: migration.id }),
        None => wording::fast_needless().into(),
    })
}

/// Agrees to what was shown last, or to nothing.
pub(in crate::bot) async fn choose(context: Context<'_>, agrees: bool) -> Result<Answer, Refusal> {
    if !context.bot.migrations.choose_fast(context.said, agrees).await? {
        // Nothing is agreed to that the person has not seen.
        return show(context).await;
    }
    choices::show_with(context, wording::plan_with_fast)
}
