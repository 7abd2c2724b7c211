//! Tables: list, create, stage, register, load, commit, rename, drop.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use iceberg::TableIdent;

use super::body::{self, Create, Register, Rename, parse};
use super::idempotency::Keyed;
use super::loaded::{Snapshots, loaded};
use super::reports::Reports;
use super::{Answer, Parameters, Scoped, blocking, finish_purges, identifiers, namespace_of, no_content, table_of};
use crate::access::{Caller, Role, Touched};
use crate::document::{Document, Refs};
use crate::error::{Error, Kind, Result};
use crate::state::Sort;
use crate::table::{Companions, Origin, Outcome, Table};

/// GET /v1/namespaces/{namespace}/tables
pub async fn list(Scoped(catalog): Scoped, Path(namespace): Path<String>, Query(parameters): Parameters) -> Answer {
    identifiers(catalog, Sort::Table, namespace, parameters).await
}

/// POST /v1/namespaces/{namespace}/tables
pub async fn create(Keyed(catalog): Keyed, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let Create { name, table, stage, said } = Create::read(&body)?;
    let ident = TableIdent::new(namespace_of(&namespace)?, name);
    if stage {
        let staged = blocking(move || {
            let staged = catalog.stage_table(&ident, table)?;
            Document::write(&staged, &Refs::new(), &said, None)
        });
        let body = [b"{\"metadata\":", staged.await?.json().as_ref(), b",\"config\":{}}"].concat();
        return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
    }
    let table = blocking(move || catalog.create_said(&ident, table, &said, Origin::Rest)).await?;
    loaded(&table, Snapshots::All, None)
}

/// POST /v1/namespaces/{namespace}/register
pub async fn register(Keyed(catalog): Keyed, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let request: Register = parse(&body)?;
    let ident = TableIdent::new(namespace_of(&namespace)?, request.name);
    let table = blocking(move || match request.overwrite {
        Some(true) => catalog.register_over(&ident, request.metadata_location),
        _ => catalog.register_table(&ident, request.metadata_location),
    })
    .await?;
    loaded(&table, Snapshots::All, None)
}

/// GET /v1/namespaces/{namespace}/tables/{table}
pub async fn load(
    Scoped(catalog): Scoped,
    path: Path<(String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Answer {
    let ident = table_of(path)?;
    let table = match catalog.at_hand(&ident)? {
        Some(table) => {
            catalog.find_metadata(&table.metadata_location)?;
            table
        }
        None => {
            let found = move || {
                let table = catalog.load(&ident)?;
                catalog.find_metadata(&table.metadata_location).map(|()| table)
            };
            blocking(found).await?
        }
    };
    loaded(
        &table,
        Snapshots::asked(&parameters)?,
        headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()),
    )
}

/// HEAD /v1/namespaces/{namespace}/tables/{table}
pub async fn exists(Scoped(catalog): Scoped, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    blocking(move || catalog.exists(&ident)).await?;
    Ok(no_content())
}

/// DELETE /v1/namespaces/{namespace}/tables/{table}
pub async fn remove(Keyed(catalog): Keyed, path: Path<(String, String)>, Query(parameters): Parameters) -> Answer {
    let ident = table_of(path)?;
    let purge = parameters.get("purgeRequested").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let own = catalog.clone();
    blocking(move || if purge { own.purge_table(&ident) } else { own.drop_table(&ident) }).await?;
    if purge {
        finish_purges(&catalog);
    }
    Ok(no_content())
}

/// POST /v1/namespaces/{namespace}/tables/{table}/unregister
pub async fn unregister(Keyed(catalog): Keyed, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    let table = blocking(move || catalog.unregister_table(&ident)).await?;
    loaded(&table, Snapshots::All, None)
}

/// POST /v1/namespaces/{namespace}/tables/{table}/undrop, which is our own: the table that was dropped last is back.
pub async fn undrop(Keyed(catalog): Keyed, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    blocking(move || catalog.undrop_table(&ident)).await?;
    Ok(no_content())
}

/// POST /v1/tables/rename
pub async fn rename(Keyed(catalog): Keyed, caller: Caller, body: Bytes) -> Answer {
    let request: Rename = parse(&body)?;
    let touched = may_rename(&caller, &request)?;
    blocking(move || catalog.rename_table(&request.source, &request.destination)).await?;
    Ok((Extension(touched), no_content()).into_response())
}

/// Holds a caller to both names; for the audit log, what is renamed.
pub fn may_rename(caller: &Caller, Rename { source, destination }: &Rename) -> Result<Touched> {
    caller.may(Role::Writer, source.namespace())?;
    caller.may(Role::Writer, destination.namespace())?;
    Ok(Touched(format!("{source} to {destination}")))
}

/// POST /v1/namespaces/{namespace}/tables/{table}/metrics
pub async fn report(
    Scoped(catalog): Scoped,
    Extension(reports): Extension<Arc<Reports>>,
    path: Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let ident = table_of(path)?;
    let known = ident.clone();
    blocking(move || catalog.exists(&known)).await?;
    reports.add(ident, &body)?;
    Ok(no_content())
}

/// GET /v1/namespaces/{namespace}/tables/{table}/metrics, which is our own: the last reports.
pub async fn reports(Extension(reports): Extension<Arc<Reports>>, path: Path<(String, String)>) -> Answer {
    Ok(Json(serde_json::json!({ "reports": reports.of(&table_of(path)?) })).into_response())
}

/// POST /v1/namespaces/{namespace}/tables/{table}
pub async fn commit(Keyed(catalog): Keyed, path: Path<(String, String)>, body: Bytes) -> Answer {
    let ident = table_of(path)?;
    let (change, said) = body::commit(&body, ident)?;
    let commit = move || settle(catalog.commit_said(vec![change], &[said], Origin::Rest, &mut Companions::none()));
    let tables = blocking(commit).await?;
    let Some(table) = tables.first() else {
        return Err(Error::new(Kind::Internal, "a commit without its table").into());
    };
    loaded(table, Snapshots::All, None)
}

/// POST /v1/transactions/commit
pub async fn commit_all(Keyed(catalog): Keyed, caller: Caller, body: Bytes) -> Answer {
    let (changes, said) = body::transaction(&body)?;
    changes.iter().try_for_each(|change| caller.may(Role::Writer, change.ident.namespace()))?;
    let names: Vec<String> = changes.iter().map(|change| change.ident.to_string()).collect();
    blocking(move || settle(catalog.commit_said(changes, &said, Origin::Rest, &mut Companions::none()))).await?;
    Ok((Extension(Touched(names.join(", "))), no_content()).into_response())
}

fn settle(outcome: Outcome) -> Result<Vec<Arc<Table>>> {
    match outcome {
        Outcome::Committed(tables) => Ok(tables),
        Outcome::Conflict(error) | Outcome::Refused(error) | Outcome::Unknown(error) => Err(error),
    }
}
