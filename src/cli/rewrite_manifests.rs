//! `lakectl rewrite-manifests`.

use clap::Args;
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde::Serialize;

use super::rewriting::Work;
use super::{Output, output};
use crate::daemon::clustering::clusters;
use crate::error::{Kind, Result};
use crate::history::all_is_published;
use crate::maintain::manifests::Clustering;
use crate::read::Source;
use crate::read::source::ident_of;

/// How often it is planned anew while others replace manifests.
const TRIES: usize = 5;

/// List a table's files anew, partition by partition.
#[derive(Args, Debug)]
pub struct RewriteManifests {
    /// The table, as namespace.table.
    table: String,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    table: String,
    dry_run: bool,
    manifests_before: usize,
    manifests_after: usize,
    replaced: usize,
    made: usize,
    /// Files that are listed anew.
    files: usize,
    snapshot: Option<i64>,
}

impl RewriteManifests {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// `NotFound`; storage errors; those of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ident = ident_of(&self.table)?;
        let reader = Store::read_only(System::real());
        let mut report = Report::default();
        for tried in 1.. {
            let table = source.table(&ident)?;
            all_is_published(&table.metadata, &table.refs)?;
            let clusters = clusters(&reader, (&ident, &table.metadata))?;
            report = self.report(clusters.before, &clusters.plan);
            if self.dry_run || clusters.plan.made.is_empty() {
                break;
            }
            let work = Work::open(source, &table)?;
            let ended = work.cluster(clusters.clustered);
            work.close();
            match ended {
                Err(error) if error.kind() == Kind::Conflict && tried < TRIES => {}
                ended => {
                    report.snapshot = Some(ended?);
                    break;
                }
            }
        }
        print(&report, form)
    }

    fn report(&self, before: usize, plan: &Clustering) -> Report {
        let (replaced, made) = (plan.replaced.len(), plan.made.len());
        let done = !plan.made.is_empty();
        Report {
            table: self.table.clone(),
            dry_run: self.dry_run,
            manifests_before: before,
            manifests_after: if done { before - replaced + made } else { before },
            replaced: if done { replaced } else { 0 },
            made,
            files: plan.made.iter().map(Vec::len).sum(),
            snapshot: None,
        }
    }
}

fn print(report: &Report, form: Output) -> Result<()> {
    if form == Output::Json {
        return output::json(report);
    }
    if report.made == 0 {
        return output::line("files are listed by their partitions already; nothing to do");
    }
    let verb = if report.dry_run { "would become" } else { "became" };
    output::line(format!(
        "{} of {} manifests {verb} {}: {} files are listed by their partitions",
        output::count(report.replaced as u64),
        output::count(report.manifests_before as u64),
        output::count(report.made as u64),
        output::count(report.files as u64),
    ))
}
