//! Columns that came, went and changed their names; files that lack them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, Literal, NestedField, NestedFieldRef, PrimitiveType, Schema, Struct, Transform, Type,
    UnboundPartitionSpec,
};
use laked::read::duck::At;

use super::lake::{Lake, described};

fn field(id: i32, name: &str, kind: PrimitiveType) -> NestedFieldRef {
    NestedField::optional(id, name, Type::Primitive(kind)).into()
}

fn schema(fields: Vec<NestedFieldRef>) -> Schema {
    Schema::builder().with_fields(fields).build().expect("valid")
}

fn evolve(lake: &Lake, fields: Vec<NestedFieldRef>) {
    let updates =
        vec![TableUpdate::AddSchema { schema: schema(fields) }, TableUpdate::SetCurrentSchema { schema_id: -1 }];
    lake.change("ns.t", updates);
}

fn numbers(name: &str, values: &[i64]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter([(name, values)]).expect("fits")
}

#[test]
fn columns_are_found_by_their_ids_and_old_snapshots_keep_their_names() {
    let lake = Lake::new();
    lake.create("ns.t", schema(vec![field(1, "a", PrimitiveType::Long)]), None, &[]);
    lake.append("ns.t", vec![numbers("a", &[1])]);
    let before = At::Snapshot(lake.metadata("ns.t").current_snapshot_id().expect("one"));
    // `a` becomes `b`, and another column takes the name `a`: no file has it yet, and there is no snapshot since.
    evolve(&lake, vec![field(1, "b", PrimitiveType::Long), field(2, "a", PrimitiveType::String)]);
    assert_eq!(lake.rows("select b, a from ns.t"), ["1,"]);
    lake.append("ns.t", vec![numbers("b", &[2])]);
    assert_eq!(lake.rows("select b, a is null from ns.t order by b"), ["1,true", "2,true"]);
    assert_eq!(lake.rows("select count(*) from ns.t where b = 1 and a is null"), ["1"]);
    assert_eq!(lake.rows_at("select a from ns.t", &before), ["1"]);
}

#[test]
fn files_taken_over_from_folders_have_their_partitions_values() {
    let lake = Lake::new();
    let spec = UnboundPartitionSpec::builder().add_partition_field(2, "day", Transform::Identity);
    let fields = vec![field(1, "id", PrimitiveType::Long), field(2, "day", PrimitiveType::Date)];
    lake.create("ns.t", schema(fields), Some(spec.expect("valid").build()), &[]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let added = |name: &str, day: i32, columns: &[(&str, i32, ArrayRef)]| {
        let partition = Struct::from_iter([Some(Literal::date(day))]);
        let file = lake.parquet("ns.t", name, columns);
        described(DataContentType::Data, file, 2).partition(partition).build().expect("whole")
    };
    let one = added("one.parquet", 31, &[("id", 1, ids.clone())]);
    let two = added("two.parquet", 59, &[("id", 1, ids)]);
    lake.foreign("ns.t", vec![one, two]);
    let rows = ["1,1970-02-01", "1,1970-03-01", "2,1970-02-01", "2,1970-03-01"];
    assert_eq!(lake.rows("select id, day from ns.t order by id, day"), rows);
    assert_eq!(lake.rows("select count(*) from ns.t where day = '1970-03-01'"), ["2"]);
}

#[test]
fn names_of_any_kind_can_be_read() {
    let lake = Lake::new();
    let name = "it's \"quoted\" and; select";
    lake.create("ns.t", schema(vec![field(1, name, PrimitiveType::String)]), None, &[]);
    let values: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    assert_eq!(lake.rows("select * from ns.t"), Vec::<String>::new());
    lake.append("ns.t", vec![RecordBatch::try_from_iter([(name, values)]).expect("fits")]);
    assert_eq!(lake.rows("select * from ns.t"), ["x"]);
}
