//! Rows of a data file by the columns of the table: found by field id, in the table's names and, where they are nested, its
//! types; without the deleted rows, and with their ids where the format has them.
//!
//! A column that the file has not is the value its partition has for it, else its initial default, else null
//! (specification, "Column Projection"). Strings that repeat are read as the file codes them.

use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema as ArrowSchema, SchemaRef};
use arrow::error::ArrowError;
use iceberg::spec::{Literal, Schema, TableMetadata, Transform};
use laked_catalog::plan::PlannedFile;
use laked_catalog::store::Store;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use roaring::RoaringTreemap;
use roaring::treemap::IntoIter;

use super::input::{File, corrupt};
use super::literal;
use super::nested::{fitted, id_of};
use crate::error::{Error, Kind, Result};
use crate::write::{LINEAGE, Stream};

/// Rows of a batch.
const ROWS: usize = 8_192;
/// A string column whose values take less than this many bytes each, uncompressed, repeats itself.
const CODED: i64 = 6;

/// What is wanted of a file.
pub(super) struct Wanted<'a> {
    /// The columns, by id.
    pub schema: &'a Schema,
    /// The same in Arrow.
    pub arrow: &'a SchemaRef,
    /// Values of columns that the file may lack.
    pub constants: HashMap<i32, Literal>,
    /// Whether columns of the same name will do where the file has no field ids at all.
    pub by_name: bool,
    /// Whether the columns are wanted in the very types of `arrow`.
    pub exact: bool,
}

impl<'a> Wanted<'a> {
    /// A table's columns, of files in a partition.
    pub fn of(schema: &'a Schema, arrow: &'a SchemaRef) -> Self {
        let defaults = schema.as_struct().fields().iter();
        let defaults = defaults.filter_map(|field| Some((field.id, field.initial_default.clone()?)));
        Self { schema, arrow, constants: defaults.collect(), by_name: false, exact: false }
    }

    /// The same, in the very types of `arrow`.
    pub fn exactly(schema: &'a Schema, arrow: &'a SchemaRef) -> Self {
        Self { exact: true, ..Wanted::of(schema, arrow) }
    }

    /// With what a file's partition tells of its columns.
    pub fn within(mut self, spec: &iceberg::spec::PartitionSpec, partition: &iceberg::spec::Struct) -> Self {
        let fields = spec.fields().iter().zip(partition.iter());
        for (field, value) in fields.filter(|(field, _)| field.transform == Transform::Identity) {
            self.constants.extend(value.map(|value| (field.source_id, value.clone())));
        }
        self
    }
}

/// Reads a file.
pub(super) struct Decoder {
    file: File,
    location: String,
    reader: ParquetRecordBatchReader,
    columns: Vec<Column>,
    exact: bool,
    deleted: Peekable<IntoIter>,
    /// The number of the next row in the file.
    row: u64,
    lineage: Option<Lineage>,
    removed: u64,
}

/// Where the file's rows get their ids from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lineage {
    first_row_id: Option<i64>,
    sequence_number: i64,
}

impl Lineage {
    pub fn of(file: &PlannedFile) -> Self {
        Self { first_row_id: file.first_row_id, sequence_number: file.sequence_number }
    }
}

struct Column {
    field: FieldRef,
    id: i32,
    /// Where it is in what the reader gives.
    source: Option<usize>,
    constant: Option<Literal>,
}

impl Decoder {
    /// Opens some columns of a table's file, deleted rows too, in the very types of the Arrow schema.
    pub fn columns(
        store: &Store,
        metadata: &TableMetadata,
        file: &PlannedFile,
        (schema, arrow): (&Schema, &SchemaRef),
    ) -> Result<Self> {
        let location = file.file.file_path();
        let wanted = Wanted::exactly(schema, arrow);
        let wanted = match metadata.partition_spec_by_id(file.spec_id) {
            Some(spec) => wanted.within(spec, file.file.partition()),
            None => wanted,
        };
        Self::open(&File::open(store, location)?, location, &wanted, None, None)
    }

