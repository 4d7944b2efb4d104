//! Accounts that go away in the middle of a run: sessions that end, and accounts that are deactivated.

use std::time::Duration;

use lab::{Account, Chat, Fault, RoomSpec, Rule, wait};
use reqwest::Method;
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use crate::{
    faults::{Broken, broken},
    scene::{Chats, Scene, is_in, log_in},
};

/// How long a request takes that is to be seen on its way.
const SLOWLY: Fault = Fault::Delay(Duration::from_secs(1));

/// What shows that an account's owner knows its password.
fn proof(account: &Account) -> Value {
    let who = json!({ "type": "m.id.user", "user": account.user_id() });
    json!({ "type": "m.login.password", "identifier": who, "password": account.password() })
}

async fn deactivate(account: &Account) {
    let path = "/_matrix/client/v3/account/deactivate";
    account.send_raw(Method::POST, path, &json!({ "auth": proof(account) })).await.unwrap();
}

/// Logs the bot's device out, as a person does who finds it in their list.
async fn log_bot_out(account: &Account) {
    let path = "/_matrix/client/v3/devices";
    let devices = account.send_raw(Method::GET, path, &Value::Null).await.unwrap();
    let devices = devices["devices"].as_array().unwrap().iter();
    let bots = devices.filter_map(|device| device["device_id"].as_str());
    let bots = bots.filter(|id| id.starts_with("TERN")).collect::<Vec<_>>();
    let [bots] = bots[..] else { panic!("{bots:?}") };
    let path = format!("{path}/{bots}");
    account.send_raw(Method::DELETE, &path, &json!({ "auth": proof(account) })).await.unwrap();
}

async fn six_rooms(scene: &Scene<'_>) -> Vec<OwnedRoomId> {
    let mut rooms = Vec::new();
    for number in 0..3 {
        rooms.push(scene.room(RoomSpec::public(&format!("Public {number}"))).await);
        rooms.push(scene.private_room(&format!("Private {number}")).await);
    }
    rooms
}

/// Waits until the new account is in some of the rooms, but not in all.
async fn halfway(scene: &Scene<'_>, rooms: &[OwnedRoomId]) {
    let entered = async || {
        let joined = scene.new.joined_rooms().await.unwrap();
        rooms.iter().filter(|room| joined.contains(*room)).count()
    };
    wait::until("some rooms are joined", Duration::from_secs(60), || async {
        Ok((entered().await > 0).then_some(()))
    })
    .await
    .unwrap();
    assert!(entered().await < rooms.len());
}

/// The report comes, with all rooms in it, and nobody was invited twice.
async fn goes_on_to_the_end(scene: &Scene<'_>, chat: &Chat, rooms: &[OwnedRoomId]) {
    let report = chat.hear_about("`forget`").await.unwrap().body;
    assert!(report.contains("in 6 of 6 rooms"), "{report}");
    for room in rooms {
        assert!(is_in(&scene.new, room).await);
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100");
        let events = scene.friend.send_raw(Method::GET, &path, &Value::Null).await.unwrap();
        let invitations = events["chunk"].as_array().unwrap().iter().filter(|event| {
            event["state_key"] == scene.new.user_id().as_str()
                && event["content"]["membership"] == "invite"
        });
        assert!(invitations.count() <= 1, "{events:#}");
    }
}

#[tokio::test]
async fn a_session_of_the_new_account_that_ends_is_asked_for_again_and_nothing_else_is_lost() {
    for soft_logout in [true, false] {
        let name = format!("gone-new-{soft_logout}");
        let Broken { scene, new, old: _passes } = broken(&name).await;
        let rooms = six_rooms(&scene).await;
        let chats = scene.planned().await;
        let error = json!({ "errcode": "M_UNKNOWN_TOKEN", "soft_logout": soft_logout });
        new.add(Rule::on(Method::POST, "/join/", Fault::json(401, &error)).after(2));
        chats.old.say("go").await.unwrap();
        chats.new.hear_about("no longer accepts").await.unwrap();
        new.clear();
        log_in(&chats.new).await;
        // The run goes on by itself.
        goes_on_to_the_end(&scene, &chats.old, &rooms).await;
    }
}

#[tokio::test]
async fn a_soft_logout_of_the_old_account_is_told_and_the_run_goes_on_after_a_new_login() {
    let Broken { scene, old, new: _passes } = broken("gone-old").await;
    let rooms = six_rooms(&scene).await;
    let chats = scene.planned().await;
    let error = json!({ "errcode": "M_UNKNOWN_TOKEN", "soft_logout": true });
    old.add(Rule::on(Method::POST, "/invite", Fault::json(401, &error)).after(1));
    chats.old.say("go").await.unwrap();
    let told = chats.old.hear_about("no longer accepts").await.unwrap().body;
    assert!(told.contains("say `login` here"), "{told}");
    old.clear();
    log_in(&chats.old).await;
    goes_on_to_the_end(&scene, &chats.old, &rooms).await;
}

