//! The writing end: the segment of this run, rolled by size, left behind after a failed sync.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use laked_catalog::store::{Disk, DiskFile};
use uuid::Uuid;

use super::{Header, Previous, frame};
use crate::error::{Error, Kind, Result};
use crate::ingest::durable;

/// The name of segment `number`.
pub fn name(number: u64) -> String {
    format!("{number:010}.seg")
}

/// The number in a segment's name.
pub fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")?.parse().ok()
}

/// Where a frame was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub segment: u64,
    pub offset: u64,
    pub len: u64,
    /// Whether the segment was made for it.
    pub fresh: bool,
}

/// Writes frames, each durable when `write` returns.
pub struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    epoch: Uuid,
    roll_at: u64,
    next_number: u64,
    previous: Option<Previous>,
    open: Option<Open>,
    buffer: Vec<u8>,
}

struct Open {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    number: u64,
    len: u64,
}

impl Writer {
    /// A writer after `previous`, the last segment there is.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, epoch: Uuid, roll_at: u64, previous: Option<(u64, u64)>) -> Self {
        let next_number = previous.map_or(0, |(number, _)| number + 1);
        let previous = previous.map(|(segment, len)| Previous { segment, len });
        Self { disk, dir: dir.to_owned(), epoch, roll_at, next_number, previous, open: None, buffer: Vec::new() }
    }

    /// Writes a group whose first entry is `first`. After an error nothing of it counts; the next call goes on in the
    /// same segment if its end is known to be clean, else in a new one.
    pub fn write(&mut self, first: u64, header: &Header, batch: Option<&arrow::array::RecordBatch>) -> Result<Written> {
        if self.open.as_ref().is_some_and(|open| open.len >= self.roll_at) {
            self.leave();
        }
        self.buffer.clear();
        let fresh = self.open.is_none();
        if fresh {
            let opening = Header::Open { epoch: self.epoch, segment: self.next_number, first, previous: self.previous };
            frame::write(&mut self.buffer, &opening, None)?;
        }
        let skipped = self.buffer.len() as u64;
        frame::write(&mut self.buffer, header, batch)?;
        if fresh {
            self.begin()?;
        }
        let Some(mut open) = self.open.take() else {
            return Err(Error::new(Kind::Internal, "no segment is open"));
        };
        let (offset, len) = (open.len + skipped, self.buffer.len() as u64 - skipped);
        let wrote = open.file.write_all(&self.buffer);
        if let Err(e) = wrote {
            return Err(self.cut_back(open, fresh, e));
        }
        if let Err(e) = open.file.sync().and_then(|()| if fresh { self.disk.sync_dir(&self.dir) } else { Ok(()) }) {
            return Err(self.poison(open, fresh, e));
        }
        open.len += self.buffer.len() as u64;
        let written = Written { segment: open.number, offset, len, fresh };
        self.open = Some(open);
        Ok(written)
    }

    /// Begins a segment that has no entries yet, the first of which will be `first`; gives its number.
    pub fn roll(&mut self, first: u64) -> Result<u64> {
        self.leave();
        self.buffer.clear();
        let opening = Header::Open { epoch: self.epoch, segment: self.next_number, first, previous: self.previous };
        frame::write(&mut self.buffer, &opening, None)?;
        self.begin()?;
        let Some(mut open) = self.open.take() else {
            return Err(Error::new(Kind::Internal, "no segment is open"));
        };
        if let Err(e) = open.file.write_all(&self.buffer) {
            return Err(self.cut_back(open, true, e));
        }
        if let Err(e) = open.file.sync().and_then(|()| self.disk.sync_dir(&self.dir)) {
            return Err(self.poison(open, true, e));
        }
        open.len = self.buffer.len() as u64;
        let number = open.number;
        self.open = Some(open);
        Ok(number)
    }

    fn begin(&mut self) -> Result<()> {
        let number = self.next_number;
        let path = self.dir.join(name(number));
        // Even if it fails: the file may be there all the same.
        self.next_number += 1;
        let file = self.disk.create(&path).map_err(|e| Error::from(e).with("segment", path.display()))?;
        self.open = Some(Open { file, path, number, len: 0 });
        Ok(())
    }

    /// Closes the open segment; the next one will say where it ended.
    fn leave(&mut self) {
        if let Some(open) = self.open.take() {
            self.previous = Some(Previous { segment: open.number, len: open.len });
        }
    }

    /// A failed write: what it left behind is cut off and the segment goes on; a new segment is taken back whole.
    fn cut_back(&mut self, mut open: Open, fresh: bool, error: io::Error) -> Error {
        let told = failed(&open.path, error, "not written: nothing was kept; send it again");
        if fresh {
            self.take_back(open);
        } else if open.file.truncate(open.len).is_ok() {
            self.open = Some(open);
        } else {
            self.previous = Some(Previous { segment: open.number, len: open.len });
        }
        told
    }

    /// A failed sync: nobody knows what the disk holds, and a second sync would lie. The segment is cut as far as the
    /// disk obeys, and left; what counts of it is declared by the next.
    fn poison(&mut self, mut open: Open, fresh: bool, error: io::Error) -> Error {
        let told = failed(
            &open.path,
            error,
            "not made durable: it may reappear if the machine stops now; send it again with the same Idempotency-Key",
        );
        if fresh {
            self.take_back(open);
        } else {
            let _ = open.file.truncate(open.len);
            self.previous = Some(Previous { segment: open.number, len: open.len });
        }
        told
    }

    /// Unlinks a segment in which nothing was acknowledged. If that fails too, the next segment names the same
    /// predecessor as this one did, which puts this one out of account.
    fn take_back(&mut self, open: Open) {
        drop(open.file);
        if let Err(error) = durable::remove(self.disk.as_ref(), &open.path) {
            tracing::warn!(%error, "a segment without entries is left behind");
        }
    }
}

fn failed(path: &Path, error: io::Error, what: &str) -> Error {
    Error::new(Kind::Unavailable, format!("the spool's disk failed: {what}"))
        .with("segment", path.display())
        .because(error)
}
