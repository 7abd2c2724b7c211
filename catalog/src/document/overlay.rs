//! Fields that the `iceberg` crate's types have no place for, laid over what those types write.

use serde_json::Value;

use super::foreign::stands;

/// Adds to `known` what `raw` says beyond it, at any depth. What both say stays as `known` says it: ids are assigned by
/// the catalog. A null says nothing.
pub fn overlay(known: &mut Value, raw: &Value) {
    match (known, raw) {
        (Value::Object(known), Value::Object(raw)) => {
            for (key, value) in raw.iter().filter(|(_, value)| !value.is_null()) {
                match known.get_mut(key) {
                    Some(known) => overlay(known, value),
                    None => {
                        known.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(known), Value::Array(raw)) if known.len() == raw.len() => {
            known.iter_mut().zip(raw).for_each(|(known, raw)| overlay(known, raw));
        }
        (Value::String(known), Value::String(raw)) if stands(known) => known.clone_from(raw),
        _ => {}
    }
}

/// Whether `raw` says something that `known` does not.
pub fn is_strange(known: &Value, raw: &Value) -> bool {
    match (known, raw) {
        (Value::Object(known), Value::Object(raw)) => raw
            .iter()
            .filter(|(_, value)| !value.is_null())
            .any(|(key, value)| known.get(key).is_none_or(|known| is_strange(known, value))),
        (Value::Array(known), Value::Array(raw)) if known.len() == raw.len() => {
            known.iter().zip(raw).any(|(known, raw)| is_strange(known, raw))
        }
        (Value::String(known), Value::String(raw)) => stands(known) && known != raw,
        _ => false,
    }
}

/// Whether two objects have the same form: names, lists of the same length; ids may differ.
pub fn fits(known: &Value, raw: &Value) -> bool {
    match (known, raw) {
        (Value::Object(known), Value::Object(raw)) => known.iter().all(|(key, known)| match raw.get(key) {
            Some(raw) if key == "name" || key == "transform" => known == raw,
            Some(raw) => fits(known, raw),
            None => true,
        }),
        (Value::Array(known), Value::Array(raw)) => {
            known.len() == raw.len() && known.iter().zip(raw).all(|(known, raw)| fits(known, raw))
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_known_stays_and_what_is_strange_is_added() {
        let mut known = json!({"id": 1, "fields": [{"id": 1, "name": "a"}], "doc": "d"});
        let raw = json!({"id": 9, "fields": [{"id": 7, "name": "a", "x": {"y": 1}}], "z": [2], "none": null});
        assert!(is_strange(&known, &raw) && fits(&known, &raw));
        overlay(&mut known, &raw);
        assert_eq!(known, json!({"id": 1, "fields": [{"id": 1, "name": "a", "x": {"y": 1}}], "doc": "d", "z": [2]}));
        assert!(!is_strange(&known, &raw));
        assert!(!fits(&known, &json!({"fields": [{"name": "b"}]})));
        assert!(!fits(&known, &json!({"fields": []})));
    }
}
