use std::{collections::BTreeSet, fs};

use rand::{SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{scope::Scope, *};
use crate::secret::ExposeSecret as _;

mod sealed;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bird {
    wingspan: u32,
}

fn open(dir: &TempDir) -> Result<Store, StoreError> {
    open_with(dir, "key")
}

fn open_with(dir: &TempDir, key_file: &str) -> Result<Store, StoreError> {
    let path = dir.path().join("data");
    Store::open(&path, &path.join(key_file), &mut StdRng::seed_from_u64(1))
}

fn error(result: Result<Store, StoreError>, dir: &TempDir) -> String {
    let error = result.expect_err("the store cannot be opened").to_string();
    error.replace(dir.path().to_str().unwrap(), "DIR")
}

async fn put(store: &Store, key: &str, wingspan: u32) {
    let mut batch = Batch::new();
    batch.put(&store.table("birds"), key, &Bird { wingspan }).unwrap();
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    put(&store, "arctic", 75).await;
    let mut batch = Batch::new();
    batch.put_secret("token", &Secret::from("syt_arctic"));
    store.commit(batch).await.unwrap();
    let matrix_key = *store.matrix_key();
    drop(store);

    let store = open(&dir).unwrap();
    let birds = store.table::<Bird>("birds");
    assert_eq!(birds.get("arctic").unwrap(), Some(Bird { wingspan: 75 }));
    assert!(birds.contains("arctic").unwrap());
    assert_eq!(store.secret("token").unwrap().unwrap().expose_secret(), "syt_arctic");
    assert_eq!(*store.matrix_key(), matrix_key);
}

#[tokio::test]
async fn a_table_lists_its_own_records() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    put(&store, "sooty", 90).await;
    put(&store, "arctic", 75).await;
    let mut batch = Batch::new();
    batch.put(&store.table("birds_of_prey"), "kite", &Bird { wingspan: 170 }).unwrap();
    store.commit(batch).await.unwrap();

    let birds = store.table::<Bird>("birds");
    let keys: BTreeSet<_> = birds.iter().map(|record| record.unwrap().0).collect();
    assert_eq!(keys, ["arctic", "sooty"].map(str::to_owned).into());
}

#[tokio::test]
async fn records_of_migrations_are_listed_by_number_and_key_and_can_be_asked_for() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    for key in ["0010/b", "0002/c", "0010/a", "0002", "0002/a", "0002/b", "0020/"] {
        put(&store, key, 1).await;
    }
    let birds = store.table::<Bird>("birds");
    let keys =
        |prefix| -> Vec<_> { birds.iter_prefix(prefix).map(|record| record.unwrap().0).collect() };
    assert_eq!(keys(""), ["0002", "0002/a", "0002/b", "0002/c", "0010/a", "0010/b", "0020/"]);
    assert_eq!(keys("0002/"), ["0002/a", "0002/b", "0002/c"]);
    assert_eq!(keys("0010/b"), ["0010/b"]);
    assert_eq!(keys("0020/"), ["0020/"]);
    assert_eq!(keys("0003/"), [""; 0]);
}

#[tokio::test]
async fn what_is_removed_is_gone() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let birds = store.table::<Bird>("birds");
    put(&store, "arctic", 75).await;
    let mut batch = Batch::new();
    batch.put_secret("token", &Secret::from("syt_arctic"));
    store.commit(batch).await.unwrap();

    let mut batch = Batch::new();
    batch.remove(&birds, "arctic");
    batch.remove_secret("token");
    store.commit(batch).await.unwrap();
    assert!(!birds.contains("arctic").unwrap());
    assert!(store.secret("token").unwrap().is_none());
}

