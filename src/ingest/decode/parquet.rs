//! Parquet files: only the contract's columns are read, in batches held to the batch's bytes by the file's own figures.

use std::sync::Arc;

use ::bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::coerce::Coercion;
use super::input::{Cursor, Input};
use super::{Batches, Options, parquet_footer};
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::flow::Admitted;

/// Reads a file's row groups into batches.
pub struct Parquet {
    reader: ParquetRecordBatchReader,
    coercion: Coercion,
}

impl Parquet {
    /// Over a file; reads its footer.
    pub fn new(contract: Arc<Contract>, input: Input, options: &Options) -> Result<Self> {
        let cursor = input.into_random()?;
        let metadata = parquet_footer::read(cursor.file.as_ref())
            .and_then(|footer| ArrowReaderMetadata::try_new(footer, ArrowReaderOptions::new()))
            .map_err(invalid)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(cursor, metadata);
        let coercion = Coercion::new(contract, builder.schema(), options)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), coercion.source_columns());
        let rows = batch_rows(builder.metadata(), options);
        let reader = builder.with_projection(mask).with_batch_size(rows).build().map_err(invalid)?;
        Ok(Self { reader, coercion })
    }
}

/// Rows of a batch: by count, and by the bytes a row has on the average of the widest row group.
fn batch_rows(metadata: &ParquetMetaData, options: &Options) -> usize {
    let width = |rows: i64, bytes: i64| usize::try_from(bytes / rows.max(1)).unwrap_or(0);
    let groups = metadata.row_groups().iter().map(|group| width(group.num_rows(), group.total_byte_size()));
    (options.batch_bytes / groups.max().unwrap_or(0).max(1)).clamp(1, options.batch_records)
}

fn invalid(error: ParquetError) -> Error {
    let message = "not a whole Parquet file: it was cut off or is damaged; write it again";
    Error::new(Kind::Invalid, message).because(error)
}

impl Batches for Parquet {
    fn next(&mut self) -> Result<Option<Admitted>> {
        match self.reader.next() {
            None => Ok(None),
            Some(Ok(batch)) => self.coercion.admit(&batch).map(Some),
            Some(Err(error)) => {
                let message = "the Parquet file is damaged; write it again";
                let error = Error::new(Kind::Invalid, message).because(error);
                Err(error.with("record", self.coercion.records()))
            }
        }
    }
}

impl Length for Cursor {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Cursor {
    type T = std::io::BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(std::io::BufReader::new(Cursor { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64).filter(|&end| end <= self.file.len());
        end.ok_or_else(|| ParquetError::EOF("a column reaches beyond the file's end".to_owned()))?;
        let mut buffer = vec![0; length];
        let read = self.file.read_at(start, &mut buffer)?;
        if read < length {
            return Err(ParquetError::EOF("the file ends early".to_owned()));
        }
        Ok(buffer.into())
    }
}
