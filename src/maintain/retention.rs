//! Which snapshots and refs a table keeps: Iceberg's own rules, and the retention ladder. Pure.
//!
//! # Rules (specification, "Snapshot Retention Policy")
//! A ref other than `main` goes when its snapshot is older than its `max-ref-age-ms` (`history.expire.max-ref-age-ms`);
//! not so the branch that takes the table's records, because they may wait in it to be published.
//! A tag keeps its snapshot. A branch keeps, of its ancestry, newest first, the first `min-snapshots-to-keep`
//! (`history.expire.min-snapshots-to-keep`, 1), and those no older than `max-snapshot-age-ms`
//! (`history.expire.max-snapshot-age-ms`, 5 days). A snapshot of no ref's ancestry is kept while it is younger than the
//! table's age. What the call says (`--older-than`, `--retain-last`) stands in for the properties, not for what a
//! branch says of itself.
//!
//! # The ladder
//! `laked.retention = "10m:all, 1h:1m, 5d:1h, 90d:1d"`: of the snapshots no older than a step's age, and older than the
//! step's before it, the newest of each interval. Intervals are counted from 1970, so that a plan made later keeps the
//! same ones. It thins a branch that says no age of its own, unless the call says one; where
//! `history.expire.max-snapshot-age-ms` is set as well, nothing older than that is kept.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use laked_catalog::Refs;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::history::{ancestry, ingest_branch};

/// The property with the ladder.
pub const LADDER: &str = "laked.retention";
const SNAPSHOT_AGE: &str = "history.expire.max-snapshot-age-ms";
const LEAST: &str = "history.expire.min-snapshots-to-keep";
const REF_AGE: &str = "history.expire.max-ref-age-ms";
/// Five days, Iceberg's default.
const DEFAULT_AGE_MS: i64 = 5 * 24 * 3_600_000;

/// A step of the ladder: of snapshots up to this age, one an interval; 0 for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    age_ms: i64,
    every_ms: i64,
}

/// What a call asks for, over the table's properties.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Asked {
    /// Keep what is no older than this; else the table's properties say.
    pub older_than_ms: Option<i64>,
    /// Keep at least so many snapshots of a branch.
    pub retain_last: Option<i64>,
    /// Just these snapshots, whatever their age.
    pub snapshots: Vec<i64>,
}

/// What is kept, and what is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Snapshots that stay.
    pub snapshots: HashSet<i64>,
    /// Snapshots that go, oldest first.
    pub gone: Vec<i64>,
    /// Refs that go.
    pub refs: Vec<String>,
}

struct Policy {
    age_ms: i64,
    ladder: Option<Vec<Step>>,
    least: usize,
    ref_age_ms: i64,
}

impl Policy {
    fn of(metadata: &TableMetadata, asked: &Asked) -> Result<Policy> {
        let number = |key: &str| {
            let text = metadata.properties().get(key);
            text.map(|text| text.parse::<i64>().ok().filter(|number| *number >= 0).ok_or_else(|| unfit(key, text)))
                .transpose()
        };
        let (own_age, least) = (number(SNAPSHOT_AGE)?, asked.retain_last.or(number(LEAST)?).unwrap_or(1));
        if asked.older_than_ms.is_some_and(|age| age < 0) {
            return Err(Error::new(Kind::Invalid, "--older-than is an age, from 0 on, as 5d"));
        }
        if least < 1 {
            return Err(Error::new(Kind::Invalid, "at least 1 snapshot is kept: the current one; say --retain-last 1"));
        }
        let ladder = metadata.properties().get(LADDER).filter(|_| asked.older_than_ms.is_none());
        let ladder = ladder.map(|text| steps(text)).transpose()?;
        let own_age = match &ladder {
            Some(_) => own_age.unwrap_or(i64::MAX),
            None => asked.older_than_ms.or(own_age).unwrap_or(DEFAULT_AGE_MS),
        };
        let ref_age_ms = number(REF_AGE)?.unwrap_or(i64::MAX);
        Ok(Policy { age_ms: own_age, ladder, least: usize::try_from(least).unwrap_or(usize::MAX), ref_age_ms })
    }

    /// The age of what no ref comes from.
    fn stray_age_ms(&self) -> i64 {
        if self.ladder.is_some() { self.age_ms.min(DEFAULT_AGE_MS) } else { self.age_ms }
    }
}

fn unfit(key: &str, text: &str) -> Error {
    Error::new(Kind::Invalid, "a table property cannot be understood: set it anew")
        .with("property", key)
        .with("value", text)
}

/// Reads a ladder.
fn steps(text: &str) -> Result<Vec<Step>> {
    let bad = || {
        let message = format!("{LADDER} is '{text}', which is no ladder; write it as \"10m:all, 1h:1m, 5d:1h\"");
        Error::new(Kind::Invalid, message)
    };
    let mut steps: Vec<Step> = Vec::new();
    for step in text.split(',') {
        let (age, every) = step.trim().split_once(':').ok_or_else(bad)?;
        let age_ms = span_ms(age).ok_or_else(bad)?;
        let every_ms = if every.trim() == "all" { 0 } else { span_ms(every).filter(|ms| *ms > 0).ok_or_else(bad)? };
        if steps.last().is_some_and(|last| last.age_ms >= age_ms) {
            return Err(bad());
        }
        steps.push(Step { age_ms, every_ms });
    }
    Ok(steps)
}

fn span_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