#[tokio::test]
async fn a_person_who_logs_the_bot_out_of_the_old_account_can_let_it_in_again() {
    let Broken { scene, old, new: _passes } = broken("logged-out").await;
    let rooms = six_rooms(&scene).await;
    let chats = scene.planned().await;
    old.add(Rule::on(Method::POST, "/invite", SLOWLY));
    chats.old.say("go").await.unwrap();
    halfway(&scene, &rooms).await;
    log_bot_out(&scene.old).await;
    chats.old.hear_about("no longer accepts").await.unwrap();
    let told = chats.new.hear_about("no longer accepts").await.unwrap().body;
    assert!(told.contains(&format!("say `login` from {}", scene.old.user_id())), "{told}");
    log_in(&chats.old).await;
    goes_on_to_the_end(&scene, &chats.old, &rooms).await;
}

#[tokio::test]
async fn a_new_account_that_is_deactivated_halfway_ends_nothing_but_its_access() {
    let Broken { scene, new, old: _passes } = broken("deactivated").await;
    let rooms = six_rooms(&scene).await;
    let chats = scene.planned().await;
    new.add(Rule::on(Method::POST, "/join/", SLOWLY).after(1));
    chats.old.say("go").await.unwrap();
    halfway(&scene, &rooms).await;
    deactivate(&scene.new).await;
    let told = chats.old.hear_about("no longer accepts").await.unwrap().body;
    assert!(told.contains(scene.new.user_id().as_str()), "{told}");
    assert!(told.contains("gone for good, say `cancel`"), "{told}");
    chats.old.say("cancel").await.unwrap();
    chats.old.hear_about("has ended").await.unwrap();
}

/// A migration of six rooms whose old account is deactivated halfway. What the new one is told.
async fn old_is_deactivated(broken: &Broken, rooms: &[OwnedRoomId]) -> (Chats, String) {
    let Broken { scene, old, new } = broken;
    let chats = scene.planned().await;
    old.add(Rule::on(Method::POST, "/invite", SLOWLY));
    new.add(Rule::on(Method::POST, "/join/", SLOWLY).after(1));
    chats.old.say("go").await.unwrap();
    halfway(scene, rooms).await;
    deactivate(&scene.old).await;
    let told = chats.new.hear_about("no longer accepts").await.unwrap().body;
    assert!(told.contains(scene.old.user_id().as_str()), "{told}");
    (chats, told)
}

/// The report tells of all rooms that the new account is in, and of private ones that it is not in.
async fn is_told_truly(scene: &Scene<'_>, rooms: &[OwnedRoomId], report: &str) -> usize {
    let mut entered = 0;
    for room in rooms {
        entered += usize::from(is_in(&scene.new, room).await);
    }
    assert!(report.contains(&format!("in {entered} of 6 rooms")), "{report}");
    let left = report.split("did not get to these rooms:").nth(1).unwrap_or_default();
    assert!(left.contains("“Private"), "{report}");
    entered
}

#[tokio::test]
async fn when_the_old_account_is_deactivated_halfway_the_new_one_is_told_what_was_done() {
    let broken = broken("deactivated-old").await;
    let rooms = six_rooms(&broken.scene).await;
    let (chats, told) = old_is_deactivated(&broken, &rooms).await;
    assert!(told.contains("Or say `cancel`"), "{told}");
    chats.new.say("cancel").await.unwrap();
    chats.new.hear_about("has ended").await.unwrap();
    chats.new.say("report").await.unwrap();
    let report = chats.new.hear_about("The report:").await.unwrap().body;
    is_told_truly(&broken.scene, &rooms, &report).await;
}

#[tokio::test]
async fn when_the_old_account_is_gone_for_good_the_new_one_goes_on_with_what_needs_no_invitation() {
    let broken = broken("gone-for-good").await;
    let rooms = six_rooms(&broken.scene).await;
    let (chats, told) = old_is_deactivated(&broken, &rooms).await;
    assert!(told.contains("gone for good, say `resume`"), "{told}");
    chats.new.say("status").await.unwrap();
    chats.new.hear_about("`resume` goes on without it").await.unwrap();
    chats.new.say("resume").await.unwrap();
    chats.new.hear_about("goes on without").await.unwrap();
    let report = chats.new.hear_about("`forget`").await.unwrap().body;
    let entered = is_told_truly(&broken.scene, &rooms, &report).await;
    let mut public = 0;
    for room in rooms.iter().step_by(2) {
        public += usize::from(is_in(&broken.scene.new, room).await);
    }
    assert_eq!(public, 3, "every second room is public: {report}");
    assert!(entered < rooms.len(), "{report}");
}
