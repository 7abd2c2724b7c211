//! A scan's plan: which files of a snapshot can hold rows that satisfy a condition.
//!
//! The manifest list's partition summaries decide which manifests are read; each is read once. A file stays if its
//! partition value can match (by its own spec: specs may be mixed) and then if its column bounds can.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::executor::block_on;
use iceberg::spec::{
    DataContentType, DataFile, Datum, FieldSummary, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestList,
    PartitionSpec, PrimitiveType, Schema, SchemaRef, SnapshotRef, TableMetadata, Transform, Type,
};
use laked_catalog::store::Store;

use super::predicate::Predicate;
use super::prune::{Value, View, may_match};
use crate::error::{Error, Kind, Result};

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
    /// Whether its partition value can match.
    pub by_partition: bool,
    /// Whether its partition value and its column bounds can match.
    pub by_bounds: bool,
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
    /// Delete files, whatever their partition.
    pub deletes: Vec<PlannedFile>,
    /// Manifests of the snapshot.
    pub manifests: usize,
    /// Those a scan reads.
    pub manifests_read: usize,
}

impl Plan {
    /// The data files that are left to read.
    pub fn left(&self) -> impl Iterator<Item = &PlannedFile> {
        self.files.iter().filter(|file| file.by_bounds)
    }
}

/// Plans a scan of a snapshot.
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
    };
    let Some(snapshot) = snapshot else { return Ok(plan) };
    let bytes = store.read(snapshot.manifest_list())?;
    let list = ManifestList::parse_with_version(&bytes, metadata.format_version()).map_err(corrupt)?;
    plan.manifests = list.entries().len();
    let specs: HashMap<i32, Spec> = metadata
        .partition_specs_iter()
        .map(|spec| (spec.spec_id(), Spec::of(spec, metadata.current_schema())))
        .collect();
    let mut chosen = Vec::new();
    for manifest in list.entries() {
        let spec = specs.get(&manifest.partition_spec_id).ok_or_else(|| {
            Error::new(Kind::Corrupt, "a manifest's partition spec is not in the table")
                .with("spec", manifest.partition_spec_id)
        })?;
        // Deletes apply across partitions where their spec is unpartitioned, so they are always looked at.
        let wanted = manifest.content == ManifestContentType::Deletes || spec.manifest_may_match(manifest, predicate);
        plan.manifests_read += usize::from(wanted);
        if wanted || whole {
            chosen.push((manifest, spec));
        }
    }
    let scan = Scan { store, schema: &plan.schema, predicate, whole };
    for planned in scan.read_all(&chosen)? {
        match planned.file.content_type() {
            DataContentType::Data => plan.files.push(planned),
            _ => plan.deletes.push(planned),
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

fn corrupt(error: iceberg::Error) -> Error {
    Error::new(Kind::Corrupt, "a snapshot's manifests cannot be read").because(error)
}

/// What is asked of each manifest.
struct Scan<'a> {
    store: &'a Store,
    schema: &'a SchemaRef,
    predicate: &'a Predicate,
    whole: bool,
}

impl Scan<'_> {
    /// Reads manifests side by side; decoding them is what planning costs. The files come in the manifests' order.
    fn read_all(&self, chosen: &[(&ManifestFile, &Spec)]) -> Result<Vec<PlannedFile>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(chosen.len().div_ceil(2));
        if threads <= 1 {
            return chosen.iter().try_fold(Vec::new(), |found, (manifest, spec)| self.read(found, manifest, spec));
        }
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Vec<PlannedFile>)>> {
            let mut found = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((manifest, spec)) = chosen.get(number) else { return Ok(found) };
                found.push((number, self.read(Vec::new(), manifest, spec)?));
            }
        };
        let mut found = Vec::with_capacity(chosen.len());
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                let panicked = |_| Error::new(Kind::Internal, "a thread that reads manifests panicked");
                found.extend(worker.join().map_err(panicked)??);
            }
            Ok(())
        })?;
        found.sort_unstable_by_key(|(number, _)| *number);
        Ok(found.into_iter().flat_map(|(_, files)| files).collect())
    }

    fn read(&self, mut found: Vec<PlannedFile>, manifest: &ManifestFile, spec: &Spec) -> Result<Vec<PlannedFile>> {
        let (entries, _) = block_on(manifest.load_manifest(&self.store.file_io())).map_err(corrupt)?.into_parts();
        for entry in entries.into_iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file();
            let by_partition = spec.file_may_match(file, self.predicate);
            let by_bounds = by_partition && may_match(self.predicate, &|column| bounds(file, self.schema, column));
            if file.content_type() == DataContentType::Data && !self.whole && !by_bounds {
                continue;
            }
            let sequence_number = entry.sequence_number().unwrap_or(manifest.sequence_number);
            let spec_id = manifest.partition_spec_id;
            found.push(PlannedFile { file: FileRef(entry), sequence_number, spec_id, by_partition, by_bounds });
        }
        Ok(found)
    }
}

