//! The floor: the same invitations and joins, with nothing else done.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use lab::Account;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::town::{Room, Town};

/// How many connections.
const CONNECTIONS: usize = 8;

/// Brings the new account into all rooms, over plain connections.
pub(crate) async fn measure(town: &Town) -> Result<Duration> {
    let http = Client::builder().user_agent("floor").no_proxy().build()?;
    let begun = Instant::now();
    stream::iter(&town.rooms)
        .map(|room| enter(&http, town, room))
        .buffer_unordered(CONNECTIONS)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

async fn enter(http: &Client, town: &Town, room: &Room) -> Result<()> {
    let id = &room.id;
    if room.private {
        let invited = json!({ "user_id": town.new.user_id() });
        post(http, &town.old, &format!("rooms/{id}/invite"), &invited).await?;
    }
    let server = town.old.user_id().server_name();
    post(http, &town.new, &format!("join/{id}?via={server}"), &json!({})).await
}

async fn post(http: &Client, account: &Account, path: &str, body: &Value) -> Result<()> {
    let url = format!("{}/_matrix/client/v3/{path}", account.url());
    let answer = http.post(&url).bearer_auth(account.access_token()).json(body).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "{url}: {status}: {}", answer.text().await?);
    Ok(())
}
