//! One table's part of a commit, prepared: files to stage, the snapshot, requirements and updates. No IO but for
//! reading back manifests that are joined and are not known.

use std::collections::HashMap;

use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestFile, PartitionSpecRef, SchemaRef, Snapshot, SnapshotReference,
    SnapshotRetention, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use laked_catalog::store::Store;
use laked_catalog::{Change, Table};
use uuid::Uuid;

use super::container::Records;
use super::join::{Joining, join, to_join};
use super::manifests::{Encoded, Ids, Known, Target, avro, entries_of, list, list_before, of_new, records_of};
use super::marks::lane_property;
use super::snapshot::{Added, COMMIT_ID, summary};
use crate::error::{Error, Kind, Result};
use crate::flow::{Committed, LaneId, Mark};
use crate::history::{INGEST_BRANCH, ingest_branch, ingest_tip};

/// What stays the same over all attempts of a commit on one table.
#[derive(Debug)]
pub(super) struct Part {
    pub commit: Uuid,
    pub snapshot_id: i64,
    pub schema_id: i32,
    pub spec_id: i32,
    pub files: Vec<DataFile>,
    pub marks: Vec<(LaneId, Mark)>,
    pub retire: Vec<LaneId>,
    pub summary: Vec<(String, String)>,
}

impl Part {
    /// What the commit did to a table that has it.
    pub fn committed(&self, after: &TableMetadata) -> Committed {
        let Added { files, rows, bytes, .. } = Added::of(self.files.iter());
        let sequence_number =
            after.snapshot_by_id(self.snapshot_id).map_or(after.last_sequence_number(), |ours| ours.sequence_number());
        Committed { snapshot_id: self.snapshot_id, sequence_number, rows, files, bytes }
    }
}

/// One attempt on one table.
#[derive(Debug)]
pub(super) struct Planned {
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
    /// Files that are new with this attempt.
    pub files: Vec<Encoded>,
    /// The manifests of the new snapshot.
    pub manifests: Vec<ManifestFile>,
    /// The one of them that joins others.
    joins: Option<String>,
    /// Where its list goes, and what that says of them.
    list: String,
    records: Option<Records>,
}

impl Planned {
    /// The catalog change; the same each time.
    pub fn change(&self, table: &Table) -> Change {
        Change { ident: table.ident.clone(), requirements: self.requirements.clone(), updates: self.updates.clone() }
    }
}

/// Whether files written for a schema and spec still fit the table.
///
/// A spec that is no longer the default is no obstacle: each manifest names its own. A column that has become required
/// is one.
pub(super) fn fits(metadata: &TableMetadata, schema_id: i32, spec_id: i32) -> Result<(&SchemaRef, &PartitionSpecRef)> {
    let refuse = |why: &str| Error::new(Kind::Conflict, why).with("schema", schema_id).with("spec", spec_id);
    let schema =
        metadata.schema_by_id(schema_id).ok_or_else(|| refuse("the files' schema is gone: write them anew"))?;
    let spec = metadata
        .partition_spec_by_id(spec_id)
        .ok_or_else(|| refuse("the files' partition spec is gone: write them anew"))?;
    let current = metadata.current_schema();
    let lacking = current
        .as_struct()
        .fields()
        .iter()
        .find(|field| field.required && schema.field_by_id(field.id).is_none_or(|old| !old.required));
    match lacking {
        None => Ok((schema, spec)),
        Some(field) => Err(refuse("a column has become required: write the files anew").with("column", &field.name)),
    }
}

/// Where a commit's metadata files go.
pub(super) fn folder(metadata: &TableMetadata) -> String {
    match metadata.properties().get("write.metadata.path") {
        Some(path) => path.trim_end_matches('/').to_string(),
        None => format!("{}/metadata", metadata.location().trim_end_matches('/')),
    }
}

/// The manifest of a part's new files, written once and kept over attempts as long as the sequence number fits.
fn new_manifest(part: &Part, table: &Table, attempt: usize) -> Result<Option<(ManifestFile, Encoded)>> {
    if part.files.is_empty() {
        return Ok(None);
    }
    let metadata = &table.metadata;
    let (schema, spec) = fits(metadata, part.schema_id, part.spec_id)?;
    let target = Target {
        version: metadata.format_version(),
        schema,
        spec,
        snapshot_id: part.snapshot_id,
        sequence_number: metadata.next_sequence_number(),
        location: format!("{}/{}-{attempt}-m0.avro", folder(metadata), part.commit),
    };
    of_new(&target, part.files.iter()).map(Some)
}

