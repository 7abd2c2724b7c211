//! SQL over the tables of a lake by embedded DuckDB, and the one place that names it.
//!
//! The tables a statement mentions (asked of DuckDB's own parser) become views `namespace.table`; no other table is
//! looked at. Memory is bounded; what does not fit spills to a folder of its own that goes away.

use std::collections::BTreeSet;
use std::io::Write;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use duckdb::Connection;
use iceberg::spec::{SnapshotRef, TableMetadata};
use iceberg::{NamespaceIdent, TableIdent};
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde_json::Value;

use super::plan::plan;
use super::predicate::Predicate;
use super::relation::{identifier, select};
use super::source::Source;
use crate::error::{Error, Kind, Result};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A drawn table for a person; the whole answer is held in memory.
    Table,
    /// CSV with a header.
    Csv,
    /// One JSON object a line.
    Json,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

/// Which state of the tables is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The current one.
    #[default]
    Now,
    /// A snapshot's.
    Snapshot(i64),
    /// As of a time: milliseconds since 1970.
    Time(i64),
}

impl std::str::FromStr for At {
    type Err = Error;

    fn from_str(text: &str) -> Result<At> {
        if let Ok(snapshot) = text.parse() {
            return Ok(At::Snapshot(snapshot));
        }
        let micros = super::parse::micros(text).or_else(|| {
            text.parse::<jiff::civil::Date>().ok().and_then(|_| super::parse::micros(&format!("{text}T00:00:00")))
        });
        micros.map(|micros| At::Time(micros.div_euclid(1000))).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("'{text}' is neither a snapshot id nor a time as 2026-01-31T08:00:00Z"))
        })
    }
}

/// The snapshot of a table at that state; `None` for a table that has none yet.
///
/// # Errors
/// `NotFound` if the snapshot is not kept, or the table is younger than the time.
pub fn snapshot_at(metadata: &TableMetadata, at: &At) -> Result<Option<SnapshotRef>> {
    let id = match at {
        At::Now => return Ok(metadata.current_snapshot().cloned()),
        At::Snapshot(id) => *id,
        At::Time(time) => {
            let log = metadata.history().iter().rev().find(|entry| entry.timestamp_ms <= *time);
            log.map(|entry| entry.snapshot_id).ok_or_else(|| {
                Error::new(Kind::NotFound, "the table has no snapshot as old as that; see `lakectl table history`")
            })?
        }
    };
    match metadata.snapshot_by_id(id) {
        Some(snapshot) => Ok(Some(snapshot.clone())),
        None => {
            Err(Error::new(Kind::NotFound, "the snapshot is not in the table (any more); see `lakectl table history`")
                .with("snapshot", id))
        }
    }
}

fn failed(error: duckdb::Error) -> Error {
    Error::new(Kind::Invalid, "DuckDB refuses the query").because(error)
}

/// Runs a statement and writes its answer.
///
/// # Errors
/// `Invalid` with DuckDB's words; `NotFound` for a table that is not there; storage and output errors.
pub fn query(source: &Source, sql: &str, at: &At, form: Form, out: &mut dyn Write) -> Result<()> {
    let spill = tempfile::tempdir()?;
    let connection = Connection::open_in_memory().map_err(failed)?;
    let folder = spill.path().to_string_lossy();
    connection
        .execute_batch(&format!(
            "SET memory_limit='2GB'; SET temp_directory={}; SET TimeZone='UTC'; SET autoinstall_known_extensions=false;",
            super::relation::text(&folder)
        ))
        .map_err(failed)?;
    let store = Store::read_only(System::real());
    for ident in tables_of(&connection, sql)? {
        make_view(&connection, source, &store, &ident, at)?;
    }
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let rows = statement.query_arrow([]).map_err(failed)?;
    let schema = rows.get_schema();
    write_batches(schema, rows, form, out)
}

