//! What is left on disk that the catalog no longer speaks of: metadata files of commits that died, folders of tables that
//! were dropped.

use std::collections::HashSet;
use std::sync::PoisonError;

use iceberg::TableIdent;

use super::names::folder_of;
use super::{Catalog, Sort};
use crate::error::{Kind, Result};
use crate::hint;
use crate::store::path_of;

const SUFFIX: &str = ".metadata.json";

impl Catalog {
    /// Removes the metadata files of commits to a table that died before its pointer moved, durably; gives how many.
    ///
    /// One is such a file if it lies beside the table's own, is the table's or cannot be read, is neither what the table
    /// points to nor in its log, and the table has come as far since: its number is not above the table's, and not below
    /// the oldest in the log, which may be kept on purpose. Above it there may be commits that a restored database has
    /// lost. Only where the database is this process's own: elsewhere another's commit may be on its way.
    ///
    /// # Errors
    /// `NotFound`; database errors; storage errors.
    pub fn remove_lost_metadata(&self, ident: &TableIdent) -> Result<usize> {
        if !self.inner.state.is_embedded() {
            return Ok(0);
        }
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.load(ident)?;
        let (folder, own) = (folder_of(&table.metadata_location), [folder_of(&table.metadata_location).to_string()]);
        let is_other = |near: &super::Neighbour| near.ident.as_ref() != Some(ident);
        let Some(newest) = hint::version(&table.metadata_location) else { return Ok(0) };
        if self.neighbours(&own)?.iter().any(is_other) {
            return Ok(0);
        }
        let log = table.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str());
        let known: Vec<&str> = log.chain([table.metadata_location.as_str()]).collect();
        let oldest = known.iter().filter_map(|location| hint::version(location)).min().unwrap_or(newest);
        let known: HashSet<_> = known.iter().filter_map(|location| path_of(location).ok()).collect();
        let kept: HashSet<String> = self.inner.state.unsynced()?.into_iter().collect();
        let mut lost = Vec::new();
        for entry in self.inner.store.list(folder)? {
            let location = entry.location.as_str();
            let is_passed = hint::version(location).is_some_and(|number| (oldest..=newest).contains(&number));
            let is_known = kept.contains(location) || path_of(location).is_ok_and(|path| known.contains(&path));
            let is_beside = location.ends_with(SUFFIX) && folder_of(location) == folder;
            if is_beside && is_passed && !is_known && self.is_of(location, table.metadata.uuid())? {
                lost.push(entry.location);
            }
        }
        let locations: Vec<&str> = lost.iter().map(String::as_str).collect();
        self.inner.store.delete_durably(&locations)?;
        Ok(lost.len())
    }

    /// Whether a metadata file is of this table, or so broken that it is of none.
    fn is_of(&self, location: &str, table: uuid::Uuid) -> Result<bool> {
        match self.metadata_at(location) {
            Ok(metadata) => Ok(metadata.uuid() == table),
            Err(error) if error.kind() == Kind::Corrupt => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The folders of dropped tables whose metadata is there still: nothing else knows of them once they cannot come back.
    ///
    /// # Errors
    /// Storage errors.
    pub fn left_behind(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for record in self.records()?.into_values().filter(|record| record.dropped && record.sort == Sort::Table) {
            let files = self.inner.store.list(&record.folder)?;
            if files.iter().any(|file| file.location.ends_with(SUFFIX)) {
                left.push(super::deletions::table_folder(&record.folder).to_string());
            }
        }
        Ok(left)
    }
}
