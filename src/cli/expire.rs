//! `lakectl expire`.

use clap::Args;

use super::change::Target;
use super::{Output, output};
use crate::config::Age;
use crate::error::Result;
use crate::maintain::expire::{Report, Request, expire};
use crate::maintain::retention::Asked;
use crate::read::Source;

/// Take old snapshots out of a table; their files are unlinked later.
#[derive(Args, Debug)]
pub struct Expire {
    #[command(flatten)]
    target: Target,
    /// Snapshots that are older go, as 5d; else the table's properties say.
    #[arg(long, value_name = "AGE", allow_hyphen_values = true)]
    older_than: Option<Age>,
    /// Keep at least so many of each branch.
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    retain_last: Option<i64>,
    /// Just this snapshot, whatever its age; can be given again.
    #[arg(long, value_name = "ID", conflicts_with_all = ["older_than", "retain_last"])]
    snapshot: Vec<i64>,
    /// How long the files stay, for readers that have begun.
    #[arg(long, value_name = "AGE", default_value = "1h", allow_hyphen_values = true)]
    grace: Age,
}

impl Expire {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` as the plan says; those of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ms = |age: Age| i64::try_from(age.get().as_millis()).unwrap_or(i64::MAX);
        let asked =
            Asked { older_than_ms: self.older_than.map(ms), retain_last: self.retain_last, snapshots: self.snapshot };
        let request = Request { asked, grace_ms: ms(self.grace), dry_run: self.target.dry_run };
        let report = self.target.upkeep(source, "expire", &request, expire)?;
        match form {
            Output::Json => output::json(&report),
            Output::Text => print(&report),
        }
    }
}

fn print(report: &Report) -> Result<()> {
    let tense = if report.dry_run { "would go" } else { "are gone" };
    if report.snapshots.is_empty() && report.refs.is_empty() {
        output::line(format!("nothing to expire; {} snapshots stay", report.kept))?;
    } else {
        let refs = if report.refs.is_empty() { String::new() } else { format!(", and {}", report.refs.join(", ")) };
        let count = output::count(report.snapshots.len() as u64);
        output::line(format!("{count} snapshots{refs} {tense}; {} stay", output::count(report.kept as u64)))?;
    }
    let rows: Vec<Vec<String>> = report
        .files
        .iter()
        .map(|(what, sum)| {
            let what = serde_json::to_value(what).ok().and_then(|name| name.as_str().map(str::to_string));
            vec![what.unwrap_or_default(), output::count(sum.files), output::count(sum.rows), output::bytes(sum.bytes)]
        })
        .collect();
    if !rows.is_empty() {
        output::table(&["files", "count", "rows", "bytes"], &rows)?;
        output::line(format!("to be unlinked at {}", output::time(report.due_ms)))?;
    }
    if report.outside > 0 {
        output::line(format!("{} files outside of the table's folders stay where they are", report.outside))?;
    }
    if report.unlinked.files + report.unlinked.needed > 0 {
        let (files, needed) = (output::count(report.unlinked.files), output::count(report.unlinked.needed));
        output::line(format!("{files} files that were due are unlinked; {needed} are needed again and stay"))?;
    }
    Ok(())
}
