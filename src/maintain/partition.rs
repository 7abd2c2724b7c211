//! Another partition spec for a table, from now on.
//!
//! Nothing is rewritten: each file keeps the spec it was written under, each manifest names its own, and a query prunes
//! by both. The edit asserts the schema, the default spec and the last field id it was planned on.
//!
//! # Ids and names (specification, "Partition Evolution")
//! A field that any spec of the table had before, the same transform of the same column, has its id and its name again.
//! Ids of others are new. In the type that unites all specs two fields must not share a name, so a name that another
//! field has or had gets the transform's width (`id_bucket_32`), or a number. A table of format 1 keeps every field of
//! its spec in its place, dropped ones with the transform `void`, because its readers go by position.

use std::collections::HashSet;

use iceberg::spec::{FormatVersion, PartitionField, TableMetadata, Transform, UnboundPartitionField};
use iceberg::spec::{UnboundPartitionSpec, UnboundPartitionSpecBuilder};
use iceberg::{TableRequirement, TableUpdate};
use serde::Serialize;

use super::Edit;
use crate::error::{Error, Kind, Result};

/// A field that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The column's field id.
    pub source_id: i32,
    /// What becomes of its values.
    pub transform: Transform,
    /// The partition field's name.
    pub name: String,
    /// Whether it was asked for by that name, so that no other will do.
    pub is_named: bool,
}

/// A field of a spec, to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Field {
    /// The column.
    pub source: String,
    /// As the specification writes it: `bucket[16]`.
    pub transform: String,
    /// The partition field's name.
    pub name: String,
    /// Its id.
    pub field_id: i32,
}

/// What evolving would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionPlan {
    /// The default spec now.
    pub before: Vec<Field>,
    /// The default spec then.
    pub after: Vec<Field>,
    /// The change.
    #[serde(skip)]
    pub edit: Edit,
}

/// Plans the spec of these fields, in this order.
///
/// # Errors
/// `Invalid`: a field twice, a name that is taken, a nested column of a table that laked writes.
pub fn evolve_partition(metadata: &TableMetadata, terms: &[Term]) -> Result<PartitionPlan> {
    terms.iter().try_for_each(|term| fits(metadata, term))?;
    for (at, term) in terms.iter().enumerate() {
        if let Some(other) = terms[..at].iter().find(|other| overlaps(other, term)) {
            let (one, two) = (written(metadata, other), written(metadata, term));
            let why = if one == two { format!("{one} is there twice") } else { format!("{two} adds nothing to {one}") };
            return Err(Error::new(Kind::Invalid, format!("{why}: leave one of them out")));
        }
    }
    let mut fields = match metadata.format_version() {
        FormatVersion::V1 => in_place(metadata, terms),
        _ => Vec::new(),
    };
    let held: HashSet<(i32, Transform)> = fields.iter().map(|field| (field.source_id, field.transform)).collect();
    let mut next = metadata.last_partition_id().max(999);
    for term in terms.iter().filter(|term| !held.contains(&(term.source_id, term.transform))) {
        fields.push(field_of(metadata, term, &fields, &mut next)?);
    }
    let default = metadata.default_partition_spec();
    let now: Vec<UnboundPartitionField> = default.fields().iter().map(unbound).collect();
    let mut edit = Edit::of(metadata);
    if now != fields {
        edit.requirements.extend([
            TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
            TableRequirement::DefaultSpecIdMatch { default_spec_id: default.spec_id() },
            TableRequirement::LastAssignedPartitionIdMatch { last_assigned_partition_id: metadata.last_partition_id() },
        ]);
        edit.updates =
            vec![TableUpdate::AddSpec { spec: spec_of(&fields)? }, TableUpdate::SetDefaultSpec { spec_id: -1 }];
    }
    let shown = |fields: &[UnboundPartitionField]| fields.iter().map(|field| shown(metadata, field)).collect();
    Ok(PartitionPlan { before: shown(&now), after: shown(&fields), edit })
}

fn spec_of(fields: &[UnboundPartitionField]) -> Result<UnboundPartitionSpec> {
    let builder = UnboundPartitionSpecBuilder::new().add_partition_fields(fields.iter().cloned());
    let builder =
        builder.map_err(|error| Error::new(Kind::Invalid, "these fields make no partition spec").because(error));
    builder.map(UnboundPartitionSpecBuilder::build)
}

/// Whether a spec may not have both: the same transform of a column, or two of its times.
fn overlaps(one: &Term, other: &Term) -> bool {
    let is_time =
        |term: &Term| matches!(term.transform, Transform::Year | Transform::Month | Transform::Day | Transform::Hour);
    one.source_id == other.source_id && (one.transform == other.transform || is_time(one) && is_time(other))
}

fn unbound(field: &PartitionField) -> UnboundPartitionField {
    UnboundPartitionField {
        source_id: field.source_id,
        field_id: Some(field.field_id),
        name: field.name.clone(),
        transform: field.transform,
    }
}

fn shown(metadata: &TableMetadata, field: &UnboundPartitionField) -> Field {
    let source = metadata.current_schema().name_by_field_id(field.source_id).unwrap_or("?").to_string();
    let (transform, name) = (field.transform.to_string(), field.name.clone());
    Field { source, transform, name, field_id: field.field_id.unwrap_or_default() }
}

