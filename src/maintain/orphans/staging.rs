//! Folders in which `lakectl` stages a table's new files beside a daemon, and what dead ones left of theirs.
//!
//! `.staging-ID/` lies in the table's folder, and beside it `.staging-ID.lock`, which its owner makes before the folder,
//! holds as long as it lives, and removes last. So who gets the lock knows that the owner is dead, however young the files
//! are; and while it is held, they are under way, however old. A folder without a lock holds files like any other.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use laked_catalog::store::{Disk, DiskLock, Entry, path_of};

use crate::error::{Error, Kind, Result};

const PREFIX: &str = ".staging-";
const LOCK: &str = ".lock";

/// A folder to stage files in, held.
pub struct Staging {
    folder: PathBuf,
    lock: PathBuf,
    _held: Box<dyn DiskLock>,
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Staging {
    /// One of this id in a table's folder; the folder itself is yet to be made.
    ///
    /// # Errors
    /// Storage errors; `Conflict` if somebody has taken it for a dead one's that very moment.
    pub fn begin(disk: &dyn Disk, table: &Path, id: &str) -> Result<Staging> {
        let (folder, lock) = (table.join(format!("{PREFIX}{id}")), table.join(format!("{PREFIX}{id}{LOCK}")));
        let held = disk.lock(&lock).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::new(Kind::Conflict, "orphans are being removed at this moment: try again")
                    .with("lock", lock.display())
            }
            _ => Error::from(error).with("lock", lock.display()),
        })?;
        Ok(Staging { folder, lock, _held: held })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the folder, and with it the lock; if it is not empty both stay, and are a dead one's.
    pub fn end(self, disk: &dyn Disk) {
        let is_gone = match disk.remove_dir(&self.folder) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_gone {
            let _ = disk.remove(&self.lock);
        }
    }
}

/// The staging folders of a table.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of those that died; held, so that nobody else removes them.
    pub dead: Vec<Staging>,
    alive: Vec<PathBuf>,
}

impl Found {
    /// In a table's folder.
    ///
    /// # Errors
    /// Storage errors.
    pub fn of(disk: &dyn Disk, table: &Path) -> Result<Found> {
        let listed = match disk.list(table) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let mut found = Found::default();
        for lock in listed.iter().filter(|(_, stat)| stat.is_file).map(|(name, _)| name) {
            let Some(name) =
                lock.to_str().and_then(|name| name.strip_suffix(LOCK)).filter(|name| name.starts_with(PREFIX))
            else {
                continue;
            };
            let (folder, lock) = (table.join(name), table.join(lock));
            match disk.lock(&lock) {
                Ok(held) => found.dead.push(Staging { folder, lock, _held: held }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => found.alive.push(folder),
                Err(error) => return Err(Error::from(error).with("lock", lock.display())),
            }
        }
        Ok(found)
    }

    /// Takes files of dead ones out of what is listed, and leaves out those of living ones and the locks.
    pub fn taken(&self, listed: &mut Vec<Entry>) -> Result<Vec<Entry>> {
        if self.dead.is_empty() && self.alive.is_empty() {
            return Ok(Vec::new());
        }
        let (mut taken, mut left) = (Vec::new(), Vec::with_capacity(listed.len()));
        for entry in listed.drain(..) {
            let path = path_of(&entry.location)?;
            let is_lock = |folder: &Path| path.parent() == folder.parent() && path.file_stem() == folder.file_name();
            let within = |folder: &Path| {
                path.starts_with(folder) || path.extension() == Some(OsStr::new("lock")) && is_lock(folder)
            };
            if self.dead.iter().any(|one| path.starts_with(&one.folder)) {
                taken.push(entry);
            } else if !self.alive.iter().chain(self.dead.iter().map(|one| &one.folder)).any(|folder| within(folder)) {
                left.push(entry);
            }
        }
        *listed = left;
        Ok(taken)
    }
}
