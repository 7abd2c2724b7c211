//! `lakectl table list|show|files|history|undrop`.

use std::collections::BTreeMap;

use clap::Subcommand;
use iceberg::TableIdent;
use iceberg::spec::{Literal, PartitionField, PartitionSpec, PrimitiveLiteral, Snapshot, TableMetadata, Transform};
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde_json::{Value, json};

use super::{Output, output};
use crate::error::Result;
use crate::read::duck::{At, snapshot_at};
use crate::read::source::ident_of;
use crate::read::{PlannedFile, Predicate, Source, SourceTable, plan};

/// Look at tables.
#[derive(Subcommand, Debug)]
pub enum Table {
    /// Every table, with rows, files and bytes.
    List,
    /// A table's schema, partition spec, sort order and properties.
    Show {
        /// The table, as namespace.table.
        table: String,
    },
    /// A table's data and delete files.
    Files {
        /// The table, as namespace.table.
        table: String,
        /// As of a snapshot id or a time.
        #[arg(long, value_name = "SNAPSHOT|TIME")]
        at: Option<At>,
    },
    /// A table's partitions with their rows, files and bytes.
    Partitions {
        /// The table, as namespace.table.
        table: String,
        /// As of a snapshot id or a time.
        #[arg(long, value_name = "SNAPSHOT|TIME")]
        at: Option<At>,
    },
    /// A table's branches and tags.
    Refs {
        /// The table, as namespace.table.
        table: String,
    },
    /// A table's snapshots, oldest first.
    #[command(visible_alias = "snapshots")]
    History {
        /// The table, as namespace.table.
        table: String,
    },
    /// Bring back the table of that name that was dropped last, within a day; a purged one is gone.
    Undrop {
        /// The table, as namespace.table.
        table: String,
    },
}

impl Table {
    /// Prints what was asked for.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; storage errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Table::List => list(source, form),
            Table::Show { table } => show(&source.table(&ident_of(&table)?)?, form),
            Table::Files { table, at } => files(&source.table(&ident_of(&table)?)?, &at.unwrap_or_default(), form),
            Table::Partitions { table, at } => {
                partitions(&source.table(&ident_of(&table)?)?.metadata, &at.unwrap_or_default(), form)
            }
            Table::Refs { table } => super::refs::list(source, &table, form),
            Table::Undrop { table } => undrop(source, &table, form),
            Table::History { table } => history(&source.table(&ident_of(&table)?)?.metadata, form),
        }
    }
}

fn undrop(source: &Source, name: &str, form: Output) -> Result<()> {
    let ident = ident_of(name)?;
    source.undrop(&ident)?;
    match form {
        Output::Json => output::json(&json!({ "undropped": ident.to_string() })),
        Output::Text => output::line(format!("{ident} is back")),
    }
}

