//! The folder of one lab run: removed when all went well, kept with its logs when a test failed.

use std::{
    fs::{self, File},
    panic,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tempfile::TempDir;

use crate::target;

/// A run that ended without removing its folder (a test binary's shared lab always does: nothing
/// is dropped at the end of a process) is swept by a later run, once it is this old.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);

/// Locked by the process that the run belongs to.
const LOCK: &str = "lock";

static PANICKED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
pub(crate) struct Run {
    folder: TempDir,
    keep: AtomicBool,
    _lock: File,
}

impl Run {
    pub(crate) fn begin() -> Result<Self> {
        watch_for_panics();
        let runs = target::lab()?.join("runs");
        fs::create_dir_all(&runs)?;
        // Held until the new folder is locked, so that nobody takes it for an abandoned one.
        let all = File::create(runs.join(LOCK))?;
        all.lock()?;
        sweep(&runs)?;
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&runs)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self { folder, keep: AtomicBool::new(false), _lock: lock })
    }

    /// Makes a folder in the run's. A name that is taken already gets a number.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let mut folder = self.path().join(name);
        for number in 2.. {
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    folder = self.path().join(format!("{name}-{number}"));
                }
                made => {
                    made?;
                    break;
                }
            }
        }
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Relaxed) || PANICKED.load(Ordering::Relaxed) {
            self.folder.disable_cleanup(true);
            say(&format!("the lab's logs are kept in {}", self.path().display()));
        }
    }
}

fn watch_for_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            if !PANICKED.swap(true, Ordering::Relaxed)
                && let Ok(lab) = target::lab()
            {
                say(&format!("the lab's logs are below {}", lab.join("runs").display()));
            }
        }));
    });
}

fn sweep(runs: &Path) -> Result<()> {
    for entry in fs::read_dir(runs)? {
        let folder = entry?.path();
        if folder.is_dir() && is_abandoned(&folder) {
            // Another user's, or one that a dying process still writes to, is left for next time.
            let _left = fs::remove_dir_all(&folder);
        }
    }
    Ok(())
}

fn is_abandoned(run: &Path) -> bool {
    let Ok(lock) = File::open(run.join(LOCK)) else { return true };
    let age = lock.metadata().and_then(|lock| lock.modified()).map(|begun| begun.elapsed());
    lock.try_lock().is_ok() && age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT_FOR))
}

#[expect(clippy::print_stderr, reason = "seen beside the failure that it belongs to")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn run(runs: &Path, name: &str, age: Duration) -> Result<File> {
        fs::create_dir(runs.join(name))?;
        let lock = File::create(runs.join(name).join(LOCK))?;
        lock.lock()?;
        #[expect(clippy::disallowed_methods, reason = "only a file's age can be set here")]
        let now = SystemTime::now();
        lock.set_modified(now - age)?;
        Ok(lock)
    }

    #[test]
    fn only_an_old_run_of_a_process_that_is_gone_is_swept() {
        let runs = tempfile::tempdir().unwrap();
        drop(run(runs.path(), "old", 2 * KEPT_FOR).unwrap());
        drop(run(runs.path(), "young", KEPT_FOR / 2).unwrap());
        let _alive = run(runs.path(), "alive", 2 * KEPT_FOR).unwrap();

        sweep(runs.path()).unwrap();

        assert!(!runs.path().join("old").exists());
        assert!(runs.path().join("young").exists());
        assert!(runs.path().join("alive").exists());
    }

    #[test]
    fn a_folder_is_removed_with_its_run_unless_it_is_to_be_kept() {
        let (one, other) = (Run::begin().unwrap(), Run::begin().unwrap());
        let (gone, kept) = (one.path().to_owned(), other.path().to_owned());
        other.keep();
        drop((one, other));

        assert!(!gone.exists());
        assert!(kept.exists());
        fs::remove_dir_all(kept).unwrap();
    }
}
