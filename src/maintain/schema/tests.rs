//! What each change makes of a schema, and what is refused.

use std::collections::HashMap;

use iceberg::TableCreation;
use iceberg::spec::{
    FormatVersion, ListType, MapType, NullOrder, SortDirection, SortField, SortOrder, StructType, TableMetadataBuilder,
    Transform, UnboundPartitionSpec,
};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn nested() -> Schema {
    let point = Type::Struct(StructType::new(vec![
        NestedField::required(7, "x", Type::Primitive(PrimitiveType::Int)).into(),
        NestedField::optional(8, "y", Type::Primitive(PrimitiveType::Float)).into(),
    ]));
    let map = Type::Map(MapType::new(
        NestedField::map_key_element(9, Type::Primitive(PrimitiveType::String)).into(),
        NestedField::map_value_element(10, Type::Primitive(PrimitiveType::Int), false).into(),
    ));
    let fields = [
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)),
        NestedField::optional(2, "region", Type::Primitive(PrimitiveType::String)),
        NestedField::optional(3, "amount", Type::Primitive(PrimitiveType::Decimal { precision: 9, scale: 2 })),
        NestedField::optional(4, "points", Type::List(ListType::new(NestedField::list_element(6, point, true).into()))),
        NestedField::optional(5, "counts", map),
        NestedField::optional(11, "at", Type::Primitive(PrimitiveType::Int)),
        NestedField::optional(12, "dotted.name", Type::Primitive(PrimitiveType::Int)),
    ];
    let fields = fields.into_iter().map(Into::into);
    Schema::builder().with_fields(fields).with_identifier_field_ids([1]).build().expect("valid")
}

fn table(version: FormatVersion) -> TableMetadata {
    let by = SortField::builder()
        .source_id(11)
        .transform(Transform::Identity)
        .direction(SortDirection::Ascending)
        .null_order(NullOrder::First)
        .build();
    let schema = nested();
    let order = SortOrder::builder().with_sort_field(by).build(&schema).expect("valid");
    let spec = UnboundPartitionSpec::builder();
    let spec = spec.add_partition_field(2, "region", Transform::Identity).expect("valid").build();
    let creation = TableCreation::builder()
        .name("t".to_owned())
        .location("file:///w/n/t".to_owned())
        .schema(schema)
        .partition_spec(spec)
        .sort_order(order)
        .properties(HashMap::new())
        .format_version(version)
        .build();
    TableMetadataBuilder::from_table_creation(creation).expect("valid").build().expect("builds").metadata
}

/// The same with a snapshot, so that there are rows.
fn with_rows(version: FormatVersion) -> TableMetadata {
    let mut json = serde_json::to_value(table(version)).expect("JSON");
    json["current-snapshot-id"] = json!(7);
    json["last-sequence-number"] = json!(1);
    json["snapshots"] = json!([{
        "snapshot-id": 7, "sequence-number": 1, "timestamp-ms": 1_700_000_000_000_i64, "manifest-list": "file:///w/l.avro",
        "summary": {"operation": "append"}, "schema-id": 0, "first-row-id": 0, "added-rows": 1,
    }]);
    json["refs"] = json!({"main": {"snapshot-id": 7, "type": "branch"}});
    json["next-row-id"] = json!(1);
    serde_json::from_value(json).expect("metadata")
}

fn long() -> Type {
    Type::Primitive(PrimitiveType::Long)
}

fn column(field_type: Type) -> NewColumn {
    NewColumn { field_type, required: false, doc: None, default: None, place: None }
}

fn add(field_type: Type) -> Change {
    Change::Add(Box::new(column(field_type)))
}

/// Making a table numbers its fields anew.
fn id(metadata: &TableMetadata, path: &str) -> i32 {
    metadata.current_schema().field_id_by_name(path).expect("is there")
}

fn plan(metadata: &TableMetadata, path: &str, change: Change) -> Result<SchemaPlan> {
    evolve_schema(metadata, &[(path.to_string(), change)], Nulls::Unknown)
}

