//! Sorted runs that found no room in memory, in one scratch file for all partitions of a writer.
//!
//! A run is a row of blocks; a block is one Arrow IPC record batch message (its metadata, then its body), uncompressed:
//! the file lives in the page cache for seconds. Where a block lies, and which of its columns are coded, is kept in
//! memory: the file means nothing without its writer, is swept with the staging folder, and is never synced. Coded
//! columns are written as their codes alone, since the writer's dictionary outlives the file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int16Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Int16Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use laked_catalog::store::{Disk, DiskFile, DiskRead, Store};

use super::conform::retyped;
use crate::error::{Error, Kind, Result};

/// Rows of a block: what a merge holds of each run.
pub(super) const BLOCK_ROWS: usize = 4_096;

/// Where one block lies.
#[derive(Clone, Debug)]
struct Block {
    offset: u64,
    metadata: u32,
    body: u32,
    rows: u32,
}

/// Rows of one partition in order.
#[derive(Clone, Debug)]
pub(super) struct Run {
    blocks: Vec<Block>,
    form: Arc<Form>,
    pub rows: usize,
    /// Bytes on disk, which is about what they take in memory.
    pub bytes: usize,
}

/// The types of a run's columns.
#[derive(Debug)]
struct Form {
    /// As the batches were.
    schema: SchemaRef,
    /// As they are written: codes instead of coded columns.
    written: SchemaRef,
    /// The dictionaries of coded columns.
    dictionaries: Vec<Option<ArrayRef>>,
}

impl Form {
    fn of(batch: &RecordBatch) -> Self {
        let written = |field: &Arc<arrow::datatypes::Field>| match field.data_type() {
            DataType::Dictionary(keys, _) => Arc::new(retyped(field, keys)),
            _ => field.clone(),
        };
        let schema = batch.schema();
        let written = Arc::new(Schema::new(schema.fields().iter().map(written).collect::<Vec<_>>()));
        let dictionary = |column: &ArrayRef| column.as_any_dictionary_opt().map(|d| d.values().clone());
        Self { written, dictionaries: batch.columns().iter().map(dictionary).collect(), schema }
    }
}

/// The scratch file.
pub(super) struct Spill {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    end: u64,
    buffer: Vec<u8>,
}

fn io_failed(path: &std::path::Path, error: std::io::Error) -> Error {
    let cause = Error::from(error);
    Error::new(cause.kind(), "a scratch file of the write stage failed; see that the lake's disk has room")
        .with("path", path.display())
        .because(cause)
}

fn ipc_failed(error: ArrowError) -> Error {
    Error::new(Kind::Internal, "a spilled block cannot be encoded or decoded").because(error)
}

impl Spill {
    pub fn create(store: &Store) -> Result<Self> {
        let (path, disk) = (store.scratch(), store.disk().clone());
        let file = disk.create(&path).map_err(|e| io_failed(&path, e))?;
        Ok(Self { path, disk, file, end: 0, buffer: Vec::new() })
    }

    /// Writes sorted rows as a run; `batch` gives them block by block until there is none.
    pub fn run(&mut self, mut batch: impl FnMut() -> Result<Option<RecordBatch>>) -> Result<Option<Run>> {
        let mut run: Option<Run> = None;
        while let Some(rows) = batch()? {
            let form = run.as_ref().map_or_else(|| Arc::new(Form::of(&rows)), |run| run.form.clone());
            let block = self.block(&rows, &form)?;
            let run = run.get_or_insert_with(|| Run { blocks: Vec::new(), form, rows: 0, bytes: 0 });
            run.rows += rows.num_rows();
            run.bytes += block.body as usize;
            run.blocks.push(block);
        }
        self.flush()?;
        Ok(run)
    }

    fn block(&mut self, batch: &RecordBatch, form: &Form) -> Result<Block> {
        let columns = batch.columns().iter().map(|column| match column.data_type() {
            DataType::Dictionary(_, _) => Arc::new(column.as_dictionary::<Int16Type>().keys().clone()) as ArrayRef,
            _ => column.clone(),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let written = RecordBatch::try_new_with_options(form.written.clone(), columns.collect(), &options);
        let mut tracker = DictionaryTracker::new(false);
        let (_, encoded) = IpcDataGenerator::default()
            .encode(&written.map_err(ipc_failed)?, &mut tracker, &IpcWriteOptions::default(), &mut Default::default())
            .map_err(ipc_failed)?;
        let offset = self.end;
        self.buffer.extend_from_slice(&encoded.ipc_message);
        self.buffer.extend_from_slice(&encoded.arrow_data);
        self.end += (encoded.ipc_message.len() + encoded.arrow_data.len()) as u64;
        if self.buffer.len() >= 1 << 20 {
            self.flush()?;
        }
        Ok(Block {
            offset,
            metadata: encoded.ipc_message.len() as u32,
            body: encoded.arrow_data.len() as u32,
            rows: batch.num_rows() as u32,
        })
    }

    fn flush(&mut self) -> Result<()> {
        std::io::Write::write_all(&mut self.file, &self.buffer).map_err(|e| io_failed(&self.path, e))?;
        self.buffer.clear();
        Ok(())
    }

    /// Opens what has been written for reading, from any thread.
    pub fn reader(&self) -> Result<Box<dyn DiskRead>> {
        self.disk.open(&self.path).map_err(|e| io_failed(&self.path, e))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Best effort: the staging folder is swept when the store is opened next.
        let _ = self.disk.remove(&self.path);
    }
}

impl Run {
    /// Blocks it has.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Reads block `number`.
    pub fn read(&self, file: &dyn DiskRead, number: usize) -> Result<RecordBatch> {
        let block = &self.blocks[number];
        let mut bytes = vec![0; (block.metadata + block.body) as usize];
        let read = file.read_at(block.offset, &mut bytes)?;
        if read < bytes.len() {
            return Err(Error::new(
                Kind::Unavailable,
                "a scratch file of the write stage is shorter than what was written to it",
            ));
        }
        let body = Buffer::from_vec(bytes.split_off(block.metadata as usize));
        let message = root_as_message(&bytes).map_err(|e| ipc_failed(ArrowError::IpcError(e.to_string())))?;
        let header = message.header_as_record_batch();
        let header = header.ok_or_else(|| ipc_failed(ArrowError::IpcError("not a record batch".to_owned())))?;
        let (written, version) = (self.form.written.clone(), message.version());
        let batch = read_record_batch(&body, header, written, &HashMap::new(), None, &version).map_err(ipc_failed)?;
        let coded = |(column, values): (&ArrayRef, &Option<ArrayRef>)| match values {
            Some(values) => Arc::new(DictionaryArray::<Int16Type>::new(codes(column), values.clone())),
            None => column.clone(),
        };
        let columns = batch.columns().iter().zip(&self.form.dictionaries).map(coded).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(block.rows as usize));
        RecordBatch::try_new_with_options(self.form.schema.clone(), columns, &options).map_err(ipc_failed)
    }
}

fn codes(column: &ArrayRef) -> Int16Array {
    column.as_primitive::<Int16Type>().clone()
}
