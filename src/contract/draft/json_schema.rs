//! Drafts from a JSON Schema, as Pydantic's `model_json_schema()` and others export it.
//!
//! Read are `properties`, `required`, `$ref` into the same document, `anyOf`/`oneOf`/`allOf` of one type and null,
//! `type` lists with null, `enum`, `const`, `format`, the numeric and length limits, `pattern`, `title`, `description`
//! and `additionalProperties: false`. Patterns there match anywhere in a text, a contract's match the whole.

use regex::Regex;
use serde_json::{Map, Value};

use super::records::Object;
use super::{Column, Draft, quoted};

/// References followed for one field, so that a circle ends.
const DEPTH: usize = 16;

/// The document, if it is the schema of an object.
pub(super) fn schema(bytes: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()?;
    let target = resolve(&value, &value, DEPTH).0;
    let is_schema = target.get("properties").is_some_and(Value::is_object)
        && (target.get("type").is_some_and(|kind| kind == "object") || value.get("$schema").is_some());
    is_schema.then_some(value)
}

pub(super) fn read(root: &Value, bytes: &[u8]) -> Draft {
    let model = resolve(root, root, DEPTH).0;
    let words = ["description", "title"].iter().find_map(|key| model.get(*key).and_then(Value::as_str));
    let doc = words.map(super::one_line).unwrap_or_default();
    let mut draft = Draft { doc, from_schema: true, ..Draft::default() };
    if model.get("additionalProperties") != Some(&Value::Bool(false)) {
        draft.ignored.push("what the schema does not name (it does not forbid other fields)".to_owned());
    }
    let required: Vec<&str> =
        model.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = model.get("properties").and_then(Value::as_object);
    let mut properties: Vec<_> = properties.into_iter().flatten().collect();
    let order = order(root, bytes);
    properties.sort_by_key(|(name, _)| order.iter().position(|known| known == *name));
    for (name, property) in properties {
        let (target, nullable) = resolve(root, property, DEPTH);
        let Some(mut column) = column(root, name, target, &mut draft) else {
            draft
                .ignored
                .push(format!("`{name}` is an object, a list, or of several types: a contract describes flat records"));
            continue;
        };
        column.required = required.contains(&name.as_str()) && !nullable;
        let doc = property.get("description").or_else(|| target.get("description")).and_then(Value::as_str);
        column.keys.extend(doc.map(|doc| ("doc", quoted(doc.trim()))));
        draft.columns.push(column);
    }
    draft
}

/// The names of the properties as the document orders them, which a parsed [`Value`] forgets.
fn order(root: &Value, bytes: &[u8]) -> Vec<String> {
    let pointer = root.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#')).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let mut object = serde_json::from_str::<Object>(text.trim_start_matches('\u{feff}')).ok();
    for key in pointer.split('/').skip(1).chain(["properties"]) {
        let key = key.replace("~1", "/").replace("~0", "~");
        object = object.and_then(|object| {
            let (_, value) = object.0.into_iter().find(|(name, _)| *name == key)?;
            serde_json::from_str(value.get()).ok()
        });
    }
    object.map(|object| object.0.into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
}

/// The schema behind references and unions with null, and whether null is allowed.
fn resolve<'v>(root: &'v Value, schema: &'v Value, depth: usize) -> (&'v Value, bool) {
    if depth == 0 {
        return (schema, false);
    }
    if let Some(target) =
        schema.get("$ref").and_then(Value::as_str).and_then(|text| root.pointer(text.strip_prefix('#')?))
    {
        return resolve(root, target, depth - 1);
    }
    let union = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(*key)).and_then(Value::as_array);
    if let Some(members) = union {
        let is_null = |member: &&Value| member.get("type").is_some_and(|kind| kind == "null");
        let nullable = members.iter().any(|member| is_null(&member));
        let mut others = members.iter().filter(|member| !is_null(member));
        if let (Some(only), None) = (others.next(), others.next()) {
            let (target, inner) = resolve(root, only, depth - 1);
            return (target, nullable || inner);
        }
        return (schema, nullable);
    }
    let nullable =
        schema.get("type").and_then(Value::as_array).is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"))
            || schema.get("enum").and_then(Value::as_array).is_some_and(|values| values.contains(&Value::Null));
    (schema, nullable)
}

fn column(root: &Value, name: &str, schema: &Value, draft: &mut Draft) -> Option<Column> {
    let schema = schema.as_object()?;
    if is_decimal(root, schema) {
        draft.lenient.insert("a decimal may come as a text");
        let mut column = Column::new(name, "decimal(18,6)");
        column.note("A decimal: how many digits does it need?");
        return Some(column);
    }
    let values =
        schema.get("enum").and_then(Value::as_array).cloned().or_else(|| Some(vec![schema.get("const")?.clone()]));
    if let Some(values) = values {
        return listed(name, &values);
    }
    let kinds: Vec<&str> = match schema.get("type")? {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        _ => return None,
    };
    match kinds.as_slice() {
        ["string"] => Some(text(name, schema)),
        ["integer"] => Some(number(name, "long", schema)),
        ["number"] | ["integer", "number"] | ["number", "integer"] => Some(number(name, "double", schema)),
        ["boolean"] => Some(Column::new(name, "boolean")),
        _ => None,
    }
}

