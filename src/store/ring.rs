//! The keys of what can be forgotten, in a file beside the database.
//!
//! The database is a log: what is removed from it stays on the disk for a while, or for good. So what
//! is about one migration or one person is encrypted with a key of its own, and the keys lie outside
//! the log, in a file that is written anew without a key that is forgotten. A line for each:
//! the scope's name, and its key, encrypted with the key of the store.
//!
//! A key is on disk before anything is encrypted with it, and goes only when it is on disk that
//! nothing is left of its scope. A process that was killed between leaves a key that the database does
//! not list, which goes at the next start.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rand::{RngCore, rngs::StdRng};
use zeroize::Zeroizing;

use super::{
    StoreError,
    scope::{Scope, hex, unhex},
    seal::Sealer,
};

/// The file, beside the database.
pub(super) const FILE: &str = "record_keys";

/// The keys of all scopes.
#[derive(Debug)]
pub(super) struct Ring {
    path: PathBuf,
    /// Encrypts the keys in the file.
    sealer: Sealer,
    bot: Arc<Sealer>,
    known: RwLock<Known>,
    /// How much of the file counts, in bytes. Held while it is written.
    length: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Known {
    held: HashMap<Scope, Held>,
    /// The migrations that were forgotten since the start. Their numbers are not given again.
    forgotten: HashSet<u64>,
}

#[derive(Debug)]
struct Held {
    sealer: Arc<Sealer>,
    line: String,
    /// Whether the database lists it, on disk.
    registered: Arc<AtomicBool>,
}

impl Ring {
    /// Reads the file. `registered` is what the database lists: each must have its key, and no other
    /// scope keeps one.
    pub(super) fn open(
        database: &Path,
        root: &[u8; 32],
        registered: &BTreeSet<Scope>,
    ) -> Result<Self, StoreError> {
        let path = database.with_file_name(FILE);
        let root = Sealer::new(root);
        let ring = Self {
            sealer: Sealer::new(&root.key_for("the file of keys")),
            bot: Arc::new(Sealer::new(&root.key_for("the bot"))),
            known: RwLock::default(),
            length: Mutex::default(),
            path,
        };
        let text = match fs::read_to_string(&ring.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(|source| ring.no_access("read", source))?,
        };
        let mut is_as_it_should_be = text.is_empty() || text.ends_with('\n');
        let mut held = HashMap::new();
        // What is not a whole line was being written when the process ended, and nothing is encrypted
        // with it.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let (scope, key) = ring.parse(line)?;
            if !registered.contains(&scope) {
                is_as_it_should_be = false;
                continue;
            }
            held.insert(scope, Held::new(&key, line.to_owned(), true));
        }
        if let Some(lost) = registered.iter().find(|scope| !held.contains_key(scope)) {
            let (path, scope) = (ring.path, lost.name());
            return Err(StoreError::RecordKeyMissing { path, scope });
        }
        ring.write().held = held;
        if is_as_it_should_be {
            *ring.length() = text.len() as u64;
        } else {
            ring.write_anew(&mut ring.length())?;
        }
        Ok(ring)
    }

    /// Encrypts what is about `scope`: none if there is nothing about it, or no more.
    pub(super) fn sealer(&self, scope: Scope) -> Option<Arc<Sealer>> {
        if scope == Scope::Bot {
            return Some(self.bot.clone());
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.held.get(&scope).map(|held| held.sealer.clone())
    }

    /// The bot's own.
    pub(super) fn bot(&self) -> &Sealer {
        &self.bot
    }

    /// What the database is to list of `scope` with the next write, and the flag that it does.
    pub(super) fn unregistered(&self, scope: Scope) -> Option<Arc<AtomicBool>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let registered = &known.held.get(&scope)?.registered;
        (!registered.load(Ordering::SeqCst)).then(|| registered.clone())
    }

    /// Whether this is a migration that was forgotten.
    pub(super) fn is_forgotten(&self, scope: Scope) -> bool {
        let Scope::Migration(number) = scope else { return false };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.forgotten.contains(&number)
    }

