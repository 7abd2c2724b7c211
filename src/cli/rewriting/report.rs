//! What became of a table's files, for people and programs.

use serde::Serialize;

use crate::cli::output;
use crate::daemon::compaction::{Done, Stepped};
use crate::error::Result;
use crate::maintain::compact::{Group, Plan};

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
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

    /// What a step did, and all that is left out now; whether others were faster somewhere.
    pub fn stepped(&mut self, stepped: &Stepped) -> bool {
        self.left_out.clear();
        self.skipped(&stepped.plan);
        let mut left = false;
        for (group, done) in stepped.plan.groups.iter().zip(&stepped.done) {
            left |= matches!(done, Done::Left(_));
            self.done(group, done);
        }
        self.snapshots.extend(stepped.snapshot_id);
        left
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

    /// Prints what each partition has, and what is left out.
    pub fn tell_partitions(&self) -> Result<()> {
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

fn named(path: &str) -> String {
    path.trim_end_matches('/').to_string()
}
