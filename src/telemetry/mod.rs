//! Named events: one function each, that is the log line and the metric at once, so that the two never disagree.

mod log;
pub mod maintenance;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use log::init;

use crate::error::{Error, Kind, Result};
use crate::flow::Door;

static PROMETHEUS: OnceLock<PrometheusHandle> = OnceLock::new();
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

/// Records metrics in this process from now on; again is fine.
pub fn record_metrics() -> Result<()> {
    if PROMETHEUS.get().is_some() {
        return Ok(());
    }
    let internal = |e: Box<dyn std::error::Error + Send + Sync>| Error::new(Kind::Internal, "metrics").because(e);
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .map_err(|e| internal(e.into()))?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if PROMETHEUS.set(handle).is_ok() {
        metrics::set_global_recorder(recorder).map_err(|e| internal(e.to_string().into()))?;
        describe();
    }
    Ok(())
}

/// The metrics in Prometheus' text form.
pub fn render() -> String {
    shown(&PROMETHEUS.get().map(PrometheusHandle::render).unwrap_or_default())
}

/// Without gauges that are no number: the recorder cannot forget a series, and these are of tables that are gone.
fn shown(rendered: &str) -> String {
    rendered.split_inclusive('\n').filter(|line| !line.trim_end().ends_with(" NaN")).collect()
}

/// Drains what histograms collected; to be called every few seconds.
pub fn upkeep() {
    if let Some(handle) = PROMETHEUS.get() {
        handle.run_upkeep();
    }
}

fn describe() {
    describe_counter!("laked_records_total", "Source records made durable, by table, door and outcome");
    describe_counter!("laked_rejects_total", "Records in quarantine, by table and the first reason code of each");
    describe_counter!("laked_rows_committed_total", "Rows committed");
    describe_counter!("laked_bytes_committed_total", "Bytes of data files committed");
    describe_counter!("laked_files_committed_total", "Data files committed");
    describe_counter!("laked_commits_total", "Commits");
    describe_counter!("laked_sources_stopped_total", "Sources stopped: bad files, too many bad records");
    describe_counter!("laked_requests_total", "Requests to the HTTP door, by table and status");
    describe_counter!("laked_lane_failures_total", "Failures of a lane, by kind");
    describe_counter!("laked_reports_total", "Metrics reports of clients, by kind and table");
    describe_counter!("laked_reported_scan_files_total", "Data files that clients say their scans read, by table");
    describe_counter!("laked_reported_scan_bytes_total", "Bytes of files that clients say their scans read, by table");
    describe_counter!("laked_reported_commit_rows_total", "Rows that clients say they added, by table");
    describe_counter!("laked_reported_commit_files_total", "Data files that clients say they added, by table");
    describe_histogram!("laked_reported_planning_seconds", "How long clients say planning a scan took, by table");
    describe_histogram!("laked_reported_commit_seconds", "How long clients say a commit took, by table");
    describe_gauge!("laked_lag_seconds", "Age of the oldest durable record that is not committed");
    describe_gauge!("laked_last_commit_timestamp_seconds", "When a table was last committed to");
    describe_gauge!("laked_spool_bytes", "Bytes in the spool that are not committed");
    describe_gauge!("laked_commit_age_stretch", "How many times longer than its age a commit waits");
    describe_gauge!("laked_memory_bytes", "Bytes of the memory budget in use");
    describe_gauge!("laked_lane_halted", "1 while a lane is halted");
    describe_gauge!("laked_contract_version", "The version of the contract that a table's records are held to");
    describe_gauge!("laked_contract_waiting", "1 while the schemas folder has another contract than is in force");
    describe_gauge!("laked_contracts_unfit", "Contracts of the schemas folder that cannot be used; the log says why");
    describe_histogram!("laked_stage_seconds", "Seconds a stage took for one commit");
    maintenance::describe();
}

/// Records are durable.
pub fn durable(table: &str, door: Door, accepted: u64, rejected: u64) {
    let door = door.to_string();
    for (outcome, count) in [("accepted", accepted), ("rejected", rejected)] {
        if count > 0 {
            counter!("laked_records_total", "table" => table.to_owned(), "door" => door.clone(), "outcome" => outcome)
                .increment(count);
        }
    }
}

/// Records are in quarantine, for this reason first.
pub fn rejected(table: &str, code: &str, count: u64) {
    counter!("laked_rejects_total", "table" => table.to_owned(), "code" => code.to_owned()).increment(count);
}

/// A request to the HTTP door was answered.
pub fn answered(table: &str, status: u16) {
    counter!("laked_requests_total", "table" => table.to_owned(), "status" => status.to_string()).increment(1);
    if status >= 500 {
        tracing::warn!(table, status, "request failed");
    }
}

