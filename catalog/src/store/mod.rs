//! The only code that touches storage: durable publish-if-absent, read, list, delete.
//!
//! `store` promises *publish if absent*, not rename, because S3 has none. A file is **staged** (invisible), then
//! **published**: durable under its name or not there at all. On a local disk that is: temporary name in the lake's
//! staging folder, write, fsync, rename without replacing, fsync the directory, and every new directory fsynced into
//! its parent. On S3 it is an upload that completes.
//!
//! A **location** is a URI, literal to the byte: `file:///lake/warehouse/t/data/country=a+b%2F/x.parquet` names a
//! directory `country=a+b%2F`. Nothing is ever URL-decoded.

#[cfg(test)]
mod conformance;
mod disk;
mod file_io;
mod local;
mod location;
mod os;
mod placed;
mod replace;
mod side_by_side;
#[cfg(feature = "simulation")]
mod simulated;
mod staged;

pub use disk::{Disk, DiskFile, DiskLock, DiskRead, Stat};
pub use file_io::kind_of;
pub use local::{Entry, Store, make_dirs, sync_parents};
pub use location::{location_of, path_of};
pub use os::OsDisk;
pub use placed::Placed;
pub use side_by_side::side_by_side;
#[cfg(feature = "simulation")]
pub use simulated::{DiskError, Fault, Loss, Operation, SimulatedDisk};
pub use staged::Staged;
