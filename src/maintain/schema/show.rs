//! How two schemas differ, to be shown as a diff.

use std::collections::HashMap;

use iceberg::spec::{NestedField, NestedFieldRef, Type};
use serde::Serialize;

use super::tree::flat;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// Its id.
    pub id: i32,
    /// As it is; none if it is new.
    pub before: Option<String>,
    /// As it will be; none if it goes.
    pub after: Option<String>,
}

/// The fields that differ by anything but the ones beneath them: first those that are there after, in order.
pub fn differences(before: &[NestedFieldRef], after: &[NestedFieldRef]) -> Vec<Line> {
    let (was, is) = (shown(before), shown(after));
    let old: HashMap<i32, &str> = was.iter().map(|(id, text)| (*id, text.as_str())).collect();
    let new: HashMap<i32, &str> = is.iter().map(|(id, text)| (*id, text.as_str())).collect();
    let moved = moved(before, after);
    let mut lines = Vec::new();
    for (id, text) in &is {
        let before = old.get(id).map(|text| (*text).to_string());
        if before.as_deref() != Some(text) || moved.contains(id) {
            lines.push(Line { id: *id, before, after: Some(text.clone()) });
        }
    }
    let gone = was.iter().filter(|(id, _)| !new.contains_key(id));
    lines.extend(gone.map(|(id, text)| Line { id: *id, before: Some(text.clone()), after: None }));
    lines
}

/// Fields that have another neighbour before them among those that stay, at any level.
fn moved(before: &[NestedFieldRef], after: &[NestedFieldRef]) -> Vec<i32> {
    let ids = |fields: &[NestedFieldRef], others: &[NestedFieldRef]| {
        let others: Vec<i32> = flat(others).iter().map(|(_, field)| field.id).collect();
        flat(fields).into_iter().map(|(_, field)| field.id).filter(|id| others.contains(id)).collect::<Vec<i32>>()
    };
    let (old, new) = (ids(before, after), ids(after, before));
    let follows = |ids: &[i32]| -> HashMap<i32, Option<i32>> {
        ids.iter().enumerate().map(|(at, id)| (*id, at.checked_sub(1).map(|at| ids[at]))).collect()
    };
    let (was, is) = (follows(&old), follows(&new));
    new.into_iter().filter(|id| was.get(id) != is.get(id)).collect()
}

fn shown(fields: &[NestedFieldRef]) -> Vec<(i32, String)> {
    flat(fields).into_iter().map(|(path, field)| (field.id, line(&path, &field))).collect()
}

fn line(path: &str, field: &NestedField) -> String {
    let kind = match field.field_type.as_ref() {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::Struct(_) => "struct".to_string(),
        Type::List(_) => "list".to_string(),
        Type::Map(_) => "map".to_string(),
    };
    let required = if field.required { " required" } else { "" };
    let default = field.initial_default.as_ref().and_then(|value| value.clone().try_into_json(&field.field_type).ok());
    let default = default.map(|value| format!(" default {value}")).unwrap_or_default();
    let doc = field.doc.as_ref().map(|doc| format!(" -- {doc}")).unwrap_or_default();
    format!("{path}: {kind}{required}{default}{doc}")
}
