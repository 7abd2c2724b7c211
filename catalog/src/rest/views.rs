//! Views: list, create, register, load, replace, rename, drop.

use std::collections::HashMap;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::IntoResponse;
use iceberg::spec::{Schema, ViewVersion};
use iceberg::{TableIdent, ViewUpdate};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::body::{Register, Rename, parse};
use super::tables::may_rename;
use super::{Answer, Parameters, Scoped, blocking, identifiers, namespace_of, no_content, table_of};
use crate::access::Caller;
use crate::catalog::{CreateView, View};
use crate::error::{Error, Kind};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Create {
    name: String,
    #[serde(default)]
    location: Option<String>,
    schema: Schema,
    view_version: ViewVersion,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct Replace {
    #[serde(default)]
    requirements: Vec<Requirement>,
    updates: Vec<ViewUpdate>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Requirement {
    #[serde(rename = "assert-view-uuid")]
    Uuid { uuid: Uuid },
}

/// GET /v1/namespaces/{namespace}/views
pub async fn list(Scoped(catalog): Scoped, Path(namespace): Path<String>, Query(parameters): Parameters) -> Answer {
    let namespace = namespace_of(&namespace)?;
    let all = blocking(move || catalog.list_views(&namespace)).await?;
    identifiers(all, &parameters)
}

/// POST /v1/namespaces/{namespace}/views
pub async fn create(Scoped(catalog): Scoped, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let request: Create = parse(&body)?;
    let ident = TableIdent::new(namespace_of(&namespace)?, request.name);
    let create = CreateView {
        schema: request.schema,
        version: request.view_version,
        location: request.location,
        properties: request.properties.unwrap_or_default(),
    };
    loaded(&blocking(move || catalog.create_view(&ident, create)).await?)
}

/// POST /v1/namespaces/{namespace}/register-view
pub async fn register(Scoped(catalog): Scoped, Path(namespace): Path<String>, body: Bytes) -> Answer {
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
pub async fn replace(Scoped(catalog): Scoped, path: Path<(String, String)>, body: Bytes) -> Answer {
    let ident = table_of(path)?;
    let request: Replace = parse(&body)?;
    let uuid = request.requirements.iter().map(|Requirement::Uuid { uuid }| *uuid).next();
    loaded(&blocking(move || catalog.replace_view(&ident, uuid, request.updates)).await?)
}

/// DELETE /v1/namespaces/{namespace}/views/{view}
pub async fn remove(Scoped(catalog): Scoped, path: Path<(String, String)>) -> Answer {
    let ident = table_of(path)?;
    blocking(move || catalog.drop_view(&ident)).await?;
    Ok(no_content())
}

/// POST /v1/views/rename
pub async fn rename(Scoped(catalog): Scoped, caller: Caller, body: Bytes) -> Answer {
    let request: Rename = parse(&body)?;
    let touched = may_rename(&caller, &request)?;
    blocking(move || catalog.rename_view(&request.source, &request.destination)).await?;
    Ok((Extension(touched), no_content()).into_response())
}

fn loaded(view: &View) -> Answer {
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
