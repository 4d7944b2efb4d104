//! What other users of the machine can read: nothing of what the bot writes, and, as far as the bot can
//! tell, none of the secrets that its admin gave it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use nix::sys::stat::{Mode, umask};

use crate::config::Storage;

/// What anybody but the owner may do with a file.
const OTHERS: u32 = 0o077;
/// What users may do with a file who are not of its group, and to change it, which its group may.
const EVERYBODY: u32 = 0o027;

/// A file with a secret in it that was written by an admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The key of the configuration that names it, or that it holds.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
}

impl SecretFile {
    /// What is to be said of it, if other users of the machine can read or change it.
    pub fn is_exposed(&self) -> Option<String> {
        let mode = exposed(&self.path)?;
        let path = self.path.display();
        Some(format!(
            "{} in {path}: other users of this machine can read or change it (mode {mode:04o}); \
             `chmod 600 {path}`, if nobody else needs it",
            self.key
        ))
    }
}

/// From now on nobody but the bot's own user can read the files that the process makes.
pub fn keep_new_files() {
    umask(Mode::from_bits_truncate(OTHERS));
}

/// Takes away from others what is already there of the bot's own. What it does not own it warns of.
pub fn keep_old_files(storage: &Storage) {
    let names = ["sled", "matrix", "devices", "damaged", "record_keys"];
    let inside = names.map(|name| storage.path.join(name));
    let key = storage.key_file.starts_with(&storage.path).then(|| storage.key_file.clone());
    let mut taken = 0;
    let mut done = keep(&storage.path, false, &mut taken);
    for path in inside.iter().chain(&key) {
        done = done.and(keep(path, true, &mut taken));
    }
    let path = storage.path.display();
    if taken > 0 {
        tracing::warn!(%path, files = taken, "other users could read these; now they cannot");
    }
    if let Err(error) = done {
        tracing::warn!(%path, %error, "other users may be able to read what is stored");
    }
}

/// Closes a file or folder, and what is in the folder.
fn keep(path: &Path, with_content: bool, taken: &mut usize) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    // What a link leads to is somebody else's to decide.
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    if mode & OTHERS != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777 & !OTHERS))?;
        *taken += 1;
    }
    if metadata.is_dir() && with_content {
        for entry in fs::read_dir(path)? {
            keep(&entry?.path(), true, taken)?;
        }
    }
    Ok(())
}

/// The mode of a file that users can read or change who are not of its group, or its group can change.
fn exposed(path: &Path) -> Option<u32> {
    let path = path.canonicalize().ok()?;
    let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    // Where they cannot get into a folder above it, they cannot get at it.
    let is_reached = path.ancestors().skip(1).all(|folder| {
        fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & 0o001 != 0)
    });
    (mode & EVERYBODY != 0 && is_reached).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_that_others_can_read_or_change_is_told_of_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, "bot: {}").unwrap();
        let file = SecretFile { key: "bot.password".into(), path: path.clone() };
        set(dir.path(), 0o755);
        for (given, is_exposed) in
            [(0o600, false), (0o640, false), (0o644, true), (0o660, true), (0o602, true)]
        {
            set(&path, given);
            assert_eq!(file.is_exposed().is_some(), is_exposed, "{given:o}");
        }
        set(&path, 0o644);
        let said = file.is_exposed().unwrap();
        let said = said.replace(path.canonicalize().unwrap().to_str().unwrap(), "FILE");
        insta::assert_snapshot!(said.replace(path.to_str().unwrap(), "FILE"), @"bot.password in FILE: other users of this machine can read or change it (mode 0644); `chmod 600 FILE`, if nobody else needs it");
        // Nobody gets at it.
        set(dir.path(), 0o700);
        assert_eq!(file.is_exposed(), None);
        let gone = SecretFile { path: dir.path().join("gone"), ..file };
        assert_eq!(gone.is_exposed(), None);
    }

    #[test]
    fn what_is_the_bots_own_is_closed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let theirs = path.join("backup.sh");
        let (deep, key) = (path.join("devices/one/keys.sqlite"), path.join("key"));
        fs::create_dir_all(deep.parent().unwrap()).unwrap();
        for file in [&theirs, &deep, &key] {
            fs::write(file, "").unwrap();
            set(file, 0o664);
        }
        let folders = [&path, &path.join("devices"), &path.join("devices/one")];
        folders.into_iter().for_each(|folder| set(folder, 0o755));
        std::os::unix::fs::symlink(&theirs, path.join("damaged")).unwrap();
        keep_old_files(&Storage { path: path.clone(), key_file: key.clone() });
        folders.into_iter().for_each(|folder| assert_eq!(mode(folder), 0o700));
        assert_eq!([mode(&deep), mode(&key), mode(&theirs)], [0o600, 0o600, 0o664]);
    }
}
