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

/// A look, or the run that followed, failed; it is tried again.
pub fn maintenance_failed(table: &str, task: &'static str, error: &Error) {
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
