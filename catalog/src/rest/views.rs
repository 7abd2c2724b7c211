//! Views: list, create, register, load, replace, rename, drop.

use std::collections::HashMap;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::IntoResponse;
use iceberg::TableIdent;
use serde_json::value::RawValue;

use super::body::{Register, Rename, parse};
use super::idempotency::Keyed;
use super::tables::may_rename;
use super::view_body::{CreatedView, ReplacedView};
use super::{Answer, Parameters, Scoped, blocking, identifiers, namespace_of, no_content, table_of};
use crate::access::Caller;
use crate::catalog::View;
use crate::error::{Error, Kind};
use crate::state::Sort;

/// GET /v1/namespaces/{namespace}/views
pub async fn list(Scoped(catalog): Scoped, Path(namespace): Path<String>, Query(parameters): Parameters) -> Answer {
    identifiers(catalog, Sort::View, namespace, parameters).await
}

/// POST /v1/namespaces/{namespace}/views
pub async fn create(Keyed(catalog): Keyed, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let CreatedView { name, view, said } = CreatedView::read(&body)?;
    let ident = TableIdent::new(namespace_of(&namespace)?, name);
    loaded(&blocking(move || catalog.create_view_said(&ident, view, &said)).await?)
}

/// POST /v1/namespaces/{namespace}/register-view
pub async fn register(Keyed(catalog): Keyed, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let request: Register = parse(&body)?;
    let ident = TableIdent::new(namespace_of(&namespace)?, request.name);
    loaded(&blocking(move || catalog.register_view(&ident, request.metadata_location)).await?)
}

/// GET /v1/namespaces/{namespace}/views/{view}
pub async fn load(Scoped(catalog): Scoped, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    loaded(&blocking(move || catalog.load_view(&ident)).await?)
}

/// HEAD /v1/namespaces/{namespace}/views/{view}
pub async fn exists(Scoped(catalog): Scoped, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    blocking(move || catalog.load_view(&ident)).await?;
    Ok(no_content())
}

/// POST /v1/namespaces/{namespace}/views/{view}
pub async fn replace(Keyed(catalog): Keyed, path: Path<(String, String)>, body: Bytes) -> Answer {
    let ident = table_of(path)?;
    let ReplacedView { uuids, updates, said } = ReplacedView::read(&body)?;
    loaded(&blocking(move || catalog.replace_view_said(&ident, &uuids, updates, &said)).await?)
}

/// DELETE /v1/namespaces/{namespace}/views/{view}
pub async fn remove(Keyed(catalog): Keyed, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    blocking(move || catalog.drop_view(&ident)).await?;
    Ok(no_content())
}

/// POST /v1/views/rename
pub async fn rename(Keyed(catalog): Keyed, caller: Caller, body: Bytes) -> Answer {
    let request: Rename = parse(&body)?;
    let touched = may_rename(&caller, &request)?;
    blocking(move || catalog.rename_view(&request.source, &request.destination)).await?;
    Ok((Extension(touched), no_content()).into_response())
}

/// The answer to create, load and replace.
pub fn loaded(view: &View) -> Answer {
    let broken = |error: serde_json::Error| Error::new(Kind::Internal, "answering with a view").because(error);
    let metadata: &RawValue = serde_json::from_slice(&view.json).map_err(broken)?;
    #[derive(serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Loaded<'a> {
        metadata_location: &'a str,
        metadata: &'a RawValue,
        config: HashMap<String, String>,
    }
    let body = Loaded { metadata_location: &view.metadata_location, metadata, config: HashMap::new() };
    let text = serde_json::to_vec(&body).map_err(broken)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
