//! `lakectl doctor`: holds a lake to the invariants that can be told from it alone.

use std::path::Path;

use clap::Args;
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde_json::json;

use super::{Output, output};
use crate::error::{Error, Kind, Result};
use crate::maintain::invariants::{Depth, doctor};
use crate::read::{Source, source};

/// Check a lake.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Decode and count every data file, too.
    #[arg(long)]
    deep: bool,
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
        // With a daemon at work, files are staged and commits are open all the time.
        let lock = system.disk.lock(&folder.join("lock")).ok();
        let (intents, staging) = (folder.join("intents"), folder.join("staging"));
        let open = if lock.is_some() { names(&system, &intents) } else { Vec::new() };
        let staged = lock.as_ref().map(|_| staging.as_path()).filter(|path| system.disk.stat(path).is_ok());
        let depth = if self.deep { Depth::Deep } else { Depth::Shallow };
        let report = doctor(&catalog, &store, &open, staged, depth)?;
        match form {
            Output::Json => output::json(&json!({
                "tables": report.tables, "files": report.files,
                "violations": report.violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }))?,
            Output::Text => {
                let (tables, files) = (output::count(report.tables as u64), output::count(report.files as u64));
                println!("{tables} tables, {files} files looked at{}", if self.deep { " and decoded" } else { "" });
                report.violations.iter().for_each(|violation| println!("{violation}"));
            }
        }
        match report.violations.len() {
            0 => Ok(()),
            broken => Err(Error::new(Kind::Corrupt, "the lake is not as it must be; deploy/RUNBOOK.md says what to do")
                .with("violations", broken)),
        }
    }
}

fn names(system: &System, folder: &Path) -> Vec<String> {
    let entries = system.disk.list(folder).unwrap_or_default();
    entries.into_iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
}
