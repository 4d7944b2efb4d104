//! What the store keeps about itself, under `meta/`.

use std::path::Path;

use matrix_sdk_store_encryption::{Error as CipherError, StoreCipher};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{
    StoreError,
    key::{self, Key},
    raw_key,
};

/// The table that this module keeps.
pub(super) const META: &str = "meta";

/// The version of everything that is stored. To be raised when an older Tern could not read what
/// this one writes.
pub(super) const SCHEMA_VERSION: u32 = 2;

/// The oldest version that this one reads. What was written before lay there in plain.
const OLDEST: u32 = 2;

/// Refuses a store that was written by a newer Tern, or by one too old; writes the version into an
/// empty one, if it `may_be_empty`.
pub(super) fn check_schema_version(
    db: &sled::Db,
    path: &Path,
    may_be_empty: bool,
) -> Result<(), StoreError> {
    let Some(found) = get(db, path, "schema_version")? else {
        // sled does not complain of a file that it cannot read: it begins a new one.
        if !may_be_empty {
            let source = sled::Error::Corruption { at: None, bt: () };
            return Err(StoreError::disk(path, source));
        }
        let version = SCHEMA_VERSION.to_string();
        return put(db, path, "schema_version", version.as_bytes());
    };
    let found = serde_json::from_slice(&found)
        .map_err(|error| StoreError::damaged(path, META, "schema_version", error))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    if found < OLDEST {
        return Err(StoreError::Older { path: path.to_owned(), found, oldest: OLDEST });
    }
    Ok(())
}

/// The cipher for secrets, which lies in the store encrypted with the key in `key_file`.
pub(super) fn cipher(
    db: &sled::Db,
    path: &Path,
    key_file: &Path,
    rng: &mut impl CryptoRng,
) -> Result<StoreCipher, StoreError> {
    let key = key::read(key_file)?;
    let Some(sealed) = get(db, path, "cipher")? else {
        let key = match key {
            Some(key) => key,
            None => key::create(key_file, rng)?,
        };
        return new_cipher(db, path, &key);
    };
    let key = match key {
        Some(key) => key,
        None => key::read_unsettled(key_file)?.ok_or_else(|| StoreError::KeyMissing {
            key_file: key_file.to_owned(),
            path: path.to_owned(),
        })?,
    };
    StoreCipher::import_with_key(&key, &sealed).map_err(|error| cipher_error(path, key_file, error))
}

fn new_cipher(db: &sled::Db, path: &Path, key: &Key) -> Result<StoreCipher, StoreError> {
    let failed = |error| StoreError::encode(META, "cipher", error);
    let cipher = StoreCipher::new().map_err(failed)?;
    put(db, path, "cipher", &cipher.export_with_key(key).map_err(failed)?)?;
    Ok(cipher)
}

fn cipher_error(path: &Path, key_file: &Path, error: CipherError) -> StoreError {
    match error {
        CipherError::Encryption(_) => {
            StoreError::WrongKey { key_file: key_file.to_owned(), path: path.to_owned() }
        }
        error => StoreError::damaged(path, META, "cipher", error),
    }
}

/// The random key for matrix-sdk's store, kept encrypted.
pub(super) fn matrix_key(
    db: &sled::Db,
    path: &Path,
    cipher: &StoreCipher,
    rng: &mut impl CryptoRng,
) -> Result<Key, StoreError> {
    if let Some(sealed) = get(db, path, "matrix_key")? {
        return cipher
            .decrypt_value(&sealed)
            .map(Zeroizing::new)
            .map_err(|error| StoreError::damaged(path, META, "matrix_key", error));
    }
    let mut key = Zeroizing::new([0; 32]);
    rng.fill_bytes(key.as_mut_slice());
    let sealed = cipher
        .encrypt_value(&*key)
        .map_err(|error| StoreError::encode(META, "matrix_key", error))?;
    put(db, path, "matrix_key", &sealed)?;
    Ok(key)
}

/// Counts up, from 1.
pub(super) fn next_id(db: &sled::Db, path: &Path) -> Result<u64, StoreError> {
    let count = |old: Option<&[u8]>| {
        let last = old.map_or(Ok(0), serde_json::from_slice::<u64>);
        // A counter that cannot be read is left as it is, and reported below.
        Some(last.map_or_else(
            |_| old.unwrap_or_default().to_vec(),
            |last| (last + 1).to_string().into_bytes(),
        ))
    };
    let next = db
        .update_and_fetch(raw_key(META, "last_id"), count)
        .map_err(|error| StoreError::disk(path, error))?
        .unwrap_or_default();
    serde_json::from_slice(&next).map_err(|error| StoreError::damaged(path, META, "last_id", error))
}

fn get(db: &sled::Db, path: &Path, key: &str) -> Result<Option<sled::IVec>, StoreError> {
    db.get(raw_key(META, key)).map_err(|error| StoreError::disk(path, error))
}

fn put(db: &sled::Db, path: &Path, key: &str, value: &[u8]) -> Result<(), StoreError> {
    db.insert(raw_key(META, key), value).map_err(|error| StoreError::disk(path, error))?;
    Ok(())
}
