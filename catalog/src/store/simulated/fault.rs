//! What can go wrong, and when: one fault, at the n-th operation that it can befall.

use std::collections::BTreeSet;
use std::io;

use rustix::io::Errno;

use super::tree::{Inode, Tree};

/// What a failing call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The device fails: `EIO`.
    Io,
    /// It is full: `ENOSPC`.
    Full,
}

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: neither bytes nor directory entries.
    All,
    /// Half of the bytes a file had gained; no directory entries.
    Torn,
    /// All directory entries; no bytes, so that a file that was made or renamed may be there and be short.
    Bytes,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A call that only looks fails.
    Unreadable,
    /// The call fails and does nothing.
    Before(DiskError),
    /// The call does what it should and reports failure.
    After(DiskError),
    /// A write puts down half of its bytes and fails.
    Torn(DiskError),
    /// The process dies before the call does anything.
    DeathBefore,
    /// The process dies after the call has done what it should.
    DeathAfter,
    /// The power fails after the call has done what it should.
    PowerLoss(Loss),
    /// A transaction reports failure, and the database answers none of the next calls: nobody can look.
    Silence {
        /// Whether it took effect all the same.
        landed: bool,
        /// How many calls are not answered; [`super::SimulatedDisk::answer`] ends it sooner.
        calls: u64,
    },
}

impl Fault {
    /// Every one, with each error and each loss once or more.
    pub const EVERY: [Fault; 16] = [
        Fault::Unreadable,
        Fault::Before(DiskError::Io),
        Fault::Before(DiskError::Full),
        Fault::After(DiskError::Io),
        Fault::Torn(DiskError::Full),
        Fault::DeathBefore,
        Fault::DeathAfter,
        Fault::PowerLoss(Loss::All),
        Fault::PowerLoss(Loss::Torn),
        Fault::PowerLoss(Loss::Bytes),
        Fault::Silence { landed: true, calls: 0 },
        Fault::Silence { landed: false, calls: 0 },
        Fault::Silence { landed: true, calls: 1 },
        Fault::Silence { landed: false, calls: 1 },
        Fault::Silence { landed: true, calls: u64::MAX },
        Fault::Silence { landed: false, calls: u64::MAX },
    ];
}

/// What a call does, as far as faults care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opens for reading, reads, lists, stats.
    Read,
    /// Makes a file, or opens it for writing.
    Create,
    /// Writes at a file's end.
    Write,
    /// Makes a file's bytes durable.
    Sync,
    /// Cuts a file.
    Truncate,
    /// Renames.
    Rename,
    /// Unlinks.
    Remove,
    /// Makes a directory.
    MakeDir,
    /// Makes a directory's entries durable.
    SyncDir,
    /// A transaction of the catalog's database.
    Transaction,
}

impl Fault {
    /// Whether it can befall such an operation.
    pub fn befalls(self, operation: Operation) -> bool {
        match self {
            Fault::Unreadable => operation == Operation::Read,
            Fault::Torn(_) => operation == Operation::Write,
            Fault::Silence { .. } => operation == Operation::Transaction,
            _ => operation != Operation::Read,
        }
    }

    pub(super) fn takes_effect(self) -> bool {
        match self {
            Fault::After(_) | Fault::DeathAfter | Fault::PowerLoss(_) => true,
            Fault::Silence { landed, .. } => landed,
            Fault::Unreadable | Fault::Before(_) | Fault::Torn(_) | Fault::DeathBefore => false,
        }
    }

    pub(super) fn error(self) -> io::Error {
        match self {
            Fault::Before(error) | Fault::After(error) | Fault::Torn(error) => match error {
                DiskError::Io => Errno::IO.into(),
                DiskError::Full => Errno::NOSPC.into(),
            },
            Fault::Unreadable | Fault::Silence { .. } => Errno::IO.into(),
            Fault::DeathBefore | Fault::DeathAfter | Fault::PowerLoss(_) => dead(),
        }
    }
}

pub(super) fn dead() -> io::Error {
    io::Error::other("this process is dead")
}

/// Whether an operation goes through.
pub(super) enum Turn {
    Pass,
    Befall(Fault),
}

/// The machine: its disk, its one process, and what is to go wrong.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub tree: Tree,
    pub process: u64,
    pub dead: bool,
    pub locks: BTreeSet<Inode>,
    /// Calls that the database will not answer.
    pub silent: u64,
    pub counted: u64,
    pub fired: bool,
    pub armed: Option<(Fault, u64)>,
}

impl Machine {
    pub fn begin_process(&mut self) {
        self.process += 1;
        self.dead = false;
        self.silent = 0;
        self.locks.clear();
    }

    pub fn arm(&mut self, armed: Option<(Fault, u64)>) {
        (self.armed, self.counted, self.fired, self.silent) = (armed, 0, false, 0);
    }

    pub fn turn(&mut self, operation: Operation) -> Turn {
        let Some((fault, nth)) = self.armed.filter(|(fault, _)| fault.befalls(operation)) else { return Turn::Pass };
        self.counted += 1;
        if self.counted != nth {
            return Turn::Pass;
        }
        self.fired = true;
        Turn::Befall(fault)
    }

    /// What a fault does beyond its call.
    pub fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::DeathBefore | Fault::DeathAfter => self.dead = true,
            Fault::PowerLoss(loss) => {
                self.tree.lose(loss);
                self.dead = true;
            }
            Fault::Silence { calls, .. } => self.silent = calls,
            Fault::Unreadable | Fault::Before(_) | Fault::After(_) | Fault::Torn(_) => {}
        }
    }
}
