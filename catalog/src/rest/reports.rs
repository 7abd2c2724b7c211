//! Metrics reports: kept, the last few of each table, and counted.
//!
//! Clients report how a scan was planned and how a commit went. Reports are for people who look: they are kept in
//! memory, bounded, and gone with the process; the series are what lasts, in whatever scrapes them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use iceberg::TableIdent;
use metrics::{counter, histogram};
use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// Reports kept of a table, and in all.
const OF_TABLE: usize = 20;
const TABLES: usize = 500;

/// The longest report, in bytes.
pub const LENGTH: usize = 64 << 10;

/// The reports that are kept.
#[derive(Debug, Default)]
pub struct Reports {
    kept: Mutex<HashMap<TableIdent, VecDeque<Value>>>,
}

impl Reports {
    /// Keeps and counts a report.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub fn add(&self, ident: TableIdent, body: &[u8]) -> Result<()> {
        if body.len() > LENGTH {
            return Err(Error::new(Kind::Invalid, format!("a metrics report has at most {LENGTH} bytes")));
        }
        let report: Value = super::body::parse(body)?;
        let kind = match report.get("report-type").and_then(Value::as_str) {
            Some("scan-report") => "scan",
            Some("commit-report") => "commit",
            // Later versions of the protocol may have others.
            Some(_) => "other",
            None => return Err(Error::new(Kind::Invalid, "a metrics report has a 'report-type'")),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TABLES && !kept.contains_key(&ident) {
            kept.clear();
        }
        count(kind, &ident.to_string(), &report);
        let list = kept.entry(ident).or_default();
        if list.len() >= OF_TABLE {
            list.pop_front();
        }
        list.push_back(report);
        Ok(())
    }

    /// A table's last reports, oldest first.
    pub fn of(&self, ident: &TableIdent) -> Vec<Value> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(ident).map(|list| list.iter().cloned().collect()).unwrap_or_default()
    }
}

fn count(kind: &'static str, table: &str, report: &Value) {
    let table = table.to_string();
    counter!("laked_reports_total", "kind" => kind, "table" => table.clone()).increment(1);
    let Some(metrics) = report.get("metrics") else { return };
    let number = |name: &str| metrics.get(name).and_then(|metric| metric.get("value")).and_then(Value::as_u64);
    let seconds = |name: &str| {
        let timer = metrics.get(name)?;
        let unit = match timer.get("time-unit").and_then(Value::as_str)? {
            "nanoseconds" => 1e-9,
            "microseconds" => 1e-6,
            "milliseconds" => 1e-3,
            "seconds" => 1.0,
            _ => return None,
        };
        Some(timer.get("total-duration").and_then(Value::as_f64)? * unit)
    };
    for (name, series) in [
        ("result-data-files", "laked_reported_scan_files_total"),
        ("total-file-size-in-bytes", "laked_reported_scan_bytes_total"),
        ("added-records", "laked_reported_commit_rows_total"),
        ("added-data-files", "laked_reported_commit_files_total"),
    ] {
        if let Some(value) = number(name) {
            counter!(series, "table" => table.clone()).increment(value);
        }
    }
    for (name, series) in [
        ("total-planning-duration", "laked_reported_planning_seconds"),
        ("total-duration", "laked_reported_commit_seconds"),
    ] {
        if let Some(value) = seconds(name).filter(|value| value.is_finite() && *value >= 0.0) {
            histogram!(series, "table" => table.clone()).record(value);
        }
    }
}
