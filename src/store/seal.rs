//! How one record is encrypted: its value, and its key as far as it may name somebody.

use std::fmt;

use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Error, Payload},
};
use rand::RngCore;
use zeroize::Zeroizing;

/// The first byte of whatever is sealed.
const VERSION: u8 = 1;

/// How long a nonce is, in bytes. So long that one made at random is never made twice.
const NONCE: usize = 24;

/// How long the hash of a key is, in bytes.
const HASH: usize = 16;

/// Encrypts the records of one scope.
pub(super) struct Sealer {
    cipher: XChaCha20Poly1305,
    names: Zeroizing<[u8; 32]>,
    derived: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let derive = |what| Zeroizing::new(blake3::derive_key(what, key));
        let values = derive("tern store 2: values of records");
        Self {
            cipher: XChaCha20Poly1305::new(Key::from_slice(values.as_slice())),
            names: derive("tern store 2: keys of records"),
            derived: derive("tern store 2: keys for others"),
        }
    }

    /// Encrypts `plain`, to be read only in this `place`.
    pub(super) fn seal(
        &self,
        place: &[u8],
        plain: &[u8],
        into: &mut Vec<u8>,
        rng: &mut impl RngCore,
    ) -> Result<(), Error> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let payload = Payload { msg: plain, aad: place };
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload)?;
        into.push(VERSION);
        into.extend(nonce);
        into.extend(sealed);
        Ok(())
    }

    /// What was sealed, if it was sealed with this key for this `place`.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (version, sealed) = sealed.split_first().ok_or(Error)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(Error)?;
        if *version != VERSION {
            return Err(Error);
        }
        let payload = Payload { msg: sealed, aad: place };
        self.cipher.decrypt(XNonce::from_slice(nonce), payload).map(Zeroizing::new)
    }

    /// What stands in the database for a part of a key. The same for the same part in one table.
    pub(super) fn hash(&self, table: &str, part: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        hasher.update(table.as_bytes()).update(b"/").update(part.as_bytes());
        super::scope::hex(&hasher.finalize().as_bytes()[..HASH])
    }

    /// A key of its own for what others encrypt.
    pub(super) fn key_for(&self, what: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*blake3::keyed_hash(&self.derived, what.as_bytes()).as_bytes())
    }
}
