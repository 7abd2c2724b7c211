//! Rows that satisfy a condition, found in a file.

use std::collections::HashMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use iceberg::spec::{Schema, TableMetadata};
use laked_catalog::plan::PlannedFile;
use laked_catalog::store::Store;
use roaring::RoaringTreemap;

use super::decode::Decoder;
use super::plan::is_parquet;
use crate::error::{Error, Kind, Result};

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
    columns: (&Schema, &SchemaRef),
    satisfies: &mut dyn FnMut(&RecordBatch) -> Result<BooleanArray>,
) -> Result<RoaringTreemap> {
    if !is_parquet(file) {
        let message =
            "the table has files that are not Parquet, which laked cannot rewrite: use the engine they are of";
        return Err(Error::new(Kind::Invalid, message).with("file", file.file.file_path()));
    }
    let mut decoder = Decoder::columns(store, metadata, file, columns)?;
    let (mut found, mut first) = (RoaringTreemap::new(), 0);
    while let Some(batch) = decoder.next()? {
        let mask = satisfies(&batch)?;
        found.extend(mask.values().set_indices().map(|at| first + at as u64));
        first = decoder.row();
    }
    Ok(found)
}
