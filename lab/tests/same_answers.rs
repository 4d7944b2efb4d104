//! The simulated homeservers answer as real ones do: both are asked the same.

#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use lab::{
    Account, Homeserver, Lab, Limits, Options, RoomSpec,
    sim::{NEW, OLD, Rates, Served, Simulation},
};
use reqwest::Method;
use ruma::{OwnedRoomId, room::JoinRuleKind};
use serde_json::{Value, json};

/// A pair of homeservers, real or not.
enum Homes<'a> {
    Real { old: &'a Homeserver, new: &'a Homeserver },
    Simulated { simulation: Simulation, served: Served },
}

#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
}

impl Homes<'_> {
    async fn simulated(rates: Rates) -> Self {
        let simulation = Simulation::new(rates);
        let served = simulation.serve().await.unwrap();
        Self::Simulated { simulation, served }
    }

    async fn account(&self, side: Side, name: &str) -> Account {
        match (self, side) {
            (Self::Real { old, .. }, Side::Old) => old.account(name).await.unwrap(),
            (Self::Real { new, .. }, Side::New) => new.account(name).await.unwrap(),
            (Self::Simulated { simulation, served }, side) => {
                let server = match side {
                    Side::Old => OLD,
                    Side::New => NEW,
                };
                simulation.account(served.url(), &format!("@{name}:{server}")).unwrap()
            }
        }
    }

    /// Lifts the limits of its own homeserver for an account of the old one.
    async fn exempt(&self, account: &Account) {
        match self {
            Self::Real { old, .. } => {
                let admin = old.register_admin("root", "a long password").await.unwrap();
                let path =
                    format!("/_synapse/admin/v1/users/{}/override_ratelimit", account.user_id());
                let zeros = json!({ "messages_per_second": 0, "burst_count": 0 });
                admin.send_raw(Method::POST, &path, &zeros).await.unwrap();
            }
            Self::Simulated { simulation, .. } => simulation.exempt(account.user_id().as_str()),
        }
    }
}

/// What was answered: the status, the code of an error, and how long to wait.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    question: String,
    status: u16,
    code: String,
    retry_after: Option<u64>,
}

