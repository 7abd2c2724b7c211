//! One attempt at a replacement, on the table as it is: which parts hold, the manifests, the snapshot, the change.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{
    DataFile, DataFileBuilder, MAIN_BRANCH, ManifestContentType, ManifestEntry, ManifestFile, PartitionSpecRef,
    SchemaRef, Snapshot, SnapshotReference, SnapshotRetention, TableMetadata,
};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use laked_catalog::Change;

use super::check::{Found, Listed, find, judge};
use super::{Current, DeleteId, Replacement, Running, Work};
use crate::commit::manifests::{Encoded, Ids, Target, list, of_rewritten, read_list, without};
use crate::commit::plan::folder;
use crate::commit::snapshot::{Balance, COMMIT_ID, replaced};
use crate::error::{Error, Kind, Result};
use crate::history::{all_is_published, ingest_branch};

/// One attempt, ready to be published and sent.
pub(super) struct Attempt {
    /// New manifests and the list.
    pub encoded: Vec<Encoded>,
    /// The locations of all its files.
    pub used: Vec<String>,
    snapshot: Snapshot,
    retention: SnapshotRetention,
}

impl Attempt {
    /// The change; the same each time. Records that come into their branch meanwhile are not published yet, so the branch
    /// stays where it was looked at, as `main` does.
    pub fn change(&self, ident: &TableIdent, current: &Current) -> Change {
        let metadata = current.metadata.as_ref();
        let (main, branch) = (MAIN_BRANCH.to_string(), ingest_branch(metadata));
        let stays = |name: &str, snapshot_id| TableRequirement::RefSnapshotIdMatch { r#ref: name.into(), snapshot_id };
        let mut requirements = vec![
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            stays(MAIN_BRANCH, metadata.current_snapshot_id()),
        ];
        if branch != MAIN_BRANCH {
            requirements.push(stays(branch, current.refs.get(branch).map(|held| held.snapshot_id)));
        }
        let reference = SnapshotReference::new(self.snapshot.snapshot_id(), self.retention.clone());
        let updates = vec![
            TableUpdate::AddSnapshot { snapshot: self.snapshot.clone() },
            TableUpdate::SetSnapshotRef { ref_name: main, reference },
        ];
        Change { ident: ident.clone(), requirements, updates }
    }
}

/// Prepares an attempt; nothing if no part holds.
///
/// # Errors
/// `Conflict` if a manifest that was to be replaced is gone; `Invalid` while records wait to be published; storage errors.
pub(super) fn attempt(running: &mut Running<'_>, current: &Current, number: u32) -> Result<Option<Attempt>> {
    let metadata = current.metadata.as_ref();
    all_is_published(metadata, &current.refs)?;
    let Some(snapshot) = metadata.current_snapshot() else { return Ok(None) };
    let listed = read_list(running.store, snapshot.manifest_list(), metadata.format_version())?;
    let found = match &running.work {
        Work::Files(replacement) => find(replacement, running.store, &listed, std::mem::take(&mut running.found))?,
        Work::Manifests(_) => Found::default(),
    };
    let dropped = match &running.work {
        Work::Files(replacement) => {
            let outputs: Vec<&[DataFile]> = running.staged.iter().map(|(_, files)| files.as_slice()).collect();
            judge(replacement, &outputs, &found, metadata)
        }
        Work::Manifests(_) => BTreeMap::new(),
    };
    let parts: Vec<usize> = (0..running.staged.len()).filter(|number| !dropped.contains_key(number)).collect();
    running.dropped = dropped.into_iter().collect();
    let mut making = Making { running, metadata, number, made: 0, encoded: Vec::new(), balance: Balance::default() };
    let (manifests, own) = match &running.work {
        Work::Files(_) if parts.is_empty() => return Ok(None),
        Work::Files(replacement) => {
            (making.manifests(replacement, listed, &found, &parts)?, replacement.summary.clone())
        }
        Work::Manifests(clustered) => making.clustered(clustered, listed)?,
    };
    let Making { mut encoded, balance, .. } = making;
    let location = format!("{}/snap-{}-{number}-{}.avro", folder(metadata), running.snapshot_id, running.commit);
    let ids = Ids { snapshot: running.snapshot_id, parent: metadata.current_snapshot_id() };
    let (written, next_row) = list(metadata, ids, location, &manifests)?;
    let snapshot = snapshot_of(running, metadata, (written.location.clone(), next_row), &balance, own);
    encoded.push(written);
    let outputs = parts.iter().flat_map(|&part| running.staged[part].1.iter().map(|file| file.file_path().to_string()));
    let used = outputs.chain(encoded.iter().map(|file| file.location.clone())).collect();
    let retention = current.refs.get(MAIN_BRANCH).map(|branch| branch.retention.clone());
    let retention = retention.unwrap_or(SnapshotRetention::branch(None, None, None));
    running.found = found;
    Ok(Some(Attempt { encoded, used, snapshot, retention }))
}

fn snapshot_of(
    running: &Running<'_>,
    metadata: &TableMetadata,
    (list, next_row): (String, Option<u64>),
    balance: &Balance,
    mut own: Vec<(String, String)>,
) -> Snapshot {
    own.push((COMMIT_ID.to_string(), running.commit.to_string()));
    let parent = metadata.current_snapshot().map(AsRef::as_ref);
    let builder = Snapshot::builder()
        .with_snapshot_id(running.snapshot_id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(running.store.system().clock.now_ms().max(metadata.last_updated_ms()))
        .with_manifest_list(list)
        .with_summary(replaced(parent, balance, &own, running.removes_rows()))
        .with_schema_id(metadata.current_schema_id());
    let first = metadata.next_row_id();
    match next_row {
        None => builder.build(),
        Some(next) => builder.with_row_range(first, next.saturating_sub(first)).build(),
    }
}

/// The manifests of one attempt.
pub(super) struct Making<'a, 'b> {
    pub running: &'a Running<'b>,
    pub metadata: &'a TableMetadata,
    number: u32,
    pub made: usize,
    pub encoded: Vec<Encoded>,
    balance: Balance,
}

impl Making<'_, '_> {
    /// What the new snapshot lists: new manifests first.
    fn manifests(
        &mut self,
        replacement: &Replacement,
        listed: Vec<ManifestFile>,
        found: &Found,
        parts: &[usize],
    ) -> Result<Vec<ManifestFile>> {
        let all = &replacement.parts;
        let inputs: HashSet<&str> =
            parts.iter().flat_map(|&part| all[part].inputs.iter().map(String::as_str)).collect();
        let spent = self.spent(replacement, &inputs);
        let mut manifests = self.new_files(replacement, parts)?;
        for manifest in listed {
            let alive = manifest.has_added_files() || manifest.has_existing_files();
            let goes = |entry: &ManifestEntry| match manifest.content {
                ManifestContentType::Data => inputs.contains(entry.file_path()),
                ManifestContentType::Deletes => spent.contains(&id_of(&entry.data_file)),
            };
            match found.read.get(&manifest.manifest_path) {
                Some(own) if own.entries.iter().any(goes) => {
                    let (removed, kept): (Vec<_>, Vec<_>) = own.entries.iter().cloned().partition(goes);
                    manifests.push(self.rewritten(&manifest, own, &kept, &removed)?);
                }
                _ if alive => manifests.push(manifest),
                _ => {}
            }
        }
        Ok(manifests)
    }

    /// Deletes that apply to nothing any more, if the table's history still leads to where that was found out.
    fn spent(&self, replacement: &Replacement, inputs: &HashSet<&str>) -> HashSet<DeleteId> {
        if !descends(self.metadata, replacement.base) {
            return HashSet::new();
        }
        let gone = replacement.spent.iter().filter(|spent| spent.targets.iter().all(|t| inputs.contains(t.as_str())));
        gone.map(|spent| spent.delete.clone()).collect()
    }

    fn new_files(&mut self, replacement: &Replacement, parts: &[usize]) -> Result<Vec<ManifestFile>> {
        let mut by_spec: BTreeMap<i32, Vec<&DataFile>> = BTreeMap::new();
        for &part in parts {
            let files = &self.running.staged[part].1;
            by_spec.entry(replacement.parts[part].spec_id).or_default().extend(files);
        }
        let mut manifests = Vec::new();
        for (spec_id, files) in by_spec.into_iter().filter(|(_, files)| !files.is_empty()) {
            let gone =
                || Error::new(Kind::Corrupt, "a file's partition spec is not in the table").with("spec", spec_id);
            let spec = self.metadata.partition_spec_by_id(spec_id).ok_or_else(gone)?;
            let schema = schema_with(self.metadata, replacement.schema_id, spec).ok_or_else(gone)?;
            let target = self.target(schema, spec);
            let sequence = replacement.sequence_number;
            let (manifest, encoded) = of_rewritten(&target, sequence, files.iter().copied())?;
            files.iter().for_each(|file| self.balance.adds(file));
            self.encoded.push(encoded);
            self.made += 1;
            manifests.push(manifest);
        }
        Ok(manifests)
    }

    fn rewritten(
        &mut self,
        manifest: &ManifestFile,
        own: &Listed,
        kept: &[ManifestEntry],
        removed: &[ManifestEntry],
    ) -> Result<ManifestFile> {
        let target = self.target(&own.schema, &own.spec);
        let (manifest, encoded) = without(&target, manifest.content, kept, removed)?;
        removed.iter().for_each(|entry| self.balance.removes(&entry.data_file));
        self.encoded.push(encoded);
        self.made += 1;
        Ok(manifest)
    }

    pub fn target<'t>(&self, schema: &'t SchemaRef, spec: &'t PartitionSpecRef) -> Target<'t> {
        let location = format!("{}/{}-{}-m{}.avro", folder(self.metadata), self.running.commit, self.number, self.made);
        Target {
            version: self.metadata.format_version(),
            schema,
            spec,
            snapshot_id: self.running.snapshot_id,
            sequence_number: self.metadata.next_sequence_number(),
            location,
        }
    }
}

/// A schema in which the spec's columns are: the wanted one, or a newer or older one.
pub(super) fn schema_with<'a>(
    metadata: &'a TableMetadata,
    wanted: i32,
    spec: &PartitionSpecRef,
) -> Option<&'a SchemaRef> {
    let mut schemas: Vec<&SchemaRef> = metadata.schemas_iter().collect();
    schemas.sort_by_key(|schema| (schema.schema_id() != wanted, std::cmp::Reverse(schema.schema_id())));
    schemas.into_iter().find(|schema| spec.partition_type(schema).is_ok())
}

