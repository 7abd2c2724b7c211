//! Branches and tags: made, dropped, moved forward.
//!
//! Each edit asserts where the ref is, or that there is none, so that nobody's change is lost. `main` is the
//! branch that readers see; it is neither made nor dropped but by publishing. A branch whose snapshots no other ref reaches holds
//! rows that are shown nowhere else: it is dropped only where that is said.

use std::collections::HashSet;

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use laked_catalog::Refs;
use serde::Serialize;

use super::Edit;
use crate::error::{Error, Kind, Result};
use crate::history::{ancestry, figure, ingest_branch, unpublished, was_shown};

/// What a change of a ref would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefPlan {
    /// The ref.
    pub name: String,
    /// `branch` or `tag`.
    #[serde(rename = "type")]
    pub sort: &'static str,
    /// Its snapshot now; none before it is made.
    pub from: Option<i64>,
    /// Its snapshot then; none after it is dropped.
    pub to: Option<i64>,
    /// Snapshots it shows that it did not; or, of one that is dropped, that no other ref shows.
    pub snapshots: usize,
    /// Rows those added.
    pub rows: u64,
    /// The change.
    #[serde(skip)]
    pub edit: Edit,
}

/// `branch` or `tag`.
pub fn sort_of(reference: &SnapshotReference) -> &'static str {
    match reference.retention {
        SnapshotRetention::Branch { .. } => "branch",
        SnapshotRetention::Tag { .. } => "tag",
    }
}

/// Plans a new branch or tag.
///
/// # Errors
/// `Exists`; `Invalid` for an empty name or an age or a count below 1; `NotFound` if there is no such snapshot.
pub fn create(metadata: &TableMetadata, refs: &Refs, name: &str, reference: SnapshotReference) -> Result<RefPlan> {
    if name.is_empty() {
        return Err(Error::new(Kind::Invalid, "a branch or a tag needs a name"));
    }
    if let Some(held) = refs.get(name) {
        let message = format!("there is a {} `{name}` already; drop it, or take another name", sort_of(held));
        return Err(Error::new(Kind::Exists, message));
    }
    let id = reference.snapshot_id;
    if metadata.snapshot_by_id(id).is_none() {
        let message = format!("snapshot {id} is not in the table; see `lakectl snapshots`");
        return Err(Error::new(Kind::NotFound, message));
    }
    if least(&reference.retention) < 1 {
        return Err(Error::new(Kind::Invalid, "ages and counts are from 1"));
    }
    let shown = of_others(metadata, refs, name);
    let more = ancestry(metadata, id).filter(|snapshot| !shown.contains(&snapshot.snapshot_id()));
    let (snapshots, rows) = sums(more.map(AsRef::as_ref));
    let mut edit = asserting(metadata, name, None);
    let sort = sort_of(&reference);
    edit.updates = vec![TableUpdate::SetSnapshotRef { ref_name: name.to_string(), reference }];
    Ok(RefPlan { name: name.to_string(), sort, from: None, to: Some(id), snapshots, rows, edit })
}

fn least(retention: &SnapshotRetention) -> i64 {
    let given = match retention {
        SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms } => {
            [min_snapshots_to_keep.map(i64::from), *max_snapshot_age_ms, *max_ref_age_ms]
        }
        SnapshotRetention::Tag { max_ref_age_ms } => [None, None, *max_ref_age_ms],
    };
    given.into_iter().flatten().min().unwrap_or(1)
}

