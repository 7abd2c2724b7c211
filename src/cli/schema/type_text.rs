//! A type as a person writes it: `long`, `decimal(9, 2)`, `list<string>`, `map<string, long>`,
//! `struct<a: int, b: list<double> required>`. Primitive names are the specification's. Ids are left to who adds it.

use iceberg::spec::{ListType, MapType, NestedField, PrimitiveType, StructType, Type};

use crate::error::{Error, Kind, Result};

/// Structs, lists and maps within one another.
const DEPTH: usize = 32;

/// Reads a type.
///
/// # Errors
/// `Invalid` with what can be written.
pub fn parse(text: &str) -> Result<Type> {
    parsed(text.trim(), DEPTH).ok_or_else(|| {
        let possible = "boolean, int, long, float, double, decimal(9, 2), date, time, timestamp, timestamptz, timestamp_ns, \
                        timestamptz_ns, string, uuid, fixed[16], binary, list<long>, map<string, long>, \
                        struct<a: int, b: string required>";
        Error::new(Kind::Invalid, format!("'{text}' is no type; write one as {possible}"))
    })
}

fn parsed(text: &str, depth: usize) -> Option<Type> {
    let depth = depth.checked_sub(1)?;
    let inner = |name: &str| text.strip_prefix(name)?.trim_start().strip_prefix('<')?.strip_suffix('>');
    if let Some(element) = inner("list") {
        let (element, required) = required(element);
        return Some(Type::List(ListType::new(NestedField::list_element(0, parsed(element, depth)?, required).into())));
    }
    if let Some(both) = inner("map") {
        let [key, value] = parts(both)?.try_into().ok()?;
        let (value, required) = required(value);
        let key = NestedField::map_key_element(0, parsed(key, depth)?);
        let value = NestedField::map_value_element(0, parsed(value, depth)?, required);
        return Some(Type::Map(MapType::new(key.into(), value.into())));
    }
    if let Some(fields) = inner("struct") {
        let fields: Option<Vec<NestedField>> = parts(fields)?.into_iter().map(|field| named(field, depth)).collect();
        return Some(Type::Struct(StructType::new(fields?.into_iter().map(Into::into).collect())));
    }
    primitive(text)
}

fn named(text: &str, depth: usize) -> Option<NestedField> {
    let (name, rest) = text.split_once(':')?;
    let (kind, required) = required(rest);
    let name = Some(name.trim()).filter(|name| !name.is_empty())?;
    Some(NestedField::new(0, name, parsed(kind, depth)?, required))
}

fn required(text: &str) -> (&str, bool) {
    let text = text.trim();
    match text.strip_suffix("required") {
        Some(rest) if rest.ends_with([' ', '>']) => (rest.trim_end(), true),
        _ => (text, false),
    }
}

fn primitive(text: &str) -> Option<Type> {
    let lower = text.to_ascii_lowercase().replace("fixed(", "fixed[");
    let lower = if lower.starts_with("fixed[") { lower.replace(')', "]") } else { lower };
    let known = serde_json::from_value::<PrimitiveType>(serde_json::Value::String(lower)).ok()?;
    match known {
        PrimitiveType::Decimal { precision, scale } if precision == 0 || precision > 38 || scale > precision => None,
        known => Some(Type::Primitive(known)),
    }
}

/// The parts of a list; a comma within brackets is part of one.
fn parts(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    parts.push(text[start..].trim());
    (depth == 0 && !parts.contains(&"")).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        for (text, primitive) in [
            ("long", PrimitiveType::Long),
            (" Decimal(9, 2) ", PrimitiveType::Decimal { precision: 9, scale: 2 }),
            ("fixed(16)", PrimitiveType::Fixed(16)),
            ("fixed[16]", PrimitiveType::Fixed(16)),
            ("timestamptz", PrimitiveType::Timestamptz),
        ] {
            assert_eq!(parse(text).expect(text), Type::Primitive(primitive), "{text}");
        }
        let Type::Struct(fields) =
            parse("struct<a: int required, b: map<string, list<double required>>>").expect("one")
        else {
            panic!("no struct")
        };
        assert!(fields.fields()[0].required && !fields.fields()[1].required);
        let Type::Map(map) = fields.fields()[1].field_type.as_ref() else { panic!("no map") };
        let Type::List(list) = map.value_field.field_type.as_ref() else { panic!("no list") };
        assert!(list.element_field.required);
        let deep = "list<".repeat(100) + "int" + &">".repeat(100);
        for bad in [
            "",
            "text",
            "list<>",
            "list<int",
            "map<int>",
            "struct<a>",
            "struct<:int>",
            "decimal(50, 2)",
            "list<a>>",
            &deep,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
