//! The store: staging, publishing, reading, listing and deleting on a [`Disk`].

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::disk::{Disk, DiskRead};
use super::location::{location_of, path_of};
use super::staged::Staged;
use crate::error::{Error, Kind, Result};
use crate::system::System;

/// Table storage; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    system: System,
    staging: PathBuf,
    instance: String,
    staged: AtomicU64,
    /// Where files may lie; everywhere if it is not set.
    roots: OnceLock<Vec<PathBuf>>,
    /// Folders whose entries are durable, up to the lake's.
    entered: Mutex<HashSet<PathBuf>>,
}

/// Folders that are remembered, at most.
const ENTERED: usize = 100_000;

/// A file that [`Store::list`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its location.
    pub location: String,
    /// Its length in bytes.
    pub len: u64,
    /// Its last modification.
    pub modified: SystemTime,
}

pub(super) fn failed(error: io::Error, operation: &'static str, location: &str) -> Error {
    let cause = Error::from(error);
    Error::new(cause.kind(), operation).with("location", location).because(cause)
}

impl Store {
    /// A store on this machine's disk; `staging` holds files on their way and is swept now: what lies there was left
    /// by a process that died. Only one process may use a staging folder at a time.
    ///
    /// # Errors
    /// If the folder cannot be made or swept.
    pub fn local(system: System, staging: PathBuf) -> Result<Store> {
        make_dirs(system.disk.as_ref(), &staging).and_then(|fresh| sync_parents(system.disk.as_ref(), &fresh))?;
        for (name, stat) in system.disk.list(&staging)? {
            if stat.is_file {
                system.disk.remove(&staging.join(name))?;
            }
        }
        let instance = system.ids.uuid().simple().to_string();
        Ok(Store {
            inner: Arc::new(Inner {
                system,
                staging,
                instance,
                staged: AtomicU64::new(0),
                roots: OnceLock::new(),
                entered: Mutex::default(),
            }),
        })
    }

    /// A store that only reads: no staging folder, so nothing of a running daemon's is swept.
    pub fn read_only(system: System) -> Store {
        let staging = PathBuf::from("/nonexistent/read-only");
        Store {
            inner: Arc::new(Inner {
                system,
                staging,
                instance: String::new(),
                staged: AtomicU64::new(0),
                roots: OnceLock::new(),
                entered: Mutex::default(),
            }),
        }
    }

