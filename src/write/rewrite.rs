//! Files of one partition, made of rows that are in files already: appended, merged in order, or copied by row groups.
//!
//! # How rows flow
//! Rows come as [`Stream`]s of batches by the names of the table's columns. [`Rewriter::append`] writes them as they come.
//! [`Rewriter::merge`] gives them the table's order: streams that are in order are merged as they are read, others are
//! sorted piece by piece into runs first; [`Rewriter::along`] a curve it gives them the curve's order. [`Rewriter::copy`]
//! takes a row group over without decoding it, where its columns are written as ours would be. All three fill the same files,
//! one after another.
//!
//! # Memory
//! One row group that is gathered, a piece of `memory` bytes that is sorted, and of each stream of a merge a block and what
//! its reader holds. So at most [`MOST_RUNS`] are merged at a time; of more, the first become one spilled run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use iceberg::spec::Struct;
use laked_catalog::store::{DiskRead, Store};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::statistics::Statistics;

use super::conform::Conform;
use super::curve::{Curve, without_key};
use super::encode::{Foreign, Shape};
use super::gather::plain;
use super::layout::{LINEAGE, Layout, OrderColumn};
use super::merge::{Merge, Source, Stream};
use super::partition::{Held, Ordered, Piece, Rows};
use super::sink::{Files, SealedFile, Sink};
use super::spill::{BLOCK_ROWS, Spill};
use super::{memory, needed_bytes};
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};

/// Streams and runs that are merged at a time.
const MOST_RUNS: usize = 40;
/// A row group of so many bytes is worth to be copied, however few its rows are.
const WORTH_COPYING: i64 = 16 << 20;

/// Writes files of one partition.
pub struct Rewriter {
    files: Arc<Files>,
    sink: Sink,
    conform: Arc<Mutex<Conform>>,
    memory: usize,
    /// Rows of a row group, once a batch has been seen.
    group_rows: Option<usize>,
    spill: Option<Spill>,
    /// The order of a merge: the table's, or that of places on the curve.
    order: Vec<OrderColumn>,
    curve: Option<Arc<Curve>>,
}

impl Rewriter {
    /// For files of `layout` in the partition `value`; `rows` are to come, about. A sort takes up to `memory` bytes.
    pub fn new(layout: &Layout, store: &Store, value: Struct, rows: u64, memory: usize) -> Self {
        let order = layout.inner.order.clone();
        Self::with((Shape::new(layout.clone()), order), store, value, rows, memory)
    }

    /// The same, merging along a curve; `columns` are its columns' field ids.
    pub fn along(
        (curve, columns): (Curve, &[i32]),
        layout: &Layout,
        store: &Store,
        value: Struct,
        rows: u64,
        memory: usize,
    ) -> Self {
        let shape = Shape { curve: Some(named(columns)), ..Shape::new(layout.clone()) };
        let order = Curve::order(layout.inner.arrow.fields().len());
        let rewriter = Self::with((shape, order), store, value, rows, memory);
        Self { curve: Some(Arc::new(curve)), ..rewriter }
    }

    fn with((shape, order): (Shape, Vec<OrderColumn>), store: &Store, value: Struct, rows: u64, memory: usize) -> Self {
        let (layout, shape) = (shape.layout.clone(), Arc::new(shape));
        let files = Arc::new(Files::new(shape, store.clone(), store.system().clone()));
        let sink = Sink::new(files.clone(), value).expecting(rows);
        let conform = Arc::new(Mutex::new(Conform::new(layout)));
        Self { files, sink, conform, memory, group_rows: None, spill: None, order, curve: None }
    }

    /// Writes rows as they come.
    ///
    /// # Errors
    /// `Invalid` if a batch does not fit the table; the stream's; storage errors.
    pub fn append(&mut self, mut rows: Stream) -> Result<()> {
        while let Some(batch) = rows()? {
            let batch = conformed(&self.conform, &batch)?;
            self.push(batch)?;
        }
        Ok(())
    }

