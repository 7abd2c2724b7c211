//! How a table is: what makes reading it, or committing to it, dearer than it need be. Pure.
//!
//! Figures are of the current snapshot and of the metadata. A [`Finding`] says what is off, from which figure on, and
//! what mends it; a table without any is well.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{DataContentType, Struct, TableMetadata};
use laked_catalog::Refs;
use laked_catalog::plan::Plan;
use serde::Serialize;

use super::compact::is_small;
use super::retention::{Asked, kept};
use crate::error::Result;
use crate::history::ancestry;

/// Iceberg's default of `write.target-file-size-bytes`.
const TARGET: u64 = 512 << 20;
/// A partition with so many small files is worth a rewrite.
const SMALL_FILES: usize = 5;
/// `metadata.json` is written whole by each commit.
const METADATA: u64 = 1 << 20;
/// Manifests are read by each plan; from so many on, and this far below their size, they are worth joining.
const MANIFESTS: usize = 100;
/// The largest partition's bytes over the median's.
const SKEW: f64 = 10.0;
/// Deletes of so much of the rows cost each reader more than a rewrite costs once.
const DELETED: f64 = 0.1;

/// Files of one range of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bucket {
    /// Their sizes are below this, in bytes, and not below the bucket's before it.
    pub below: u64,
    /// How many.
    pub files: u64,
}

/// What is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// A stable word.
    pub kind: &'static str,
    /// What is off, and what mends it.
    pub what: String,
}

/// How a table is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// Kept snapshots.
    pub snapshots: usize,
    /// When the oldest was made, in ms since 1970.
    pub oldest_snapshot_ms: Option<i64>,
    /// Snapshots that an expiry would take out now, and why not all of the others: branches and tags keep these.
    pub expired_snapshots: usize,
    /// Snapshots that a branch or tag other than `main` alone keeps.
    pub kept_by_refs: usize,
    /// The length of `metadata.json`.
    pub metadata_bytes: u64,
    /// The current snapshot's manifests.
    pub manifests: usize,
    /// Its data files, their rows and bytes.
    pub data_files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Data files below three quarters of the target size, in partitions that have five of them or more.
    pub small_files: u64,
    /// The target size.
    pub target_bytes: u64,
    /// Delete files.
    pub delete_files: u64,
    /// Rows in them over the data's rows.
    pub delete_debt: f64,
    /// Partitions.
    pub partitions: usize,
    /// The largest partition's bytes over the median's.
    pub skew: Option<f64>,
    /// Data files by size.
    pub sizes: Vec<Bucket>,
    /// What is off.
    pub findings: Vec<Finding>,
}

/// Files by size, in steps of four from 4 KiB on; empty ends are left out.
pub fn histogram(sizes: impl Iterator<Item = u64>) -> Vec<Bucket> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for size in sizes {
        let step = (0..24).find(|step| size < 4096_u64 << (2 * step)).unwrap_or(24);
        *counts.entry(step).or_default() += 1;
    }
    let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value()) else {
        return Vec::new();
    };
    let bucket = |step| Bucket { below: 4096_u64 << (2 * step), files: counts.get(&step).copied().unwrap_or(0) };
    (*first..=*last).map(bucket).collect()
}

/// The largest over the median; `None` with fewer than two, or where the median is nothing.
#[allow(clippy::cast_precision_loss, reason = "a ratio is shown with one digit")]
pub fn skew(sizes: impl Iterator<Item = u64>) -> Option<f64> {
    let mut sizes: Vec<u64> = sizes.collect();
    sizes.sort_unstable();
    let (largest, median) = (*sizes.last()?, *sizes.get((sizes.len() - 1) / 2)?);
    (sizes.len() > 1 && median > 0).then(|| largest as f64 / median as f64)
}

/// The size that a table's data files should have.
pub fn target_of(metadata: &TableMetadata) -> u64 {
    let target = metadata.properties().get("write.target-file-size-bytes");
    target.and_then(|text| text.trim().parse().ok()).unwrap_or(TARGET)
}

/// What of a table's files makes reading dearer than it need be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Debts {
    /// Data files below three quarters of the target size, in partitions that have five of them or more.
    pub small_files: u64,
    /// Delete files.
    pub delete_files: u64,
    /// Rows in those by position over the data's rows.
    pub delete_debt: f64,
}

/// A table's debts; `plan` is of its current snapshot, whole.
#[allow(clippy::cast_precision_loss, reason = "a share is shown with two digits")]
pub fn debts(metadata: &TableMetadata, plan: &Plan) -> Debts {
    let target = target_of(metadata);
    let mut small: HashMap<(i32, &Struct), usize> = HashMap::new();
    for planned in plan.files.iter().filter(|planned| is_small(planned, target)) {
        *small.entry((planned.spec_id, planned.file.partition())).or_default() += 1;
    }
    let rows: u64 = plan.files.iter().map(|planned| planned.file.record_count()).sum();
    let positions = plan.deletes.iter().filter(|file| file.file.content_type() == DataContentType::PositionDeletes);
    let deleted: u64 = positions.map(|planned| planned.file.record_count()).sum();
    Debts {
        small_files: small.values().filter(|files| **files >= SMALL_FILES).map(|files| *files as u64).sum(),
        delete_files: plan.deletes.len() as u64,
        delete_debt: if rows == 0 { 0.0 } else { deleted as f64 / rows as f64 },
    }
}