    /// The disk beneath.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.system.disk
    }

    /// The seams it was opened with.
    pub fn system(&self) -> &System {
        &self.inner.system
    }

    /// From now on files lie in these folders alone, given as locations; whatever else is named is `Forbidden`. The first
    /// call stays.
    ///
    /// # Errors
    /// `Invalid` for what is no location of this store.
    pub fn confine(&self, roots: &[String]) -> Result<()> {
        let paths = roots.iter().map(|root| path_of(root)).collect::<Result<_>>()?;
        let _ = self.inner.roots.set(paths);
        Ok(())
    }

    /// The path of a location within the roots.
    pub(super) fn path(&self, location: &str) -> Result<PathBuf> {
        let path = path_of(location)?;
        self.root_of(&path, location).map(|_| path)
    }

    /// The root that a path lies in; none if there are no roots.
    fn root_of(&self, path: &Path, location: &str) -> Result<Option<&Path>> {
        let Some(roots) = self.inner.roots.get() else { return Ok(None) };
        let message = "this lies outside of the warehouse and of what is allowed besides: choose a location within, or \
                       start laked with --allow-location";
        let outside = || Error::new(Kind::Forbidden, message).with("location", location);
        roots.iter().find(|root| path.starts_with(root)).map(|root| Some(root.as_path())).ok_or_else(outside)
    }

    /// Refuses a location that a client names outside of the roots, or that a symbolic link below one leads out of.
    ///
    /// # Errors
    /// `Invalid` for what is no location of this store; `Forbidden`; storage errors.
    pub fn admit(&self, location: &str) -> Result<()> {
        let path = path_of(location)?;
        let Some(root) = self.root_of(&path, location)? else { return Ok(()) };
        let mut at = root.to_path_buf();
        for part in path.strip_prefix(root).into_iter().flat_map(Path::components) {
            at.push(part);
            match self.disk().stat(&at) {
                Ok(stat) if stat.is_dir || stat.is_file => {}
                Ok(_) => {
                    let message = "a symbolic link is on the way, which may lead anywhere: name where it leads";
                    return Err(Error::new(Kind::Forbidden, message).with("location", location));
                }
                // What is not there yet leads nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(failed(error, "looking at a location", location)),
            }
        }
        Ok(())
    }

    /// A path in the staging folder that nobody else uses, for scratch files; swept at the next open.
    pub fn scratch(&self) -> PathBuf {
        let number = self.inner.staged.fetch_add(1, Ordering::Relaxed);
        self.inner.staging.join(format!("{}-{number}", self.inner.instance))
    }

    /// Begins a file; nothing is at `location` until it is published.
    ///
    /// # Errors
    /// `Invalid` for a location this store does not serve; storage errors.
    pub fn stage(&self, location: &str) -> Result<Staged> {
        let target = self.path(location)?;
        let disk = self.disk().clone();
        Staged::create(disk, location, target, self.scratch())
            .map_err(|error| failed(error, "staging a file", location))
    }

    /// Publishes files: durable under their names when this returns, all of them or none.
    ///
    /// # Errors
    /// `Exists` if a name is taken; storage errors. What had its name already loses it again.
    pub fn publish(&self, files: Vec<Staged>) -> Result<()> {
        self.publish_after(files, &|| Ok(()))
    }

    /// Publishes files after `announce` has succeeded, which runs while they are being synced: none has its name before
    /// it returns. What must be durable before the files are seen so costs no wait of its own.
    ///
    /// # Errors
    /// As [`Store::publish`]; `announce`'s own.
    pub fn publish_after(&self, mut files: Vec<Staged>, announce: &(dyn Fn() -> Result<()> + Sync)) -> Result<()> {
        let disk = self.disk().as_ref();
        let (mut folders, entered) = self.folders_of(&files)?;
        let sync =
            |file: &mut Staged| file.sync().map_err(|error| failed(error, "making a file durable", &file.location));
        if disk.parallel_syncs() > 1 {
            std::thread::scope(|scope| {
                let announced = scope.spawn(announce);
                let synced = side_by_side(disk, &mut files, sync);
                announced.join().unwrap_or_else(|_| Err(panicked())).and(synced)
            })?;
        } else {
            announce()?;
            side_by_side(disk, &mut files, sync)?;
        }
        let named = files.iter_mut().try_for_each(|file| {
            let fresh = file.rename().map_err(|error| failed(error, "publishing a file", &file.location))?;
            folders.extend(fresh.iter().filter_map(|folder| folder.parent().map(Path::to_path_buf)));
            Ok(())
        });
        let durable = named.and_then(|()| {
            side_by_side(disk, &mut folders, |folder| {
                disk.sync_dir(folder).map_err(|error| failed(error, "syncing a folder", &folder.to_string_lossy()))
            })
        });
        if durable.is_ok() {
            self.remember(entered);
        } else {
            for file in files.iter().filter(|file| file.temporary.as_os_str().is_empty()) {
                let _ = disk.remove(&file.target);
            }
        }
        durable
    }

    /// The folders to sync when the files have got their names, and those whose own entries are durable after that.
    /// Folders that are missing are made.
    ///
    /// A folder that is there need not be durable: the process that made it may have died, or failed, before it was.
    /// So the first time this process publishes into a folder, its entry and those above it are synced, up to the lake.
    fn folders_of(&self, files: &[Staged]) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let lake = self.inner.staging.parent().unwrap_or(Path::new("/"));
        let (mut folders, mut entered) = (BTreeSet::new(), BTreeSet::new());
        for folder in files.iter().map(Staged::folder).collect::<BTreeSet<_>>() {
            folders.insert(folder.to_path_buf());
            let made = make_dirs(self.disk().as_ref(), folder)
                .map_err(|error| failed(error, "making a folder", &folder.to_string_lossy()))?;
            let known = self.inner.entered.lock().unwrap_or_else(PoisonError::into_inner);
            let inside = |path: &Path| path.starts_with(lake) && path != lake;
            let unsure = |path: &&Path| made.iter().any(|made| made == path) || inside(path) && !known.contains(*path);
            for path in folder.ancestors().take_while(unsure) {
                folders.extend(path.parent().map(Path::to_path_buf));
                entered.insert(path.to_path_buf());
            }
        }
        Ok((folders.into_iter().collect(), entered.into_iter().collect()))
    }

    fn remember(&self, folders: Vec<PathBuf>) {
        let mut entered = self.inner.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if entered.len() + folders.len() > ENTERED {
            entered.clear();
        }
        entered.extend(folders);
    }

    /// Stages, writes and publishes one file.
    ///
    /// # Errors
    /// As [`Store::stage`] and [`Store::publish`].
    pub fn put(&self, location: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.stage(location)?;
        file.write_all(bytes).map_err(|error| failed(error, "writing a file", location))?;
        self.publish(vec![file])
    }

    /// Replaces a file at once for all readers, not durably: for hints that are repaired at start.
    ///
    /// # Errors
    /// Storage errors.
    pub fn replace(&self, location: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.stage(location)?;
        let replaced = file.write_all(bytes).and_then(|()| {
            file.close();
            make_dirs(self.disk().as_ref(), file.folder())?;
            self.disk().rename(&file.temporary, &file.target)
        });
        replaced.map_err(|error| failed(error, "replacing a file", location))?;
        file.disarm();
        Ok(())
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// `NotFound`; storage errors.
    pub fn read(&self, location: &str) -> Result<Bytes> {
        self.disk().read(&self.path(location)?).map_err(|error| failed(error, "reading a file", location))
    }

    /// Opens a file for reading at any offset.
    ///
    /// # Errors
    /// `NotFound`; storage errors.
    pub fn open(&self, location: &str) -> Result<Box<dyn DiskRead>> {
        self.disk().open(&self.path(location)?).map_err(|error| failed(error, "opening a file", location))
    }

    /// Reads a part of a file, shorter at its end.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a range that does not fit memory; storage errors.
    pub fn read_range(&self, location: &str, range: Range<u64>) -> Result<Bytes> {
        let len = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::new(Kind::Invalid, "the range is too long").with("location", location))?;
        let mut buffer = vec![0; len];
        let read = self.open(location)?.read_at(range.start, &mut buffer);
        buffer.truncate(read.map_err(|error| failed(error, "reading a file", location))?);
        Ok(buffer.into())
    }

    /// A file's length in bytes.
    ///
    /// # Errors
    /// `NotFound`; storage errors.
    pub fn len(&self, location: &str) -> Result<u64> {
        let stat =
            self.disk().stat(&self.path(location)?).map_err(|error| failed(error, "looking at a file", location))?;
        if stat.is_file {
            Ok(stat.len)
        } else {
            Err(Error::new(Kind::NotFound, "not a file").with("location", location))
        }
    }

    /// Every file below a folder, in order of location; none if the folder does not exist. Links are not followed.
    ///
    /// # Errors
    /// Storage errors.
    pub fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut pending = vec![self.path(folder)?];
        while let Some(path) = pending.pop() {
            let entries = match self.disk().list(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(|error| failed(error, "listing a folder", folder))?,
            };
            for (name, stat) in entries {
                let path = path.join(name);
                if stat.is_dir {
                    pending.push(path);
                } else if stat.is_file {
                    found.push(Entry { location: location_of(&path)?, len: stat.len, modified: stat.modified });
                }
            }
        }
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Deletes a file; one that is not there is no error.
    ///
    /// # Errors
    /// Storage errors.
    pub fn delete(&self, location: &str) -> Result<()> {
        match self.disk().remove(&self.path(location)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| failed(error, "deleting a file", location)),
        }
    }

    /// Deletes files, and makes that durable: none of them is there again after a power cut. Those that are not there
    /// are no error.
    ///
    /// # Errors
    /// Storage errors; some may be deleted then, and it can be called again.
    pub fn delete_durably(&self, locations: &[&str]) -> Result<()> {
        let mut folders = BTreeSet::new();
        for location in locations {
            self.delete(location)?;
            folders.extend(self.path(location)?.parent().map(Path::to_path_buf));
        }
        for folder in folders {
            match self.disk().sync_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|error| failed(error, "syncing a folder", &folder.to_string_lossy()))?,
            }
        }
        Ok(())
    }

    /// The path of a location on this machine's disk, for native readers.
    pub fn local_path(&self, location: &str) -> Option<PathBuf> {
        self.path(location).ok()
    }
}

