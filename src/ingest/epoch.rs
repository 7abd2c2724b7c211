//! The epoch of a spool: the part of a lane's name that no other spool ever had.
//!
//! `epoch.json` in the spool's folder: `{"epoch": "<uuid>", "table": "<table uuid>"}`. A spool that lost entries which
//! a table's mark covers must not give their numbers out again: it takes a new epoch. A spool that belongs to another
//! table of the same name (dropped and made anew) is left alone, and its lane is held.

use std::io;
use std::path::Path;

use laked_catalog::store::Disk;
use laked_catalog::system::Ids;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::durable;
use crate::error::{Error, Kind, Result};

const FILE: &str = "epoch.json";

/// What `epoch.json` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The spool's own id.
    pub epoch: Uuid,
    /// The UUID of the table it feeds.
    pub table: Uuid,
}

impl Epoch {
    /// Reads the epoch of the spool in `dir`, or makes one if there is none.
    pub fn open(disk: &dyn Disk, ids: &dyn Ids, dir: &Path, table: Uuid) -> Result<Epoch> {
        let path = dir.join(FILE);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Epoch::renew(disk, ids, dir, table),
            Err(e) => return Err(Error::from(e).with("file", path.display())),
        };
        let found: Epoch = serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(Kind::Corrupt, "the spool's epoch cannot be read; restore the file from a backup")
                .with("file", path.display())
                .because(e)
        })?;
        if found.table != table {
            return Err(Error::new(
                Kind::Corrupt,
                "the spool belongs to another table of this name; move its folder away to start a new one, \
                 or restore the table it was made for",
            )
            .with("spool", dir.display())
            .with("its table", found.table)
            .with("this table", table));
        }
        Ok(found)
    }

    /// A new epoch, durable before it is returned.
    pub fn renew(disk: &dyn Disk, ids: &dyn Ids, dir: &Path, table: Uuid) -> Result<Epoch> {
        let epoch = Epoch { epoch: ids.uuid(), table };
        let text = serde_json::to_vec(&epoch)
            .map_err(|e| Error::new(Kind::Internal, "the epoch cannot be written").because(e))?;
        durable::replace(disk, &dir.join(FILE), &text)?;
        Ok(epoch)
    }
}
