//! What is done to tables by itself.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::error::Error;

/// Describes the metrics.
pub(super) fn describe() {
    describe_counter!(
        "laked_maintenance_runs_total",
        "Runs of maintenance that ended, by table, task and how they ended"
    );
    describe_counter!(
        "laked_maintenance_failures_total",
        "Looks and runs that failed and are tried again, by table, task (look: what is to come could not be told) and kind"
    );
    describe_counter!(
        "laked_maintenance_held_total",
        "Runs that were put off because another daemon had one of the table"
    );
    describe_counter!("laked_maintenance_rows_deleted_total", "Rows that compaction took out for deletes, by table");
    describe_counter!(
        "laked_maintenance_left_out_total",
        "Partitions that compaction left as they were after rewriting them, by table; the run says why"
    );
    describe_counter!("laked_maintenance_unlinked_total", "Files of expired snapshots that are unlinked");
    describe_gauge!("laked_maintenance_steps", "Steps that the run that goes on has committed");
    describe_gauge!("laked_maintenance_partitions", "Partitions of its step");
    describe_gauge!("laked_maintenance_partitions_rewritten", "Of them, those that are rewritten");
    describe_counter!("laked_maintenance_looks_total", "Looks at a table that found nothing to do, by table and task");
    describe_counter!(
        "laked_maintenance_files_total",
        "Files that maintenance took away and put there, by table and task"
    );
    describe_counter!("laked_maintenance_rows_total", "Rows that compaction read, by table");
    describe_counter!("laked_maintenance_bytes_total", "Bytes of the files that maintenance took away and put there");
    describe_counter!("laked_maintenance_snapshots_total", "Snapshots that expired by the schedule, by table");
    describe_gauge!("laked_maintenance_yielded_seconds", "Seconds that runs have waited for ingestion, in all");
    describe_histogram!("laked_maintenance_run_seconds", "Seconds a run took, by task");
    describe_gauge!("laked_maintenance_running", "1 while a run goes on, by task");
    describe_gauge!("laked_maintenance_due", "Tasks that are due and wait for their turn");
    describe_gauge!("laked_maintenance_tables", "Tables that are looked after");
    describe_gauge!("laked_maintenance_problems", "Properties of a table's policy that cannot be understood");
    describe_gauge!("laked_maintenance_last_run_timestamp_seconds", "When a run last ended, by table and task");
    describe_gauge!("laked_table_snapshots", "Snapshots of a table that is looked after");
    describe_gauge!("laked_table_expired_snapshots", "Of them, those past their retention");
    describe_gauge!("laked_table_files", "Data files of a table, when compaction last looked at it");
    describe_gauge!("laked_table_small_files", "Of them, small ones in partitions with five or more");
    describe_gauge!("laked_table_delete_files", "Delete files of a table, when compaction last looked at it");
    describe_gauge!("laked_table_delete_debt", "Rows deleted by position, over the table's rows");
    describe_gauge!("laked_table_partitions_waiting", "Partitions whose small files have not cooled yet");
}

/// A run has begun.
pub fn run_began(table: &str, task: &'static str, run: &str, why: &str) {
    gauge!("laked_maintenance_running", "task" => task).set(1.0);
    tracing::info!(table, task, run, why, "maintenance begins");
}

/// A run has ended.
pub fn run_ended(table: &str, task: &'static str, (run, state): (&str, &'static str), took: Duration, now_ms: i64) {
    gauge!("laked_maintenance_running", "task" => task).set(0.0);
    progress(0, 0, 0);
    counter!("laked_maintenance_runs_total", "table" => table.to_owned(), "task" => task, "outcome" => state)
        .increment(1);
    histogram!("laked_maintenance_run_seconds", "task" => task).record(took.as_secs_f64());
    gauge!("laked_maintenance_last_run_timestamp_seconds", "table" => table.to_owned(), "task" => task)
        .set(now_ms as f64 / 1000.0);
    tracing::info!(table, task, run, outcome = state, ms = took.as_millis() as u64, "maintenance ended");
}

/// A look found nothing to do.
pub fn looked(table: &str, task: &'static str) {
    counter!("laked_maintenance_looks_total", "table" => table.to_owned(), "task" => task).increment(1);
}

/// Another daemon has a run of the table.
pub fn held(table: &str, task: &'static str) {
    counter!("laked_maintenance_held_total", "table" => table.to_owned(), "task" => task).increment(1);
}

/// A daemon that died had begun this run.
pub fn cut_off(table: &str, task: &str, run: &str) {
    let labels = [("table", table.to_owned()), ("task", task.to_owned()), ("outcome", "cut-off".to_owned())];
    counter!("laked_maintenance_runs_total", &labels).increment(1);
    tracing::warn!(table, task, run, "a run was cut off");
}

