//! What is written is what the metadata says, whatever was copied.

use super::*;
use iceberg::spec::{
    FormatVersion, NestedField, Operation, PrimitiveType, Schema, Snapshot, SortOrder, Summary, TableMetadataBuilder,
    Type, UnboundPartitionSpec,
};
use std::collections::HashMap;

fn snapshot(id: i64, parent: Option<i64>, base: i64) -> Snapshot {
    let summary = Summary { operation: Operation::Append, additional_properties: HashMap::new() };
    Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(id)
        .with_timestamp_ms(base + id)
        .with_manifest_list(format!("file:///t/metadata/snap-{id}.avro"))
        .with_summary(summary)
        .with_schema_id(0)
        .build()
}

fn empty() -> TableMetadata {
    let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
    let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
    let (spec, order) = (UnboundPartitionSpec::builder().build(), SortOrder::unsorted_order());
    let properties = HashMap::from([("k".to_string(), "v".to_string())]);
    TableMetadataBuilder::new(schema, spec, order, "file:///t".into(), FormatVersion::V2, properties)
        .and_then(TableMetadataBuilder::build)
        .expect("builds")
        .metadata
}

fn add(id: i64, branch: &str, base: i64) -> Vec<TableUpdate> {
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    let parent = (id > 1).then_some(id - 1);
    vec![
        TableUpdate::AddSnapshot { snapshot: snapshot(id, parent, base) },
        TableUpdate::SetSnapshotRef { ref_name: branch.into(), reference },
    ]
}

/// Each document, whatever was copied into it, says what the crate's own serialiser says.
#[test]
fn documents_say_what_the_metadata_is() {
    let base = empty().last_updated_ms();
    let mut steps: Vec<Vec<TableUpdate>> = (1..=6).map(|id| add(id, "main", base)).collect();
    steps.push(add(7, "audit", base));
    steps.push(vec![TableUpdate::RemoveSnapshots { snapshot_ids: vec![1, 3, 4] }]);
    steps.push(vec![TableUpdate::RemoveSnapshotRef { ref_name: "audit".into() }]);
    steps.push(add(8, "main", base));
    let (mut metadata, mut refs) = (empty(), Refs::new());
    let mut document = Document::write(&metadata, &refs, &Said::default(), None).expect("writes");
    for updates in steps {
        let before = metadata.clone();
        let builder = metadata.into_builder(Some("file:///t/metadata/x.metadata.json".into()));
        let builder = updates.iter().cloned().try_fold(builder, |builder, update| update.apply(builder));
        let built = builder.and_then(TableMetadataBuilder::build).expect("builds");
        refs = refs_after(refs, &updates, &built.metadata);
        metadata = built.metadata;
        document = Document::write(
            &metadata,
            &refs,
            &Said::default(),
            Some(Previous { document: &document, metadata: &before, updates: &updates }),
        )
        .expect("writes");
        let parsed: TableMetadata = serde_json::from_slice(&document.json()).expect("parses");
        assert_eq!(parsed, metadata);
        assert_eq!(refs_of(&document.json(), &metadata).expect("reads"), refs);
    }
    assert_eq!(refs.keys().collect::<Vec<_>>(), ["main"]);
    assert_eq!(document.held(&metadata).expect("is taken apart").snapshots.len(), 5);
}

/// What a commit leaves as it was is shared, not copied; what a removal leaves of a block is written again.
#[test]
fn blocks_of_snapshots_are_shared() {
    let base = empty().last_updated_ms();
    let (mut metadata, mut document) = (empty(), None::<Document>);
    let mut step = |updates: Vec<TableUpdate>| {
        let before = metadata.clone();
        let builder = before.clone().into_builder(Some("file:///t/metadata/x.metadata.json".into()));
        let builder = updates.iter().cloned().try_fold(builder, |builder, update| update.apply(builder));
        metadata = builder.and_then(TableMetadataBuilder::build).expect("builds").metadata;
        let previous = document.as_ref().map(|document| Previous { document, metadata: &before, updates: &updates });
        let next = Document::write(&metadata, &Refs::new(), &Said::default(), previous).expect("writes");
        let blocks: Vec<*const u8> =
            next.held(&metadata).expect("held").snapshots.texts().map(|text| text.as_ptr()).collect();
        document = Some(next);
        blocks
    };
    let mut all = step(add(1, "main", base));
    for id in 2..=2000 {
        let before = std::mem::replace(&mut all, step(add(id, "main", base)));
        assert!(all.starts_with(&before[..before.len() - 1]), "snapshot {id}");
    }
    assert!(all.len() >= 4, "{}", all.len());
    let after = step(vec![TableUpdate::RemoveSnapshots { snapshot_ids: vec![3] }]);
    assert!(after.ends_with(&all[1..]), "only the first block is new");
    assert!(!after.contains(&all[0]));
    let parsed: TableMetadata = serde_json::from_slice(&document.expect("written").json()).expect("parses");
    assert_eq!(parsed, metadata);
}
