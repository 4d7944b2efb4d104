//! Rooms that only their moderators open.

use std::{path::Path, time::Duration};

use lab::{Account, Chat, Person, RoomSpec, served_pair, wait};
use ruma::{OwnedEventId, OwnedRoomId, TransactionId, UserId, room::JoinRuleKind};
use serde_json::{Value, json};

use crate::scene::{Chats, Scene, TERN, is_in};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A scene with a moderator, and a room that the moderator runs.
pub(crate) struct Court {
    pub(crate) scene: Scene<'static>,
    pub(crate) moderator: Person,
    pub(crate) room: OwnedRoomId,
}

impl Court {
    pub(crate) async fn new(name: &str) -> Self {
        Self::with(name, json!({}), |spec| spec).await
    }

    /// With more of the configuration, and a room that is more than that.
    pub(crate) async fn with(
        name: &str,
        settings: Value,
        more: impl FnOnce(RoomSpec) -> RoomSpec,
    ) -> Self {
        Self::of(Scene::with_settings(name, settings).await, name, more).await
    }

    /// In this scene.
    pub(crate) async fn of(
        scene: Scene<'static>,
        name: &str,
        more: impl FnOnce(RoomSpec) -> RoomSpec,
    ) -> Self {
        let moderator = scene.pair.old.person(&format!("{name}-mod")).await.unwrap();
        let spec = RoomSpec::private("Committee").invite(scene.old.user_id());
        let spec = more(spec.invite(scene.friend.user_id()).needs("invite", 50));
        let room = moderator.create_room(spec).await.unwrap();
        scene.old.join(&room).await.unwrap();
        scene.friend.join(&room).await.unwrap();
        Self { scene, moderator, room }
    }

    /// Chats in which the plan was run, and the room is what is left.
    pub(crate) async fn run(&self) -> Chats {
        let chats = self.scene.planned().await;
        chats.old.say("go").await.unwrap();
        chats.old.hear_about("Say `ask`").await.unwrap();
        chats
    }

    /// The same with the moderators asked.
    pub(crate) async fn asked(&self) -> Chats {
        let chats = self.run().await;
        ask(&chats.old).await;
        chats
    }

    /// What the old account wrote in the room, once it did.
    pub(crate) async fn request(&self) -> Value {
        wait::until("the moderators are asked", PATIENCE, || async {
            Ok(self.requests().await.pop())
        })
        .await
        .unwrap()
    }

    /// What was written in the room to ask, without edits.
    pub(crate) async fn requests(&self) -> Vec<Value> {
        let asks = |event: &Value| {
            let content = &event["content"];
            content["tern.invite_request"].is_object()
                && content["m.relates_to"].is_null()
                && event["type"] == "m.room.message"
        };
        self.events().await.into_iter().filter(asks).collect()
    }

    /// What happened in the room, newest first.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=100", self.room);
        let get = reqwest::Method::GET;
        let answer = self.moderator.send_raw(get, &path, &Value::Null).await.unwrap();
        answer["chunk"].as_array().unwrap().clone()
    }

    /// Waits until what was asked says how it ended.
    pub(crate) async fn closed(&self, with: &str) -> Value {
        wait::until(&format!("the request says {with:?}"), PATIENCE, || async {
            let edit = self.events().await.into_iter().find(|event| {
                event["content"]["m.relates_to"]["rel_type"] == "m.replace"
                    && event["content"]["m.new_content"]["body"]
                        .as_str()
                        .is_some_and(|body| body.contains(with))
            });
            Ok(edit)
        })
        .await
        .unwrap()
    }

    pub(crate) async fn let_in(&self) {
        wait::until("the new account is in", PATIENCE, || async {
            Ok(is_in(&self.scene.new, &self.room).await.then_some(()))
        })
        .await
        .unwrap();
    }
}

/// Says `ask` and confirms what is shown.
pub(crate) async fn ask(chat: &Chat) -> String {
    chat.say("ask").await.unwrap();
    let shown = chat.hear_about("Nothing is sent before you say yes").await.unwrap();
    chat.say("ask yes").await.unwrap();
    chat.hear_about("I am asking for help in").await.unwrap();
    shown.body
}

pub(crate) async fn react(by: &Account, room: &OwnedRoomId, to: &Value, key: &str) -> OwnedEventId {
    let relation = json!({ "rel_type": "m.annotation", "event_id": to["event_id"], "key": key });
    let content = json!({ "m.relates_to": relation });
    send(by, room, "m.reaction", &content).await
}

/// Sends any event.
pub(crate) async fn send(
    by: &Account,
    room: &OwnedRoomId,
    kind: &str,
    content: &Value,
) -> OwnedEventId {
    let transaction = TransactionId::new();
    let path = format!("/_matrix/client/v3/rooms/{room}/send/{kind}/{transaction}");
    let answer = by.send_raw(reqwest::Method::PUT, &path, content).await.unwrap();
    answer["event_id"].as_str().unwrap().try_into().unwrap()
}

