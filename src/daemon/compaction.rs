//! One step of a table's compaction, or of its move to another partition spec: planned, rewritten, committed.
//!
//! `lakectl compact` takes steps until nothing is left to do; so does whoever else looks after a table.

use iceberg::TableIdent;
use iceberg::spec::{Snapshot, TableMetadata};
use laked_catalog::store::Store;

use crate::commit::NewFile;
use crate::commit::replace::{DeleteId, Part, Replaced, Replacement, Spent};
use crate::error::Result;
use crate::maintain::compact::{self, Applying, Group, Job, Options, Order, Plan, Rewritten, id_of};
use crate::read::plan::{self, PlannedFile};
use crate::read::{Plan as Scan, Predicate};

/// How a step is done.
#[derive(Clone, Debug)]
pub struct Manner {
    /// What is taken.
    pub options: Options,
    /// Only files that can hold rows of this condition.
    pub predicate: Predicate,
    /// Partitions at a time.
    pub threads: usize,
    /// Bytes that sorting and deletes may take, in all.
    pub memory: usize,
}

/// What became of a group.
#[derive(Clone, Debug)]
pub enum Done {
    /// It was replaced.
    Replaced {
        /// Files, rows and bytes it became.
        after: [u64; 3],
        /// Rows that deletes took out.
        deleted: u64,
        /// Rows whose row groups were taken over as they are.
        copied: u64,
    },
    /// It was left as it is, and why; its new files are gone.
    Left(String),
}

/// What a step did.
#[derive(Debug)]
pub struct Stepped {
    /// What was to be done.
    pub plan: Plan,
    /// For each of its groups what became of it.
    pub done: Vec<Done>,
    /// The snapshot; `None` if nothing was replaced.
    pub snapshot_id: Option<i64>,
}

/// A table's compaction as planned now, with the scan it was planned from.
///
/// # Errors
/// `Corrupt` if a manifest cannot be read; `Invalid` for a property; storage errors.
pub fn planned(store: &Store, metadata: &TableMetadata, manner: &Manner) -> Result<(Scan, Plan)> {
    let scan = plan::plan(store, metadata, metadata.current_snapshot(), &manner.predicate, true)?;
    let placed = match &manner.options.order {
        Order::ZOrder(columns) => Some(compact::placed(store, &scan, columns)?),
        Order::OfTable | Order::AsTheyAre => None,
    };
    let plan = compact::plan(metadata, &scan, &manner.options, placed.as_ref())?;
    Ok((scan, plan))
}

/// A table's move of files of older specs to its own, as planned now, with the scan it was planned from; of the manner's
/// options only the bound of bytes is asked.
///
/// # Errors
/// As [`planned`].
pub fn planned_move(store: &Store, metadata: &TableMetadata, manner: &Manner) -> Result<(Scan, Plan)> {
    let scan = plan::plan(store, metadata, metadata.current_snapshot(), &manner.predicate, true)?;
    let plan = compact::moves(metadata, &scan, manner.options.max_bytes)?;
    Ok((scan, plan))
}

/// Takes a planned step on a table as it was loaded; `manner` says with how much, and `told` hears of each group that is
/// rewritten.
///
/// # Errors
/// Storage errors and those of the commit: nothing is changed then, and of what was written nothing is left, unless the
/// kind is `Unknown`.
pub fn step(
    store: &Store,
    (ident, metadata): (&TableIdent, &TableMetadata),
    (scan, plan): (Scan, Plan),
    manner: &Manner,
    commit: &dyn Fn(Replacement) -> Result<Replaced>,
    told: &(dyn Fn(&Plan, usize) + Sync),
) -> Result<Stepped> {
    let threads = manner.threads.clamp(1, plan.groups.len().max(1));
    let job = Job { store, metadata, plan: &plan, threads, memory: manner.memory / threads, erased: None };
    let rewritten = compact::rewrite(job, &|number| told(&plan, number))?;
    let (mut parts, mut numbers, mut done) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (group, rewritten)) in plan.groups.iter().zip(rewritten).enumerate() {
        match rewritten {
            Ok(rewritten) => {
                numbers.push(number);
                done.push(replaced(&rewritten));
                parts.push(part(&plan, group, rewritten));
            }
            Err(error) => done.push(Done::Left(error.to_string())),
        }
    }
    let Some(snapshot) = scan.snapshot.as_ref().filter(|_| !parts.is_empty()) else {
        return Ok(Stepped { plan, done, snapshot_id: None });
    };
    let Replaced { snapshot_id, dropped } = commit(replacement((ident, metadata), (&scan, snapshot), parts))?;
    for (part, why) in dropped {
        done[numbers[part]] = Done::Left(why);
    }
    Ok(Stepped { plan, done, snapshot_id })
}

fn replaced(rewritten: &Rewritten) -> Done {
    let mut after = [0; 3];
    for file in &rewritten.files {
        let more = [1, file.data_file.record_count(), file.data_file.file_size_in_bytes()];
        after.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    Done::Replaced { after, deleted: rewritten.deleted, copied: rewritten.copied }
}

/// The commit that puts `parts` in the place of what a scan of a snapshot found.
pub(super) fn replacement(
    (ident, metadata): (&TableIdent, &TableMetadata),
    (scan, snapshot): (&Scan, &Snapshot),
    parts: Vec<Part>,
) -> Replacement {
    Replacement {
        ident: ident.clone(),
        expect_uuid: metadata.uuid(),
        schema_id: metadata.current_schema_id(),
        base: snapshot.snapshot_id(),
        sequence_number: snapshot.sequence_number(),
        manifests: scan.files.iter().map(|file| file.manifest.to_string()).collect(),
        deletes: scan.deletes.iter().map(delete_id).collect(),
        parts,
        spent: spent(metadata, scan),
        summary: Vec::new(),
        removes_rows: false,
    }
}

fn delete_id(delete: &PlannedFile) -> DeleteId {
    let (location, offset) = id_of(&delete.file);
    DeleteId { location, offset }
}

pub(super) fn part(plan: &Plan, group: &Group, rewritten: Rewritten) -> Part {
    let files = rewritten.files.into_iter();
    Part {
        spec_id: group.to_spec,
        inputs: group.inputs.iter().map(|input| input.file.file.file_path().to_string()).collect(),
        outputs: files.map(|file| NewFile { staged: file.staged, data_file: file.data_file }).collect(),
        applied: group.deletes().into_iter().map(|number| delete_id(&plan.deletes[number])).collect(),
    }
}

/// Every delete with all that it applies to.
fn spent(metadata: &TableMetadata, scan: &Scan) -> Vec<Spent> {
    let applying = Applying::of(metadata, &scan.deletes);
    let spent = |delete| Spent { delete: delete_id(delete), targets: Vec::new() };
    let mut all: Vec<Spent> = scan.deletes.iter().map(spent).collect();
    for file in &scan.files {
        for number in applying.to(file) {
            all[number].targets.push(file.file.file_path().to_string());
        }
    }
    all
}