fn make_view(connection: &Connection, source: &Source, store: &Store, ident: &TableIdent, at: &At) -> Result<()> {
    let table = source.table(ident)?;
    let snapshot = snapshot_at(&table.metadata, at)?;
    let plan = plan(store, &table.metadata, snapshot.as_ref(), &Predicate::True, false)?;
    let namespace = identifier(&ident.namespace().join("."));
    let sql = format!(
        "CREATE SCHEMA IF NOT EXISTS {namespace}; CREATE VIEW {namespace}.{} AS {};",
        identifier(ident.name()),
        select(&plan, store)?
    );
    connection.execute_batch(&sql).map_err(failed)
}

/// The tables a statement names with a namespace, as DuckDB's parser sees them.
fn tables_of(connection: &Connection, sql: &str) -> Result<BTreeSet<TableIdent>> {
    let tree: String =
        connection.query_row("SELECT json_serialize_sql(?::VARCHAR)", [sql], |row| row.get(0)).map_err(failed)?;
    let tree: Value = serde_json::from_str(&tree)
        .map_err(|error| Error::new(Kind::Internal, "DuckDB's parse tree").because(error))?;
    if tree["error"] == Value::Bool(true) {
        let words = tree["error_message"].as_str().unwrap_or("not a SELECT").to_string();
        return Err(Error::new(Kind::Invalid, format!("the query cannot be read: {words}")));
    }
    let mut found = BTreeSet::new();
    collect_tables(&tree, &mut found);
    Ok(found)
}

fn collect_tables(tree: &Value, found: &mut BTreeSet<TableIdent>) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| collect_tables(item, found)),
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
            if text("type") == "BASE_TABLE" && !text("schema_name").is_empty() {
                let catalog = text("catalog_name");
                let levels = [catalog, text("schema_name")].into_iter().filter(|part| !part.is_empty());
                let levels = levels.flat_map(|part| part.split('.'));
                let system = ["information_schema", "pg_catalog", "main"].contains(&text("schema_name"));
                if let (false, Ok(namespace)) = (system, NamespaceIdent::from_strs(levels)) {
                    found.insert(TableIdent::new(namespace, text("table_name").to_string()));
                }
            }
            fields.values().for_each(|value| collect_tables(value, found));
        }
        _ => {}
    }
}

fn write_batches(
    schema: SchemaRef,
    batches: impl Iterator<Item = RecordBatch>,
    form: Form,
    out: &mut dyn Write,
) -> Result<()> {
    let bad = |error: arrow::error::ArrowError| Error::new(Kind::Internal, "writing the answer").because(error);
    match form {
        Form::Table => {
            let batches: Vec<RecordBatch> = batches.collect();
            let batches = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
            writeln!(out, "{}", pretty_format_batches(&batches).map_err(bad)?)?;
        }
        Form::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
            writer.write(&RecordBatch::new_empty(schema)).map_err(bad)?;
            for batch in batches {
                writer.write(&batch).map_err(bad)?;
            }
        }
        Form::Json => {
            let mut writer = arrow::json::LineDelimitedWriter::new(out);
            for batch in batches {
                writer.write(&batch).map_err(bad)?;
            }
            writer.finish().map_err(bad)?;
        }
        Form::Arrow => {
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(out, &schema).map_err(bad)?;
            for batch in batches {
                writer.write(&batch).map_err(bad)?;
            }
            writer.finish().map_err(bad)?;
        }
        Form::Parquet => write_parquet(schema, batches, out)?,
    }
    Ok(())
}

fn write_parquet(schema: SchemaRef, batches: impl Iterator<Item = RecordBatch>, out: &mut dyn Write) -> Result<()> {
    let bad = |error: parquet::errors::ParquetError| Error::new(Kind::Internal, "writing the answer").because(error);
    let mut bytes = tempfile::tempfile()?;
    let mut writer = parquet::arrow::ArrowWriter::try_new(bytes.try_clone()?, schema, None).map_err(bad)?;
    for batch in batches {
        writer.write(&batch).map_err(bad)?;
    }
    writer.close().map_err(bad)?;
    std::io::Seek::rewind(&mut bytes)?;
    std::io::copy(&mut bytes, out)?;
    Ok(())
}
