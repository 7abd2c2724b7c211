//! Finished files, kept for days: what there is of a table in `done/`, `failed/` and `duplicate/`, and its removal.

use std::io;
use std::path::{Path, PathBuf};

use laked_catalog::store::Disk;

use super::looks::is_ignored;
use crate::error::{Error, Result};
use crate::ingest::durable;

/// The folders of finished files, each with one for each table.
pub const FOLDERS: [&str; 3] = ["done", "failed", "duplicate"];
/// What the reason beside a failed file ends with.
const REASON: &str = ".reason.json";

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// One of [`FOLDERS`].
    pub folder: &'static str,
    /// Its name there.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

/// The finished files of a table (`ns.table`) of a lake.
///
/// # Errors
/// Storage errors.
pub fn finished(disk: &dyn Disk, lake: &Path, table: &str) -> Result<Vec<Finished>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let dir = lake.join(folder).join(table);
        let listed = match disk.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listed => listed.map_err(|error| Error::from(error).with("folder", dir.display()))?,
        };
        for (name, stat) in listed.into_iter().filter(|(name, stat)| stat.is_file && !is_ignored(name)) {
            let path = dir.join(&name);
            let name = name.to_string_lossy().into_owned();
            if !name.ends_with(REASON) {
                found.push(Finished { folder, name, path, bytes: stat.len });
            }
        }
    }
    Ok(found)
}

/// Removes a finished file and what is said beside it, durably.
///
/// # Errors
/// Storage errors.
pub fn remove(disk: &dyn Disk, file: &Finished) -> Result<()> {
    let mut beside = file.path.clone().into_os_string();
    beside.push(REASON);
    durable::remove(disk, Path::new(&beside))?;
    durable::remove(disk, &file.path)?;
    durable::sync_parent(disk, &file.path)
}
