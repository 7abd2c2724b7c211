//! The tasks: a look whether there is anything to do, and if so a run.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use iceberg::TableIdent;
use laked_catalog::plan::{Plan as Scan, Predicate, plan as scan_of};
use laked_catalog::{RunState, Table};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Means;
use super::run::{Ended, Running, Wanted};
use crate::daemon::clustering::clusters;
use crate::daemon::compaction::{Done, Manner, Stepped, step};
use crate::error::{Error, Kind, Result};
use crate::maintain::compact::{self, Options, Order, Plan};
use crate::maintain::health::{Debts, debts};
use crate::maintain::policy::{Policy, Task};
use crate::maintain::reach::Reach;
use crate::maintain::ripe::{Left, Ripeness, choose};
use crate::maintain::schedule::Facts;
use crate::maintain::{expire, orphans};
use crate::telemetry::maintenance as telemetry;

/// How often manifests are planned anew while others replace some.
const TRIES: usize = 5;
/// Names of orphans that are kept in the ledger of runs.
const NAMED: usize = 20;

/// What came of attending to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attended {
    /// There was nothing to do, but for what it found that waits.
    Nothing {
        /// See above.
        found: String,
    },
    /// Another daemon has a run of this table.
    Held,
    /// A run ended.
    Ran {
        /// Whether there is more to do.
        goes_on: bool,
        /// How long the look took before it, in ms.
        look_ms: i64,
        /// What it found that waits.
        found: String,
    },
}

/// A task on a table that is due.
pub struct Errand<'a> {
    /// With what.
    pub means: &'a Means,
    /// The table.
    pub ident: &'a TableIdent,
    /// Its UUID.
    pub uuid: Uuid,
    /// What is to be done.
    pub task: Task,
    /// Why.
    pub why: &'a str,
    /// The table's policy.
    pub policy: &'a Policy,
    /// What its metadata said.
    pub facts: &'a Facts,
}

/// What compaction has done, all steps together.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Compacted {
    steps: u64,
    files_before: u64,
    rows_before: u64,
    bytes_before: u64,
    files_after: u64,
    rows_after: u64,
    bytes_after: u64,
    rows_deleted: u64,
    left_out: Vec<String>,
    snapshots: Vec<i64>,
}

/// What is ripe.
struct Ripe {
    table: Arc<Table>,
    scan: Scan,
    plan: Plan,
    /// What is not, and why, in words.
    found: String,
}

impl Ripe {
    fn is_nothing(&self) -> bool {
        self.plan.groups.is_empty()
    }
}

