//! `partition` and `sort`: how a table is laid out, in Iceberg's terms.
//!
//! A partition is a field, `country`, or a transform of one: `month(timestamp)`, `bucket[16](user_id)`,
//! `truncate[3](code)`. `bucket(16, user_id)` and `bucket(user_id, 16)`, as Spark and Trino write it, are read too.
//! Partition fields are named as those engines name them: `country`, `timestamp_month`, `user_id_bucket`, `code_trunc`.

use std::ops::Range;

use iceberg::spec::{
    NullOrder, Schema, SortDirection, SortField, SortOrder, Transform, UnboundPartitionSpec,
    UnboundPartitionSpecBuilder,
};

use super::Notes;
use super::table::Table;
use crate::error::{Error, Kind, Result};

const TRANSFORMS: &str =
    "a field, identity(f), year(f), month(f), day(f), hour(f), bucket[N](f), truncate[N](f), void(f)";

/// The partition spec that a list such as `["country", "month(timestamp)"]` means for a table's schema.
pub fn partition_spec<T: AsRef<str>>(items: &[T], schema: &Schema) -> Result<UnboundPartitionSpec> {
    let mut builder = UnboundPartitionSpec::builder();
    for item in items {
        builder = add(builder, item.as_ref(), schema).map_err(|message| Error::new(Kind::Invalid, message))?;
    }
    Ok(builder.build())
}

/// A field of a partition spec as it is asked for: the column's id, the transform, and the name Spark and PyIceberg
/// would give it. Whether that name is free is not looked at.
///
/// # Errors
/// `Invalid`: no such column or transform, or one that does not apply to the other; with what is possible.
pub fn partition_term(item: &str, schema: &Schema) -> Result<(i32, Transform, String)> {
    let (transform, source) = term(item, schema).map_err(|message| Error::new(Kind::Invalid, message))?;
    let id = schema.field_id_by_name(&source).unwrap_or_default();
    Ok((id, transform, partition_name(&source, transform)))
}

/// The sort order that a list such as `["user_id", "timestamp desc nulls last"]` means for a table's schema.
pub fn sort_order<T: AsRef<str>>(items: &[T], schema: &Schema) -> Result<SortOrder> {
    let fields: Result<Vec<_>, _> = items.iter().map(|item| sort_field(item.as_ref(), schema)).collect();
    order(fields.map_err(|message| Error::new(Kind::Invalid, message))?)
}

pub(super) fn read_partition(
    table: &Table<'_>,
    schema: &Schema,
    notes: &mut Notes<'_>,
) -> Option<UnboundPartitionSpec> {
    let mut builder = UnboundPartitionSpec::builder();
    for (item, span) in &table.partition {
        builder = added(builder, item, span, schema, notes)?;
    }
    Some(builder.build())
}

fn added(
    builder: UnboundPartitionSpecBuilder,
    item: &str,
    span: &Range<usize>,
    schema: &Schema,
    notes: &mut Notes<'_>,
) -> Option<UnboundPartitionSpecBuilder> {
    add(builder, item, schema).map_err(|message| notes.at(span.clone(), message)).ok()
}

pub(super) fn read_sort(table: &Table<'_>, schema: &Schema, notes: &mut Notes<'_>) -> Option<SortOrder> {
    let mut fields: Vec<SortField> = Vec::new();
    for (item, span) in &table.sort {
        match sort_field(item, schema) {
            Ok(field) if fields.iter().any(|f| (f.source_id, f.transform) == (field.source_id, field.transform)) => {
                notes.at(span.clone(), format!("`{item}` is in the sort order already"));
            }
            Ok(field) => fields.push(field),
            Err(message) => notes.at(span.clone(), message),
        }
    }
    order(fields).map_err(|error| notes.whole(error.to_string())).ok()
}

fn order(fields: Vec<SortField>) -> Result<SortOrder> {
    let order = SortOrder::builder().with_fields(fields).build_unbound();
    order.map_err(|error| Error::new(Kind::Internal, error.message()))
}

fn add(
    builder: UnboundPartitionSpecBuilder,
    item: &str,
    schema: &Schema,
) -> Result<UnboundPartitionSpecBuilder, String> {
    let (transform, source) = term(item, schema)?;
    let name = partition_name(&source, transform);
    if transform != Transform::Identity && schema.field_by_name(&name).is_some() {
        return Err(format!("the partition `{item}` would be named `{name}`, as a field is: rename the field"));
    }
    let id = schema.field_id_by_name(&source).unwrap_or_default();
    builder.add_partition_field(id, name, transform).map_err(|error| format!("`{item}`: {}", error.message()))
}

