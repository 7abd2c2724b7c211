//! `lakectl compact`.
//!
//! The files are read and written by this process, beside a daemon or in a lake that has none; the daemon's catalog, or the
//! lake's own, takes the commit. Beside a daemon new files are staged in a folder of the table that begins with a dot: if
//! this process is killed, what is left there, and what it had published and not committed, are orphans like any other.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use iceberg::TableIdent;
use iceberg::spec::Schema;
use laked_catalog::store::{Disk, Store, path_of};
use laked_catalog::system::System;
use laked_catalog::{Change, Outcome};
use serde::Serialize;

use super::change::Place;
use super::{Output, output};
use crate::commit::replace::{Clustered, Current, Replaced, Replacement, Tables, cluster, replace};
use crate::config::Size;
use crate::daemon::compaction::{Done, Manner, Stepped, planned, step};
use crate::error::{Error, Kind, Result};
use crate::history::all_is_published;
use crate::maintain::compact::{Group, Options, Order, Plan};
use crate::read::source::ident_of;
use crate::read::{Predicate, Source, SourceTable, parse_where};

/// How often partitions are taken again that somebody else changed meanwhile.
const ROUNDS: usize = 3;
/// Columns of a curve, at most: of more each counts for little.
const MOST_COLUMNS: usize = 4;

