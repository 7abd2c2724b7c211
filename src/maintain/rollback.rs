//! Making another snapshot the current one: back to an ancestor (rollback), or to any that is kept (set-current).
//!
//! Only the branch moves. The lanes' marks stay where they are, because they are the table's properties and not the
//! snapshot's: a mark says what was *taken in*, not what is shown. So ingestion goes on behind the newest record it ever
//! took in, rows that were taken out do not come again by themselves, and no lane stops. Were the marks to go back
//! too, a lane would take in again what a person has just taken out, as far as its spool still had it, and halt where
//! it had not. What was taken out is told by the plan, lane by lane, and the snapshots are kept until they expire: until
//! then `set-current` brings them back.
//!
//! The edit asserts the current snapshot. A commit that was on its way is rebased on the one that is current now.
//!
//! # A table that takes its records into a branch
//! Where that branch comes from what is taken out, it goes along: new records would else come upon it, and the next
//! publishing would show it again. What waits in it to be published is taken out as well, but only if that is said.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{MAIN_BRANCH, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use laked_catalog::Refs;
use serde::Serialize;

use super::Edit;
use crate::error::{Error, Kind, Result};
use crate::flow::{LANE_PREFIX, Mark};
use crate::history::{ancestry, figure, ingest_branch};

/// Which snapshot is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// This one.
    Snapshot(i64),
    /// The last of the current one's ancestors that is no younger than this, in ms since 1970.
    Time(i64),
}

/// A stretch of a lane that is no longer shown: what came from `from` on, up to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// The lane.
    pub lane: String,
    /// Its mark in the snapshot gone to, or the beginning.
    pub from: String,
    /// Its mark in the snapshots that are left.
    pub to: String,
}

/// The branch that takes the table's records, where it goes along.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Along {
    /// Its name.
    pub name: String,
    /// Its snapshot now.
    pub from: i64,
    /// Snapshots of it that waited to be published, and are taken out with the others.
    pub waited: usize,
}

/// What a move would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RollbackPlan {
    /// The current snapshot now.
    pub from: Option<i64>,
    /// The current snapshot then.
    pub to: i64,
    /// When that one was made, in ms since 1970.
    pub to_ms: i64,
    /// Snapshots that were shown, and are not then; newest first.
    pub taken_out: Vec<i64>,
    /// Rows they added.
    pub rows: u64,
    /// Files they added.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// What of the lanes they took in.
    pub lanes: Vec<Stretch>,
    /// The branch that goes along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<Along>,
    /// The change.
    #[serde(skip)]
    pub edit: Edit,
}

/// Plans a way back to an ancestor of the current snapshot; `discard` takes out what waits on what is taken out.
///
/// # Errors
/// `NotFound` if there is no such snapshot; `Invalid` if it is none of the ancestors, and as [`set_current`].
pub fn rollback(metadata: &TableMetadata, refs: &Refs, to: To, discard: bool) -> Result<RollbackPlan> {
    let current = metadata
        .current_snapshot_id()
        .ok_or_else(|| Error::new(Kind::NotFound, "the table has no snapshot yet: there is nothing to go back to"))?;
    let target = match to {
        To::Snapshot(id) => id,
        To::Time(time) => {
            let older = ancestry(metadata, current).find(|snapshot| snapshot.timestamp_ms() <= time);
            older.map(|snapshot| snapshot.snapshot_id()).ok_or_else(|| {
                Error::new(Kind::NotFound, "no snapshot is kept that is as old as that; see `lakectl snapshots`")
            })?
        }
    };
    let plan = set_current(metadata, refs, target, discard)?;
    if ancestry(metadata, current).all(|snapshot| snapshot.snapshot_id() != target) {
        let message = format!(
            "snapshot {target} is none that the current one came from; `lakectl set-current` goes to any that is kept"
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(plan)
}

/// Plans a move to any snapshot that is kept; `discard` takes out what waits on what is taken out.
///
/// # Errors
/// `NotFound` if there is no such snapshot; `Invalid` if records wait to be published on what is taken out, and are not
/// to be discarded.
pub fn set_current(metadata: &TableMetadata, refs: &Refs, target: i64, discard: bool) -> Result<RollbackPlan> {
    let snapshot = metadata.snapshot_by_id(target).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("snapshot {target} is not in the table; see `lakectl snapshots`"))
    })?;
    let from = metadata.current_snapshot_id();
    let stays: HashSet<i64> = ancestry(metadata, target).map(|snapshot| snapshot.snapshot_id()).collect();
    let mut left = from.map(|from| leaving(metadata, from, &stays)).unwrap_or_default();
    let branch = along(metadata, refs, &mut left, &stays);
    if let Some(Along { name, waited: waited @ 1.., .. }) = branch.as_ref().filter(|_| !discard) {
        let message = format!(
            "{waited} snapshots wait in branch `{name}` on what is taken out: `lakectl publish` them first, or --discard \
             takes them out too"
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    let sum = |key| left.iter().map(|snapshot| figure(snapshot, key)).sum();
    let before = marks(metadata, [target]);
    let lanes = marks(metadata, branch.iter().map(|branch| branch.from).chain(from));
    let lanes = lanes.into_iter().filter(|(lane, mark)| before.get(lane).is_none_or(|held| held < mark));
    let lanes = lanes.map(|(lane, to)| {
        let from = before.get(&lane).copied().unwrap_or_default().to_string();
        Stretch { lane, from, to: to.to_string() }
    });
    Ok(RollbackPlan {
        from,
        to: target,
        to_ms: snapshot.timestamp_ms(),
        taken_out: left.iter().map(|snapshot| snapshot.snapshot_id()).collect(),
        rows: sum("added-records"),
        files: sum("added-data-files"),
        bytes: sum("added-files-size"),
        lanes: lanes.collect(),
        edit: edit(metadata, refs, target, branch.as_ref()),
        branch,
    })
}

/// A snapshot and what it came from, newest first, down to what stays.
fn leaving<'a>(metadata: &'a TableMetadata, from: i64, stays: &HashSet<i64>) -> Vec<&'a SnapshotRef> {
    ancestry(metadata, from).take_while(|snapshot| !stays.contains(&snapshot.snapshot_id())).collect()
}

