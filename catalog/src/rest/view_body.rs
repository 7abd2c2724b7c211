//! Request bodies about views, each read twice: as the catalog's types, and for what these have no place for.

use std::collections::HashMap;

use iceberg::ViewUpdate;
use iceberg::spec::{Schema, ViewVersion};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::body::{parse, part};
use crate::catalog::{CreateView, ViewSaid};
use crate::error::Result;

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CreateForm<'a> {
    name: String,
    #[serde(default)]
    location: Option<String>,
    #[serde(borrow)]
    schema: &'a RawValue,
    #[serde(borrow)]
    view_version: &'a RawValue,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

/// A request to make a view.
pub struct CreatedView {
    pub name: String,
    pub view: CreateView,
    pub said: ViewSaid,
}

impl CreatedView {
    /// # Errors
    /// `Invalid`.
    pub fn read(body: &[u8]) -> Result<CreatedView> {
        let form: CreateForm<'_> = parse(body)?;
        let said = ViewSaid { schemas: vec![value(form.schema)], versions: vec![value(form.view_version)] };
        let view = CreateView {
            schema: part::<Schema>(form.schema, "schema")?,
            version: part::<ViewVersion>(form.view_version, "view-version")?,
            location: form.location,
            properties: form.properties.unwrap_or_default(),
        };
        Ok(CreatedView { name: form.name, view, said })
    }
}

#[derive(Deserialize)]
struct ReplaceForm<'a> {
    #[serde(default)]
    requirements: Option<Vec<Requirement>>,
    #[serde(borrow)]
    updates: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Requirement {
    #[serde(rename = "assert-view-uuid")]
    Uuid { uuid: Uuid },
}

/// A request to change a view.
pub struct ReplacedView {
    /// The UUIDs it must have.
    pub uuids: Vec<Uuid>,
    pub updates: Vec<ViewUpdate>,
    pub said: ViewSaid,
}

impl ReplacedView {
    /// # Errors
    /// `Invalid`.
    pub fn read(body: &[u8]) -> Result<ReplacedView> {
        let form: ReplaceForm<'_> = parse(body)?;
        let (mut updates, mut said) = (Vec::new(), ViewSaid::default());
        for raw in form.updates {
            let update: ViewUpdate = part(raw, "update")?;
            let heard = match update {
                ViewUpdate::AddSchema { .. } => Some(("schema", &mut said.schemas)),
                ViewUpdate::AddViewVersion { .. } => Some(("view-version", &mut said.versions)),
                _ => None,
            };
            if let Some((field, kept)) = heard {
                kept.extend(value(raw).get(field).cloned());
            }
            updates.push(update);
        }
        let uuids = form.requirements.unwrap_or_default().into_iter().map(|Requirement::Uuid { uuid }| uuid).collect();
        Ok(ReplacedView { uuids, updates, said })
    }
}
