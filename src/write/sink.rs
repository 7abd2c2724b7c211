//! Files of one partition, filled row group by row group and closed at the target size.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use laked_catalog::store::{Staged, Store};
use laked_catalog::system::System;
use parquet::file::reader::ChunkReader;

use super::encode::{FileEncoder, Finished, Foreign, Shape, first_page};
use super::metrics::Metrics;
use super::path::partition_path;
use crate::error::{Error, Kind, Result};

/// Bytes that are written at a time.
const BUFFER: usize = 256 << 10;

/// A finished file, staged, and what the manifest will say of it.
#[derive(Debug)]
pub struct SealedFile {
    /// The file, not yet published.
    pub staged: Staged,
    /// Its manifest entry's data file.
    pub data_file: DataFile,
}

/// What a writer's files share.
#[derive(Debug)]
pub(super) struct Files {
    pub shape: Arc<Shape>,
    pub store: Store,
    pub system: System,
    /// The number of the next file.
    next: AtomicU64,
}

impl Files {
    pub fn new(shape: Arc<Shape>, store: Store, system: System) -> Self {
        Self { shape, store, system, next: AtomicU64::new(0) }
    }

    fn stage(&self, value: &Struct) -> Result<Staged> {
        let inner = &self.shape.layout.inner;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let folder = partition_path(&inner.partition, value);
        let name = format!("{number:05}-{}.parquet", self.system.ids.uuid());
        self.store.stage(&format!("{}/{folder}{name}", inner.data_location))
    }
}

/// Takes a partition's rows in order.
pub(super) struct Sink {
    files: Arc<Files>,
    value: Struct,
    open: Option<FileEncoder<BufWriter<Staged>>>,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pub done: Vec<SealedFile>,
    /// Rows that are still to come, about, where that is known.
    to_come: Option<u64>,
}

impl Sink {
    pub fn new(files: Arc<Files>, value: Struct) -> Self {
        Self { files, value, open: None, pending: Vec::new(), pending_rows: 0, done: Vec::new(), to_come: None }
    }

    /// With that many rows to come, about: the last file is then not much smaller than the others, nor larger than
    /// 1.8 times the target.
    pub fn expecting(mut self, rows: u64) -> Self {
        self.to_come = Some(rows);
        self
    }

    /// Takes a row group of another file over as it is.
    pub fn copy<R: ChunkReader>(&mut self, group: &Foreign<'_, R>) -> Result<()> {
        self.flush()?;
        let bytes = group.metadata.row_group(group.number).compressed_size().unsigned_abs();
        let most = self.target() / 5 * 9;
        if let Some(file) = self.open.take_if(|file| file.rows() > 0 && file.bytes() + bytes > most) {
            let sealed = self.seal(file)?;
            self.done.push(sealed);
        }
        let mut file = self.opened()?;
        file.copy(group)?;
        self.turn(file, group.metadata.row_group(group.number).num_rows().unsigned_abs())
    }

    fn target(&self) -> u64 {
        self.files.shape.layout.inner.settings.target_file_size
    }

    fn opened(&mut self) -> Result<FileEncoder<BufWriter<Staged>>> {
        match self.open.take() {
            Some(file) => Ok(file),
            None => {
                let staged = BufWriter::with_capacity(BUFFER, self.files.stage(&self.value)?);
                FileEncoder::new(self.files.shape.clone(), staged)
            }
        }
    }

    /// Closes the file if it is full, after a row group of so many rows.
    fn turn(&mut self, file: FileEncoder<BufWriter<Staged>>, rows: u64) -> Result<()> {
        self.to_come = self.to_come.map(|to_come| to_come.saturating_sub(rows));
        if self.is_full(&file) {
            let sealed = self.seal(file)?;
            self.done.push(sealed);
        } else {
            self.open = Some(file);
        }
        Ok(())
    }

