//! Encodes one Parquet file, a whole row group at a time.
//!
//! A row group's rows are all in memory as slices before any is encoded. So each column's encoding is chosen by
//! looking at a sample of it, and the columns are encoded one after the other: what an open file holds between row
//! groups is its footer, and while one is written a single column's pages.
//!
//! | column | few distinct values | many |
//! |---|---|---|
//! | strings, binaries | dictionary | plain |
//! | integers, dates, times, decimals up to 18 digits | dictionary | DELTA_BINARY_PACKED |
//! | floats | dictionary | BYTE_STREAM_SPLIT |
//!
//! The embedded Arrow schema is left out: field ids are in the Parquet schema, and readers take types from the table.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use iceberg::spec::{PrimitiveType, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Encoding, LogicalType, Type as PhysicalType};
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, RowGroupMetaData, RowGroupMetaDataPtr};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::ChunkReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use super::layout::Layout;
use super::settings::MetricsMode;
use super::sort::Folded;
use crate::error::{Error, Kind, Result};

/// Rows looked at to choose an encoding.
const SAMPLE: usize = 1_024;
/// A column is of many values if more than one sampled value in this many is a new one.
const MANY: usize = 3;
/// Statistics of strings are cut at this length unless the manifest shall tell more.
const STATISTICS_LENGTH: usize = 64;

/// The key of a file's footer that names the columns of the curve its rows lie along, by their field ids: `1,4`.
pub const CURVE: &str = "laked.z-order";

/// What all files of a table have in common.
#[derive(Debug)]
pub(super) struct Shape {
    pub layout: Layout,
    /// What [`CURVE`] says, if the rows lie along one.
    pub curve: Option<String>,
    pub schema: SchemaDescPtr,
    /// For each leaf the top-level column it belongs to.
    pub roots: Vec<usize>,
}

impl Shape {
    pub fn new(layout: Layout) -> Self {
        let schema = layout.inner.parquet.clone();
        let roots = (0..schema.num_columns()).map(|leaf| schema.get_column_root_idx(leaf)).collect();
        Self { layout, curve: None, schema, roots }
    }

    /// The Iceberg field id of a leaf.
    pub fn field_id(&self, leaf: usize) -> Option<i32> {
        let info = self.schema.column(leaf).self_type().get_basic_info().clone();
        info.has_id().then(|| info.id())
    }
}

/// The Parquet form of a table's schema, field ids included.
///
/// # Errors
/// `Invalid` if a type has none.
pub(super) fn parquet_schema(arrow: &arrow::datatypes::Schema, table: &Schema) -> Result<SchemaDescPtr> {
    let converted = ArrowSchemaConverter::new().schema_root("table").convert(arrow);
    let converted = converted.and_then(|schema| with_uuids(&schema, table));
    let schema: SchemaDescriptor = converted.map_err(|e| {
        Error::new(Kind::Invalid, "the table's schema has a type that cannot be written as Parquet").because(e)
    })?;
    Ok(Arc::new(schema))
}

/// Says of UUID columns that they are: Arrow knows them as 16 bytes.
fn with_uuids(schema: &SchemaDescriptor, table: &Schema) -> Result<SchemaDescriptor, ParquetError> {
    let is_uuid = |id: i32| {
        let kind = table.field_by_id(id).and_then(|field| field.field_type.as_primitive_type());
        matches!(kind, Some(PrimitiveType::Uuid))
    };
    let annotated = |field: &TypePtr| {
        let info = field.get_basic_info();
        if !field.is_primitive() || !is_uuid(info.id()) {
            return Ok(field.clone());
        }
        let uuid = Type::primitive_type_builder(field.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
            .with_length(16)
            .with_repetition(info.repetition())
            .with_id(Some(info.id()))
            .with_logical_type(Some(LogicalType::Uuid));
        uuid.build().map(Arc::new)
    };
    let fields = schema.root_schema().get_fields().iter().map(annotated).collect::<Result<_, ParquetError>>()?;
    let root = Type::group_type_builder(schema.root_schema().name()).with_fields(fields).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

fn failed(cause: &str) -> Error {
    Error::new(Kind::Internal, "a Parquet file cannot be encoded").because(cause.to_owned())
}

/// An error of the Parquet writer; one of the file beneath keeps its kind.
fn parquet_error(error: ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(io) => Error::from(*io),
            Err(other) => failed(&other.to_string()),
        },
        other => failed(&other.to_string()),
    }
}

/// A Parquet file being written to `W`.
pub(super) struct FileEncoder<W: Write + Send> {
    shape: Arc<Shape>,
    writer: SerializedFileWriter<W>,
    nans: Vec<Option<u64>>,
    rows: u64,
    /// Bytes of the last row group.
    last: u64,
}

/// What the footer of a finished file says, and the counts it does not have.
pub(super) struct Finished<W> {
    pub out: W,
    pub row_groups: Vec<RowGroupMetaDataPtr>,
    /// For each leaf, where they are known.
    pub nans: Vec<Option<u64>>,
}

