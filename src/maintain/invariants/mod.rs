//! What must be true of a lake at any moment, one function each, shared by the tests and by `lakectl doctor`.
//!
//! A function takes what it judges and returns the violations it found; none is good. I1, I6 and I7 need to know what
//! was sent, or what a contract says, and are given it; the others are judged from the tables alone.

mod files;
mod partitions;
mod rows;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::path::Path;

use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use laked_catalog::store::Store;
use laked_catalog::{Catalog, Table};

pub use files::{files_exist, nothing_needed_was_deleted, whole_commits};
pub use partitions::rows_are_in_their_partition;
pub use rows::{exactly_once, rows_fit_their_contract, same_rows};
pub use tree::{Tree, reachable};

use crate::error::Result;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `I1` to `I10`.
    pub invariant: &'static str,
    /// The table, where it is one's.
    pub table: Option<TableIdent>,
    /// What was found.
    pub what: String,
}

impl Violation {
    fn of(invariant: &'static str, table: &Table, what: impl Into<String>) -> Self {
        Violation { invariant, table: Some(table.ident.clone()), what: what.into() }
    }

    fn of_lake(invariant: &'static str, what: impl Into<String>) -> Self {
        Violation { invariant, table: None, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => write!(f, "{} {table}: {}", self.invariant, self.what),
            None => write!(f, "{}: {}", self.invariant, self.what),
        }
    }
}

/// How far a check goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Metadata, names and lengths.
    Shallow,
    /// Every data file is decoded and counted.
    Deep,
}

/// What the doctor found.
#[derive(Debug, Default)]
pub struct Report {
    /// Tables looked at.
    pub tables: usize,
    /// Distinct data and delete files of their retained snapshots.
    pub files: usize,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// I5: the last sequence number never falls, and a child's exceeds its parent's. Deletes apply by sequence number: were
/// it to fall, an old delete would hit new rows.
pub fn sequence_numbers(table: &Table, before: Option<&TableMetadata>) -> Vec<Violation> {
    let metadata = &table.metadata;
    let mut found = Vec::new();
    if let Some(before) = before.filter(|before| before.last_sequence_number() > metadata.last_sequence_number()) {
        let (was, is) = (before.last_sequence_number(), metadata.last_sequence_number());
        found.push(Violation::of("I5", table, format!("the last sequence number fell from {was} to {is}")));
    }
    for snapshot in metadata.snapshots() {
        let (id, own) = (snapshot.snapshot_id(), snapshot.sequence_number());
        if own > metadata.last_sequence_number() {
            found.push(Violation::of("I5", table, format!("snapshot {id} has sequence number {own}, beyond the last")));
        }
        let parent = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
        if parent.is_some_and(|parent| parent.sequence_number() >= own) {
            found.push(Violation::of(
                "I5",
                table,
                format!("snapshot {id} does not exceed its parent's sequence number"),
            ));
        }
    }
    found
}

/// I9: no commit of unknown outcome is acknowledged or cleaned up before it is resolved. After a recovery none may be
/// open: `open` names those that are.
pub fn nothing_unresolved(open: &[String]) -> Vec<Violation> {
    open.iter().map(|commit| Violation::of_lake("I9", format!("commit {commit} is not resolved"))).collect()
}

/// I10: after recovery nothing staged is left behind: such files are invisible, and would fill the disk unseen.
///
/// # Errors
/// Storage errors.
pub fn nothing_staged(store: &Store, staging: &Path) -> Result<Vec<Violation>> {
    let left = store.disk().list(staging)?;
    Ok(left.iter().map(|(name, _)| Violation::of_lake("I10", format!("staged file {}", name.display()))).collect())
}

/// Checks all that can be told from a lake alone: I2, I3, I5, I8 of each table, I9 from the open commits. A running
/// daemon stages files all the time, so I10 is only looked at when `staging` is given.
///
/// # Errors
/// Catalog errors, and storage errors other than a file that is missing or broken: those are what is looked for.
pub fn doctor(
    catalog: &Catalog,
    store: &Store,
    open: &[String],
    staging: Option<&Path>,
    depth: Depth,
) -> Result<Report> {
    let mut report = Report { violations: nothing_unresolved(open), ..Report::default() };
    for namespace in catalog.list_namespaces()? {
        for ident in catalog.list_tables(&namespace)? {
            let table = catalog.load(&ident)?;
            let tree = Tree::read(&table, store);
            report.tables += 1;
            report.files += tree.files.len();
            report.violations.extend(tree.broken.iter().map(|what| Violation::of("I3", &table, what)));
            report.violations.extend(whole_commits(&table, &tree));
            report.violations.extend(files_exist(&table, &tree, store, depth));
            report.violations.extend(sequence_numbers(&table, None));
            report.violations.extend(rows_are_in_their_partition(&table, &tree));
        }
    }
    if let Some(staging) = staging {
        report.violations.extend(nothing_staged(store, staging)?);
    }
    Ok(report)
}
