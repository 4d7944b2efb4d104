//! The same, asked room by room: by a plain client in a process of its own.

use std::{
    env,
    io::{Write, stdin, stdout},
    process::{self, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use lab::{Account, Pair, wait};
use reqwest::{Client, Response};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, time::Instant};

use lab::access_log::{Mark, Requests};

use crate::{
    crowd::Crowd,
    memory::{Gauge, Memory},
};

const USER_AGENT: &str = "room-by-room";

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// How long a homeserver may take to log what it answered.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

/// The state that a survey reads.
const STATE_TYPES: [&str; 12] = [
    "m.bridge",
    "m.room.canonical_alias",
    "m.room.create",
    "m.room.encryption",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.name",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.tombstone",
    "m.space.child",
    "uk.half-shot.bridge",
];

/// What it took.
#[derive(Default)]
pub(crate) struct RoomByRoom {
    pub(crate) requests: Requests,
    pub(crate) duration: Duration,
    /// `None` where the system does not tell.
    pub(crate) memory: Option<Memory>,
}

/// What the client is told: whose rooms to ask for.
#[derive(Serialize, Deserialize)]
struct Session {
    url: String,
    user_id: OwnedUserId,
    access_token: String,
}

impl Session {
    fn of(account: &Account) -> Self {
        Self {
            url: account.url().to_owned(),
            user_id: account.user_id().to_owned(),
            access_token: account.access_token().to_owned(),
        }
    }
}

/// What the client says of itself.
#[derive(Serialize, Deserialize)]
struct Told {
    rooms: usize,
    requests: usize,
    duration: Duration,
    memory: Option<Memory>,
}

/// Runs the client and counts what it asks.
pub(crate) async fn measure(pair: &Pair, crowd: &Crowd) -> Result<RoomByRoom> {
    let mark = Mark::end(pair)?;
    let accounts = [&crowd.old, crowd.new.account()];
    let told = run(&accounts.map(Session::of)).await?;
    ensure!(told.rooms >= crowd.old.joined_rooms().await?.len(), "rooms are missing");
    let accounts = accounts.map(Account::user_id);
    let requests = wait::until("the access logs are complete", LOGGED_WITHIN, || async {
        let requests = mark.requests(&accounts, USER_AGENT)?;
        Ok((requests.count() >= told.requests).then_some(requests))
    });
    Ok(RoomByRoom { requests: requests.await?, duration: told.duration, memory: told.memory })
}

async fn run(sessions: &[Session]) -> Result<Told> {
    let mut client = Command::new(env::current_exe()?)
        .arg("room-by-room")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Dropped when it is written, which tells the client that this is all.
    let mut input = client.stdin.take().context("the client has a standard input")?;
    input.write_all(&serde_json::to_vec(sessions)?).await?;
    drop(input);
    let output = client.wait_with_output().await?;
    ensure!(output.status.success(), "the client that asks room by room failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The client itself: asks, and tells what it took.
pub(crate) async fn ask() -> Result<()> {
    let sessions: Vec<Session> = serde_json::from_reader(stdin())?;
    let http = Client::builder().user_agent(USER_AGENT).no_proxy().build()?;
    let (gauge, begun) = (Gauge::begin(process::id()), Instant::now());
    let mut rooms = Vec::new();
    let mut requests = 0;
    for session in &sessions {
        let asked = session.ask(&http).await?;
        // The list of rooms and that of direct chats, then three for each room.
        requests += 2 + 3 * asked.len();
        rooms.extend(asked);
    }
    let duration = begun.elapsed();
    let told = Told { rooms: rooms.len(), requests, duration, memory: gauge.read() };
    Ok(writeln!(stdout(), "{}", serde_json::to_string(&told)?)?)
}

/// What is kept of a room, as much as a survey keeps.
#[derive(Debug)]
struct Room {
    _state: Vec<Event>,
    _tags: Value,
    _last_active: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Event {
    r#type: String,
    #[serde(rename = "state_key")]
    _state_key: String,
    #[serde(rename = "sender")]
    _sender: OwnedUserId,
    #[serde(rename = "content")]
    _content: Value,
}

#[derive(Deserialize)]
struct JoinedRooms {
    joined_rooms: Vec<OwnedRoomId>,
}

#[derive(Deserialize)]
struct Messages {
    chunk: Vec<Sent>,
}

#[derive(Deserialize)]
struct Sent {
    origin_server_ts: u64,
}

impl Session {
    async fn ask(&self, http: &Client) -> Result<Vec<Room>> {
        let JoinedRooms { joined_rooms } = self.get(http, "joined_rooms").await?;
        let user = &self.user_id;
        // Answered with 404 where there are none.
        self.request(http, &format!("user/{user}/account_data/m.direct")).await?;
        stream::iter(joined_rooms)
            .map(|room| self.ask_for(http, room))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn ask_for(&self, http: &Client, room: OwnedRoomId) -> Result<Room> {
        let (user, room) = (&self.user_id, format!("rooms/{room}"));
        let mut state: Vec<Event> = self.get(http, &format!("{room}/state")).await?;
        state.retain(|event| STATE_TYPES.contains(&event.r#type.as_str()));
        let tags = self.get(http, &format!("user/{user}/{room}/tags")).await?;
        let last: Messages = self.get(http, &format!("{room}/messages?dir=b&limit=1")).await?;
        let last_active = last.chunk.first().map(|event| event.origin_server_ts);
        Ok(Room { _state: state, _tags: tags, _last_active: last_active })
    }

    async fn get<T: DeserializeOwned>(&self, http: &Client, path: &str) -> Result<T> {
        Ok(self.request(http, path).await?.error_for_status()?.json().await?)
    }

    async fn request(&self, http: &Client, path: &str) -> reqwest::Result<Response> {
        let url = format!("{}/_matrix/client/v3/{path}", self.url);
        http.get(&url).bearer_auth(&self.access_token).send().await
    }
}
