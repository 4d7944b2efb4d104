//! Records of one type.

use std::{collections::VecDeque, fmt, iter::Peekable, marker::PhantomData};

use serde::de::{DeserializeOwned, IgnoredAny};

use super::{
    Store, StoreError, raw_key,
    scope::{Parts, Scope},
};

/// Records of one type, by key.
pub struct Table<V> {
    pub(super) store: Store,
    pub(super) name: &'static str,
    pub(super) values: PhantomData<fn() -> V>,
}

// Not derived, because that would want the same of `V`.
impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        self.store.table(self.name)
    }
}

impl<V> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

impl<V: DeserializeOwned> Table<V> {
    /// The record under `key`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when it is not a `V`, [`StoreError::Disk`] when it cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        let Some(plain) = self.store.read(self.name, key)? else { return Ok(None) };
        self.decode(key, plain.value()).map(Some)
    }

    /// Every record with its key. Those of one migration come together, sorted by key, and migrations
    /// in the order of their numbers, if those are written in one length. Of what is kept of other
    /// keys on disk, no order can be told.
    ///
    /// # Errors
    ///
    /// Each record fails for itself, as in [`get`](Self::get).
    pub fn iter(&self) -> impl Iterator<Item = Result<(String, V), StoreError>> + use<'_, V> {
        self.iter_prefix("")
    }

    /// Every record whose key begins with `prefix`, with its key, in the order of
    /// [`iter`](Self::iter). Only a `prefix` that is a migration's number and a slash spares looking at
    /// all of the table.
    ///
    /// # Errors
    ///
    /// Each record fails for itself, as in [`get`](Self::get).
    pub fn iter_prefix(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = Result<(String, V), StoreError>> + use<'_, V> {
        let start = match Parts::of(prefix) {
            Parts { number: Some((_, number)), rest: Some(_) } => {
                raw_key(self.name, &raw_key(number, ""))
            }
            _ => raw_key(self.name, ""),
        };
        let records = self.store.db.scan_prefix(start).peekable();
        let all = Groups { table: self, records, group: VecDeque::new() };
        let prefix = prefix.to_owned();
        all.filter(move |record| record.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
    }

    fn decode(&self, key: &str, value: &[u8]) -> Result<V, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::damaged(&self.store.path, self.name, key, error))
    }

    /// The record at this place in the database, with its key; none of what was forgotten.
    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Option<(String, V)>, StoreError> {
        let Some(plain) = self.store.open_record(self.name, place, sealed)? else {
            return Ok(None);
        };
        let value = self.decode(plain.key(), plain.value())?;
        Ok(Some((plain.key().to_owned(), value)))
    }
}

impl<V> Table<V> {
    /// The key of every record whose key begins with `prefix`, in the order of [`iter`](Self::iter):
    /// also of those that are no `V`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`] when it cannot be read.
    pub fn keys_prefix(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let records = self.store.table::<IgnoredAny>(self.name);
        let keys = records.iter_prefix(prefix).filter_map(|record| match record {
            Ok((key, _)) => Some(Ok(key)),
            // Nobody can tell any more what it was about.
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => Some(Err(error)),
        });
        keys.collect()
    }

    /// Whether there is a record under `key`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`] when it cannot be read.
    pub fn contains(&self, key: &str) -> Result<bool, StoreError> {
        let found = self.store.find(self.name, key)?;
        let scope = found.as_ref().and_then(|(_, sealed)| Scope::read(sealed));
        // What cannot be read is there as well.
        Ok(found.is_some()
            && scope.is_none_or(|(scope, _)| self.store.ring.sealer(scope).is_some()))
    }
}

/// Records as they lie in the database, those with the same number before their keys sorted.
struct Groups<'a, V> {
    table: &'a Table<V>,
    records: Peekable<sled::Iter>,
    group: VecDeque<Result<(String, V), StoreError>>,
}

impl<V: DeserializeOwned> Iterator for Groups<'_, V> {
    type Item = Result<(String, V), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.group.is_empty() {
            let first = self.records.next()?;
            self.gather(first);
        }
        self.group.pop_front()
    }
}

impl<V: DeserializeOwned> Groups<'_, V> {
    /// Takes in `first`, and what belongs to it.
    fn gather(&mut self, first: sled::Result<(sled::IVec, sled::IVec)>) {
        let skip = raw_key(self.table.name, "").len();
        let group = |place: &[u8]| -> Vec<u8> {
            place[skip..].split(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
        };
        let path = &self.table.store.path;
        let mut next = first;
        loop {
            let (place, sealed) = match next {
                Ok(record) => record,
                Err(error) => {
                    self.group.push_back(Err(StoreError::disk(path, error)));
                    break;
                }
            };
            self.group.extend(self.table.open(&place, &sealed).transpose());
            let is_of_it = |after: &sled::Result<(sled::IVec, sled::IVec)>| {
                after.as_ref().is_ok_and(|(after, _)| group(after) == group(&place))
            };
            match self.records.next_if(is_of_it) {
                Some(after) => next = after,
                None => break,
            }
        }
        self.group.make_contiguous().sort_by(|one, other| match (one, other) {
            (Ok((one, _)), Ok((other, _))) => one.cmp(other),
            (one, other) => one.is_ok().cmp(&other.is_ok()),
        });
    }
}