    /// Whether something about `scope` can be written only once it has a key.
    pub(super) fn wants(&self, scope: Scope) -> bool {
        self.sealer(scope).is_none() && !self.is_forgotten(scope)
    }

    /// Every scope that has a key of its own.
    #[cfg(test)]
    pub(super) fn everybody(&self) -> BTreeSet<Scope> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.held.keys().copied().collect()
    }

    /// Makes keys for scopes that have none, and returns once they are on disk.
    pub(super) fn make(&self, scopes: &[Scope], rng: &Mutex<StdRng>) -> Result<(), StoreError> {
        let mut length = self.length();
        let mut made = Vec::new();
        for scope in scopes.iter().copied().filter(|scope| self.wants(*scope)) {
            made.push((scope, self.new_key(scope, rng)?));
        }
        if made.is_empty() {
            return Ok(());
        }
        let lines: String = made.iter().map(|(_, held)| held.line.as_str()).collect();
        let is_new = *length == 0;
        append(&self.path, *length, &lines)
            .and_then(|()| if is_new { sync_folder(&self.path) } else { Ok(()) })
            .map_err(|source| self.no_access("write", source))?;
        *length += lines.len() as u64;
        self.write().held.extend(made);
        Ok(())
    }

    /// From now on nothing more can be read of these scopes or written with their keys.
    pub(super) fn let_go(&self, scopes: &[Scope]) {
        let mut known = self.write();
        for scope in scopes {
            known.held.remove(scope);
            if let Scope::Migration(number) = scope {
                known.forgotten.insert(*number);
            }
        }
    }

    /// Writes the file without the keys that were [let go](Self::let_go).
    pub(super) fn drop_keys(&self) -> Result<(), StoreError> {
        self.write_anew(&mut self.length())
    }

    fn write_anew(&self, length: &mut MutexGuard<'_, u64>) -> Result<(), StoreError> {
        let lines: String = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.held.values().map(|held| held.line.as_str()).collect()
        };
        let unfinished = self.path.with_added_extension("new");
        append(&unfinished, 0, &lines)
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .and_then(|()| sync_folder(&self.path))
            .map_err(|source| self.no_access("write", source))?;
        **length = lines.len() as u64;
        Ok(())
    }

    fn new_key(&self, scope: Scope, rng: &Mutex<StdRng>) -> Result<Held, StoreError> {
        let mut key = Zeroizing::new([0; 32]);
        let mut sealed = Vec::new();
        let name = scope.name();
        {
            let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
            rng.fill_bytes(key.as_mut_slice());
            self.sealer
                .seal(name.as_bytes(), key.as_slice(), &mut sealed, &mut *rng)
                .map_err(|error| StoreError::encode(FILE, &name, error.to_string()))?;
        }
        Ok(Held::new(&key, format!("{name} {}\n", hex(&sealed)), false))
    }

    fn parse(&self, line: &str) -> Result<(Scope, Zeroizing<[u8; 32]>), StoreError> {
        let (name, sealed) = line.trim_end().split_once(' ').unwrap_or_default();
        let open = || {
            let scope = Scope::named(name)?;
            let key = self.sealer.open(name.as_bytes(), &unhex(sealed)?).ok()?;
            let key = <[u8; 32]>::try_from(key.as_slice()).ok()?;
            Some((scope, Zeroizing::new(key)))
        };
        open().ok_or_else(|| {
            StoreError::damaged(&self.path, FILE, name, "it is not a key of this store")
        })
    }

    fn length(&self) -> MutexGuard<'_, u64> {
        self.length.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_access(&self, what: &'static str, source: io::Error) -> StoreError {
        StoreError::NoAccess { what, path: self.path.clone(), source }
    }
}

impl Held {
    fn new(key: &[u8; 32], line: String, registered: bool) -> Self {
        let registered = Arc::new(AtomicBool::new(registered));
        Self { sealer: Arc::new(Sealer::new(key)), line, registered }
    }
}

/// Writes `text` after the first `length` bytes, over whatever an earlier try left there.
fn append(path: &Path, length: u64, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Returns once it is on disk which files there are.
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