/// A partition spec with what comparing needs.
struct Spec {
    fields: Vec<SpecField>,
}

struct SpecField {
    source: i32,
    transform: Transform,
    result: Option<PrimitiveType>,
}

impl Spec {
    fn of(spec: &PartitionSpec, schema: &Schema) -> Spec {
        let result = |field: &iceberg::spec::PartitionField| {
            let source = schema.field_by_id(field.source_id)?;
            match field.transform.result_type(&source.field_type).ok()? {
                Type::Primitive(kind) => Some(kind),
                _ => None,
            }
        };
        let fields = spec.fields().iter();
        let fields = fields.map(|field| SpecField {
            source: field.source_id,
            transform: field.transform,
            result: result(field),
        });
        Spec { fields: fields.collect() }
    }

    fn file_may_match(&self, file: &DataFile, predicate: &Predicate) -> bool {
        let values: Vec<Option<Value>> = file
            .partition()
            .iter()
            .map(|literal| {
                literal.and_then(|literal| literal.as_primitive_literal()).and_then(|value| Value::of(&value))
            })
            .collect();
        may_match(predicate, &|column| {
            let fields = self.fields.iter().zip(&values).filter(|(field, _)| field.source == column);
            let views = fields.map(|(field, value)| View {
                transform: field.transform,
                lower: value.clone(),
                upper: value.clone(),
                all_null: value.is_none() && field.transform != Transform::Void,
                may_be_null: value.is_none(),
                may_be_nan: matches!(value, Some(Value::Real(real)) if real.is_nan()),
            });
            views.collect()
        })
    }

    fn manifest_may_match(&self, manifest: &ManifestFile, predicate: &Predicate) -> bool {
        let Some(summaries) = &manifest.partitions else { return true };
        may_match(predicate, &|column| {
            let fields = self.fields.iter().zip(summaries).filter(|(field, _)| field.source == column);
            fields.map(|(field, summary)| field.view(summary)).collect()
        })
    }
}

impl SpecField {
    fn view(&self, summary: &FieldSummary) -> View {
        let value = |bytes: Option<&serde_bytes::ByteBuf>| {
            let datum = Datum::try_from_bytes(bytes?, self.result.clone()?).ok()?;
            Value::of(datum.literal())
        };
        let (lower, upper) = (value(summary.lower_bound.as_ref()), value(summary.upper_bound.as_ref()));
        View {
            transform: self.transform,
            all_null: summary.contains_null && summary.lower_bound.is_none() && summary.contains_nan == Some(false),
            lower,
            upper,
            may_be_null: summary.contains_null,
            may_be_nan: summary.contains_nan != Some(false),
        }
    }
}

/// What a file's metrics tell of a column.
fn bounds(file: &DataFile, schema: &Schema, column: i32) -> Vec<View> {
    let real = schema.field_by_id(column).is_some_and(|field| {
        matches!(field.field_type.as_ref(), Type::Primitive(PrimitiveType::Float | PrimitiveType::Double))
    });
    let nulls = file.null_value_counts().get(&column);
    let values = file.value_counts().get(&column);
    let value = |bounds: &HashMap<i32, Datum>| bounds.get(&column).and_then(|datum| Value::of(datum.literal()));
    vec![View {
        transform: Transform::Identity,
        lower: value(file.lower_bounds()),
        upper: value(file.upper_bounds()),
        all_null: nulls.is_some() && nulls == values,
        may_be_null: nulls != Some(&0),
        may_be_nan: real && file.nan_value_counts().get(&column) != Some(&0),
    }]
}
