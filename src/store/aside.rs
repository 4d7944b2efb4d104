//! What is kept aside of a damaged store, so that nothing that can still be read is lost over it.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::scope::hex;

/// The folder for it, beside the database. What is in there is never written over: it may be of a
/// start before this one.
const FOLDER: &str = "damaged";
const RECORDS: &str = "records.jsonl";

/// One record, in a line of its own: its key as far as that can be seen on disk, and what is under it
/// as it is, encrypted, in hexadecimal digits.
#[derive(Serialize)]
struct Record {
    key: String,
    bytes: String,
}

/// Copies the files of a database that cannot be opened. Where to.
pub(super) fn keep_files(database: &Path) -> io::Result<PathBuf> {
    let kept = folder(database)?.join(super::DATABASE);
    if !kept.exists() {
        let unfinished = kept.with_extension("new");
        copy_folder(database, &unfinished)?;
        fs::rename(&unfinished, &kept)?;
    }
    Ok(kept)
}

/// Writes down every record that the database still gives, encrypted as it is. Where to.
pub(super) fn keep_records(db: &sled::Db, database: &Path) -> io::Result<PathBuf> {
    let kept = folder(database)?.join(RECORDS);
    if kept.exists() {
        return Ok(kept);
    }
    let unfinished = kept.with_extension("new");
    let mut file = BufWriter::new(private().open(&unfinished)?);
    // A page that cannot be read ends it: sled does not say where the next one begins.
    for (key, value) in db.iter().map_while(Result::ok) {
        serde_json::to_writer(&mut file, &record(&key, &value))?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(&unfinished, &kept)?;
    Ok(kept)
}

fn record(key: &[u8], value: &[u8]) -> Record {
    Record { key: String::from_utf8_lossy(key).into_owned(), bytes: hex(value) }
}

fn folder(database: &Path) -> io::Result<PathBuf> {
    let folder = database.with_file_name(FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            io::copy(&mut fs::File::open(entry.path())?, &mut private().open(target)?)?;
        }
    }
    Ok(())
}

/// How files are made that only the bot's own user can read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
}