/// Makes a folder and what is missing above it; returns those made, outermost first.
///
/// # Errors
/// Storage errors; a folder somebody else makes meanwhile is no error.
pub fn make_dirs(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut fresh = Vec::new();
    for path in folder.ancestors() {
        match disk.stat(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fresh.push(path.to_path_buf()),
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    fresh.reverse();
    for path in &fresh {
        match disk.make_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(fresh)
}

/// Makes the directory entries of fresh folders durable in their parents.
///
/// # Errors
/// Storage errors.
pub fn sync_parents(disk: &dyn Disk, fresh: &[PathBuf]) -> io::Result<()> {
    fresh.iter().filter_map(|folder| folder.parent()).try_for_each(|parent| disk.sync_dir(parent))
}

/// Runs `work` over the items on a bounded number of threads, this one among them; the first error wins.
fn side_by_side<T: Send>(disk: &dyn Disk, items: &mut [T], work: impl Fn(&mut T) -> Result<()> + Sync) -> Result<()> {
    let threads = disk.parallel_syncs().clamp(1, items.len().max(1));
    if threads == 1 {
        return items.iter_mut().try_for_each(work);
    }
    let (own, others) = items.split_at_mut(items.len().div_ceil(threads));
    std::thread::scope(|scope| {
        let work = &work;
        let shares = others.chunks_mut(own.len());
        let running: Vec<_> = shares.map(|share| scope.spawn(move || share.iter_mut().try_for_each(work))).collect();
        let outcome = own.iter_mut().try_for_each(work);
        running.into_iter().fold(outcome, |outcome, thread| {
            let ended = thread.join().unwrap_or_else(|_| Err(panicked()));
            outcome.and(ended)
        })
    })
}

fn panicked() -> Error {
    Error::new(Kind::Internal, "a sync thread panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::local(System::real(), folder.path().join("staging")).expect("opens");
        let base = location_of(folder.path()).expect("UTF-8");
        (folder, store, base)
    }

    #[test]
    fn a_folder_that_is_removed_while_files_are_written_is_made_again() {
        let (folder, store, base) = store();
        let place = folder.path().join("t/p=1");
        let file = |name: &str| {
            let mut file = store.stage(&format!("{base}/t/p=1/{name}")).expect("stages");
            file.write_all(name.as_bytes()).map(|()| file).expect("is written")
        };
        store.publish(vec![file("a")]).expect("publishes");
        store.delete(&format!("{base}/t/p=1/a")).expect("deletes");
        let sweeps = || Ok(store.disk().remove_dir(&place)?);
        store.publish_after(vec![file("b"), file("c")], &sweeps).expect("publishes");
        assert_eq!(store.disk().list(&place).expect("lists").len(), 2);
    }

    #[test]
    fn opening_sweeps_what_a_dead_process_staged() {
        let (folder, store, base) = store();
        std::mem::forget(store.stage(&format!("{base}/t/x")).expect("stages"));
        let staging = folder.path().join("staging");
        assert_eq!(store.disk().list(&staging).expect("lists").len(), 1);
        let again = Store::local(System::real(), staging.clone()).expect("opens");
        assert_eq!(again.disk().list(&staging).expect("lists").len(), 0);
    }
}
