//! The bot's binary.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Builds the bot in the folder and the profile that this demonstration was built in, and returns
/// where it is.
pub(crate) async fn build() -> Result<PathBuf> {
    let demo = env::current_exe()?;
    let outside = || format!("{} is not in Cargo's target folder", demo.display());
    // target / profile / examples / demo
    let built = demo.ancestors().nth(2).with_context(outside)?;
    let target = built.parent().with_context(outside)?;
    let profile = match built.file_name().and_then(|name| name.to_str()).with_context(outside)? {
        "debug" => "dev",
        profile => profile,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        // Cargo unites the features of what it builds at once, and development dependencies count
        // only where a test or an example is built. So nothing is built twice, neither by this nor
        // by `cargo test`, when the demonstration is named too.
        .args(["build", "--quiet", "--bin", "tern", "--example", "demo", "--profile", profile])
        .arg("--target-dir")
        .arg(target);
    // Some build scripts run again when what Cargo tells of this package is not what it was.
    for (name, _) in env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|told| name.starts_with(told))
        });
        if told {
            build.env_remove(name);
        }
    }
    let status = build.status().await.context("could not start cargo")?;
    ensure!(status.success(), "Tern could not be built");
    Ok(built.join("tern"))
}