/// A row group of another file, to be taken over as it is.
pub(super) struct Foreign<'a, R: ChunkReader> {
    pub reader: &'a R,
    /// Of the whole file, with its page index if it has one.
    pub metadata: &'a ParquetMetaData,
    pub number: usize,
    /// For each leaf, where they are known.
    pub nans: Vec<Option<u64>>,
}

impl<W: Write + Send> FileEncoder<W> {
    pub fn new(shape: Arc<Shape>, out: W) -> Result<Self> {
        let curve = shape.curve.clone().map(|columns| vec![KeyValue::new(CURVE.to_owned(), columns)]);
        let properties = WriterProperties::builder().set_created_by("laked".to_owned());
        let properties = properties.set_key_value_metadata(curve).build();
        let root = shape.schema.root_schema_ptr();
        let writer = SerializedFileWriter::new(out, root, Arc::new(properties)).map_err(parquet_error)?;
        Ok(Self { nans: vec![Some(0); shape.roots.len()], shape, writer, rows: 0, last: 0 })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the last row group.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes a row group over without decoding it: its columns' bytes, statistics and page indexes.
    pub fn copy<R: ChunkReader>(&mut self, from: &Foreign<'_, R>) -> Result<()> {
        let (begin, group) = (self.bytes(), from.metadata.row_group(from.number));
        let columns = from.metadata.column_index().and_then(|index| index.get(from.number));
        let offsets = from.metadata.offset_index().and_then(|index| index.get(from.number));
        let mut row_group = self.writer.next_row_group().map_err(parquet_error)?;
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let column_index = columns.and_then(|of| of.get(leaf)).filter(|i| !matches!(i, ColumnIndexMetaData::NONE));
            let close = ColumnCloseResult {
                bytes_written: chunk.compressed_size().unsigned_abs(),
                rows_written: group.num_rows().unsigned_abs(),
                metadata: chunk.clone(),
                bloom_filter: Sbbf::read_from_column_chunk(chunk, from.reader).map_err(parquet_error)?,
                column_index: column_index.cloned(),
                offset_index: offsets.and_then(|of| of.get(leaf)).cloned(),
            };
            row_group.append_column(from.reader, close).map_err(parquet_error)?;
        }
        row_group.close().map_err(parquet_error)?;
        for (known, more) in self.nans.iter_mut().zip(&from.nans) {
            *known = known.zip(*more).map(|(known, more)| known + more);
        }
        self.rows += group.num_rows().unsigned_abs();
        self.last = self.bytes() - begin;
        Ok(())
    }

    /// Writes the rows of `slices`, in order, as one row group.
    pub fn row_group(&mut self, slices: &[RecordBatch]) -> Result<()> {
        let begin = self.bytes();
        let properties = Arc::new(self.shape.properties(slices));
        let root = self.shape.schema.root_schema_ptr();
        // Encodings change from row group to row group, but the factory takes them from a file: give it one to nowhere.
        let pattern = SerializedFileWriter::new(std::io::sink(), root, properties).map_err(parquet_error)?;
        let factory = ArrowRowGroupWriterFactory::new(&pattern, self.shape.layout.inner.arrow.clone());
        let columns = factory.create_column_writers(0).map_err(parquet_error)?;
        let mut row_group = self.writer.next_row_group().map_err(parquet_error)?;
        let mut columns = columns.into_iter();
        let fields = self.shape.layout.inner.arrow.fields();
        let mut leaf = 0;
        for (i, field) in fields.iter().enumerate() {
            let leaves = self.shape.roots[leaf..].iter().take_while(|&&root| root == i).count();
            let mut writers: Vec<_> = columns.by_ref().take(leaves).collect();
            for slice in slices {
                let values = compute_leaves(field_of(slice, i, field), slice.column(i)).map_err(parquet_error)?;
                for (writer, values) in writers.iter_mut().zip(&values) {
                    writer.write(values).map_err(parquet_error)?;
                }
                self.nans[leaf] = self.nans[leaf].map(|known| known + nans(slice.column(i)));
            }
            for writer in writers {
                let chunk = writer.close().map_err(parquet_error)?;
                chunk.append_to_row_group(&mut row_group).map_err(parquet_error)?;
            }
            leaf += leaves;
        }
        row_group.close().map_err(parquet_error)?;
        self.rows += slices.iter().map(|slice| slice.num_rows() as u64).sum::<u64>();
        self.last = self.bytes() - begin;
        Ok(())
    }

    /// Writes the footer.
    pub fn finish(mut self) -> Result<Finished<W>> {
        self.writer.flush().map_err(Error::from)?;
        let row_groups = self.writer.flushed_row_groups().iter().map(|group| Arc::new(group.clone())).collect();
        let out = self.writer.into_inner().map_err(parquet_error)?;
        Ok(Finished { out, row_groups, nans: self.nans })
    }
}

