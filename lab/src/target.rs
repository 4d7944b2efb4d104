//! Where the lab keeps its files.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// `lab` in Cargo's target folder, wherever that is configured to be.
///
/// Cargo marks its target folder with `CACHEDIR.TAG`, and the running test or demo lies below it.
pub(crate) fn lab() -> Result<PathBuf> {
    let executable = env::current_exe()?;
    let target = executable
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_owned);
    Ok(target.join("lab"))
}