/// The manifests that a commit finds, small ones joined if it is time.
struct Found {
    manifests: Vec<ManifestFile>,
    /// The file of a joined one, which is the first.
    joined: Option<Encoded>,
    /// Whether they are those of the current list.
    listed: bool,
}

fn find(part: &Part, table: &Table, known: &Known, store: &Store, attempt: usize) -> Result<Found> {
    let metadata = &table.metadata;
    let alive = |manifest: &&ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
    let mut manifests: Vec<ManifestFile> = known.manifests.iter().filter(alive).cloned().collect();
    let spec = metadata.default_partition_spec();
    let chosen = to_join(&manifests, spec.spec_id(), Joining::of(metadata));
    if chosen.is_empty() {
        let listed = manifests.len() == known.manifests.len();
        return Ok(Found { manifests, joined: None, listed });
    }
    let target = Target {
        version: metadata.format_version(),
        schema: metadata.current_schema(),
        spec,
        snapshot_id: part.snapshot_id,
        sequence_number: metadata.next_sequence_number(),
        location: format!("{}/{}-{attempt}-m1.avro", folder(metadata), part.commit),
    };
    let small: Vec<&ManifestFile> = chosen.iter().map(|index| &manifests[*index]).collect();
    let (joined, encoded) = join(&target, &small, known, store)?;
    let mut index = 0;
    manifests.retain(|_| {
        index += 1;
        !chosen.contains(&(index - 1))
    });
    manifests.insert(0, joined);
    Ok(Found { manifests, joined: Some(encoded), listed: false })
}

/// What the new snapshot lists, encoded.
struct Written {
    manifests: Vec<ManifestFile>,
    files: Vec<Encoded>,
    /// Where its list goes.
    list: String,
    next_row: Option<u64>,
    joins: Option<String>,
    records: Option<Records>,
}

fn write(part: &Part, table: &Table, known: &Known, store: &Store, attempt: usize) -> Result<Written> {
    let metadata = &table.metadata;
    let parent = ingest_tip(metadata, &table.refs).map(|tip| tip.snapshot_id());
    let ids = Ids { snapshot: part.snapshot_id, parent };
    let Found { mut manifests, joined, listed } = find(part, table, known, store, attempt)?;
    let joins = joined.as_ref().map(|encoded| encoded.location.clone());
    let (mut files, before): (Vec<Encoded>, usize) = (joined.into_iter().collect(), manifests.len());
    if let Some((manifest, encoded)) = new_manifest(part, table, attempt)? {
        manifests.insert(0, manifest);
        files.push(encoded);
    }
    let location = format!("{}/snap-{}-{attempt}-{}.avro", folder(metadata), part.snapshot_id, part.commit);
    let new = &manifests[..manifests.len() - before];
    let (encoded, next_row) = match known.records.as_ref().filter(|_| listed) {
        Some(old) => (list_before(metadata, ids, location, new, old)?, None),
        None => list(metadata, ids, location, &manifests)?,
    };
    let records = records_of(metadata, &encoded, manifests.len());
    let list = encoded.location.clone();
    files.push(encoded);
    Ok(Written { manifests, files, list, next_row, joins, records })
}

/// Prepares an attempt on a table as it is now.
pub(super) fn plan(
    part: &Part,
    table: &Table,
    known: &Known,
    store: &Store,
    now_ms: i64,
    attempt: usize,
) -> Result<Planned> {
    let metadata = &table.metadata;
    if metadata.format_version() == FormatVersion::V1 {
        return Err(Error::new(
            Kind::Invalid,
            "laked writes tables of format 2 and 3; upgrade this one's format-version",
        )
        .with("table", &table.ident));
    }
    let Written { manifests, files, list, next_row, joins, records } = write(part, table, known, store, attempt)?;
    let snapshot = snapshot(part, table, list.clone(), next_row, now_ms);
    let reference = SnapshotReference::new(part.snapshot_id, known.retention.clone());
    let branch = ingest_branch(metadata);
    let mut updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: branch.to_string(), reference },
    ];
    let marks: HashMap<String, String> =
        part.marks.iter().map(|(lane, mark)| (lane_property(*lane), mark.to_string())).collect();
    if !marks.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: marks });
    }
    if !part.retire.is_empty() {
        updates
            .push(TableUpdate::RemoveProperties { removals: part.retire.iter().map(|l| lane_property(*l)).collect() });
    }
    Ok(Planned { requirements: requirements(table, branch)?, updates, files, manifests, joins, list, records })
}

