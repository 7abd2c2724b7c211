//! Overwrites of partitions that would leave their older rows in place.
//!
//! Engines on Iceberg's Java library overwrite partitions (Spark's dynamic overwrite, Flink's and Hive's `INSERT OVERWRITE`) by
//! taking away the files of the newest partition spec whose partition is the same. After an evolution the files of older specs
//! stay, and their rows are there beside the new ones (HIVE-26133). Such a commit says what it is, in its snapshot's summary.
//! It is refused where a file of another spec is left that can hold rows of a partition it overwrites, by that file's own
//! partition and bounds. Overwrites by a condition, as PyIceberg's and Trino's, look at every file and pass.

use std::collections::HashSet;

use iceberg::spec::{
    DataFile, Datum, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Snapshot, SnapshotRef, TableMetadata,
    Transform,
};
use laked_catalog::plan::{Op, Predicate, Term, plan};
use laked_catalog::store::Store;

use super::cherry_pick::{added, manifests_of};
use crate::error::{Error, Kind, Result};

/// The field of a snapshot's summary by which such an overwrite is told.
const REPLACES: &str = "replace-partitions";
/// Partitions that are looked for one by one; of more, all are.
const MOST: usize = 1_000;

/// Refuses a change that overwrites partitions and leaves rows of them in files of other specs.
///
/// # Errors
/// `Forbidden`, with what to do instead; storage errors.
pub fn guard_overwrites(store: &Store, before: Option<&TableMetadata>, after: &TableMetadata) -> Result<()> {
    // A table that is registered brings its past with it: that is as it is, and may have been put right since.
    let Some(before) = before.filter(|_| after.partition_specs_iter().len() > 1) else { return Ok(()) };
    let is_new = |snapshot: &&SnapshotRef| {
        let says = snapshot.summary().additional_properties.get(REPLACES);
        says.is_some_and(|says| says == "true") && before.snapshot_by_id(snapshot.snapshot_id()).is_none()
    };
    after.snapshots().filter(is_new).try_for_each(|snapshot| leaves_nothing(store, after, snapshot))
}

fn leaves_nothing(store: &Store, metadata: &TableMetadata, snapshot: &SnapshotRef) -> Result<()> {
    let added = added(store, metadata, snapshot)?;
    let own: HashSet<i32> = added.keys().copied().collect();
    if !has_others(store, metadata, snapshot, &own)? {
        return Ok(());
    }
    let mut overwritten = Vec::new();
    for (spec_id, files) in &added {
        let Some(spec) = metadata.partition_spec_by_id(*spec_id) else { continue };
        overwritten.extend(partitions(files).into_iter().map(|file| holds(spec, metadata.current_schema(), file)));
    }
    let predicate = if overwritten.len() > MOST { Predicate::True } else { Predicate::Or(overwritten) };
    let left = plan(store, metadata, Some(snapshot), &predicate, false)?;
    let others: Vec<_> = left.files.iter().filter(|file| !own.contains(&file.spec_id)).collect();
    let Some(first) = others.first() else { return Ok(()) };
    let why = "partitions are overwritten, but files of an older partition spec can hold rows of them and would stay: the rows \
               would be there twice. Move them first (`lakectl evolve-partition TABLE SPEC --rewrite ''`), or overwrite by a \
               condition";
    Err(Error::new(Kind::Forbidden, why).with("files", others.len()).with("one", first.file.file_path()))
}

/// Whether files of specs that are not its own are left.
fn has_others(store: &Store, metadata: &TableMetadata, snapshot: &Snapshot, own: &HashSet<i32>) -> Result<bool> {
    let manifests = manifests_of(store, metadata, snapshot)?;
    let alive = |manifest: &&iceberg::spec::ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
    Ok(manifests.iter().filter(alive).any(|manifest| !own.contains(&manifest.partition_spec_id)))
}

/// A file of each partition.
fn partitions(files: &[DataFile]) -> Vec<&DataFile> {
    let mut seen = HashSet::new();
    files.iter().filter(|file| seen.insert(file.partition())).collect()
}

/// The condition that a row is of the file's partition. Fields that were dropped, which format 1 keeps as `void`, are
/// null for every row and say nothing of it.
fn holds(spec: &PartitionSpec, schema: &Schema, file: &DataFile) -> Predicate {
    let types = spec.partition_type(schema).ok();
    let field = |(number, field): (usize, &iceberg::spec::PartitionField)| {
        let column = field.source_id;
        let Some(value) = file.partition().iter().nth(number).flatten() else {
            return Predicate::IsNull { column, null: true };
        };
        let kind = types.as_ref().and_then(|types| types.fields().get(number)?.field_type.as_primitive_type());
        let literal = value.as_primitive_literal().and_then(|literal| datum(&literal, kind?));
        let term = Term { column, transform: field.transform };
        literal.map_or(Predicate::Unknown, |literal| Predicate::Compare { term, op: Op::Eq, literal })
    };
    let held = spec.fields().iter().enumerate().filter(|(_, field)| field.transform != Transform::Void);
    Predicate::And(held.map(field).collect())
}

/// A partition's value as a condition compares it: dates and times go as numbers.
fn datum(value: &PrimitiveLiteral, kind: &PrimitiveType) -> Option<Datum> {
    Some(match value {
        PrimitiveLiteral::Boolean(value) => Datum::bool(*value),
        PrimitiveLiteral::Int(value) => Datum::int(*value),
        PrimitiveLiteral::Long(value) => Datum::long(*value),
        PrimitiveLiteral::Float(value) => Datum::float(value.into_inner()),
        PrimitiveLiteral::Double(value) => Datum::double(value.into_inner()),
        PrimitiveLiteral::String(value) => Datum::string(value),
        PrimitiveLiteral::Binary(value) => Datum::binary(value.iter().copied()),
        PrimitiveLiteral::Int128(value) => Datum::try_from_bytes(&value.to_be_bytes(), kind.clone()).ok()?,
        PrimitiveLiteral::UInt128(value) => Datum::uuid(uuid::Uuid::from_u128(*value)),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "overwrites_tests.rs"]
mod tests;
