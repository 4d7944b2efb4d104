use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::*;

const OF_ONE: [&str; 4] = ["plan", "report", "lobby", "direct_chats"];
const OF_MANY: [&str; 5] = ["room", "holding", "copies", "opening", "rule_begun"];

#[tokio::test]
async fn a_damaged_record_stands_in_the_way_of_no_cancel_and_no_forget() {
    let dir = tempfile::TempDir::new().unwrap();
    let key_file = dir.path().join("key");
    let store = Store::open(dir.path(), &key_file, &mut StdRng::seed_from_u64(1)).unwrap();
    let migration: Migration = serde_json::from_value(json!({
        "id": 7, "phase": "running", "options": { "skipped": [], "named": [] },
        "old": { "user_id": "@old:a.example", "consent": null, "access": "session" },
        "new": { "user_id": "@new:b.example", "consent": null, "access": "session" },
        "started": "2026-03-01T12:00:00Z", "consent_expires": "2026-03-01T12:00:00Z",
        "went": null, "ended": null,
    }))
    .unwrap();
    let (id, now) = (migration.id, migration.started);
    let mut batch = Batch::new();
    let damaged = json!([["no such thing"]]);
    let table = |name| store.table::<Value>(name);
    for name in OF_ONE {
        batch.put(&table(name), &key(id), &damaged).unwrap();
    }
    for name in OF_MANY {
        batch.put(&table(name), &sub_key(id, "!room:a.example"), &damaged).unwrap();
    }
    batch.put(&table("notice"), &number(1), &damaged).unwrap();
    store.commit(batch).await.unwrap();

    let journal = Journal::open(store.clone()).unwrap();
    assert!(journal.plan(id).unwrap().is_none() && journal.report(id).unwrap().is_none());
    assert!(journal.lobby(id).unwrap().is_none() && journal.direct_chats(id).unwrap().is_none());
    assert!(journal.rooms(id).unwrap().is_empty() && journal.holdings(id).unwrap().is_empty());
    assert!(journal.copies(id).unwrap().is_empty() && journal.openings(id).unwrap().is_empty());
    drop(journal.notices().unwrap());
    let said = Said {
        by: migration.old.user_id.clone(),
        room_id: "!chat:a.example".try_into().unwrap(),
        event_id: "$forget".try_into().unwrap(),
        sent: now,
    };
    journal.delete(&migration, Some(&said), None, Batch::new(), now).await.unwrap();
    for name in OF_ONE.iter().chain(&OF_MANY) {
        assert!(table(name).keys_prefix("").unwrap().is_empty(), "{name}");
    }
}
