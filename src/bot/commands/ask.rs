//! `ask`

use super::{Command, Context, From, Run, choices};
use crate::{
    bot::{
        answer::Answer,
        grammar::Ask,
        records::Prompt,
        wording::{self, help_texts},
    },
    migration::Refusal,
};

pub(super) const COMMAND: Command = Command {
    name: "ask",
    from: From::Old,
    help: help_texts::ASK,
    run: Run::Ask(|context, ask| Box::pin(run(context, ask))),
    tell_again: Some(|context| Box::pin(tell_again(context))),
};

async fn run(context: Context<'_>, ask: Ask) -> Result<Answer, Refusal> {
    let moderation = &context.bot.moderation;
    match ask {
        Ask::Show => show(context, None).await,
        Ask::Rooms(rooms) => match choices::resolve(context, &rooms)? {
            Ok(rooms) => {
                let rooms: Vec<_> = rooms.into_iter().map(|room| room.id).collect();
                show(context, Some(&rooms)).await
            }
            Err(answer) => Ok(answer),
        },
        Ask::Text(words) => {
            let own = words.is_some();
            moderation.set_words(context.said, words).await?;
            Ok(wording::own_words(own).into())
        }
        // Nothing is sent that the person has not seen.
        Ask::Yes if !moderation.has_shown(context.said)? => show(context, None).await,
        Ask::Yes => send(context).await,
    }
}

async fn show(
    context: Context<'_>,
    only: Option<&[matrix_sdk::ruma::OwnedRoomOrAliasId]>,
) -> Result<Answer, Refusal> {
    let moderation = &context.bot.moderation;
    let proposal = moderation.propose(context.said, only).await?;
    let (migration, _) = context.bot.migrations.of(&context.said.by)?;
    let answer = Answer::from(wording::proposal(&proposal, moderation.words()));
    if proposal.askable().next().is_none() {
        return Ok(answer);
    }
    Ok(answer.with_prompt(Prompt::Ask { migration: migration.id }))
}

/// Sends what was shown last.
pub(in crate::bot) async fn send(context: Context<'_>) -> Result<Answer, Refusal> {
    let number = context.bot.moderation.send(context.said).await?;
    Ok(wording::requests_sent(number).into())
}

/// Only what was sent is marked as done before it is told.
async fn tell_again(context: Context<'_>) -> Result<Answer, Refusal> {
    let (migration, _) = context.bot.migrations.of(&context.said.by)?;
    Ok(wording::requests_sent(migration.awaited.len()).into())
}
