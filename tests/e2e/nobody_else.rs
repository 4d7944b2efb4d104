//! However wide the namespace of a registration is: nothing is sent as an account that has not
//! consented, whatever is tried. The homeserver's own log is the witness.

use std::{fs, path::Path, time::Duration};

use lab::{Homeserver, Lab, Options, Person, Service, wait};
use reqwest::{Method, StatusCode};
use ruma::UserId;
use serde_json::{Value, json};

use crate::scene::{Chats, Scene, TERN};

/// The requests that were sent as `user` by anybody but a client of their own, which names nobody.
fn sent_as(homeserver: &Homeserver, user: &UserId) -> Vec<String> {
    let log = fs::read_to_string(homeserver.log_path()).unwrap();
    let named = user.as_str().replace('@', "%40").replace(':', "%3A");
    log.lines()
        .filter(|line| line.contains("Processed request"))
        .filter(|line| {
            let who = format!("{{{user}}}");
            // Synapse tells who asked, and the bot by its name.
            (line.contains(&who) || line.contains(&named)) && line.contains("\"tern/")
        })
        .map(ToOwned::to_owned)
        .collect()
}

/// One whose registration covers everybody, with the widest pattern that there is.
async fn widest(name: &str) -> (lab::Pair, Service) {
    let service = Service::covering(Path::new(TERN), name, Some(".*")).unwrap();
    let options = Options { services: vec![service.clone()], ..Options::default() };
    (Lab::new().unwrap().pair(&options).await.unwrap(), service)
}

struct Town<'a> {
    scene: Scene<'a>,
    service: Service,
    /// Somebody on the old server who never speaks with the bot.
    stranger: Person,
    /// Somebody on the new server who speaks with the bot, and agrees to nothing.
    listener: Person,
}

impl<'a> Town<'a> {
    async fn on(pair: &'a lab::Pair, service: Service) -> Self {
        let scene = Scene::with_service(pair, "all", Some(&service), json!({})).await;
        Self {
            stranger: pair.old.person("stranger").await.unwrap(),
            listener: pair.new.person("listener").await.unwrap(),
            scene,
            service,
        }
    }

    /// Nothing was sent as those who agreed to nothing.
    fn assert_left_alone(&self, when: &str) {
        let Scene { pair, friend, .. } = &self.scene;
        for (server, user) in [
            (&pair.old, self.stranger.user_id()),
            (&pair.old, friend.user_id()),
            (&pair.new, self.listener.user_id()),
        ] {
            assert_eq!(sent_as(server, user), [""; 0], "{when}");
        }
    }

    /// Pushes a transaction to the bot as the new homeserver would, or as somebody else.
    async fn push(&self, token: &str, transaction: &str, events: &Value) -> StatusCode {
        let listen = self.service.listen();
        let url = format!("http://{listen}/_matrix/app/v1/transactions/{transaction}");
        let request = reqwest::Client::new().put(url).bearer_auth(token);
        request.json(&json!({ "events": events })).send().await.unwrap().status()
    }

    fn hs_token(&self) -> String {
        let path = self.scene.pair.new.registration(&self.service).unwrap();
        let registration = fs::read_to_string(path).unwrap();
        let token = registration.lines().find_map(|line| line.strip_prefix("hs_token: "));
        token.unwrap().to_owned()
    }
}

