//! The curve that a group's rows are put along, and which files lie along it already.
//!
//! A file's footer names the columns of its curve, so that a plan does not take it again: no manifest has a place for that,
//! and a snapshot's summary goes when the snapshot expires. Planning along a curve reads the footers.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedFieldRef, Schema, TableMetadata};
use laked_catalog::plan::{Plan as Scan, PlannedFile};
use laked_catalog::store::{Store, side_by_side};
use parquet::file::metadata::ParquetMetaDataReader;

use super::decode::Decoder;
use super::input::File;
use super::plan::{Group, is_parquet};
use crate::error::{Error, Kind, Result};
use crate::write::{CURVE, Curve, Layout, Sampler, curve_name};

/// Footers for which a thread is worth starting.
const FOOTERS: usize = 16;

/// Locations of those files, of those that a scan's condition leaves, that lie along the curve of these columns.
///
/// # Errors
/// `Corrupt` for a file that cannot be read; storage errors.
pub fn placed(store: &Store, scan: &Scan, columns: &[i32]) -> Result<HashSet<String>> {
    let files: Vec<&PlannedFile> = scan.left().filter(|file| is_parquet(file)).collect();
    let curve = curve_name(columns);
    let read = |(): &mut (), at: usize| {
        Ok(lies_along(store, files[at], &curve)?.then(|| files[at].file.file_path().to_string()))
    };
    Ok(side_by_side(store, files.len(), FOOTERS, || (), read)?.into_iter().flatten().collect())
}

fn lies_along(store: &Store, file: &PlannedFile, curve: &str) -> Result<bool> {
    let location = file.file.file_path();
    let opened = File::open(store, location)?;
    let read = ParquetMetaDataReader::new().parse_and_finish(&opened);
    let metadata = read.map_err(|error| opened.failed(location, error))?;
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    Ok(pairs.into_iter().any(|pair| pair.key == CURVE && pair.value.as_deref() == Some(curve)))
}

/// The curve through a group's rows.
///
/// # Errors
/// `Invalid` for a column that is gone, or has no order; storage errors, `Corrupt`.
pub(super) fn through(
    store: &Store,
    metadata: &TableMetadata,
    group: &Group,
    layout: &Layout,
    memory: usize,
) -> Result<Curve> {
    let gone = || Error::new(Kind::Invalid, "a column of the curve is no column of the table");
    let field = |id: &i32| layout.schema().as_struct().field_by_id(*id).cloned().ok_or_else(gone);
    let fields: Vec<NestedFieldRef> = group.curve.iter().map(field).collect::<Result<_>>()?;
    let unfit = |error: iceberg::Error| gone().because(error);
    let schema = Schema::builder().with_fields(fields).build().map_err(unfit)?;
    let arrow = Arc::new(schema_to_arrow_schema(&schema).map_err(unfit)?);
    let types: Vec<_> = arrow.fields().iter().map(|field| field.data_type().clone()).collect();
    let mut sampler = Sampler::new(&types, group.rows(), memory)?;
    for input in &group.inputs {
        let mut rows = Decoder::columns(store, metadata, &input.file, (&schema, &arrow))?;
        while let Some(batch) = rows.next()? {
            sampler.take(batch.columns())?;
        }
    }
    let place = |id: &i32| layout.schema().as_struct().fields().iter().position(|field| field.id == *id);
    let columns: Vec<usize> = group.curve.iter().map(|id| place(id).ok_or_else(gone)).collect::<Result<_>>()?;
    Ok(sampler.curve(&columns))
}
