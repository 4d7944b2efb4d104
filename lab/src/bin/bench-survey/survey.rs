//! The survey: by the real bot, which is told in a chat to begin.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{Bot, BotOptions, Chat, Pair, Person, RoomSpec};
use tokio::time::Instant;

use lab::access_log::{Mark, Requests};

use crate::{
    crowd::Crowd,
    memory::{Gauge, Memory},
};

/// How soon a person is to hear something.
pub(crate) const PATIENCE_OF_PEOPLE: Duration = Duration::from_secs(2);

/// How long a plan may take at all.
const PATIENCE: Duration = Duration::from_secs(900);

/// What it took, from the message that gives the last access to the plan.
#[derive(Default)]
pub(crate) struct Survey {
    /// By the bot, as the old and the new account.
    pub(crate) requests: Requests,
    /// Until the bot answered in the same chat.
    pub(crate) first_answer: Duration,
    /// Until the old account saw the plan.
    pub(crate) duration: Duration,
    /// Of the bot; `None` where the system does not tell.
    pub(crate) memory: Option<Memory>,
}

/// Has a bot of its own make a plan.
pub(crate) async fn measure(pair: &Pair, tern: &Path, crowd: &Crowd) -> Result<Survey> {
    let rooms = crowd.old.joined_rooms().await?.len();
    let account = pair.old.account(&format!("tern{rooms}")).await?;
    let servers = [&pair.old, &pair.new];
    let bot = Bot::start(&pair.lab, BotOptions::new(tern, &account, &servers)).await?;
    let pid = bot.pid().context("the bot does not run")?;
    let (old, new) = agree(crowd, &bot).await?;
    log_in(&old).await?;
    new.hear_about("can act as").await?;

    let (mark, gauge, begun) = (Mark::end(pair)?, Gauge::begin(pid), Instant::now());
    let first_answer = async {
        log_in(&new).await?;
        anyhow::Ok(begun.elapsed())
    };
    let plan = async {
        let plan = old.hear_about("The plan:").await?;
        anyhow::Ok((plan, begun.elapsed()))
    };
    let (first_answer, (plan, duration)) = tokio::try_join!(first_answer, plan)?;
    let memory = gauge.read();
    let planned = planned_rooms(&plan.body).with_context(|| plan.body.clone())?;
    ensure!(planned >= rooms, "of {rooms} rooms, the plan has {planned}");
    let requests = mark.requests(&[crowd.old.user_id(), crowd.new.user_id()], "tern/")?;
    bot.stop().await?;
    Ok(Survey { requests, first_answer, duration, memory })
}

/// How many rooms a plan says that it has.
fn planned_rooms(plan: &str) -> Option<usize> {
    let (_, plan) = plan.split_once("The plan: ")?;
    plan.split(' ').next()?.parse().ok()
}

/// Both accounts agree to the migration. Returns their chats with the bot.
async fn agree(crowd: &Crowd, bot: &Bot) -> Result<(Chat, Chat)> {
    // Invited only when the client is there, so that it can read all that the bot says.
    let room = crowd.old.create_room(RoomSpec::private("Tern").encrypted()).await?;
    let old = Person::log_in_for(&crowd.old, &room).await?;
    old.invite(&room, bot.user_id()).await?;
    let old = old.chat_in(&room, bot.user_id()).await?.with_patience(PATIENCE);
    old.say(&format!("start {}", crowd.new.user_id())).await?;
    let new = crowd.new.chat_from(bot.user_id()).await?.with_patience(PATIENCE);
    new.hear_about("wants to move to this account").await?;
    new.say(&format!("accept {}", crowd.old.user_id())).await?;
    old.hear_about("agreed").await?;
    new.hear_about("agreed").await?;
    Ok((old, new))
}

/// Gives access, and waits for the answer.
async fn log_in(chat: &Chat) -> Result<()> {
    chat.say(&format!("login password {}", chat.person().password())).await?;
    chat.hear_about("can act as").await?;
    Ok(())
}