    /// Writes the rows of all streams in the table's order; `sorted` ones are in it.
    ///
    /// # Errors
    /// As [`Rewriter::append`].
    pub fn merge(&mut self, sorted: Vec<Stream>, unsorted: Vec<Stream>) -> Result<()> {
        let mut sources: Vec<Source> =
            sorted.into_iter().map(|stream| Source::Stream(self.conforming(stream))).collect();
        let mut piece = Gathered::default();
        for stream in unsorted {
            let mut stream = self.conforming(stream);
            while let Some(batch) = stream()? {
                piece.push(batch);
                if piece.bytes >= self.memory {
                    let ordered = std::mem::take(&mut piece).ordered(&self.order)?;
                    sources.extend(self.spilled(Source::Memory(ordered))?);
                }
            }
        }
        if piece.bytes > 0 {
            sources.push(Source::Memory(piece.ordered(&self.order)?));
        }
        while sources.len() > MOST_RUNS {
            let rest = sources.split_off(MOST_RUNS);
            let run = self.joined(std::mem::replace(&mut sources, rest))?;
            sources.extend(run);
        }
        let order = self.order.clone();
        let mut merge = Merge::new(&order, sources, false)?;
        while let Some(batch) = merge.next()? {
            self.push(if self.curve.is_some() { without_key(&batch)? } else { batch })?;
        }
        Ok(())
    }

    /// Whether a row group can be taken over as it is: its columns are the table's, and its statistics tell their bounds.
    pub fn can_copy(&self, group: &RowGroupMetaData) -> bool {
        let schema = &self.files.shape.schema;
        let same = group.num_columns() == schema.num_columns()
            && group.columns().iter().zip(schema.columns()).all(|(chunk, own)| chunk.column_descr() == own.as_ref());
        same && group.columns().iter().enumerate().all(|(leaf, chunk)| self.tells_bounds(leaf, chunk))
    }

    /// Whether a row group is so large that reading it alone is no waste.
    pub fn is_worth_copying(&self, group: &RowGroupMetaData) -> bool {
        let full = self.files.shape.layout.inner.settings.row_group_rows as i64;
        group.num_rows() >= full / 2 || group.compressed_size() >= WORTH_COPYING
    }

    fn tells_bounds(&self, leaf: usize, chunk: &ColumnChunkMetaData) -> bool {
        let Some(statistics) = chunk.statistics() else { return chunk.column_descr().max_rep_level() > 0 };
        let lineage = self.files.shape.field_id(leaf).is_some_and(|id| LINEAGE.iter().any(|(own, _)| *own == id));
        if lineage {
            return statistics.null_count_opt() == Some(0);
        }
        let all_null = statistics.null_count_opt().is_some_and(|nulls| nulls == chunk.num_values().unsigned_abs());
        let ends = statistics.min_bytes_opt().is_some() && statistics.max_bytes_opt().is_some();
        !statistics.is_min_max_deprecated() && !has_nan(statistics) && (ends || all_null)
    }

    /// Takes a row group over. `nans` are how many each column of the whole file has, by field id.
    ///
    /// # Errors
    /// Storage errors; `Internal` for one that cannot be copied.
    pub fn copy<R: ChunkReader>(
        &mut self,
        reader: &R,
        metadata: &ParquetMetaData,
        number: usize,
        nans: &HashMap<i32, u64>,
    ) -> Result<()> {
        let shape = &self.files.shape;
        let of_leaf = |leaf: usize| {
            let real = matches!(shape.schema.column(leaf).physical_type(), PhysicalType::FLOAT | PhysicalType::DOUBLE);
            match shape.field_id(leaf).and_then(|id| nans.get(&id)) {
                _ if !real => Some(0),
                Some(0) => Some(0),
                Some(&all) if metadata.num_row_groups() == 1 => Some(all),
                _ => None,
            }
        };
        let nans = (0..shape.roots.len()).map(of_leaf).collect();
        self.sink.copy(&Foreign { reader, metadata, number, nans })
    }