/// The name Spark and PyIceberg give a partition field.
fn partition_name(source: &str, transform: Transform) -> String {
    match transform {
        Transform::Identity | Transform::Unknown => source.to_owned(),
        Transform::Bucket(_) => format!("{source}_bucket"),
        Transform::Truncate(_) => format!("{source}_trunc"),
        Transform::Void => format!("{source}_null"),
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => format!("{source}_{transform}"),
    }
}

fn sort_field(item: &str, schema: &Schema) -> Result<SortField, String> {
    let lower = item.trim_end().to_lowercase();
    let mut rest = item.trim_end();
    let mut nulls = None;
    for (suffix, order) in [(" nulls first", NullOrder::First), (" nulls last", NullOrder::Last)] {
        if lower.ends_with(suffix) {
            nulls = Some(order);
            rest = rest[..rest.len() - suffix.len()].trim_end();
        }
    }
    let mut direction = SortDirection::Ascending;
    for (suffix, which) in [(" asc", SortDirection::Ascending), (" desc", SortDirection::Descending)] {
        if rest.to_lowercase().ends_with(suffix) {
            direction = which;
            rest = rest[..rest.len() - suffix.len()].trim_end();
        }
    }
    let (transform, source) = term(rest, schema)?;
    let null_order = nulls.unwrap_or(match direction {
        SortDirection::Ascending => NullOrder::First,
        SortDirection::Descending => NullOrder::Last,
    });
    let source_id = schema.field_id_by_name(&source).unwrap_or_default();
    Ok(SortField { source_id, transform, direction, null_order })
}

/// A transform and the field it is of; the field is in the schema and the transform fits its type.
fn term(text: &str, schema: &Schema) -> Result<(Transform, String), String> {
    let text = text.trim();
    let (transform, source) = match split(text) {
        _ if schema.field_by_name(text).is_some() => (Transform::Identity, text.to_owned()),
        None => (Transform::Identity, text.to_owned()),
        Some((name, width, source)) => (transform(text, name, width)?, source.to_owned()),
    };
    let Some(field) = schema.field_by_name(&source) else {
        let names: Vec<_> = schema.as_struct().fields().iter().map(|field| field.name.as_str()).collect();
        return Err(format!("no field `{source}`; fields: {}", names.join(", ")));
    };
    if transform.result_type(&field.field_type).is_err() {
        return Err(format!("`{source}` is {}: {transform} does not apply to it", field.field_type));
    }
    Ok((transform, source))
}

/// The parts of `bucket[16](f)`, `bucket(16, f)`, `bucket(f, 16)` and `month(f)`.
fn split(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (head, inner) = text.strip_suffix(')')?.split_once('(')?;
    let head = head.trim();
    if let Some((name, width)) = head.strip_suffix(']').and_then(|head| head.split_once('[')) {
        return Some((name.trim(), Some(width.trim()), inner.trim()));
    }
    let is_width = |text: &str| text.trim().parse::<u32>().is_ok();
    match inner.split_once(',') {
        Some((width, source)) if is_width(width) => Some((head, Some(width.trim()), source.trim())),
        _ => match inner.rsplit_once(',') {
            Some((source, width)) if is_width(width) => Some((head, Some(width.trim()), source.trim())),
            _ => Some((head, None, inner.trim())),
        },
    }
}

fn transform(text: &str, name: &str, width: Option<&str>) -> Result<Transform, String> {
    let positive = || {
        let width = width.and_then(|width| width.parse().ok()).filter(|&n: &u32| n > 0 && n <= i32::MAX as u32);
        width.ok_or_else(|| format!("`{text}`: {name} needs a number from 1, as {name}[16](field)"))
    };
    let transform = match name.to_lowercase().as_str() {
        "bucket" => return positive().map(Transform::Bucket),
        "truncate" => return positive().map(Transform::Truncate),
        "identity" => Transform::Identity,
        "year" | "years" => Transform::Year,
        "month" | "months" => Transform::Month,
        "day" | "days" => Transform::Day,
        "hour" | "hours" => Transform::Hour,
        "void" => Transform::Void,
        _ => return Err(format!("no transform `{name}`; possible: {TRANSFORMS}")),
    };
    if width.is_some() {
        return Err(format!("`{text}`: {name} takes no number"));
    }
    Ok(transform)
}
