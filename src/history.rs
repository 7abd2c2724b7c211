//! A table's snapshots, how they follow one another, and upon which of them new records come.
//!
//! A snapshot names its parent. Where a retention ladder has thinned a branch, parents are missing between snapshots
//! that are kept, and the chain would end at the first gap: no way back beyond it, and the next expiry would take what
//! is behind it for nobody's. So an expiry writes down the bridges, in the same commit: table property
//! `laked.ancestry`, `child:ancestor` of snapshot ids, one a gap, separated by blanks. Other engines do not read it; what
//! it says of snapshots that are gone says nothing.

//!
//! # Write, audit, publish
//! A table takes records into `main`, which is what readers see, or into the branch that its property
//! `laked.ingest.branch` names. That branch begins at main's snapshot when the first commit comes, and again whenever it
//! has nothing that main does not show: so main may be compacted between, and publishing is to move it forward. A tip that
//! main has shown and shows no longer was taken out, by whatever engine's rollback: it does not wait to be published.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{MAIN_BRANCH, Snapshot, SnapshotRef, TableMetadata};
use laked_catalog::Refs;

use crate::error::{Error, Kind, Result};

/// The property with the bridges.
pub const ANCESTRY: &str = "laked.ancestry";

/// The property with the branch into which records are taken.
pub const INGEST_BRANCH: &str = "laked.ingest.branch";

/// The branch into which the table takes records.
pub fn ingest_branch(metadata: &TableMetadata) -> &str {
    let named = metadata.properties().get(INGEST_BRANCH).map(String::as_str);
    named.filter(|name| !name.is_empty()).unwrap_or(MAIN_BRANCH)
}

/// The tip of that branch, if it has what `main` does not show and never showed.
pub fn unpublished<'a>(metadata: &'a TableMetadata, refs: &Refs) -> Option<&'a SnapshotRef> {
    let branch = ingest_branch(metadata);
    let tip = metadata.snapshot_by_id(refs.get(branch).filter(|_| branch != MAIN_BRANCH)?.snapshot_id)?;
    let is_shown = |main: i64| ancestry(metadata, main).any(|snapshot| snapshot.snapshot_id() == tip.snapshot_id());
    let is_shown = metadata.current_snapshot_id().is_some_and(is_shown);
    (!is_shown && !was_shown(metadata, tip.snapshot_id())).then_some(tip)
}

/// Whether `main` was ever at this snapshot, as far as the table's log goes back.
pub fn was_shown(metadata: &TableMetadata, snapshot: i64) -> bool {
    metadata.history().iter().any(|entry| entry.snapshot_id == snapshot)
}

/// The snapshot upon which the next records come.
pub fn ingest_tip<'a>(metadata: &'a TableMetadata, refs: &Refs) -> Option<&'a SnapshotRef> {
    unpublished(metadata, refs).or_else(|| metadata.current_snapshot())
}

/// Holds a change that writes files of `main` anew until there is nothing to publish: main would part from the branch.
///
/// # Errors
/// `Invalid`, with what to do.
pub fn all_is_published(metadata: &TableMetadata, refs: &Refs) -> Result<()> {
    if unpublished(metadata, refs).is_none() {
        return Ok(());
    }
    let branch = ingest_branch(metadata);
    let why = format!("branch `{branch}` has records that wait: `lakectl publish` them first, or drop the branch");
    Err(Error::new(Kind::Invalid, why))
}

/// The nearest kept ancestors beyond gaps, by child.
pub fn bridges(metadata: &TableMetadata) -> HashMap<i64, i64> {
    let text = metadata.properties().get(ANCESTRY).map_or("", String::as_str);
    let bridge = |pair: &str| pair.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    text.split_ascii_whitespace().filter_map(bridge).collect()
}

/// A snapshot and all it came from, newest first; ends where an ancestor is not kept, and at a circle.
pub fn ancestry(metadata: &TableMetadata, from: i64) -> impl Iterator<Item = &SnapshotRef> {
    let (mut seen, mut known) = (HashSet::new(), None);
    let mut next = metadata.snapshot_by_id(from);
    std::iter::from_fn(move || {
        let snapshot = next.filter(|snapshot| seen.insert(snapshot.snapshot_id()))?;
        next = snapshot.parent_snapshot_id().and_then(|parent| {
            metadata.snapshot_by_id(parent).or_else(|| {
                let bridges = known.get_or_insert_with(|| bridges(metadata));
                bridges.get(&snapshot.snapshot_id()).and_then(|ancestor| metadata.snapshot_by_id(*ancestor))
            })
        });
        Some(snapshot)
    })
}

/// The bridges there are when only `kept` snapshots are left, as the property has them.
pub fn bridged(metadata: &TableMetadata, kept: &HashSet<i64>) -> String {
    let known = bridges(metadata);
    let parent = |id: i64| {
        let parent = metadata.snapshot_by_id(id)?.parent_snapshot_id()?;
        if metadata.snapshot_by_id(parent).is_some() { Some(parent) } else { known.get(&id).copied() }
    };
    let mut pairs = Vec::new();
    for snapshot in metadata.snapshots().filter(|snapshot| kept.contains(&snapshot.snapshot_id())) {
        let id = snapshot.snapshot_id();
        if snapshot.parent_snapshot_id().is_none_or(|parent| kept.contains(&parent)) {
            continue;
        }
        let (mut at, mut seen) = (parent(id), HashSet::from([id]));
        while let Some(ancestor) = at.filter(|ancestor| !kept.contains(ancestor) && seen.insert(*ancestor)) {
            at = parent(ancestor);
        }
        pairs.extend(at.filter(|ancestor| kept.contains(ancestor) && *ancestor != id).map(|at| (id, at)));
    }
    pairs.sort_unstable();
    pairs.iter().map(|(child, ancestor)| format!("{child}:{ancestor}")).collect::<Vec<_>>().join(" ")
}

/// A figure of a snapshot's summary; 0 where it does not state it.
pub fn figure(snapshot: &Snapshot, key: &str) -> u64 {
    snapshot.summary().additional_properties.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
}