    /// Closes the last file and gives all, staged.
    ///
    /// # Errors
    /// Storage errors. Nothing staged is left behind then.
    pub fn finish(self) -> Result<Vec<SealedFile>> {
        self.sink.finish()
    }

    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let row_bytes = || needed_bytes(&batch).div_ceil(batch.num_rows());
        let group_rows = *self.group_rows.get_or_insert_with(|| Sink::row_group_rows(&self.files, row_bytes()));
        self.sink.push(batch, group_rows)
    }

    fn conforming(&self, mut stream: Stream) -> Stream {
        let (conform, curve) = (self.conform.clone(), self.curve.clone());
        let placed = move |batch: RecordBatch| match &curve {
            Some(curve) => curve.keyed(&batch),
            None => Ok(batch),
        };
        Box::new(move || match stream()? {
            Some(batch) => conformed(&conform, &batch).and_then(&placed).map(Some),
            None => Ok(None),
        })
    }

    /// Several runs as one, on disk.
    fn joined(&mut self, sources: Vec<Source>) -> Result<Option<Source>> {
        let order = self.order.clone();
        let mut merge = Merge::new(&order, sources, false)?;
        // Which columns are coded may change from block to block; a run on disk has one form.
        self.write_run(&mut || merge.next()?.map(|batch| decoded(&batch)).transpose())
    }

    fn spilled(&mut self, mut source: Source) -> Result<Option<Source>> {
        self.write_run(&mut || match &mut source {
            Source::Memory(ordered) => ordered.next(BLOCK_ROWS),
            _ => Ok(None),
        })
    }

    fn write_run(&mut self, next: &mut dyn FnMut() -> Result<Option<RecordBatch>>) -> Result<Option<Source>> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill::create(&self.files.store)?),
        };
        let Some(run) = spill.run(next)? else { return Ok(None) };
        let file: Arc<dyn DiskRead> = spill.reader()?.into();
        Ok(Some(Source::Spilled { run, file, next: 0 }))
    }
}

/// A curve's columns as a footer names them.
pub fn named(columns: &[i32]) -> String {
    columns.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn conformed(conform: &Mutex<Conform>, batch: &RecordBatch) -> Result<RecordBatch> {
    conform.lock().unwrap_or_else(PoisonError::into_inner).batch(batch)
}

/// The batch without dictionaries.
fn decoded(batch: &RecordBatch) -> Result<RecordBatch> {
    let failed = |error: String| Error::new(Kind::Internal, "a coded column cannot be decoded").because(error);
    let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, String>>().map_err(failed)?;
    let fields = batch.schema_ref().fields().iter().zip(&columns);
    let fields: Vec<_> = fields.map(|(field, column)| super::conform::retyped(field, column.data_type())).collect();
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns)
        .map_err(|error| failed(error.to_string()))
}

fn has_nan(statistics: &Statistics) -> bool {
    match statistics {
        Statistics::Float(s) => s.min_opt().into_iter().chain(s.max_opt()).any(|end| end.is_nan()),
        Statistics::Double(s) => s.min_opt().into_iter().chain(s.max_opt()).any(|end| end.is_nan()),
        _ => false,
    }
}

/// Batches to be sorted together.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.bytes += memory(&batch).max(1);
            self.batches.push(batch);
        }
    }

    fn ordered(self, order: &[OrderColumn]) -> Result<Ordered> {
        let nothing = Budget::new(0);
        let piece = |batch: RecordBatch| {
            let rows = Rows::Range { start: 0, len: batch.num_rows() as u32 };
            Piece { held: Arc::new(Held { batch, row_bytes: 0, _reservation: nothing.reserve(0) }), rows }
        };
        let pieces: Vec<Piece> = self.batches.into_iter().map(piece).collect();
        Ordered::new(order, &pieces, false)
    }
}