    /// Opens a file, or some of its row groups. `deleted` rows are left out; they count from the first row that is read.
    pub fn open(
        file: &File,
        location: &str,
        wanted: &Wanted<'_>,
        groups: Option<Vec<usize>>,
        deleted: Option<RoaringTreemap>,
    ) -> Result<Self> {
        let metadata = load(file, wanted.exact).map_err(|error| file.failed(location, error))?;
        let fields = metadata.schema().fields().clone();
        let named = fields.iter().all(|field| id_of(field).is_none());
        if named && !wanted.by_name {
            return Err(Error::new(Kind::Invalid, "the file has no field ids, so laked cannot tell its columns")
                .with("file", location));
        }
        let place = |field: &Field, id: i32| match named {
            true => fields.iter().position(|other| other.name() == field.name()),
            false => fields.iter().position(|other| id_of(other) == Some(id)),
        };
        let pairs = wanted.arrow.fields().iter().zip(wanted.schema.as_struct().fields());
        let placed: Vec<Option<usize>> = pairs.clone().map(|(field, own)| place(field, own.id)).collect();
        let mut read: Vec<usize> = placed.iter().flatten().copied().collect();
        read.sort_unstable();
        let columns = pairs.zip(&placed).map(|((field, own), placed)| Column {
            field: field.clone(),
            id: own.id,
            source: placed.and_then(|at| read.binary_search(&at).ok()),
            constant: wanted.constants.get(&own.id).cloned(),
        });
        let columns = columns.collect();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata);
        let mask = ProjectionMask::roots(builder.parquet_schema(), read);
        let builder = builder.with_projection(mask).with_batch_size(ROWS);
        let builder = match groups {
            Some(groups) => builder.with_row_groups(groups),
            None => builder,
        };
        let reader = builder.build().map_err(|error| file.failed(location, error))?;
        let deleted = deleted.unwrap_or_default().into_iter().peekable();
        let (location, exact) = (location.to_string(), wanted.exact);
        let file = file.clone();
        Ok(Self { file, location, reader, columns, exact, deleted, row: 0, lineage: None, removed: 0 })
    }

    /// With the rows' ids.
    pub fn tracing(mut self, lineage: Lineage) -> Self {
        self.lineage = Some(lineage);
        self
    }

    /// The next rows that are not deleted, perhaps none; nothing at the end.
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch =
            batch.and_then(|batch| self.shaped(&batch)).map_err(|error| self.file.failed(&self.location, error))?;
        let end = self.row + batch.num_rows() as u64;
        let mask = self.mask(end);
        self.row = end;
        match mask {
            None => Ok(Some(batch)),
            Some(mask) => {
                self.removed += mask.false_count() as u64;
                filter_record_batch(&batch, &mask).map(Some).map_err(|error| corrupt(&self.location, error))
            }
        }
    }

    /// The number of the next row.
    pub fn row(&self) -> u64 {
        self.row
    }

    /// The rows as a stream; `count` is told of those left out, and of those given.
    pub fn stream(mut self, mut count: impl FnMut(u64, u64) + Send + 'static) -> Stream {
        Box::new(move || {
            let before = self.removed;
            let batch = self.next()?;
            count(self.removed - before, batch.as_ref().map_or(0, |batch| batch.num_rows() as u64));
            Ok(batch)
        })
    }

    /// Which of the rows up to `end` stay; nothing if all do.
    fn mask(&mut self, end: u64) -> Option<BooleanArray> {
        self.deleted.peek().filter(|row| **row < end)?;
        let mut stays = vec![true; usize::try_from(end - self.row).unwrap_or(usize::MAX)];
        while let Some(row) = self.deleted.next_if(|row| *row < end) {
            if let Some(stays) = row.checked_sub(self.row).and_then(|at| stays.get_mut(at as usize)) {
                *stays = false;
            }
        }
        Some(stays.into())
    }

    fn shaped(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for column in &self.columns {
            let array = match column.source {
                Some(source) if self.exact || column.field.data_type().is_nested() => {
                    fitted(batch.column(source), &column.field)?
                }
                Some(source) => batch.column(source).clone(),
                None => literal::column(column.constant.as_ref(), column.field.data_type(), rows)?,
            };
            let array = match self.lineage {
                Some(lineage) if column.id == LINEAGE[0].0 => lineage.row_ids(&array, self.row),
                Some(lineage) if column.id == LINEAGE[1].0 => lineage.sequence_numbers(&array),
                _ => array,
            };
            fields.push(Field::new(column.field.name(), array.data_type().clone(), true));
            columns.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(fields)), columns, &options)
    }
}

impl Lineage {
    /// The ids that are written down, else those that follow from the file's first.
    fn row_ids(self, written: &ArrayRef, row: u64) -> ArrayRef {
        let written = written.as_primitive::<Int64Type>();
        let inherited = |at: usize| Some(self.first_row_id?.saturating_add_unsigned(row + at as u64));
        Arc::new(written.iter().enumerate().map(|(at, id)| id.or_else(|| inherited(at))).collect::<Int64Array>())
    }

    fn sequence_numbers(self, written: &ArrayRef) -> ArrayRef {
        let written = written.as_primitive::<Int64Type>();
        Arc::new(
            written.iter().map(|number| number.unwrap_or(self.sequence_number)).collect::<arrow::array::Int64Array>(),
        )
    }
}

/// Reads the footer. Types come from the file's Parquet schema; strings that repeat are asked for as codes.
fn load(file: &File, exact: bool) -> parquet::errors::Result<ArrowReaderMetadata> {
    let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::load(file, options())?;
    if exact {
        return Ok(plain);
    }
    let footer = plain.metadata().clone();
    let schema = footer.file_metadata().schema_descr_ptr();
    let repeats = |root: usize| {
        let leaves = (0..schema.num_columns()).filter(|&leaf| schema.get_column_root_idx(leaf) == root);
        let chunks = || footer.row_groups().iter().flat_map(|group| leaves.clone().map(|leaf| group.column(leaf)));
        let (bytes, values) = chunks()
            .fold((0, 0), |(bytes, values), chunk| (bytes + chunk.uncompressed_size(), values + chunk.num_values()));
        bytes < CODED * values
    };
    let hinted = |(root, field): (usize, &FieldRef)| match field.data_type() {
        DataType::Utf8 if repeats(root) => {
            let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(field.as_ref().clone().with_data_type(coded))
        }
        _ => field.clone(),
    };
    let fields: Vec<FieldRef> = plain.schema().fields().iter().enumerate().map(hinted).collect();
    let hinted = Arc::new(ArrowSchema::new(fields).with_metadata(plain.schema().metadata().clone()));
    Ok(ArrowReaderMetadata::try_new(footer, options().with_schema(hinted)).unwrap_or(plain))
}
