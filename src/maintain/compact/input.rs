//! A file of the store as the Parquet reader wants it.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use laked_catalog::store::{DiskRead, Store};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::error::{Error, Kind, Result};

/// Bytes that are read ahead: of pages, which are asked for by their length once their header is read.
const HEADER: usize = 512;
/// Bytes that are read ahead of whole columns.
const COLUMN: usize = 1 << 20;

/// A file, read at any place.
#[derive(Clone)]
pub(super) struct File {
    file: Arc<Watched>,
    ahead: usize,
}

/// Remembers whether the disk failed: the reader's errors do not tell that from a damaged file.
struct Watched {
    file: Box<dyn DiskRead>,
    failed: AtomicBool,
}

impl Watched {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }
}

impl File {
    /// Opens a data or delete file.
    pub fn open(store: &Store, location: &str) -> Result<Self> {
        let file = Watched { file: store.open(location)?, failed: AtomicBool::new(false) };
        Ok(Self { file: Arc::new(file), ahead: HEADER })
    }

    /// The error for what the reader said of it.
    pub fn failed(&self, location: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        if !self.file.failed.load(Ordering::Relaxed) {
            return corrupt(location, error);
        }
        Error::new(Kind::Unavailable, "a file of the table cannot be read now").with("file", location).because(error)
    }

    /// The same, to read whole columns of.
    pub fn by_columns(&self) -> Self {
        Self { file: self.file.clone(), ahead: COLUMN }
    }
}

/// A file that is not what its manifest says.
pub(super) fn corrupt(location: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Corrupt, "a file of the table cannot be read").with("file", location).because(error)
}

/// A place in a file.
pub(super) struct Cursor {
    file: Arc<Watched>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for File {
    fn len(&self) -> u64 {
        self.file.file.len()
    }
}

impl ChunkReader for File {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::with_capacity(self.ahead, Cursor { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64).filter(|&end| end <= self.file.file.len());
        end.ok_or_else(|| ParquetError::EOF("a column reaches beyond the file's end".to_owned()))?;
        let mut buffer = vec![0; length];
        if self.file.read_at(start, &mut buffer)? < length {
            return Err(ParquetError::EOF("the file ends early".to_owned()));
        }
        Ok(buffer.into())
    }
}
