//! What is looked for, and of which tables; whole overwrites are in `tests/maintain/overwrite.py`.

use std::collections::HashMap;

use iceberg::TableCreation;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, Literal, NestedField, Operation, PrimitiveType,
    Snapshot, Struct, Summary, TableMetadataBuilder, UnboundPartitionSpec,
};
use laked_catalog::store::{SimulatedDisk, Store};
use laked_catalog::system::System;

use super::*;
use crate::maintain::partition::{Term as Field, evolve_partition};

/// A table of format 1 by name and place, and then by name alone.
fn evolved() -> TableMetadata {
    let text = |id, name: &str| NestedField::required(id, name, PrimitiveType::String.into()).into();
    let schema = Schema::builder().with_fields([text(1, "name"), text(2, "place")]).build().expect("valid");
    let spec = UnboundPartitionSpec::builder()
        .add_partition_fields([(1, "name"), (2, "place")].map(|(id, name)| {
            iceberg::spec::UnboundPartitionField::builder()
                .source_id(id)
                .name(name.to_owned())
                .transform(Transform::Identity)
                .build()
        }))
        .expect("valid")
        .build();
    let creation = TableCreation::builder()
        .name("t".to_owned())
        .location("file:///w/t".to_owned())
        .schema(schema)
        .partition_spec(spec)
        .format_version(FormatVersion::V1)
        .properties(HashMap::new())
        .build();
    let built = TableMetadataBuilder::from_table_creation(creation).expect("valid").build().expect("builds").metadata;
    let by_name = Field { source_id: 1, transform: Transform::Identity, name: "name".to_owned(), is_named: false };
    evolve_partition(&built, &[by_name]).expect("plans").edit.applied(&built).expect("fits")
}

#[test]
fn a_field_that_format_1_keeps_as_void_holds_for_every_row() {
    let table = evolved();
    let spec = table.default_partition_spec();
    assert_eq!(spec.fields().iter().map(|field| field.transform).collect::<Vec<_>>()[1], Transform::Void);
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path("file:///w/t/a".to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::string("a")), None]))
        .record_count(1)
        .file_size_in_bytes(1)
        .build()
        .expect("whole");
    let is_a = Predicate::Compare { term: Term::from(1), op: Op::Eq, literal: Datum::string("a") };
    assert_eq!(holds(spec, table.current_schema(), &file), Predicate::And(vec![is_a]), "whatever its place");
}

#[test]
fn the_past_of_a_table_that_is_registered_is_not_judged() {
    let table = evolved();
    let summary =
        Summary { operation: Operation::Overwrite, additional_properties: [(REPLACES.into(), "true".into())].into() };
    let snapshot = Snapshot::builder()
        .with_snapshot_id(1)
        .with_sequence_number(0)
        .with_timestamp_ms(table.last_updated_ms() + 1)
        .with_manifest_list("file:///w/t/gone.avro")
        .with_summary(summary)
        .with_schema_id(0)
        .build();
    let after =
        table.clone().into_builder(None).add_snapshot(snapshot).expect("fits").build().expect("builds").metadata;
    let system = System { disk: std::sync::Arc::new(SimulatedDisk::new()), ..System::real() };
    let store = Store::local(system, "/w/staging".into()).expect("opens");
    guard_overwrites(&store, None, &after).expect("is let in");
    guard_overwrites(&store, Some(&after), &after).expect("has no new snapshot");
    assert!(guard_overwrites(&store, Some(&table), &after).is_err(), "its list is gone");
}
