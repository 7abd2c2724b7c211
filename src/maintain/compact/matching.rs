//! Rows that satisfy a condition: found in a file, and the files that are rewritten without them.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use iceberg::spec::{DataFileFormat, Schema, TableMetadata};
use laked_catalog::plan::{Plan as Scan, PlannedFile};
use laked_catalog::store::Store;
use roaring::RoaringTreemap;

use super::decode::{Decoder, Wanted};
use super::deletes::Applying;
use super::input::File;
use super::plan::{Group, Input, Plan};
use crate::error::{Error, Kind, Result};
use crate::write::Layout;

/// Rows of files, by location.
pub type Erased = HashMap<String, RoaringTreemap>;

/// The rows of a data or equality delete file that `satisfies` tells of batches of some columns, whether a delete hit them
/// or not: they are in the file all the same.
///
/// # Errors
/// `Invalid` for a file that is not Parquet; `Corrupt`; `NotFound`; storage errors.
pub fn matching(
    store: &Store,
    metadata: &TableMetadata,
    file: &PlannedFile,
    (schema, arrow): (&Schema, &SchemaRef),
    satisfies: &mut dyn FnMut(&RecordBatch) -> Result<BooleanArray>,
) -> Result<RoaringTreemap> {
    let location = file.file.file_path();
    if file.file.file_format() != DataFileFormat::Parquet {
        let message =
            "the table has files that are not Parquet, which laked cannot rewrite: use the engine they are of";
        return Err(Error::new(Kind::Invalid, message).with("file", location));
    }
    let wanted = Wanted { exact: true, ..Wanted::of(schema, arrow) };
    let wanted = match metadata.partition_spec_by_id(file.spec_id) {
        Some(spec) => wanted.within(spec, file.file.partition()),
        None => wanted,
    };
    let mut decoder = Decoder::open(&File::open(store, location)?, location, &wanted, None, None)?;
    let (mut found, mut first) = (RoaringTreemap::new(), 0);
    while let Some(batch) = decoder.next()? {
        let mask = satisfies(&batch)?;
        found.extend(mask.values().set_indices().map(|at| first + at as u64));
        first = decoder.row();
    }
    Ok(found)
}

/// A plan that rewrites just the chosen files of a whole scan, in the table's order, with all their deletes applied.
///
/// # Errors
/// `Invalid` for a property that cannot be read; `Corrupt` for a file whose spec is gone.
pub fn chosen(metadata: &TableMetadata, scan: &Scan, is_chosen: &dyn Fn(&PlannedFile) -> bool) -> Result<Plan> {
    let applying = Applying::of(metadata, &scan.deletes);
    let mut groups: BTreeMap<(i32, String), Vec<Group>> = BTreeMap::new();
    for file in scan.files.iter().filter(|file| is_chosen(file)) {
        let (spec_id, partition) = (file.spec_id, file.file.partition());
        let layout = Layout::rewriting(metadata, spec_id, true)?;
        let path = layout.partition_path(partition);
        // Two values may have one path: it is cut where it is too long.
        let same_path = groups.entry((spec_id, path.clone())).or_default();
        let input = Input { file: file.clone(), deletes: applying.to(file), alone: true };
        match same_path.iter_mut().find(|group| group.partition == *partition) {
            Some(group) => group.inputs.push(input),
            None => {
                let (partition, sorted) = (partition.clone(), layout.is_sorted());
                let (to_spec, curve, inputs) = (spec_id, Vec::new(), vec![input]);
                same_path.push(Group { spec_id, to_spec, partition, path, sorted, curve, inputs });
            }
        }
    }
    let groups = groups.into_values().flatten().collect();
    Ok(Plan { groups, deletes: scan.deletes.clone(), ..Plan::default() })
}
