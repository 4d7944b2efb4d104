//! What survives a restart: one sled database, in which secrets lie encrypted.
//!
//! Keys are `table/key`, values are JSON. What belongs together is written in one [`Batch`], which
//! is either on disk as a whole or not at all once [`Store::commit`] returns.

use std::{
    fmt, io,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use matrix_sdk_store_encryption::StoreCipher;
use rand::CryptoRng;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::secret::{ExposeSecret, Secret};

mod aside;
mod error;
mod key;
mod meta;

pub use self::error::StoreError;

/// The folder of the database.
const DATABASE: &str = "sled";

/// The table that holds encrypted secrets.
const SECRETS: &str = "secret";

/// How much of the database sled keeps in memory, in bytes. Its own default is a gigabyte.
const CACHE: u64 = 8 << 20;

/// Told of each write, before it is begun and once it is on disk. The write waits for it.
pub trait Witness: fmt::Debug + Send + Sync {
    /// A write is about to begin.
    fn before_write(&self) -> BoxFuture<'_, ()>;

    /// A write is on disk.
    fn after_write(&self) -> BoxFuture<'_, ()>;
}

/// The open store. Clones share one database.
#[derive(Clone)]
pub struct Store {
    db: sled::Db,
    cipher: Arc<StoreCipher>,
    matrix_key: Arc<Zeroizing<[u8; 32]>>,
    path: Arc<PathBuf>,
    witness: Option<Arc<dyn Witness>>,
    flushing: Arc<Flushing>,
}

/// Flushes one after the other, each for all that was applied before it. sled's own threads wait
/// for each other without end when several flush at a time while something is applied.
#[derive(Debug, Default)]
struct Flushing {
    /// How many batches were applied.
    applied: AtomicU64,
    /// How many of them are on disk.
    flushed: tokio::sync::Mutex<u64>,
}

impl Flushing {
    /// Waits until the batch in this `place` is on disk.
    async fn flush(&self, db: &sled::Db, place: u64) -> sled::Result<()> {
        let mut flushed = self.flushed.lock().await;
        if *flushed < place {
            let applied = self.applied.load(Ordering::SeqCst);
            db.flush_async().await?;
            *flushed = applied;
        }
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in the directory `path`, and makes directory, database and key on first
    /// start. The key in `key_file` (32 bytes, mode 0600) encrypts every secret in the store; a
    /// store whose key is lost cannot be opened.
    ///
    /// # Errors
    ///
    /// Every variant of [`StoreError`] but those of single records.
    pub fn open(
        path: &Path,
        key_file: &Path,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, StoreError> {
        let dir = path.join(DATABASE);
        key::create_private_dir(path)?;
        let is_new = !dir.join("db").exists();
        let db = open_database(&dir)?;
        meta::check_schema_version(&db, &dir, is_new || !key_file.exists())?;
        let cipher = meta::cipher(&db, &dir, key_file, rng)?;
        let matrix_key = meta::matrix_key(&db, &dir, &cipher, rng)?;
        db.flush().map_err(|error| StoreError::disk(&dir, error))?;
        key::settle(key_file)?;
        Ok(Self {
            db,
            cipher: Arc::new(cipher),
            matrix_key: Arc::new(matrix_key),
            path: Arc::new(dir),
            witness: None,
            flushing: Arc::default(),
        })
    }

    /// The same store, whose writes wait for `witness`: for tests that end the process there.
    #[must_use]
    pub fn witnessed(self, witness: Arc<dyn Witness>) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// The table `name`, whose values are `V`. A name is one word, and always goes with the same
    /// type.
    pub fn table<V>(&self, name: &'static str) -> Table<V> {
        debug_assert!(!name.contains('/') && name != SECRETS && name != meta::META);
        Table { store: self.clone(), name, values: PhantomData }
    }

    /// The secret kept under `key`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when the record cannot be decrypted.
    pub fn secret(&self, key: &str) -> Result<Option<Secret>, StoreError> {
        let Some(sealed) = self.read(SECRETS, key)? else { return Ok(None) };
        let (sealed_for, secret) = self
            .cipher
            .decrypt_value::<(String, String)>(&sealed)
            .map_err(|error| StoreError::damaged(&self.path, SECRETS, key, error))?;
        // The name is sealed in with the secret, so that records cannot be swapped on disk.
        if sealed_for != key {
            let error = format!("it was written as {SECRETS}/{sealed_for}");
            return Err(StoreError::damaged(&self.path, SECRETS, key, error));
        }
        Ok(Some(Secret::from(secret)))
    }

    /// Writes all of `batch` or nothing, and returns once it is on disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`] when the disk is full or broken. The store then refuses every further
    /// write until the bot is started again.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let batch = self.seal(batch)?;
        let disk = |error| StoreError::disk(&self.path, error);
        if let Some(witness) = &self.witness {
            witness.before_write().await;
        }
        self.db.apply_batch(batch).map_err(disk)?;
        let place = self.flushing.applied.fetch_add(1, Ordering::SeqCst) + 1;
        // In a task of its own: a caller that is not polled for a while holds up nobody else.
        let (db, flushing) = (self.db.clone(), Arc::clone(&self.flushing));
        tokio::spawn(async move { flushing.flush(&db, place).await })
            .await
            .unwrap_or_else(|ended| Err(sled::Error::Io(io::Error::other(ended))))
            .map_err(disk)?;
        if let Some(witness) = &self.witness {
            witness.after_write().await;
        }
        Ok(())
    }

    /// Keeps the files of a store aside that cannot be opened, as they are: `path` is that of
    /// [`open`](Self::open). What was kept before is not written over. Where they are.
    ///
    /// # Errors
    ///
    /// As when the disk is full.
    pub fn keep_files(path: &Path) -> io::Result<PathBuf> {
        aside::keep_files(&path.join(DATABASE))
    }

    /// Writes down beside the store every record that can be read, secrets encrypted as they are. What
    /// was written there before is not written over. Where that is.
    ///
    /// # Errors
    ///
    /// As when the disk is full.
    pub fn keep_records(&self) -> io::Result<PathBuf> {
        aside::keep_records(&self.db, &self.path)
    }

    /// The key that encrypts matrix-sdk's own store, which lies beside this one.
    pub fn matrix_key(&self) -> &[u8; 32] {
        &self.matrix_key
    }

    /// A folder beside this store, for what others keep by the name of `what`.
    pub fn beside(&self, what: &str) -> PathBuf {
        self.path.with_file_name(what)
    }

    /// A mark by which `what` is known again, and from which nobody can tell what it is who has not
    /// the key. `of` is the kind of thing.
    pub fn mark(&self, of: &str, what: &str) -> String {
        let mark = self.cipher.hash_key(of, what.as_bytes());
        mark.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A number that was never returned before, one greater than the last. It is on disk with the
    /// next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`], or [`StoreError::Damaged`] when the counter cannot be read.
    pub fn next_id(&self) -> Result<u64, StoreError> {
        meta::next_id(&self.db, &self.path)
    }

    fn read(&self, table: &str, key: &str) -> Result<Option<sled::IVec>, StoreError> {
        self.db.get(raw_key(table, key)).map_err(|error| StoreError::disk(&self.path, error))
    }

    fn seal(&self, batch: Batch) -> Result<sled::Batch, StoreError> {
        let mut sealed = sled::Batch::default();
        for change in batch.changes {
            match change {
                Change::Put { key, value } => sealed.insert(key.as_bytes(), value),
                Change::PutSecret { key, secret } => {
                    let value = self
                        .cipher
                        .encrypt_value(&(&key, secret.expose_secret()))
                        .map_err(|error| StoreError::encode(SECRETS, &key, error))?;
                    sealed.insert(raw_key(SECRETS, &key).as_bytes(), value);
                }
                Change::Remove { key } => sealed.remove(key.as_bytes()),
            }
        }
        Ok(sealed)
    }
}

/// sled's own threads may hold the lock for a moment after a store was closed, so a database that
/// is in use is tried for a second.
fn open_database(dir: &Path) -> Result<sled::Db, StoreError> {
    let mut tries = 20;
    loop {
        tries -= 1;
        let open = || sled::Config::new().path(dir).cache_capacity(CACHE).open();
        // sled panics over some kinds of damage.
        let opened = catch_unwind(AssertUnwindSafe(open))
            .unwrap_or_else(|_panic| Err(sled::Error::Corruption { at: None, bt: () }));
        match opened.map_err(|error| StoreError::opening(dir, error)) {
            Err(StoreError::Locked { .. }) if tries > 0 => {
                thread::sleep(Duration::from_millis(50));
            }
            result => return result,
        }
    }
}

fn raw_key(table: &str, key: &str) -> String {
    format!("{table}/{key}")
}

/// Records of one type, by key.
pub struct Table<V> {
    store: Store,
    name: &'static str,
    values: PhantomData<fn() -> V>,
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
        self.store.read(self.name, key)?.map(|value| self.decode(key, &value)).transpose()
    }

    /// Every record with its key, sorted by key.
    ///
    /// # Errors
    ///
    /// Each record fails for itself, as in [`get`](Self::get).
    pub fn iter(&self) -> impl Iterator<Item = Result<(String, V), StoreError>> + use<'_, V> {
        self.iter_prefix("")
    }

    /// Every record whose key begins with `prefix`, with its key, sorted by key.
    ///
    /// # Errors
    ///
    /// Each record fails for itself, as in [`get`](Self::get).
    pub fn iter_prefix(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = Result<(String, V), StoreError>> + use<'_, V> {
        let start = raw_key(self.name, "").len();
        self.store.db.scan_prefix(raw_key(self.name, prefix)).map(move |record| {
            let (key, value) = record.map_err(|error| StoreError::disk(&self.store.path, error))?;
            let key = String::from_utf8_lossy(&key[start..]).into_owned();
            let value = self.decode(&key, &value)?;
            Ok((key, value))
        })
    }

    fn decode(&self, key: &str, value: &[u8]) -> Result<V, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::damaged(&self.store.path, self.name, key, error))
    }
}

