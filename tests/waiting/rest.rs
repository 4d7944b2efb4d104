//! What lies on the disk of a migration, while it goes on and after `forget`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use tern::{clock::HeldClock, store::Store};

use crate::{
    MODERATOR, at,
    life::{Chat, Pair, live, open, said},
    minutes, town,
    wire::Wire,
};

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The words that are somewhere in these files.
fn found<'a>(files: &[PathBuf], words: &[&'a str]) -> Vec<(&'a str, PathBuf)> {
    let mut found = Vec::new();
    for file in files {
        let bytes = fs::read(file).unwrap();
        let holds = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        found.extend(words.iter().filter(|word| holds(word)).map(|word| (*word, file.clone())));
    }
    found
}

#[test]
fn nothing_on_the_disk_names_anybody_and_after_forget_not_even_who_has_the_key_can_read_it() {
    let mara = Pair::of("mara");
    let wire = Wire::new(HeldClock::new(at(Duration::ZERO)), town(&[(&mara, 2, 2)]));
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::default();
    wire.run(live(&wire, folder.path(), std::slice::from_ref(&mara), &chat, at(minutes(30))));

    let rooms = wire.simulation.sent_since(0).into_iter().map(|sent| sent.room);
    let rooms: Vec<_> = rooms.map(|room| room.trim_start_matches('!').to_owned()).collect();
    let mut words = vec!["mara", "Closed", "Public", MODERATOR, "@tern", lab::sim::OLD];
    words.extend(rooms.iter().map(String::as_str));
    let words = &words[..];
    let files = files_below(folder.path());
    assert!(files.len() >= 3 && rooms.len() > 1);
    assert_eq!(found(&files, words), []);

    let keys = fs::read_to_string(folder.path().join("record_keys")).unwrap();
    let store = || {
        let mut rng = StdRng::seed_from_u64(1);
        Store::open(folder.path(), &folder.path().join("key"), &mut rng).unwrap()
    };
    let named = || {
        let mut all = store().everything().unwrap();
        let names = |text: &str| words.iter().any(|word| text.contains(word));
        all.retain(|(key, value)| names(key) || names(value));
        all.retain(|(key, _)| !is_of_a_server(key));
        all
    };
    let before = named();
    assert!(before.len() >= 5, "the words are there for who has the key: {before:?}");

    wire.run(async {
        let (migrations, _moderation) = open(&wire, folder.path()).await;
        migrations.cancel(&said("cancel", &mara.old)).await.unwrap();
        migrations.forget(&said("forget", &mara.old)).await.unwrap();
        let mut notices = migrations.notices().unwrap();
        while let Ok(notice) = notices.try_recv() {
            migrations.delivered(notice.id).await.unwrap();
        }
    });
    assert_eq!(named(), []);
    // The keys of what the log still has are gone.
    let gone: Vec<_> =
        keys.lines().filter_map(|line| line.split_once(' ')).map(|it| it.1).collect();
    assert!(!gone.is_empty());
    let files = files_below(folder.path());
    assert_eq!(found(&files, &gone), []);
    assert_eq!(found(&files, words), []);
}

/// What is known of how fast a server lets everybody be.
fn is_of_a_server(key: &str) -> bool {
    key.starts_with("budget/") && !key.contains('@')
}