/// What a table keeps at `now_ms`.
///
/// # Errors
/// `Invalid` for a property or a number that cannot be followed, and for a snapshot by name that is none or that a
/// branch or tag shows.
pub fn kept(metadata: &TableMetadata, refs: &Refs, asked: &Asked, now_ms: i64) -> Result<Kept> {
    if !asked.snapshots.is_empty() {
        return by_name(metadata, &with_main(metadata, refs), &asked.snapshots);
    }
    let policy = Policy::of(metadata, asked)?;
    let age_of = |id: i64| metadata.snapshot_by_id(id).map(|at| now_ms.saturating_sub(at.timestamp_ms()));
    let (mut kept, mut shown) = (Kept::default(), HashSet::new());
    for (name, reference) in &with_main(metadata, refs) {
        let own = Own::of(&reference.retention);
        let most = own.ref_age_ms.unwrap_or(policy.ref_age_ms);
        let takes_records = name == MAIN_BRANCH || name == ingest_branch(metadata);
        if !takes_records && age_of(reference.snapshot_id).is_none_or(|age| age > most) {
            kept.refs.push(name.clone());
            continue;
        }
        if let SnapshotRetention::Tag { .. } = reference.retention {
            kept.snapshots.insert(reference.snapshot_id);
            shown.insert(reference.snapshot_id);
            continue;
        }
        let line = ancestry(metadata, reference.snapshot_id);
        let line: Vec<(i64, i64)> = line.map(|at| (at.snapshot_id(), at.timestamp_ms())).collect();
        shown.extend(line.iter().map(|(id, _)| *id));
        let (age, ladder) = own.age_ms.map_or((policy.age_ms, policy.ladder.as_deref()), |age| (age, None));
        kept.snapshots.extend(of_branch(&line, own.least.unwrap_or(policy.least), age, ladder, now_ms));
    }
    let strays = metadata.snapshots().filter(|snapshot| !shown.contains(&snapshot.snapshot_id()));
    let young = strays.filter(|snapshot| now_ms.saturating_sub(snapshot.timestamp_ms()) <= policy.stray_age_ms());
    kept.snapshots.extend(young.map(|snapshot| snapshot.snapshot_id()));
    kept.gone = others(metadata, &kept.snapshots);
    Ok(kept)
}

/// What a ref says of itself.
struct Own {
    least: Option<usize>,
    age_ms: Option<i64>,
    ref_age_ms: Option<i64>,
}

impl Own {
    fn of(retention: &SnapshotRetention) -> Own {
        match retention {
            SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms } => Own {
                least: min_snapshots_to_keep.map(|least| usize::try_from(least).unwrap_or(1)),
                age_ms: *max_snapshot_age_ms,
                ref_age_ms: *max_ref_age_ms,
            },
            SnapshotRetention::Tag { max_ref_age_ms } => Own { least: None, age_ms: None, ref_age_ms: *max_ref_age_ms },
        }
    }
}

/// The refs, with `main` where only the current snapshot says it: what readers see is never left out.
fn with_main(metadata: &TableMetadata, refs: &Refs) -> Refs {
    let mut refs = refs.clone();
    if let Some(current) = metadata.current_snapshot_id() {
        let main = || SnapshotReference::new(current, SnapshotRetention::branch(None, None, None));
        refs.entry(MAIN_BRANCH.to_string()).or_insert_with(main);
    }
    refs
}

/// Snapshots of one branch, newest first, as (id, made): those that are kept.
fn of_branch(line: &[(i64, i64)], least: usize, age_ms: i64, ladder: Option<&[Step]>, now_ms: i64) -> HashSet<i64> {
    let mut kept: HashSet<i64> = line.iter().take(least.max(1)).map(|(id, _)| *id).collect();
    let mut taken: HashSet<(usize, i64)> = HashSet::new();
    for (id, made_ms) in line {
        let age = now_ms.saturating_sub(*made_ms);
        let Some(ladder) = ladder else {
            // As in Java: it ends at the first that is too old, whatever the clocks of those behind it said.
            if age > age_ms && !kept.contains(id) {
                break;
            }
            kept.insert(*id);
            continue;
        };
        let Some((number, step)) = ladder.iter().enumerate().find(|(_, step)| age <= step.age_ms) else { continue };
        let interval = (step.every_ms > 0).then(|| made_ms.div_euclid(step.every_ms));
        if age <= age_ms && interval.is_none_or(|interval| taken.insert((number, interval))) {
            kept.insert(*id);
        }
    }
    kept
}

fn by_name(metadata: &TableMetadata, refs: &Refs, named: &[i64]) -> Result<Kept> {
    let heads: BTreeMap<i64, &String> = refs.iter().map(|(name, reference)| (reference.snapshot_id, name)).collect();
    for id in named {
        if metadata.snapshot_by_id(*id).is_none() {
            let message = format!("snapshot {id} is not in the table; see `lakectl snapshots`");
            return Err(Error::new(Kind::NotFound, message));
        }
        if let Some(name) = heads.get(id) {
            let what =
                if metadata.current_snapshot_id() == Some(*id) { "the current snapshot" } else { "the snapshot" };
            let message = format!("{id} is {what} that `{name}` shows, and stays: move or drop `{name}` first");
            return Err(Error::new(Kind::Invalid, message));
        }
    }
    let named: HashSet<i64> = named.iter().copied().collect();
    let all = metadata.snapshots().map(|snapshot| snapshot.snapshot_id());
    let snapshots: HashSet<i64> = all.filter(|id| !named.contains(id)).collect();
    let gone = others(metadata, &snapshots);
    Ok(Kept { snapshots, gone, refs: Vec::new() })
}

fn others(metadata: &TableMetadata, kept: &HashSet<i64>) -> Vec<i64> {
    let mut gone: Vec<_> = metadata.snapshots().filter(|snapshot| !kept.contains(&snapshot.snapshot_id())).collect();
    gone.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms(), snapshot.snapshot_id()));
    gone.into_iter().map(|snapshot| snapshot.snapshot_id()).collect()
}
