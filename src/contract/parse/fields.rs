//! `[fields]`: a line for each field, as `id = "string"` or `glucose = { type = "double", range = [20, 600] }`.

use std::collections::BTreeMap;
use std::ops::Range as Span;

use regex::Regex;
use toml::de::DeValue;

use super::super::{Field, FieldType, Pattern, Values};
use super::keys::{Keys, Value, wrong};
use super::{Notes, known, limits, table};

pub(super) fn read(top: &Keys<'_, '_>, table: &table::Table<'_>, notes: &mut Notes<'_>) -> Vec<Field> {
    let Some(value) = top.get("fields") else { return Vec::new() };
    let Some(fields) = value.get_ref().as_table() else {
        wrong("fields", "a table: [fields] with a line for each, as `id = \"string\"`", value, notes);
        return Vec::new();
    };
    let mut read = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, (name, span, value)) in Keys::all(fields).entries().iter().enumerate() {
        check_name(name, span, &mut seen, notes);
        let id = i32::try_from(index + 1).unwrap_or(i32::MAX);
        read.extend(field(name, id, value, table, notes));
    }
    for (name, span, value) in Keys::all(fields).entries() {
        check_was(name, span, value, &mut seen, notes);
    }
    read
}

/// A name from before must be free, or nobody could tell which field rows from then have it for.
fn check_was<'a>(
    name: &'a str,
    span: &Span<usize>,
    value: &Value<'_>,
    seen: &mut BTreeMap<String, &'a str>,
    notes: &mut Notes<'_>,
) {
    let DeValue::Table(keys) = value.get_ref() else { return };
    for (was, _) in Keys::all(keys).texts("was", &mut Notes::new("")).unwrap_or_default() {
        if let Some(other) = seen.insert(was.to_lowercase(), name) {
            notes.at(span.clone(), format!("`{name}` was `{was}`, and so is or was `{other}`; a name stands for one"));
        }
    }
}

/// The fields that there are, for messages.
pub(super) fn names(fields: &[Field]) -> String {
    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    format!("fields: {}", names.join(", "))
}

/// SQL engines ignore case: two names that differ in nothing else could not both be read.
fn check_name<'a>(name: &'a str, span: &Span<usize>, seen: &mut BTreeMap<String, &'a str>, notes: &mut Notes<'_>) {
    if name.is_empty() || name.contains(char::is_control) {
        notes.at(span.clone(), "a field's name must not be empty nor hold control characters");
    }
    if let Some(other) = seen.insert(name.to_lowercase(), name) {
        notes.at(span.clone(), format!("`{name}` and `{other}` differ in case only; SQL engines take them for one"));
    }
}

fn field(name: &str, id: i32, value: &Value<'_>, table: &table::Table<'_>, notes: &mut Notes<'_>) -> Option<Field> {
    let (keys, kind) = match value.get_ref() {
        DeValue::String(text) => (Keys::none(), (text.as_ref(), value.span())),
        DeValue::Table(inner) => {
            let keys = Keys::of(inner, known::FIELD, &format!("in the field `{name}`"), notes);
            let kind = keys.text("type", notes);
            if keys.get("type").is_none() {
                notes.at(value.span(), format!("the field `{name}` needs a type; possible: {}", super::super::TYPES));
            }
            (keys, kind?)
        }
        _ => {
            wrong(name, "a type, as \"string\", or a table, as { type = \"double\", range = [0, 1] }", value, notes);
            return None;
        }
    };
    let kind = match FieldType::parse(kind.0) {
        Ok(parsed) => parsed,
        Err(message) => {
            notes.at(kind.1, message);
            return None;
        }
    };
    let field = Field {
        name: name.to_owned(),
        id,
        kind,
        required: keys.flag("required", notes).unwrap_or(false),
        doc: keys.words("doc", notes),
        unit: keys.words("unit", notes),
        was: keys.texts("was", notes).unwrap_or_default().into_iter().map(|(was, _)| was.to_owned()).collect(),
        range: keys.get("range").and_then(|value| limits::range(kind, value, notes)),
        values: keys.get("enum").and_then(|value| values(kind, value, notes)),
        pattern: pattern(kind, &keys, notes),
        length: keys.get("length").and_then(|value| limits::length(kind, value, notes)),
        allow_nan: keys.flag("nan", notes).unwrap_or(false),
        time_zone: time_zone(kind, &keys, table, notes),
        null_values: table::null_values(&keys, notes).unwrap_or_else(|| table.settings.null_values.clone()),
    };
    check_nan(&field, &keys, notes);
    Some(field)
}

fn check_nan(field: &Field, keys: &Keys<'_, '_>, notes: &mut Notes<'_>) {
    let Some(value) = keys.get("nan") else { return };
    if !matches!(field.kind, FieldType::Float | FieldType::Double) {
        notes.at(value.span(), format!("`nan` is for float and double, `{}` is {}", field.name, field.kind));
    } else if field.allow_nan && field.range.is_some() {
        notes.at(value.span(), "NaN is in no range: remove `nan` or `range`");
    }
}

fn time_zone(
    kind: FieldType,
    keys: &Keys<'_, '_>,
    table: &table::Table<'_>,
    notes: &mut Notes<'_>,
) -> Option<jiff::tz::TimeZone> {
    let own = table::time_zone(keys, notes);
    if kind == FieldType::Timestamptz {
        return own.or_else(|| table.time_zone.clone());
    }
    if let Some(value) = keys.get("time_zone") {
        notes.at(value.span(), format!("`time_zone` is for timestamptz, this field is {kind}"));
    }
    None
}

fn values(kind: FieldType, value: &Value<'_>, notes: &mut Notes<'_>) -> Option<Values> {
    let Some(items) = value.get_ref().as_array().filter(|items| !items.is_empty()) else {
        wrong("enum", "a list of one value or more", value, notes);
        return None;
    };
    match kind {
        FieldType::String => {
            let mut texts: Vec<String> = Vec::with_capacity(items.len());
            for item in items.iter() {
                match item.get_ref().as_str() {
                    Some(text) if texts.iter().any(|other| other == text) => {
                        notes.at(item.span(), format!("`{text}` is listed twice"));
                    }
                    Some(text) => texts.push(text.to_owned()),
                    None => wrong("enum", "texts, as the field is a string", item, notes),
                }
            }
            if texts.len() > i16::MAX as usize {
                notes.at(value.span(), format!("`enum` holds at most {} values", i16::MAX));
            }
            Some(Values::Text(texts))
        }
        FieldType::Int | FieldType::Long => {
            let mut numbers: Vec<i64> = items.iter().filter_map(|item| limits::whole(kind, item, notes)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            Some(Values::Whole(numbers))
        }
        _ => {
            notes.at(value.span(), format!("`enum` is for string, int and long, this field is {kind}"));
            None
        }
    }
}

fn pattern(kind: FieldType, keys: &Keys<'_, '_>, notes: &mut Notes<'_>) -> Option<Pattern> {
    let (text, span) = keys.text("pattern", notes)?;
    if kind != FieldType::String {
        notes.at(span, format!("`pattern` is for string, this field is {kind}"));
        return None;
    }
    match Regex::new(&format!("^(?:{text})$")) {
        Ok(regex) => Some(Pattern { text: text.to_owned(), regex }),
        Err(error) => {
            let message = error.to_string();
            let cause = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            notes.at(span, format!("`{text}` is no regular expression: {cause}"));
            None
        }
    }
}