impl<V> Table<V> {
    /// Whether there is a record under `key`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`] when it cannot be read.
    pub fn contains(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.store.read(self.name, key)?.is_some())
    }
}

/// Changes that are written together, by [`Store::commit`]. Of two changes to one record the later
/// one counts.
#[derive(Debug, Default)]
#[must_use = "nothing is written before `Store::commit`"]
pub struct Batch {
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Put { key: String, value: Vec<u8> },
    PutSecret { key: String, secret: Secret },
    Remove { key: String },
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value` under `key`, over what was there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Encode`] when `value` has no JSON form.
    pub fn put<V: Serialize>(
        &mut self,
        table: &Table<V>,
        key: &str,
        value: &V,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(value)
            .map_err(|error| StoreError::encode(table.name, key, error))?;
        self.changes.push(Change::Put { key: raw_key(table.name, key), value });
        Ok(())
    }

    /// Removes the record under `key`, if there is one.
    pub fn remove<V>(&mut self, table: &Table<V>, key: &str) {
        self.changes.push(Change::Remove { key: raw_key(table.name, key) });
    }

    /// Keeps `secret` under `key`, encrypted.
    pub fn put_secret(&mut self, key: &str, secret: &Secret) {
        self.changes.push(Change::PutSecret { key: key.to_owned(), secret: secret.clone() });
    }

    /// Removes the secret under `key`, if there is one.
    pub fn remove_secret(&mut self, key: &str) {
        self.changes.push(Change::Remove { key: raw_key(SECRETS, key) });
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests;
