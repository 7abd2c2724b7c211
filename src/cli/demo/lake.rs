//! The demo's lake and its daemon.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use laked_catalog::system::System;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Stop;
use crate::error::{Error, Kind, Result};

/// Left in a lake that a demo has fed whole.
const MARK: &str = "demo";
/// How long the daemon may take until it is ready.
const READY: u32 = 300;
const LOOK: Duration = Duration::from_millis(100);

/// Whether the lake is to be fed: a missing or empty folder is, a demo's own is not, another needs `keep`.
pub fn claim(system: &System, lake: &Path, keep: bool) -> Result<bool> {
    let entries = match system.disk.list(lake) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::from(error).with("lake", lake.display())),
    };
    if entries.is_empty() {
        return Ok(true);
    }
    if keep || entries.iter().any(|(name, _)| name == MARK) {
        return Ok(false);
    }
    let message = "the folder is not empty, and no demo has fed it whole: remove it, name another with --lake, or use \
                   it as it is with --keep";
    Err(Error::new(Kind::Exists, message).with("lake", lake.display()))
}

/// Remembers that the sample is in.
pub fn mark_fed(system: &System, lake: &Path) -> Result<()> {
    match system.disk.create(&lake.join(MARK)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

/// What the catalog tells of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Rows a reader sees.
    pub rows: u64,
    /// Snapshots that brought them.
    pub commits: u64,
}

/// A running `laked`.
pub struct Daemon {
    child: std::sync::Mutex<Child>,
    agent: ureq::Agent,
    /// `http://host:port`.
    pub url: String,
}

impl Daemon {
    /// Starts the `laked` beside this binary and waits until it is ready.
    pub fn start(lake: &Path, listen: &str, stop: &Stop) -> Result<Self> {
        let laked = std::env::current_exe()?.with_file_name("laked");
        let mut command = Command::new(&laked);
        command.arg("--lake").arg(lake).args(["--listen", listen, "--commit-age", "1s"]).env("LAKED_LOG_LEVEL", "warn");
        // A group of its own: Ctrl-C in the terminal is the demo's to handle.
        let child = command.stdin(Stdio::null()).process_group(0).spawn().map_err(|error| {
            Error::from(error).with("program", laked.display()).with("remedy", "build it first: make build")
        })?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(STUCK));
        let daemon = Self { child: child.into(), agent: config.build().into(), url: format!("http://{listen}") };
        daemon.await_ready(stop).inspect_err(|_| {
            let _ = daemon.signal();
        })?;
        Ok(daemon)
    }

    fn await_ready(&self, stop: &Stop) -> Result<()> {
        let health = format!("{}/health", self.url);
        for _ in 0..READY {
            self.running()?;
            if self.agent.get(&health).call().is_ok_and(|response| response.status().is_success()) {
                return self.running();
            }
            stop.wait(LOOK)?;
        }
        Err(Error::new(Kind::Unavailable, "laked is not ready after half a minute").with("url", health))
    }

    /// An error if the daemon has ended by itself.
    fn running(&self) -> Result<()> {
        match self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(Error::new(Kind::Unavailable, "laked ended: see its message above").with("status", status))
            }
        }
    }

    /// What a reader would see now, by the REST catalog.
    pub fn seen(&self) -> Result<Seen> {
        self.running()?;
        let url = format!("{}/v1/namespaces/glucose/tables/cgm_readings", self.url);
        let failed = |error: ureq::Error| {
            Error::new(Kind::Unavailable, "the catalog does not answer").with("url", &url).because(error)
        };
        let table: Value = self.agent.get(&url).call().map_err(failed)?.body_mut().read_json().map_err(failed)?;
        Ok(seen(&table["metadata"]))
    }

    /// How long the oldest durable record has been waiting for its commit, in seconds.
    pub fn lag(&self) -> Result<f64> {
        let url = format!("{}/status", self.url);
        let failed = |error: ureq::Error| {
            Error::new(Kind::Unavailable, "the daemon does not answer").with("url", &url).because(error)
        };
        let status: Value = self.agent.get(&url).call().map_err(failed)?.body_mut().read_json().map_err(failed)?;
        let tables = status["tables"].as_array().into_iter().flatten();
        let lanes = tables.filter_map(|table| table["lanes"].as_array()).flatten();
        Ok(lanes.filter_map(|lane| lane["lag_seconds"].as_f64()).fold(0.0, f64::max))
    }

    /// Waits for an interrupt, or for the daemon to end.
    pub fn serve(&self, stop: &Stop) -> Result<()> {
        while stop.wait(LOOK).is_ok() {
            self.running()?;
        }
        Ok(())
    }

    /// Asks the daemon to drain, and waits for its end.
    pub fn stop(&self) -> Result<()> {
        self.signal()?;
        let status = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).wait()?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(Kind::Unavailable, "laked did not end well: see its message above").with("status", status))
    }

    fn signal(&self) -> Result<()> {
        let child = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        match pid.map(|pid| kill_process(pid, Signal::TERM)) {
            // Gone already: `wait` tells how.
            None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => Ok(()),
            Some(Err(error)) => Err(std::io::Error::from(error).into()),
        }
    }
}

/// No answer of the daemon takes longer.
const STUCK: Duration = Duration::from_secs(30);

fn seen(metadata: &Value) -> Seen {
    let current = &metadata["current-snapshot-id"];
    let snapshots = metadata["snapshots"].as_array().map_or(&[][..], Vec::as_slice);
    let latest = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == *current);
    let rows = latest.and_then(|snapshot| snapshot["summary"]["total-records"].as_str());
    Seen { rows: rows.and_then(|text| text.parse().ok()).unwrap_or(0), commits: snapshots.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_is_fed_once_and_only_if_it_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let (system, lake) = (System::real(), folder.path().join("lake"));
        assert!(claim(&system, &lake, false).expect("missing"));
        system.disk.make_dir(&lake).expect("made");
        assert!(claim(&system, &lake, false).expect("empty"));
        system.disk.create(&lake.join("thesis.tex")).expect("made");
        assert_eq!(claim(&system, &lake, false).expect_err("somebody's").kind(), Kind::Exists);
        assert!(!claim(&system, &lake, true).expect("kept"));
        mark_fed(&system, &lake).expect("marked");
        assert!(!claim(&system, &lake, false).expect("its own"));
    }

    #[test]
    fn rows_are_those_of_the_current_snapshot() {
        let metadata = serde_json::json!({"current-snapshot-id": 2, "snapshots": [
            {"snapshot-id": 1, "summary": {"total-records": "10"}},
            {"snapshot-id": 2, "summary": {"total-records": "25"}}]});
        assert_eq!(seen(&metadata), Seen { rows: 25, commits: 2 });
        assert_eq!(seen(&serde_json::json!({"current-snapshot-id": -1})), Seen::default());
    }
}