/// Says everything that there is to say, and waits until all of it was answered.
async fn say_everything(chat: &lab::Chat, about: &UserId) {
    for said in [
        format!("accept {about}"),
        format!("decline {about}"),
        "login service".to_owned(),
        "login none".to_owned(),
        "plan".to_owned(),
        "go".to_owned(),
        "retry".to_owned(),
        "resume".to_owned(),
        "cancel".to_owned(),
        "forget".to_owned(),
        format!("admin resume {about}"),
        format!("admin cancel {about}"),
    ] {
        chat.say(&said).await.unwrap();
        let other = chat.other().to_owned();
        chat.hear(|message| message.sender == other).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_sent_as_an_account_without_a_consent_that_stands_whatever_is_tried() {
    let (pair, service) = widest("wide").await;
    let town = Town::on(&pair, service).await;
    let scene = &town.scene;
    let bot = scene.bot.user_id();
    let room = scene.private_room("Private").await;
    let Chats { old, new } = scene.chats().await;
    let listener = town.listener.chat_with(bot, true).await.unwrap();

    // Commands of somebody who was asked by nobody, and of the old account before the new agreed.
    say_everything(&listener, scene.old.user_id()).await;
    old.say(&format!("start {}", scene.new.user_id())).await.unwrap();
    let question = new.hear_about("wants to move to this account").await.unwrap();
    for said in ["login service", "plan", "go"] {
        old.say(said).await.unwrap();
        old.hear(|message| message.sender == bot).await.unwrap();
    }
    assert_eq!(sent_as(&pair.new, scene.new.user_id()), [""; 0], "before it agreed");

    // A reaction to another's question, a consent for another pair, and somebody else's word.
    // Synapse itself refuses a reaction to what was said in another room.
    listener.react(&question.event_id, "✅").await.unwrap_err();
    say_everything(&listener, scene.old.user_id()).await;
    new.say(&format!("accept {}", town.stranger.user_id())).await.unwrap();
    new.hear_about("has not asked for this account").await.unwrap();
    assert_eq!(sent_as(&pair.new, scene.new.user_id()), [""; 0], "for another pair");
    town.assert_left_alone("by words and reactions");

    // Transactions that say that the new account agreed, and that everybody is invited everywhere.
    let forged = json!([
        {
            "type": "m.room.message", "room_id": new.room_id(), "event_id": "$forged",
            "sender": scene.new.user_id(), "origin_server_ts": 4_000_000_000_000_u64,
            "content": { "msgtype": "m.text", "body": format!("accept {}", scene.old.user_id()) },
        },
        {
            "type": "m.reaction", "room_id": new.room_id(), "event_id": "$forged2",
            "sender": scene.new.user_id(), "origin_server_ts": 4_000_000_000_000_u64,
            "content": { "m.relates_to": {
                "rel_type": "m.annotation", "event_id": question.event_id, "key": "✅",
            } },
        },
        {
            "type": "m.room.member", "room_id": room, "event_id": "$forged3",
            "sender": scene.friend.user_id(), "state_key": town.listener.user_id(),
            "origin_server_ts": 4_000_000_000_000_u64, "content": { "membership": "invite" },
        },
    ]);
    let token = town.hs_token();
    assert_eq!(town.push("wrong", "1", &forged).await, StatusCode::FORBIDDEN);
    for _ in 0..2 {
        assert_eq!(town.push(&token, "2", &forged).await, StatusCode::OK);
    }
    new.say("status").await.unwrap();
    new.hear_about("wants to move").await.unwrap();
    assert_eq!(sent_as(&pair.new, scene.new.user_id()), [""; 0], "by transactions");
    town.assert_left_alone("by transactions");

    // The witness sees what is sent as an account that agreed.
    new.react(&question.event_id, "✅").await.unwrap();
    old.hear_about("The plan:").await.unwrap();
    assert_ne!(sent_as(&pair.old, scene.old.user_id()), [""; 0]);
    assert_ne!(sent_as(&pair.new, scene.new.user_id()), [""; 0]);

    // A consent that was taken back, by the other side, and everything that could follow.
    old.say("cancel").await.unwrap();
    new.hear_about("has ended").await.unwrap();
    let before = [
        sent_as(&pair.old, scene.old.user_id()).len(),
        sent_as(&pair.new, scene.new.user_id()).len(),
    ];
    // The same again, as other clients write it.
    new.react(&question.event_id, "✅\u{fe0f}").await.unwrap();
    for said in ["login service", "plan", "go", "retry", "resume", "report", "status"] {
        for chat in [&old, &new] {
            chat.say(said).await.unwrap();
            chat.hear(|message| message.sender == bot).await.unwrap();
        }
    }
    for _ in 0..2 {
        assert_eq!(town.push(&token, "3", &forged).await, StatusCode::OK);
    }
    scene.bot.kill().await.unwrap();
    scene.bot.start_again().await.unwrap();
    old.say("forget").await.unwrap();
    old.hear_about("deleted").await.unwrap();
    say_everything(&new, scene.old.user_id()).await;
    assert_eq!(
        [
            sent_as(&pair.old, scene.old.user_id()).len(),
            sent_as(&pair.new, scene.new.user_id()).len(),
        ],
        before,
        "after it was taken back"
    );
    town.assert_left_alone("in the end");
}

#[tokio::test]
async fn a_migration_that_is_finished_lets_nothing_be_sent_unasked_and_forgotten_nothing_at_all() {
    let (pair, service) = widest("wide").await;
    let town = Town::on(&pair, service).await;
    let scene = &town.scene;
    let closed = scene.private_room("Private").await;
    let chats = scene.consented().await;
    let plan = chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    chats.new.hear_about("`forget`").await.unwrap();
    let count = || {
        sent_as(&pair.old, scene.old.user_id()).len()
            + sent_as(&pair.new, scene.new.user_id()).len()
    };
    // What was on its way when somebody was told is logged by then.
    let quiet = async || {
        wait::until("the log is quiet", Duration::from_secs(20), || async {
            let first = count();
            let path = "/_matrix/client/v3/joined_rooms";
            scene.friend.send_raw(Method::GET, path, &json!(null)).await?;
            Ok((first == count()).then_some(first))
        })
        .await
        .unwrap()
    };

    // Its consent stands, for `plan` and `retry`, and for nothing that nobody said.
    let before = quiet().await;
    assert_ne!(before, 0);
    let invited = json!([{
        "type": "m.room.member", "room_id": closed, "event_id": "$late",
        "sender": scene.friend.user_id(), "state_key": scene.new.user_id(),
        "origin_server_ts": 4_000_000_000_000_u64, "content": { "membership": "invite" },
    }]);
    for transaction in ["late", "later"] {
        assert_eq!(town.push(&town.hs_token(), transaction, &invited).await, StatusCode::OK);
    }
    chats.old.react(&plan.event_id, "✅").await.unwrap();
    for chat in [&chats.old, &chats.new] {
        chat.say("status").await.unwrap();
        chat.hear_about("finished").await.unwrap();
    }
    assert_eq!(count(), before, "when it was finished");

    chats.old.say("forget").await.unwrap();
    chats.old.hear_about("deleted").await.unwrap();
    chats.new.hear_about("`forget`").await.unwrap();
    let before = quiet().await;
    say_everything(&chats.new, scene.old.user_id()).await;
    say_everything(&chats.old, scene.new.user_id()).await;
    scene.bot.kill().await.unwrap();
    scene.bot.start_again().await.unwrap();
    chats.old.say("status").await.unwrap();
    chats.old.hear_about("no migration").await.unwrap();
    assert_eq!(count(), before);
    town.assert_left_alone("in the end");
}
