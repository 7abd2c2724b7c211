//! `lakectl history|snapshots|files|partitions|refs TABLE`: what is in a table, as its metadata says it.
//!
//! The figures are those of PyIceberg's `inspect` and of Trino's `$files`, `$partitions`, `$snapshots`; a test holds the
//! first. To a terminal a histogram of the files' sizes is drawn.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stdout};

use clap::Args;
use iceberg::spec::{
    DataContentType, Literal, PartitionField, PartitionSpec, PrimitiveLiteral, TableMetadata, Transform,
};
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde_json::{Value, json};

use super::table::total;
use super::{Output, output};
use crate::error::Result;
use crate::history::ancestry;
use crate::maintain::health::{histogram, skew};
use crate::read::duck::{At, snapshot_at};
use crate::read::plan::Plan;
use crate::read::source::ident_of;
use crate::read::{PlannedFile, Predicate, Source, SourceTable, plan};

/// Columns of a histogram's longest bar.
const BAR: u64 = 40;

/// A table.
#[derive(Args, Debug)]
pub struct Of {
    /// The table, as namespace.table.
    table: String,
}

/// A table at a moment.
#[derive(Args, Debug)]
pub struct AsOf {
    /// The table, as namespace.table.
    table: String,
    /// As of a snapshot id or a time.
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    at: Option<At>,
}

impl Of {
    fn open(&self, source: &Source) -> Result<SourceTable> {
        source.table(&ident_of(&self.table)?)
    }

    /// Prints which snapshots were current since when, oldest first.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; storage errors.
    pub fn history(&self, source: &Source, form: Output) -> Result<()> {
        let metadata = self.open(source)?.metadata;
        let current = metadata.current_snapshot_id();
        let line: Vec<i64> =
            current.into_iter().flat_map(|id| ancestry(&metadata, id)).map(|at| at.snapshot_id()).collect();
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for entry in metadata.history() {
            let (id, time) = (entry.snapshot_id, output::time(entry.timestamp_ms));
            let parent = metadata.snapshot_by_id(id).and_then(|snapshot| snapshot.parent_snapshot_id());
            let shown = line.contains(&id);
            values.push(
                json!({ "made-current": time, "snapshot-id": id, "parent-id": parent, "current-ancestor": shown }),
            );
            let note = if shown { "" } else { "rolled back" };
            let parent = parent.map_or("-".to_string(), |parent| parent.to_string());
            rows.push(vec![time, id.to_string(), parent, note.to_string()]);
        }
        match form {
            Output::Json => output::json(&values),
            Output::Text => output::table(&["made current", "snapshot", "parent", ""], &rows),
        }
    }

    /// Prints the snapshots that are kept, oldest first.
    ///
    /// # Errors
    /// As [`Of::history`].
    pub fn snapshots(&self, source: &Source, form: Output) -> Result<()> {
        let metadata = self.open(source)?.metadata;
        let mut snapshots: Vec<_> = metadata.snapshots().collect();
        snapshots.sort_by_key(|snapshot| (snapshot.timestamp_ms(), snapshot.sequence_number()));
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for snapshot in snapshots {
            let (id, time) = (snapshot.snapshot_id(), output::time(snapshot.timestamp_ms()));
            let current = Some(id) == metadata.current_snapshot_id();
            values.push(json!({
                "snapshot-id": id, "parent-id": snapshot.parent_snapshot_id(),
                "sequence-number": snapshot.sequence_number(), "time": time, "current": current,
                "manifest-list": snapshot.manifest_list(), "summary": snapshot.summary(),
            }));
            let figure = |key| output::count(total(Some(snapshot), key));
            rows.push(vec![
                id.to_string(),
                time,
                snapshot.summary().operation.as_str().to_string(),
                figure("added-records"),
                figure("total-records"),
                figure("total-data-files"),
                if current { "current".into() } else { String::new() },
            ]);
        }
        match form {
            Output::Json => output::json(&values),
            Output::Text => output::table(&["snapshot", "time", "operation", "added", "rows", "files", ""], &rows),
        }
    }

