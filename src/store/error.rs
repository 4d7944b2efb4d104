use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

/// Why the store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error("{path} is in use: another Tern runs on this storage.path")]
    Locked {
        /// The database's directory.
        path: PathBuf,
    },

    /// A directory or file cannot be made, read or written by the user that the bot runs as.
    #[error("cannot {what} {path}: check storage.path, storage.key_file and their permissions")]
    NoAccess {
        /// What was tried: "create", "read" or "write".
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The store has secrets, and the file with their key is gone.
    #[error(
        "the key file {key_file} is missing, and the store in {path} cannot be read without it: \
         bring the file back, or point storage.path to an empty directory to begin anew"
    )]
    KeyMissing {
        /// Where the key should be.
        key_file: PathBuf,
        /// The database's directory.
        path: PathBuf,
    },

    /// The key file is there but does not fit.
    #[error("the key in {key_file} is not the one that the store in {path} was made with")]
    WrongKey {
        /// The file with the wrong key.
        key_file: PathBuf,
        /// The database's directory.
        path: PathBuf,
    },

    /// The key file holds something other than a key.
    #[error("{key_file} is not a key file: it has {length} bytes instead of 32")]
    NotAKey {
        /// The file.
        key_file: PathBuf,
        /// Its length in bytes.
        length: usize,
    },

    /// The store was written by a later version of Tern.
    #[error(
        "the store in {path} was written by a newer Tern (schema version {found}, this one knows \
         {known}): start that newer Tern again"
    )]
    Newer {
        /// The database's directory.
        path: PathBuf,
        /// The version in the store.
        found: u32,
        /// The latest version that this program knows.
        known: u32,
    },

    /// The store was written by a version of Tern that wrote down in plain what is encrypted now.
    #[error(
        "the store in {path} was written by an older Tern, in a form that is not read any more \
         (schema version {found}, this one reads from {oldest}): point storage.path to an empty \
         directory to begin anew"
    )]
    Older {
        /// The database's directory.
        path: PathBuf,
        /// The version in the store.
        found: u32,
        /// The earliest version that this program reads.
        oldest: u32,
    },

    /// The file of keys lacks one that records are encrypted with.
    #[error(
        "{path} lacks the key of {scope}: it belongs to the directory sled beside it, and both are \
         to be of one backup"
    )]
    RecordKeyMissing {
        /// The file of keys.
        path: PathBuf,
        /// Whose key it lacks, as the file names them.
        scope: String,
    },

    /// The database itself is damaged.
    #[error("the store in {path} is damaged")]
    Corrupt {
        /// The database's directory.
        path: PathBuf,
        /// What sled found.
        source: sled::Error,
    },

    /// One record is damaged; the others are not.
    #[error("record {table}/{key} in {path} is damaged")]
    Damaged {
        /// The database's directory.
        path: PathBuf,
        /// The record's table.
        table: String,
        /// The record's key.
        key: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },

    /// A value has no JSON form.
    #[error("record {table}/{key} cannot be written down")]
    Encode {
        /// The record's table.
        table: String,
        /// The record's key.
        key: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },

    /// A value is larger, or nested more deeply, than one that is read back.
    #[error("record {table}/{key} is too large to be written down")]
    TooLarge {
        /// The record's table.
        table: String,
        /// The record's key.
        key: String,
    },

    /// The disk is full or broken.
    #[error("cannot write to the store in {path}: is the disk full?")]
    Disk {
        /// The database's directory.
        path: PathBuf,
        /// What the system said.
        source: sled::Error,
    },
}

impl StoreError {
    /// Whether something that was stored cannot be read any more.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Damaged { .. } | Self::RecordKeyMissing { .. })
    }

    pub(super) fn opening(path: &Path, error: sled::Error) -> Self {
        match error {
            // sled has no kind of its own for this; the text is fixed in sled 0.34.
            sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => {
                Self::Locked { path: path.to_owned() }
            }
            sled::Error::Io(error) if is_refusal(error.kind()) => {
                Self::NoAccess { what: "write", path: path.to_owned(), source: error }
            }
            sled::Error::Io(_) => Self::disk(path, error),
            _ => Self::Corrupt { path: path.to_owned(), source: error },
        }
    }

    pub(super) fn disk(path: &Path, source: sled::Error) -> Self {
        match source {
            sled::Error::Corruption { .. } => Self::Corrupt { path: path.to_owned(), source },
            _ => Self::Disk { path: path.to_owned(), source },
        }
    }

    pub(super) fn damaged(
        path: &Path,
        table: &str,
        key: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            table: table.to_owned(),
            key: key.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn encode(
        table: &str,
        key: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Encode { table: table.to_owned(), key: key.to_owned(), source: source.into() }
    }
}

fn is_refusal(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem | NotADirectory)
}
