//! What is written together.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    SECRETS, StoreError, Table,
    scope::{Parts, Scope},
};
use crate::{
    json,
    secret::{ExposeSecret as _, Secret},
};

/// The largest record, in bytes. The plan for an account of twenty thousand rooms has about half.
const LARGEST_RECORD: usize = 32 << 20;

/// Changes that are written together, by [`Store::commit`](super::Store::commit). Of two changes to
/// one record the later one counts.
#[derive(Debug, Default)]
#[must_use = "nothing is written before `Store::commit`"]
pub struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) forgotten: Vec<Scope>,
}

#[derive(Debug)]
pub(super) enum Change {
    Put {
        table: &'static str,
        key: String,
        /// Whom it is about, if the key does not tell.
        scope: Option<Scope>,
        value: Zeroizing<Vec<u8>>,
    },
    Remove {
        table: &'static str,
        key: String,
    },
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value` under `key`, over what was there. Whom the record is about is what its key
    /// says: a migration's number, alone or before a slash, or a user ID. Any other is the bot's own.
    ///
    /// # Errors
    ///
    /// [`StoreError::Encode`] when `value` has no JSON form; [`StoreError::TooLarge`] when that is more
    /// than is read back. It is then not in the batch.
    pub fn put<V: Serialize>(
        &mut self,
        table: &Table<V>,
        key: &str,
        value: &V,
    ) -> Result<(), StoreError> {
        self.put_json(table.name, key, None, value)
    }

    /// Writes `value` under `key`, which does not tell whom the record is about, over what was there.
    /// With `scope` forgotten it is gone.
    ///
    /// # Errors
    ///
    /// As in [`put`](Self::put).
    pub fn put_about<V: Serialize>(
        &mut self,
        scope: Scope,
        table: &Table<V>,
        key: &str,
        value: &V,
    ) -> Result<(), StoreError> {
        let Parts { number, rest } = Parts::of(key);
        let tells = number.is_some() && rest.is_some();
        debug_assert!(!tells, "{key} tells it already");
        self.put_json(table.name, key, Some(scope).filter(|_| !tells), value)
    }

    fn put_json(
        &mut self,
        table: &'static str,
        key: &str,
        scope: Option<Scope>,
        value: &impl Serialize,
    ) -> Result<(), StoreError> {
        let value =
            serde_json::to_vec(value).map_err(|error| StoreError::encode(table, key, error))?;
        if value.len() > LARGEST_RECORD || json::depth(&value) > json::DEEPEST_STORED {
            return Err(StoreError::TooLarge { table: table.to_owned(), key: key.to_owned() });
        }
        let (key, value) = (key.to_owned(), Zeroizing::new(value));
        self.changes.push(Change::Put { table, key, scope, value });
        Ok(())
    }

    /// Removes the record under `key`, if there is one.
    pub fn remove<V>(&mut self, table: &Table<V>, key: &str) {
        self.changes.push(Change::Remove { table: table.name, key: key.to_owned() });
    }

    /// Keeps `secret` under `key`, which says whom it is about, as that of a record does.
    pub fn put_secret(&mut self, key: &str, secret: &Secret) {
        let value = Zeroizing::new(secret.expose_secret().as_bytes().to_vec());
        self.changes.push(Change::Put { table: SECRETS, key: key.to_owned(), scope: None, value });
    }

    /// Removes the secret under `key`, if there is one.
    pub fn remove_secret(&mut self, key: &str) {
        self.changes.push(Change::Remove { table: SECRETS, key: key.to_owned() });
    }

    /// Once this is written, nobody can read anything more about `scope`, whatever is left of it on
    /// the disk: its key is gone. What the batch writes about it is left out, whether before or after.
    /// Its records are still to be removed, or they take up room.
    pub fn forget(&mut self, scope: Scope) {
        debug_assert!(scope != Scope::Bot, "the bot does not forget itself");
        self.forgotten.push(scope);
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.forgotten.is_empty()
    }
}
