//! A snapshot's files: those that can hold rows which satisfy a condition.
//!
//! The manifest list's partition summaries decide which manifests are read; each is read once. A file stays if its
//! partition value can match (by its own spec: specs may be mixed) and then if its column bounds can.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use futures::executor::block_on;
use iceberg::spec::{
    DataContentType, DataFile, Datum, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestList,
    ManifestStatus, PrimitiveType, Schema, SchemaRef, SnapshotRef, TableMetadata, Transform, Type,
};

use super::predicate::Predicate;
use super::prune::{View, may_match};
use super::spec::Spec;
use super::value::Value;
use crate::error::{Error, Kind, Result};
use crate::store::{Store, kind_of, side_by_side};

/// A data or delete file, shared with the manifest it was read from.
#[derive(Clone, Debug)]
pub struct FileRef(ManifestEntryRef);

impl Deref for FileRef {
    type Target = DataFile;

    fn deref(&self) -> &DataFile {
        self.0.data_file()
    }
}

/// A file of a plan.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// The file.
    pub file: FileRef,
    /// Its data sequence number.
    pub sequence_number: i64,
    /// Its partition spec.
    pub spec_id: i32,
    /// The manifest that lists it.
    pub manifest: Arc<str>,
    /// Row id of its first row (format v3): its own, or what its manifest assigns.
    pub first_row_id: Option<i64>,
    /// Whether its partition value can match.
    pub by_partition: bool,
    /// Whether its partition value and its column bounds can match.
    pub by_bounds: bool,
}

impl PlannedFile {
    /// The snapshot that added it, if that is what its manifest lists it for.
    pub(super) fn added_by(&self) -> Option<i64> {
        (self.file.0.status() == ManifestStatus::Added).then(|| self.file.0.snapshot_id()).flatten()
    }
}

/// A plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The snapshot; `None` for a table without one.
    pub snapshot: Option<SnapshotRef>,
    /// The schema its rows are read with.
    pub schema: SchemaRef,
    /// Data files: those that can match, or all of them in a whole plan.
    pub files: Vec<PlannedFile>,
    /// Delete files that can apply to those; in a whole plan, all of them.
    pub deletes: Vec<PlannedFile>,
    /// Manifests of the snapshot.
    pub manifests: usize,
    /// Those a scan reads.
    pub manifests_read: usize,
    /// Entries of the manifests, and of those a scan reads, as the list counts them; format 1 need not.
    pub entries: [u64; 2],
}

impl Plan {
    /// The data files that are left to read.
    pub fn left(&self) -> impl Iterator<Item = &PlannedFile> {
        self.files.iter().filter(|file| file.by_bounds)
    }
}

/// Plans a scan of a snapshot at once.
///
/// With `whole`, what cannot match is read and kept too, so that what is skipped can be counted. The current snapshot
/// is read with the table's current schema, which may be newer than the one it was written with; an older one with its
/// own.
///
/// # Errors
/// `Corrupt` if a manifest cannot be read; storage errors.
pub fn plan(
    store: &Store,
    metadata: &TableMetadata,
    snapshot: Option<&SnapshotRef>,
    predicate: &Predicate,
    whole: bool,
) -> Result<Plan> {
    let schema = read_schema(metadata, snapshot)?;
    let mut plan = Plan {
        snapshot: snapshot.cloned(),
        schema,
        files: Vec::new(),
        deletes: Vec::new(),
        manifests: 0,
        manifests_read: 0,
        entries: [0, 0],
    };
    let Some(snapshot) = snapshot else { return Ok(plan) };
    let manifests = manifests(store, metadata, snapshot)?;
    plan.manifests = manifests.len();
    let specs = Spec::all(metadata, &plan.schema);
    let mut chosen = Vec::new();
    for manifest in &manifests {
        let spec = spec_of(&specs, manifest)?;
        // What a delete file's partition rules out, it rules out for the data files it applies to.
        let wanted = spec.manifest_may_match(manifest, predicate);
        plan.manifests_read += usize::from(wanted);
        plan.entries[0] += entries(manifest);
        plan.entries[1] += if wanted { entries(manifest) } else { 0 };
        if wanted || whole {
            chosen.push((manifest, spec));
        }
    }
    let read = Reading { store, schema: &plan.schema, predicate };
    for planned in read.all(&chosen)? {
        match planned.file.content_type() {
            DataContentType::Data if whole || planned.by_bounds => plan.files.push(planned),
            DataContentType::Data => {}
            _ if whole || planned.by_partition => plan.deletes.push(planned),
            _ => {}
        }
    }
    Ok(plan)
}

/// The schema a snapshot's rows are read with.
///
/// # Errors
/// `Corrupt` if the snapshot's schema is not in the table.
pub fn read_schema(metadata: &TableMetadata, snapshot: Option<&SnapshotRef>) -> Result<SchemaRef> {
    match snapshot {
        Some(snapshot) if metadata.current_snapshot_id() != Some(snapshot.snapshot_id()) => {
            snapshot.schema(metadata).map_err(corrupt)
        }
        _ => Ok(metadata.current_schema().clone()),
    }
}

pub(super) fn corrupt(error: iceberg::Error) -> Error {
    Error::new(kind_of(&error), "a snapshot's manifests cannot be read").because(error)
}

/// The manifests a snapshot lists.
///
/// # Errors
/// `Corrupt` if the list cannot be read; storage errors.
pub fn manifests(store: &Store, metadata: &TableMetadata, snapshot: &SnapshotRef) -> Result<Vec<ManifestFile>> {
    let bytes = store.read(snapshot.manifest_list())?;
    let list = ManifestList::parse_with_version(&bytes, metadata.format_version()).map_err(corrupt)?;
    Ok(list.consume_entries().into_iter().collect())
}

