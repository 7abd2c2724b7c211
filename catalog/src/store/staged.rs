//! A file on its way: written under a temporary name, invisible until it is published.

use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::local::make_dirs;

/// A staged file. Dropping it unpublished removes the temporary file.
pub struct Staged {
    pub(super) location: String,
    pub(super) target: PathBuf,
    pub(super) temporary: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    file: Option<Box<dyn DiskFile>>,
    written: u64,
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staged").field("location", &self.location).field("written", &self.written).finish()
    }
}

impl Staged {
    pub(super) fn create(disk: Arc<dyn Disk>, location: &str, target: PathBuf, temporary: PathBuf) -> io::Result<Self> {
        let file = Some(disk.create(&temporary).inspect_err(|error| unmake(disk.as_ref(), &temporary, error))?);
        Ok(Self { location: location.to_string(), target, temporary, disk, file, written: 0 })
    }

    /// Where it will be once published.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the bytes durable and lets go of the descriptor before publishing: for commits of more files than a process
    /// may hold open. Nothing more can be written.
    ///
    /// # Errors
    /// Storage errors.
    pub fn settle(&mut self) -> io::Result<()> {
        self.sync()
    }

    pub(super) fn folder(&self) -> &Path {
        self.target.parent().unwrap_or(Path::new("/"))
    }

    /// Makes the bytes durable and lets go of the descriptor.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(mut file) => file.sync(),
            None => Ok(()),
        }
    }

    /// Lets go of the descriptor without making anything durable.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Gives the file its name, which must not be taken; if this fails it has none. Folders that were empty may be
    /// removed by others while the file was written: they are made again, and given, outermost first.
    pub(super) fn rename(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut fresh = Vec::new();
        let named = match self.take_name() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_dirs(self.disk.as_ref(), self.folder())
                .and_then(|made| {
                    fresh = made;
                    self.take_name()
                }),
            result => result,
        };
        match named {
            Ok(()) => self.disarm(),
            Err(error) => {
                unmake(self.disk.as_ref(), &self.target, &error);
                return Err(error);
            }
        }
        Ok(fresh)
    }

    fn take_name(&self) -> io::Result<()> {
        match self.disk.rename_new(&self.temporary, &self.target) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.carry_over(),
            result => result,
        }
    }

    /// The target is on another file system: copies beside it, then renames there.
    fn carry_over(&self) -> io::Result<()> {
        let name = self.temporary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = self.folder().join(format!(".{name}"));
        let result = self.copy_to(&beside).and_then(|()| self.disk.rename_new(&beside, &self.target));
        if result.is_err() {
            let _ = self.disk.remove(&beside);
            return result;
        }
        self.disk.remove(&self.temporary)
    }

    fn copy_to(&self, path: &Path) -> io::Result<()> {
        let source = self.disk.open(&self.temporary)?;
        let mut copy = self.disk.create(path)?;
        let mut buffer = vec![0; 1 << 20];
        let mut offset = 0;
        loop {
            let read = source.read_at(offset, &mut buffer)?;
            if read == 0 {
                return copy.sync();
            }
            copy.write_all(&buffer[..read])?;
            offset += read as u64;
        }
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the staged file is closed"));
        };
        let written = file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the staged file is closed"));
        };
        let written = file.write_vectored(parts)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.file = None;
        if !self.temporary.as_os_str().is_empty() {
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

impl Staged {
    /// It has its name now: nothing is left to remove.
    pub(super) fn disarm(&mut self) {
        self.temporary = PathBuf::new();
    }
}

/// A call that was to make a new file reported failure, perhaps after it took effect: nothing of it stays. What was there
/// before does.
pub(super) fn unmake(disk: &dyn Disk, path: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::AlreadyExists {
        let _ = disk.remove(path);
    }
}