/// The table is the same, and so are the branch and `main`: either may be what the new snapshot comes upon.
fn requirements(table: &Table, branch: &str) -> Result<Vec<TableRequirement>> {
    let held = table.refs.get(branch);
    if held.is_some_and(|held| matches!(held.retention, SnapshotRetention::Tag { .. })) {
        let why = "records cannot be taken into a tag: set the property to a branch's name";
        return Err(Error::new(Kind::Invalid, why).with(INGEST_BRANCH, branch).with("table", &table.ident));
    }
    let stays = |name: &str, snapshot_id| TableRequirement::RefSnapshotIdMatch { r#ref: name.to_string(), snapshot_id };
    let main = stays(MAIN_BRANCH, table.metadata.current_snapshot_id());
    let mut all = vec![TableRequirement::UuidMatch { uuid: table.metadata.uuid() }, main];
    if branch != MAIN_BRANCH {
        all.push(stays(branch, held.map(|held| held.snapshot_id)));
    }
    Ok(all)
}

fn snapshot(part: &Part, table: &Table, list: String, next_row: Option<u64>, now_ms: i64) -> Snapshot {
    let metadata = &table.metadata;
    let parent = ingest_tip(metadata, &table.refs);
    let mut own = part.summary.clone();
    own.push((COMMIT_ID.to_string(), part.commit.to_string()));
    own.extend(part.marks.iter().map(|(lane, mark)| (lane_property(*lane), mark.to_string())));
    let builder = Snapshot::builder()
        .with_snapshot_id(part.snapshot_id)
        .with_parent_snapshot_id(parent.map(|parent| parent.snapshot_id()))
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(now_ms.max(metadata.last_updated_ms()))
        .with_manifest_list(list)
        .with_summary(summary(parent.map(AsRef::as_ref), Added::of(part.files.iter()), &own))
        .with_schema_id(metadata.current_schema_id());
    match next_row {
        None => builder.build(),
        Some(next) => {
            builder.with_row_range(metadata.next_row_id(), next.saturating_sub(metadata.next_row_id())).build()
        }
    }
}

/// Remembers a table as the commit left it.
pub(super) fn remember(part: &Part, planned: Planned, known: &mut Known, after: &Table) {
    let metadata = &after.metadata;
    if metadata.format_version() == FormatVersion::V3 {
        // The list's writer gives out row ids; what it wrote is the truth.
        known.metadata_location.clear();
        return;
    }
    known.metadata_location.clone_from(&after.metadata_location);
    known.manifests = planned.manifests;
    known.records = planned.records;
    known.list = planned.list;
    if let Some(first) = known.manifests.first().filter(|_| !part.files.is_empty()) {
        let path = first.manifest_path.clone();
        let sequence_number = first.sequence_number;
        let schema = metadata.current_schema();
        let spec = metadata.default_partition_spec();
        let (version, snapshot_id) = (metadata.format_version(), part.snapshot_id);
        let target = Target { version, schema, spec, snapshot_id, sequence_number, location: path.clone() };
        known.keep(&path, entries_of(&target, part.files.iter()));
    }
    if let Some(joined) = planned.joins {
        known.spelled.insert(joined);
        known.prune();
    }
}

/// What is known of a table, read again if somebody else changed it.
pub(super) fn refresh(known: &mut Option<Known>, table: &Table, store: &Store) -> Result<()> {
    if known.as_ref().is_none_or(|known| known.metadata_location != table.metadata_location) {
        *known = Some(Known::read(known.take(), table, store).map_err(|error| {
            Error::new(error.kind(), "the table's manifest list cannot be read")
                .with("table", &table.ident)
                .because(error)
        })?);
    }
    Ok(())
}

/// Stages encoded files.
pub(super) fn stage(store: &Store, files: &[Encoded]) -> Result<Vec<laked_catalog::store::Staged>> {
    use std::io::Write as _;
    let stage = |file: &Encoded| {
        let mut staged = store.stage(&file.location)?;
        staged.write_all(&file.bytes).map_err(|error| {
            Error::new(Kind::Unavailable, "a manifest cannot be staged").with("location", &file.location).because(error)
        })?;
        Ok(staged)
    };
    files.iter().map(stage).collect::<Result<Vec<_>>>().map_err(|error| match error.kind() {
        Kind::Internal => avro(error),
        _ => error,
    })
}