fn schema_of(plan: &SchemaPlan) -> &Schema {
    let TableUpdate::AddSchema { schema } = &plan.edit.updates[0] else { panic!("{plan:?}") };
    schema
}

fn after(metadata: &TableMetadata, path: &str, change: Change) -> Schema {
    schema_of(&plan(metadata, path, change).expect("fits")).clone()
}

#[track_caller]
fn refused(metadata: &TableMetadata, path: &str, change: Change, said: &str) {
    let error = plan(metadata, path, change).expect_err("is refused").to_string();
    assert!(error.contains(said), "{error}");
}

#[test]
fn new_fields_get_new_ids_where_they_are_asked_for() {
    let table = with_rows(FormatVersion::V2);
    let pair = Type::Struct(StructType::new(vec![
        NestedField::optional(0, "a", long()).into(),
        NestedField::optional(0, "b", Type::List(ListType::new(NestedField::list_element(0, long(), false).into())))
            .into(),
    ]));
    let schema = after(&table, "pair", add(pair));
    let ids = ["pair", "pair.a", "pair.b", "pair.b.element"].map(|name| schema.field_id_by_name(name).expect("there"));
    assert_eq!(ids, [13, 14, 15, 16]);
    let schema = after(&table, "points.element.z", add(long()));
    assert_eq!(schema.field_id_by_name("points.element.z"), Some(13));
    let known = "points.element.x";
    assert_eq!(schema.field_id_by_name(known), Some(id(&table, known)), "its neighbours keep theirs");
    let placed = Change::Add(Box::new(NewColumn { place: Some(Place::After("id".into())), ..column(long()) }));
    let names: Vec<_> =
        after(&table, "n", placed).as_struct().fields().iter().map(|field| field.name.clone()).collect();
    assert_eq!(names[..3], ["id", "n", "region"]);
    refused(&table, "REGION", add(long()), "choose another name");
    refused(&table, "region", add(long()), "already");
    refused(&table, "amount.cents", add(long()), "is no struct");
    refused(&table, "nowhere.z", add(long()), "there are id, region");
}

#[test]
fn a_required_column_needs_an_empty_table_or_a_default() {
    let required = |default| Change::Add(Box::new(NewColumn { required: true, default, ..column(long()) }));
    refused(&with_rows(FormatVersion::V2), "n", required(None), "cannot be required");
    refused(&with_rows(FormatVersion::V2), "n", required(Some(json!(5))), "no defaults");
    refused(&with_rows(FormatVersion::V3), "n", required(Some(json!("five"))), "no default");
    assert!(after(&table(FormatVersion::V2), "n", required(None)).field_by_name("n").expect("there").required);
    let schema = after(&with_rows(FormatVersion::V3), "n", required(Some(json!(5))));
    let field = schema.field_by_name("n").expect("there");
    assert_eq!(
        (field.required, &field.initial_default, &field.write_default),
        (true, &Some(Literal::long(5)), &Some(Literal::long(5)))
    );
}

#[test]
fn what_the_table_rests_on_does_not_go() {
    let table = with_rows(FormatVersion::V2);
    refused(&table, "id", Change::Drop, "identifier");
    refused(&table, "region", Change::Drop, "evolve-partition");
    refused(&table, "at", Change::Drop, "sorted by it");
    refused(&table, "counts.value", Change::Drop, "inside of a list or map");
    refused(&table, "id", Change::Optional, "identifier");
    refused(&table, "counts.key", Change::Optional, "never null");
    let schema = after(&table, "points.element.x", Change::Drop);
    assert!(schema.field_by_name("points.element.x").is_none() && schema.field_by_name("points.element.y").is_some());
    let both = [("points.element.x".to_string(), Change::Drop), ("points.element.y".to_string(), Change::Drop)];
    let error = evolve_schema(&table, &both, Nulls::Unknown).expect_err("is refused").to_string();
    assert!(error.contains("the last one"), "{error}");
}

