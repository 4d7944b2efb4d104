//! What Mara does and says.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Chat, Message};
use ruma::{OwnedEventId, OwnedRoomId};

use crate::{
    screen::{Lane, Screen},
    set::Set,
    stage::Stage,
};

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What there is to be checked afterwards, besides the rooms.
pub(crate) struct Moved {
    /// The report, as the old account was told it.
    pub(crate) report: String,
    /// Messages that had a secret in them, in Mara's two chats.
    pub(crate) secrets: [(Lane, OwnedRoomId, OwnedEventId); 2],
}

/// Moves Mara, and shows it.
pub(crate) async fn play(set: &Set, screen: Screen) -> (Screen, Result<Moved>) {
    let stage = Stage::new(screen);
    let moved = tokio::select! {
        moved = migrate(set, &stage) => moved,
        Err(error) = stage.watch(&set.town.people.old, &set.town.people.new) => Err(error),
    };
    let (screen, shown) = stage.end();
    (screen, moved.and_then(|moved| shown.map(|()| moved)))
}

async fn migrate(set: &Set, stage: &Stage) -> Result<Moved> {
    let (old, new) = agree(set, stage).await?;
    let secrets = give_access(&old, &new, stage).await?;
    look_at_plan(&old, &new, stage).await?;
    let report = go(&old, &new, stage).await?;
    Ok(Moved { report: report.body, secrets })
}

/// Both accounts agree to the move. Returns their chats with the bot.
async fn agree(set: &Set, stage: &Stage) -> Result<(Chat, Chat)> {
    let (old, new, bot) = (&set.town.people.old, &set.town.people.new, set.bot.user_id());
    stage.heading("Mara writes to Tern, from the account that she wants to leave")?;
    let old = old.chat_with(bot, true).await?.with_patience(PATIENCE);
    stage.follow(Lane::Old, &old);
    old.hear_about("Hello").await?;
    stage.say(Lane::Old, &old, "help").await?;
    old.hear_about("`start").await?;
    stage.say(Lane::Old, &old, &format!("start {}", new.user_id())).await?;
    old.hear_about("I am asking").await?;

    stage.heading("Her new account has to agree, before anything else")?;
    stage.act(Lane::New, "Mara opens her new account, and accepts the chat from Tern.").await?;
    let new = new.chat_from(bot).await?.with_patience(PATIENCE);
    stage.follow(Lane::New, &new);
    let question = new.hear_about("wants to move to this account").await?;
    new.hear_edit(&question.event_id, |question| question.reactions.len() == 2).await?;
    stage.act(Lane::New, "Mara taps ✅.").await?;
    new.react(&question.event_id, "✅").await?;
    hear_both(&old, &new, "agreed").await?;
    Ok((old, new))
}

async fn give_access(
    old: &Chat,
    new: &Chat,
    stage: &Stage,
) -> Result<[(Lane, OwnedRoomId, OwnedEventId); 2]> {
    stage.heading("Each account lets Tern in, for itself")?;
    let secret = log_in(Lane::Old, old, stage).await?;
    hear_both(old, new, "can act as").await?;
    let other = log_in(Lane::New, new, stage).await?;
    hear_both(old, new, "can act as").await?;
    Ok([secret, other])
}

async fn log_in(
    lane: Lane,
    chat: &Chat,
    stage: &Stage,
) -> Result<(Lane, OwnedRoomId, OwnedEventId)> {
    let password = chat.person().password();
    let said = stage.say_secret(lane, chat, "login password ", password).await?;
    chat.redacted(&said).await?;
    Ok((lane, chat.room_id().to_owned(), said))
}

async fn look_at_plan(old: &Chat, new: &Chat, stage: &Stage) -> Result<()> {
    let (plan, _same) = hear_both(old, new, "The plan:").await?;
    old.hear_edit(&plan.event_id, |plan| !plan.reactions.is_empty()).await?;
    stage.say(Lane::Old, old, "rooms").await?;
    old.hear_about("The plan has").await?;
    Ok(())
}

/// Runs the plan. Returns the report.
async fn go(old: &Chat, new: &Chat, stage: &Stage) -> Result<Message> {
    stage.heading("Nothing was changed so far. Mara has seen the plan, and says go")?;
    stage.say(Lane::Old, old, "go").await?;
    let (report, _same) = hear_both(old, new, "The report:").await?;
    for chat in [old, new] {
        for _file in ["report.csv", "report.html"] {
            chat.hear(|message| message.file.is_some()).await.context("waiting for the files")?;
        }
    }
    Ok(report)
}

/// Waits until both accounts were told something.
async fn hear_both(old: &Chat, new: &Chat, part: &str) -> Result<(Message, Message)> {
    tokio::try_join!(old.hear_about(part), new.hear_about(part))
}
