//! `lakectl cherry-pick`.

use clap::Args;
use iceberg::TableIdent;
use laked_catalog::Catalog;

use super::change::Target;
use super::{Output, output};
use crate::commit::Committer;
use crate::daemon::picking::pick;
use crate::error::Result;
use crate::maintain::cherry_pick::{Request, preview};
use crate::read::Source;

/// Add what a snapshot added to `main` too.
#[derive(Args, Debug)]
pub struct CherryPick {
    #[command(flatten)]
    target: Target,
    /// The snapshot's id.
    snapshot: i64,
}

impl CherryPick {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for the snapshot; those of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let request = Request { snapshot: self.snapshot, dry_run: self.target.dry_run };
        let work =
            |catalog: &Catalog, committer: Option<&Committer>, ident: &TableIdent, request: &Request| match committer {
                Some(committer) => pick(catalog, committer, ident, request),
                None => preview(catalog, ident, request),
            };
        let report = self.target.upkeep_with(source, "cherry-pick", &request, work)?;
        if form == Output::Json {
            return output::json(&report);
        }
        let name = |id: Option<i64>| id.map_or("none".to_string(), |id| id.to_string());
        let how = match (report.dry_run, report.fast_forward) {
            (true, true) => "would become the current snapshot".to_string(),
            (true, false) => "would be appended".to_string(),
            (false, true) => "is the current snapshot".to_string(),
            (false, false) => format!("is appended by {}", name(report.to)),
        };
        let (files, rows, bytes) =
            (output::count(report.files), output::count(report.rows), output::bytes(report.bytes));
        output::line(format!(
            "{} {how}: {files} files, {rows} rows, {bytes}; before it {}",
            self.snapshot,
            name(report.from)
        ))
    }
}