/// Plans the end of a branch or tag.
///
/// # Errors
/// `NotFound`, with those there are; `Invalid` for `main`, for a ref of the other sort, and, unless `discard`, for a
/// branch that shows rows which no other ref shows.
pub fn drop_ref(metadata: &TableMetadata, refs: &Refs, name: &str, sort: &str, discard: bool) -> Result<RefPlan> {
    let held = find(refs, name)?;
    let own = sort_of(held);
    if name == MAIN_BRANCH {
        return Err(Error::new(Kind::Invalid, "`main` is what readers see, and cannot be dropped"));
    }
    if own != sort {
        return Err(Error::new(Kind::Invalid, format!("`{name}` is a {own}: say `lakectl {own} drop`")));
    }
    let shown = of_others(metadata, refs, name);
    let only = ancestry(metadata, held.snapshot_id).filter(|snapshot| !shown.contains(&snapshot.snapshot_id()));
    let (snapshots, rows) = sums(only.map(AsRef::as_ref));
    if own == "branch" && snapshots > 0 && !discard {
        let message = format!(
            "branch `{name}` has {snapshots} snapshots, of {rows} added rows, that no other branch or tag shows: \
             fast-forward another to it, or say --discard"
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    let mut edit = asserting(metadata, name, Some(held.snapshot_id));
    edit.updates = vec![TableUpdate::RemoveSnapshotRef { ref_name: name.to_string() }];
    Ok(RefPlan { name: name.to_string(), sort: own, from: Some(held.snapshot_id), to: None, snapshots, rows, edit })
}

/// Plans a branch's way to where another ref is.
///
/// # Errors
/// `NotFound`, with those there are; `Invalid` if it is a tag, or has snapshots that the other does not come from.
pub fn fast_forward(metadata: &TableMetadata, refs: &Refs, name: &str, to: &str) -> Result<RefPlan> {
    let (held, other) = (find(refs, name)?, find(refs, to)?);
    if sort_of(held) == "tag" {
        return Err(Error::new(Kind::Invalid, format!("`{name}` is a tag, and a tag does not move")));
    }
    let new: Vec<_> = ancestry(metadata, other.snapshot_id)
        .take_while(|snapshot| snapshot.snapshot_id() != held.snapshot_id)
        .collect();
    let meets = ancestry(metadata, other.snapshot_id).any(|snapshot| snapshot.snapshot_id() == held.snapshot_id);
    if !meets {
        let message =
            format!("`{name}` has snapshots that `{to}` does not come from: it cannot be moved forward to it");
        return Err(Error::new(Kind::Invalid, message));
    }
    let (snapshots, rows) = sums(new.into_iter().map(AsRef::as_ref));
    let mut edit = asserting(metadata, name, Some(held.snapshot_id));
    if held.snapshot_id != other.snapshot_id {
        // What the plan follows must still be there.
        edit.requirements.push(at(to, Some(other.snapshot_id)));
        let reference = SnapshotReference::new(other.snapshot_id, held.retention.clone());
        edit.updates = vec![TableUpdate::SetSnapshotRef { ref_name: name.to_string(), reference }];
    }
    let (from, to) = (Some(held.snapshot_id), Some(other.snapshot_id));
    Ok(RefPlan { name: name.to_string(), sort: "branch", from, to, snapshots, rows, edit })
}

/// Plans how `main` is to show what a branch has, up to a snapshot of it; made, if the table has none yet.
///
/// # Errors
/// `NotFound`, with the branches there are, or if the branch has no such snapshot; `Invalid` if `main` has snapshots that
/// it does not come from, or took out what the branch comes from.
pub fn publish(metadata: &TableMetadata, refs: &Refs, branch: &str, upto: Option<i64>) -> Result<RefPlan> {
    let tip = find(refs, branch)?.snapshot_id;
    let upto = upto.unwrap_or(tip);
    if !ancestry(metadata, tip).any(|snapshot| snapshot.snapshot_id() == upto) {
        let message = format!("branch `{branch}` has no snapshot {upto}; see `lakectl snapshots`");
        return Err(Error::new(Kind::NotFound, message));
    }
    let from = refs.get(MAIN_BRANCH).map(|main| main.snapshot_id);
    let is = |id: i64| move |snapshot: &&iceberg::spec::SnapshotRef| snapshot.snapshot_id() == id;
    let mut edit = asserting(metadata, MAIN_BRANCH, from);
    // What was discarded meanwhile is not shown.
    edit.requirements.push(at(branch, Some(tip)));
    let is_taken_out = branch == ingest_branch(metadata) && unpublished(metadata, refs).is_none();
    if is_taken_out || from.is_some_and(|main| ancestry(metadata, main).any(|snapshot| is(upto)(&snapshot))) {
        let name = MAIN_BRANCH.to_string();
        return Ok(RefPlan { name, sort: "branch", from, to: from, snapshots: 0, rows: 0, edit: Edit::of(metadata) });
    }
    if let Some(main) = from.filter(|main| !ancestry(metadata, upto).any(|snapshot| is(*main)(&snapshot))) {
        return Err(parted(metadata, main, (branch, upto)));
    }
    let new: Vec<_> = ancestry(metadata, upto).take_while(|snapshot| Some(snapshot.snapshot_id()) != from).collect();
    if let Some(again) = new.iter().map(|snapshot| snapshot.snapshot_id()).find(|id| was_shown(metadata, *id)) {
        let message = format!(
            "`{branch}` comes from snapshots that were shown and taken out again, up to {again}: it would bring them back; if \
             that is wanted, `lakectl set-current TABLE {again}`, then publish"
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    let (snapshots, rows) = sums(new.into_iter().map(AsRef::as_ref));
    let retention = refs.get(MAIN_BRANCH).map(|main| main.retention.clone());
    let retention = retention.unwrap_or(SnapshotRetention::branch(None, None, None));
    let reference = SnapshotReference::new(upto, retention);
    edit.updates = vec![TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_string(), reference }];
    Ok(RefPlan { name: MAIN_BRANCH.to_string(), sort: "branch", from, to: Some(upto), snapshots, rows, edit })
}

/// Why a branch cannot be published, and what brings the two together without losing a row that waits: what is left of
/// the branch's snapshots may be few, and each tells only what it added itself.
fn parted(metadata: &TableMetadata, main: i64, (branch, upto): (&str, i64)) -> Error {
    let line: HashSet<i64> = ancestry(metadata, upto).map(|snapshot| snapshot.snapshot_id()).collect();
    let fork = ancestry(metadata, main).map(|snapshot| snapshot.snapshot_id()).find(|id| line.contains(id));
    let way = match fork {
        Some(fork) => format!("`lakectl rollback TABLE --to {fork}` takes main's own out of sight, then publish"),
        None => format!("`lakectl set-current TABLE {upto}` shows the branch's in place of them"),
    };
    let message = format!(
        "`main` has snapshots that `{branch}` does not come from: {way}; `lakectl cherry-pick` brings main's back after it"
    );
    Error::new(Kind::Invalid, message)
}

/// A ref by its name.
///
/// # Errors
/// `NotFound`, with those there are.
pub fn find<'a>(refs: &'a Refs, name: &str) -> Result<&'a SnapshotReference> {
    refs.get(name).ok_or_else(|| {
        let names: Vec<&str> = refs.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "none".to_string() } else { names.join(", ") };
        Error::new(Kind::NotFound, format!("there is no branch or tag `{name}`; there are: {known}"))
    })
}

fn at(name: &str, snapshot_id: Option<i64>) -> TableRequirement {
    TableRequirement::RefSnapshotIdMatch { r#ref: name.to_string(), snapshot_id }
}

fn asserting(metadata: &TableMetadata, name: &str, snapshot_id: Option<i64>) -> Edit {
    let mut edit = Edit::of(metadata);
    edit.requirements.push(at(name, snapshot_id));
    edit
}

/// Snapshots that refs other than this show.
fn of_others(metadata: &TableMetadata, refs: &Refs, name: &str) -> HashSet<i64> {
    let others = refs.iter().filter(|(other, _)| other.as_str() != name);
    others.flat_map(|(_, other)| ancestry(metadata, other.snapshot_id)).map(|snapshot| snapshot.snapshot_id()).collect()
}

fn sums<'a>(snapshots: impl Iterator<Item = &'a iceberg::spec::Snapshot>) -> (usize, u64) {
    snapshots.fold((0, 0), |(count, rows), snapshot| (count + 1, rows + figure(snapshot, "added-records")))
}

#[cfg(test)]
#[path = "refs_tests.rs"]
mod tests;
