//! Column types of format 3 that the `iceberg` crate cannot read: variant, unknown, geometry, geography.
//!
//! In the crate's eyes such a column is a `fixed` of a length that nothing has; the document keeps its real type. The
//! catalog need not understand a column's type to keep its table.

use std::borrow::Cow;

use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// Lengths from here on stand for types.
const STANDS: u64 = 2_147_480_000;

const FOREIGN: [&str; 4] = ["variant", "unknown", "geometry", "geography"];

fn stand_in(name: &str) -> Option<String> {
    let kind = name.split('(').next()?.trim();
    let at = FOREIGN.iter().position(|foreign| kind.eq_ignore_ascii_case(foreign))?;
    // Two geometries of different reference systems are different types.
    let parameters = name.bytes().skip(kind.len()).fold(0u64, |sum, byte| (sum * 31 + u64::from(byte)) % 499);
    Some(format!("fixed[{}]", STANDS + u64::try_from(at).unwrap_or(0) * 500 + parameters))
}

/// Whether a type's text is one of those that stand for another.
pub fn stands(name: &str) -> bool {
    let length = name.strip_prefix("fixed[").and_then(|rest| rest.strip_suffix(']'));
    length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length >= STANDS)
}

/// Replaces foreign types anywhere below; whether there was one.
fn replace(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter_mut().fold(false, |found, (key, value)| {
            let place = matches!(key.as_str(), "type" | "element" | "key" | "value");
            match value.as_str().filter(|_| place).and_then(stand_in) {
                Some(name) => {
                    *value = Value::String(name);
                    true
                }
                None => replace(value) || found,
            }
        }),
        Value::Array(items) => items.iter_mut().map(replace).filter(|found| *found).count() > 0,
        _ => false,
    }
}

/// A text with stand-ins for the foreign types in its schemas, if there is one.
fn domestic(json: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    let mut found = false;
    for field in ["schemas", "schema", "fields"] {
        found |= value.get_mut(field).is_some_and(replace);
    }
    if found { serde_json::to_vec(&value).ok() } else { None }
}

/// Reads what holds schemas: table metadata, a request, an update, a schema itself.
///
/// # Errors
/// What is wrong with it, as `Invalid`.
pub fn read<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T> {
    let wrong = |error| Error::new(Kind::Invalid, "the JSON does not fit").because(error);
    let first = match serde_json::from_slice(json) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let may_hold = |name: &str| json.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()));
    if !FOREIGN.iter().any(|name| may_hold(name)) {
        return Err(wrong(first));
    }
    let text = domestic(json).map_or(Cow::Borrowed(json), Cow::Owned);
    serde_json::from_slice(&text).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::Schema;

    #[test]
    fn foreign_types_are_read_and_told_apart() {
        let schema = |name: &str| {
            let text = format!(
                r#"{{"type":"struct","schema-id":0,"fields":[{{"id":1,"name":"a","required":false,"type":"{name}"}},
                {{"id":2,"name":"b","required":false,"type":{{"type":"list","element-id":3,"element":"{name}",
                "element-required":false}}}}]}}"#
            );
            read::<Schema>(text.as_bytes())
        };
        let names = ["variant", "unknown", "geometry(srid:4326)", "geometry", "geography(srid:4269, karney)"];
        let read: Vec<Schema> = names.iter().map(|name| schema(name).expect(name)).collect();
        for (at, one) in read.iter().enumerate() {
            let text = serde_json::to_value(&one.as_struct().fields()[0].field_type).expect("has a form");
            assert!(text.as_str().is_some_and(stands), "{text}");
            assert!(read[..at].iter().all(|other| other.as_struct() != one.as_struct()), "{one}");
        }
        assert_eq!(schema("nonsense").expect_err("no type").kind(), Kind::Invalid);
        assert!(!stands("fixed[16]"));
    }
}