#[test]
fn types_only_widen() {
    let table = with_rows(FormatVersion::V2);
    let decimal = |precision, scale| Type::Primitive(PrimitiveType::Decimal { precision, scale });
    for (path, to) in [("points.element.x", long()), ("counts.value", long()), ("amount", decimal(12, 2))] {
        let schema = after(&table, path, Change::Widen(to.clone()));
        assert_eq!(*schema.field_by_id(id(&table, path)).expect("there").field_type, to, "{path}");
    }
    refused(&table, "amount", Change::Widen(decimal(12, 3)), "decimal(10, 2)");
    refused(&table, "id", Change::Widen(Type::Primitive(PrimitiveType::Int)), "become nothing");
    refused(&table, "region", Change::Widen(long()), "become nothing");
}

#[test]
fn names_places_docs_and_nulls_change_by_id() {
    let table = with_rows(FormatVersion::V2);
    let plain = after(&table, "dotted.name", Change::Rename("plain".into()));
    assert_eq!(plain.name_by_field_id(id(&table, "dotted.name")), Some("plain"));
    refused(&table, "region", Change::Rename("Id".into()), "ignore case");
    assert_eq!(after(&table, "region", Change::Rename("Region".into())).name_by_field_id(2), Some("Region"));
    let last = plan(&table, "id", Change::Reorder(Place::After("dotted.name".into()))).expect("fits");
    assert_eq!(schema_of(&last).as_struct().fields().last().expect("there").id, 1);
    assert_eq!(last.lines.len(), 2, "it and its follower: {:?}", last.lines);
    refused(&table, "id", Change::Reorder(Place::Before("x".into())), "beside it");
    let said = plan(&table, "region", Change::Doc("Where.".into())).expect("fits");
    assert_eq!(said.lines[0].after.as_deref(), Some("region: string -- Where."));
    refused(&table, "region", Change::Require, "not known");
    let changes = [("region".to_string(), Change::Require)];
    let known = |nulls| evolve_schema(&table, &changes, nulls);
    assert!(known(Nulls::Some(3)).expect_err("is refused").to_string().contains("null in 3 rows"));
    let asserted = known(Nulls::NoneIn(7)).expect("fits").edit.requirements;
    let r#ref = "main".to_string();
    assert!(asserted.contains(&TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id: Some(7) }));
    assert!(plan(&table, "region", Change::Rename("region".into())).expect("fits").edit.is_empty(), "nothing to do");
}

proptest! {
    /// Whatever is done, no id stands for two fields, none is given twice, and what stays keeps its own.
    #[test]
    fn ids_stand_for_one_field_for_ever(steps in prop::collection::vec((0..6_usize, 0..12_usize, "[a-f]"), 1..12)) {
        let mut table = with_rows(FormatVersion::V2);
        let mut ever: HashMap<i32, String> = HashMap::new();
        for (what, at, name) in steps {
            let paths = flat(table.current_schema().as_struct().fields());
            let (path, _) = &paths[at % paths.len()];
            let change = match what {
                0 | 1 => (name, add(long())),
                2 => (path.clone(), Change::Drop),
                3 => (path.clone(), Change::Rename(name)),
                4 => (path.clone(), Change::Widen(long())),
                _ => (path.clone(), Change::Reorder(Place::First)),
            };
            let Ok(plan) = evolve_schema(&table, &[change], Nulls::Unknown) else { continue };
            if plan.edit.is_empty() {
                continue;
            }
            let schema = schema_of(&plan).clone();
            let before: HashSet<i32> = paths.iter().map(|(_, field)| field.id).collect();
            for (path, field) in flat(schema.as_struct().fields()) {
                let new = !before.contains(&field.id);
                prop_assert!(!new || !ever.contains_key(&field.id), "{path} has the id of {:?}", ever.get(&field.id));
                ever.insert(field.id, path);
            }
            let built = table.clone().into_builder(None).add_current_schema(schema).expect("fits");
            table = built.build().expect("builds").metadata;
        }
    }
}
