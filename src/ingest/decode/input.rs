//! Where a source's bytes come from: a stream, or something that can be read at any place.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use ::bytes::Bytes;
use laked_catalog::store::DiskRead;

use crate::error::{Error, Kind, Result};

/// The bytes of a source.
pub enum Input {
    /// As they come. Parquet cannot be read from it.
    Stream(Box<dyn Read + Send>),
    /// A file.
    Random(Box<dyn DiskRead>),
    /// In memory.
    Bytes(Bytes),
}

impl Input {
    /// From the beginning to the end.
    pub(super) fn into_stream(self) -> Box<dyn Read + Send> {
        match self {
            Input::Stream(stream) => stream,
            Input::Random(file) => Box::new(Cursor { file: file.into(), at: 0 }),
            Input::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
        }
    }

    /// At any place; an error for a stream.
    pub(super) fn into_random(self) -> Result<Cursor> {
        match self {
            Input::Random(file) => Ok(Cursor { file: file.into(), at: 0 }),
            Input::Bytes(bytes) => Ok(Cursor { file: Arc::new(Held(bytes)), at: 0 }),
            Input::Stream(_) => {
                let message = "Parquet is read from its end and cannot be taken from a stream; give a file";
                Err(Error::new(Kind::Invalid, message))
            }
        }
    }
}

/// Bytes in memory, read like a file.
struct Held(Bytes);

impl DiskRead for Held {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let read = buffer.len().min(self.0.len() - from);
        buffer[..read].copy_from_slice(&self.0[from..from + read]);
        Ok(read)
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// A place in a file.
#[derive(Clone)]
pub struct Cursor {
    pub(super) file: Arc<dyn DiskRead>,
    pub(super) at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the file's beginning"))?;
        Ok(self.at)
    }
}
