//! Values for columns that a file does not hold: a field's initial default (format v3), or the partition's value.
//!
//! A file without a column reads as null there, unless the field has an `initial-default`. A file that was taken over
//! from a folder layout may lack the columns its folders named: the value is then the partition's (Iceberg
//! specification, column projection). Values are given as texts, which DuckDB casts to the column's type.

use std::collections::BTreeMap;

use iceberg::spec::{Literal, NestedField, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Transform, Type};
use laked_catalog::plan::PlannedFile;
use laked_catalog::store::Store;

use super::footer::footer;
use crate::error::{Error, Kind, Result};

/// Field id to value, as text.
pub type Filled = BTreeMap<i32, String>;

/// The initial defaults of a schema's columns.
///
/// # Errors
/// `Invalid` for a default of a type that has no text here.
pub fn initial(schema: &Schema) -> Result<Filled> {
    let fields = schema.as_struct().fields().iter();
    let given = fields.filter_map(|field| field.initial_default.as_ref().map(|value| (field, value)));
    given.map(|(field, value)| Ok((field.id, text_of(field, value)?))).collect()
}

/// Values that the partition has for columns the file does not hold; mostly none. The footer is read only where the
/// manifest says nothing of such a column.
///
/// # Errors
/// As [`footer`]; `Invalid` as for [`initial`].
pub fn of_partition(file: &PlannedFile, spec: &PartitionSpec, schema: &Schema, store: &Store) -> Result<Filled> {
    let described = |id: &i32| file.file.value_counts().contains_key(id) || file.file.column_sizes().contains_key(id);
    let values = spec.fields().iter().zip(file.file.partition().iter());
    let identity = values.filter(|(field, _)| field.transform == Transform::Identity);
    let candidates: Vec<(i32, &Literal)> = identity
        .filter_map(|(field, value)| Some((field.source_id, value?)))
        .filter(|(id, _)| !described(id))
        .collect();
    if candidates.is_empty() {
        return Ok(Filled::new());
    }
    let footer = footer(store, file.file.file_path())?;
    let held: Vec<i32> = footer
        .file_metadata()
        .schema()
        .get_fields()
        .iter()
        .map(|field| field.get_basic_info())
        .filter(|info| info.has_id())
        .map(|info| info.id())
        .collect();
    let mut filled = Filled::new();
    for (id, value) in candidates {
        if let (false, Some(field)) = (held.contains(&id), schema.field_by_id(id)) {
            filled.insert(id, text_of(field, value)?);
        }
    }
    Ok(filled)
}

fn text_of(field: &NestedField, value: &Literal) -> Result<String> {
    let text = match (field.field_type.as_ref(), value) {
        (Type::Primitive(kind), Literal::Primitive(value)) => text(kind, value),
        _ => None,
    };
    text.ok_or_else(|| {
        Error::new(Kind::Invalid, "a column's default cannot be read here; use another engine for this table")
            .with("column", &field.name)
            .with("type", &field.field_type)
    })
}

fn text(kind: &PrimitiveType, value: &PrimitiveLiteral) -> Option<String> {
    Some(match (kind, value) {
        (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => {
            let span = jiff::Span::new().try_days(*days).ok()?;
            jiff::civil::date(1970, 1, 1).checked_add(span).ok()?.to_string()
        }
        (PrimitiveType::Timestamp | PrimitiveType::Timestamptz, PrimitiveLiteral::Long(micros)) => {
            jiff::Timestamp::from_microsecond(*micros).ok()?.to_string()
        }
        (PrimitiveType::Decimal { scale, .. }, PrimitiveLiteral::Int128(value)) => decimal(*value, *scale),
        (PrimitiveType::Int, PrimitiveLiteral::Int(value)) => value.to_string(),
        (PrimitiveType::Long, PrimitiveLiteral::Long(value)) => value.to_string(),
        (PrimitiveType::Boolean, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (PrimitiveType::Float, PrimitiveLiteral::Float(value)) => value.to_string(),
        (PrimitiveType::Double, PrimitiveLiteral::Double(value)) => value.to_string(),
        (PrimitiveType::String, PrimitiveLiteral::String(value)) => value.clone(),
        (PrimitiveType::Uuid, PrimitiveLiteral::UInt128(value)) => uuid::Uuid::from_u128(*value).to_string(),
        _ => return None,
    })
}

/// An unscaled number with its decimal point.
pub(super) fn decimal(unscaled: i128, scale: u32) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let width = scale as usize + 1;
    let digits = format!("{:0>width$}", unscaled.unsigned_abs());
    let (whole, part) = digits.split_at(digits.len() - scale as usize);
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_texts_that_sql_reads() {
        let cases = [
            (PrimitiveType::Date, PrimitiveLiteral::Int(-1), "1969-12-31"),
            (PrimitiveType::Timestamptz, PrimitiveLiteral::Long(1_500_000), "1970-01-01T00:00:01.5Z"),
            (PrimitiveType::Decimal { precision: 9, scale: 2 }, PrimitiveLiteral::Int128(-5), "-0.05"),
            (PrimitiveType::Decimal { precision: 9, scale: 0 }, PrimitiveLiteral::Int128(12), "12"),
            (PrimitiveType::String, PrimitiveLiteral::String("it's".into()), "it's"),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(text(&kind, &value).as_deref(), Some(expected), "{kind}");
        }
        assert_eq!(text(&PrimitiveType::Date, &PrimitiveLiteral::Long(1)), None);
    }
}
