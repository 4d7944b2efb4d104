//! What is kept across restarts of how fast homeservers let their accounts be.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use jiff::{SignedDuration, Timestamp};
use ruma::{OwnedServerName, UserId};
use serde::{Deserialize, Serialize};

use super::{
    budgets::{Key, is_to_come},
    kind::Kind,
    lock,
};
use crate::store::{Batch, Scope, Store, StoreError, Table};

/// How many records are kept; the oldest go first.
const MOST_KEPT: usize = 4096;
/// An admin may have changed a limit that was learned so long ago.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What is known of one budget, or of all of one kind on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// How long from one token to the next.
    #[serde(with = "milliseconds")]
    pub(super) interval: Option<Duration>,
    /// How many tokens there are at most.
    pub(super) burst: Option<u32>,
    /// When the next token comes.
    pub(super) next: Option<Timestamp>,
    /// When that was learned.
    pub(super) learned: Timestamp,
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        interval: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        interval.map(|interval| interval.as_millis()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

/// The part of the store that budgets are kept in.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Store,
    table: Table<Known>,
    /// What is in the table, and since when.
    kept: Mutex<BTreeMap<String, Timestamp>>,
}

impl Ledger {
    /// Reads what was kept and still counts.
    pub(super) async fn open(
        store: &Store,
        now: Timestamp,
    ) -> Result<(Self, Vec<(Key, Known)>), StoreError> {
        let table: Table<Known> = store.table("budget");
        let (mut kept, mut recalled, mut batch) = (BTreeMap::new(), Vec::new(), Batch::new());
        for record in table.iter() {
            // What cannot be read is learned again.
            let Ok((name, known)) = record else { continue };
            let key = parse(&name).filter(|key| counts(key, &known, now));
            match key {
                Some(key) => {
                    kept.insert(name, known.learned);
                    recalled.push((key, known));
                }
                None => batch.remove(&table, &name),
            }
        }
        if !batch.is_empty() {
            store.commit(batch).await?;
        }
        let ledger = Self { store: store.clone(), table, kept: Mutex::new(kept) };
        Ok((ledger, recalled))
    }

    /// Keeps what is known of a budget, and with it what that says of all on its server.
    pub(super) async fn keep(&self, key: &Key, known: Known) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let all = Key { of: String::new(), ..key.clone() };
        if known.interval.is_some() {
            self.put(&mut batch, &all, &Known { next: None, ..known })?;
        }
        // What a room lets through is learned again in moments; kept, it would name the room.
        if !key.of.starts_with('!') {
            self.put(&mut batch, key, &Known { burst: None, ..known })?;
        }
        if batch.is_empty() { Ok(()) } else { self.store.commit(batch).await }
    }

    fn put(&self, batch: &mut Batch, key: &Key, known: &Known) -> Result<(), StoreError> {
        let mut kept = lock(&self.kept);
        let about = self.about(&key.of);
        batch.put_about(about, &self.table, &name(key), known)?;
        kept.insert(name(key), known.learned);
        while kept.len() > MOST_KEPT {
            let oldest = kept.iter().min_by_key(|(_, learned)| **learned);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            kept.remove(&oldest);
            batch.remove(&self.table, &oldest);
        }
        Ok(())
    }

    /// What is kept here of an account, which is forgotten by itself.
    fn about(&self, account: &str) -> Scope {
        if account.is_empty() { Scope::Bot } else { self.store.person_in("budget", account) }
    }

    /// Forgets what was kept of an account.
    pub(super) async fn forget(&self, account: &UserId) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let end = format!("/{account}");
        lock(&self.kept).retain(|name, _| {
            if name.ends_with(&end) {
                batch.remove(&self.table, name);
            }
            !name.ends_with(&end)
        });
        if !batch.is_empty() {
            batch.forget(self.about(account.as_str()));
        }
        if batch.is_empty() { Ok(()) } else { self.store.commit(batch).await }
    }
}

/// Whether it still says something: rates for a while, and what one account may do until there is
/// a token again.
fn counts(key: &Key, known: &Known, now: Timestamp) -> bool {
    now.duration_since(known.learned).abs() < KEPT_FOR
        && (key.of.is_empty() || known.next.is_some_and(|next| is_to_come(next, now)))
}

/// `kind server` or `kind server/account`: in a server name there is no slash.
fn name(key: &Key) -> String {
    let kind = serde_json::to_value(key.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default();
    if key.of.is_empty() {
        format!("{kind} {}", key.server)
    } else {
        format!("{kind} {}/{}", key.server, key.of)
    }
}

fn parse(name: &str) -> Option<Key> {
    let (kind, of) = name.split_once(' ')?;
    let kind: Kind = serde_json::from_value(kind.into()).ok()?;
    let (server, of) = of.split_once('/').unwrap_or((of, ""));
    let server: OwnedServerName = server.try_into().ok()?;
    Some(Key { server, kind, of: of.to_owned() })
}
