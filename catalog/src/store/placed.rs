//! Files that are seen before they are durable: for bytes that are kept durably elsewhere until they are.
//!
//! [`Store::publish`] waits for the disk twice, for the bytes and for the name. Here a file is written under its name at
//! once, and [`Store::settle`] waits later, if at all. After a power cut in between it may be gone, or there and short.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::disk::DiskFile;
use super::local::{Store, failed};
use super::staged::unmake;
use crate::error::Result;

/// A file that has its name, and is not durable until it is settled. It is held open, so that it can be synced whatever
/// becomes of its name.
pub struct Placed {
    location: String,
    folder: PathBuf,
    file: Box<dyn DiskFile>,
}

impl std::fmt::Debug for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placed").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Placed {
    /// Where it is.
    pub fn location(&self) -> &str {
        &self.location
    }
}

impl Store {
    /// Writes a file under its name, which must not be taken, and waits for nothing. Nobody may know the name yet: until
    /// this returns the file can be short.
    ///
    /// # Errors
    /// `Exists` if the name is taken; storage errors, and then nothing is there.
    pub fn place(&self, location: &str, bytes: &[u8]) -> Result<Placed> {
        let path = self.path(location)?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let disk = self.disk().as_ref();
        let written = disk.create(&path).and_then(|mut file| file.write_all(bytes).map(|()| file));
        let file = written.map_err(|error| {
            unmake(disk, &path, &error);
            failed(error, "placing a file", location)
        })?;
        Ok(Placed { location: location.to_string(), folder, file })
    }

    /// Makes a placed file's bytes and its name durable.
    ///
    /// # Errors
    /// Storage errors: then the bytes may be lost, and syncing again would tell nothing.
    pub fn settle(&self, mut placed: Placed) -> Result<()> {
        let synced = placed.file.sync().and_then(|()| self.disk().sync_dir(&placed.folder));
        synced.map_err(|error| failed(error, "making a placed file durable", &placed.location))
    }
}
