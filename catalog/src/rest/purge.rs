//! Purge: the files that a dropped table's snapshots reach, and its metadata files.

use std::collections::BTreeSet;

use futures::executor::block_on;
use iceberg::spec::ManifestList;

use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::table::Table;

/// Deletes what the table's metadata names, data first and metadata last, so that a purge that is cut short can be
/// finished from what is left. Nothing is listed: a folder may be shared.
///
/// # Errors
/// `Corrupt` if a manifest cannot be read; storage errors.
pub fn delete_reachable(store: &Store, table: &Table) -> Result<()> {
    let io = store.file_io();
    let unreadable = |error: iceberg::Error| Error::new(Kind::Corrupt, "a purge cannot read a manifest").because(error);
    let (mut manifests, mut lists) = (BTreeSet::new(), BTreeSet::new());
    for snapshot in table.metadata.snapshots() {
        let bytes = store.read(snapshot.manifest_list())?;
        let list = ManifestList::parse_with_version(&bytes, table.metadata.format_version()).map_err(unreadable)?;
        lists.insert(snapshot.manifest_list().to_string());
        for manifest in list.entries() {
            if manifests.insert(manifest.manifest_path.clone()) {
                let manifest = block_on(manifest.load_manifest(&io)).map_err(unreadable)?;
                manifest.entries().iter().try_for_each(|entry| store.delete(entry.data_file().file_path()))?;
            }
        }
    }
    manifests.iter().chain(&lists).try_for_each(|location| store.delete(location))?;
    let log = table.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str());
    log.chain([table.metadata_location.as_str()]).try_for_each(|location| store.delete(location))?;
    match table.metadata_location.rsplit_once('/') {
        Some((folder, _)) => store.delete(&format!("{folder}/version-hint.text")),
        None => Ok(()),
    }
}