/// The branch that takes the table's records, if it comes from what leaves; what waits in it leaves first.
fn along<'a>(
    metadata: &'a TableMetadata,
    refs: &Refs,
    left: &mut Vec<&'a SnapshotRef>,
    stays: &HashSet<i64>,
) -> Option<Along> {
    let name = ingest_branch(metadata);
    let held = refs.get(name).filter(|held| name != MAIN_BRANCH && is_branch(held))?;
    let leaves: HashSet<i64> = left.iter().map(|snapshot| snapshot.snapshot_id()).collect();
    let own = leaving(metadata, held.snapshot_id, stays);
    let (shown, mut waiting): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|snapshot| leaves.contains(&snapshot.snapshot_id()));
    if shown.is_empty() {
        return None;
    }
    let waited = waiting.len();
    waiting.append(left);
    *left = waiting;
    Some(Along { name: name.to_string(), from: held.snapshot_id, waited })
}

fn is_branch(held: &SnapshotReference) -> bool {
    matches!(held.retention, SnapshotRetention::Branch { .. })
}

/// The newest mark of each lane that the ancestry of some snapshots tells.
fn marks(metadata: &TableMetadata, from: impl IntoIterator<Item = i64>) -> BTreeMap<String, Mark> {
    let mut found: BTreeMap<String, Mark> = BTreeMap::new();
    for snapshot in from.into_iter().flat_map(|from| ancestry(metadata, from)) {
        for (key, value) in &snapshot.summary().additional_properties {
            if let (Some(lane), Ok(mark)) = (key.strip_prefix(LANE_PREFIX), value.parse()) {
                let newest = found.entry(lane.to_string()).or_insert(mark);
                *newest = mark.max(*newest);
            }
        }
    }
    found
}

fn edit(metadata: &TableMetadata, refs: &Refs, target: i64, along: Option<&Along>) -> Edit {
    let mut edit = Edit::of(metadata);
    let (from, branch) = (metadata.current_snapshot_id(), ingest_branch(metadata));
    if from == Some(target) {
        return edit;
    }
    let stays = |name: &str, snapshot_id| TableRequirement::RefSnapshotIdMatch { r#ref: name.into(), snapshot_id };
    edit.requirements.push(stays(MAIN_BRANCH, from));
    if branch != MAIN_BRANCH {
        // Records that come into it meanwhile may come upon what is taken out.
        edit.requirements.push(stays(branch, refs.get(branch).map(|held| held.snapshot_id)));
    }
    for name in [MAIN_BRANCH].into_iter().chain(along.map(|along| along.name.as_str())) {
        // How long a branch keeps its snapshots is the branch's, not this change's.
        let retention = refs.get(name).map(|branch| branch.retention.clone());
        let retention = retention.unwrap_or(SnapshotRetention::branch(None, None, None));
        let reference = SnapshotReference::new(target, retention);
        edit.updates.push(TableUpdate::SetSnapshotRef { ref_name: name.to_string(), reference });
    }
    edit
}
