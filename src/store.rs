//! What survives a restart: one sled database, in which everything lies encrypted that could name
//! somebody or tell what they said.
//!
//! A record is JSON under a key in a table. What belongs together is written in one [`Batch`], which
//! is either on disk as a whole or not at all once [`Store::commit`] returns. On disk, the value is
//! sealed together with the key, for its place alone; of the key only a keyed hash is to be seen
//! there, and before it the number of the migration, which names nobody. What is about one migration
//! or one person ([`Scope`]) has a key of its own ([`ring`]), so that nothing of it can be read any
//! more once it is [forgotten](Batch::forget), wherever the database still has it.

use std::{
    fmt, io,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use matrix_sdk_store_encryption::StoreCipher;
use rand::{CryptoRng, SeedableRng as _, rngs::StdRng};
use zeroize::Zeroizing;

use self::{
    batch::Change,
    ring::Ring,
    scope::{Mark, Parts, SCOPES},
};
use crate::{secret::Secret, supervise};

mod aside;
mod batch;
mod error;
mod key;
mod meta;
mod ring;
mod scope;
mod seal;
mod table;

pub use self::{batch::Batch, error::StoreError, scope::Scope, table::Table};

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
    ring: Arc<Ring>,
    rng: Arc<Mutex<StdRng>>,
    /// Held by whoever forgets while that is applied, and shared by all others: so that nothing is
    /// sealed with a key that goes before it is applied.
    applying: Arc<RwLock<()>>,
    witness: Option<Arc<dyn Witness>>,
    flushing: Arc<Flushing>,
}

/// A batch as it goes to disk, and what is to be done when it is there.
struct Sealed {
    records: sled::Batch,
    registered: Vec<Arc<AtomicBool>>,
    forgotten: Vec<Scope>,
}

/// Where a record lies on disk, and what lies there.
type Placed = (Vec<u8>, Vec<u8>);

/// A record that was read: its key, and its value as JSON.
struct Plain {
    bytes: Zeroizing<Vec<u8>>,
    key: std::ops::Range<usize>,
}

impl Plain {
    /// As [`written`](Self::written).
    fn read(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        let key = 4..length.checked_add(4)?;
        str::from_utf8(bytes.get(key.clone())?).ok()?;
        Some(Self { bytes, key })
    }

    /// The key, after its length, and the value.
    fn written(key: &str, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let length = u32::try_from(key.len()).ok()?.to_be_bytes();
        Some(Zeroizing::new([&length[..], key.as_bytes(), value].concat()))
    }