/// What one commit did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Rows.
    pub rows: u64,
    /// Refused records.
    pub rejects: u64,
    /// Data files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sealing.
    pub seal: Duration,
    /// Publishing and the catalog's part.
    pub commit: Duration,
}

/// A commit is in the table.
pub fn committed(table: &str, lane: &str, mark: &str, now_ms: i64, done: &Done) {
    let label = || table.to_owned();
    counter!("laked_rows_committed_total", "table" => label()).increment(done.rows);
    counter!("laked_bytes_committed_total", "table" => label()).increment(done.bytes);
    counter!("laked_files_committed_total", "table" => label()).increment(done.files);
    counter!("laked_commits_total", "table" => label()).increment(1);
    gauge!("laked_last_commit_timestamp_seconds", "table" => label()).set(now_ms as f64 / 1000.0);
    histogram!("laked_stage_seconds", "stage" => "seal").record(done.seal.as_secs_f64());
    histogram!("laked_stage_seconds", "stage" => "commit").record(done.commit.as_secs_f64());
    tracing::info!(
        table,
        rows = done.rows,
        rejects = done.rejects,
        files = done.files,
        bytes = done.bytes,
        ms = (done.seal + done.commit).as_millis() as u64,
        lane,
        mark,
        "committed"
    );
}

/// A lane's commits wait this many times longer than their age.
pub fn age_stretch(table: &str, door: Door, factor: f64) {
    gauge!("laked_commit_age_stretch", "table" => table.to_owned(), "door" => door.to_string()).set(factor);
}

/// Figures that are read, not counted: at each scrape.
pub fn lane_figures(table: &str, door: Door, lag: Option<Duration>, bytes: u64, halted: bool) {
    let (table, door) = (table.to_owned(), door.to_string());
    gauge!("laked_lag_seconds", "table" => table.clone(), "door" => door.clone())
        .set(lag.unwrap_or_default().as_secs_f64());
    gauge!("laked_spool_bytes", "table" => table.clone(), "door" => door.clone()).set(bytes as f64);
    gauge!("laked_lane_halted", "table" => table, "door" => door).set(f64::from(u8::from(halted)));
}

/// A table's records are held to this version from now on.
pub fn contract_in_force(table: &str, version: u32) {
    gauge!("laked_contract_version", "table" => table.to_owned()).set(f64::from(version));
    tracing::info!(table, version, "contract in force");
}

/// The schemas folder has another version than is in force, and why; or no longer.
pub fn contract_waits(table: &str, waiting: Option<(u32, &str)>) {
    gauge!("laked_contract_waiting", "table" => table.to_owned()).set(f64::from(u8::from(waiting.is_some())));
    if let Some((version, reason)) = waiting {
        tracing::warn!(table, version, reason, "contract not in force");
    }
}

/// So many contracts of the schemas folder cannot be used, for these reasons; those in force stay.
pub fn contracts_unfit(reasons: &[String]) {
    gauge!("laked_contracts_unfit").set(reasons.len() as f64);
    for reason in reasons {
        tracing::error!(reason, "contract cannot be used; the one in force stays");
    }
}

/// Bytes of the memory budget in use.
pub fn memory(bytes: usize) {
    gauge!("laked_memory_bytes").set(bytes as f64);
}

/// A source was stopped; the daemon goes on.
pub fn source_stopped(table: &str, source: &str, reason: &str) {
    counter!("laked_sources_stopped_total", "table" => table.to_owned()).increment(1);
    tracing::warn!(table, source, reason, "source stopped");
}

/// The same bytes came before.
pub fn duplicate(table: &str, source: &str, of: u64) {
    counter!("laked_duplicates_total", "table" => table.to_owned()).increment(1);
    tracing::info!(table, source, of_entry = of, "duplicate file: not ingested again");
}

/// A lane failed and tries again.
pub fn lane_failed(table: &str, door: Door, error: &Error, again_in: Duration) {
    counter!("laked_lane_failures_total", "table" => table.to_owned(), "kind" => error.kind().slug()).increment(1);
    tracing::warn!(table, %door, kind = error.kind().slug(), %error, again_ms = again_in.as_millis() as u64, "lane failed; it tries again");
}

/// A lane halted; others go on.
pub fn lane_halted(table: &str, door: Door, error: &Error) {
    counter!("laked_lane_failures_total", "table" => table.to_owned(), "kind" => error.kind().slug()).increment(1);
    tracing::error!(table, %door, kind = error.kind().slug(), %error, "lane halted");
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_is_no_number_is_not_shown() {
        let rendered = "# TYPE a gauge\na{table=\"n.t\"} NaN\na{table=\"n.NaN\"} 1\nb 2\n";
        assert_eq!(shown(rendered), "# TYPE a gauge\na{table=\"n.NaN\"} 1\nb 2\n");
    }
}
