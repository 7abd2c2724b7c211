//! Plans held against the `iceberg` crate's builder, which applies them as the catalog does.

use std::collections::HashMap;

use iceberg::TableCreation;
use iceberg::spec::{NestedField, PrimitiveType, Schema, TableMetadataBuilder};
use proptest::prelude::*;

use super::*;

fn table(version: FormatVersion) -> TableMetadata {
    let columns = [
        NestedField::required(1, "id", PrimitiveType::Long.into()),
        NestedField::optional(2, "code", PrimitiveType::String.into()),
        NestedField::optional(3, "at", PrimitiveType::Timestamptz.into()),
        NestedField::optional(4, "at_day", PrimitiveType::Int.into()),
    ];
    let schema = Schema::builder().with_fields(columns.into_iter().map(Into::into)).build().expect("valid");
    let creation = TableCreation::builder()
        .name("t".to_owned())
        .location("file:///w/t".to_owned())
        .schema(schema)
        .format_version(version)
        .properties(HashMap::new())
        .build();
    TableMetadataBuilder::from_table_creation(creation).expect("valid").build().expect("builds").metadata
}

fn term(source_id: i32, transform: Transform, name: &str) -> Term {
    Term { source_id, transform, name: name.to_owned(), is_named: false }
}

fn evolved(before: &TableMetadata, terms: &[Term]) -> TableMetadata {
    let plan = evolve_partition(before, terms).expect("plans");
    plan.edit.requirements.iter().for_each(|held| held.check(Some(before)).expect("holds"));
    let builder = before.clone().into_builder(None);
    let builder = plan.edit.updates.into_iter().try_fold(builder, |builder, update| update.apply(builder));
    builder.and_then(TableMetadataBuilder::build).expect("fits").metadata
}

fn fields(metadata: &TableMetadata) -> Vec<(i32, String)> {
    metadata.default_partition_spec().fields().iter().map(|field| (field.field_id, field.name.clone())).collect()
}

fn own(fields: &[(i32, &str)]) -> Vec<(i32, String)> {
    fields.iter().map(|(id, name)| (*id, (*name).to_string())).collect()
}

#[test]
fn fields_that_come_again_have_their_ids_and_names_and_others_new_ones() {
    let first = evolved(&table(FormatVersion::V2), &[term(1, Transform::Bucket(16), "id_bucket")]);
    assert_eq!(fields(&first), own(&[(1000, "id_bucket")]));
    let wider = evolved(&first, &[term(1, Transform::Bucket(32), "id_bucket"), term(2, Transform::Identity, "code")]);
    assert_eq!(fields(&wider), own(&[(1001, "id_bucket_32"), (1002, "code")]));
    let both = evolved(&wider, &[term(2, Transform::Identity, "code"), term(1, Transform::Bucket(16), "id_bucket")]);
    assert_eq!(fields(&both), own(&[(1002, "code"), (1000, "id_bucket")]));
    let back = evolved(&both, &[term(1, Transform::Bucket(16), "id_bucket")]);
    assert_eq!(back.default_partition_spec_id(), first.default_partition_spec_id(), "the same spec is not made twice");
    assert!(evolve_partition(&back, &[term(1, Transform::Bucket(16), "id_bucket")]).expect("plans").edit.is_empty());
    assert!(fields(&evolved(&back, &[])).is_empty());
}

#[test]
fn a_name_that_a_column_has_is_asked_for_anew() {
    let day = term(3, Transform::Day, "at_day");
    let error = evolve_partition(&table(FormatVersion::V2), std::slice::from_ref(&day)).expect_err("collides");
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().contains("`at_day`, as a column is: name it"), "{error}");
    let named = Term { name: "d".into(), is_named: true, ..day };
    assert_eq!(fields(&evolved(&table(FormatVersion::V2), &[named])), own(&[(1000, "d")]));
}

#[test]
fn format_1_keeps_dropped_fields_in_their_place() {
    let code = term(2, Transform::Identity, "code");
    let first = evolved(&table(FormatVersion::V1), &[code.clone(), term(3, Transform::Month, "at_month")]);
    let next = evolved(&first, &[term(3, Transform::Month, "at_month"), term(1, Transform::Bucket(4), "id_bucket")]);
    assert_eq!(fields(&next), own(&[(1000, "code_1000"), (1001, "at_month"), (1002, "id_bucket")]));
    assert_eq!(next.default_partition_spec().fields()[0].transform, Transform::Void);
}

fn any_term() -> impl Strategy<Value = Term> {
    prop_oneof![
        (1..5_u32).prop_map(|width| term(1, Transform::Bucket(width), "id_bucket")),
        (1..4_u32).prop_map(|width| term(2, Transform::Truncate(width), "code_trunc")),
        Just(term(2, Transform::Identity, "code")),
        Just(term(1, Transform::Identity, "id")),
        Just(term(3, Transform::Month, "at_month")),
        Just(term(3, Transform::Hour, "at_hour")),
    ]
}

proptest! {
    /// Over any history: a field keeps one id and one name, no two share either, and no id is given out twice.
    #[test]
    fn ids_and_names_stand_for_one_field(history in prop::collection::vec(prop::collection::vec(any_term(), 0..4), 1..8)) {
        let mut metadata = table(FormatVersion::V2);
        for mut terms in history {
            for at in (0..terms.len()).rev() {
                if terms[..at].iter().any(|other| overlaps(other, &terms[at])) {
                    prop_assert!(evolve_partition(&metadata, &terms).is_err());
                    terms.remove(at);
                }
            }
            metadata = evolved(&metadata, &terms);
            let wanted: Vec<_> = terms.iter().map(|term| (term.source_id, term.transform)).collect();
            let made = metadata.default_partition_spec().fields().iter().map(|f| (f.source_id, f.transform));
            prop_assert_eq!(made.collect::<Vec<_>>(), wanted);
        }
        let mut by_id: HashMap<i32, (i32, Transform, String)> = HashMap::new();
        let mut by_name: HashMap<String, i32> = HashMap::new();
        for field in metadata.partition_specs_iter().flat_map(|spec| spec.fields()) {
            let what = (field.source_id, field.transform, field.name.clone());
            prop_assert_eq!(by_id.entry(field.field_id).or_insert_with(|| what.clone()), &what);
            prop_assert_eq!(*by_name.entry(field.name.clone()).or_insert(field.field_id), field.field_id);
        }
    }
}