    /// Prints branches and tags.
    ///
    /// # Errors
    /// As [`Of::history`].
    pub fn refs(&self, source: &Source, form: Output) -> Result<()> {
        super::refs::list(source, &self.table, form)
    }
}

impl AsOf {
    fn plan(&self, source: &Source) -> Result<(SourceTable, Plan)> {
        let table = source.table(&ident_of(&self.table)?)?;
        let at = self.at.clone().unwrap_or_default();
        let snapshot = snapshot_at(&table.metadata, &at)?;
        let store = Store::read_only(System::real());
        let plan = plan::plan(&store, &table.metadata, snapshot.as_ref(), &Predicate::True, true)?;
        Ok((table, plan))
    }

    /// Prints data and delete files.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; `Corrupt`; storage errors.
    pub fn files(&self, source: &Source, form: Output) -> Result<()> {
        let (table, plan) = self.plan(source)?;
        let metadata = &table.metadata;
        let prefix = format!("{}/", metadata.location());
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for planned in plan.files.iter().chain(&plan.deletes) {
            let file = &planned.file;
            let kind = format!("{:?}", file.content_type()).to_lowercase();
            values.push(json!({
                "path": file.file_path(), "content": kind, "format": file.file_format().to_string(),
                "partition": named(planned, metadata), "records": file.record_count(),
                "bytes": file.file_size_in_bytes(), "spec": planned.spec_id,
                "sequence-number": planned.sequence_number,
            }));
            rows.push(vec![
                file.file_path().strip_prefix(&prefix).unwrap_or(file.file_path()).to_string(),
                kind,
                output::count(file.record_count()),
                output::bytes(file.file_size_in_bytes()),
                planned.spec_id.to_string(),
                planned.sequence_number.to_string(),
            ]);
        }
        if form == Output::Json {
            return output::json(&values);
        }
        output::table(&["file", "content", "rows", "bytes", "spec", "sequence"], &rows)?;
        if stdout().is_terminal() {
            let sizes = plan.files.iter().map(|planned| planned.file.file_size_in_bytes());
            drawn(sizes).iter().try_for_each(output::line)?;
        }
        Ok(())
    }

    /// Prints partitions with their figures.
    ///
    /// # Errors
    /// As [`AsOf::files`].
    pub fn partitions(&self, source: &Source, form: Output) -> Result<()> {
        let (table, plan) = self.plan(source)?;
        let mut found: BTreeMap<(i32, String), Sums> = BTreeMap::new();
        for planned in plan.files.iter().chain(&plan.deletes) {
            found.entry((planned.spec_id, named(planned, &table.metadata))).or_default().add(planned);
        }
        if form == Output::Json {
            return output::json(&found.iter().map(|((spec, name), sums)| sums.json(*spec, name)).collect::<Vec<_>>());
        }
        let row = |((spec, name), sums): (&(i32, String), &Sums)| {
            let name = if name.is_empty() { "(whole table)".to_string() } else { name.clone() };
            let [rows, files] = [sums.rows, sums.files].map(output::count);
            vec![name, rows, files, output::bytes(sums.bytes), output::count(sums.deletes()), spec.to_string()]
        };
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        output::table(&["partition", "rows", "files", "bytes", "delete files", "spec"], &rows)?;
        let skew = skew(found.values().map(|sums| sums.bytes));
        match skew {
            Some(skew) if stdout().is_terminal() => {
                output::line(format!("skew: the largest has {skew:.1} times the bytes of the median"))
            }
            _ => Ok(()),
        }
    }
}

/// A partition's sums.
#[derive(Default)]
struct Sums {
    rows: u64,
    files: u64,
    bytes: u64,
    position: [u64; 2],
    equality: [u64; 2],
}

impl Sums {
    fn add(&mut self, planned: &PlannedFile) {
        let rows = planned.file.record_count();
        let deletes = match planned.file.content_type() {
            DataContentType::Data => {
                self.rows += rows;
                self.files += 1;
                self.bytes += planned.file.file_size_in_bytes();
                return;
            }
            DataContentType::PositionDeletes => &mut self.position,
            DataContentType::EqualityDeletes => &mut self.equality,
        };
        deletes[0] += rows;
        deletes[1] += 1;
    }

