//! Randomness for names, secrets and ports. The lab's outcomes do not depend on it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use rand::{Rng, SeedableRng, distr::Alphanumeric, rngs::StdRng};

fn generator() -> StdRng {
    StdRng::from_os_rng()
}

/// A word that nothing else contains, for passwords and shared secrets.
pub(crate) fn word() -> String {
    generator().sample_iter(Alphanumeric).take(24).map(char::from).collect()
}

/// A seed for an ed25519 key.
pub(crate) fn seed() -> [u8; 32] {
    generator().random()
}

/// A loopback port that was free a moment ago, and that nobody else in this process was given.
///
/// From below the range that systems hand out to outgoing connections, so that a homeserver that is
/// stopped still finds its port free when it is started again.
pub(crate) fn port() -> std::io::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut generator = generator();
    let mut attempt = || {
        let port = generator.random_range(20_000..32_000);
        std::net::TcpListener::bind(("127.0.0.1", port))?;
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            Ok(port)
        } else {
            Err(std::io::ErrorKind::AddrInUse.into())
        }
    };
    (0..50).find_map(|_| attempt().ok()).map_or_else(attempt, Ok)
}
