use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{OwnedUserId, owned_room_id, user_id};

use super::*;
use crate::{
    appservice::Appservices,
    clock::HeldClock,
    homeserver::{Reach, Transport},
    migration::{Refusal, Said, Settings},
    store::Store,
};

struct Scene {
    _folder: tempfile::TempDir,
    clock: Arc<HeldClock>,
    store: Store,
    migrations: Migrations,
    words: u64,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let store = Store::open(folder.path(), &folder.path().join("key"), &mut rng).unwrap();
        let clock = HeldClock::new(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(400_000));
        let transport = Transport::new(clock.clone(), rng, Reach::default()).unwrap();
        let day = Duration::from_secs(86_400);
        let migrations = Migrations::open(
            "@tern:a.example".try_into().unwrap(),
            Settings { consent_expires: day, quiet_after: day },
            store.clone(),
            transport,
            Appservices::default(),
            clock.clone(),
        )
        .unwrap();
        Self { _folder: folder, clock, store, migrations, words: 0 }
    }

    fn said(&mut self, by: &UserId) -> Said {
        self.words += 1;
        Said {
            by: by.to_owned(),
            room_id: owned_room_id!("!chat:a.example"),
            event_id: format!("$word{}", self.words).try_into().unwrap(),
            sent: self.clock.now(),
        }
    }

    /// Somebody begins, and changes their mind.
    async fn begin_and_end(&mut self, old: &UserId, new: &UserId) -> Result<(), Refusal> {
        let start = self.said(old);
        self.migrations.start(&start, new).await?;
        let cancel = self.said(old);
        self.migrations.cancel(&cancel).await
    }

    async fn tidy(&self) {
        self.migrations.0.delete_ended(self.clock.now()).await.unwrap();
    }

    fn records(&self) -> usize {
        ["migration", "plan", "report", "notice"]
            .map(|name| self.store.table::<serde_json::Value>(name).iter().count())
            .iter()
            .sum()
    }
}

fn stranger(number: usize) -> OwnedUserId {
    format!("@stranger{number}:a.example").try_into().unwrap()
}

#[tokio::test]
async fn nothing_is_left_after_a_while_of_migrations_that_came_to_nothing() {
    let mut scene = Scene::new();
    for number in 0..100 {
        let new = format!("@new{number}:b.example").try_into().unwrap();
        scene.begin_and_end(&stranger(number), <&UserId>::from(&new)).await.unwrap();
    }
    let asked = scene.said(user_id!("@asks:a.example"));
    scene.migrations.start(&asked, user_id!("@asked:b.example")).await.unwrap();
    scene.tidy().await;
    assert_eq!(scene.migrations.all().len(), 101, "who asks what became of it is told");
    let before = scene.records();
    scene.clock.advance(Duration::try_from(KEPT).unwrap());
    scene.tidy().await;
    let kept = scene.migrations.all();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].old.user_id, "@asks:a.example", "what goes on stays");
    assert!(before > 300 && scene.records() < 4, "{before} {}", scene.records());
}

#[tokio::test]
async fn a_stranger_who_begins_again_and_again_has_only_the_last_ones_kept() {
    let mut scene = Scene::new();
    let mallory = user_id!("@mallory:a.example");
    for number in 0..4 * MOST_OF_ACCOUNT {
        let new: OwnedUserId = format!("@new{number}:b.example").try_into().unwrap();
        while scene.begin_and_end(mallory, &new).await.is_err() {
            // Somebody who asks others is not let ask more of them on one day.
            scene.clock.advance(Duration::from_secs(3600));
        }
    }
    let kept = scene.migrations.all();
    assert_eq!(kept.len(), MOST_OF_ACCOUNT);
    assert_eq!(kept.last().unwrap().new.user_id, "@new39:b.example");
}
