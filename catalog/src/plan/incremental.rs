//! What was appended between two snapshots: the files that append snapshots on the way added, as they are.
//!
//! Overwrites, deletes and replaced files are not appends and are passed over, as the reference implementation does; so
//! no delete file applies. Each append's own manifest list is read, because later commits may merge its manifests.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use iceberg::spec::{ManifestFile, Operation, SnapshotRef, TableMetadata};

use super::snapshot::{lists_deletes, manifests};
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// Appends between two snapshots.
#[derive(Debug)]
pub struct Appends {
    /// The manifests they added.
    pub manifests: Vec<ManifestFile>,
    /// Their ids: only files that one of them added count.
    pub snapshots: BTreeSet<i64>,
}

/// The appends after `start` (from the oldest on if there is none) up to `end`.
///
/// # Errors
/// `Invalid` if `start` is no ancestor of `end`; storage errors.
pub fn appends(
    store: &Store,
    metadata: &TableMetadata,
    start: Option<i64>,
    end: &SnapshotRef,
    cancelled: &AtomicBool,
) -> Result<Appends> {
    let on_the_way = ancestors(metadata, start, end)?;
    let appended: Vec<&SnapshotRef> =
        on_the_way.iter().rev().filter(|one| one.summary().operation == Operation::Append).collect();
    let mut found =
        Appends { manifests: Vec::new(), snapshots: appended.iter().map(|one| one.snapshot_id()).collect() };
    for snapshot in appended {
        if cancelled.load(Ordering::Relaxed) {
            break;
        }
        let own = |one: &ManifestFile| one.added_snapshot_id == snapshot.snapshot_id() && !lists_deletes(one);
        found.manifests.extend(manifests(store, metadata, snapshot)?.into_iter().filter(own));
    }
    Ok(found)
}

/// From `end` back to the one after `start`.
fn ancestors(metadata: &TableMetadata, start: Option<i64>, end: &SnapshotRef) -> Result<Vec<SnapshotRef>> {
    let mut found = Vec::new();
    let mut next = Some(end.snapshot_id());
    while let Some(id) = next.filter(|id| Some(*id) != start) {
        let Some(snapshot) = metadata.snapshot_by_id(id).filter(|_| found.len() < metadata.snapshots().len()) else {
            next = None;
            break;
        };
        found.push(snapshot.clone());
        next = snapshot.parent_snapshot_id();
    }
    if next != start {
        return Err(Error::new(Kind::Invalid, "start-snapshot-id is no ancestor of end-snapshot-id")
            .with("start", start.unwrap_or_default())
            .with("end", end.snapshot_id()));
    }
    Ok(found)
}