async fn ask(account: &Account, method: Method, path: &str, body: Value, question: &str) -> Answer {
    let url = format!("{}/_matrix/client/{path}", account.url());
    let request = reqwest::Client::new().request(method, &url);
    let request = request.bearer_auth(account.access_token()).json(&body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    Answer {
        question: question.to_owned(),
        status,
        code: body["errcode"].as_str().unwrap_or_default().to_owned(),
        retry_after: body["retry_after_ms"].as_u64(),
    }
}

async fn join(account: &Account, room: &OwnedRoomId, via: &str, question: &str) -> Answer {
    let path = format!("v3/join/{room}?via={via}&server_name={via}");
    ask(account, Method::POST, &path, json!({}), question).await
}

async fn invite(account: &Account, room: &OwnedRoomId, target: &Account, question: &str) -> Answer {
    let path = format!("v3/rooms/{room}/invite");
    ask(account, Method::POST, &path, json!({ "user_id": target.user_id() }), question).await
}

/// Questions whose answers depend on rooms and who is in them.
async fn about_rooms(homes: &Homes<'_>) -> Vec<Answer> {
    let old = homes.account(Side::Old, "same-old").await;
    let other = homes.account(Side::Old, "same-other").await;
    let new = homes.account(Side::New, "same-new").await;
    let via = old.user_id().server_name().to_string();
    let room = async |spec| old.create_room(spec).await.unwrap();
    let ban = async |room: &OwnedRoomId| {
        let path = format!("v3/rooms/{room}/ban");
        let whom = json!({ "user_id": new.user_id() });
        ask(&old, Method::POST, &path, whom, "ban").await;
    };
    let private = room(RoomSpec::private("private")).await;
    let public = room(RoomSpec::public("public").alias("same-public")).await;
    let banned = room(RoomSpec::public("banned")).await;
    ban(&banned).await;
    let mut answers = vec![
        join(&new, &private, &via, "join, not invited").await,
        join(&other, &private, &via, "join, not invited, from the same server").await,
        invite(&other, &private, &new, "invite, from outside").await,
        invite(&old, &private, &new, "invite").await,
        invite(&old, &private, &new, "invite again").await,
        join(&new, &private, &via, "join, invited").await,
        join(&new, &private, &via, "join again").await,
        invite(&old, &private, &new, "invite a member").await,
        join(&new, &banned, &via, "join, banned").await,
        invite(&old, &banned, &new, "invite who is banned").await,
        join(&new, &public, &via, "join a public room").await,
        invite(&new, &public, &other, "invite without the power").await,
    ];
    let path = format!("v3/rooms/{public}/state/m.room.name");
    let name = json!({ "name": "mine" });
    answers.push(ask(&new, Method::PUT, &path, name.clone(), "state without the power").await);
    answers.push(ask(&old, Method::PUT, &path, name, "state").await);
    let nowhere: OwnedRoomId = "!nowhere:nowhere.example".try_into().unwrap();
    answers
        .push(ask(&new, Method::POST, &format!("v3/join/{nowhere}"), json!({}), "unknown").await);
    let alias = format!("%23nothing:{via}");
    answers.push(ask(&new, Method::POST, &format!("v3/join/{alias}"), json!({}), "no alias").await);
    let alias = format!("%23same-public:{via}");
    answers.push(ask(&new, Method::POST, &format!("v3/join/{alias}"), json!({}), "alias").await);
    answers.extend(about_other_doors(homes, &old, &new, &via).await);
    answers.extend(about_reactions(&old, &other, &public).await);
    answers
}

/// What relates to a message, asked for by who is in the room and by who is not.
async fn about_reactions(inside: &Account, outside: &Account, room: &OwnedRoomId) -> Vec<Answer> {
    let send = async |kind: &str, content: &Value| {
        // One transaction ID is one event, whatever its type.
        let path = format!("/_matrix/client/v3/rooms/{room}/send/{kind}/of-{kind}");
        let sent = inside.send_raw(Method::PUT, &path, content).await.unwrap();
        sent["event_id"].as_str().unwrap().to_owned()
    };
    let message = send("m.room.message", &json!({ "msgtype": "m.text", "body": "terns" })).await;
    let relation = json!({ "rel_type": "m.annotation", "event_id": message, "key": "✅" });
    let reaction = send("m.reaction", &json!({ "m.relates_to": relation })).await;
    let path = |to: &str| format!("v1/rooms/{room}/relations/{to}/m.annotation/m.reaction");
    let found = format!("/_matrix/client/{}", path(&message));
    let found = inside.send_raw(Method::GET, &found, &Value::Null).await.unwrap();
    assert_eq!(found["chunk"][0]["event_id"], reaction.as_str(), "{found}");
    let get = async |account, path: String, question| {
        ask(account, Method::GET, &path, Value::Null, question).await
    };
    vec![
        get(inside, path(&message), "reactions").await,
        get(inside, path("$nothing"), "reactions to nothing").await,
        get(outside, path(&message), "reactions, from outside").await,
    ]
}

/// Restricted, upgraded, knockable and unfederated rooms.
async fn about_other_doors(
    homes: &Homes<'_>,
    old: &Account,
    new: &Account,
    via: &str,
) -> Vec<Answer> {
    let space = old.create_room(RoomSpec::space("space").invite(new.user_id())).await.unwrap();
    let restricted = RoomSpec::private("inside").within(&space);
    let restricted = restricted.join_rule(JoinRuleKind::Restricted);
    let inside = old.create_room(restricted).await.unwrap();
    let knockable = RoomSpec::private("knock").join_rule(JoinRuleKind::Knock);
    let knockable = old.create_room(knockable).await.unwrap();
    let upgraded = old.create_room(RoomSpec::public("old one")).await.unwrap();
    let tombstone = json!({ "body": "moved", "replacement_room": inside });
    old.set_state(&upgraded, "m.room.tombstone", "", &tombstone).await.unwrap();
    let alone = json!({ "preset": "public_chat", "creation_content": { "m.federate": false } });
    let path = "/_matrix/client/v3/createRoom";
    let alone = old.send_raw(Method::POST, path, &alone).await.unwrap();
    let alone: OwnedRoomId = alone["room_id"].as_str().unwrap().try_into().unwrap();
    let knock = async |room: &OwnedRoomId, question| {
        let path = format!("v3/knock/{room}?via={via}&server_name={via}");
        ask(new, Method::POST, &path, json!({}), question).await
    };
    let local = homes.account(Side::Old, "same-local").await;
    vec![
        join(new, &inside, via, "restricted, not in the space").await,
        join(new, &space, via, "the space").await,
        join(new, &inside, via, "restricted, in the space").await,
        join(new, &upgraded, via, "an upgraded room").await,
        knock(&knockable, "knock").await,
        join(new, &knockable, via, "join after a knock").await,
        invite(old, &knockable, new, "invite who knocked").await,
        join(new, &knockable, via, "join after knock and invite").await,
        invite(old, &alone, new, "invite to an unfederated room").await,
        join(new, &alone, via, "join an unfederated room").await,
        join(&local, &alone, via, "join an unfederated room at home").await,
    ]
}

/// Questions about what an account has for itself.
async fn about_accounts(homes: &Homes<'_>) -> Vec<Answer> {
    let old = homes.account(Side::Old, "same-own").await;
    let room = old.create_room(RoomSpec::private("own")).await.unwrap();
    let other = homes.account(Side::Old, "same-else").await;
    let user = old.user_id();
    let get = async |path: String| {
        ask(&old, Method::GET, &path.clone(), Value::Null, &format!("GET {path}")).await
    };
    let put = async |path: String, body: Value| {
        ask(&old, Method::PUT, &path.clone(), body, &format!("PUT {path}")).await
    };
    let rule = json!({ "actions": ["notify"], "pattern": "heron" });
    let off = json!({ "enabled": false });
    let rules = "v3/pushrules/global/content";
    let mut answers = vec![
        get("v3/account/whoami".into()).await,
        get("v3/capabilities".into()).await,
        get(format!("v3/user/{user}/account_data/m.nothing")).await,
        put(format!("v3/user/{user}/account_data/m.thing"), json!({ "a": 1 })).await,
        get(format!("v3/user/{user}/account_data/m.thing")).await,
        get(format!("v3/user/{user}/account_data/m.push_rules")).await,
        get(format!("v3/user/{user}/rooms/{room}/tags")).await,
        put(format!("v3/user/{user}/rooms/{room}/tags/m.favourite"), json!({})).await,
        get(format!("v3/user/{user}/rooms/{room}/account_data/m.nothing")).await,
        put(format!("{rules}/heron"), rule.clone()).await,
        put(format!("{rules}/tern?after=heron"), rule.clone()).await,
        put(format!("{rules}/gull?after=nothing"), rule.clone()).await,
        put(format!("{rules}/heron/enabled"), off.clone()).await,
        put(format!("{rules}/nothing/enabled"), off).await,
        get(format!("v3/profile/{user}")).await,
        get(format!("v3/profile/@nobody:{}", user.server_name())).await,
        put(format!("v3/profile/{user}/displayname"), json!({ "displayname": "Mara" })).await,
        put(format!("v3/profile/{user}/m.tz"), json!({ "m.tz": "Europe/Lisbon" })).await,
        get(format!("v3/rooms/{room}/joined_members")).await,
        get(format!("v3/rooms/{room}/state/m.room.name")).await,
        get(format!("v3/rooms/{room}/state/m.room.topic")).await,
        get(format!("v1/room_summary/{room}")).await,
    ];
    for path in ["joined_members", "state/m.room.name"] {
        let path = format!("v3/rooms/{room}/{path}");
        answers.push(ask(&other, Method::GET, &path, Value::Null, &path).await);
    }
    let path = format!("v1/room_summary/{room}");
    answers.push(ask(&other, Method::GET, &path, Value::Null, "a hidden room").await);
    let identifier = json!({ "type": "m.id.user", "user": user });
    let login = json!({ "type": "m.login.password", "identifier": identifier, "password": "no" });
    answers.push(ask(&old, Method::POST, "v3/login", login, "a wrong password").await);
    answers.push(ask(&old, Method::POST, "v3/logout", json!({}), "logout").await);
    let path = "v3/account/whoami";
    answers.push(ask(&old, Method::GET, path, Value::Null, "after logout").await);
    // Names of rooms and accounts differ between the pairs.
    let names = [(room.to_string(), "ROOM"), (user.to_string(), "USER")];
    let server = user.server_name().to_string();
    for answer in &mut answers {
        for (name, word) in names.iter().chain([&(server.clone(), "SERVER")]) {
            answer.question = answer.question.replace(name, word);
        }
    }
    answers
}

/// What comes when limits are used up: joins, invites, and both kinds of answer to those.
async fn about_limits(homes: &Homes<'_>) -> Vec<Answer> {
    let (first, second) =
        (homes.account(Side::Old, "first").await, homes.account(Side::Old, "second").await);
    let (new, local) =
        (homes.account(Side::New, "joins").await, homes.account(Side::Old, "joins").await);
    let via = first.user_id().server_name().to_string();
    let mut rooms = Vec::new();
    for number in 0..12 {
        let creator = if number < 7 { &first } else { &second };
        // Fewer events than a named or listed room has, so that no room is held up by the limits.
        rooms.push(creator.create_room(RoomSpec::public("terns")).await.unwrap());
    }
    let mut answers = Vec::new();
    for room in &rooms {
        answers.push(join(&new, room, &via, "join on another server").await);
    }
    for room in &rooms {
        answers.push(join(&local, room, &via, "join at home").await);
    }
    let (inviter, exempt) =
        (homes.account(Side::Old, "third").await, homes.account(Side::Old, "exempt").await);
    let (invited, hidden) =
        (homes.account(Side::New, "invited").await, homes.account(Side::New, "hidden").await);
    let room = inviter.create_room(RoomSpec::private("nest")).await.unwrap();
    for _ in 0..7 {
        answers.push(invite(&inviter, &room, &invited, "invite").await);
    }
    // The invited account's server counts by itself, and limits even who is exempt at home.
    homes.exempt(&exempt).await;
    for _ in 0..7 {
        let room = exempt.create_room(RoomSpec::private("nest")).await.unwrap();
        answers.push(invite(&exempt, &room, &hidden, "invite by who is exempt").await);
    }
    answers
}

fn without_waits(answers: &[Answer]) -> Vec<Answer> {
    answers.iter().map(|answer| Answer { retry_after: None, ..answer.clone() }).collect()
}

/// Compares line by line, so that all differences are seen at once.
fn assert_same(real: &[Answer], simulated: &[Answer]) {
    let (real, simulated) = (without_waits(real), without_waits(simulated));
    let differ: Vec<_> = real.iter().zip(&simulated).filter(|(a, b)| a != b).collect();
    assert!(differ.is_empty() && real.len() == simulated.len(), "{differ:#?}");
}

#[tokio::test]
async fn requests_are_granted_and_refused_as_by_real_homeservers() {
    let pair = lab::pair().await.unwrap();
    let real = Homes::Real { old: &pair.old, new: &pair.new };
    let simulated = Homes::simulated(Rates::open()).await;
    assert_same(&about_rooms(&real).await, &about_rooms(&simulated).await);
    assert_same(&about_accounts(&real).await, &about_accounts(&simulated).await);
}

#[tokio::test]
async fn limits_are_those_of_real_homeservers() {
    let lab = Lab::new().unwrap();
    let options = Options { limits: Limits::Default, ..Options::default() };
    let pair = lab.pair(&options).await.unwrap();
    let real = about_limits(&Homes::Real { old: &pair.old, new: &pair.new }).await;
    let simulated = about_limits(&Homes::simulated(Rates::default()).await).await;
    assert_same(&real, &simulated);
    for (real, simulated) in real.iter().zip(&simulated) {
        // Seconds that real requests take have given tokens back already.
        let (Some(a), Some(b)) = (real.retry_after, simulated.retry_after) else { continue };
        assert!(a.abs_diff(b) < 12_000, "{real:?}: {simulated:?}");
    }
}
