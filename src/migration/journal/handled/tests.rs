use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{owned_room_id, owned_user_id};

use super::*;

struct Scene {
    folder: tempfile::TempDir,
    store: Store,
    handled: Handled,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let handled = Handled::open(&store).unwrap();
        Self { folder, store, handled }
    }

    async fn deal_with(&self, said: &Said, now: Timestamp) {
        let mut batch = Batch::new();
        self.handled.put(&mut batch, said, now).unwrap();
        self.store.commit(batch).await.unwrap();
    }

    async fn forget(&self, said: &Said, now: Timestamp) {
        let mut batch = Batch::new();
        self.handled.put(&mut batch, said, now).unwrap();
        self.handled.put_forgotten(&mut batch, said, now).unwrap();
        self.store.commit(batch).await.unwrap();
    }

    async fn settle(&self, now: Timestamp) {
        let number = self.store.next_id().unwrap();
        self.handled.settle(number, now).await.unwrap();
    }

    fn is_refused(&self, said: &Said, now: Timestamp) -> bool {
        self.handled.contains(&said.event_id).unwrap() || self.handled.is_old(said, now).unwrap()
    }

    fn records(&self) -> usize {
        self.handled.marks.iter().count() + self.handled.not_before.iter().count()
    }
}

fn open(folder: &tempfile::TempDir) -> Store {
    let mut rng = StdRng::seed_from_u64(1);
    Store::open(folder.path(), &folder.path().join("key"), &mut rng).unwrap()
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(30_000_000 + minute)
}

fn said(by: &str, word: &str, sent: Timestamp) -> Said {
    Said {
        by: by.try_into().unwrap(),
        room_id: owned_room_id!("!chat:a.example"),
        event_id: format!("${word}").try_into().unwrap(),
        sent,
    }
}

const ALICE: &str = "@alice:a.example";

#[tokio::test]
async fn what_was_dealt_with_stays_so_over_restarts_and_when_its_mark_is_given_up() {
    let scene = Scene::new();
    let accept = said(ALICE, "accept", minute(0));
    assert!(!scene.is_refused(&accept, minute(0)));
    scene.deal_with(&accept, minute(0)).await;
    assert!(scene.is_refused(&accept, minute(0)));
    let Scene { folder, store, handled } = scene;
    drop((store, handled));
    let store = open(&folder);
    let scene = Scene { handled: Handled::open(&store).unwrap(), folder, store };
    assert!(scene.handled.contains(&accept.event_id).unwrap());
    scene.settle(minute(59)).await;
    assert!(scene.handled.contains(&accept.event_id).unwrap(), "others may still come before it");
    scene.deal_with(&said(ALICE, "last", minute(1)), minute(1)).await;
    scene.settle(minute(62)).await;
    assert!(!scene.handled.contains(&accept.event_id).unwrap());
    assert!(scene.is_refused(&accept, minute(62)));
    assert!(!scene.is_refused(&said(ALICE, "new", minute(2)), minute(62)));
    assert!(!scene.is_refused(&said("@bob:a.example", "old", minute(0)), minute(62)));
}

#[tokio::test]
async fn a_mark_stays_while_what_came_with_it_is_not_dealt_with() {
    let scene = Scene::new();
    let before = scene.store.next_id().unwrap();
    let accept = said(ALICE, "accept", minute(0));
    scene.deal_with(&accept, minute(0)).await;
    scene.handled.settle(before, minute(600)).await.unwrap();
    assert!(scene.handled.contains(&accept.event_id).unwrap());
}

#[tokio::test]
async fn nothing_is_obeyed_that_was_said_before_the_last_forget() {
    let scene = Scene::new();
    scene.forget(&said(ALICE, "forget", minute(10)), minute(10)).await;
    assert!(scene.is_refused(&said(ALICE, "elsewhere", minute(9)), minute(11)));
    assert!(!scene.is_refused(&said(ALICE, "start", minute(11)), minute(11)));
    let stored: Vec<_> = scene.handled.marks.iter().map(|record| record.unwrap()).collect();
    let shown = format!("{stored:?}");
    assert!(!shown.contains("alice") && !shown.contains("forget"), "{shown}");
}

#[tokio::test]
async fn a_clock_that_was_fast_locks_nobody_out_when_it_is_right_again() {
    let scene = Scene::new();
    for (word, ahead) in [("a day", 24 * 60), ("a year", 365 * 24 * 60)] {
        scene.forget(&said(ALICE, word, minute(ahead)), minute(0)).await;
    }
    assert!(!scene.is_refused(&said(ALICE, "start", minute(1)), minute(1)));
    scene.settle(minute(120)).await;
    assert!(!scene.is_refused(&said(ALICE, "next", minute(120)), minute(120)));
    let by_fast_clock = said(ALICE, "a day", minute(24 * 60));
    for now in [120, 26 * 60, 48 * 60] {
        assert!(scene.is_refused(&by_fast_clock, minute(now)), "{now}");
        scene.settle(minute(now)).await;
    }
}

#[tokio::test]
async fn what_is_kept_is_bounded_however_many_strangers_say_however_much() {
    let scene = Scene::new();
    let (mut words, mut batch) = (Vec::new(), Batch::new());
    for number in 0..MOST_MARKS + 500 {
        let by = format!("@stranger{number}:a.example");
        let at = minute(0) + SignedDuration::from_millis(number as i64);
        let word = said(&by, &format!("word{number}"), at);
        scene.handled.put(&mut batch, &word, at).unwrap();
        words.push(word);
    }
    scene.store.commit(batch).await.unwrap();
    scene.settle(minute(1)).await;
    assert_eq!(scene.handled.marks.iter().count(), MOST_MARKS);
    assert!(words.iter().all(|word| scene.is_refused(word, minute(1))));
    scene.settle(minute(120)).await;
    assert_eq!(scene.handled.marks.iter().count(), 0);
    assert!(words.iter().all(|word| scene.is_refused(word, minute(120))));
    scene.settle(minute(120) + OLDEST).await;
    assert_eq!(scene.records(), 0);
    assert!(words.iter().all(|word| scene.is_refused(word, minute(120) + OLDEST)));
}

#[tokio::test]
async fn where_there_are_too_many_senders_what_is_old_is_old_for_everybody() {
    let scene = Scene::new();
    let mut batch = Batch::new();
    for number in 0..=MOST_SENDERS {
        let at = minute(0) + SignedDuration::from_millis(number as i64);
        let sender = scene.handled.sender(&owned_user_id!("@a:a.example"));
        scene.handled.put_not_before(&mut batch, &format!("{sender}{number}"), at).unwrap();
    }
    scene.store.commit(batch).await.unwrap();
    scene.settle(minute(5)).await;
    assert!(scene.records() <= MOST_SENDERS / 2 + 1, "{}", scene.records());
    assert!(scene.is_refused(&said(ALICE, "old", minute(0)), minute(5)));
    assert!(!scene.is_refused(&said(ALICE, "new", minute(4)), minute(5)));
}
