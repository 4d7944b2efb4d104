//! What lies on the disk, and what can be read of it.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::*;

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn no_file_on_disk_holds_anything_in_plain_that_names_somebody() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let mut batch = Batch::new();
    batch.put_secret("session", &Secret::from("syt_do_not_find_me"));
    for key in ["@do_not_find_me:a", "17/!do_not_find_me:a", "!do_not_find_me:a"] {
        batch.put(&store.table("birds"), key, &"do_not_find_me either").unwrap();
    }
    store.commit(batch).await.unwrap();
    let matrix_key = *store.matrix_key();
    store.keep_records().unwrap();
    drop(store);
    assert!(files_below(dir.path()).len() >= 5);
    assert!(!holds(dir.path(), b"do_not_find_me") && !holds(dir.path(), &matrix_key));
}

/// Whether any file below the folder has these bytes somewhere.
fn holds(dir: &Path, what: &[u8]) -> bool {
    files_below(dir).into_iter().any(|file| {
        let bytes = fs::read(&file).unwrap();
        bytes.windows(what.len()).any(|window| window == what)
    })
}

/// Every record of the database as it lies on disk.
fn raw(store: &Store) -> Vec<(sled::IVec, sled::IVec)> {
    store.db.iter().map(Result::unwrap).collect()
}

/// Whether any of these can be read with what the store has now.
fn can_read(store: &Store, raw: &[(sled::IVec, sled::IVec)]) -> bool {
    raw.iter().any(|(place, sealed)| {
        let scope = Scope::read(sealed).unwrap().0;
        let everybody = store.ring.everybody();
        assert!(!everybody.contains(&scope));
        let sealers = everybody.into_iter().chain([Scope::Bot]);
        sealers
            .filter_map(|scope| store.ring.sealer(scope))
            .any(|sealer| sealer.open(place, Scope::read(sealed).unwrap().1).is_ok())
    })
}

#[tokio::test]
async fn what_was_forgotten_can_be_read_by_nobody_and_the_rest_can() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let birds = store.table::<Bird>("birds");
    for key in ["1/sooty", "2/arctic", "@little:a", "@gull:a", "common"] {
        put(&store, key, 75).await;
    }
    let mut batch = Batch::new();
    batch
        .put_about(store.person("@little:a"), &birds, "of little", &Bird { wingspan: 50 })
        .unwrap();
    batch.put_secret("1/session", &Secret::from("syt"));
    store.commit(batch).await.unwrap();
    let is_about_them = |sealed: &[u8]| {
        let scope = Scope::read(sealed).unwrap().0;
        [Scope::Migration(1), store.person("@little:a")].contains(&scope)
    };
    let mut of_them = raw(&store);
    of_them.retain(|(place, sealed)| {
        !place.starts_with(b"meta/") && !place.starts_with(b"scope/") && is_about_them(sealed)
    });
    assert_eq!(of_them.len(), 4);
    let keys = fs::read_to_string(dir.path().join("data/record_keys")).unwrap();
    let key_of = |scope: Scope| {
        let name = scope.name() + " ";
        keys.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
    };
    let gone = [key_of(Scope::Migration(1)), key_of(store.person("@little:a"))];
    for key in &gone {
        assert!(holds(dir.path(), key.as_bytes()));
    }

    let mut batch = Batch::new();
    batch.forget(Scope::Migration(1));
    batch.forget(store.person("@little:a"));
    // Nothing is removed but the keys.
    store.commit(batch).await.unwrap();
    let check = |store: &Store| {
        let birds = store.table::<Bird>("birds");
        for key in ["1/sooty", "@little:a", "of little"] {
            assert!(birds.get(key).unwrap().is_none() && !birds.contains(key).unwrap(), "{key}");
        }
        assert!(store.secret("1/session").unwrap().is_none());
        let left: BTreeSet<_> = birds.iter().map(|record| record.unwrap().0).collect();
        assert_eq!(left, ["2/arctic", "@gull:a", "common"].map(str::to_owned).into());
        for key in &gone {
            assert!(!holds(dir.path(), key.as_bytes()));
        }
        assert!(!can_read(store, &of_them));
    };
    check(&store);
    drop((store, birds));
    check(&open(&dir).unwrap());
}

#[tokio::test]
async fn nothing_is_written_about_a_migration_that_was_forgotten_and_a_person_can_come_back() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    for key in ["1/sooty", "@little:a"] {
        put(&store, key, 75).await;
    }
    let mut batch = Batch::new();
    batch.forget(Scope::Migration(1));
    batch.forget(store.person("@little:a"));
    batch.put(&store.table("birds"), "1/with it", &Bird { wingspan: 75 }).unwrap();
    batch.put(&store.table("birds"), "@little:a", &Bird { wingspan: 75 }).unwrap();
    store.commit(batch).await.unwrap();
    let birds = store.table::<Bird>("birds");
    assert_eq!(birds.iter().count(), 0);
    for key in ["1/sooty", "@little:a"] {
        put(&store, key, 76).await;
    }
    drop((store, birds));
    let birds = open(&dir).unwrap().table::<Bird>("birds");
    let left: Vec<_> = birds.iter().map(Result::unwrap).collect();
    assert_eq!(left, [("@little:a".to_owned(), Bird { wingspan: 76 })]);
}

