//! `lakectl table list|show|files|history`.

use clap::Subcommand;
use iceberg::spec::{Snapshot, TableMetadata};
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde_json::{Value, json};

use super::{Output, output};
use crate::error::Result;
use crate::read::duck::{At, snapshot_at};
use crate::read::source::ident_of;
use crate::read::{Predicate, Source, SourceTable, plan};

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
    /// A table's snapshots, oldest first.
    History {
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
            Table::History { table } => history(&source.table(&ident_of(&table)?)?.metadata, form),
        }
    }
}

fn total(snapshot: Option<&Snapshot>, key: &str) -> u64 {
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
        let value = json!({ "table": table.ident.to_string(), "metadata-location": table.metadata_location, "metadata": metadata.as_ref() });
        return output::json(&value);
    }
    let snapshot = metadata.current_snapshot().map(AsRef::as_ref);
    println!("table      {}", table.ident);
    println!("uuid       {}", metadata.uuid());
    println!("location   {}", metadata.location());
    println!("format     v{}", metadata.format_version() as u8);
    println!("rows       {}", output::count(total(snapshot, "total-records")));
    println!("snapshots  {}", output::count(metadata.snapshots().len() as u64));
    let schema = metadata.current_schema();
    let name = |id: i32| schema.name_by_field_id(id).unwrap_or("?").to_string();
    let spec = metadata.default_partition_spec();
    let fields: Vec<String> =
        spec.fields().iter().map(|field| transformed(&field.transform.to_string(), &name(field.source_id))).collect();
    println!("partition  {}", if fields.is_empty() { "none".into() } else { fields.join(", ") });
    let order = metadata.default_sort_order();
    let fields: Vec<String> =
        order.fields.iter().map(|field| transformed(&field.transform.to_string(), &name(field.source_id))).collect();
    println!("sort       {}\n", if fields.is_empty() { "none".into() } else { fields.join(", ") });
    let rows: Vec<Vec<String>> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| {
            let need = if field.required { "required" } else { "optional" };
            let doc = field.doc.clone().unwrap_or_default();
            vec![field.id.to_string(), field.name.clone(), field.field_type.to_string(), need.into(), doc]
        })
        .collect();
    output::table(&["id", "column", "type", "", "doc"], &rows)?;
    let mut properties: Vec<Vec<String>> =
        metadata.properties().iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect();
    properties.sort();
    println!();
    output::table(&["property", "value"], &properties)
}

fn transformed(transform: &str, column: &str) -> String {
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
