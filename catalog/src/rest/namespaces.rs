//! Namespaces: list, create, load, update, drop.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use iceberg::NamespaceIdent;
use serde::Deserialize;
use serde_json::json;

use super::body::parse;
use super::idempotency::Keyed;
use super::page::Page;
use super::{Answer, Parameters, Scoped, blocking, namespace_of, no_content};
use crate::access::{Caller, Role, Touched};
use crate::error::{Error, Kind};

#[derive(Deserialize)]
struct Create {
    namespace: Vec<String>,
    #[serde(default)]
    properties: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    removals: Option<Vec<String>>,
    #[serde(default)]
    updates: Option<BTreeMap<String, String>>,
}

/// GET /v1/namespaces
pub async fn list(Scoped(catalog): Scoped, caller: Caller, Query(parameters): Parameters) -> Answer {
    let parent =
        parameters.get("parent").filter(|parent| !parent.is_empty()).map(|text| namespace_of(text)).transpose()?;
    let page = Page::asked(&parameters)?;
    let (mut found, page) = blocking(move || {
        let found = catalog.children_after(parent.as_ref(), &page.after, page.most())?;
        Ok((found, page))
    })
    .await?;
    let token = page.cut(&mut found, |namespace| namespace.join("\u{1f}"));
    found.retain(|namespace| caller.sees(namespace));
    Ok(Json(json!({ "namespaces": found, "next-page-token": token })).into_response())
}

/// POST /v1/namespaces
pub async fn create(Keyed(catalog): Keyed, caller: Caller, body: Bytes) -> Answer {
    let request: Create = parse(&body)?;
    let namespace = NamespaceIdent::from_vec(request.namespace)
        .map_err(|error| Error::new(Kind::Invalid, "not a namespace").because(error))?;
    caller.may(Role::Writer, &namespace)?;
    let touched = Touched(namespace.join("."));
    let created = blocking(move || {
        catalog.create_namespace(&namespace, request.properties.unwrap_or_default())?;
        Ok(json!({ "namespace": namespace, "properties": catalog.namespace(&namespace)? }))
    });
    Ok((Extension(touched), Json(created.await?)).into_response())
}

/// GET /v1/namespaces/{namespace}
pub async fn load(Scoped(catalog): Scoped, Path(namespace): Path<String>) -> Answer {
    let namespace = namespace_of(&namespace)?;
    let found = blocking(move || Ok(json!({ "properties": catalog.namespace(&namespace)?, "namespace": namespace })));
    Ok(Json(found.await?).into_response())
}

/// HEAD /v1/namespaces/{namespace}
pub async fn exists(Scoped(catalog): Scoped, Path(namespace): Path<String>) -> Answer {
    let namespace = namespace_of(&namespace)?;
    blocking(move || catalog.namespace(&namespace)).await?;
    Ok(no_content())
}

/// DELETE /v1/namespaces/{namespace}
pub async fn remove(Keyed(catalog): Keyed, Path(namespace): Path<String>) -> Answer {
    let namespace = namespace_of(&namespace)?;
    blocking(move || catalog.drop_namespace(&namespace)).await?;
    Ok(no_content())
}

/// POST /v1/namespaces/{namespace}/properties
pub async fn update(Keyed(catalog): Keyed, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let namespace = namespace_of(&namespace)?;
    let request: Update = parse(&body)?;
    let (removals, updates) = (request.removals.unwrap_or_default(), request.updates.unwrap_or_default());
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        let message = format!("the property '{both}' is both set and removed: choose one");
        return Err(super::Failure::unprocessable(message));
    }
    let updated = blocking(move || catalog.update_namespace(&namespace, &removals, &updates)).await?;
    Ok(Json(updated.json()).into_response())
}
