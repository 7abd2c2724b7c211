//! `lakectl compact`.
//!
//! How a table's files are written anew is told in `rewriting`.

use std::cell::Cell;
use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use iceberg::spec::Schema;
use laked_catalog::store::Store;
use laked_catalog::system::System;

use super::rewriting::{Report, Work, progress, steps};
use super::{Output, output};
use crate::config::Size;
use crate::daemon::compaction::{Manner, planned, step};
use crate::error::{Error, Kind, Result};
use crate::history::all_is_published;
use crate::maintain::compact::{Options, Order};
use crate::read::source::ident_of;
use crate::read::{Predicate, Source, SourceTable, parse_where};

/// Columns of a curve, at most: of more each counts for little.
const MOST_COLUMNS: usize = 4;

/// Write small files anew as large ones.
#[derive(Args, Debug)]
pub struct Compact {
    /// The table, as namespace.table.
    table: String,
    /// Only files that can hold rows of this condition.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Commit in steps that rewrite at most this much, as 10GiB, or one partition's least [default: all in one commit].
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    max_bytes: Option<Size>,
    /// Files below the target that a partition must have to be rewritten.
    #[arg(long, value_name = "N", default_value_t = 2, allow_hyphen_values = true)]
    min_inputs: usize,
    /// How rows are put.
    #[arg(long, value_enum, default_value_t = Ordering::Table)]
    order: Ordering,
    /// Put rows along a curve through these columns, as "user_id, timestamp", so that conditions on each of them skip files
    /// and row groups; files that are not along it yet are rewritten, whatever their size.
    #[arg(long, value_name = "COLUMNS", conflicts_with = "order")]
    z_order: Option<String>,
    /// Partitions that are rewritten at a time [default: one a core].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    threads: Option<usize>,
    /// What sorting and deletes may take in memory, as 256MiB; reading and writing take some more.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", allow_hyphen_values = true)]
    memory: Size,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// How rows are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ordering {
    /// In the table's order, if it has one.
    Table,
    /// As they are; row groups are then copied where that is possible.
    None,
}

impl Compact {
    /// Plans, rewrites, commits, prints.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for the table or the condition; storage errors; `Unknown` if nobody can tell what became of
    /// the commit. Nothing is changed by what was not committed, and nothing of it is left.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ident = ident_of(&self.table)?;
        let mut report = Report::new(self.table.clone(), self.dry_run);
        let table = source.table(&ident)?;
        all_is_published(&table.metadata, &table.refs)?;
        let manner = self.manner(&table)?;
        let first = planned(&Store::read_only(System::real()), &table.metadata, &manner)?;
        if self.dry_run || first.1.groups.is_empty() {
            report.planned(&first.1);
            return print(&report, form);
        }
        let first = Cell::new(Some((table.metadata_location.clone(), first)));
        let work = Work::open(source, &table)?;
        let commit = |replacement| work.replace(replacement);
        let take = |table: &SourceTable| {
            // The first step has its plan, unless somebody has committed since.
            let planned = match first.take().filter(|(location, _)| *location == table.metadata_location) {
                Some((_, planned)) => planned,
                None => planned(work.store(), &table.metadata, &manner)?,
            };
            step(work.store(), (&ident, &table.metadata), planned, &manner, &commit, &progress)
        };
        let ended = steps(source, &ident, &mut report, &take);
        work.close();
        ended?;
        print(&report, form)
    }

    fn manner(&self, table: &SourceTable) -> Result<Manner> {
        let order = match (&self.z_order, self.order) {
            (Some(columns), _) => Order::ZOrder(curve(columns, table.metadata.current_schema())?),
            (None, Ordering::Table) => Order::OfTable,
            (None, Ordering::None) => Order::AsTheyAre,
        };
        let options = Options { least_inputs: self.min_inputs, max_bytes: self.max_bytes.map(Size::bytes), order };
        let predicate = match &self.condition {
            Some(text) => parse_where(text, table.metadata.current_schema())?,
            None => Predicate::True,
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let (threads, memory) = (self.threads.unwrap_or_else(cores), self.memory.in_memory());
        Ok(Manner { options, predicate, threads, memory })
    }
}

/// The field ids of a curve's columns.
fn curve(text: &str, schema: &Schema) -> Result<Vec<i32>> {
    let fields = schema.as_struct().fields();
    let possible = || {
        let plain = fields.iter().filter(|field| field.field_type.is_primitive());
        plain.map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let refuse = |why: String| Error::new(Kind::Invalid, format!("{why}; there are {}", possible()));
    let find = |name: &str| {
        let field = fields.iter().find(|field| field.name == name && field.field_type.is_primitive());
        field.map(|field| field.id).ok_or_else(|| refuse(format!("`{name}` is no column to put rows by")))
    };
    let ids = text.split(',').map(|name| find(name.trim())).collect::<Result<Vec<i32>>>()?;
    let distinct: BTreeSet<&i32> = ids.iter().collect();
    match ids.len() {
        2..=MOST_COLUMNS if distinct.len() == ids.len() => Ok(ids),
        _ => Err(refuse(format!("--z-order takes two to {MOST_COLUMNS} columns, each once"))),
    }
}

fn print(report: &Report, form: Output) -> Result<()> {
    match form {
        Output::Json => output::json(report),
        Output::Text if report.is_empty() => report.tell_partitions().and_then(|()| output::line("nothing to compact")),
        Output::Text => report.tell(),
    }
}
