//! One life of the bot: the library, opened on a store, and people who say what there is to say, as
//! far as they have not said it before.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{OwnedUserId, UserId};
use tern::{
    access::Login,
    appservice::Appservices,
    clock::{Clock as _, Timestamp},
    config,
    homeserver::Transport,
    migration::{Event, Migrations, Notice, Said, Settings},
    moderation::Moderation,
    secret::Secret,
    store::Store,
};

use crate::{
    wire::Wire,
    words::{Nowhere, Plainly},
};

pub(crate) const PASSWORD: &str = "a password";

/// What people read, by the transaction ID that the bot sent it with: the chat's homeserver shows
/// nothing twice that comes with the same one.
pub(crate) type Chat = Mutex<BTreeMap<u64, (OwnedUserId, Event)>>;

/// Both accounts of somebody who moves.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) old: OwnedUserId,
    pub(crate) new: OwnedUserId,
}

impl Pair {
    pub(crate) fn of(name: &str) -> Self {
        let user = |server| format!("@{name}:{server}").try_into().unwrap();
        Self { old: user(lab::sim::OLD), new: user(lab::sim::NEW) }
    }
}

/// Lives until `until`, and then ends as by a kill.
pub(crate) async fn live(
    wire: &Arc<Wire>,
    folder: &Path,
    people: &[Pair],
    chat: &Chat,
    until: Timestamp,
) {
    let (migrations, moderation) = open(wire, folder).await;
    let mut notices = migrations.notices().unwrap();
    migrations.resume_all();
    let talk = async {
        for pair in people {
            begin(&migrations, pair).await;
        }
        while let Some(notice) = notices.recv().await {
            chat.lock().unwrap().insert(notice.id, (notice.to.clone(), notice.event.clone()));
            follow(&migrations, &moderation, &notice).await;
            migrations.delivered(notice.id).await.unwrap();
        }
    };
    let left = Duration::try_from(until.duration_since(wire.clock.now())).unwrap();
    tokio::select! {
        () = talk => panic!("nobody tells anything any more"),
        error = moderation.run(Arc::new(Nowhere)) => panic!("{error}"),
        () = wire.clock.sleep(left) => {}
    }
}

pub(crate) async fn open(wire: &Arc<Wire>, folder: &Path) -> (Migrations, Moderation) {
    open_as(wire, folder, Appservices::default()).await
}

/// As an application service on these servers.
pub(crate) async fn open_as(
    wire: &Arc<Wire>,
    folder: &Path,
    appservices: Appservices,
) -> (Migrations, Moderation) {
    let mut rng = StdRng::seed_from_u64(1);
    let store = Store::open(folder, &folder.join("key"), &mut rng).unwrap();
    let store = store.witnessed(wire.clone());
    let configured = [lab::sim::OLD, lab::sim::NEW].map(|name| {
        (name.try_into().unwrap(), format!("http://simulated/{name}").parse().unwrap())
    });
    let clock = wire.clock.clone();
    let transport =
        Transport::carried(wire.clone(), clock.clone(), rng, configured.into_iter().collect());
    transport.pacing().keep_in(&store).await.unwrap();
    let day = Duration::from_secs(86_400);
    let settings = Settings { consent_expires: day, consent_keep: 7 * day, quiet_after: 365 * day };
    let bot = "@tern:old.example".try_into().unwrap();
    let migrations =
        Migrations::open(bot, settings, store.clone(), transport, appservices, clock.clone())
            .unwrap();
    let hour = Duration::from_secs(3600);
    let settings = config::Moderation { remind_after: hour, expire_after: 4 * hour };
    let moderation = Moderation::new(settings, migrations.clone(), store, clock, Box::new(Plainly));
    (migrations, moderation)
}

/// Says everything up to `login` that was not said before.
pub(crate) async fn begin(migrations: &Migrations, pair: &Pair) {
    if migrations.of(&pair.old).is_ok() {
        return;
    }
    migrations.start(&said("start", &pair.old), &pair.new).await.unwrap();
    migrations.accept(&said("accept", &pair.new), &pair.old).await.unwrap();
    for user in [&pair.old, &pair.new] {
        let password = Login::Password(Secret::from(PASSWORD.to_owned()));
        migrations.login(&said("login", user), password).await.unwrap();
    }
}

/// Says what a notice is answered with: `go` to the plan, and `ask yes` to the first report.
async fn follow(migrations: &Migrations, moderation: &Moderation, notice: &Notice) {
    let Ok(migration) = migrations.get(notice.migration) else { return };
    let ask = said("ask", &notice.to);
    match notice.event {
        _ if notice.to != migration.old.user_id => {}
        Event::PlanReady => {
            let plan = migration.plan_id();
            migrations.go(&said("go", &notice.to), Some(plan)).await.unwrap();
        }
        Event::Finished if !migrations.is_handled(&ask.event_id).unwrap() => {
            moderation.propose(&ask, None).await.unwrap();
            moderation.send(&ask).await.unwrap();
        }
        _ => {}
    }
}

pub(crate) fn said(word: &str, by: &UserId) -> Said {
    let event_id = format!("${word}-{}-{}", by.localpart(), by.server_name());
    Said {
        by: by.to_owned(),
        room_id: "!chat:old.example".try_into().unwrap(),
        event_id: event_id.try_into().unwrap(),
        sent: Timestamp::UNIX_EPOCH,
    }
}
