//! `lakectl health`: whether the daemon is well, for supervisors, which needs no token; or how a table is.

use clap::Args;
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde::Serialize;
use serde_json::Value;

use super::{Output, output};
use crate::daemon::maintenance::{RunView, Schedule};
use crate::error::{Error, Kind, Result};
use crate::maintain::health::{Health as Judged, judge};
use crate::maintain::schedule::Due;
use crate::read::source::{ident_of, table_path};
use crate::read::{Predicate, Source, plan};

/// Whether the daemon is well, or how a table is.
#[derive(Args, Debug)]
pub struct Health {
    /// The table, as namespace.table; the daemon if absent.
    table: Option<String>,
}

impl Health {
    /// Prints its state; a daemon that is not ready is a failure.
    ///
    /// # Errors
    /// `Unavailable` if it does not answer or is not ready; `Invalid` with `--lake` and no table; `NotFound`.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        if let Some(table) = &self.table {
            return of_table(source, table, form);
        }
        let Source::Daemon(remote) = source else {
            let message = "health is a running daemon's: give --url, or name a table, or use lakectl doctor";
            return Err(Error::new(Kind::Invalid, message));
        };
        let health: Value = remote.get("/health")?;
        match form {
            Output::Json => output::json(&health),
            Output::Text => output::line(health["status"].as_str().unwrap_or("unknown")),
        }
    }
}

fn of_table(source: &Source, table: &str, form: Output) -> Result<()> {
    let table = source.table(&ident_of(table)?)?;
    let system = System::real();
    let (store, now_ms) = (Store::read_only(system.clone()), system.clock.now_ms());
    let metadata = &table.metadata;
    let plan = plan::plan(&store, metadata, metadata.current_snapshot(), &Predicate::True, true)?;
    let health = judge(metadata, &table.refs, &plan, store.len(&table.metadata_location)?, now_ms)?;
    let schedule: Option<Schedule> = match source {
        Source::Daemon(remote) => Some(remote.get(&format!("/maintain/{}/schedule", table_path(&table.ident)))?),
        Source::Lake(_) => None,
    };
    if form == Output::Json {
        return output::json(&Told { health, schedule });
    }
    print(&health)?;
    match schedule {
        Some(schedule) => print_schedule(&schedule),
        None => output::line("schedule: without a daemon nothing is done by itself"),
    }
}

/// How a table is, and what is to come of it.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    health: Judged,
    /// A running daemon's.
    schedule: Option<Schedule>,
}

fn print_schedule(schedule: &Schedule) -> Result<()> {
    if let Some(RunView { run, .. }) = &schedule.running {
        output::line(format!("running: {}, {} since {}", run.id, run.task, output::time(run.began_ms)))?;
    }
    for next in &schedule.next {
        let when = match next.due {
            Due::Now => "now".to_string(),
            Due::At(at) => format!("at {}", output::time(at)),
            Due::OnCommits => "when more is committed".to_string(),
            Due::Off => "not by itself".to_string(),
        };
        output::line(format!("schedule: {} {when}: {}", next.task.name(), next.why))?;
    }
    schedule.problems.iter().try_for_each(|problem| output::line(format!("schedule: passed over: {problem}")))
}

fn print(health: &Judged) -> Result<()> {
    let oldest = health.oldest_snapshot_ms.map_or("none".to_string(), output::time);
    let skew = health.skew.map_or("-".to_string(), |skew| format!("{skew:.1}"));
    let lines = [
        ("files", format!("{}, {} small", output::count(health.data_files), output::count(health.small_files))),
        ("rows", output::count(health.rows)),
        ("bytes", output::bytes(health.bytes)),
        ("deletes", format!("{} files, {:.1} % of the rows", health.delete_files, health.delete_debt * 100.0)),
        ("partitions", format!("{}, skew {skew}", output::count(health.partitions as u64))),
        ("manifests", output::count(health.manifests as u64)),
        ("metadata", output::bytes(health.metadata_bytes)),
        ("snapshots", format!("{}, {} past their retention", health.snapshots, health.expired_snapshots)),
        ("oldest", oldest),
        ("kept by branches and tags", output::count(health.kept_by_refs as u64)),
    ];
    lines.iter().try_for_each(|(name, text)| output::line(format!("{name:<26}{text}")))?;
    if health.findings.is_empty() {
        return output::line("nothing to mend");
    }
    health.findings.iter().try_for_each(|finding| output::line(format!("{}: {}", finding.kind, finding.what)))
}