/// The batch's own field where its type differs (a coded column), else the table's, whose nullability counts.
fn field_of<'a>(
    batch: &'a RecordBatch,
    column: usize,
    table: &'a arrow::datatypes::Field,
) -> &'a arrow::datatypes::Field {
    match batch.column(column).data_type() {
        DataType::Dictionary(_, _) => batch.schema_ref().field(column),
        _ => table,
    }
}

fn nans(column: &ArrayRef) -> u64 {
    match column.data_type() {
        DataType::Float64 => {
            let array = column.as_primitive::<Float64Type>();
            match array.nulls() {
                None => array.values().iter().map(|v| u64::from(v.is_nan())).sum(),
                Some(_) => array.iter().flatten().filter(|v| v.is_nan()).count() as u64,
            }
        }
        DataType::Float32 => array_nans(column.as_primitive::<Float32Type>()),
        _ => 0,
    }
}

fn array_nans(array: &arrow::array::Float32Array) -> u64 {
    array.iter().flatten().filter(|v| v.is_nan()).count() as u64
}

impl Shape {
    /// Encodings for a row group of these slices.
    fn properties(&self, slices: &[RecordBatch]) -> WriterProperties {
        let settings = &self.layout.inner.settings;
        let long = |mode: &MetricsMode| {
            matches!(mode, MetricsMode::Full) || matches!(mode, MetricsMode::Truncate(n) if *n > STATISTICS_LENGTH)
        };
        let cut = (!settings.metrics.values().any(long)).then_some(STATISTICS_LENGTH);
        let mut builder = WriterProperties::builder()
            .set_compression(settings.compression)
            .set_data_page_size_limit(settings.page_bytes)
            .set_data_page_row_count_limit(settings.page_rows)
            .set_dictionary_page_size_limit(settings.dictionary_bytes)
            .set_statistics_truncate_length(cut)
            .set_statistics_enabled(EnabledStatistics::Page);
        for leaf in 0..self.roots.len() {
            let column = self.schema.column(leaf);
            let path = column.path().clone();
            if let Some(&fpp) = self.field_id(leaf).and_then(|id| settings.blooms.get(&id)) {
                let rows: usize = slices.iter().map(RecordBatch::num_rows).sum();
                builder = builder
                    .set_column_bloom_filter_enabled(path.clone(), true)
                    .set_column_bloom_filter_fpp(path.clone(), fpp)
                    .set_column_bloom_filter_ndv(path.clone(), rows as u64);
            }
            let nested = column.max_rep_level() > 0 || path.parts().len() > 1;
            if nested || !settings.modern_encodings || !many(slices, self.roots[leaf]) {
                continue;
            }
            let encoding = match column.physical_type() {
                PhysicalType::INT32 | PhysicalType::INT64 => Encoding::DELTA_BINARY_PACKED,
                PhysicalType::FLOAT | PhysicalType::DOUBLE => Encoding::BYTE_STREAM_SPLIT,
                _ => Encoding::PLAIN,
            };
            builder = builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding);
        }
        builder.build()
    }
}

/// Whether most values of a column are new ones.
fn many(slices: &[RecordBatch], column: usize) -> bool {
    let rows: usize = slices.iter().map(RecordBatch::num_rows).sum();
    let step = (rows / SAMPLE).max(1);
    let mut seen: HashSet<u64, Folded> = HashSet::default();
    let hash = Folded::default();
    let (mut looked, mut next) = (0, 0);
    for slice in slices {
        let array = slice.column(column);
        if matches!(array.data_type(), DataType::Dictionary(_, _)) {
            return false;
        }
        while next < array.len() {
            if array.is_valid(next) {
                looked += 1;
                seen.insert(value_hash(&hash, array, next));
            }
            next += step;
        }
        next -= array.len();
    }
    seen.len() * MANY > looked
}

fn value_hash(hash: &Folded, array: &ArrayRef, row: usize) -> u64 {
    use std::hash::BuildHasher;
    match array.data_type() {
        DataType::Utf8 => hash.hash_one(array.as_string::<i32>().value(row)),
        DataType::LargeBinary => hash.hash_one(array.as_binary::<i64>().value(row)),
        DataType::FixedSizeBinary(_) => hash.hash_one(array.as_fixed_size_binary().value(row)),
        kind => match kind.primitive_width() {
            Some(width) => {
                let data = array.to_data();
                let start = (data.offset() + row) * width;
                hash.hash_one(&data.buffers()[0].as_slice()[start..start + width])
            }
            None => 0,
        },
    }
}

/// The offset of a row group's first page.
pub(super) fn first_page(group: &RowGroupMetaData) -> Option<i64> {
    let column = group.columns().first()?;
    let data = column.data_page_offset();
    Some(column.dictionary_page_offset().map_or(data, |dictionary| dictionary.min(data)))
}
