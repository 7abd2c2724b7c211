//! Small files and folders that must survive a power cut: write, sync, rename, sync the folder.

use std::io::{self, Write};
use std::path::Path;

use laked_catalog::store::Disk;

use crate::error::{Error, Result};

/// Makes `dir` and what is missing above it, each durable in its parent. Of what is there already, the folder furthest
/// down is made durable too: whoever made it may have died, or failed, before it was.
pub fn make_dirs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(dir);
    while let Some(path) = at.filter(|p| !p.as_os_str().is_empty()) {
        match disk.stat(path) {
            Ok(_) => {
                sync_entry(disk, path)?;
                break;
            }
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
        sync_entry(disk, path)?;
    }
    Ok(())
}

/// Makes a folder's own entry durable. A parent that we may not read is somebody else's, and older than we are.
fn sync_entry(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    match disk.sync_dir(parent) {
        Err(e) if e.kind() != io::ErrorKind::PermissionDenied => Err(Error::from(e).with("folder", parent.display())),
        _ => Ok(()),
    }
}

/// Makes the bytes of a file durable that somebody else wrote: another program, or a process of ours that died.
pub fn sync_file(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.append(path).and_then(|mut file| file.sync()).map_err(|e| Error::from(e).with("file", path.display()))
}

/// Makes a folder's entries durable.
pub fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<()> {
    disk.sync_dir(dir).map_err(|e| Error::from(e).with("folder", dir.display()))
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
    sync_dir(disk, path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file; one that is gone is fine.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::from(e).with("file", path.display())),
        _ => Ok(()),
    }
}