fn written(metadata: &TableMetadata, term: &Term) -> String {
    let source = metadata.current_schema().name_by_field_id(term.source_id).unwrap_or("?");
    match term.transform {
        Transform::Identity => format!("`{source}`"),
        transform => format!("`{transform}({source})`"),
    }
}

/// Our own writer partitions by columns at the top: a spec it cannot serve would stop ingestion.
fn fits(metadata: &TableMetadata, term: &Term) -> Result<()> {
    let at_top = metadata.current_schema().as_struct().fields().iter().any(|field| field.id == term.source_id);
    if at_top || !metadata.properties().keys().any(|key| key.starts_with("laked.")) {
        return Ok(());
    }
    let what = written(metadata, term);
    let columns: Vec<&str> =
        metadata.current_schema().as_struct().fields().iter().map(|field| field.name.as_str()).collect();
    let message =
        format!("{what} is of a nested field, by which laked cannot partition; columns: {}", columns.join(", "));
    Err(Error::new(Kind::Invalid, message))
}

/// Fields that any spec has or had, the current one's first.
fn earlier(metadata: &TableMetadata) -> impl Iterator<Item = &PartitionField> {
    let mut specs: Vec<_> = metadata.partition_specs_iter().collect();
    let default = metadata.default_partition_spec_id();
    specs.sort_by_key(|spec| (spec.spec_id() != default, std::cmp::Reverse(spec.spec_id())));
    specs.into_iter().flat_map(|spec| spec.fields())
}

/// For format 1: the current spec's fields, those that go as `void`.
fn in_place(metadata: &TableMetadata, terms: &[Term]) -> Vec<UnboundPartitionField> {
    let names: HashSet<&str> = terms.iter().map(|term| term.name.as_str()).collect();
    let keep = |field: &PartitionField| {
        let stays = terms.iter().any(|t| (t.source_id, t.transform) == (field.source_id, field.transform));
        let mut kept = unbound(field);
        if !stays {
            kept.transform = Transform::Void;
            let collides =
                names.contains(field.name.as_str()) || metadata.current_schema().field_by_name(&field.name).is_some();
            if collides {
                kept.name = format!("{}_{}", field.name, field.field_id);
            }
        }
        kept
    };
    metadata.default_partition_spec().fields().iter().map(keep).collect()
}

fn field_of(
    metadata: &TableMetadata,
    term: &Term,
    others: &[UnboundPartitionField],
    next: &mut i32,
) -> Result<UnboundPartitionField> {
    let known = earlier(metadata)
        .find(|field| (field.source_id, field.transform) == (term.source_id, term.transform))
        // In format 1 ids follow one another in each spec.
        .filter(|_| metadata.format_version() != FormatVersion::V1);
    let name = name_of(metadata, term, known, others)?;
    let field_id = known.map_or_else(
        || {
            *next += 1;
            *next
        },
        |field| field.field_id,
    );
    Ok(UnboundPartitionField { source_id: term.source_id, field_id: Some(field_id), name, transform: term.transform })
}

fn name_of(
    metadata: &TableMetadata,
    term: &Term,
    known: Option<&PartitionField>,
    others: &[UnboundPartitionField],
) -> Result<String> {
    let taken = |name: &str| taken_by(metadata, term, name, others);
    if term.is_named || metadata.current_schema().field_by_name(&term.name).is_some() {
        return match taken(&term.name) {
            None => Ok(term.name.clone()),
            Some(holder) => {
                let what = written(metadata, term);
                let say = format!("{what} would be named `{}`, as {holder} is: name it `… as NAME`", term.name);
                Err(Error::new(Kind::Invalid, say))
            }
        };
    }
    let width = match term.transform {
        Transform::Bucket(width) | Transform::Truncate(width) => Some(format!("{}_{width}", term.name)),
        _ => None,
    };
    let numbered = (2..).map(|number| format!("{}_{number}", term.name));
    let mut names = known.map(|field| field.name.clone()).into_iter().chain([term.name.clone()]).chain(width);
    let free = names.find(|name| taken(name).is_none());
    free.or_else(|| numbered.take(1000).find(|name| taken(name).is_none()))
        .ok_or_else(|| Error::new(Kind::Invalid, format!("no name is left like `{}`: name it `… as NAME`", term.name)))
}

/// Who has the name already: a column, a field of the new spec, or another field of an earlier one.
fn taken_by(
    metadata: &TableMetadata,
    term: &Term,
    name: &str,
    others: &[UnboundPartitionField],
) -> Option<&'static str> {
    let column = metadata.current_schema().field_by_name(name);
    if column.is_some_and(|column| term.transform != Transform::Identity || column.id != term.source_id) {
        return Some("a column");
    }
    if others.iter().any(|other| other.name == name) {
        return Some("another field of the spec");
    }
    let differs = |field: &PartitionField| (field.source_id, field.transform) != (term.source_id, term.transform);
    let held = earlier(metadata).any(|f| f.name == name && f.transform != Transform::Void && differs(f));
    held.then_some("another field of an earlier spec")
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
