//! SQL over the tables of a lake by embedded DuckDB, and the one place that names it.
//!
//! The tables a statement mentions (asked of DuckDB's own parser) become views `namespace.table`; no other table is
//! looked at, and no file of a table that the statement's WHERE rules out. Memory is bounded; what does not fit spills
//! to a folder of its own that goes away. The answer is fetched while it is written.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use duckdb::Connection;
use iceberg::TableIdent;
use iceberg::spec::{SnapshotRef, TableMetadata};
use laked_catalog::plan::{PlannedFile, Predicate, plan, read_schema};
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde_json::Value;

use super::answer;
pub use super::answer::Form;
use super::pushdown::{Mention, mentions, predicate};
use super::relation::{Reading, identifier, select, select_located, text};
use super::source::Source;
use crate::error::{Error, Kind, Result};

/// What DuckDB may hold in memory before it spills.
const MEMORY: &str = "2GB";

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
                Error::new(Kind::NotFound, "the table has no snapshot as old as that; see `lakectl snapshots`")
            })?
        }
    };
    match metadata.snapshot_by_id(id) {
        Some(snapshot) => Ok(Some(snapshot.clone())),
        None => Err(Error::new(Kind::NotFound, "the snapshot is not in the table (any more); see `lakectl snapshots`")
            .with("snapshot", id)),
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
    query_each(source, sql, &|_| at.clone(), form, out)
}

/// The same, each table at a state of its own.
///
/// # Errors
/// As [`query`].
pub fn query_each(
    source: &Source,
    sql: &str,
    at: &dyn Fn(&TableIdent) -> At,
    form: Form,
    out: &mut dyn Write,
) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let connection = open(scratch.path(), MEMORY)?;
    let store = Store::read_only(System::real());
    for (ident, mentions) in mentions(&parsed(&connection, sql)?) {
        let view = view(source, &store, &ident, &mentions, &at(&ident), scratch.path())?;
        connection.execute_batch(&view).map_err(failed)?;
    }
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let schema = statement.stream_arrow([]).map_err(failed)?.get_schema();
    // The crate's own iterator panics where fetching fails; a step gives the error.
    let step = || statement.step().map(|rows| rows.map(|rows| RecordBatch::from(&rows))).map_err(failed).transpose();
    answer::write(&schema, std::iter::from_fn(step), form, out)
}

/// Gives the live rows of a snapshot's `wanted` files batch by batch: some columns, then the path of the file and the row's
/// number in it (from 0). Nothing else is read of a file, and no more than a batch is held beside DuckDB's `memory`, as
/// `512MB`.
///
/// # Errors
/// Those of `each`; `Invalid` for files that cannot be read here; storage errors.
pub fn rows(
    metadata: &TableMetadata,
    snapshot: Option<&SnapshotRef>,
    columns: &[&str],
    memory: &str,
    wanted: &mut dyn FnMut(&PlannedFile) -> bool,
    each: &mut dyn FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let store = Store::read_only(System::real());
    let mut plan = plan(&store, metadata, snapshot, &Predicate::True, false)?;
    plan.files.retain(wanted);
    if plan.files.is_empty() {
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let connection = open(scratch.path(), memory)?;
    let reading = Reading { metadata, store: &store, scratch: scratch.path() };
    let mut statement = connection.prepare(&select_located(&plan, &reading, columns)?).map_err(failed)?;
    drop(statement.stream_arrow([]).map_err(failed)?);
    while let Some(batch) = statement.step().map_err(failed)? {
        each(&RecordBatch::from(&batch))?;
    }
    Ok(())
}

/// The locations of a snapshot's live data files.
///
/// # Errors
/// Storage errors.
pub fn files(metadata: &TableMetadata, snapshot: Option<&SnapshotRef>) -> Result<HashSet<String>> {
    let store = Store::read_only(System::real());
    let plan = plan(&store, metadata, snapshot, &Predicate::True, false)?;
    Ok(plan.files.iter().map(|file| file.file.file_path().to_string()).collect())
}

fn open(scratch: &Path, memory: &str) -> Result<Connection> {
    let connection = Connection::open_in_memory().map_err(failed)?;
    let folder = text(&scratch.to_string_lossy());
    let settings = format!(
        "SET memory_limit='{memory}'; SET temp_directory={folder}; SET TimeZone='UTC'; \
         SET autoinstall_known_extensions=false; SET preserve_insertion_order=false;"
    );
    connection.execute_batch(&settings).map_err(failed)?;
    Ok(connection)
}

fn view(
    source: &Source,
    store: &Store,
    ident: &TableIdent,
    mentions: &[Mention],
    at: &At,
    scratch: &Path,
) -> Result<String> {
    let metadata = &source.table(ident)?.metadata;
    let snapshot = snapshot_at(metadata, at)?;
    let schema = read_schema(metadata, snapshot.as_ref())?;
    let plan = plan(store, metadata, snapshot.as_ref(), &predicate(mentions, &schema), false)?;
    let namespace = identifier(&ident.namespace().join("."));
    let rows = select(&plan, &Reading { metadata, store, scratch })?;
    Ok(format!(
        "CREATE SCHEMA IF NOT EXISTS {namespace}; CREATE VIEW {namespace}.{} AS {rows};",
        identifier(ident.name())
    ))
}

/// The statement as DuckDB's parser sees it.
fn parsed(connection: &Connection, sql: &str) -> Result<Value> {
    let tree: String =
        connection.query_row("SELECT json_serialize_sql(?::VARCHAR)", [sql], |row| row.get(0)).map_err(failed)?;
    let tree: Value = serde_json::from_str(&tree)
        .map_err(|error| Error::new(Kind::Internal, "DuckDB's parse tree").because(error))?;
    if tree["error"] == Value::Bool(true) {
        let words = tree["error_message"].as_str().unwrap_or("not a SELECT").to_string();
        return Err(Error::new(Kind::Invalid, format!("the query cannot be read: {words}")));
    }
    Ok(tree)
}
