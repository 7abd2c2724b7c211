//! Purge: the files that a dropped table's snapshots reach, and its metadata files.
//!
//! Nothing is listed: a folder may be shared. A manifest says what its writer likes, so what lies in another table's
//! folder is left alone, and so is what lies where whoever asked for the purge may have no files. As another table's
//! folder counts the one that its metadata folder lies in; a table that can still come back has one too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::executor::block_on;
use iceberg::spec::{ManifestFile, ManifestList};

use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result};
use crate::store::{Store, kind_of, path_of};
use crate::table::Table;

/// The folders of other tables.
#[derive(Debug)]
pub struct Others(BTreeSet<PathBuf>);

impl Others {
    /// By the locations of their metadata files.
    pub fn of(locations: impl Iterator<Item = String>) -> Others {
        let folder = |location: String| {
            let folder = path_of(&location).ok()?.parent()?.to_path_buf();
            if folder.ends_with("metadata") { folder.parent().map(Path::to_path_buf) } else { Some(folder) }
        };
        Others(locations.filter_map(folder).collect())
    }

    /// Whether a file lies in one of them, and not deeper in a folder of its own.
    fn hold(&self, file: &Path, own: &Path) -> bool {
        let nearest = file.ancestors().skip(1).find(|folder| *folder == own || self.0.contains(*folder));
        nearest.is_some_and(|folder| self.0.contains(folder))
    }
}

/// One table's purge.
struct Purge<'a> {
    catalog: &'a Catalog,
    /// The table's own folder.
    folder: &'a str,
    others: &'a Others,
}

/// Deletes what the table's metadata names, data first and metadata last, so that a purge that is cut short can be
/// finished from what is left: what is missing has been deleted already. Where `gc.enabled` is false the data files
/// stay: they may be another table's.
///
/// # Errors
/// `Corrupt` if a manifest cannot be read; storage errors.
pub fn delete_reachable(catalog: &Catalog, table: &Table, others: &Others) -> Result<()> {
    let purge = Purge { catalog, folder: table.metadata.location(), others };
    let store = catalog.store();
    let (mut manifests, mut lists) = (BTreeSet::new(), BTreeSet::new());
    let keeps_data = table.metadata.properties().get("gc.enabled").is_some_and(|value| value == "false");
    for snapshot in table.metadata.snapshots() {
        let Some(bytes) = there(store.read(snapshot.manifest_list()))? else { continue };
        let list = ManifestList::parse_with_version(&bytes, table.metadata.format_version()).map_err(unreadable)?;
        lists.insert(snapshot.manifest_list().to_string());
        for manifest in list.entries() {
            if manifests.insert(manifest.manifest_path.clone()) && !keeps_data {
                purge.delete_data(store, manifest)?;
            }
        }
    }
    manifests.iter().chain(&lists).try_for_each(|location| purge.delete(location))?;
    let metadata = &table.metadata;
    let statistics = metadata.statistics_iter().map(|file| file.statistics_path.as_str());
    let of_partitions = metadata.partition_statistics_iter().map(|file| file.statistics_path.as_str());
    let log = metadata.metadata_log().iter().map(|log| log.metadata_file.as_str());
    statistics.chain(of_partitions).chain(log).try_for_each(|location| purge.delete(location))?;
    if let Some((folder, _)) = table.metadata_location.rsplit_once('/') {
        purge.delete(&format!("{folder}/version-hint.text"))?;
    }
    purge.delete(&table.metadata_location)
}

impl Purge<'_> {
    /// Deletes a file, if it is the table's.
    fn delete(&self, location: &str) -> Result<()> {
        match self.catalog.admit(location, &[self.folder.to_string()]) {
            Err(error) if is_elsewhere(&error) => {
                tracing::warn!(%error, "a purge leaves a file that is not the table's");
                return Ok(());
            }
            result => result?,
        }
        if self.others.hold(&path_of(location)?, &path_of(self.folder)?) {
            tracing::warn!(location, "a purge leaves a file that lies in another table's folder");
            return Ok(());
        }
        self.catalog.store().delete(location)
    }

    /// Deletes the files that one manifest names; memory holds one manifest at a time.
    fn delete_data(&self, store: &Store, manifest: &ManifestFile) -> Result<()> {
        if there(store.len(&manifest.manifest_path))?.is_none() {
            return Ok(());
        }
        let manifest = block_on(manifest.load_manifest(&store.file_io())).map_err(unreadable)?;
        manifest.entries().iter().try_for_each(|entry| self.delete(entry.data_file().file_path()))
    }
}

fn unreadable(error: iceberg::Error) -> Error {
    Error::new(kind_of(&error), "a purge cannot read a manifest").because(error)
}

/// Whether a location was refused: it is outside of the roots, or of another store.
fn is_elsewhere(error: &Error) -> bool {
    matches!(error.kind(), Kind::Forbidden | Kind::Invalid)
}

/// What was read, if it is there to be read.
fn there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(error) if error.kind() == Kind::NotFound || is_elsewhere(&error) => Ok(None),
        result => result.map(Some),
    }
}
