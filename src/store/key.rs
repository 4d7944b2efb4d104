//! The file with the key that everything secret in the store is encrypted with.
//!
//! A new key is written beside its place first, and [settled](settle) only when the store that is
//! encrypted with it is on disk. So a first start that was interrupted goes on with the next one,
//! and a key in its place means that there is a store.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::StoreError;

pub(super) type Key = Zeroizing<[u8; 32]>;

/// Makes a directory that only the bot's own user can look into, unless it is there already.
pub(super) fn create_private_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StoreError::NoAccess { what: "create", path: path.to_owned(), source })
}

/// Reads the key, or returns nothing when the file is not there.
pub(super) fn read(file: &Path) -> Result<Option<Key>, StoreError> {
    let bytes = match fs::read(file) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StoreError::NoAccess { what: "read", path: file.to_owned(), source });
        }
    };
    warn_if_readable_by_others(file);
    <[u8; 32]>::try_from(bytes.as_slice())
        .map(|key| Some(Zeroizing::new(key)))
        .map_err(|_| StoreError::NotAKey { key_file: file.to_owned(), length: bytes.len() })
}

/// Reads the key that an interrupted first start left beside its place.
pub(super) fn read_unsettled(file: &Path) -> Result<Option<Key>, StoreError> {
    read(&unsettled(file))
}

/// Makes a new key, beside its place.
pub(super) fn create(file: &Path, rng: &mut impl CryptoRng) -> Result<Key, StoreError> {
    let mut key = Zeroizing::new([0; 32]);
    rng.fill_bytes(key.as_mut_slice());
    let path = unsettled(file);
    write(&path, &key).map_err(|source| StoreError::NoAccess { what: "create", path, source })?;
    Ok(key)
}

/// Puts a new key into its place.
pub(super) fn settle(file: &Path) -> Result<(), StoreError> {
    match fs::rename(unsettled(file), file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::NoAccess { what: "create", path: file.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn unsettled(file: &Path) -> PathBuf {
    file.with_added_extension("new")
}

fn write(path: &Path, key: &Key) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(key.as_slice())?;
    file.sync_all()
}

fn warn_if_readable_by_others(file: &Path) {
    let Ok(metadata) = fs::metadata(file) else { return };
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %file.display(), "the key file can be read by other users; use mode 0600");
    }
}