impl Errand<'_> {
    /// Looks, and does what there is to do.
    ///
    /// # Errors
    /// Those of the task: the table is as it was, or what was committed before stays.
    pub fn attend(&self) -> Result<Attended> {
        match self.task {
            Task::Expire => self.expire(),
            Task::Compact => self.compact(),
            Task::Manifests => self.manifests(),
            Task::Orphans => self.orphans(),
        }
    }

    fn begin(&self) -> Result<Option<Running<'_>>> {
        let Errand { ident, uuid, task, why, policy, facts, .. } = self;
        let (deadline_ms, sequence) = (policy.deadline_ms, facts.sequence);
        Running::begin(self.means, &Wanted { ident, uuid: *uuid, task: *task, why, deadline_ms, sequence })
    }

    /// A run that is one step.
    fn at_once(&self, work: impl Fn() -> Result<Value>) -> Result<Attended> {
        let Some(running) = self.begin()? else { return Ok(Attended::Held) };
        let worked = Cell::new(0);
        let done = running.give_way().and_then(|_| {
            running.current().note(|progress| progress.doing = self.task.name().into());
            let began = self.means.system.clock.monotonic();
            let done = work();
            worked.set(self.means.took_ms(began));
            Ok(done?)
        });
        let (ended, report) = match done {
            Ok(report) => (Ok(()), report),
            Err(ended) => (Err(ended), json!({})),
        };
        let goes_on = goes_on(&ended);
        running.end(ended, report)?;
        Ok(Attended::Ran { goes_on, look_ms: worked.get(), found: String::new() })
    }

    fn expire(&self) -> Result<Attended> {
        if !matches!(self.facts.expirable, Some(Ok(count)) if count > 0) {
            return Ok(nothing());
        }
        self.at_once(|| {
            let mut read = self.means.read.lock().unwrap_or_else(PoisonError::into_inner);
            let (of, mut reach) = std::mem::take(&mut *read);
            if of.as_ref() != Some(self.ident) {
                reach = Reach::default();
            }
            let request = expire::Request::default();
            let report = expire::expire_with(&self.means.catalog, self.ident, &request, &mut reach)?;
            *read = (Some(self.ident.clone()), reach);
            telemetry::expired(&self.ident.to_string(), report.snapshots.len() as u64);
            telemetry::unlinked(report.unlinked.files);
            let sums = report
                .files
                .values()
                .fold([0; 3], |sum: [u64; 3], figures| [sum[0] + figures.files, sum[1], sum[2] + figures.bytes]);
            telemetry::rewritten(&self.ident.to_string(), self.task.name(), sums, [0; 3]);
            let (snapshots, due_ms) = (report.snapshots.len(), report.due_ms);
            let (files, unlinked) = (&report.files, &report.unlinked);
            Ok(json!({ "snapshots": snapshots, "kept": report.kept, "refs": report.refs, "files": files,
                       "due-ms": due_ms, "unlinked": unlinked }))
        })
    }

    fn orphans(&self) -> Result<Attended> {
        let in_flight = || self.means.committer.pending().into_iter().flat_map(|intent| intent.files).collect();
        self.at_once(|| {
            let request = orphans::Request::default();
            let round = || self.means.round.lock().unwrap_or_else(PoisonError::into_inner);
            let mut reach = std::mem::take(&mut *round());
            let mut report = orphans::remove_with(&self.means.catalog, self.ident, &request, &in_flight, &mut reach)?;
            if !reach.is_large() {
                *round() = reach;
            }
            telemetry::rewritten(&self.ident.to_string(), self.task.name(), [report.files, 0, report.bytes], [0; 3]);
            report.named.truncate(NAMED);
            serde_json::to_value(&report).map_err(|error| Error::new(Kind::Internal, "a report").because(error))
        })
    }

    fn manifests(&self) -> Result<Attended> {
        let Means { catalog, committer, .. } = self.means;
        let planned = || {
            let table = catalog.load(self.ident)?;
            clusters(catalog.store(), (self.ident, &table.metadata))
        };
        let first = planned()?;
        if first.plan.made.is_empty() {
            return Ok(nothing());
        }
        let first = Cell::new(Some(first));
        self.at_once(|| {
            for tried in 1.. {
                let clusters = first.take().map_or_else(planned, Ok)?;
                let (replaced, made) = (clusters.plan.replaced.len() as u64, clusters.plan.made.len() as u64);
                if made == 0 {
                    break;
                }
                match committer.cluster(clusters.clustered) {
                    Err(error) if error.kind() == Kind::Conflict && tried < TRIES => {}
                    ended => {
                        let snapshot = ended?;
                        telemetry::rewritten(&self.ident.to_string(), self.task.name(), [replaced, 0, 0], [made, 0, 0]);
                        return Ok(json!({ "replaced": replaced, "made": made, "snapshot": snapshot }));
                    }
                }
            }
            Ok(json!({ "replaced": 0, "made": 0 }))
        })
    }

    fn compact(&self) -> Result<Attended> {
        let began = self.means.system.clock.monotonic();
        let look = self.ripe(&HashSet::new())?;
        let look_ms = self.means.took_ms(began);
        if look.is_nothing() {
            return Ok(Attended::Nothing { found: look.found });
        }
        let Some(running) = self.begin()? else { return Ok(Attended::Held) };
        let (mut report, mut found) = (Compacted::default(), look.found.clone());
        let ended = self.steps(&running, look, &mut report, &mut found);
        let report = serde_json::to_value(&report).unwrap_or_else(|_| json!({}));
        let goes_on = goes_on(&ended);
        running.end(ended, report)?;
        Ok(Attended::Ran { goes_on, look_ms, found })
    }

    /// The table as it is, and what of it is ripe; but for these files.
    fn ripe(&self, but: &HashSet<String>) -> Result<Ripe> {
        let Means { catalog, settings, system, .. } = self.means;
        let table = catalog.load(self.ident)?;
        let metadata = &table.metadata;
        let snapshot = metadata.current_snapshot();
        let mut scan = scan_of(catalog.store(), metadata, snapshot, &Predicate::True, true)?;
        let Debts { small_files, delete_files, delete_debt } = debts(metadata, &scan);
        telemetry::debts(&self.ident.to_string(), small_files, delete_files, delete_debt);
        let cool_ms = self.policy.triggers.get(&Task::Compact).and_then(|trigger| trigger.cooled_ms).unwrap_or(0);
        let (min_inputs, hot_files) = (self.policy.min_inputs, self.policy.hot_files);
        let (now_ms, seen) = (system.clock.now_ms(), self.facts.commits.as_slice());
        let cooled_ms = now_ms.saturating_sub(cool_ms);
        let left = choose(metadata, &mut scan, &Ripeness { min_inputs, hot_files, cooled_ms, now_ms, seen });
        telemetry::files_seen(&self.ident.to_string(), scan.files.len(), left.cooling);
        for file in scan.files.iter_mut().filter(|file| but.contains(file.file.file_path())) {
            file.by_bounds = false;
        }
        let options =
            Options { least_inputs: min_inputs, max_bytes: Some(settings.step.bytes()), order: Order::OfTable };
        let plan = compact::plan(metadata, &scan, &options, None)?;
        let found = told(&left, min_inputs, &plan);
        Ok(Ripe { table, scan, plan, found })
    }

    fn steps(
        &self,
        running: &Running<'_>,
        look: Ripe,
        report: &mut Compacted,
        found: &mut String,
    ) -> Result<(), Ended> {
        let (mut look, mut failed) = (Some(look), HashSet::new());
        loop {
            let waited = running.give_way()?;
            let ripe = match look.take() {
                Some(look) if !waited => look,
                _ => self.ripe(&failed)?,
            };
            found.clone_from(&ripe.found);
            if ripe.is_nothing() {
                return Ok(());
            }
            let (goes_on, bytes) = (ripe.plan.goes_on, ripe.plan.groups.iter().map(compact::Group::bytes).sum());
            let began = self.means.system.clock.monotonic();
            let stepped = self.step(running, &ripe.table, (ripe.scan, ripe.plan))?;
            report.add(&stepped, &self.ident.to_string());
            running.current().note(|progress| progress.steps += u64::from(stepped.snapshot_id.is_some()));
            // What was left as it is would be planned again, before the rest: another run tries it.
            failed.extend(left_files(&stepped));
            running.rest(bytes, began)?;
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn step(&self, running: &Running<'_>, table: &Table, planned: (Scan, Plan)) -> Result<Stepped, Ended> {
        let Means { catalog, committer, settings, budget, .. } = self.means;
        // What is more than half of the budget would hardly ever be free.
        let memory = settings.memory.in_memory().min(budget.limit() / 2);
        let _held = running.reserve(memory)?;
        let order = Order::OfTable;
        let options = Options { least_inputs: self.policy.min_inputs, max_bytes: None, order };
        let manner = Manner { options, predicate: Predicate::True, threads: settings.threads.max(1), memory };
        let groups = planned.1.groups.len();
        running.current().note(|progress| {
            (progress.doing, progress.partitions, progress.rewritten) = ("rewrites".into(), groups, 0);
        });
        let done = AtomicUsize::new(0);
        let told = |_: &Plan, _: usize| {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            running.current().note(|progress| progress.rewritten = done);
        };
        let commit = |replacement| committer.replace(replacement);
        Ok(step(catalog.store(), (self.ident, &table.metadata), planned, &manner, &commit, &told)?)
    }
}

fn nothing() -> Attended {
    Attended::Nothing { found: String::new() }
}

/// Whether what was ended before it was done is to go on.
fn goes_on(ended: &Result<(), Ended>) -> bool {
    matches!(ended, Err(Ended::Before(RunState::Overdue | RunState::Stopped)))
}

/// What is not merged, and why.
fn told(left: &Left, min_inputs: usize, plan: &Plan) -> String {
    let mut words = Vec::new();
    if left.cooling > 0 {
        words.push(format!("{} partitions wait for their files to cool", left.cooling));
    }
    if left.few > 0 {
        words.push(format!("{} partitions have small files, but fewer than {min_inputs} of about one size", left.few));
    }
    if !plan.goes_on {
        words.extend(plan.left_out.iter().take(NAMED).map(|out| format!("{}: {}", out.path, out.why)));
    }
    words.join("; ")
}

/// The files of groups that were left as they are.
fn left_files(stepped: &Stepped) -> impl Iterator<Item = String> {
    let groups = stepped.plan.groups.iter().zip(&stepped.done);
    let left = groups.filter(|(_, done)| matches!(done, Done::Left(_)));
    left.flat_map(|(group, _)| group.inputs.iter().map(|input| input.file.file.file_path().to_string()))
}

impl Compacted {
    fn add(&mut self, stepped: &Stepped, table: &str) {
        let (mut before, mut after) = ([0; 3], [0; 3]);
        for (group, done) in stepped.plan.groups.iter().zip(&stepped.done) {
            match done {
                Done::Left(why) => {
                    telemetry::left_out(table);
                    self.left_out.push(format!("{}: {why}", group.path));
                }
                Done::Replaced { after: made, deleted, .. } => {
                    let read = [group.inputs.len() as u64, group.rows(), group.bytes()];
                    before.iter_mut().zip(read).for_each(|(sum, more)| *sum += more);
                    after.iter_mut().zip(made).for_each(|(sum, more)| *sum += more);
                    self.rows_deleted += deleted;
                    telemetry::rows_deleted(table, *deleted);
                }
            }
        }
        if !stepped.plan.goes_on {
            self.left_out.extend(stepped.plan.left_out.iter().map(|out| format!("{}: {}", out.path, out.why)));
        }
        self.left_out.truncate(NAMED);
        telemetry::rewritten(table, Task::Compact.name(), before, after);
        self.steps += u64::from(stepped.snapshot_id.is_some());
        self.snapshots.extend(stepped.snapshot_id);
        self.files_before += before[0];
        self.rows_before += before[1];
        self.bytes_before += before[2];
        self.files_after += after[0];
        self.rows_after += after[1];
        self.bytes_after += after[2];
    }
}
