//! What is known of rows by their partition: of a file by its value, of a manifest by the summaries of its values.

use std::collections::HashMap;

use iceberg::spec::{
    DataFile, Datum, FieldSummary, ManifestFile, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Struct,
    TableMetadata, Transform, Type,
};

use super::predicate::Predicate;
use super::prune::{View, may_match};
use super::value::Value;

/// A partition spec with what comparing needs.
#[derive(Debug)]
pub struct Spec {
    /// Its fields.
    pub fields: Vec<SpecField>,
}

/// A field of a partition spec.
#[derive(Debug)]
pub struct SpecField {
    /// The field id of the column it is made of.
    pub source: i32,
    /// How.
    pub transform: Transform,
    /// The type of its values; `None` if its column is in no schema of the table.
    pub result: Option<PrimitiveType>,
}

impl Spec {
    /// A table's specs by id. A spec's column may be gone from the schema that is read; then another schema tells its type.
    pub fn all(metadata: &TableMetadata, read: &Schema) -> HashMap<i32, Spec> {
        let source = |id: i32| {
            let mut others = metadata.schemas_iter().map(AsRef::as_ref);
            read.field_by_id(id).or_else(|| others.find_map(|schema: &Schema| schema.field_by_id(id)))
        };
        let field = |field: &iceberg::spec::PartitionField| {
            let result = source(field.source_id).and_then(|source| {
                match field.transform.result_type(&source.field_type).ok()? {
                    Type::Primitive(kind) => Some(kind),
                    _ => None,
                }
            });
            SpecField { source: field.source_id, transform: field.transform, result }
        };
        let spec = |spec: &PartitionSpec| Spec { fields: spec.fields().iter().map(field).collect() };
        metadata.partition_specs_iter().map(|one| (one.spec_id(), spec(one))).collect()
    }

    /// Whether it says nothing of any row.
    pub fn is_unpartitioned(&self) -> bool {
        self.fields.iter().all(|field| field.transform == Transform::Void)
    }

    /// What a file's partition value tells of a column.
    pub fn views(&self, partition: &Struct, column: i32) -> Vec<View> {
        let fields = self.fields.iter().zip(partition.iter()).filter(|(field, _)| field.source == column);
        fields.map(|(field, value)| field.of_value(value.and_then(|value| value.as_primitive_literal()))).collect()
    }

    /// Whether a file of that partition can hold a matching row.
    pub fn file_may_match(&self, file: &DataFile, predicate: &Predicate) -> bool {
        may_match(predicate, &|column| self.views(file.partition(), column))
    }

    /// Whether a manifest can list a file that holds a matching row.
    pub fn manifest_may_match(&self, manifest: &ManifestFile, predicate: &Predicate) -> bool {
        let Some(summaries) = &manifest.partitions else { return true };
        may_match(predicate, &|column| {
            let fields = self.fields.iter().zip(summaries).filter(|(field, _)| field.source == column);
            fields.map(|(field, summary)| field.of_summary(summary)).collect()
        })
    }
}

impl SpecField {
    fn of_value(&self, literal: Option<PrimitiveLiteral>) -> View {
        let value = literal.as_ref().and_then(|literal| match &self.result {
            Some(kind) => Value::of_column(literal, kind),
            None => Value::of(literal),
        });
        // Of a void field's rows nothing is known: every one of them is null there.
        let null = literal.is_none() && self.transform != Transform::Void;
        View {
            transform: self.transform,
            lower: value.clone(),
            upper: value.clone(),
            all_null: null,
            may_be_null: literal.is_none(),
            all_nan: value.as_ref().is_some_and(Value::is_nan),
            may_be_nan: value.as_ref().map_or(!null, Value::is_nan),
        }
    }

    fn of_summary(&self, summary: &FieldSummary) -> View {
        let value = |bytes: Option<&serde_bytes::ByteBuf>| {
            let kind = self.result.clone()?;
            Value::of_column(Datum::try_from_bytes(bytes?, kind.clone()).ok()?.literal(), &kind)
        };
        View {
            transform: self.transform,
            all_null: self.transform != Transform::Void
                && summary.contains_null
                && summary.lower_bound.is_none()
                && summary.contains_nan == Some(false),
            lower: value(summary.lower_bound.as_ref()),
            upper: value(summary.upper_bound.as_ref()),
            may_be_null: summary.contains_null,
            all_nan: false,
            may_be_nan: summary.contains_nan != Some(false),
        }
    }
}
