//! A disk in memory that loses what was not synced and fails on demand: the one the fault matrix runs over.
//!
//! A file's bytes are durable after [`DiskFile::sync`], a directory's entries after [`Disk::sync_dir`] of that very
//! directory, and nothing else is: a rename between two directories is two changes, each lost or kept by itself. That
//! is less than any file system gives, so what survives here survives there. A sync that fails leaves the kernel free
//! to drop the pages, so a later one that succeeds makes zeros durable in their place.
//!
//! A handle belongs to one process. When a [`Fault`] ends that process, every call through the handle fails until
//! [`SimulatedDisk::restart`] gives the next process its own; locks go with the process. [`SimulatedDisk::outside`] is
//! somebody else's handle: its calls are neither counted nor made to fail.

mod fault;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use fault::{DiskError, Fault, Loss, Operation};
use fault::{Machine, Turn};
use tree::Inode;

use super::disk::{Disk, DiskFile, DiskLock, DiskRead, Stat};
use crate::error::{Error, Kind};
use crate::state::Wire;

/// A process's handle of a simulated disk; clones belong to the same process.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    machine: Arc<Mutex<Machine>>,
    /// Which process; none for somebody outside.
    process: Option<u64>,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk and its first process.
    pub fn new() -> Self {
        Self { machine: Arc::default(), process: Some(0) }
    }

    /// A disk with the same content, visible and durable, and its first process.
    #[must_use]
    pub fn copy(&self) -> Self {
        let tree = self.machine().tree.clone();
        Self { machine: Arc::new(Mutex::new(Machine { tree, ..Machine::default() })), process: Some(0) }
    }

    /// The next process's handle; the one before is dead from now on.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut machine = self.machine();
        machine.begin_process();
        Self { machine: self.machine.clone(), process: Some(machine.process) }
    }

    /// Somebody else's handle.
    #[must_use]
    pub fn outside(&self) -> Self {
        Self { machine: self.machine.clone(), process: None }
    }

    /// Cuts the power: what is not durable is lost, and the process is dead.
    pub fn lose_power(&self, loss: Loss) {
        let mut machine = self.machine();
        machine.tree.lose(loss);
        machine.dead = true;
    }

    /// From now on counts the operations that `fault` can befall, and lets it befall the `nth`, from 1.
    pub fn arm(&self, fault: Fault, nth: u64) {
        self.machine().arm(Some((fault, nth)));
    }

    /// No fault befalls anything any more, and what was silent answers.
    pub fn disarm(&self) {
        self.machine().arm(None);
    }

    /// Whether the fault has befallen its operation.
    pub fn fired(&self) -> bool {
        self.machine().fired
    }

    /// How many operations the fault could have befallen since it was armed.
    pub fn counted(&self) -> u64 {
        self.machine().counted
    }

    /// Whether this handle's process is dead.
    pub fn is_dead(&self) -> bool {
        self.alive().is_err()
    }

    /// The database answers again.
    pub fn answer(&self) {
        self.machine().silent = 0;
    }

    /// What stands between this process and the catalog's database, whose transactions are counted with the disk's
    /// operations. The database itself keeps what it was told: that SQLite's own file survives is not simulated.
    pub fn wire(&self) -> Arc<dyn Wire> {
        Arc::new(self.clone())
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.machine();
        match self.process {
            Some(process) if machine.dead || process != machine.process => Err(fault::dead()),
            _ => Ok(machine),
        }
    }

    fn turn(&self, machine: &mut Machine, operation: Operation) -> Turn {
        if self.process.is_some() { machine.turn(operation) } else { Turn::Pass }
    }

    fn look<T>(&self, work: impl FnOnce(&Machine) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.alive()?;
        match self.turn(&mut machine, Operation::Read) {
            Turn::Befall(fault) => Err(fault.error()),
            Turn::Pass => work(&machine),
        }
    }

    fn change<T>(&self, operation: Operation, effect: impl FnOnce(&mut tree::Tree) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.alive()?;
        match self.turn(&mut machine, operation) {
            Turn::Pass => effect(&mut machine.tree),
            Turn::Befall(fault) => {
                let done = if fault.takes_effect() { effect(&mut machine.tree).map(drop) } else { Ok(()) };
                machine.suffer(fault);
                Err(done.err().unwrap_or_else(|| fault.error()))
            }
        }
    }

    fn sync(&self, inode: Inode) -> io::Result<()> {
        let synced = self.change(Operation::Sync, |tree| tree.sync_file(inode));
        if synced.is_err()
            && let Ok(mut machine) = self.alive()
        {
            machine.tree.drop_pages(inode);
        }
        synced
    }

    fn write(&self, inode: Inode, bytes: &[u8]) -> io::Result<usize> {
        let mut machine = self.alive()?;
        match self.turn(&mut machine, Operation::Write) {
            Turn::Pass => machine.tree.write(inode, bytes),
            Turn::Befall(fault) => {
                match fault {
                    Fault::Torn(_) => drop(machine.tree.write(inode, &bytes[..bytes.len() / 2])),
                    fault if fault.takes_effect() => drop(machine.tree.write(inode, bytes)),
                    _ => {}
                }
                machine.suffer(fault);
                Err(fault.error())
            }
        }
    }
}

