//! A table's snapshots and how they follow one another, as the plans need them.

use std::collections::HashSet;

use iceberg::spec::{Snapshot, SnapshotRef, TableMetadata};

/// A snapshot and all it came from, newest first; ends where a parent is not kept, and at a circle.
pub fn ancestry(metadata: &TableMetadata, from: i64) -> impl Iterator<Item = &SnapshotRef> {
    let mut seen = HashSet::new();
    let mut next = metadata.snapshot_by_id(from);
    std::iter::from_fn(move || {
        let snapshot = next.filter(|snapshot| seen.insert(snapshot.snapshot_id()))?;
        next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
        Some(snapshot)
    })
}

/// A figure of a snapshot's summary; 0 where it does not state it.
pub fn figure(snapshot: &Snapshot, key: &str) -> u64 {
    snapshot.summary().additional_properties.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
}
