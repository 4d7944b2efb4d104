//! `cargo bench-chat`: how soon `status` is answered while many migrations run.
//!
//! Everything is real. The bot is an application service of both homeservers, so that consent is all
//! that a migration takes; the new homeserver limits invitations of one account as Synapse does by
//! default, from which nothing exempts, so that every migration runs for hours. What two homeservers
//! take by themselves to carry a question and its answer is asked before anybody moves.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lab::{
    Account, Bot, BotOptions, Chat, Lab, Options, Pair, Person, RoomSpec, Service,
    access_log::Mark, wait,
};
use reqwest::Method;
use ruma::{OwnedRoomId, events::room::member::MembershipState};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{say, table::Table};

const MOST_MILLISECONDS: f64 = 300.0;
/// How often `status` is asked.
const QUESTIONS: usize = 100;
/// Rooms of one account: more than invitations are let pass at once.
const ROOMS: usize = 6;
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(300);

/// What is answered.
const MOVING: &str = "It has been going on";
const NOT_MOVING: &str = "You are in no migration";

/// One person, who writes without a client.
struct Mover {
    old: Account,
    new: Account,
    old_chat: OwnedRoomId,
    new_chat: OwnedRoomId,
}

pub(crate) async fn measure(lab: &Lab, tern: &Path, migrations: usize) -> Result<Table> {
    say("Starting two homeservers, and the bot as an application service of both")?;
    let service = Service::new(tern, "tern")?;
    let options = Options { services: vec![service.clone()], ..Options::default() };
    let limits = json!({ "per_user": { "per_second": 0.003, "burst_count": 5 } });
    let mut limited = options.clone();
    limited.settings.insert("rc_invites".to_owned(), limits);
    let pair = lab.pair_of(&options, &limited).await?;
    let bot = start(&pair, tern, &service).await?;

    say(&format!("Asking {QUESTIONS} times before anybody moves"))?;
    let person = Person::log_in(&pair.new.account("asking").await?).await?;
    let bystander = person.chat_with(bot.user_id(), false).await?.with_patience(PATIENCE);
    let mut quiet = Vec::new();
    for _ in 0..QUESTIONS {
        quiet.push(ask(&bystander, NOT_MOVING).await?);
    }

    say(&format!("Beginning {migrations} migrations of {ROOMS} rooms each"))?;
    let begun = stream::iter(0..migrations).map(|number| begin(&pair, &bot, number));
    let movers: Vec<Mover> = begun.buffer_unordered(AT_ONCE).try_collect().await?;
    for mover in &movers {
        hear(&mover.old, &mover.old_chat, &bot, "The plan:").await?;
        mover.old.message(&mover.old_chat, "go").await?;
    }
    for mover in &movers {
        hear(&mover.old, &mover.old_chat, &bot, "Moving.").await?;
    }

    say(&format!("Asking {QUESTIONS} times"))?;
    let first = movers.first().context("there is one")?;
    let client = Person::log_in_for(&first.new, &first.new_chat).await?;
    let mover = client.chat_in(&first.new_chat, bot.user_id()).await?.with_patience(PATIENCE);
    let mark = Mark::end(&pair)?;
    let (mut of_mover, mut of_bystander) = (Vec::new(), Vec::new());
    for _ in 0..QUESTIONS {
        of_mover.push(ask(&mover, MOVING).await?);
        of_bystander.push(ask(&bystander, NOT_MOVING).await?);
    }
    let own = mark.answering(bot.user_id())?;
    let running = running(&movers, &bot).await?;
    ensure!(running == migrations, "only {running} of {migrations} still run");

    let mut table = Table::default();
    table.figure("migrations that run", running);
    table.words("\nFrom sending `status` until the answer is there, in ms:");
    table.figure("before anybody moves: half of the times", format!("{:.0}", at(&quiet, 50)));
    table.figure("before anybody moves: 95 of 100 times", format!("{:.0}", at(&quiet, 95)));
    for (who, times) in [("who moves", of_mover), ("who does not", of_bystander)] {
        table.figure(&format!("{who}: half of the times"), format!("{:.0}", at(&times, 50)));
        table.goal(&format!("{who}: 95 of 100 times"), at(&times, 95), MOST_MILLISECONDS);
    }
    table.words("\nTern's own part of it, from the end of a sync until the answer is sent, in ms:");
    table.figure("half of the times", format!("{:.0}", at(&own, 50)));
    table.figure("95 of 100 times", format!("{:.0}", at(&own, 95)));
    Ok(table)
}