/// A file open for writing.
struct Appender {
    disk: SimulatedDisk,
    inode: Inode,
}

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(self.inode, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Appender {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync(self.inode)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.disk.change(Operation::Truncate, |tree| tree.truncate(self.inode, len))
    }
}

/// A file open for reading; it can be read after its name is gone.
struct Reader {
    disk: SimulatedDisk,
    inode: Inode,
    len: u64,
}

impl DiskRead for Reader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.look(|machine| machine.tree.read(self.inode, offset, buffer))
    }

    fn len(&self) -> u64 {
        self.len
    }
}

#[derive(Debug)]
struct Lock {
    disk: SimulatedDisk,
    inode: Inode,
}

impl DiskLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Ok(mut machine) = self.disk.alive() {
            machine.locks.remove(&self.inode);
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.change(Operation::Create, |tree| tree.create(path))?;
        Ok(Box::new(Appender { disk: self.clone(), inode }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.change(Operation::Create, |tree| tree.open_or_create(path))?;
        Ok(Box::new(Appender { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskRead>> {
        let (inode, len) = self.look(|machine| machine.tree.open(path))?;
        Ok(Box::new(Reader { disk: self.clone(), inode, len }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Operation::Rename, |tree| tree.rename(from, to, true))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Operation::Rename, |tree| tree.rename(from, to, false))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Remove, |tree| tree.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Remove, |tree| tree.remove_dir(path))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::MakeDir, |tree| tree.make_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::SyncDir, |tree| tree.sync_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Stat)>> {
        self.look(|machine| machine.tree.list(path))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.look(|machine| machine.tree.stat(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut machine = self.alive()?;
        let inode = machine.tree.open_or_create(path)?;
        if !machine.locks.insert(inode) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { disk: self.clone(), inode }))
    }

    fn parallel_syncs(&self) -> usize {
        1
    }
}

impl Wire for SimulatedDisk {
    fn query(&self) -> crate::Result<()> {
        let mut machine = self.alive().map_err(Error::from)?;
        if machine.silent > 0 {
            machine.silent -= 1;
            return Err(Error::new(Kind::Unavailable, "the database is silent, as if its disk were gone"));
        }
        Ok(())
    }

    fn transaction(&self, run: &mut dyn FnMut() -> crate::Result<()>) -> crate::Result<()> {
        self.query()?;
        let mut machine = self.alive().map_err(Error::from)?;
        match self.turn(&mut machine, Operation::Transaction) {
            Turn::Pass => run(),
            Turn::Befall(fault) => {
                let done = if fault.takes_effect() { run() } else { Ok(()) };
                machine.suffer(fault);
                done?;
                Err(fault.error().into())
            }
        }
    }
}