pub(super) fn total(snapshot: Option<&Snapshot>, key: &str) -> u64 {
    let properties = snapshot.map(|snapshot| &snapshot.summary().additional_properties);
    properties.and_then(|properties| properties.get(key)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn list(source: &Source, form: Output) -> Result<()> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for ident in source.tables()? {
        let table = source.table(&ident)?;
        let snapshot = table.metadata.current_snapshot().map(AsRef::as_ref);
        let figures = ["total-records", "total-data-files", "total-files-size"].map(|key| total(snapshot, key));
        let at = snapshot.map_or_else(String::new, |snapshot| output::time(snapshot.timestamp_ms()));
        values.push(json!({ "table": ident.to_string(), "rows": figures[0], "files": figures[1], "bytes": figures[2], "committed": at }));
        rows.push(vec![
            ident.to_string(),
            output::count(figures[0]),
            output::count(figures[1]),
            output::bytes(figures[2]),
            at,
        ]);
    }
    match form {
        Output::Json => output::json(&values),
        Output::Text => output::table(&["table", "rows", "files", "bytes", "last commit"], &rows),
    }
}

fn show(table: &SourceTable, form: Output) -> Result<()> {
    let metadata = &table.metadata;
    if form == Output::Json {
        return output::json(&json!({
            "table": table.ident.to_string(), "metadata-location": table.metadata_location,
            "metadata": metadata.as_ref(),
        }));
    }
    let fields = metadata.current_schema().as_struct().fields().iter();
    let columns: Vec<Vec<String>> = fields
        .map(|field| {
            let need = if field.required { "required" } else { "optional" };
            let doc = field.doc.clone().unwrap_or_default();
            vec![field.id.to_string(), field.name.clone(), field.field_type.to_string(), need.into(), doc]
        })
        .collect();
    let properties: BTreeMap<&String, &String> = metadata.properties().iter().collect();
    let properties: Vec<Vec<String>> =
        properties.into_iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect();
    let columns = output::drawn(&["id", "column", "type", "", "doc"], &columns);
    let properties = output::drawn(&["property", "value"], &properties);
    output::line(format!("{}\n{columns}\n{}", facts(&table.ident, metadata), properties.trim_end()))
}

/// What is to be known of a table at once.
fn facts(ident: &TableIdent, metadata: &TableMetadata) -> String {
    let schema = metadata.current_schema();
    let snapshot = metadata.current_snapshot().map(AsRef::as_ref);
    let joined = |fields: Vec<String>| if fields.is_empty() { "none".to_string() } else { fields.join(", ") };
    let of = |transform: &Transform, id: i32| {
        transformed(&transform.to_string(), schema.name_by_field_id(id).unwrap_or("?"))
    };
    let spec = metadata.default_partition_spec().fields().iter().map(|field| of(&field.transform, field.source_id));
    let order = metadata.default_sort_order().fields.iter().map(|field| of(&field.transform, field.source_id));
    let facts = [
        ("table", ident.to_string()),
        ("uuid", metadata.uuid().to_string()),
        ("location", metadata.location().to_string()),
        ("format", format!("v{}", metadata.format_version() as u8)),
        ("rows", output::count(total(snapshot, "total-records"))),
        ("files", output::count(total(snapshot, "total-data-files"))),
        ("snapshots", output::count(metadata.snapshots().len() as u64)),
        ("partition", joined(spec.collect())),
        ("sort", joined(order.collect())),
    ];
    facts.iter().fold(String::new(), |text, (name, fact)| text + &format!("{name:<9}  {fact}\n"))
}

/// A transform of a column as contracts write it: `bucket(16, user_id)`.
pub(super) fn transformed(transform: &str, column: &str) -> String {
    match (transform, transform.strip_suffix(']')) {
        ("identity", _) => column.to_string(),
        (_, Some(head)) => format!("{}, {column})", head.replace('[', "(")),
        _ => format!("{transform}({column})"),
    }
}

fn files(table: &SourceTable, at: &At, form: Output) -> Result<()> {
    let metadata = &table.metadata;
    let snapshot = snapshot_at(metadata, at)?;
    let store = Store::read_only(System::real());
    let plan = plan::plan(&store, metadata, snapshot.as_ref(), &Predicate::True, true)?;
    let prefix = format!("{}/", metadata.location());
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for planned in plan.files.iter().chain(&plan.deletes) {
        let file = &planned.file;
        let kind = format!("{:?}", file.content_type()).to_lowercase();
        values.push(json!({
            "path": file.file_path(), "content": kind, "records": file.record_count(),
            "bytes": file.file_size_in_bytes(), "spec": planned.spec_id, "sequence-number": planned.sequence_number,
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
    match form {
        Output::Json => output::json(&values),
        Output::Text => output::table(&["file", "content", "rows", "bytes", "spec", "sequence"], &rows),
    }
}

fn partitions(metadata: &TableMetadata, at: &At, form: Output) -> Result<()> {
    let snapshot = snapshot_at(metadata, at)?;
    let plan = plan::plan(&Store::read_only(System::real()), metadata, snapshot.as_ref(), &Predicate::True, true)?;
    let mut found: BTreeMap<(i32, String), [u64; 3]> = BTreeMap::new();
    for planned in &plan.files {
        let spec = metadata.partition_spec_by_id(planned.spec_id);
        let name = spec.map_or_else(String::new, |spec| named(spec, planned, metadata));
        let sums = found.entry((planned.spec_id, name)).or_default();
        let one = [planned.file.record_count(), 1, planned.file.file_size_in_bytes()];
        sums.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
    }
    if form == Output::Json {
        let value = |((spec, name), [rows, files, bytes]): (&(i32, String), &[u64; 3])| json!({ "partition": name, "spec": spec, "rows": rows, "files": files, "bytes": bytes });
        return output::json(&found.iter().map(value).collect::<Vec<_>>());
    }
    let row = |((spec, name), [rows, files, bytes]): (&(i32, String), &[u64; 3])| {
        let name = if name.is_empty() { "(whole table)".to_string() } else { name.clone() };
        vec![name, output::count(*rows), output::count(*files), output::bytes(*bytes), spec.to_string()]
    };
    output::table(&["partition", "rows", "files", "bytes", "spec"], &found.iter().map(row).collect::<Vec<_>>())
}

/// A file's partition as its folders would name it.
fn named(spec: &PartitionSpec, planned: &PlannedFile, metadata: &TableMetadata) -> String {
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

fn history(metadata: &TableMetadata, form: Output) -> Result<()> {
    let mut snapshots: Vec<_> = metadata.snapshots().collect();
    snapshots.sort_by_key(|snapshot| (snapshot.timestamp_ms(), snapshot.sequence_number()));
    let current = metadata.current_snapshot_id();
    if form == Output::Json {
        let values: Vec<Value> = snapshots
            .iter()
            .map(|snapshot| {
                json!({
                    "snapshot-id": snapshot.snapshot_id(), "parent-id": snapshot.parent_snapshot_id(),
                    "sequence-number": snapshot.sequence_number(), "time": output::time(snapshot.timestamp_ms()),
                    "current": Some(snapshot.snapshot_id()) == current, "summary": snapshot.summary(),
                })
            })
            .collect();
        return output::json(&values);
    }
    let rows: Vec<Vec<String>> = snapshots
        .iter()
        .map(|snapshot| {
            vec![
                snapshot.snapshot_id().to_string(),
                output::time(snapshot.timestamp_ms()),
                snapshot.summary().operation.as_str().to_string(),
                output::count(total(Some(snapshot), "added-records")),
                output::count(total(Some(snapshot), "total-records")),
                output::count(total(Some(snapshot), "total-data-files")),
                if Some(snapshot.snapshot_id()) == current { "current".into() } else { String::new() },
            ]
        })
        .collect();
    output::table(&["snapshot", "time", "operation", "added", "rows", "files", ""], &rows)
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
    fn transforms_read_as_contracts_write_them() {
        assert_eq!(transformed("identity", "country"), "country");
        assert_eq!(transformed("month", "timestamp"), "month(timestamp)");
        assert_eq!(transformed("bucket[16]", "user_id"), "bucket(16, user_id)");
    }
}
