//! One migration, by the real bot.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Account, Bot, BotOptions, Chat, Pair, Person, RoomSpec, Service,
    access_log::{Mark, Requests},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::town::{self, Town};

/// How long a migration may take at all.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How the bot may act as the two accounts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    /// What it is on the homeservers, if it is an application service.
    pub(crate) service: Option<&'a Service>,
    /// Whether the old account says `login`.
    pub(crate) old_logs_in: bool,
    /// Whether the new account says `login`.
    pub(crate) new_logs_in: bool,
}

impl Access<'_> {
    /// Both accounts log in.
    pub(crate) const LOGIN: Self = Self { service: None, old_logs_in: true, new_logs_in: true };

    /// What the bot is told of it.
    fn settings(self, pair: &Pair) -> Value {
        let mut settings = json!({ "access": { "allow": ["@*:*"] } });
        let sides = [(&pair.old, self.old_logs_in), (&pair.new, self.new_logs_in)];
        for (homeserver, _) in sides.iter().filter(|(_, logs_in)| *logs_in) {
            settings["appservices"][homeserver.name().as_str()] = Value::Null;
        }
        settings
    }
}

/// A migration whose plan was shown.
#[derive(Debug)]
pub(crate) struct Planned {
    bot: Bot,
    old: Chat,
}

/// What a migration took.
#[derive(Debug)]
pub(crate) struct Moved {
    /// From `go` to the report.
    pub(crate) took: Duration,
    /// By the bot, as the two accounts, from `go` to the report.
    pub(crate) requests: Requests,
    /// What was estimated when `status` was asked halfway, and what it then took.
    pub(crate) estimate: Option<(Duration, Duration)>,
    /// How long `status`, said from the old account halfway, waited for its answer.
    pub(crate) answered: Option<Duration>,
}

/// Goes on until the plan is shown. The bot's own account is one that an admin exempted from
/// limits, as the documentation asks for.
pub(crate) async fn plan(
    pair: &Pair,
    tern: &Path,
    town: &Town,
    access: Access<'_>,
) -> Result<Planned> {
    let name = town.old.user_id().localpart();
    let account = pair.old.account(&format!("{name}-tern")).await?;
    let admin = pair.old.register_admin(&format!("{name}-tern-admin"), "admin").await?;
    town::limit(&admin, &account, false).await?;
    let servers = [&pair.old, &pair.new];
    let mut options = BotOptions::new(tern, &account, &servers);
    options.settings = access.settings(pair);
    options.service = access.service;
    let bot = Bot::start(&pair.lab, options).await?;
    let (old, new) = tokio::try_join!(chat(&town.old, &bot), chat(&town.new, &bot))?;
    old.say(&format!("start {}", town.new.user_id())).await?;
    new.hear_about("wants to move to this account").await?;
    new.say(&format!("accept {}", town.old.user_id())).await?;
    old.hear_about("agreed").await?;
    let sides = [(&old, access.old_logs_in), (&new, access.new_logs_in)];
    for (chat, _) in sides.iter().filter(|(_, logs_in)| *logs_in) {
        chat.say(&format!("login password {}", chat.person().password())).await?;
        chat.hear_about("can act as").await?;
    }
    old.hear_about("The plan:").await?;
    Ok(Planned { bot, old })
}

/// An encrypted chat with the bot, at a client that is told of no other room and not woken by what
/// happens in those: it is to cost the homeserver next to nothing while the bot is measured.
async fn chat(account: &Account, bot: &Bot) -> Result<Chat> {
    let room = account.create_room(RoomSpec::direct(bot.user_id()).encrypted()).await?;
    let person = Person::log_in_beside(account, &room, bot.account()).await?;
    Ok(person.chat_in(&room, bot.user_id()).await?.with_patience(PATIENCE))
}

impl Planned {
    /// Agrees to `fast`. How many rooms it opens.
    pub(crate) async fn agree_to_fast(&self) -> Result<usize> {
        self.old.say("fast").await?;
        self.old.hear_about("What others see").await?;
        self.old.say("fast yes").await?;
        let agreed = self.old.hear_about("I open").await?.body;
        opened(&agreed).with_context(|| format!("how many rooms? {agreed}"))
    }

    /// Says `go`, and waits for the report. Asks for an estimate after `halfway`.
    pub(crate) async fn go(
        self,
        pair: &Pair,
        town: &Town,
        halfway: Option<Duration>,
    ) -> Result<Moved> {
        let (mark, begun) = (Mark::end(pair)?, Instant::now());
        self.old.say("go").await?;
        let (mut told, mut answered) = (None, None);
        if let Some(halfway) = halfway {
            tokio::time::sleep_until(begun + halfway).await;
            let said = Instant::now();
            self.old.say("status").await?;
            let status = self.old.hear_about("The migration from").await?;
            let is_running = status.body.contains("It has been going on");
            ensure!(is_running, "`status` waited until it was over: {}", status.body);
            answered = Some(said.elapsed());
            told = estimated(&status.body).map(|estimate| (estimate, begun.elapsed()));
        }
        self.old.hear_about("`forget`").await?;
        let took = begun.elapsed();
        let joined = town.new.joined_rooms().await?;
        let missing = town.rooms.iter().filter(|room| !joined.contains(&room.id)).count();
        ensure!(missing == 0, "the new account is not in {missing} rooms");
        let requests = mark.requests(&[town.old.user_id(), town.new.user_id()], "tern/")?;
        self.bot.stop().await?;
        let estimate = told.map(|(estimate, at)| (estimate, took.saturating_sub(at)));
        Ok(Moved { took, requests, estimate, answered })
    }
}

/// How many rooms the bot says that it opens.
fn opened(agreed: &str) -> Option<usize> {
    let (_, after) = agreed.split_once("I open ")?;
    after.split(' ').next()?.parse().ok()
}

/// What `status` says is left.
fn estimated(status: &str) -> Option<Duration> {
    let (_, left) = status.split_once("It takes ")?;
    let (left, _) = left.split_once(" more.")?;
    let number = |words: &str| words.split(' ').find_map(|word| word.parse::<u64>().ok());
    let minutes = match left {
        "less than a minute" => return Some(Duration::from_secs(30)),
        "about a minute" => 1,
        "about an hour" => 60,
        _ if left.ends_with("minutes") => number(left)?,
        _ if left.ends_with("hours") => number(left)? * 60,
        _ => return None,
    };
    Some(Duration::from_secs(minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_read_from_what_the_bot_says() {
        let read = |left: &str| estimated(&format!("Well.\nIt takes {left} more.\n"));
        assert_eq!(read("about 3 minutes"), Some(Duration::from_secs(180)));
        assert_eq!(read("less than a minute"), Some(Duration::from_secs(30)));
        assert_eq!(read("about 2 hours"), Some(Duration::from_secs(7200)));
        assert_eq!(estimated("Nothing."), None);
        assert_eq!(opened("I open 14 rooms to it."), Some(14));
    }
}
