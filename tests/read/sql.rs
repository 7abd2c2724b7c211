//! Statements: which files they need, what they say when they cannot be answered.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec};
use laked::read::duck::{At, Form, query};

use super::lake::Lake;

fn lake() -> Lake {
    let lake = Lake::new();
    let fields = ["id", "region"].into_iter().zip(1..);
    let fields = fields.map(|(name, id)| NestedField::required(id, name, Type::Primitive(PrimitiveType::Long)).into());
    let schema = Schema::builder().with_fields(fields.collect::<Vec<_>>()).build().expect("valid");
    let spec = UnboundPartitionSpec::builder().add_partition_field(2, "region", Transform::Identity);
    lake.create("ns.t", schema, Some(spec.expect("valid").build()), &[]);
    for region in 0..3_i64 {
        for start in [0, 100] {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(start..start + 10));
            let regions: ArrayRef = Arc::new(Int64Array::from_iter_values((0..10).map(|_| region)));
            lake.append("ns.t", vec![RecordBatch::try_from_iter([("id", ids), ("region", regions)]).expect("fits")]);
        }
    }
    lake
}

/// Whether the statement reads the six files' subset and gives that count, with all other files gone.
fn reads_only(lake: &Lake, wanted: &dyn Fn(i64, i64) -> bool, sql: &str) -> Vec<String> {
    let files = lake.files("ns.t");
    let mut held = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let (region, start) = (number as i64 / 2, number as i64 % 2 * 100);
        if !wanted(region, start) {
            let path = lake.store.local_path(file.file.file_path()).expect("local");
            let aside = path.with_extension("aside");
            lake.store.disk().rename(&path, &aside).expect("set aside");
            held.push((aside, path));
        }
    }
    let rows = lake.rows(sql);
    held.into_iter().for_each(|(aside, path)| lake.store.disk().rename(&aside, &path).expect("put back"));
    rows
}

#[test]
fn a_where_leaves_files_unopened() {
    let lake = lake();
    let count = |wanted: &dyn Fn(i64, i64) -> bool, condition: &str| {
        reads_only(&lake, wanted, &format!("select count(*) from ns.t x where {condition}"))
    };
    assert_eq!(count(&|region, _| region == 1, "region = 1"), ["20"]);
    assert_eq!(count(&|region, start| region == 1 && start == 100, "x.region = 1 and 105 <= id"), ["5"]);
    assert_eq!(count(&|region, _| region != 1, "region in (0, 2)"), ["40"]);
    assert_eq!(count(&|_, start| start == 0, "not (id >= 10) and id + 1 > 5"), ["15"]);
    assert_eq!(count(&|_, start| start == 100, "id between 50 and 103"), ["12"]);
    assert_eq!(count(&|_, _| false, "region is null"), ["0"]);
}

#[test]
fn every_mention_of_a_table_counts() {
    let lake = lake();
    let two = "select (select count(*) from ns.t where region = 0) + (select count(*) from ns.t where region = 1)";
    assert_eq!(reads_only(&lake, &|region, _| region < 2, two), ["40"]);
    let mixed = "with a as (select * from ns.t where region = 0) select count(*) from a join ns.t b using (id)";
    assert_eq!(lake.rows(mixed), ["60"]);
    assert_eq!(lake.rows("select count(*) from ns.t a, ns.t b where a.region = 0 and b.region = 1"), ["400"]);
    assert_eq!(lake.rows("select count(*) from ns.t as x(region, id) where region = 5"), ["3"]);
}

#[test]
fn what_cannot_be_answered_says_why() {
    let lake = lake();
    for (sql, words) in [
        ("select * from ns.u", "there are: ns.t"),
        ("selec 1", "syntax error"),
        ("drop table ns.t", "SELECT"),
        ("select nope from ns.t", "nope"),
        ("select error('stop') from ns.t", "stop"),
        ("select * from read_csv('/nowhere.csv')", "nowhere"),
    ] {
        let mut out = Vec::new();
        let error = query(&lake.source(), sql, &At::Now, Form::Csv, &mut out).expect_err(sql).to_string();
        assert!(error.contains(words), "{sql}: {error}");
    }
}

#[test]
fn a_long_answer_comes_whole() {
    let lake = lake();
    let rows = lake.rows("select count(*) from (select x.id from ns.t x, range(20000) order by all)");
    assert_eq!(rows, ["1200000"]);
    assert_eq!(lake.rows("select r.range from range(100000) r").len(), 100_000);
}