/// Write small files anew as large ones.
#[derive(Args, Debug)]
pub struct Compact {
    /// The table, as namespace.table.
    table: String,
    /// Only files that can hold rows of this condition.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Commit in steps that rewrite at most this much, as 10GiB [default: all in one commit].
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    max_bytes: Option<Size>,
    /// Files below the target that a partition must have to be rewritten.
    #[arg(long, value_name = "N", default_value_t = 2, allow_hyphen_values = true)]
    min_inputs: usize,
    /// How rows are put.
    #[arg(long, value_enum, default_value_t = Ordering::Table)]
    order: Ordering,
    /// Put rows along a curve through these columns, as "user_id, timestamp", so that conditions on each of them skip files
    /// and row groups; files that are not along it yet are rewritten, whatever their size.
    #[arg(long, value_name = "COLUMNS", conflicts_with = "order")]
    z_order: Option<String>,
    /// Partitions that are rewritten at a time [default: one a core].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    threads: Option<usize>,
    /// What sorting and deletes may take in memory, as 256MiB; reading and writing take some more.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", allow_hyphen_values = true)]
    memory: Size,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// How rows are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ordering {
    /// In the table's order, if it has one.
    Table,
    /// As they are; row groups are then copied where that is possible.
    None,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    table: String,
    dry_run: bool,
    /// What was rewritten.
    before: Amount,
    /// What it became; nothing in a dry run.
    after: Amount,
    rows_deleted: u64,
    rows_copied: u64,
    deletes_applied: usize,
    partitions: Vec<Partition>,
    left_out: Vec<Left>,
    /// One for each step.
    snapshots: Vec<i64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Amount {
    files: u64,
    rows: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Partition {
    partition: String,
    spec: i32,
    files: usize,
    rows: u64,
    bytes: u64,
    deletes: usize,
    sorted: bool,
    /// Field ids of the curve's columns.
    z_order: Vec<i32>,
}

#[derive(Debug, Serialize)]
struct Left {
    partition: String,
    files: usize,
    why: String,
}

impl Compact {
    /// Plans, rewrites, commits, prints.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for the table or the condition; storage errors; `Unknown` if nobody can tell what became of
    /// the commit. Nothing is changed by what was not committed, and nothing of it is left.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ident = ident_of(&self.table)?;
        let mut report = Report::new(self.table.clone(), self.dry_run);
        let table = source.table(&ident)?;
        all_is_published(&table.metadata, &table.refs)?;
        let manner = self.manner(&table)?;
        let first = planned(&Store::read_only(System::real()), &table.metadata, &manner)?;
        if self.dry_run || first.1.groups.is_empty() {
            report.planned(&first.1);
            return print(&report, form);
        }
        let first = Cell::new(Some((table.metadata_location.clone(), first)));
        let work = Work::open(source, &table)?;
        let commit = |replacement| work.replace(replacement);
        let take = |table: &SourceTable| {
            // The first step has its plan, unless somebody has committed since.
            let planned = match first.take().filter(|(location, _)| *location == table.metadata_location) {
                Some((_, planned)) => planned,
                None => planned(work.store(), &table.metadata, &manner)?,
            };
            step(work.store(), (&ident, &table.metadata), planned, &manner, &commit, &progress)
        };
        let ended = steps(source, &ident, &mut report, &take);
        work.close();
        ended?;
        print(&report, form)
    }

    fn manner(&self, table: &SourceTable) -> Result<Manner> {
        let order = match (&self.z_order, self.order) {
            (Some(columns), _) => Order::ZOrder(curve(columns, table.metadata.current_schema())?),
            (None, Ordering::Table) => Order::OfTable,
            (None, Ordering::None) => Order::AsTheyAre,
        };
        let options = Options { least_inputs: self.min_inputs, max_bytes: self.max_bytes.map(Size::bytes), order };
        let predicate = match &self.condition {
            Some(text) => parse_where(text, table.metadata.current_schema())?,
            None => Predicate::True,
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let (threads, memory) = (self.threads.unwrap_or_else(cores), self.memory.in_memory());
        Ok(Manner { options, predicate, threads, memory })
    }
}

/// The field ids of a curve's columns.
fn curve(text: &str, schema: &Schema) -> Result<Vec<i32>> {
    let fields = schema.as_struct().fields();
    let possible = || {
        let plain = fields.iter().filter(|field| field.field_type.is_primitive());
        plain.map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let refuse = |why: String| Error::new(Kind::Invalid, format!("{why}; there are {}", possible()));
    let find = |name: &str| {
        let field = fields.iter().find(|field| field.name == name && field.field_type.is_primitive());
        field.map(|field| field.id).ok_or_else(|| refuse(format!("`{name}` is no column to put rows by")))
    };
    let ids = text.split(',').map(|name| find(name.trim())).collect::<Result<Vec<i32>>>()?;
    let distinct: BTreeSet<&i32> = ids.iter().collect();
    match ids.len() {
        2..=MOST_COLUMNS if distinct.len() == ids.len() => Ok(ids),
        _ => Err(refuse(format!("--z-order takes two to {MOST_COLUMNS} columns, each once"))),
    }
}

/// Commits step after step; a step of its own where others were faster. `step` takes one on the table as it was loaded.
pub(super) fn steps(
    source: &Source,
    ident: &TableIdent,
    report: &mut Report,
    step: &dyn Fn(&SourceTable) -> Result<Stepped>,
) -> Result<()> {
    for round in 1.. {
        let stepped = step(&source.table(ident)?)?;
        report.left_out.clear();
        report.skipped(&stepped.plan);
        let mut left = false;
        for (group, done) in stepped.plan.groups.iter().zip(&stepped.done) {
            left |= matches!(done, Done::Left(_));
            report.done(group, done);
        }
        report.snapshots.extend(stepped.snapshot_id);
        let goes_on = stepped.plan.goes_on && stepped.snapshot_id.is_some();
        if !(goes_on || left && round < ROUNDS) {
            break;
        }
    }
    Ok(())
}

/// Tells that a group is rewritten.
pub(super) fn progress(planned: &Plan, number: usize) {
    let group = &planned.groups[number];
    let place = if group.path.is_empty() { "the table" } else { group.path.trim_end_matches('/') };
    let (files, bytes) = (group.inputs.len(), output::bytes(group.bytes()));
    eprintln!("{place}: {files} files, {bytes} ({} of {})", number + 1, planned.groups.len());
}

impl Report {
    /// Of nothing yet.
    pub fn new(table: String, dry_run: bool) -> Self {
        Report { table, dry_run, ..Report::default() }
    }

    /// What a plan would do.
    pub fn planned(&mut self, plan: &Plan) {
        plan.groups.iter().for_each(|group| self.enter(group));
        self.skipped(plan);
    }

    /// Whether nothing was, or would be, rewritten.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    fn enter(&mut self, group: &Group) {
        let (files, rows, bytes, deletes) = (group.inputs.len(), group.rows(), group.bytes(), group.deletes().len());
        let before = &mut self.before;
        (before.files, before.rows, before.bytes) =
            (before.files + files as u64, before.rows + rows, before.bytes + bytes);
        self.deletes_applied += deletes;
        let (partition, spec, sorted) = (named(&group.path), group.spec_id, group.sorted);
        let z_order = group.curve.clone();
        self.partitions.push(Partition { partition, spec, files, rows, bytes, deletes, sorted, z_order });
    }

    fn done(&mut self, group: &Group, done: &Done) {
        match done {
            Done::Left(why) => self.left(group, why.clone()),
            Done::Replaced { after: [files, rows, bytes], deleted, copied } => {
                self.enter(group);
                let after = &mut self.after;
                (after.files, after.rows, after.bytes) = (after.files + files, after.rows + rows, after.bytes + bytes);
                self.rows_deleted += deleted;
                self.rows_copied += copied;
            }
        }
    }

    fn left(&mut self, group: &Group, why: String) {
        self.left_out.push(Left { partition: named(&group.path), files: group.inputs.len(), why });
    }

    fn skipped(&mut self, planned: &Plan) {
        for left in &planned.left_out {
            self.left_out.push(Left { partition: named(&left.path), files: left.files, why: left.why.clone() });
        }
    }
}

fn named(path: &str) -> String {
    path.trim_end_matches('/').to_string()
}

fn print(report: &Report, form: Output) -> Result<()> {
    match form {
        Output::Json => output::json(report),
        Output::Text if report.is_empty() => report.tell_partitions().and_then(|()| output::line("nothing to compact")),
        Output::Text => report.tell(),
    }
}

impl Report {
    /// Prints it for a person.
    pub fn tell(&self) -> Result<()> {
        self.tell_partitions()?;
        let Amount { files, rows, bytes } = self.before;
        let (files, rows, bytes) = (output::count(files), output::count(rows), output::bytes(bytes));
        if self.dry_run {
            return output::line(format!("{files} files, {rows} rows, {bytes} would be written anew"));
        }
        let after = self.after;
        output::line(format!(
            "{files} files, {rows} rows, {bytes} became {} files, {} rows, {}; deletes took {} rows out",
            output::count(after.files),
            output::count(after.rows),
            output::bytes(after.bytes),
            output::count(self.rows_deleted),
        ))
    }

    fn tell_partitions(&self) -> Result<()> {
        let row = |partition: &Partition| {
            let order = match (partition.sorted, partition.z_order.is_empty()) {
                (true, _) => "in order",
                (false, false) => "along the curve",
                (false, true) => "as they are",
            };
            let figures = [partition.files as u64, partition.rows].map(output::count);
            let [files, rows] = figures;
            let (name, bytes) = (partition.partition.clone(), output::bytes(partition.bytes));
            vec![name, files, rows, bytes, output::count(partition.deletes as u64), order.to_string()]
        };
        let rows: Vec<Vec<String>> = self.partitions.iter().map(row).collect();
        if !rows.is_empty() {
            output::table(&["partition", "files", "rows", "bytes", "deletes", "rows go"], &rows)?;
        }
        for left in &self.left_out {
            output::line(format!("left as it is: {} ({} files): {}", left.partition, left.files, left.why))?;
        }
        Ok(())
    }
}

/// Where it is done.
pub(super) enum Work<'a> {
    /// Beside a daemon: a staging folder of its own within the table's.
    Beside { source: &'a Source, store: Store, staging: PathBuf },
    /// In a lake that no daemon has.
    Within(Place<'a>, Store),
}

impl<'a> Work<'a> {
    /// Opens it for a table.
    ///
    /// # Errors
    /// `Invalid` if the table's files are elsewhere; those of the lake.
    pub fn open(source: &'a Source, table: &SourceTable) -> Result<Work<'a>> {
        match Place::open(source)? {
            Place::Daemon(source) => {
                let system = System::real();
                let folder = path_of(table.metadata.location())?;
                let elsewhere = |error| {
                    let message = "the table's files are not on this machine: run lakectl where the lake is";
                    Error::new(Kind::Invalid, message).with("folder", folder.display()).because(Error::from(error))
                };
                system.disk.stat(&folder).map_err(elsewhere)?;
                let staging = folder.join(format!(".staging-{}", system.ids.uuid().simple()));
                let store = Store::local(system, staging.clone())?;
                Ok(Work::Beside { source, store, staging })
            }
            Place::Lake { catalog, store, committer, _lock } => {
                let own = store.clone();
                Ok(Work::Within(Place::Lake { catalog, store, committer, _lock }, own))
            }
        }
    }

    /// Where files are read, and staged.
    pub fn store(&self) -> &Store {
        match self {
            Work::Beside { store, .. } | Work::Within(_, store) => store,
        }
    }

    /// Commits a replacement.
    ///
    /// # Errors
    /// Those of [`replace`].
    pub fn replace(&self, replacement: Replacement) -> Result<Replaced> {
        match self {
            Work::Within(Place::Lake { committer, .. }, _) => committer.replace(replacement),
            Work::Within(Place::Daemon(source), store) | Work::Beside { source, store, .. } => {
                let clock = System::real().clock;
                replace(&Remote { source }, store, None, &|time: Duration| clock.pause(time), replacement)
            }
        }
    }

    /// Replaces manifests.
    ///
    /// # Errors
    /// Those of [`cluster`].
    pub fn cluster(&self, clustered: Clustered) -> Result<i64> {
        match self {
            Work::Within(Place::Lake { committer, .. }, _) => committer.cluster(clustered),
            Work::Within(Place::Daemon(source), store) | Work::Beside { source, store, .. } => {
                let clock = System::real().clock;
                cluster(&Remote { source }, store, None, &|time: Duration| clock.pause(time), clustered)
            }
        }
    }

    /// Removes the folder, as far as it is empty.
    pub fn close(self) {
        if let Work::Beside { store, staging, .. } = self {
            let disk: &dyn Disk = store.disk().as_ref();
            let _ = disk.remove_dir(&staging);
        }
    }
}

/// A daemon's tables.
struct Remote<'a> {
    source: &'a Source,
}

impl Tables for Remote<'_> {
    fn current(&self, ident: &TableIdent) -> Result<Current> {
        let table = self.source.table(ident)?;
        Ok(Current { metadata: table.metadata, refs: table.refs })
    }

    fn change(&self, change: Change) -> Outcome {
        match self.source.commit(&change.ident, &change.requirements, &change.updates) {
            Ok(()) => Outcome::Committed(Vec::new()),
            Err(error) => match error.kind() {
                Kind::Conflict => Outcome::Conflict(error),
                // Who does not answer may have taken it.
                Kind::Unknown | Kind::Unavailable => Outcome::Unknown(error),
                _ => Outcome::Refused(error),
            },
        }
    }
}