    fn deletes(&self) -> u64 {
        self.position[1] + self.equality[1]
    }

    fn json(&self, spec: i32, name: &str) -> Value {
        let deletes = |[rows, files]: [u64; 2]| json!({ "rows": rows, "files": files });
        json!({
            "partition": name, "spec": spec, "rows": self.rows, "files": self.files, "bytes": self.bytes,
            "position-deletes": deletes(self.position), "equality-deletes": deletes(self.equality),
        })
    }
}

/// Files by their size, a bar each.
fn drawn(sizes: impl Iterator<Item = u64>) -> Vec<String> {
    let buckets = histogram(sizes);
    let most = buckets.iter().map(|bucket| bucket.files).max().unwrap_or(1).max(1);
    let line = |bucket: &crate::maintain::health::Bucket| {
        let bar = "█".repeat(usize::try_from((bucket.files * BAR).div_ceil(most)).unwrap_or(0));
        format!("below {:>9}  {:>7}  {bar}", output::bytes(bucket.below), output::count(bucket.files))
    };
    buckets.iter().map(line).collect()
}

/// A file's partition as its folders would name it.
fn named(planned: &PlannedFile, metadata: &TableMetadata) -> String {
    let spec: Option<&PartitionSpec> = metadata.partition_spec_by_id(planned.spec_id).map(AsRef::as_ref);
    let Some(spec) = spec else { return String::new() };
    let schema = metadata.current_schema();
    let fields = spec.fields().iter().zip(planned.file.partition().iter());
    let part = |(field, value): (&PartitionField, Option<&Literal>)| {
        let kind = schema.field_by_id(field.source_id).map(|source| field.transform.result_type(&source.field_type));
        let text = match (calendar(&field.transform, value), kind) {
            (Some(text), _) => text,
            (None, Some(Ok(kind))) => field.transform.to_human_string(&kind, value),
            // The column is gone.
            (None, _) => format!("{value:?}"),
        };
        format!("{}={text}", field.name)
    };
    fields.map(part).collect::<Vec<_>>().join("/")
}

/// A year, month, day or hour, which partitions count from 1970.
fn calendar(transform: &Transform, value: Option<&Literal>) -> Option<String> {
    let Some(Literal::Primitive(PrimitiveLiteral::Int(count))) = value else { return None };
    let span = match transform {
        Transform::Year => jiff::Span::new().try_years(*count),
        Transform::Month => jiff::Span::new().try_months(*count),
        Transform::Day => jiff::Span::new().try_days(*count),
        Transform::Hour => jiff::Span::new().try_hours(*count),
        _ => return None,
    };
    let time = jiff::civil::datetime(1970, 1, 1, 0, 0, 0, 0).checked_add(span.ok()?).ok()?;
    let form = match transform {
        Transform::Year => "%Y",
        Transform::Month => "%Y-%m",
        Transform::Day => "%Y-%m-%d",
        _ => "%Y-%m-%d-%H",
    };
    Some(time.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_time_read_as_dates() {
        let of = |transform, count| calendar(&transform, Some(&Literal::int(count)));
        assert_eq!(of(Transform::Month, 677).as_deref(), Some("2026-06"));
        assert_eq!(of(Transform::Year, -1).as_deref(), Some("1969"));
        assert_eq!(of(Transform::Day, 31).as_deref(), Some("1970-02-01"));
        assert_eq!(of(Transform::Hour, 25).as_deref(), Some("1970-01-02-01"));
        assert_eq!(of(Transform::Bucket(4), 1), None);
    }

    #[test]
    fn sizes_are_drawn_from_the_smallest_up() {
        let kib = 1024;
        let golden = [
            "below   4.0 KiB        2  ████████████████████████████████████████",
            "below  16.0 KiB        0  ",
            "below  64.0 KiB        1  ████████████████████",
        ];
        assert_eq!(drawn([kib, 2 * kib, 20 * kib].into_iter()), golden);
        assert!(drawn(std::iter::empty()).is_empty());
    }
}
