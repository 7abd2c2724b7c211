//! A lake of one table of numbered readings, with nobody in it yet: its contract, its folders, the command that serves it.

#![allow(clippy::disallowed_methods, reason = "who runs a daemon is no part of the product")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::daemon::binary;

/// The table's name.
pub const TABLE: &str = "probe.readings";
/// The table's contract.
pub const CONTRACT: &str = r#"
[table]
version = 1
partition = ["place"]

[fields]
n = { type = "long", required = true, range = [0, 1000000] }
place = { type = "string", required = true, enum = ["TW", "JP"] }
at = "timestamptz"
"#;

/// The folder that the lake and its contract lie in; it goes with this value.
pub struct Readings(TempDir);

impl Readings {
    /// The contract, and no lake.
    pub fn new() -> Readings {
        let readings = Readings(tempfile::tempdir().expect("a temporary folder"));
        fs::create_dir_all(readings.schemas().join("probe")).expect("a folder");
        fs::write(readings.contract(), CONTRACT).expect("writes");
        readings
    }

    /// What everything lies in.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The lake's folder.
    pub fn lake(&self) -> PathBuf {
        self.path().join("lake")
    }

    /// The contracts' folder.
    pub fn schemas(&self) -> PathBuf {
        self.path().join("schemas")
    }

    /// The table's contract.
    pub fn contract(&self) -> PathBuf {
        self.schemas().join("probe/readings.toml")
    }

    /// `laked` over the lake, on a free port.
    pub fn served(&self) -> Command {
        let mut command = Command::new(binary("laked"));
        command.arg("--lake").arg(self.lake()).args(["--listen", "127.0.0.1:0"]);
        command.arg("--schemas").arg(self.schemas());
        command
    }
}
