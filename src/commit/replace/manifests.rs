//! Replacing manifests by others that list the same files: the rows, the files and what is known of them stay.

use std::collections::HashSet;
use std::time::Duration;

use iceberg::TableIdent;
use iceberg::spec::{ManifestContentType, ManifestEntry, ManifestFile, TableMetadata};
use laked_catalog::store::Store;
use uuid::Uuid;

use super::attempt::{Making, entries_of, schema_with};
use super::{Intents, Running, Tables, Work};
use crate::commit::manifests::{read_list, read_manifest, without};
use crate::error::{Error, Kind, Result};

/// Fields of a snapshot's summary.
type Fields = Vec<(String, String)>;

/// A manifest and its live files.
#[derive(Clone, Debug)]
pub struct ListedManifest {
    /// The manifest.
    pub manifest: ManifestFile,
    /// Its live entries, with all they inherit.
    pub entries: Vec<ManifestEntry>,
}

/// A manifest to be.
#[derive(Clone, Debug)]
pub struct Made {
    /// The spec of its files.
    pub spec_id: i32,
    /// Data or deletes.
    pub content: ManifestContentType,
    /// Its files.
    pub entries: Vec<ManifestEntry>,
}

/// Manifests that take the place of others.
#[derive(Debug)]
pub struct Clustered {
    /// The table.
    pub ident: TableIdent,
    /// Its UUID.
    pub expect_uuid: Uuid,
    /// Locations of those that go.
    pub replaced: HashSet<String>,
    /// Those that come.
    pub made: Vec<Made>,
    /// Further fields of the snapshot's summary.
    pub summary: Vec<(String, String)>,
}

/// The manifests of a table's current snapshot.
///
/// # Errors
/// `Corrupt` if one cannot be read; storage errors.
pub fn listed(store: &Store, metadata: &TableMetadata) -> Result<Vec<ListedManifest>> {
    let Some(snapshot) = metadata.current_snapshot() else { return Ok(Vec::new()) };
    let listed = read_list(store, snapshot.manifest_list(), metadata.format_version())?;
    let read = |manifest: ManifestFile| {
        let entries = entries_of(&manifest, &read_manifest(store, &manifest)?)?;
        Ok(ListedManifest { manifest, entries })
    };
    listed.into_iter().map(read).collect()
}

/// Replaces manifests through a catalog; gives the new snapshot. Manifests that have come since stay beside the new ones.
///
/// # Errors
/// As [`Committer::cluster`](super::Committer::cluster).
pub fn cluster(
    tables: &dyn Tables,
    store: &Store,
    intents: Option<&Intents>,
    pause: &dyn Fn(Duration),
    clustered: Clustered,
) -> Result<i64> {
    let table = (clustered.ident.clone(), clustered.expect_uuid);
    let mut running = Running::new(tables, store, intents, pause, table, Work::Manifests(clustered))?;
    let ended = running.run();
    running.finish(&ended);
    let gone = || Error::new(Kind::Conflict, "the table has no snapshot any more");
    ended?.snapshot_id.ok_or_else(gone)
}

impl Making<'_, '_> {
    /// The new manifests, those that stay, and what the summary says.
    pub fn clustered(
        &mut self,
        clustered: &Clustered,
        listed: Vec<ManifestFile>,
    ) -> Result<(Vec<ManifestFile>, Fields)> {
        let (old, kept): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|manifest| clustered.replaced.contains(&manifest.manifest_path));
        if old.len() < clustered.replaced.len() {
            return Err(Error::new(Kind::Conflict, "a manifest was replaced meanwhile: look at the table again"));
        }
        let (mut manifests, mut entries) = (Vec::with_capacity(clustered.made.len() + kept.len()), 0);
        for made in &clustered.made {
            let gone = || Error::new(Kind::Corrupt, "a file's partition spec is not in the table");
            let spec = self.metadata.partition_spec_by_id(made.spec_id).ok_or_else(gone)?;
            let schema = schema_with(self.metadata, self.metadata.current_schema_id(), spec).ok_or_else(gone)?;
            let (manifest, encoded) = without(&self.target(schema, spec), made.content, &made.entries, &[])?;
            self.made += 1;
            self.encoded.push(encoded);
            manifests.push(manifest);
            entries += made.entries.len();
        }
        let figures = [
            ("manifests-created", manifests.len()),
            ("manifests-kept", kept.len()),
            ("manifests-replaced", old.len()),
            ("entries-processed", entries),
        ];
        let alive = |manifest: &ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
        manifests.extend(kept.into_iter().filter(alive));
        let mut fields = figures.map(|(name, figure)| (name.to_string(), figure.to_string())).to_vec();
        fields.extend(clustered.summary.iter().cloned());
        Ok((manifests, fields))
    }
}
