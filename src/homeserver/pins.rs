//! Where secrets are sent: passwords, tokens, and the `as_token` of an application service.
//!
//! What a server name leads to is what its well-known file says. Whoever can change that file for
//! a moment, or what is answered in its place, would be sent what people give to log in, and with an
//! `as_token` every account that it covers. So the base URL that the first secret of a server name
//! went to is kept, and no other one gets any, unless the configuration names it. That it changed is
//! told to whoever can say that it is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{DiscoverError, Moved, Server, Transport};
use crate::store::{Batch, Store, StoreError, Table};

/// Where the first secret of a server name went.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pin {
    base_url: Url,
}

/// The base URLs that secrets went to.
#[derive(Debug, Default)]
pub(super) struct Pins {
    pinned: Mutex<BTreeMap<OwnedServerName, Url>>,
    /// Of what the log has that it changed, and to what.
    told: Mutex<BTreeSet<(OwnedServerName, Url)>>,
    kept: OnceLock<(Store, Table<Pin>)>,
}

impl Pins {
    /// Where secrets for `name` go; from now on to `found`, if none went anywhere yet.
    async fn pin(&self, name: &ServerName, found: &Url) -> Url {
        let is_new = {
            let mut pinned = lock(&self.pinned);
            if let Some(pinned) = pinned.get(name) {
                return pinned.clone();
            }
            pinned.insert(name.to_owned(), found.clone()).is_none()
        };
        if let Some((store, table)) = self.kept.get().filter(|_| is_new) {
            let mut batch = Batch::new();
            let put = batch.put(table, name.as_str(), &Pin { base_url: found.clone() });
            let kept = match put {
                Ok(()) => store.commit(batch).await,
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                tracing::warn!(%name, %error, "where its secrets go is not kept");
            }
        }
        found.clone()
    }

    fn tell(&self, name: &ServerName, from: &Url, to: &Url) {
        if lock(&self.told).insert((name.to_owned(), to.clone())) {
            tracing::warn!(
                %name, %from, %to,
                "this homeserver says that it is elsewhere now; no password and no token goes there \
                 before you write it under `homeservers`, or a person agrees for theirs"
            );
        }
    }
}

impl Transport {
    /// Keeps in `store` where secrets go, and takes in what was kept there.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn pin_in(&self, store: &Store) -> Result<(), StoreError> {
        let table: Table<Pin> = store.table("pin");
        let pins = self.pins();
        for record in table.iter() {
            let (name, pin) = record?;
            if let Ok(name) = OwnedServerName::try_from(name) {
                lock(&pins.pinned).insert(name, pin.base_url);
            }
        }
        // A second store would change nothing.
        let _ = pins.kept.set((store.clone(), table));
        Ok(())
    }

    /// Finds the homeserver of `name` to send it a secret that a person gave.
    ///
    /// # Errors
    ///
    /// [`DiscoverError::Moved`] where it is elsewhere than the first secret went, and the
    /// configuration does not name it; else as in [`discover`](Self::discover).
    pub(crate) async fn discover_for_secrets(
        &self,
        name: &ServerName,
    ) -> Result<Server, DiscoverError> {
        let server = self.discover(name).await?;
        if self.configured(name).is_some() {
            return Ok(server);
        }
        let (to, pins) = (server.base_url(), self.pins());
        let from = pins.pin(name, to).await;
        if from == *to {
            return Ok(server);
        }
        pins.tell(name, &from, to);
        Err(DiscoverError::Moved(Box::new(Moved { name: name.to_owned(), from, to: to.clone() })))
    }

    /// Finds the homeserver of `name` to send it a secret of the bot's admin, as an `as_token`. Where
    /// it says that it is elsewhere now, it is asked where it was: nobody but the admin may agree to
    /// another place, by naming it.
    ///
    /// # Errors
    ///
    /// [`DiscoverError::Moved`] where nothing answers any more at the old place; else as in
    /// [`discover`](Self::discover).
    pub(crate) async fn discover_for_service(
        &self,
        name: &ServerName,
    ) -> Result<Server, DiscoverError> {
        let moved = match self.discover_for_secrets(name).await {
            Err(DiscoverError::Moved(moved)) => moved,
            found => return found,
        };
        let known = self.server_at_remembered(&moved.from).await;
        known.map_err(|_| DiscoverError::Moved(moved))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