#[tokio::test]
async fn a_kill_between_a_key_and_what_it_is_for_leaves_neither_behind() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("data/record_keys");
    let store = open(&dir).unwrap();
    put(&store, "1/sooty", 75).await;
    let with_it = fs::read_to_string(&file).unwrap();
    let mut batch = Batch::new();
    batch.forget(Scope::Migration(1));
    store.commit(batch).await.unwrap();
    drop(store);
    // Killed when it was on disk that nothing is left of it, and its key was not dropped yet; and
    // while another key was being written.
    fs::write(&file, format!("{with_it}migration/2 01ab")).unwrap();
    let store = open(&dir).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    assert!(store.ring.everybody().is_empty());
    put(&store, "2/arctic", 75).await;
    drop(store);
    let birds = open(&dir).unwrap().table::<Bird>("birds");
    assert_eq!(birds.get("2/arctic").unwrap(), Some(Bird { wingspan: 75 }));
}

#[tokio::test]
async fn a_lost_key_is_told_from_a_forgotten_one() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("data/record_keys");
    let store = open(&dir).unwrap();
    put(&store, "1/sooty", 75).await;
    put(&store, "2/sooty", 75).await;
    drop(store);
    let keys = fs::read_to_string(&file).unwrap();
    fs::write(&file, "").unwrap();
    insta::assert_snapshot!(error(open(&dir), &dir), @"DIR/data/record_keys lacks the key of migration/1: it belongs to the directory sled beside it, and both are to be of one backup");
    // Nobody else's key opens it.
    let swapped =
        keys.replace("migration/1 ", "migration/3 ").replace("migration/2 ", "migration/1 ");
    fs::write(&file, swapped).unwrap();
    assert!(open(&dir).unwrap_err().is_damage());
    fs::write(&file, &keys).unwrap();
    assert_eq!(open(&dir).unwrap().table::<Bird>("birds").iter().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_forgotten_while_much_is_written_about_them_is_forgotten_and_nobody_waits() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    for number in 0..20 {
        let writers = (0..4).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..5 {
                    put(&store, &format!("{number}/{writer}/{round}"), 75).await;
                    put(&store, &format!("@person{number}:a"), 75).await;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut batch = Batch::new();
        batch.forget(Scope::Migration(number));
        batch.forget(store.person(&format!("@person{number}:a")));
        store.commit(batch).await.unwrap();
        for writer in writers {
            tokio::time::timeout(Duration::from_secs(60), writer).await.unwrap().unwrap();
        }
        let birds = store.table::<Bird>("birds");
        assert_eq!(birds.iter_prefix(&format!("{number}/")).count(), 0);
        assert!(birds.contains(&format!("@person{number}:a")).unwrap());
    }
    drop(store);
    assert_eq!(open(&dir).unwrap().table::<Bird>("birds").iter().count(), 20);
}

#[tokio::test]
async fn a_record_moved_to_another_key_or_table_is_damaged() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let mut batch = Batch::new();
    batch.put_secret("mine", &Secret::from("syt_mine"));
    for key in ["arctic", "1/arctic", "2/sooty", "@mine:a", "3", "4"] {
        batch.put(&store.table("birds"), key, &Bird { wingspan: 75 }).unwrap();
    }
    store.commit(batch).await.unwrap();
    let swap = |(table, key), (to_table, to_key)| {
        let sealed = store.find(table, key).unwrap().unwrap().1;
        store.db.insert(store.place(to_table, to_key).unwrap(), sealed).unwrap();
    };
    swap((SECRETS, "mine"), (SECRETS, "yours"));
    assert!(matches!(store.secret("yours"), Err(StoreError::Damaged { .. })));
    for (from, to) in
        [("arctic", "sooty"), ("1/arctic", "1/sooty"), ("1/arctic", "2/sooty"), ("3", "4")]
    {
        for table in ["birds", "fish"] {
            swap(("birds", from), (table, to));
            let read = store.table::<Bird>(if table == "birds" { "birds" } else { "fish" }).get(to);
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{from} in {table} {to}");
        }
    }
}

#[tokio::test]
async fn the_format_on_disk_is_this() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    store.next_id().unwrap();
    let mut batch = Batch::new();
    batch.put_secret("7/token", &Secret::from("syt_arctic"));
    for key in ["arctic", "7/!room:a", "7", "@arctic:a"] {
        batch.put(&store.table("birds"), key, &Bird { wingspan: 75 }).unwrap();
    }
    store.commit(batch).await.unwrap();
    let hash = regex::Regex::new("[0-9a-f]{32,}").unwrap();
    let mut records: Vec<_> = raw(&store)
        .iter()
        .map(|(key, value)| {
            let key = hash.replace_all(str::from_utf8(key).unwrap(), "(hash)").into_owned();
            let value = str::from_utf8(value).ok().filter(|text| text.len() < 10);
            format!("{key} = {}", value.unwrap_or("(sealed)"))
        })
        .collect();
    records.sort();
    insta::assert_snapshot!(records.join("\n"));
    let keys = fs::read_to_string(dir.path().join("data/record_keys")).unwrap();
    let mut keys: Vec<_> = keys.lines().map(|line| hash.replace_all(line, "(hex)")).collect();
    keys.sort();
    insta::assert_snapshot!(keys.join("\n"));
}