/// Pydantic's Decimal: a number or a text.
fn is_decimal(root: &Value, schema: &Map<String, Value>) -> bool {
    let Some(members) = schema.get("anyOf").and_then(Value::as_array) else { return false };
    let mut kinds: Vec<&str> = members
        .iter()
        .filter_map(|member| resolve(root, member, DEPTH).0.get("type").and_then(Value::as_str))
        .filter(|kind| *kind != "null")
        .collect();
    kinds.sort_unstable();
    kinds == ["number", "string"]
}

fn listed(name: &str, values: &[Value]) -> Option<Column> {
    let mut values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    let mut seen: Vec<&Value> = Vec::new();
    values.retain(|value| {
        !seen.contains(value) && {
            seen.push(value);
            true
        }
    });
    let kind = if values.iter().all(|value| value.is_string()) {
        "string"
    } else if values.iter().all(|value| value.is_i64()) {
        "long"
    } else {
        return None;
    };
    let items: Vec<String> =
        values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), quoted)).collect();
    let mut column = Column::new(name, kind);
    if !items.is_empty() {
        column.keys.push(("enum", format!("[{}]", items.join(", "))));
        column.splits = kind == "string";
    }
    Some(column)
}

fn text(name: &str, schema: &Map<String, Value>) -> Column {
    let mut column = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => {
            let mut column = Column::new(name, "timestamptz");
            column.note(
                "If times come without offset, name their clock: time_zone = \"UTC\". Otherwise they are refused.",
            );
            return column;
        }
        Some("date") => return Column::new(name, "date"),
        Some("time") => return Column::new(name, "time"),
        Some("uuid") => return Column::new(name, "uuid"),
        _ => Column::new(name, "string"),
    };
    let side = |key: &str| schema.get(key).and_then(Value::as_u64);
    let ends = [("min", side("minLength")), ("max", side("maxLength"))];
    let ends: Vec<_> = ends.iter().filter_map(|(key, end)| Some(format!("{key} = {}", (*end)?))).collect();
    if !ends.is_empty() {
        column.keys.push(("length", format!("{{ {} }}", ends.join(", "))));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let whole = anchored(pattern);
        match Regex::new(&format!("^(?:{whole})$")) {
            Ok(_) => column.keys.push(("pattern", quoted(&whole))),
            Err(_) => column.note(format!("The schema's pattern is not known here: {pattern}")),
        }
    }
    column
}

/// A pattern that matches anywhere, as one that matches the whole text.
fn anchored(pattern: &str) -> String {
    let alternatives = pattern.contains('|');
    let (start, inner) =
        pattern.strip_prefix('^').filter(|_| !alternatives).map_or(("(?s:.*)", pattern), |inner| ("", inner));
    let ends = inner.ends_with('$') && !inner.ends_with("\\$") && !alternatives;
    let (end, inner) = if ends { ("", &inner[..inner.len() - 1]) } else { ("(?s:.*)", inner) };
    let inner = if alternatives { format!("(?:{inner})") } else { inner.to_owned() };
    format!("{start}{inner}{end}")
}

fn number(name: &str, kind: &str, schema: &Map<String, Value>) -> Column {
    let mut column = Column::new(name, kind);
    let side = |key: &str| schema.get(key).filter(|value| value.is_number() && fits(kind, value));
    let pick = |plain: &str, exclusive: &str, names: (&'static str, &'static str)| {
        let (plain, exclusive) = (side(plain), side(exclusive));
        exclusive.map(|value| (names.1, value)).or(plain.map(|value| (names.0, value)))
    };
    let low = pick("minimum", "exclusiveMinimum", ("min", "above"));
    let high = pick("maximum", "exclusiveMaximum", ("max", "below"));
    let ends: Vec<_> = low.iter().chain(&high).map(|(key, value)| format!("{key} = {}", limit(kind, value))).collect();
    if !ends.is_empty() {
        column.keys.push(("range", format!("{{ {} }}", ends.join(", "))));
    }
    column
}

fn fits(kind: &str, value: &Value) -> bool {
    kind != "long" || value.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() < 9e18)
}

fn limit(kind: &str, value: &Value) -> String {
    match value.as_i64() {
        Some(whole) => whole.to_string(),
        None if kind == "long" => format!("{:.0}", value.as_f64().unwrap_or_default()),
        // `{:?}` always has a point or an exponent, which TOML wants of a float.
        None => format!("{:?}", value.as_f64().unwrap_or_default()),
    }
}
