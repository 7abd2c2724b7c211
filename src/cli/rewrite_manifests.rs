//! `lakectl rewrite-manifests`.

use clap::Args;
use iceberg::spec::DataFile;
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde::Serialize;

use super::rewriting::Work;
use super::{Output, output};
use crate::daemon::clustering::{Clusters, clusters};
use crate::error::{Kind, Result};
use crate::history::all_is_published;
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
    /// Files that are listed anew, their rows and bytes.
    files: usize,
    rows: u64,
    bytes: u64,
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
            report = self.report(&clusters);
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

    fn report(&self, Clusters { before, plan, clustered }: &Clusters) -> Report {
        let (replaced, made) = (plan.replaced.len(), plan.made.len());
        let (done, before) = (!plan.made.is_empty(), *before);
        let files = || clustered.made.iter().flat_map(|made| &made.entries).map(|entry| &entry.data_file);
        Report {
            table: self.table.clone(),
            dry_run: self.dry_run,
            manifests_before: before,
            manifests_after: if done { before - replaced + made } else { before },
            replaced: if done { replaced } else { 0 },
            made,
            files: files().count(),
            rows: files().map(DataFile::record_count).sum(),
            bytes: files().map(DataFile::file_size_in_bytes).sum(),
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
        "{} of {} manifests {verb} {}: {} files, {} rows, {} are listed by their partitions",
        output::count(report.replaced as u64),
        output::count(report.manifests_before as u64),
        output::count(report.made as u64),
        output::count(report.files as u64),
        output::count(report.rows),
        output::bytes(report.bytes),
    ))
}