/// Judges a table; `plan` is of its current snapshot, whole.
///
/// # Errors
/// `Invalid` for a property that cannot be followed.
pub fn judge(metadata: &TableMetadata, refs: &Refs, plan: &Plan, metadata_bytes: u64, now_ms: i64) -> Result<Health> {
    let mut partitions: HashMap<(i32, &Struct), u64> = HashMap::new();
    for planned in &plan.files {
        *partitions.entry((planned.spec_id, planned.file.partition())).or_default() +=
            planned.file.file_size_in_bytes();
    }
    let Debts { small_files, delete_files, delete_debt } = debts(metadata, plan);
    let mut health = Health {
        snapshots: metadata.snapshots().len(),
        oldest_snapshot_ms: metadata.snapshots().map(|snapshot| snapshot.timestamp_ms()).min(),
        expired_snapshots: kept(metadata, refs, &Asked::default(), now_ms)?.gone.len(),
        kept_by_refs: kept_by_refs(metadata, refs),
        metadata_bytes,
        manifests: plan.manifests,
        data_files: plan.files.len() as u64,
        rows: plan.files.iter().map(|planned| planned.file.record_count()).sum(),
        bytes: plan.files.iter().map(|planned| planned.file.file_size_in_bytes()).sum(),
        small_files,
        target_bytes: target_of(metadata),
        delete_files,
        delete_debt,
        partitions: partitions.len(),
        skew: skew(partitions.values().copied()),
        sizes: histogram(plan.files.iter().map(|planned| planned.file.file_size_in_bytes())),
        findings: Vec::new(),
    };
    health.findings = findings(&health);
    Ok(health)
}

/// Snapshots in the ancestry of other refs, and not in that of `main`.
fn kept_by_refs(metadata: &TableMetadata, refs: &Refs) -> usize {
    let line = |id: i64| ancestry(metadata, id).map(|at| at.snapshot_id()).collect::<Vec<_>>();
    let main: HashSet<i64> = metadata.current_snapshot_id().into_iter().flat_map(line).collect();
    let others: HashSet<i64> = refs.values().flat_map(|reference| line(reference.snapshot_id)).collect();
    others.difference(&main).count()
}

fn findings(health: &Health) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut note = |kind, holds: bool, what: String| {
        if holds {
            found.push(Finding { kind, what });
        }
    };
    let Health { small_files, target_bytes, delete_files, manifests, metadata_bytes, expired_snapshots, .. } = health;
    let small = format!(
        "{small_files} small files in partitions with {SMALL_FILES} or more below three quarters of {target_bytes} \
         bytes: compaction joins them"
    );
    note("small-files", *small_files > 0, small);
    let share = health.delete_debt * 100.0;
    let debt = format!("{delete_files} delete files, for {share:.0} % of the rows: compaction applies them");
    note("delete-debt", health.delete_debt > DELETED, debt);
    note("manifests", *manifests > MANIFESTS, format!("{manifests} manifests: each plan reads their list"));
    let long =
        format!("metadata.json has {metadata_bytes} bytes, written by each commit: `lakectl expire` shortens it");
    note("metadata", *metadata_bytes > METADATA, long);
    let due = format!("{expired_snapshots} snapshots are past their retention: `lakectl expire` takes them out");
    note("expired", *expired_snapshots > 0, due);
    if let Some(skew) = health.skew.filter(|skew| *skew > SKEW) {
        let what =
            format!("the largest partition has {skew:.1} times the bytes of the median: see `lakectl partitions`");
        note("skew", true, what);
    }
    found
}

#[cfg(test)]
mod tests {
    use iceberg::spec::MAIN_BRANCH;
    use laked_catalog::plan::{Predicate, plan};

    use super::*;
    use crate::maintain::histories::History;

    #[test]
    fn sizes_fall_into_steps_of_four() {
        let bucket = |below, files| Bucket { below, files };
        assert_eq!(histogram([0, 4095, 4096].into_iter()), [bucket(4096, 2), bucket(16384, 1)]);
        assert_eq!(histogram([5000, 300_000].into_iter()).len(), 4, "with what is empty in between");
        assert_eq!(histogram([u64::MAX].into_iter()).len(), 1);
        assert_eq!(histogram(std::iter::empty()), []);
        assert_eq!(skew([10, 1, 2].into_iter()), Some(5.0));
        assert_eq!(skew([10].into_iter()), None);
        assert_eq!(skew([0, 10].into_iter()), None);
    }

    #[test]
    fn what_is_off_is_found_and_nothing_else() {
        let of = |history: &History, bytes| {
            let table = history.table();
            let plan =
                plan(history.store(), &table.metadata, table.metadata.current_snapshot(), &Predicate::True, true);
            let now = history.store().system().clock.now_ms();
            judge(&table.metadata, &table.refs, &plan.expect("plans"), bytes, now).expect("judges")
        };
        let mut history = History::new(1, &[("write.target-file-size-bytes", "100")]);
        assert_eq!(of(&history, 10).findings, []);
        history.append(MAIN_BRANCH);
        assert_eq!(of(&history, 10).findings, [], "a few small files are none too many");
        (0..8).for_each(|_| history.append(MAIN_BRANCH));
        history.clock.advance(std::time::Duration::from_secs(6 * 24 * 3600));
        let health = of(&history, 2 << 20);
        let kinds: Vec<&str> = health.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, ["small-files", "metadata", "expired"]);
        assert_eq!((health.small_files, health.expired_snapshots), (health.data_files, 8));
    }
}
