//! A view's metadata as JSON, without losing what the `iceberg` crate has no place for.
//!
//! Views are small and change seldom: each document is written anew, and what the one before, or the request, says
//! beyond the crate's types is laid over it.

use bytes::Bytes;
use iceberg::spec::ViewMetadata;
use serde_json::Value;

use crate::document::{fits, overlay};
use crate::error::{Error, Kind, Result};

/// What a request says of new schemas and versions, as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct ViewSaid {
    pub schemas: Vec<Value>,
    pub versions: Vec<Value>,
}

/// Writes `metadata`, laying over it what `before` and `said` know beyond it. `returned_ms` is the time at which the
/// view went back to an older version, if it did: the crate would take it from the system's clock.
///
/// # Errors
/// `Internal` if something in it has no JSON form; `Corrupt` if `before` is none.
pub(super) fn write(
    metadata: &ViewMetadata,
    before: Option<&Bytes>,
    said: &ViewSaid,
    returned_ms: Option<i64>,
) -> Result<Bytes> {
    let broken = |error| Error::new(Kind::Internal, "serialising a view").because(error);
    let mut view = serde_json::to_value(metadata).map_err(broken)?;
    let before: Value = match before {
        Some(json) => serde_json::from_slice(json)
            .map_err(|error| Error::new(Kind::Corrupt, "a view's metadata cannot be taken apart").because(error))?,
        None => Value::Null,
    };
    if let (Some(now), Some(log)) = (returned_ms, view.get_mut("version-log").and_then(Value::as_array_mut)) {
        set_time(log, now);
    }
    for (field, id, said) in [("versions", "version-id", &said.versions), ("schemas", "schema-id", &said.schemas)] {
        let old = before.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if let Some(items) = view.get_mut(field).and_then(Value::as_array_mut) {
            // The crate keeps them in a hash map.
            items.sort_by_key(|item| item.get(id).and_then(Value::as_i64));
            items.iter_mut().for_each(|item| lay_over(item, id, old, said));
        }
    }
    if let (Value::Object(view), Value::Object(before)) = (&mut view, before) {
        for (field, value) in before {
            view.entry(field).or_insert(value);
        }
    }
    Ok(serde_json::to_vec(&view).map_err(broken)?.into())
}

/// The last entry of the log is of this change; time does not run backwards.
fn set_time(log: &mut [Value], now_ms: i64) {
    let Some((last, earlier)) = log.split_last_mut() else { return };
    let before = earlier.last().and_then(|entry| entry.get("timestamp-ms")).and_then(Value::as_i64);
    if let Some(time) = last.get_mut("timestamp-ms") {
        *time = Value::from(before.map_or(now_ms, |before| before.max(now_ms)));
    }
}

fn lay_over(item: &mut Value, id: &str, old: &[Value], said: &[Value]) {
    let meant = |raw: &&Value| fits(item, raw) && item.get("timestamp-ms") == raw.get("timestamp-ms");
    let known = old.iter().find(|held| held.get(id) == item.get(id)).or_else(|| said.iter().find(meant));
    if let Some(raw) = known {
        let raw = raw.clone();
        overlay(item, &raw);
    }
}
