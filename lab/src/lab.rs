//! A folder, a certificate authority, and what is started with them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::{
    authority::Authority,
    homeserver::{Homeserver, Options},
    run::Run,
};

/// Homeservers that trust each other, and the folder of all their files.
///
/// The folder is removed once the lab and all that was started in it are dropped, unless a test
/// panicked or [`keep`](Self::keep) was said.
#[derive(Clone, Debug)]
pub struct Lab {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) authority: Authority,
    pub(crate) run: Run,
}

impl Lab {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let run = Run::begin()?;
        let authority = Authority::create(run.path())?;
        Ok(Self { inner: Arc::new(Inner { authority, run }) })
    }

    /// Starts a homeserver that federates with the others of this lab.
    pub async fn homeserver(&self, options: &Options) -> Result<Homeserver> {
        Homeserver::start(Arc::clone(&self.inner), options).await
    }

    /// Starts two homeservers with the same options.
    pub async fn pair(&self, options: &Options) -> Result<Pair> {
        self.pair_of(options, options).await
    }

    /// Starts two homeservers that differ.
    pub async fn pair_of(&self, old: &Options, new: &Options) -> Result<Pair> {
        let (old, new) = tokio::try_join!(self.homeserver(old), self.homeserver(new))?;
        Ok(Pair { old, new, lab: self.clone() })
    }

    /// Where everything of this lab is written.
    pub fn path(&self) -> &Path {
        self.inner.run.path()
    }

    /// Makes an empty folder that goes with the lab's. A name that is taken already gets a number.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        self.inner.run.folder(name)
    }

    /// Leaves the folder when the lab ends.
    pub fn keep(&self) {
        self.inner.run.keep();
    }
}

/// Two homeservers that federate: one to move from, one to move to.
#[derive(Debug)]
pub struct Pair {
    /// Has the old accounts.
    pub old: Homeserver,
    /// Has the new accounts.
    pub new: Homeserver,
    /// What both were started in.
    pub lab: Lab,
}

/// The pair that all tests of this process share: started when first asked for, with limits open.
///
/// Tests must tell their accounts apart by name.
pub async fn pair() -> Result<&'static Pair> {
    static SHARED: OnceCell<Pair> = OnceCell::const_new();
    SHARED.get_or_try_init(|| async { Lab::new()?.pair(&Options::default()).await }).await
}