/// Whether `ancestor` is the current snapshot, or one before it.
fn descends(metadata: &TableMetadata, ancestor: i64) -> bool {
    let mut at = metadata.current_snapshot_id();
    while let Some(id) = at {
        if id == ancestor {
            return true;
        }
        at = metadata.snapshot_by_id(id).and_then(|snapshot| snapshot.parent_snapshot_id());
    }
    false
}

/// How a delete is told from others.
pub(super) fn id_of(file: &DataFile) -> DeleteId {
    DeleteId { location: file.file_path().to_string(), offset: file.content_offset() }
}

/// A manifest's live entries, with all they inherit: row ids too, which a new manifest has to spell out.
pub(super) fn entries_of(manifest: &ManifestFile, read: &iceberg::spec::Manifest) -> Result<Vec<ManifestEntry>> {
    let mut next = manifest.first_row_id.and_then(|id| i64::try_from(id).ok());
    let mut entries = Vec::new();
    for entry in read.entries().iter().filter(|entry| entry.is_alive()) {
        let mut entry = ManifestEntry::clone(entry);
        if let (None, Some(first)) = (entry.data_file.first_row_id(), next) {
            next = Some(first.saturating_add_unsigned(entry.data_file.record_count()));
            entry.data_file = with_first_row_id(&entry.data_file, first)?;
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn with_first_row_id(file: &DataFile, first: i64) -> Result<DataFile> {
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_string())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(Some(first))
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    if let Some(order) = file.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder
        .build()
        .map_err(|error| Error::new(Kind::Internal, "a data file cannot be described").because(error.to_string()))
}
