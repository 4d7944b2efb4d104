//! ✅ and ❌ in place of words.
//!
//! Reactions are never encrypted in Matrix, so one is the word of the servers that carry it: of the
//! person's own, whose word counts for its accounts, and of the bot's, which its admin has to trust
//! (`docs/admin.md`). It answers nothing but a question that the bot put in a direct message.

use matrix_sdk::ruma::{EventId, OwnedEventId, RoomId, UserId};

use super::{
    answer::Answer,
    commands::{Context, ask, fast, go},
    inbox::Undone,
    records::{Person, Prompt},
    shared::Bot,
    talk::Cause,
    wording,
};
use crate::{
    migration::{MigrationId, PlanId, Refusal, Said, Side},
    moderation::{self, Heard},
};

const YES: &str = "✅";
const NO: &str = "❌";

/// Remembers what reactions to a message mean, and reacts itself, so that a person on a phone only
/// has to tap.
pub(super) async fn offer(
    bot: &Bot,
    room: &RoomId,
    event: &EventId,
    to: &UserId,
    prompt: &Prompt,
) -> Result<(), Undone> {
    bot.shared.records.put_prompt(event, to, prompt).await?;
    let keys: &[&str] = match prompt {
        Prompt::Consent { .. } | Prompt::InviteRequest { .. } => &[YES, NO],
        Prompt::Plan(_) | Prompt::Ask { .. } | Prompt::Fast { .. } => &[YES],
    };
    let cause = Cause::command(event);
    for (part, key) in keys.iter().enumerate() {
        // The message says what to type, so that nothing is lost without it.
        if let Err(error) = bot.talk.react(room, event, key, cause.transaction(part)).await {
            tracing::warn!(%error, "no reaction to tap");
        }
    }
    Ok(())
}

/// Does what a reaction means, if it means anything.
pub(super) async fn obey(
    bot: &Bot,
    said: &Said,
    to: &EventId,
    key: &str,
) -> Result<Answer, Undone> {
    let Some(prompt) = bot.shared.records.prompt(to)? else { return Ok(Answer::default()) };
    let answer = match (prompt, is(key, YES), is(key, NO)) {
        (Prompt::Consent { migration }, true, _) => {
            answer_request(bot, said, migration, true).await
        }
        (Prompt::Consent { migration }, _, true) => {
            answer_request(bot, said, migration, false).await
        }
        (Prompt::Ask { migration }, true, _) => send_requests(bot, said, to, migration).await,
        (Prompt::Fast { migration }, true, _) => agree_to_fast(bot, said, to, migration).await,
        (Prompt::InviteRequest { migration, room }, ..) => {
            moderators_word(bot, said, key, migration, &room).await
        }
        (Prompt::Plan(plan), true, _) => run_plan(bot, said, plan).await,
        _ => Ok(Answer::default()),
    };
    Ok(answer.unwrap_or_else(|refusal| wording::refusal(&refusal, &said.by).into()))
}

/// The same emoji with and without variation selectors.
fn is(key: &str, emoji: &str) -> bool {
    key.trim_end_matches(['\u{fe0e}', '\u{fe0f}']) == emoji
}

async fn answer_request(
    bot: &Bot,
    said: &Said,
    migration: MigrationId,
    agrees: bool,
) -> Result<Answer, Refusal> {
    let migrations = &bot.shared.migrations;
    let migration = migrations.get(migration)?;
    if migration.new.user_id != said.by {
        return Ok(Answer::default());
    }
    let old = &migration.old.user_id;
    if agrees {
        migrations.accept(said, old).await?;
    } else {
        migrations.decline(said, old).await?;
    }
    Ok(Answer::by_notice())
}

/// What a message that asks for a ✅ is to somebody who taps it.
enum Shown {
    /// The last of its kind that they were shown.
    Last,
    /// One that they were shown before another.
    Before,
    /// Nothing: it is for the old account to decide.
    ToAnother,
}

fn standing_of(
    bot: &Bot,
    said: &Said,
    shown: &EventId,
    migration: MigrationId,
    last: impl Fn(Person) -> Option<OwnedEventId>,
) -> Result<Shown, Refusal> {
    if bot.shared.migrations.get(migration)?.side_of(&said.by) != Some(Side::Old) {
        return Ok(Shown::ToAnother);
    }
    let last = last(bot.shared.records.person(&said.by)?);
    Ok(if last.as_deref() == Some(shown) { Shown::Last } else { Shown::Before })
}

/// The ✅ names the plan that is in the very message.
async fn run_plan(bot: &Bot, said: &Said, plan: PlanId) -> Result<Answer, Refusal> {
    if bot.shared.migrations.get(plan.migration)?.side_of(&said.by) != Some(Side::Old) {
        return Ok(Answer::default());
    }
    go::run_shown(Context { bot: &bot.shared, said }, Some(plan)).await
}

async fn send_requests(
    bot: &Bot,
    said: &Said,
    shown: &EventId,
    migration: MigrationId,
) -> Result<Answer, Refusal> {
    match standing_of(bot, said, shown, migration, |person| person.ask)? {
        Shown::ToAnother => return Ok(Answer::default()),
        Shown::Before => return Ok(wording::outdated_requests().into()),
        Shown::Last => {}
    }
    ask::send(Context { bot: &bot.shared, said }).await
}

async fn agree_to_fast(
    bot: &Bot,
    said: &Said,
    shown: &EventId,
    migration: MigrationId,
) -> Result<Answer, Refusal> {
    match standing_of(bot, said, shown, migration, |person| person.fast)? {
        Shown::ToAnother => return Ok(Answer::default()),
        Shown::Before => return Ok(wording::outdated_fast().into()),
        Shown::Last => {}
    }
    fast::choose(Context { bot: &bot.shared, said }, true).await
}

/// What a moderator answers to an invite request in a direct message.
async fn moderators_word(
    bot: &Bot,
    said: &Said,
    key: &str,
    id: MigrationId,
    room: &RoomId,
) -> Result<Answer, Refusal> {
    let Some(answer) = moderation::Answer::of_reaction(key) else { return Ok(Answer::default()) };
    let moderation = &bot.shared.moderation;
    let Some(request) = moderation.request(id, room)? else { return Ok(Answer::default()) };
    let heard = Heard { by: said.by.clone(), event_id: said.event_id.clone(), answer };
    let reply = moderation.hear(id, room, &heard).await?;
    Ok(wording::chat_reply(reply, &request).map(Answer::from).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variation_selectors_make_no_difference() {
        assert!(is("✅", YES));
        assert!(is("✅\u{fe0f}", YES));
        assert!(is("❌\u{fe0e}", NO));
        assert!(!is("❎", YES));
        assert!(!is("", YES));
    }
}
