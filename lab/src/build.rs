//! The bot's binary, for what is no test of `tern` and so is not given it by Cargo.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Builds the bot in the folder and the profile that the running program was built in, and returns
/// where it is. `caller` is how Cargo is told to build that program, such as `["--bin", "name"]`.
pub async fn tern(caller: [&str; 2]) -> Result<PathBuf> {
    let program = env::current_exe()?;
    let outside = || format!("{} is not in Cargo's target folder", program.display());
    // The program is in target / profile, or, when it is an example, in a folder below that.
    let built = program
        .ancestors()
        .find(|folder| folder.parent().is_some_and(|target| target.join("CACHEDIR.TAG").exists()))
        .with_context(outside)?;
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
        // by `cargo test`, when the caller is named too.
        .args(["build", "--quiet", "--bin", "tern"])
        .args(caller)
        .args(["--profile", profile, "--target-dir"])
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
