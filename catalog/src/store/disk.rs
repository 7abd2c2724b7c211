//! The system calls this project makes on a local disk, and no others: the seam where faults are injected.
//!
//! Each method is one call whose effect a crash can cut off. `rename` and `create` change a directory; the change is
//! durable after [`Disk::sync_dir`] of that directory, and a file's bytes are after [`DiskFile::sync`].

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;

/// A file open for writing at its end.
pub trait DiskFile: Write + Send {
    /// Makes the bytes written so far durable (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `len` bytes and goes on writing there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// A file open for reading at any offset.
pub trait DiskRead: Send + Sync {
    /// Fills `buffer` from `offset`; returns the bytes read, fewer only at the file's end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// The length in bytes, when opened.
    fn len(&self) -> u64;
    /// Whether the file held nothing when opened.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Disk::list`] and [`Disk::stat`] tell of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Last modification.
    pub modified: SystemTime,
    /// Whether it is a directory. Symbolic links are reported as what they are: neither.
    pub is_dir: bool,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// A held lock; dropping it lets go.
pub trait DiskLock: Send + Sync + std::fmt::Debug {}

/// A local disk.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// A new file; `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens for writing at the end; makes the file if there is none.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskRead>>;
    /// Renames, replacing what is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames; `AlreadyExists` if there is something at `to`.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes one directory; its parent must exist. `AlreadyExists` if it does.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes changes of the directory's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Names and stats of a directory's entries, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<(std::ffi::OsString, Stat)>>;
    /// Stat of a path, links not followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Takes an exclusive advisory lock on a file, made if missing; `WouldBlock` if another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// How many files may be synced side by side; 1 keeps the order of calls the same in each run.
    fn parallel_syncs(&self) -> usize {
        8
    }

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Bytes> {
        let file = self.open(path)?;
        let len = usize::try_from(file.len()).map_err(io::Error::other)?;
        let mut buffer = vec![0; len];
        let read = file.read_at(0, &mut buffer)?;
        buffer.truncate(read);
        Ok(buffer.into())
    }
}
