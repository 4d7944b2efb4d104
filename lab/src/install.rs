//! Python programs, each installed once into a virtual environment of its own below `target/lab`.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use tokio::{sync::OnceCell, task};

use crate::target;

const SYNAPSE: Package =
    Package { folder: "synapse-1.163.2", requirement: "matrix-synapse==1.163.2" };

/// A second, independent Matrix client, which agrees with the bot only where both follow the
/// specification.
const NIO: Package = Package { folder: "nio-0.26.0", requirement: "matrix-nio[e2e]==0.26.0" };

/// The interpreter of an environment.
const PYTHON: &str = "bin/python";

struct Package {
    /// Carries the version, so that a newer pin installs beside the old one.
    folder: &'static str,
    requirement: &'static str,
}

/// Whether [`synapse`] has nothing left to do.
pub fn has_synapse() -> Result<bool> {
    Ok(SYNAPSE.is_installed(&target::lab()?.join(SYNAPSE.folder)))
}

/// Installs the pinned Synapse unless that is done, and returns the Python interpreter that has it.
///
/// Takes about 20 seconds the first time. Safe to call from any number of processes at once.
pub async fn synapse() -> Result<PathBuf> {
    static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();
    INSTALLED.get_or_try_init(|| installed(&SYNAPSE)).await.cloned()
}

/// Installs the pinned matrix-nio (with encryption) unless that is done, and returns the Python
/// interpreter that has it.
pub async fn nio() -> Result<PathBuf> {
    static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();
    INSTALLED.get_or_try_init(|| installed(&NIO)).await.cloned()
}

impl Package {
    /// Written last: without it the environment is half done.
    const MARKER: &str = "installed";

    fn is_installed(&self, environment: &Path) -> bool {
        // The interpreter is a link to the system's own, which may have been replaced since.
        environment.join(Self::MARKER).exists() && environment.join(PYTHON).exists()
    }
}

async fn installed(package: &'static Package) -> Result<PathBuf> {
    task::spawn_blocking(|| install_below(&target::lab()?, package)).await?
}

fn install_below(lab: &Path, package: &Package) -> Result<PathBuf> {
    let environment = lab.join(package.folder);
    let python = environment.join(PYTHON);

    fs::create_dir_all(lab)?;
    let lock = File::create(lab.join(format!("{}.lock", package.folder)))?;
    lock.lock()?;
    if package.is_installed(&environment) {
        return Ok(python);
    }

    tracing::info!(package = package.requirement, "installing");
    if environment.exists() {
        fs::remove_dir_all(&environment)?;
    }
    make_environment(&environment)?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-input"]).args([
        "--disable-pip-version-check",
        "--prefer-binary",
        package.requirement,
    ]))
    .with_context(|| format!("could not install {} with pip", package.requirement))?;
    fs::write(environment.join(Package::MARKER), package.requirement)?;
    Ok(python)
}

fn make_environment(environment: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(environment)).map_err(|error| {
        let missing = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
        error.context(if missing {
            "there is no python3 on the PATH: install Python 3.10 or newer"
        } else {
            "python3 could not make a virtual environment \
             (Debian and Ubuntu have that in a package of its own: apt install python3-venv)"
        })
    })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_install_one_after_the_other_and_agree() {
        // Part of every environment, so nothing is downloaded.
        let package = Package { folder: "pip", requirement: "pip" };
        let lab = tempfile::tempdir().unwrap();
        let install = || install_below(lab.path(), &package).unwrap();

        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(install), scope.spawn(install));
            (one.join().unwrap(), other.join().unwrap())
        });

        assert_eq!(one, other);
        assert_eq!(install(), one);
        assert!(one.exists());
    }

    #[test]
    fn a_half_done_environment_is_made_anew() {
        let package = Package { folder: "pip", requirement: "pip" };
        let lab = tempfile::tempdir().unwrap();
        fs::create_dir_all(lab.path().join("pip/bin")).unwrap();
        fs::write(lab.path().join("pip/bin/python"), "").unwrap();

        let python = install_below(lab.path(), &package).unwrap();

        assert!(Command::new(python).arg("-c").arg("").status().unwrap().success());
    }
}
