//! The commit stage: sealed files become part of their tables, with the mark that says how far a lane was taken in.
//!
//! # Constraints
//! One catalog change moves every table of a commit, data and quarantine together. It asserts each table's UUID and
//! the snapshot at which the marks were read, so a mark can only move from what was read. Nothing is acknowledged, and
//! nothing deleted, while a commit's outcome is unknown.
//!
//! # How a commit goes
//! 1. `manifests` encodes the new manifest (and now and then a merged one) and the manifest list in memory.
//! 2. The catalog holds the change to its requirements and stages `metadata.json`, which names the list and needs none
//!    of its bytes.
//! 3. The store makes all of them durable side by side: data files, manifest, list, `metadata.json`. Meanwhile `intents`
//!    writes down the names of the files about to appear. Then they get their names, and their folders are synced.
//! 4. The catalog moves the pointers in one transaction. The commit has waited for the disk three times: files, folders,
//!    transaction.
//! 5. The intent is ended without waiting for the disk.
//!
//! On a conflict the tables are read again and the commit is rebased on what is there ([`Outcome::Moved`] and
//! [`Outcome::Rewrite`] say when it cannot be). When nobody knows whether the catalog took a change, the very same
//! change, with the same snapshot id and the same parent, is sent again: only one of the two can take effect.
//!
//! # Why not the `iceberg` crate's transactions
//! They read every manifest for each append and cannot change several tables at once.

mod committer;
mod container;
mod intents;
mod join;
mod manifests;
mod marks;
mod plan;
mod recover;
pub mod replace;
mod retry;
mod snapshot;
#[cfg(test)]
mod tests;

pub use committer::{Advance, Append, Committer, NewFile, Outcome};
pub use intents::{Intent, IntentTable, Intents};
pub use marks::{LANE_PREFIX, Standing, guard_marks, lane_property, marks_of, standing};
pub use recover::Recovered;
pub use snapshot::{COMMIT_ID, added_by};
