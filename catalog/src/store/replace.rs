//! Replacing a small file durably: for what has one name and more than one state.

use std::io::Write as _;

use super::local::{Store, failed, make_dirs, sync_parents};
use crate::error::Result;

impl Store {
    /// Puts `bytes` at a location, whatever was there: readers see the old or the new whole, and after this returns a
    /// power cut leaves the new.
    ///
    /// # Errors
    /// Storage errors; which of the two is there is unknown then.
    pub fn replace_durably(&self, location: &str, bytes: &[u8]) -> Result<()> {
        let disk = self.disk().as_ref();
        let mut file = self.stage(location)?;
        let replaced = file.write_all(bytes).and_then(|()| {
            file.sync()?;
            let fresh = make_dirs(disk, file.folder())?;
            disk.rename(&file.temporary, &file.target)?;
            file.disarm();
            sync_parents(disk, &fresh)?;
            disk.sync_dir(file.folder())
        });
        replaced.map_err(|error| failed(error, "replacing a file", location))
    }
}