#[tokio::test]
async fn a_batch_that_is_not_committed_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let birds = store.table::<Bird>("birds");
    let mut batch = Batch::new();
    batch.put(&birds, "arctic", &Bird { wingspan: 75 }).unwrap();
    batch.put_secret("token", &Secret::from("syt_arctic"));
    drop(batch);
    assert!(!birds.contains("arctic").unwrap());
    assert!(store.secret("token").unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_seen_as_a_whole_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let birds = store.table::<Bird>("birds");
    put(&store, "count", 0).await;
    let writer = tokio::spawn({
        let (store, birds) = (store.clone(), birds.clone());
        async move {
            for wingspan in 1..200 {
                let mut batch = Batch::new();
                for key in ["a", "b"] {
                    batch.put(&birds, key, &Bird { wingspan }).unwrap();
                }
                store.commit(batch).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        tokio::task::yield_now().await;
        // "b" is read last, so it is never behind "a" unless a batch was torn.
        let a = birds.get("a").unwrap().map_or(0, |bird| bird.wingspan);
        let b = birds.get("b").unwrap().map_or(0, |bird| bird.wingspan);
        assert!(b >= a, "{a} was seen before {b}");
    }
    writer.await.unwrap();
}

#[test]
fn ids_go_on_where_they_stopped() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    assert_eq!((store.next_id().unwrap(), store.next_id().unwrap()), (1, 2));
    drop(store);
    assert_eq!(open(&dir).unwrap().next_id().unwrap(), 3);
}

#[test]
fn the_key_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    drop(open(&dir).unwrap());
    let metadata = fs::metadata(dir.path().join("data/key")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.len(), 32);
}

#[test]
fn a_second_bot_is_refused() {
    let dir = TempDir::new().unwrap();
    let _first = open(&dir).unwrap();
    insta::assert_snapshot!(error(open(&dir), &dir), @"DIR/data/sled is in use: another Tern runs on this storage.path");
}

#[test]
fn a_wrong_key_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir).unwrap());
    fs::write(dir.path().join("data/other"), [7; 32]).unwrap();
    insta::assert_snapshot!(error(open_with(&dir, "other"), &dir), @"the key in DIR/data/other is not the one that the store in DIR/data/sled was made with");
    fs::write(dir.path().join("data/other"), "too short").unwrap();
    insta::assert_snapshot!(error(open_with(&dir, "other"), &dir), @"DIR/data/other is not a key file: it has 9 bytes instead of 32");
}

#[test]
fn a_store_whose_key_is_missing_is_refused_and_no_new_key_is_made() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir).unwrap());
    insta::assert_snapshot!(error(open_with(&dir, "gone"), &dir), @"the key file DIR/data/gone is missing, and the store in DIR/data/sled cannot be read without it: bring the file back, or point storage.path to an empty directory to begin anew");
    assert!(!dir.path().join("data/gone").exists());
}

#[test]
fn a_first_start_that_was_interrupted_goes_on() {
    let dir = TempDir::new().unwrap();
    let (key, new_key) = (dir.path().join("data/key"), dir.path().join("data/key.new"));
    // Before the key was on disk as a whole.
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(&new_key, "torn").unwrap();
    let matrix_key = *open(&dir).unwrap().matrix_key();
    assert!(key.exists() && !new_key.exists());
    // After the store was on disk.
    fs::rename(&key, &new_key).unwrap();
    assert_eq!(*open(&dir).unwrap().matrix_key(), matrix_key);
    assert!(key.exists() && !new_key.exists());
}

#[test]
fn a_key_that_is_there_already_is_used_for_a_new_store() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/key"), [7; 32]).unwrap();
    drop(open(&dir).unwrap());
    assert_eq!(fs::read(dir.path().join("data/key")).unwrap(), [7; 32]);
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    store.db.insert("meta/schema_version", "7").unwrap();
    drop(store);
    insta::assert_snapshot!(error(open(&dir), &dir), @"the store in DIR/data/sled was written by a newer Tern (schema version 7, this one knows 2): start that newer Tern again");
}

#[test]
fn a_store_in_plain_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    store.db.insert("meta/schema_version", "1").unwrap();
    drop(store);
    insta::assert_snapshot!(error(open(&dir), &dir), @"the store in DIR/data/sled was written by an older Tern, in a form that is not read any more (schema version 1, this one reads from 2): point storage.path to an empty directory to begin anew");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("data"), "a file").unwrap();
    insta::assert_snapshot!(error(open(&dir), &dir), @"cannot create DIR/data: check storage.path, storage.key_file and their permissions");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(data.join("probe"), "").is_ok() {
        // The superuser may write everywhere.
        return;
    }
    insta::assert_snapshot!(error(open(&dir), &dir), @"cannot write DIR/data/sled: check storage.path, storage.key_file and their permissions");
}

#[test]
fn a_damaged_database_is_named() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir).unwrap());
    fs::write(dir.path().join("data/sled/db"), "nonsense").unwrap();
    insta::assert_snapshot!(error(open(&dir), &dir), @"the store in DIR/data/sled is damaged");
}

