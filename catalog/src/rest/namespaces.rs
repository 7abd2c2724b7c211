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
use super::{Answer, Parameters, Scoped, blocking, namespace_of, no_content, page};
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
    let asked = parent.clone();
    let all = blocking(move || {
        if let Some(parent) = &asked {
            catalog.namespace(parent)?;
        }
        catalog.list_namespaces()
    })
    .await?;
    let seen = |namespace: &NamespaceIdent| namespace.parent() == parent && caller.sees(namespace);
    let children = all.into_iter().filter(seen).collect();
    let (found, token) = page(children, &parameters, |namespace: &NamespaceIdent| namespace.join("\u{1f}"));
    Ok(Json(json!({ "namespaces": found, "next-page-token": token })).into_response())
}

/// POST /v1/namespaces
pub async fn create(Scoped(catalog): Scoped, caller: Caller, body: Bytes) -> Answer {
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
pub async fn remove(Scoped(catalog): Scoped, Path(namespace): Path<String>) -> Answer {
    let namespace = namespace_of(&namespace)?;
    blocking(move || catalog.drop_namespace(&namespace)).await?;
    Ok(no_content())
}

/// POST /v1/namespaces/{namespace}/properties
pub async fn update(Scoped(catalog): Scoped, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let namespace = namespace_of(&namespace)?;
    let request: Update = parse(&body)?;
    let (removals, updates) = (request.removals.unwrap_or_default(), request.updates.unwrap_or_default());
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        let message = format!("the property '{both}' is both set and removed: choose one");
        return Err(super::Failure::unprocessable(message));
    }
    let answer = blocking(move || {
        let mut properties = catalog.namespace(&namespace)?;
        let (removed, missing): (Vec<_>, Vec<_>) =
            removals.into_iter().partition(|key| properties.remove(key).is_some());
        let updated: Vec<String> = updates.keys().cloned().collect();
        properties.extend(updates);
        catalog.set_namespace(&namespace, &properties)?;
        Ok(json!({ "updated": updated, "removed": removed, "missing": missing }))
    });
    Ok(Json(answer.await?).into_response())
}
