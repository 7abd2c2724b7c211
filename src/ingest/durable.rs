//! Small files and folders that must survive a power cut: write, sync, rename, sync the folder.

use std::io::{self, Write};
use std::path::Path;

use laked_catalog::store::Disk;

use crate::error::{Error, Result};

/// Makes `dir` and what is missing above it, each durable in its parent.
pub fn make_dirs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(dir);
    while let Some(path) = at.filter(|p| !p.as_os_str().is_empty()) {
        match disk.stat(path) {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(path),
            Err(e) => return Err(Error::from(e).with("folder", path.display())),
        }
        at = path.parent();
    }
    for path in missing.into_iter().rev() {
        match disk.make_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::from(e).with("folder", path.display()));
            }
            _ => {}
        }
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(|e| Error::from(e).with("folder", parent.display()))?;
        }
    }
    Ok(())
}

/// Puts `bytes` at `path`, whole and durable, replacing what was there. A half-written file has the name `….tmp`.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e: io::Error| Error::from(e).with("file", path.display());
    let temporary = path.with_extension("tmp");
    match disk.remove(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let mut file = disk.create(&temporary).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync()).map_err(fail)?;
    drop(file);
    disk.rename(&temporary, path).map_err(fail)?;
    sync_parent(disk, path)
}

/// Makes the entry of `path` in its folder durable.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(|e| Error::from(e).with("folder", parent.display()))
}

/// Removes a file; one that is gone is fine.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::from(e).with("file", path.display())),
        _ => Ok(()),
    }
}