#[tokio::test]
async fn a_damaged_record_is_named_and_the_others_can_be_read() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    put(&store, "sooty", 90).await;
    put(&store, "arctic", 75).await;
    let place = store.place("birds", "arctic").unwrap();
    let sealed = store.db.get(&place).unwrap().unwrap();
    for damaged in [&b"nonsense"[..], b"", &sealed[..sealed.len() / 2]] {
        store.db.insert(place.clone(), damaged).unwrap();
        let birds = store.table::<Bird>("birds");
        let error = birds.get("arctic").unwrap_err().to_string();
        assert!(error.starts_with("record birds/arctic in "), "{error}");
        let readable: Vec<_> = birds.iter().filter_map(Result::ok).collect();
        assert_eq!(readable, [("sooty".to_owned(), Bird { wingspan: 90 })]);
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_can_be_read_is_kept_aside_for_its_owner_only_as_encrypted_as_it_was() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    put(&store, "common", 80).await;
    let place = store.place("birds", "common").unwrap();
    store.db.insert("birds/arctic", "nonsense").unwrap();
    let kept = store.keep_records().unwrap();
    assert_eq!(mode(&kept), 0o600);
    let lines = fs::read_to_string(&kept).unwrap();
    let shown: Vec<_> = lines.lines().filter(|line| !line.contains("meta/")).collect();
    let [one, other] = shown[..] else { panic!("{shown:?}") };
    assert!(shown.contains(&r#"{"key":"birds/arctic","bytes":"6e6f6e73656e7365"}"#), "{shown:?}");
    let sealed = scope::hex(&store.db.get(&place).unwrap().unwrap());
    let place = String::from_utf8(place).unwrap();
    let intact = format!(r#"{{"key":"{place}","bytes":"{sealed}"}}"#);
    assert!(one == intact || other == intact, "{shown:?}");
    // A later start finds less, perhaps.
    store.db.remove(&place).unwrap();
    assert_eq!(store.keep_records().unwrap(), kept);
    assert_eq!(fs::read_to_string(&kept).unwrap(), lines);
}

#[test]
fn the_files_of_a_damaged_database_are_kept_aside_as_they_are() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir).unwrap());
    fs::write(dir.path().join("data/sled/db"), "nonsense").unwrap();
    assert!(open(&dir).unwrap_err().is_damage());
    let kept = Store::keep_files(&dir.path().join("data")).unwrap();
    let copy = kept.join("db");
    assert_eq!((mode(&kept), mode(&copy)), (0o700, 0o600));
    let before = fs::read(&copy).unwrap();
    assert_eq!(before, fs::read(dir.path().join("data/sled/db")).unwrap());
    fs::write(dir.path().join("data/sled/db"), "worse").unwrap();
    Store::keep_files(&dir.path().join("data")).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), before);
}

#[tokio::test]
async fn many_writes_at_once_do_not_wait_for_each_other_without_end() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let writers = (0..40_u32).map(async |writer| {
        for number in 0..25 {
            let mut batch = Batch::new();
            let text = "tern ".repeat(2000);
            batch.put(&store.table("songs"), &format!("{writer}/{number}"), &text).unwrap();
            store.commit(batch).await.unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(store.table::<String>("songs").iter().count(), 1000);
}

#[tokio::test]
async fn a_write_that_nobody_polls_holds_up_no_other() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let mut left = std::pin::pin!(put(&store, "arctic", 75));
    assert!(futures_util::poll!(left.as_mut()).is_pending());
    let other = put(&store, "common", 80);
    tokio::time::timeout(Duration::from_secs(60), other).await.unwrap();
    left.await;
}

#[tokio::test]
async fn what_could_not_be_read_back_is_not_written() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let table = store.table::<serde_json::Value>("nests");
    let nested = |deep: usize| (0..deep).fold(serde_json::json!(1), |inner, _| vec![inner].into());
    let mut batch = Batch::new();
    batch.put(&table, "nested", &nested(100)).unwrap();
    for (key, value) in [("deep", nested(125)), ("large", "x".repeat(33 << 20).into())] {
        let error = batch.put(&table, key, &value).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
    store.commit(batch).await.unwrap();
    assert_eq!(table.get("nested").unwrap(), Some(nested(100)));
    assert_eq!(table.keys_prefix("").unwrap(), ["nested"]);
}
