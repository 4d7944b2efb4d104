//! What the demonstration takes place in.

use std::path::Path;

use anyhow::Result;
use lab::{Bot, BotOptions, Lab, Options, Pair, Town};
use serde_json::json;

use crate::screen::Screen;

/// Homeservers, people and the bot, in the order in which they are to end.
pub(crate) struct Set {
    pub(crate) bot: Bot,
    pub(crate) town: Town,
    pair: Pair,
}

impl Set {
    pub(crate) async fn build(lab: &Lab, tern: &Path, screen: &mut Screen) -> Result<Self> {
        screen.doing("Starting two homeservers that federate with each other")?;
        let pair = lab.pair(&unhurried()).await?;
        screen.doing("Making Mara's two accounts, her friends and her rooms")?;
        let town = Town::settle(&pair, "").await?;
        screen.doing("Starting Tern")?;
        let account = pair.old.account("tern").await?;
        let servers = [&pair.old, &pair.new];
        let bot = Bot::start(&pair.lab, BotOptions::new(tern, &account, &servers)).await?;

        let rooms = town.places.len();
        screen.gap()?;
        screen.line(&format!(
            "Mara's old account:  {}, in {rooms} rooms",
            town.people.old.user_id()
        ))?;
        screen.line(&format!("Mara's new account:  {}", town.people.new.user_id()))?;
        screen.line(&format!("The bot:             {}", bot.user_id()))?;
        Ok(Self { bot, town, pair })
    }

    pub(crate) fn tell_how_to_log_in(&self, screen: &mut Screen) -> Result<()> {
        screen.heading("It all keeps running")?;
        screen.line("Log in with any client. Ctrl-C ends it and deletes everything.")?;
        for server in [&self.pair.old, &self.pair.new] {
            screen.gap()?;
            screen.line(&format!("Homeserver {} (its name is {})", server.url(), server.name()))?;
            for (account, who) in self.town.people.all() {
                if account.user_id().server_name() == server.name() {
                    let (user, password) = (account.user_id().localpart(), account.password());
                    screen.line(&format!("  {user:<8} password {password}   {who}"))?;
                }
            }
        }
        screen.gap()?;
        screen.line(&format!("Tern is {}", self.bot.user_id()))?;
        screen.line(&format!("Its log: {}", self.bot.log_path().display()))?;
        Ok(())
    }
}

/// Homeservers without limits, but for one: how fast an account may join rooms, so that there is
/// something to be seen of the run, and of how Tern waits.
fn unhurried() -> Options {
    let joins = json!({
        "local": { "per_second": 1, "burst_count": 10 },
        "remote": { "per_second": 0.5, "burst_count": 5 },
    });
    Options {
        settings: [("rc_joins".to_owned(), joins)].into_iter().collect(),
        ..Options::default()
    }
}
