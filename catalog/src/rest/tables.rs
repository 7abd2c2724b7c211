//! Tables: list, create, stage, register, load, commit, rename, drop.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Answer, Parameters, blocking, identifiers, namespace_of, no_content, parse, purge, table_of};
use crate::catalog::{Catalog, missing};
use crate::error::{Error, Kind, Result};
use crate::table::{Change, CreateTable, Origin, Outcome, Table};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Create {
    name: String,
    schema: Schema,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    partition_spec: Option<UnboundPartitionSpec>,
    #[serde(default)]
    write_order: Option<SortOrder>,
    #[serde(default)]
    stage_create: Option<bool>,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Register {
    name: String,
    metadata_location: String,
}

#[derive(Deserialize)]
struct Rename {
    source: TableIdent,
    destination: TableIdent,
}

#[derive(Deserialize)]
struct Commit {
    #[serde(default)]
    identifier: Option<TableIdent>,
    #[serde(default)]
    requirements: Vec<TableRequirement>,
    #[serde(default)]
    updates: Vec<TableUpdate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Transaction {
    table_changes: Vec<Commit>,
}

/// GET /v1/namespaces/{namespace}/tables
pub async fn list(
    State(catalog): State<Catalog>,
    Path(namespace): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    let namespace = namespace_of(&namespace)?;
    let all = blocking(move || catalog.list_tables(&namespace)).await?;
    identifiers(all, &parameters)
}

/// POST /v1/namespaces/{namespace}/tables
pub async fn create(State(catalog): State<Catalog>, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let request: Create = parse(&body)?;
    let ident = TableIdent::new(namespace_of(&namespace)?, request.name);
    let create = CreateTable {
        schema: request.schema,
        spec: request.partition_spec,
        sort_order: request.write_order,
        location: request.location,
        properties: request.properties.unwrap_or_default(),
    };
    if request.stage_create == Some(true) {
        let staged: TableMetadata = blocking(move || catalog.stage_table(&ident, create)).await?;
        return Ok(Json(json!({ "metadata": staged, "config": {} })).into_response());
    }
    let table = blocking(move || catalog.create_table(&ident, create, Origin::Rest)).await?;
    loaded(&table, Snapshots::All, None)
}

/// POST /v1/namespaces/{namespace}/register
pub async fn register(State(catalog): State<Catalog>, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let request: Register = parse(&body)?;
    let ident = TableIdent::new(namespace_of(&namespace)?, request.name);
    let table = blocking(move || catalog.register_table(&ident, request.metadata_location)).await?;
    loaded(&table, Snapshots::All, None)
}

/// GET /v1/namespaces/{namespace}/tables/{table}
pub async fn load(
    State(catalog): State<Catalog>,
    path: Path<(String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Answer {
    let ident = table_of(path)?;
    let table = blocking(move || {
        let table = catalog.load(&ident)?;
        let location = &table.metadata_location;
        catalog.store().len(location).map_err(|error| missing(error, location))?;
        Ok(table)
    })
    .await?;
    let snapshots = match parameters.get("snapshots").map(String::as_str) {
        Some("refs") => Snapshots::Refs,
        _ => Snapshots::All,
    };
    loaded(&table, snapshots, headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()))
}

/// HEAD /v1/namespaces/{namespace}/tables/{table}
pub async fn exists(State(catalog): State<Catalog>, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    blocking(move || catalog.load(&ident)).await?;
    Ok(no_content())
}

/// DELETE /v1/namespaces/{namespace}/tables/{table}
pub async fn remove(
    State(catalog): State<Catalog>,
    path: Path<(String, String)>,
    Query(parameters): Parameters,
) -> Answer {
    let ident = table_of(path)?;
    let purge = parameters.get("purgeRequested").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    blocking(move || {
        let table = if purge { Some(catalog.load(&ident)?) } else { None };
        catalog.drop_table(&ident)?;
        table.map_or(Ok(()), |table| purge::delete_reachable(catalog.store(), &table))
    })
    .await?;
    Ok(no_content())
}

/// POST /v1/tables/rename
pub async fn rename(State(catalog): State<Catalog>, body: Bytes) -> Answer {
    let request: Rename = parse(&body)?;
    blocking(move || catalog.rename_table(&request.source, &request.destination)).await?;
    Ok(no_content())
}

/// POST /v1/namespaces/{namespace}/tables/{table}/metrics
pub async fn report(body: Bytes) -> Answer {
    parse::<serde::de::IgnoredAny>(&body)?;
    Ok(no_content())
}

/// POST /v1/namespaces/{namespace}/tables/{table}
pub async fn commit(State(catalog): State<Catalog>, path: Path<(String, String)>, body: Bytes) -> Answer {
    let ident = table_of(path)?;
    let request: Commit = parse(&body)?;
    let change = Change { ident, requirements: request.requirements, updates: request.updates };
    let tables = blocking(move || settle(catalog.commit(vec![change], Origin::Rest))).await?;
    let Some(table) = tables.first() else {
        return Err(Error::new(Kind::Internal, "a commit without its table").into());
    };
    loaded(table, Snapshots::All, None)
}

/// POST /v1/transactions/commit
pub async fn commit_all(State(catalog): State<Catalog>, body: Bytes) -> Answer {
    let request: Transaction = parse(&body)?;
    let named = |commit: Commit| match commit.identifier {
        Some(ident) => Ok(Change { ident, requirements: commit.requirements, updates: commit.updates }),
        None => Err(Error::new(Kind::Invalid, "each table change of a transaction names its table: 'identifier'")),
    };
    let changes = request.table_changes.into_iter().map(named).collect::<Result<Vec<Change>>>()?;
    blocking(move || settle(catalog.commit(changes, Origin::Rest))).await?;
    Ok(no_content())
}

fn settle(outcome: Outcome) -> Result<Vec<Arc<Table>>> {
    match outcome {
        Outcome::Committed(tables) => Ok(tables),
        Outcome::Conflict(error) | Outcome::Refused(error) | Outcome::Unknown(error) => Err(error),
    }
}

/// Which snapshots a load answers with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Snapshots {
    All,
    /// Only those that a branch or tag points to.
    Refs,
}

/// The answer to create, load and commit, or 304 where the client has it already.
fn loaded(table: &Table, snapshots: Snapshots, held: Option<&str>) -> Answer {
    let etag = etag(table, snapshots);
    if held.is_some_and(|held| held == "*" || held.split(',').any(|one| one.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let metadata = match snapshots {
        Snapshots::All => table.json()?,
        Snapshots::Refs => referenced(table)?,
    };
    let location = serde_json::to_string(&table.metadata_location).map_err(unserialisable)?;
    let mut body = Vec::with_capacity(metadata.len() + location.len() + 64);
    body.extend_from_slice(b"{\"metadata-location\":");
    body.extend_from_slice(location.as_bytes());
    body.extend_from_slice(b",\"metadata\":");
    body.extend_from_slice(&metadata);
    body.extend_from_slice(b",\"config\":{}}");
    let headers = [(header::CONTENT_TYPE, "application/json".to_string()), (header::ETAG, etag)];
    Ok((headers, Body::from(body)).into_response())
}

fn etag(table: &Table, snapshots: Snapshots) -> String {
    let mut hash = Sha256::new_with_prefix(&table.metadata_location);
    hash.update([u8::from(snapshots == Snapshots::Refs)]);
    let hash = hash.finalize();
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

#[derive(Deserialize)]
struct Referenced {
    #[serde(rename = "snapshot-id")]
    id: i64,
}

/// The metadata with the snapshots that refs point to and no others; all else untouched.
fn referenced(table: &Table) -> Result<Bytes> {
    let json = table.json()?;
    let mut document: HashMap<&str, &RawValue> = serde_json::from_slice(&json).map_err(unserialisable)?;
    let refs: HashMap<String, Referenced> = match document.get("refs") {
        Some(refs) => serde_json::from_str(refs.get()).map_err(unserialisable)?,
        None => HashMap::new(),
    };
    let kept: BTreeSet<i64> = refs.values().map(|one| one.id).collect();
    let all: Vec<&RawValue> = match document.get("snapshots") {
        Some(all) => serde_json::from_str(all.get()).map_err(unserialisable)?,
        None => Vec::new(),
    };
    let held = |raw: &&RawValue| serde_json::from_str::<Referenced>(raw.get()).is_ok_and(|one| kept.contains(&one.id));
    let some: Vec<&RawValue> = all.into_iter().filter(held).collect();
    let text = serde_json::value::to_raw_value(&some).map_err(unserialisable)?;
    document.insert("snapshots", &text);
    serde_json::to_vec(&document).map(Bytes::from).map_err(unserialisable)
}

fn unserialisable(error: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "serialising a table").because(error)
}
