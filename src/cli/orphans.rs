//! `lakectl remove-orphans`.

use clap::Args;

use super::change::Target;
use super::{Output, output};
use crate::config::Age;
use crate::error::Result;
use crate::maintain::orphans::{Report, Request, remove_orphans};
use crate::read::Source;

/// Names that are printed.
const SHOWN: usize = 20;

/// Remove files that nothing names.
#[derive(Args, Debug)]
pub struct RemoveOrphans {
    #[command(flatten)]
    target: Target,
    /// Only files that were last changed longer ago.
    #[arg(long, value_name = "AGE", default_value = "3d", allow_hyphen_values = true)]
    older_than: Age,
    /// Even if that is less than a day: nobody else writes the table.
    #[arg(long)]
    force: bool,
}

impl RemoveOrphans {
    /// Looks, removes, prints.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the age; storage errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let older_than_ms = i64::try_from(self.older_than.get().as_millis()).unwrap_or(i64::MAX);
        let request = Request { older_than_ms, force: self.force, dry_run: self.target.dry_run };
        let report = self.target.upkeep(source, "remove-orphans", &request, |catalog, ident, request| {
            // Without a daemon no commit is under way: the lake is locked, and what was open is settled.
            remove_orphans(catalog, ident, request, &Vec::new)
        })?;
        match form {
            Output::Json => output::json(&report),
            Output::Text => print(&report),
        }
    }
}

fn print(report: &Report) -> Result<()> {
    report.named.iter().take(SHOWN).try_for_each(output::line)?;
    if report.files > SHOWN as u64 {
        output::line("… (--output json names more)")?;
    }
    let verb = if report.dry_run { "would be removed" } else { "are removed" };
    let (files, bytes) = (output::count(report.files), output::bytes(report.bytes));
    output::line(format!("{files} files, {bytes}, {verb}; {} are too young", output::count(report.young)))?;
    report.shared.iter().try_for_each(|folder| output::line(format!("left alone, others use it: {folder}")))
}