/// How far the run that goes on is.
pub fn progress(steps: u64, partitions: usize, rewritten: usize) {
    gauge!("laked_maintenance_steps").set(steps as f64);
    gauge!("laked_maintenance_partitions").set(partitions as f64);
    gauge!("laked_maintenance_partitions_rewritten").set(rewritten as f64);
}

/// Rows went for deletes.
pub fn rows_deleted(table: &str, rows: u64) {
    counter!("laked_maintenance_rows_deleted_total", "table" => table.to_owned()).increment(rows);
}

/// A partition was left as it was.
pub fn left_out(table: &str) {
    counter!("laked_maintenance_left_out_total", "table" => table.to_owned()).increment(1);
}

/// Files of expired snapshots are gone.
pub fn unlinked(files: u64) {
    counter!("laked_maintenance_unlinked_total").increment(files);
}

fn failure(table: &str, task: &'static str, error: &Error) {
    let labels = [("table", table.to_owned()), ("task", task.to_owned()), ("kind", error.kind().slug().to_owned())];
    counter!("laked_maintenance_failures_total", &labels).increment(1);
}

/// What is to come of a table cannot be told; it is looked at again.
pub fn look_failed(table: &str, error: &Error) {
    failure(table, "look", error);
    tracing::warn!(table, %error, "a table's schedule cannot be told; it is tried again later");
}

/// A look, or the run that followed, failed; it is tried again.
pub fn maintenance_failed(table: &str, task: &'static str, error: &Error) {
    failure(table, task, error);
    tracing::warn!(table, task, kind = error.kind().slug(), %error, "maintenance failed; it is tried again later");
}

/// Files and bytes that a task took away and put there.
pub fn rewritten(table: &str, task: &'static str, before: [u64; 3], after: [u64; 3]) {
    for (way, [files, rows, bytes]) in [("removed", before), ("added", after)] {
        let labels = || [("table", table.to_owned()), ("task", task.to_owned()), ("way", way.to_owned())];
        counter!("laked_maintenance_files_total", &labels()).increment(files);
        counter!("laked_maintenance_bytes_total", &labels()).increment(bytes);
        if way == "removed" && rows > 0 {
            counter!("laked_maintenance_rows_total", "table" => table.to_owned()).increment(rows);
        }
    }
}

/// Snapshots expired.
pub fn expired(table: &str, snapshots: u64) {
    counter!("laked_maintenance_snapshots_total", "table" => table.to_owned()).increment(snapshots);
}

/// A run waited for ingestion.
pub fn yielded(time: Duration) {
    // A counter holds whole numbers; a gauge that only rises holds parts of seconds.
    gauge!("laked_maintenance_yielded_seconds").increment(time.as_secs_f64());
}

/// How many tables are looked after, and how many tasks wait for their turn.
pub fn schedule(tables: usize, due: usize) {
    gauge!("laked_maintenance_tables").set(tables as f64);
    gauge!("laked_maintenance_due").set(due as f64);
}

/// A table as the schedule sees it.
pub fn scheduled(table: &str, snapshots: usize, expirable: usize, problems: usize) {
    gauge!("laked_table_snapshots", "table" => table.to_owned()).set(snapshots as f64);
    gauge!("laked_table_expired_snapshots", "table" => table.to_owned()).set(expirable as f64);
    gauge!("laked_maintenance_problems", "table" => table.to_owned()).set(problems as f64);
}

/// A table as compaction has seen it.
pub fn files_seen(table: &str, files: usize, waiting: usize) {
    gauge!("laked_table_files", "table" => table.to_owned()).set(files as f64);
    gauge!("laked_table_partitions_waiting", "table" => table.to_owned()).set(waiting as f64);
}

/// A table's small files and deletes: their number, that of the delete files, and the share of rows that are deleted.
pub fn debts(table: &str, small: u64, deletes: u64, debt: f64) {
    gauge!("laked_table_small_files", "table" => table.to_owned()).set(small as f64);
    gauge!("laked_table_delete_files", "table" => table.to_owned()).set(deletes as f64);
    gauge!("laked_table_delete_debt", "table" => table.to_owned()).set(debt);
}

/// Gauges of a table, as long as it is looked after.
const OF_TABLE: [&str; 8] = [
    "laked_table_snapshots",
    "laked_table_expired_snapshots",
    "laked_maintenance_problems",
    "laked_table_files",
    "laked_table_partitions_waiting",
    "laked_table_small_files",
    "laked_table_delete_files",
    "laked_table_delete_debt",
];

/// A table is gone, or nobody looks after it any more: its gauges are no numbers, and are not shown.
pub fn forgotten(table: &str) {
    for name in OF_TABLE {
        gauge!(name, "table" => table.to_owned()).set(f64::NAN);
    }
}
