//! Every situation that a plan can tell apart stands in `docs/rooms.md`, with a test that exists.

use std::{fs, path::Path};

use ruma::{
    MilliSecondsSinceUnixEpoch, RoomVersionId, owned_room_alias_id, owned_room_id,
    owned_server_name,
};
use serde::Serialize;

use super::{Entry, Note, Omission, Reason, Route};

/// The name that a variant is stored under.
pub(in crate::migration) fn key(variant: impl Serialize) -> String {
    match serde_json::to_value(variant).unwrap() {
        serde_json::Value::String(key) => key,
        serde_json::Value::Object(object) => object.keys().next().unwrap().clone(),
        other => panic!("{other} has no key"),
    }
}

/// One of each. A variant that is added makes the matches fail to compile, as a reminder that it
/// belongs into the lists, too.
fn situations() -> Vec<String> {
    let room = || owned_room_id!("!a:a.example");
    let entries = [Entry::Public, Entry::Invited, Entry::Through { room: room(), or_invite: true }];
    let reasons = [
        Reason::Banned,
        Reason::NotFederated,
        Reason::ServerDenied,
        Reason::VersionUnsupported(RoomVersionId::V1),
        Reason::Closed,
        Reason::Unreadable { server: owned_server_name!("a.example") },
    ];
    let omissions = [
        Omission::Asked,
        Omission::Empty,
        Omission::ServerNotices,
        Omission::ChatWithBot,
        Omission::Upgraded { successor: room() },
    ];
    let notes = [
        Note::EarlierHidden,
        Note::Bridged { with: String::new() },
        Note::AliasOnOldServer { alias: owned_room_alias_id!("#a:a.example") },
        Note::Quiet { since: MilliSecondsSinceUnixEpoch(0_u32.into()) },
    ];
    for (entry, reason) in entries.iter().zip(&reasons) {
        match entry {
            Entry::Public | Entry::Invited | Entry::Through { .. } => {}
        }
        match reason {
            Reason::Banned
            | Reason::NotFederated
            | Reason::ServerDenied
            | Reason::VersionUnsupported(_)
            | Reason::Closed
            | Reason::Unreadable { .. } => {}
        }
    }
    for (omission, note) in omissions.iter().zip(&notes) {
        match omission {
            Omission::Asked
            | Omission::Empty
            | Omission::ServerNotices
            | Omission::ChatWithBot
            | Omission::Upgraded { .. } => {}
        }
        match note {
            Note::EarlierHidden
            | Note::Bridged { .. }
            | Note::AliasOnOldServer { .. }
            | Note::Quiet { .. } => {}
        }
    }
    let routes = [Route::AlreadyThere, Route::InviteAndJoin, Route::NeedsModerator];
    for route in &routes {
        match route {
            Route::AlreadyThere
            | Route::Join(_)
            | Route::InviteAndJoin
            | Route::NeedsModerator
            | Route::Unreachable(_)
            | Route::Skipped(_) => {}
        }
    }
    let keys = routes.iter().map(key).chain(entries.iter().map(key)).chain(reasons.iter().map(key));
    keys.chain(omissions.iter().map(key)).chain(notes.iter().map(key)).collect()
}

/// All Rust code below a directory.
fn code(folder: &Path) -> String {
    let mut code = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code.push_str(&self::code(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    code
}

#[test]
fn the_table_of_rooms_is_complete_and_names_tests_that_exist() {
    assert_complete("docs/rooms.md", situations());
}

/// Asserts that a table has all situations, and with each a test that exists.
pub(in crate::migration) fn assert_complete(path: &str, situations: Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join(path)).unwrap();
    for situation in situations {
        assert!(table.contains(&format!("(`{situation}`)")), "{situation} is missing");
    }
    let code = [code(&root.join("src")), code(&root.join("tests"))].concat();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let mut shown = 0;
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        let test = cell.trim().trim_matches('`');
        assert!(code.contains(&format!("fn {test}(")), "there is no test {test}");
        shown += 1;
    }
    let all = table.lines().filter(|line| line.starts_with("| ")).count();
    let heads = table.lines().filter(|line| line.starts_with("| situation")).count();
    let rules = table.lines().filter(|line| line.starts_with("| ---")).count();
    assert_eq!(shown, all - heads - rules, "each situation has a test");
}
