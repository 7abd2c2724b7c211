//! An entry too big to hold in memory: its pieces go to a file of their own as they are decoded.
//!
//! The file is synced, and its name made durable, before the entry's head is written to the log; a file that no head
//! names is removed at open. So a body that ends early leaves nothing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use laked_catalog::store::{Disk, DiskFile, DiskRead};

use super::frame::{self, Found};
use super::{Header, Refusal};
use crate::error::{Error, Kind, Result};
use crate::ingest::durable;

/// A spilled entry being written. Dropped before it is appended, it removes its file.
pub struct Spill {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    pub(super) name: String,
    file: Option<Box<dyn DiskFile>>,
    pub(super) bytes: u64,
    buffer: Vec<u8>,
    kept: bool,
}

/// Part of an entry.
#[derive(Debug)]
pub struct Piece {
    /// Its rows.
    pub batch: RecordBatch,
    /// Its refused records.
    pub refusals: Vec<Refusal>,
    /// Its source records: accepted and refused.
    pub records: u64,
}

impl Spill {
    pub(super) fn create(disk: Arc<dyn Disk>, dir: &std::path::Path, name: String) -> Result<Spill> {
        let path = dir.join(&name);
        let file = disk.create(&path).map_err(|e| Error::from(e).with("file", path.display()))?;
        Ok(Spill { disk, path, name, file: Some(file), bytes: 0, buffer: Vec::new(), kept: false })
    }

    /// Writes a piece.
    pub fn write(&mut self, batch: &RecordBatch, refusals: Vec<Refusal>, records: u64) -> Result<()> {
        self.buffer.clear();
        frame::write(&mut self.buffer, &Header::Piece { records, refusals }, Some(batch))?;
        let file = self.file.as_mut().ok_or_else(|| Error::new(Kind::Internal, "the spill is finished"))?;
        file.write_all(&self.buffer).map_err(|e| Error::from(e).with("file", self.path.display()))?;
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes the file durable.
    pub fn finish(&mut self) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.sync().map_err(|e| Error::from(e).with("file", self.path.display()))?;
        durable::sync_parent(self.disk.as_ref(), &self.path)
    }

    /// The log names the file now.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.kept {
            drop(self.file.take());
            if let Err(error) = durable::remove(self.disk.as_ref(), &self.path) {
                tracing::warn!(%error, "a spilled body is left behind; the next start removes it");
            }
        }
    }
}

/// Reads a spilled entry.
pub struct Pieces {
    file: Box<dyn DiskRead>,
    path: PathBuf,
    at: u64,
}

impl Pieces {
    pub(super) fn open(disk: &dyn Disk, path: PathBuf) -> Result<Pieces> {
        let file = disk.open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::new(Kind::Corrupt, "the file of a spilled entry is missing").with("file", path.display())
            }
            _ => Error::from(e).with("file", path.display()),
        })?;
        Ok(Pieces { file, path, at: 0 })
    }

    fn read(&mut self) -> Result<Option<Piece>> {
        let damaged =
            || Error::new(Kind::Corrupt, "the file of a spilled entry is damaged").with("file", self.path.display());
        match frame::read(self.file.as_ref(), self.at, self.file.len()).map_err(Error::from)? {
            Found::End => Ok(None),
            Found::Broken => Err(damaged()),
            Found::Frame(frame) => {
                let next = frame.next;
                let Header::Piece { records, refusals } = frame.header()? else { return Err(damaged()) };
                let batch = frame.batch()?.ok_or_else(damaged)?;
                self.at = next;
                Ok(Some(Piece { batch, refusals, records }))
            }
        }
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
