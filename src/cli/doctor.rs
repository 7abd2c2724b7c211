//! `lakectl doctor`: holds a lake to the invariants that can be told from it alone.

use std::path::Path;

use clap::Args;
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde_json::json;

use super::{Output, output};
use crate::commit::Intents;
use crate::error::{Error, Kind, Result};
use crate::maintain::invariants::{Depth, doctor};
use crate::read::{Source, source};

/// Check a lake.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Decode and count every data file, too.
    #[arg(long)]
    deep: bool,
    /// The daemon was stopped in order: no commit may be open and nothing may be staged.
    #[arg(long)]
    stopped: bool,
}

impl Doctor {
    /// Checks and reports; fails if something is not as it must be.
    ///
    /// # Errors
    /// `Corrupt` if an invariant is broken; `Invalid` without `--lake`; catalog and storage errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let Source::Lake(folder) = source else {
            return Err(Error::new(Kind::Invalid, "the doctor looks at files: give the lake's folder with --lake DIR"));
        };
        let catalog = source::open_catalog(folder)?;
        let system = System::real();
        let store = Store::read_only(system.clone());
        // With a daemon at work, or killed at work, files are staged and commits are open.
        let staging = folder.join("staging");
        let staging = Some(staging.as_path()).filter(|path| self.stopped && system.disk.stat(path).is_ok());
        let open = if self.stopped { open_commits(&system, folder)? } else { Vec::new() };
        let depth = if self.deep { Depth::Deep } else { Depth::Shallow };
        let report = doctor(&catalog, &store, &open, staging, depth)?;
        match form {
            Output::Json => output::json(&json!({
                "tables": report.tables, "files": report.files,
                "violations": report.violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }))?,
            Output::Text => {
                let (tables, files) = (output::count(report.tables as u64), output::count(report.files as u64));
                let how = if self.deep { "decoded" } else { "looked at" };
                output::line(format!("{tables} tables, {files} files {how}"))?;
                report.violations.iter().try_for_each(output::line)?;
            }
        }
        match report.violations.len() {
            0 => Ok(()),
            broken => {
                Err(Error::new(Kind::Corrupt, "the lake is not as it must be; deploy/runbook.md says what to do")
                    .with("violations", broken))
            }
        }
    }
}

fn open_commits(system: &System, folder: &Path) -> Result<Vec<String>> {
    let intents = Intents::open(system.disk.clone(), folder.join("intents"))?;
    Ok(intents.pending().iter().map(|intent| intent.commit.to_string()).collect())
}
