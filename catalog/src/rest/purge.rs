//! Purge: the files that a dropped table's snapshots reach, and its metadata files.

use std::collections::BTreeSet;

use futures::executor::block_on;
use iceberg::spec::ManifestList;

use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result};
use crate::table::Table;

/// Deletes what the table's metadata names, data first and metadata last, so that a purge that is cut short can be
/// finished from what is left. Nothing is listed: a folder may be shared.
///
/// # Errors
/// `Corrupt` if a manifest cannot be read; storage errors.
pub fn delete_reachable(catalog: &Catalog, table: &Table) -> Result<()> {
    let (store, own) = (catalog.store(), [table.metadata.location().to_string()]);
    // A manifest says what its writer likes: what lies elsewhere is not the table's, and stays.
    let delete = |location: &str| match catalog.admit(location, &own) {
        Ok(()) => store.delete(location),
        Err(error) if error.kind() == Kind::Forbidden => {
            tracing::warn!(%error, "a purge leaves a file that is not the table's");
            Ok(())
        }
        Err(error) => Err(error),
    };
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
                manifest.entries().iter().try_for_each(|entry| delete(entry.data_file().file_path()))?;
            }
        }
    }
    manifests.iter().chain(&lists).try_for_each(|location| delete(location))?;
    let log = table.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str());
    log.chain([table.metadata_location.as_str()]).try_for_each(delete)?;
    match table.metadata_location.rsplit_once('/') {
        Some((folder, _)) => store.delete(&format!("{folder}/version-hint.text")),
        None => Ok(()),
    }
}