/// A manifest's spec.
pub(super) fn spec_of<'a>(specs: &'a HashMap<i32, Spec>, manifest: &ManifestFile) -> Result<&'a Spec> {
    specs.get(&manifest.partition_spec_id).ok_or_else(|| {
        Error::new(Kind::Corrupt, "a manifest's partition spec is not in the table")
            .with("spec", manifest.partition_spec_id)
    })
}

/// What is asked of each manifest.
pub(super) struct Reading<'a> {
    pub store: &'a Store,
    pub schema: &'a Schema,
    pub predicate: &'a Predicate,
}

impl Reading<'_> {
    /// Reads manifests side by side; decoding them is what planning costs. The files come in the manifests' order.
    fn all(&self, chosen: &[(&ManifestFile, &Spec)]) -> Result<Vec<PlannedFile>> {
        let read = |(): &mut (), number: usize| {
            let (manifest, spec) = chosen[number];
            self.one(Vec::new(), manifest, spec)
        };
        Ok(side_by_side(self.store, chosen.len(), 2, || (), read)?.into_iter().flatten().collect())
    }

    /// Adds a manifest's live files, each with whether it can match.
    pub fn one(&self, mut found: Vec<PlannedFile>, manifest: &ManifestFile, spec: &Spec) -> Result<Vec<PlannedFile>> {
        let (entries, _) = block_on(manifest.load_manifest(&self.store.file_io())).map_err(corrupt)?.into_parts();
        let location: Arc<str> = manifest.manifest_path.as_str().into();
        let mut next_row = manifest.first_row_id.and_then(|id| i64::try_from(id).ok());
        for entry in entries.into_iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file();
            let first_row_id = file.first_row_id().or(next_row);
            if file.first_row_id().is_none() {
                next_row = next_row.map(|id| id.saturating_add_unsigned(file.record_count()));
            }
            found.push(PlannedFile { first_row_id, ..self.planned(entry, (manifest, &location), spec) });
        }
        Ok(found)
    }

    fn planned(&self, entry: ManifestEntryRef, (manifest, at): (&ManifestFile, &Arc<str>), spec: &Spec) -> PlannedFile {
        let file = entry.data_file();
        let by_partition = spec.file_may_match(file, self.predicate);
        let by_bounds = by_partition && may_match(self.predicate, &|column| bounds(file, self.schema, column));
        PlannedFile {
            sequence_number: entry.sequence_number().unwrap_or(manifest.sequence_number),
            spec_id: manifest.partition_spec_id,
            manifest: at.clone(),
            first_row_id: file.first_row_id(),
            file: FileRef(entry),
            by_partition,
            by_bounds,
        }
    }
}

/// A file that a manifest names, and whether it says that the file is part of the table.
#[derive(Clone, Debug)]
pub struct NamedFile {
    /// The file. Its row ids are those that are written down, not what the manifest assigns.
    pub file: PlannedFile,
    /// Whether it is: a manifest also lists the files that its snapshot removed, with all that was known of them.
    pub alive: bool,
}

/// The files that a manifest names and that can hold rows which satisfy a condition, removed ones among them.
///
/// # Errors
/// `Corrupt` if the manifest cannot be read; storage errors.
pub fn named(
    store: &Store,
    metadata: &TableMetadata,
    manifest: &ManifestFile,
    predicate: &Predicate,
) -> Result<Vec<NamedFile>> {
    let schema = metadata.current_schema();
    let specs = Spec::all(metadata, schema);
    let spec = spec_of(&specs, manifest)?;
    // Summaries need not cover what was removed.
    if !manifest.has_deleted_files() && !spec.manifest_may_match(manifest, predicate) {
        return Ok(Vec::new());
    }
    let reading = Reading { store, schema, predicate };
    let (entries, _) = block_on(manifest.load_manifest(&store.file_io())).map_err(corrupt)?.into_parts();
    let location: Arc<str> = manifest.manifest_path.as_str().into();
    let file = |entry: ManifestEntryRef| {
        let alive = entry.is_alive();
        NamedFile { file: reading.planned(entry, (manifest, &location), spec), alive }
    };
    Ok(entries.into_iter().map(file).filter(|named| named.file.by_bounds).collect())
}

/// Entries of a manifest, as its list counts them.
fn entries(manifest: &ManifestFile) -> u64 {
    let counts = [manifest.added_files_count, manifest.existing_files_count, manifest.deleted_files_count];
    counts.into_iter().flatten().map(u64::from).sum()
}

/// Whether it lists delete files.
pub(super) fn lists_deletes(manifest: &ManifestFile) -> bool {
    manifest.content == ManifestContentType::Deletes
}

/// What a file's metrics tell of a column.
pub(super) fn bounds(file: &DataFile, schema: &Schema, column: i32) -> Vec<View> {
    let kind = match schema.field_by_id(column).map(|field| field.field_type.as_ref()) {
        Some(Type::Primitive(kind)) => kind,
        _ => return Vec::new(),
    };
    let real = matches!(kind, PrimitiveType::Float | PrimitiveType::Double);
    let nulls = file.null_value_counts().get(&column);
    let nans = file.nan_value_counts().get(&column);
    let values = file.value_counts().get(&column);
    let value =
        |bounds: &HashMap<i32, Datum>| bounds.get(&column).and_then(|datum| Value::of_column(datum.literal(), kind));
    vec![View {
        transform: Transform::Identity,
        lower: value(file.lower_bounds()),
        upper: value(file.upper_bounds()),
        all_null: nulls.is_some() && nulls == values,
        may_be_null: nulls != Some(&0),
        all_nan: nans.is_some() && nans == values,
        may_be_nan: real && nans != Some(&0),
    }]
}