    fn key(&self) -> &str {
        str::from_utf8(&self.bytes[self.key.clone()]).unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.key.end..]
    }
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
    /// start. The key in `key_file` (32 bytes, mode 0600) encrypts what else there is; a store whose key
    /// is lost cannot be opened. `rng` makes keys, now and later.
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
        let root = cipher.hash_key("record_keys", b"root");
        let ring = Ring::open(&dir, &root, &scope::registered(&db, &dir)?)?;
        db.flush().map_err(|error| StoreError::disk(&dir, error))?;
        key::settle(key_file)?;
        Ok(Self {
            db,
            cipher: Arc::new(cipher),
            matrix_key: Arc::new(matrix_key),
            path: Arc::new(dir),
            ring: Arc::new(ring),
            rng: Arc::new(Mutex::new(StdRng::from_rng(rng))),
            applying: Arc::default(),
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
    /// type. It is the only thing that is not encrypted, beside numbers.
    pub fn table<V>(&self, name: &'static str) -> Table<V> {
        let reserved = [SECRETS, SCOPES, meta::META];
        debug_assert!(!name.contains('/') && !reserved.contains(&name));
        Table { store: self.clone(), name, values: PhantomData }
    }

    /// The secret kept under `key`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when the record cannot be decrypted.
    pub fn secret(&self, key: &str) -> Result<Option<Secret>, StoreError> {
        let Some(plain) = self.read(SECRETS, key)? else { return Ok(None) };
        let secret = str::from_utf8(plain.value())
            .map_err(|error| StoreError::damaged(&self.path, SECRETS, key, error))?;
        Ok(Some(Secret::from(secret)))
    }

    /// Writes all of `batch` or nothing, and returns once it is on disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Disk`] when the disk is full or broken. The store then refuses every further
    /// write until the bot is started again.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let disk = |error| StoreError::disk(&self.path, error);
        if let Some(witness) = &self.witness {
            witness.before_write().await;
        }
        let sealed = loop {
            self.make_keys(&batch).await?;
            if let Some(sealed) = self.apply(&batch)? {
                break sealed;
            }
        };
        let place = self.flushing.applied.fetch_add(1, Ordering::SeqCst) + 1;
        // In a task of its own: a caller that is not polled for a while holds up nobody else, and
        // one that goes away leaves no key behind.
        let store = self.clone();
        let settled =
            tokio::spawn(
                async move { supervise::caught("store", store.settle(place, sealed)).await },
            );
        let ended = |what: String| Err(disk(sled::Error::Io(io::Error::other(what))));
        match settled.await {
            Ok(Ok(settled)) => settled?,
            Ok(Err(panicked)) => ended(panicked.to_string())?,
            Err(error) => ended(error.to_string())?,
        }
        if let Some(witness) = &self.witness {
            witness.after_write().await;
        }
        Ok(())
    }

    /// Makes the keys that a batch needs and that there are not yet. They are on disk before anything
    /// is encrypted with them.
    async fn make_keys(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut wanted: Vec<_> = batch
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Put { key, scope, .. } => Some(self.scope_of(key, *scope)),
                Change::Remove { .. } => None,
            })
            .filter(|scope| !batch.forgotten.contains(scope) && self.ring.wants(*scope))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let (ring, rng) = (self.ring.clone(), self.rng.clone());
        tokio::task::spawn_blocking(move || ring.make(&wanted, &rng)).await.unwrap_or_else(
            |ended| Err(StoreError::disk(&self.path, sled::Error::Io(io::Error::other(ended)))),
        )
    }

    /// Seals a batch and hands it to the database; nothing, if a key that it needs went meanwhile.
    fn apply(&self, batch: &Batch) -> Result<Option<Sealed>, StoreError> {
        let (_shared, _alone);
        if batch.forgotten.is_empty() {
            _shared = self.applying.read().unwrap_or_else(PoisonError::into_inner);
        } else {
            _alone = self.applying.write().unwrap_or_else(PoisonError::into_inner);
        }
        let Some(mut sealed) = self.seal(batch)? else { return Ok(None) };
        self.ring.let_go(&sealed.forgotten);
        let records = std::mem::take(&mut sealed.records);
        self.db.apply_batch(records).map_err(|error| StoreError::disk(&self.path, error))?;
        Ok(Some(sealed))
    }

    /// Waits until what was applied is on disk, and drops the keys of what was forgotten.
    async fn settle(&self, place: u64, sealed: Sealed) -> Result<(), StoreError> {
        let disk = |error| StoreError::disk(&self.path, error);
        self.flushing.flush(&self.db, place).await.map_err(disk)?;
        for registered in &sealed.registered {
            registered.store(true, Ordering::SeqCst);
        }
        if sealed.forgotten.is_empty() {
            return Ok(());
        }
        let ring = self.ring.clone();
        tokio::task::spawn_blocking(move || ring.drop_keys())
            .await
            .unwrap_or_else(|ended| Err(disk(sled::Error::Io(io::Error::other(ended)))))
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

    /// Writes down beside the store every record that can be read, encrypted as they are. What was
    /// written there before is not written over. Where that is.
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

    /// A key of its own for what others keep `about` somebody by the name of `what`, beside this store.
    /// It goes when that is [forgotten](Batch::forget). None where nothing is stored about them.
    pub fn key_about(&self, about: Scope, what: &str) -> Option<Zeroizing<[u8; 32]>> {
        Some(self.ring.sealer(about)?.key_for(what))
    }

    /// What is about this person, by their user ID.
    pub fn person(&self, user_id: &str) -> Scope {
        self.person_in("person", user_id)
    }

    /// What one `part` of the program keeps about this person, and forgets by itself.
    pub fn person_in(&self, part: &str, user_id: &str) -> Scope {
        Scope::Person(Mark(self.cipher.hash_key(part, user_id.as_bytes())))
    }

    /// A folder beside this store, for what others keep by the name of `what`.
    pub fn beside(&self, what: &str) -> PathBuf {
        self.path.with_file_name(what)
    }

    /// A mark by which `what` is known again, and from which nobody can tell what it is who has not
    /// the key. `of` is the kind of thing.
    pub fn mark(&self, of: &str, what: &str) -> String {
        scope::hex(&self.cipher.hash_key(of, what.as_bytes()))
    }

    /// Every record that can be read, of all tables, as `table/key` and JSON, or a secret as it is: for
    /// tests that prove what is left of somebody.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn everything(&self) -> Result<Vec<(String, String)>, StoreError> {
        let mut all = Vec::new();
        for record in self.db.iter() {
            let (place, sealed) = record.map_err(|error| StoreError::disk(&self.path, error))?;
            let text = String::from_utf8_lossy(&place);
            let table = text.split('/').next().unwrap_or_default();
            let plain = match [SCOPES, meta::META].contains(&table) {
                false => self.open_record(table, &place, &sealed)?,
                true => None,
            };
            all.extend(plain.map(|plain| {
                let value = String::from_utf8_lossy(plain.value()).into_owned();
                (raw_key(table, plain.key()), value)
            }));
        }
        Ok(all)
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

    /// Whom a record is about, if that is not told, by its key.
    fn scope_of(&self, key: &str, told: Option<Scope>) -> Scope {
        told.unwrap_or_else(|| match Parts::of(key).number {
            Some((number, _)) => Scope::Migration(number),
            None if key.starts_with('@') => self.person(key),
            None => Scope::Bot,
        })
    }

    /// Where a record lies in the database. Nowhere, if it would be of a migration without a key.
    fn place(&self, table: &str, key: &str) -> Option<Vec<u8>> {
        let Parts { number, rest } = Parts::of(key);
        let place = match (number, rest) {
            (Some((number, written)), Some(rest)) => {
                let hash = self.ring.sealer(Scope::Migration(number))?.hash(table, rest);
                raw_key(table, &raw_key(written, &hash))
            }
            (Some((_, written)), None) => raw_key(table, written),
            (None, rest) => raw_key(table, &self.ring.bot().hash(table, rest.unwrap_or_default())),
        };
        Some(place.into_bytes())
    }

    /// What lies in the place of a record.
    fn find(&self, table: &str, key: &str) -> Result<Option<(Vec<u8>, sled::IVec)>, StoreError> {
        let Some(place) = self.place(table, key) else { return Ok(None) };
        let found = self.db.get(&place).map_err(|error| StoreError::disk(&self.path, error))?;
        Ok(found.map(|sealed| (place, sealed)))
    }

    fn read(&self, table: &str, key: &str) -> Result<Option<Plain>, StoreError> {
        let Some((place, sealed)) = self.find(table, key)? else { return Ok(None) };
        self.open_record(table, &place, &sealed).map_err(|error| match error {
            StoreError::Damaged { source, .. } => {
                StoreError::damaged(&self.path, table, key, source)
            }
            error => error,
        })
    }

    /// Opens what lies in a `place` of the database; nothing, if it is about somebody who was forgotten.
    /// It opens only in the place that it was written to, so that records cannot be swapped on disk.
    fn open_record(
        &self,
        table: &str,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<Option<Plain>, StoreError> {
        let damaged = |what: &'static str| {
            let key = String::from_utf8_lossy(place);
            let key = key.split_once('/').unwrap_or_default().1;
            StoreError::damaged(&self.path, table, key, what)
        };
        let (scope, sealed) = Scope::read(sealed).ok_or_else(|| damaged("it is no record"))?;
        let Some(sealer) = self.ring.sealer(scope) else { return Ok(None) };
        let plain =
            sealer.open(place, sealed).map_err(|_| damaged("it is not what was written there"))?;
        Plain::read(plain).map(Some).ok_or_else(|| damaged("it has no key"))
    }

    /// Nothing, if a key that it needs went meanwhile.
    fn seal(&self, batch: &Batch) -> Result<Option<Sealed>, StoreError> {
        let mut records = sled::Batch::default();
        let mut registered = Vec::new();
        for change in &batch.changes {
            let (table, key, scope, value) = match change {
                Change::Put { table, key, scope, value } => {
                    (table, key, self.scope_of(key, *scope), value)
                }
                Change::Remove { table, key } => {
                    self.place(table, key).into_iter().for_each(|place| records.remove(place));
                    continue;
                }
            };
            if batch.forgotten.contains(&scope) || self.ring.is_forgotten(scope) {
                continue;
            }
            let Some((place, sealed)) = self.seal_record(scope, table, key, value)? else {
                return Ok(None);
            };
            records.insert(place, sealed);
            if let Some(flag) = self.ring.unregistered(scope) {
                records.insert(raw_key(SCOPES, &scope.name()).as_bytes(), b"");
                registered.push(flag);
            }
        }
        for scope in &batch.forgotten {
            records.remove(raw_key(SCOPES, &scope.name()).as_bytes());
        }
        Ok(Some(Sealed { records, registered, forgotten: batch.forgotten.clone() }))
    }

    /// A record as it is to lie on disk.
    fn seal_record(
        &self,
        scope: Scope,
        table: &str,
        key: &str,
        value: &[u8],
    ) -> Result<Option<Placed>, StoreError> {
        let (place, sealer) = (self.place(table, key), self.ring.sealer(scope));
        let Some((place, sealer)) = place.zip(sealer) else { return Ok(None) };
        let plain = Plain::written(key, value)
            .ok_or_else(|| StoreError::encode(table, key, "its key is too long"))?;
        let mut sealed = Vec::with_capacity(plain.len() + 80);
        scope.write(&mut sealed);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        sealer
            .seal(&place, &plain, &mut sealed, &mut *rng)
            .map_err(|error| StoreError::encode(table, key, error.to_string()))?;
        Ok(Some((place, sealed)))
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

#[cfg(test)]
mod tests;