    fn is_full(&self, file: &FileEncoder<BufWriter<Staged>>) -> bool {
        let (target, bytes) = (self.target(), file.bytes());
        let Some(to_come) = self.to_come else { return bytes >= target };
        let rest = u128::from(bytes) * u128::from(to_come) / u128::from(file.rows().max(1));
        let leaves_enough = rest >= u128::from(target / 4 * 3);
        let next_is_too_much = bytes >= target / 4 * 3 && rest > 0 && bytes + file.last() > target / 5 * 9;
        bytes >= target && leaves_enough || bytes >= target / 4 * 7 || next_is_too_much
    }

    /// Rows of a row group: the row limit, or fewer if they are wide.
    pub fn row_group_rows(files: &Files, row_bytes: usize) -> usize {
        let settings = &files.shape.layout.inner.settings;
        (settings.row_group_bytes / row_bytes.max(1)).clamp(1, settings.row_group_rows)
    }

    /// Takes rows and writes each row group that is full.
    pub fn push(&mut self, batch: RecordBatch, group_rows: usize) -> Result<()> {
        let mut rest = batch;
        while self.pending_rows + rest.num_rows() >= group_rows {
            let taken = group_rows - self.pending_rows;
            self.pending.push(rest.slice(0, taken));
            self.pending_rows += taken;
            rest = rest.slice(taken, rest.num_rows() - taken);
            self.flush()?;
        }
        if rest.num_rows() > 0 {
            self.pending_rows += rest.num_rows();
            self.pending.push(rest);
        }
        Ok(())
    }

    /// Writes what is pending as a row group.
    pub fn flush(&mut self) -> Result<()> {
        if self.pending_rows == 0 {
            return Ok(());
        }
        let mut file = self.opened()?;
        #[cfg(debug_assertions)]
        self.assert_partition();
        file.row_group(&self.pending)?;
        self.pending.clear();
        let rows = std::mem::take(&mut self.pending_rows) as u64;
        self.turn(file, rows)
    }

    /// I8: each row's transform equals its file's partition.
    #[cfg(debug_assertions)]
    fn assert_partition(&self) {
        use super::route::{Routed, route};
        let columns = self.files.shape.layout.inner.arrow.fields().len();
        // A file of an older spec may be partitioned by a column that is gone.
        if self.files.shape.layout.inner.partition.iter().any(|by| by.column >= columns) {
            return;
        }
        for batch in &self.pending {
            let routed = route(&self.files.shape.layout.inner.partition, batch);
            let same = matches!(&routed, Ok(Routed::One(value)) if *value == self.value);
            debug_assert!(same, "rows of another partition in the file of {:?}", self.value);
        }
    }

    /// Closes the last file and gives all.
    pub fn finish(mut self) -> Result<Vec<SealedFile>> {
        self.flush()?;
        if let Some(file) = self.open.take() {
            let sealed = self.seal(file)?;
            self.done.push(sealed);
        }
        Ok(self.done)
    }

    fn seal(&self, file: FileEncoder<BufWriter<Staged>>) -> Result<SealedFile> {
        let Finished { out, row_groups, nans } = file.finish()?;
        let mut staged = out.into_inner().map_err(|e| Error::from(e.into_error()))?;
        staged.flush()?;
        let inner = &self.files.shape.layout.inner;
        let metrics = Metrics::of(&self.files.shape, &row_groups, &nans);
        let rows = row_groups.iter().map(|group| group.num_rows().unsigned_abs()).sum();
        let data_file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(staged.location().to_owned())
            .file_format(DataFileFormat::Parquet)
            .partition(self.value.clone())
            .partition_spec_id(inner.spec.spec_id())
            .record_count(rows)
            .file_size_in_bytes(staged.written())
            .column_sizes(metrics.column_sizes)
            .value_counts(metrics.value_counts)
            .null_value_counts(metrics.null_counts)
            .nan_value_counts(metrics.nan_counts)
            .lower_bounds(metrics.lower)
            .upper_bounds(metrics.upper)
            .split_offsets(Some(row_groups.iter().filter_map(|group| first_page(group)).collect()))
            .sort_order_id(inner.order_id)
            .build()
            .map_err(|e| Error::new(Kind::Internal, "a data file cannot be described").because(e.to_string()))?;
        Ok(SealedFile { staged, data_file })
    }
}
