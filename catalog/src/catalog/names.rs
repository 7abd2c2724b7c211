//! Names on disk: what `metadata.json` does not say, for the day the database is lost.
//!
//! For each folder of metadata files there is `<warehouse>/.laked/names/<hash of the folder>.json`:
//! `{"sort", "namespace", "name", "folder", "dropped"}`. It is durable before a table or view first points into the
//! folder, and follows a rename or a drop; a crash between the two is repaired at start.
//!
//! Why not a table property: a rename would be a commit, which writers would collide with. Why not a file beside the
//! metadata: engines that remove orphan files remove what no snapshot reaches below a table's location, hidden or not.
//! No table's location is `.laked`, since a name's leading dot is escaped in a path.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::TableIdent;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Catalog, Reply, SEPARATOR, key};
use crate::error::{Error, Kind, Result};
use crate::state::{Pointer, Sort, Swap};

/// What is written down of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub sort: Sort,
    pub namespace: Vec<String>,
    pub name: String,
    pub folder: String,
    #[serde(default)]
    pub dropped: bool,
}

impl Record {
    fn of(sort: Sort, namespace: &str, name: &str, location: &str) -> Self {
        let namespace = namespace.split(SEPARATOR).map(str::to_string).collect();
        Self { sort, namespace, name: name.to_string(), folder: folder_of(location).to_string(), dropped: false }
    }
}

/// The folder a metadata file lies in.
pub(super) fn folder_of(location: &str) -> &str {
    location.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Catalog {
    fn names_folder(&self) -> String {
        format!("{}/.laked/names", self.inner.warehouse)
    }

    fn record_location(&self, folder: &str) -> String {
        let hash = Sha256::digest(folder);
        let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{}/{hex}.json", self.names_folder())
    }

    fn write_down(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::new(Kind::Internal, "writing down a name").because(error))?;
        self.inner.store.replace_durably(&self.record_location(&record.folder), &text)
    }

    fn record_at(&self, location: &str) -> Option<Record> {
        serde_json::from_slice(&self.inner.store.read(location).ok()?).ok()
    }

    /// Every record, by folder.
    pub(super) fn records(&self) -> Result<BTreeMap<String, Record>> {
        let files = self.inner.store.list(&self.names_folder())?;
        let records = files.iter().filter_map(|file| self.record_at(&file.location));
        Ok(records.map(|record| (record.folder.clone(), record)).collect())
    }

    /// Moves pointers as [`State::swap`](crate::State), with the names of folders that come into use written down before.
    /// The answer that `reply` gives is kept with the moves.
    pub(super) fn point(&self, swaps: &[Swap], reply: impl FnOnce() -> Reply) -> Result<bool> {
        for swap in swaps {
            if swap.from.as_deref().map(folder_of) != Some(folder_of(&swap.to)) {
                self.write_down(&Record::of(swap.sort, &swap.namespace, &swap.name, &swap.to))?;
            }
        }
        self.answering(reply)?.swap(swaps)
    }

    /// After a rename or a drop (`to` is `None`) of what pointed to `location`: a failure is repaired at the next start.
    pub(super) fn renamed(&self, sort: Sort, from: &TableIdent, to: Option<&TableIdent>, location: &str) {
        let ident = to.unwrap_or(from);
        let mut record = Record::of(sort, &key(ident.namespace()), ident.name(), location);
        record.dropped = to.is_none();
        if let Err(error) = self.write_down(&record) {
            tracing::warn!(table = %ident, %error, "the name on disk lags behind; it is repaired at the next start");
        }
    }

    /// The files of a dropped table are gone, and so is its name; not that of whoever has the folder now.
    pub(super) fn strike(&self, location: &str) -> Result<()> {
        let record = self.record_location(folder_of(location));
        match self.record_at(&record) {
            Some(held) if held.dropped => self.inner.store.delete(&record),
            _ => Ok(()),
        }
    }

    /// Brings the names on disk up to the database's: a crash may have come between the two.
    ///
    /// # Errors
    /// Database errors; storage errors.
    pub(super) fn repair_names(&self, pointers: &[Pointer]) -> Result<()> {
        let held = self.records()?;
        let mut used = BTreeSet::new();
        for pointer in pointers {
            let record = Record::of(pointer.sort, &pointer.namespace, &pointer.name, &pointer.location);
            let (known, ours) = (held.get(&record.folder), record.folder.starts_with(&self.inner.warehouse));
            if known != Some(&record) && (known.is_some() || ours) {
                self.write_down(&record)?;
            }
            used.insert(record.folder);
        }
        let gone = held.into_values().filter(|record| !record.dropped && !used.contains(&record.folder));
        gone.map(|record| Record { dropped: true, ..record }).try_for_each(|record| self.write_down(&record))
    }
}
