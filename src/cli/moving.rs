//! `lakectl evolve-partition … --rewrite`: what has an older partition spec is moved to the table's.
//!
//! Files go whole: of a condition those that can hold such a row, by their partition and their columns' bounds. A step is
//! a commit. Who is interrupted asks for the same again: moved files have the table's spec, and are not moved again. Beside
//! a daemon it works as `lakectl compact` does.

use std::collections::BTreeSet;

use clap::Args;
use iceberg::spec::{NestedFieldRef, PartitionSpec, PrimitiveType, TableMetadata, Transform};
use laked_catalog::Refs;
use laked_catalog::store::Store;
use laked_catalog::system::System;

use super::change::Target;
use super::rewriting::{Report, Work, progress, steps};
use crate::config::Size;
use crate::daemon::compaction::{Manner, planned_move, step};
use crate::error::{Error, Kind, Result};
use crate::history::all_is_published;
use crate::maintain::compact::{Options, Order, movable};
use crate::read::{Predicate, Source, SourceTable, parse_where};

/// What is moved, and how.
#[derive(Args, Debug)]
pub(super) struct Moving {
    /// Then move files of older specs that can hold rows before this date or time to the new spec.
    #[arg(long, value_name = "DATE")]
    rewrite_before: Option<String>,
    /// Then move files of older specs that can hold rows of this condition to the new spec. An empty text for all.
    #[arg(long = "rewrite", value_name = "CONDITION")]
    condition: Option<String>,
    /// Move at most this much in one commit, as 1GiB; a file at least.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", allow_hyphen_values = true)]
    max_bytes: Size,
    /// Partitions that are moved at a time [default: one a core].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    threads: Option<usize>,
    /// What sorting and deletes may take in memory, as 256MiB; reading and writing take some more.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", allow_hyphen_values = true)]
    memory: Size,
}

impl Moving {
    fn is_asked(&self) -> bool {
        self.rewrite_before.is_some() || self.condition.is_some()
    }

    /// Refuses what cannot be moved of a table, as it is once its spec has changed.
    ///
    /// # Errors
    /// `Invalid` for the condition or the date, with what is possible; while records wait to be published.
    pub fn check(&self, metadata: &TableMetadata, refs: &Refs) -> Result<()> {
        if !self.is_asked() {
            return Ok(());
        }
        all_is_published(metadata, refs)?;
        movable(metadata)?;
        self.manner(metadata, None).map(drop)
    }

    /// Moves what is asked for, step by step; nothing if nothing is. `after` is the table as it is once its spec has changed,
    /// which in a dry run it never does.
    ///
    /// # Errors
    /// Those of the commits. What was committed before stays.
    pub fn run(&self, source: &Source, target: &Target, after: &TableMetadata) -> Result<Option<Report>> {
        if !self.is_asked() {
            return Ok(None);
        }
        let ident = target.ident()?;
        let mut report = Report::new(ident.to_string(), target.dry_run);
        if target.dry_run {
            let manner = self.manner(after, None)?;
            report.planned(&planned_move(&Store::read_only(System::real()), after, &manner)?.1);
            return Ok(Some(report));
        }
        let work = Work::open(source, &source.table(&ident)?)?;
        let commit = |replacement| work.replace(replacement);
        let take = |table: &SourceTable| {
            let manner = self.manner(&table.metadata, Some(self.max_bytes.bytes()))?;
            let planned = planned_move(work.store(), &table.metadata, &manner)?;
            step(work.store(), (&ident, &table.metadata), planned, &manner, &commit, &progress)
        };
        let ended = steps(source, &ident, &mut report, &take);
        work.close();
        ended.map(|()| Some(report))
    }

    fn manner(&self, metadata: &TableMetadata, max_bytes: Option<u64>) -> Result<Manner> {
        let schema = metadata.current_schema();
        let mut all = Vec::new();
        if let Some(before) = &self.rewrite_before {
            let column = time_column(metadata)?.replace('"', "\"\"");
            all.push(parse_where(&format!("\"{column}\" < '{}'", before.replace('\'', "''")), schema)?);
        }
        match self.condition.as_deref().map(str::trim) {
            None | Some("") => {}
            Some(text) => all.push(parse_where(text, schema)?),
        }
        let predicate = if all.is_empty() { Predicate::True } else { Predicate::And(all) };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let options = Options { least_inputs: 1, max_bytes, order: Order::OfTable };
        Ok(Manner { options, predicate, threads: self.threads.unwrap_or_else(cores), memory: self.memory.in_memory() })
    }
}

/// The column that a date is about: the one that the table's spec, else an older one, cuts by time; else the only one.
fn time_column(metadata: &TableMetadata) -> Result<String> {
    let cuts = |spec: &PartitionSpec| -> BTreeSet<i32> {
        let by_time = [Transform::Year, Transform::Month, Transform::Day, Transform::Hour];
        spec.fields().iter().filter(|field| by_time.contains(&field.transform)).map(|field| field.source_id).collect()
    };
    let older = || metadata.partition_specs_iter().flat_map(|spec| cuts(spec)).collect();
    let any = || times(metadata).map(|field| field.id).collect();
    let found = [cuts(metadata.default_partition_spec()), older(), any()].into_iter().find(|found| !found.is_empty());
    let fields: Vec<_> =
        found.into_iter().flatten().filter_map(|id| metadata.current_schema().as_struct().field_by_id(id)).collect();
    match fields[..] {
        [only] => Ok(only.name.clone()),
        _ => {
            let names: Vec<&str> = times(metadata).map(|field| field.name.as_str()).collect();
            let why = "--rewrite-before does not know which column is meant; say --rewrite \"column < 'DATE'\"";
            Err(Error::new(Kind::Invalid, why).with("columns of dates and times", format!("{names:?}")))
        }
    }
}

fn times(metadata: &TableMetadata) -> impl Iterator<Item = &NestedFieldRef> {
    let is_time = |field: &&NestedFieldRef| {
        use PrimitiveType::{Date, Timestamp, TimestampNs, Timestamptz, TimestamptzNs};
        let kind = field.field_type.as_primitive_type();
        matches!(kind, Some(Date | Timestamp | Timestamptz | TimestampNs | TimestamptzNs))
    };
    metadata.current_schema().as_struct().fields().iter().filter(is_time)
}
