//! Expiring snapshots: they leave the table at once, their files later.
//!
//! [`plan`] is pure but for the lists and manifests it reads through [`Reach`]: which snapshots and refs go
//! ([`super::retention`]), and the files that only they reach. [`expire`] carries it out:
//!
//! 1. The files are written into the [deletion ledger](super::ledger), durably, due after the grace period.
//! 2. One commit removes refs, snapshots and their statistics, and writes down the bridges of
//!    [`crate::history`]. It asserts every branch and tag, so that none is made, moved or dropped unseen; when somebody
//!    was faster the plan is made anew, from what has been read already.
//! 3. What is due by now is unlinked.
//!
//! The ledger comes first because what it says is looked at again before anything is unlinked: an entry of a commit that
//! did not take effect costs a look. The other way round a crash would leave files that nobody remembers.
//!
//! Files outside of the table's own folders stay: whoever can write a manifest could name another table's.

mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::TableMetadata;
use iceberg::{TableRequirement, TableUpdate};
use laked_catalog::Refs;
use laked_catalog::store::{Store, path_of};
use serde::{Deserialize, Serialize};

use super::Edit;
use super::reach::{Reach, Reached, What, statistics};
use super::retention::{Asked, Kept, kept};
use crate::error::{Error, Kind, Result};
use crate::history::{ANCESTRY, bridged};

pub use run::{Report, Request, expire, expire_with};

/// So many files, rows and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes, as far as metadata tells them; that of manifest lists it does not.
    pub bytes: u64,
}

impl Figures {
    /// The sums over some files.
    pub fn of<'a>(files: impl Iterator<Item = &'a Reached>) -> Figures {
        files.fold(Figures::default(), |sum, file| Figures {
            files: sum.files + 1,
            rows: sum.rows + file.rows,
            bytes: sum.bytes + file.bytes,
        })
    }
}

/// What an expiry would do.
#[derive(Debug)]
pub struct ExpirePlan {
    /// Snapshots that go, oldest first.
    pub snapshots: Vec<i64>,
    /// Snapshots that stay.
    pub kept: usize,
    /// Branches and tags that go, because they have reached their age.
    pub refs: Vec<String>,
    /// Files that nothing reaches then.
    pub files: Vec<Reached>,
    /// Those of them outside of the table's folders: they stay where they are.
    pub outside: usize,
    /// The change.
    pub edit: Edit,
}

impl ExpirePlan {
    /// Figures by what the files are.
    pub fn figures(&self) -> BTreeMap<What, Figures> {
        let mut sums: BTreeMap<What, Figures> = BTreeMap::new();
        for file in &self.files {
            let sum = sums.entry(file.what).or_default();
            *sum = Figures { files: sum.files + 1, rows: sum.rows + file.rows, bytes: sum.bytes + file.bytes };
        }
        sums
    }
}

/// Refuses a table whose files are not to be collected.
///
/// # Errors
/// `Invalid` where `gc.enabled` is false.
pub fn may_collect(metadata: &TableMetadata) -> Result<()> {
    if metadata.properties().get("gc.enabled").is_some_and(|value| value.eq_ignore_ascii_case("false")) {
        let message = "gc.enabled is false on this table: its files may be another table's too, so nothing is removed; \
                       set it to true first";
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(())
}

/// Plans an expiry.
///
/// # Errors
/// `Invalid` and `NotFound` for what was asked or a property; `Corrupt` or storage errors if it cannot be told what the
/// other snapshots reach.
pub fn plan(
    store: &Store,
    metadata: &TableMetadata,
    refs: &Refs,
    asked: &Asked,
    now_ms: i64,
    reach: &mut Reach,
) -> Result<ExpirePlan> {
    may_collect(metadata)?;
    let kept = kept(metadata, refs, asked, now_ms)?;
    if kept.gone.is_empty() && kept.refs.is_empty() {
        let (snapshots, refs, files) = (Vec::new(), Vec::new(), Vec::new());
        return Ok(ExpirePlan {
            snapshots,
            kept: kept.snapshots.len(),
            refs,
            files,
            outside: 0,
            edit: Edit::default(),
        });
    }
    let edit = edit(metadata, refs, &kept);
    let gone: HashSet<i64> = kept.gone.iter().copied().collect();
    let only = reach.only(store, metadata, &gone)?;
    let found = only.len();
    let own = own_folders(metadata);
    let files: Vec<Reached> = only.into_iter().filter(|file| lies_in(&file.location, &own)).collect();
    let outside = found - files.len();
    Ok(ExpirePlan { snapshots: kept.gone, kept: kept.snapshots.len(), refs: kept.refs, files, outside, edit })
}

fn edit(metadata: &TableMetadata, refs: &Refs, kept: &Kept) -> Edit {
    let mut edit = Edit::of(metadata);
    let at = |(name, reference): (&String, &iceberg::spec::SnapshotReference)| TableRequirement::RefSnapshotIdMatch {
        r#ref: name.clone(),
        snapshot_id: Some(reference.snapshot_id),
    };
    edit.requirements.extend(refs.iter().map(at));
    edit.updates.extend(kept.refs.iter().map(|name| TableUpdate::RemoveSnapshotRef { ref_name: name.clone() }));
    if kept.gone.is_empty() {
        return edit;
    }
    let gone: HashSet<i64> = kept.gone.iter().copied().collect();
    let told: HashSet<i64> = statistics(metadata).map(|(id, _)| id).filter(|id| gone.contains(id)).collect();
    for snapshot_id in kept.gone.iter().copied().filter(|id| told.contains(id)) {
        edit.updates.push(TableUpdate::RemoveStatistics { snapshot_id });
        edit.updates.push(TableUpdate::RemovePartitionStatistics { snapshot_id });
    }
    let bridges = bridged(metadata, &kept.snapshots);
    if metadata.properties().get(ANCESTRY).map_or("", String::as_str) != bridges {
        let updates = std::iter::once((ANCESTRY.to_string(), bridges)).collect();
        edit.updates.push(TableUpdate::SetProperties { updates });
    }
    edit.updates.push(TableUpdate::RemoveSnapshots { snapshot_ids: kept.gone.clone() });
    edit
}

/// The folders a table's files are written to.
pub fn own_folders(metadata: &TableMetadata) -> Vec<String> {
    let paths = ["write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"];
    let said = paths.iter().filter_map(|path| metadata.properties().get(*path).cloned());
    std::iter::once(metadata.location().to_string()).chain(said).collect()
}

/// Whether a location lies below one of the folders.
pub fn lies_in(location: &str, folders: &[String]) -> bool {
    let Ok(path) = path_of(location) else { return false };
    folders.iter().any(|folder| path_of(folder).is_ok_and(|folder| path.starts_with(&folder) && path != folder))
}
