//! One life of the bot: the library, opened on a store, and two people who say what there is to
//! say, as far as they have not said it before.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{OwnedEventId, OwnedUserId, UserId};
use tern::{
    access::Login,
    appservice::Appservices,
    clock::{Clock as _, Timestamp},
    homeserver::Transport,
    migration::{Event, Migrations, Phase, Refusal, Said, Settings},
    moderation::Moderation,
    secret::Secret,
    store::Store,
};

use crate::{
    court::{Court, patience},
    director::Director,
    words::{Nowhere, Plainly},
    world::{BOT, MARA, MARA_NEW, PASSWORD},
};

/// What people read, by the transaction ID that the bot sent it with: the chat's homeserver shows
/// nothing twice that comes with the same one.
pub(crate) type Chat = Mutex<BTreeMap<u64, (OwnedUserId, Event)>>;

/// How long it takes at most until what moderators read says how it ended.
const CLOSING: Duration = Duration::from_secs(60);

/// How long people wait before they say again what was refused.
const PATIENCE: Duration = Duration::from_secs(600);

/// The bot, as far as it is not the chat.
struct Bot {
    migrations: Migrations,
    moderation: Moderation,
}

/// Lives until the migration is finished, moderators have answered or are no longer waited for, and
/// everything is told.
pub(crate) async fn live(
    director: Arc<Director>,
    path: &Path,
    chat: &Chat,
    court: &Court,
    fast: bool,
) -> Migrations {
    let bot = open(&director, path).await;
    tokio::select! {
        biased;
        migrations = talk(&bot, &director, chat, fast) => migrations,
        error = bot.moderation.run(Arc::new(Nowhere)) => panic!("{error}"),
        () = async {
            court.attend(&director).await;
            std::future::pending().await
        } => unreachable!(),
    }
}

async fn open(director: &Arc<Director>, path: &Path) -> Bot {
    let mut rng = StdRng::seed_from_u64(1);
    let store = Store::open(path, &path.join("key"), &mut rng).unwrap();
    let store = store.witnessed(director.clone());
    let configured = ["old.example", "new.example"].map(|name| {
        (name.try_into().unwrap(), format!("http://simulated/{name}").parse().unwrap())
    });
    let clock = director.clock.clone();
    let transport =
        Transport::carried(director.clone(), clock.clone(), rng, configured.into_iter().collect());
    transport.pacing().keep_in(&store).await.unwrap();
    let settings = Settings {
        consent_expires: Duration::from_secs(86_400),
        consent_keep: Duration::from_secs(7 * 86_400),
        quiet_after: Duration::from_secs(31_536_000),
    };
    let bot = BOT.try_into().unwrap();
    let appservices = Appservices::default();
    let migrations =
        Migrations::open(bot, settings, store.clone(), transport, appservices, clock.clone())
            .unwrap();
    let moderation =
        Moderation::new(patience(), migrations.clone(), store, clock, Box::new(Plainly));
    Bot { migrations, moderation }
}

async fn talk(bot: &Bot, director: &Director, chat: &Chat, fast: bool) -> Migrations {
    let migrations = &bot.migrations;
    let mut notices = migrations.notices().unwrap();
    migrations.resume_all();
    say_all(bot, director, fast).await;
    while !(notices.is_empty() && is_finished(migrations)) {
        let notice = notices.recv().await.unwrap();
        director.pass(format!("post notice {}", notice.id)).await;
        chat.lock().unwrap().insert(notice.id, (notice.to.clone(), notice.event.clone()));
        director.pass(format!("posted notice {}", notice.id)).await;
        migrations.delivered(notice.id).await.unwrap();
        say_all(bot, director, fast).await;
    }
    // What was asked is closed a moment after it came to its end.
    director.clock.sleep(CLOSING).await;
    migrations.clone()
}

fn is_finished(migrations: &Migrations) -> bool {
    let migration = migrations.of(MARA.try_into().unwrap());
    migration.is_ok_and(|(migration, _)| migration.phase == Phase::Finished)
}

/// Whatever can be said in this phase and was not said before.
async fn say_all(bot: &Bot, director: &Director, fast: bool) {
    let migrations = &bot.migrations;
    let (old, new) = (<&UserId>::try_from(MARA).unwrap(), <&UserId>::try_from(MARA_NEW).unwrap());
    loop {
        let phase = migrations.of(old).ok().map(|(migration, _)| migration.phase);
        let wanted: &[(&str, &UserId)] = match phase {
            None => &[("start", old)],
            Some(Phase::AwaitingConsent) => &[("accept", new)],
            Some(Phase::AwaitingAccess) => &[("login", old), ("login", new)],
            Some(Phase::AwaitingGo) if fast => &[("fast", old), ("go", old)],
            Some(Phase::AwaitingGo) => &[("go", old)],
            Some(Phase::Finished) => &[("ask", old)],
            _ => &[],
        };
        let unsaid = wanted
            .iter()
            .find(|(word, by)| !migrations.is_handled(&said(word, by).event_id).unwrap());
        let Some((word, by)) = unsaid else { return };
        let said = said(word, by);
        let done = match *word {
            "start" => migrations.start(&said, new).await,
            "accept" => migrations.accept(&said, old).await,
            "go" => {
                let plan = migrations.of(old).unwrap().0.plan_id();
                migrations.go(&said, Some(plan)).await
            }
            "fast" => agree_to_fast(migrations, &said).await,
            "ask" => ask(&bot.moderation, &said).await,
            _ => migrations.login(&said, Login::Password(Secret::from(PASSWORD.to_owned()))).await,
        };
        match done {
            Ok(()) => {}
            Err(Refusal::Login(_)) => director.clock.sleep(PATIENCE).await,
            Err(refusal) => panic!("{word} by {by}: {refusal:?}"),
        }
    }
}

async fn agree_to_fast(migrations: &Migrations, said: &Said) -> Result<(), Refusal> {
    assert!(migrations.offer_fast(said).await?.is_some(), "it is worth it");
    migrations.choose_fast(said, true).await.map(drop)
}

async fn ask(moderation: &Moderation, said: &Said) -> Result<(), Refusal> {
    assert_eq!(moderation.propose(said, None).await?.askable().count(), 4);
    moderation.send(said).await.map(drop)
}

fn said(word: &str, by: &UserId) -> Said {
    let event_id: OwnedEventId = format!("${word}-{}", by.server_name()).try_into().unwrap();
    let room_id = "!chat:old.example".try_into().unwrap();
    Said { by: by.to_owned(), room_id, event_id, sent: Timestamp::UNIX_EPOCH }
}
