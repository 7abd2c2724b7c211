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

use std::collections::BTreeMap;

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use laked_catalog::Refs;
use serde::Serialize;

use super::Edit;
use crate::error::{Error, Kind, Result};
use crate::flow::{LANE_PREFIX, Mark};
use crate::history::{ancestry, figure};

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
    /// The change.
    #[serde(skip)]
    pub edit: Edit,
}

/// Plans a way back to an ancestor of the current snapshot.
///
/// # Errors
/// `NotFound` if there is no such snapshot; `Invalid` if it is none of the ancestors.
pub fn rollback(metadata: &TableMetadata, refs: &Refs, to: To) -> Result<RollbackPlan> {
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
    let plan = set_current(metadata, refs, target)?;
    if ancestry(metadata, current).all(|snapshot| snapshot.snapshot_id() != target) {
        let message = format!(
            "snapshot {target} is none that the current one came from; `lakectl set-current` goes to any that is kept"
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(plan)
}

/// Plans a move to any snapshot that is kept.
///
/// # Errors
/// `NotFound` if there is no such snapshot.
pub fn set_current(metadata: &TableMetadata, refs: &Refs, target: i64) -> Result<RollbackPlan> {
    let snapshot = metadata.snapshot_by_id(target).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("snapshot {target} is not in the table; see `lakectl snapshots`"))
    })?;
    let from = metadata.current_snapshot_id();
    let stays: Vec<i64> = ancestry(metadata, target).map(|snapshot| snapshot.snapshot_id()).collect();
    let left: Vec<_> = from
        .into_iter()
        .flat_map(|from| ancestry(metadata, from))
        .take_while(|snapshot| !stays.contains(&snapshot.snapshot_id()))
        .collect();
    let sum = |key| left.iter().map(|snapshot| figure(snapshot, key)).sum();
    let before = marks(metadata, target);
    let lanes = from.map(|from| marks(metadata, from)).unwrap_or_default();
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
        edit: edit(metadata, refs, target),
    })
}

/// The newest mark of each lane that a snapshot's ancestry tells.
fn marks(metadata: &TableMetadata, from: i64) -> BTreeMap<String, Mark> {
    let mut found = BTreeMap::new();
    for snapshot in ancestry(metadata, from) {
        for (key, value) in &snapshot.summary().additional_properties {
            if let (Some(lane), Ok(mark)) = (key.strip_prefix(LANE_PREFIX), value.parse()) {
                found.entry(lane.to_string()).or_insert(mark);
            }
        }
    }
    found
}

fn edit(metadata: &TableMetadata, refs: &Refs, target: i64) -> Edit {
    let mut edit = Edit::of(metadata);
    let from = metadata.current_snapshot_id();
    if from == Some(target) {
        return edit;
    }
    let main = MAIN_BRANCH.to_string();
    edit.requirements.push(TableRequirement::RefSnapshotIdMatch { r#ref: main.clone(), snapshot_id: from });
    // How long the branch keeps its snapshots is the branch's, not this change's.
    let retention = refs.get(MAIN_BRANCH).map(|branch| branch.retention.clone());
    let retention = retention.unwrap_or(SnapshotRetention::branch(None, None, None));
    edit.updates =
        vec![TableUpdate::SetSnapshotRef { ref_name: main, reference: SnapshotReference::new(target, retention) }];
    edit
}