pub(crate) async fn set_level(court: &Court, user: &UserId, level: i32) {
    let kind = "m.room.power_levels";
    let mut levels = court.moderator.state(&court.room, kind, "").await.unwrap().unwrap();
    levels["users"][user.as_str()] = json!(level);
    court.moderator.set_state(&court.room, kind, "", &levels).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_before_the_person_saw_it_and_said_yes_and_then_it_is_what_they_saw() {
    let court = Court::new("modshown").await;
    let chats = court.run().await;
    chats.old.say("ask yes").await.unwrap();
    chats.old.hear_about("Nothing is sent before you say yes").await.unwrap();
    chats.old.say("ask text Hi, it is me from the Tuesday group.").await.unwrap();
    chats.old.hear_about("I begin with your words").await.unwrap();
    assert!(court.requests().await.is_empty());
    let shown = ask(&chats.old).await;
    let request = court.request().await;
    let content = &request["content"];
    let body = content["body"].as_str().unwrap();
    for line in body.lines().filter(|line| !line.is_empty()) {
        assert!(shown.contains(line), "{line:?} is not in {shown}");
    }
    assert!(body.starts_with("Hi, it is me from the Tuesday group."), "{body}");
    for fact in [court.scene.old.user_id().as_str(), court.scene.new.user_id().as_str(), "/invite"]
    {
        assert!(body.contains(fact), "{fact} is not in {body}");
    }
    let mentioned = &content["m.mentions"]["user_ids"];
    assert_eq!(*mentioned, json!([court.moderator.user_id()]));
    let block = &content["tern.invite_request"];
    assert_eq!(block["new_user_id"], court.scene.new.user_id().as_str());
    assert_eq!(request["sender"], court.scene.old.user_id().as_str());
    chats.old.say("status").await.unwrap();
    chats.old.hear_about("waits for the moderators").await.unwrap();
}

#[tokio::test]
async fn a_native_invitation_is_followed_by_the_join_and_the_request_says_so() {
    let court = Court::new("modnative").await;
    let tag = ruma::events::tag::TagName::Favorite;
    court.scene.old.set_tag(&court.room, tag.clone(), Some(0.5)).await.unwrap();
    let chats = court.asked().await;
    court.request().await;
    court.moderator.invite(&court.room, court.scene.new.user_id()).await.unwrap();
    court.let_in().await;
    chats.old.hear_about("`forget`").await.unwrap();
    court.closed("Done").await;
    let tags = court.scene.new.tags(&court.room).await.unwrap();
    assert!(tags.contains_key(&tag), "{}", chats.old.transcript());
    chats.old.say("report").await.unwrap();
    let report = chats.old.hear(|message| message.file.is_some()).await.unwrap();
    let csv = String::from_utf8(chats.old.download(&report).await.unwrap()).unwrap();
    let let_in = format!("let in by {}", court.moderator.user_id());
    assert!(csv.contains(&let_in), "{csv}");
}

#[tokio::test]
async fn a_yes_of_a_moderator_for_whom_the_bot_cannot_act_is_thanked_once_with_the_command() {
    let court = Court::new("modthanks").await;
    court.asked().await;
    let request = court.request().await;
    react(&court.moderator, &court.room, &request, "✅").await;
    let thanks = wait::until("the moderator is thanked", PATIENCE, || async {
        let thanks = court.events().await.into_iter().find(|event| {
            event["content"]["body"].as_str().is_some_and(|body| body.contains("thank you"))
        });
        Ok(thanks)
    })
    .await
    .unwrap();
    let body = thanks["content"]["body"].as_str().unwrap();
    assert!(body.contains(&format!("/invite {}", court.scene.new.user_id())), "{body}");
    assert!(!is_in(&court.scene.new, &court.room).await);
    court.moderator.invite(&court.room, court.scene.new.user_id()).await.unwrap();
    court.let_in().await;
}

#[tokio::test]
async fn a_no_of_a_moderator_is_told_and_remembered_and_others_count_for_nothing() {
    let court = Court::new("modno").await;
    let chats = court.asked().await;
    let request = court.request().await;
    // The friend may not invite, and neither may the old account itself.
    react(&court.scene.friend, &court.room, &request, "❌").await;
    react(&court.scene.friend, &court.room, &request, "✅").await;
    react(&court.scene.old, &court.room, &request, "❌").await;
    react(&court.moderator, &court.room, &request, "❌").await;
    let told = chats.old.hear_about("said no").await.unwrap();
    assert!(told.body.contains(court.moderator.user_id().as_str()), "{}", told.body);
    chats.new.hear_about("said no").await.unwrap();
    court.closed("said no").await;
    chats.old.say("ask").await.unwrap();
    chats.old.hear_about("a moderator said no").await.unwrap();
    assert_eq!(court.requests().await.len(), 1);
}

#[tokio::test]
async fn power_counts_as_it_is_when_the_answer_comes() {
    let court = Court::new("modpower").await;
    let demoted = court.scene.pair.old.account("modpower-demoted").await.unwrap();
    court.moderator.invite(&court.room, demoted.user_id()).await.unwrap();
    demoted.join(&court.room).await.unwrap();
    set_level(&court, demoted.user_id(), 50).await;
    let chats = court.asked().await;
    let request = court.request().await;
    set_level(&court, demoted.user_id(), 0).await;
    set_level(&court, court.scene.friend.user_id(), 50).await;
    react(&demoted, &court.room, &request, "❌").await;
    react(&court.scene.friend, &court.room, &request, "❌").await;
    let told = chats.old.hear_about("said no").await.unwrap();
    assert!(told.body.contains(court.scene.friend.user_id().as_str()), "{}", told.body);
}

#[tokio::test]
async fn a_knock_is_accepted() {
    let court =
        Court::with("modknock", json!({}), |spec| spec.join_rule(JoinRuleKind::Knock)).await;
    let chats = court.asked().await;
    wait::until("the new account knocks", PATIENCE, || async {
        let member = court.moderator.member(&court.room, court.scene.new.user_id()).await?;
        Ok((member == Some(ruma::events::room::member::MembershipState::Knock)).then_some(()))
    })
    .await
    .unwrap();
    assert!(court.requests().await.is_empty(), "one way is enough");
    court.moderator.invite(&court.room, court.scene.new.user_id()).await.unwrap();
    court.let_in().await;
    chats.old.hear_about("`forget`").await.unwrap();
}

#[tokio::test]
async fn a_knock_that_is_turned_down_is_a_no() {
    let court = Court::with("modkick", json!({}), |spec| spec.join_rule(JoinRuleKind::Knock)).await;
    let chats = court.asked().await;
    wait::until("the new account knocks", PATIENCE, || async {
        let member = court.moderator.member(&court.room, court.scene.new.user_id()).await?;
        Ok((member == Some(ruma::events::room::member::MembershipState::Knock)).then_some(()))
    })
    .await
    .unwrap();
    let path = format!("/_matrix/client/v3/rooms/{}/kick", court.room);
    let body = json!({ "user_id": court.scene.new.user_id() });
    court.moderator.send_raw(reqwest::Method::POST, &path, &body).await.unwrap();
    chats.old.hear_about("said no").await.unwrap();
}

#[tokio::test]
async fn a_room_that_becomes_public_is_joined() {
    let court = Court::new("modpublic").await;
    court.asked().await;
    court.request().await;
    let public = json!({ "join_rule": "public" });
    court.moderator.set_state(&court.room, "m.room.join_rules", "", &public).await.unwrap();
    court.let_in().await;
}

#[tokio::test]
async fn cancel_takes_the_request_back() {
    let court = Court::new("modcancel").await;
    let chats = court.asked().await;
    court.request().await;
    chats.old.say("cancel").await.unwrap();
    chats.old.hear_about("has ended").await.unwrap();
    court.closed("Taken back").await;
}

#[tokio::test]
async fn stop_is_for_the_whole_room_and_any_person() {
    let court = Court::new("modstop").await;
    let chats = court.asked().await;
    let request = court.request().await;
    let relation = json!({ "m.in_reply_to": { "event_id": request["event_id"] } });
    let stop = json!({ "msgtype": "m.text", "body": "stop", "m.relates_to": relation });
    for by in [&court.scene.friend, court.moderator.account()] {
        send(by, &court.room, "m.room.message", &stop).await;
    }
    let told = chats.old.hear_about("said no").await.unwrap();
    assert!(told.body.contains(court.moderator.user_id().as_str()), "{}", told.body);
    chats.old.say("ask").await.unwrap();
    chats.old.hear_about("wants nobody to be asked there").await.unwrap();
}

#[tokio::test]
async fn a_yes_of_a_moderator_whom_the_bot_covers_is_the_invitation_and_a_members_is_nothing() {
    let (pair, service) = served_pair(Path::new(TERN)).await.unwrap();
    let scene = Scene::with_service(pair, service.id(), Some(&service), json!({})).await;
    let court = Court::of(scene, service.id(), |spec| spec).await;
    let chats = court.scene.consented().await;
    chats.old.hear_about("The plan:").await.unwrap();
    chats.old.say("go").await.unwrap();
    chats.old.hear_about("Say `ask`").await.unwrap();
    ask(&chats.old).await;
    let request = court.request().await;
    react(&court.scene.friend, &court.room, &request, "✅").await;
    react(&court.moderator, &court.room, &request, "✅").await;
    court.let_in().await;
    let events = court.events().await;
    let invitations: Vec<_> = events
        .iter()
        .filter(|event| event["state_key"] == court.scene.new.user_id().as_str())
        .filter(|event| event["content"]["membership"] == "invite")
        .collect();
    assert_eq!(invitations.len(), 1);
    assert_eq!(invitations[0]["sender"], court.moderator.user_id().as_str());
}

/// The moderator is asked in a direct message, and nothing is said in the room.
async fn asked_in_person(name: &str, more: impl FnOnce(RoomSpec) -> RoomSpec) {
    let court = Court::with(name, json!({}), more).await;
    let chats = court.asked().await;
    refused_in_person(&court, &chats).await;
}

/// The moderator is asked in a direct message and refuses there, and nothing is said in the room.
pub(crate) async fn refused_in_person(court: &Court, chats: &Chats) {
    let chat = court.moderator.chat_from(court.scene.bot.user_id()).await.unwrap();
    let request = chat.hear_about("is moving to a new Matrix account").await.unwrap();
    assert!(request.encrypted);
    assert!(request.body.contains("Committee"), "{}", request.body);
    chat.react(&request.event_id, "❌").await.unwrap();
    chats.old.hear_about("said no").await.unwrap();
    chat.hear_edit(&request.event_id, |message| message.body.contains("said no")).await.unwrap();
    let said = court.events().await.into_iter().filter(|event| {
        event["sender"] == court.scene.old.user_id().as_str() && event["state_key"].is_null()
    });
    assert_eq!(said.count(), 0, "nothing is said in the room");
}

#[tokio::test]
async fn where_the_old_account_may_not_speak_a_moderator_is_asked_in_a_direct_message() {
    asked_in_person("modsilent", |spec| spec.needs("events_default", 50)).await;
}

#[tokio::test]
async fn a_bot_that_is_killed_while_it_asks_and_listens_asks_once_and_loses_no_answer() {
    let court = Court::new("modkill").await;
    let chats = court.run().await;
    chats.old.say("ask").await.unwrap();
    chats.old.hear_about("Nothing is sent before you say yes").await.unwrap();
    chats.old.say("ask yes").await.unwrap();
    let again = || async {
        court.scene.bot.kill().await.unwrap();
        court.scene.bot.start_again().await.unwrap();
    };
    again().await;
    chats.old.hear_about("I am asking for help in").await.unwrap();
    again().await;
    let request = court.request().await;
    court.scene.bot.kill().await.unwrap();
    react(&court.moderator, &court.room, &request, "❌").await;
    court.scene.bot.start_again().await.unwrap();
    chats.old.hear_about("said no").await.unwrap();
    again().await;
    court.closed("said no").await;
    assert_eq!(court.requests().await.len(), 1);
}

#[tokio::test]
async fn where_a_moderator_invited_already_nobody_is_asked_and_the_new_account_joins() {
    let court = Court::new("modearly").await;
    let chats = court.run().await;
    court.moderator.invite(&court.room, court.scene.new.user_id()).await.unwrap();
    chats.old.say("ask").await.unwrap();
    chats.old.hear_about("can get in by now").await.unwrap();
    chats.old.say("ask yes").await.unwrap();
    court.let_in().await;
    assert!(court.requests().await.is_empty());
}

#[tokio::test]
async fn of_two_moderators_at_once_the_first_is_told() {
    let court = Court::new("modtwo").await;
    let chats = court.asked().await;
    set_level(&court, court.scene.friend.user_id(), 50).await;
    let request = court.request().await;
    tokio::join!(
        react(&court.moderator, &court.room, &request, "❌"),
        react(&court.scene.friend, &court.room, &request, "❌"),
    );
    chats.old.hear_about("said no").await.unwrap();
    chats.old.hear_about("`forget`").await.unwrap();
    court.closed("said no").await;
    let told = chats.old.messages().into_iter().filter(|it| it.body.contains("does not get in"));
    assert_eq!(told.count(), 1, "{}", chats.old.transcript());
}

#[tokio::test]
async fn an_old_account_that_is_kicked_while_it_waits_is_told_so() {
    let court = Court::new("modkicked").await;
    let chats = court.asked().await;
    court.request().await;
    let path = format!("/_matrix/client/v3/rooms/{}/kick", court.room);
    let body = json!({ "user_id": court.scene.old.user_id() });
    court.moderator.send_raw(reqwest::Method::POST, &path, &body).await.unwrap();
    chats.old.hear_about("is not any more").await.unwrap();
}