/// How long it takes from saying `status` until the answer is there.
async fn ask(chat: &Chat, answer: &str) -> Result<Duration> {
    let begun = Instant::now();
    chat.say("status").await?;
    chat.hear_about(answer).await?;
    Ok(begun.elapsed())
}

async fn start(pair: &Pair, tern: &Path, service: &Service) -> Result<Bot> {
    let account = pair.old.account("bot").await?;
    let servers = [&pair.old, &pair.new];
    let options = BotOptions {
        settings: json!({ "access": { "allow": ["@*:*"] } }),
        service: Some(service),
        ..BotOptions::new(tern, &account, &servers)
    };
    Bot::start(&pair.lab, options).await
}

/// Goes on until both accounts agreed.
async fn begin(pair: &Pair, bot: &Bot, number: usize) -> Result<Mover> {
    let old = pair.old.account(&format!("old-{number}")).await?;
    let new = pair.new.account(&format!("new-{number}")).await?;
    let friend = pair.old.account(&format!("friend-{number}")).await?;
    for room in 0..ROOMS {
        let spec = RoomSpec::private(&format!("Room {room}")).invite(friend.user_id());
        friend.join(&old.create_room(spec).await?).await?;
    }
    let old_chat = chat(&old, bot).await?;
    let new_chat = chat(&new, bot).await?;
    old.message(&old_chat, &format!("start {}", new.user_id())).await?;
    hear(&new, &new_chat, bot, "wants to move to this account").await?;
    new.message(&new_chat, &format!("accept {}", old.user_id())).await?;
    Ok(Mover { old, new, old_chat, new_chat })
}

async fn chat(account: &Account, bot: &Bot) -> Result<OwnedRoomId> {
    let room = account.create_room(RoomSpec::direct(bot.user_id())).await?;
    wait::until("the bot joins", PATIENCE, || async {
        let bot = account.member(&room, bot.user_id()).await?;
        Ok((bot == Some(MembershipState::Join)).then_some(()))
    })
    .await?;
    Ok(room)
}

/// What the bot said and showed last, newest first.
async fn said(account: &Account, room: &OwnedRoomId, bot: &Bot) -> Result<Vec<String>> {
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=30");
    let answer = account.send_raw(Method::GET, &path, &Value::Null).await?;
    let events = answer["chunk"].as_array().into_iter().flatten();
    let of_bot = events.filter(|event| event["sender"] == bot.user_id().as_str());
    Ok(of_bot.filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())).collect())
}

async fn hear(account: &Account, room: &OwnedRoomId, bot: &Bot, part: &str) -> Result<()> {
    wait::until(part, PATIENCE, || async {
        let said = said(account, room, bot).await?;
        Ok(said.iter().any(|body| body.contains(part)).then_some(()))
    })
    .await
}

/// How many migrations are not over.
async fn running(movers: &[Mover], bot: &Bot) -> Result<usize> {
    let mut running = 0;
    for mover in movers {
        let said = said(&mover.old, &mover.old_chat, bot).await?;
        running += usize::from(!said.iter().any(|body| body.contains("The report")));
    }
    Ok(running)
}

/// The time, in milliseconds, that so many of a hundred are not above.
fn at(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).map_or(f64::INFINITY, |time| time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_times_the_fifth_longest_is_the_95th() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert!((at(&times, 95) - 95.0).abs() < 0.01);
        assert!((at(&times, 50) - 50.0).abs() < 0.01);
    }
}
