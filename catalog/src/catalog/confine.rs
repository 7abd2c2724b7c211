//! Where a client may have files lie: in the warehouse, and in the roots that were allowed besides.
//!
//! The store refuses everything outside of its roots, whoever asks: what is read, written and deleted for a client lies
//! within, also what a manifest names. Here a request is refused before it does anything, with the reason, for what it
//! says where files are or will be. A symbolic link below a root is refused too: it may lead anywhere.

use std::collections::{BTreeMap, HashMap};

use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;

use super::Catalog;
use crate::error::Result;

/// Properties that say where files go.
const PATHS: [&str; 4] =
    ["write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"];

impl Catalog {
    /// Refuses a namespace's `location` outside of the roots.
    pub(super) fn admit_namespace(&self, properties: &BTreeMap<String, String>) -> Result<()> {
        properties.get("location").map_or(Ok(()), |location| self.inner.store.admit(location))
    }

    /// Refuses a folder, or properties that name one, outside of the roots.
    pub(super) fn admit_folder(&self, location: &str, properties: &HashMap<String, String>) -> Result<()> {
        self.inner.store.admit(location)?;
        self.admit_paths(properties)
    }

    fn admit_paths(&self, properties: &HashMap<String, String>) -> Result<()> {
        PATHS.iter().filter_map(|path| properties.get(*path)).try_for_each(|folder| self.inner.store.admit(folder))
    }

    /// Refuses updates that name a file or folder outside of the roots.
    pub(super) fn admit_updates(&self, updates: &[TableUpdate]) -> Result<()> {
        updates.iter().try_for_each(|update| match update {
            TableUpdate::SetLocation { location } => self.inner.store.admit(location),
            TableUpdate::SetProperties { updates } => self.admit_paths(updates),
            TableUpdate::AddSnapshot { snapshot } => self.inner.store.admit(snapshot.manifest_list()),
            TableUpdate::SetStatistics { statistics } => self.inner.store.admit(&statistics.statistics_path),
            TableUpdate::SetPartitionStatistics { partition_statistics } => {
                self.inner.store.admit(&partition_statistics.statistics_path)
            }
            _ => Ok(()),
        })
    }

    /// Refuses a whole table that comes from a file: all that it names.
    pub(super) fn admit_table(&self, metadata: &TableMetadata) -> Result<()> {
        self.admit_folder(metadata.location(), metadata.properties())?;
        metadata.snapshots().try_for_each(|snapshot| self.inner.store.admit(snapshot.manifest_list()))?;
        metadata.metadata_log().iter().try_for_each(|log| self.inner.store.admit(&log.metadata_file))?;
        metadata.statistics_iter().try_for_each(|file| self.inner.store.admit(&file.statistics_path))
    }
}
