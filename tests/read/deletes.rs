//! Delete files of other engines: by position, by value, and deletion vectors.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use iceberg::spec::{
    DataContentType, DataFileFormat, Literal, NestedField, PrimitiveType, Schema, Struct, Transform, Type,
    UnboundPartitionSpec,
};
use roaring::RoaringTreemap;

use super::lake::{Lake, described};

const TABLE: &str = "ns.t";
const ALL: &str = "select id, part from ns.t order by id, part";

fn schema() -> Schema {
    let fields = vec![
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into(),
        NestedField::required(2, "part", Type::Primitive(PrimitiveType::String)).into(),
        NestedField::optional(3, "note", Type::Primitive(PrimitiveType::String)).into(),
    ];
    Schema::builder().with_fields(fields).build().expect("valid")
}

fn by_part() -> UnboundPartitionSpec {
    let spec = UnboundPartitionSpec::builder().add_partition_field(2, "part", Transform::Identity);
    spec.expect("valid").build()
}

fn rows(ids: std::ops::Range<i64>, part: &str) -> RecordBatch {
    let note = |id: i64| (id % 2 == 0).then(|| format!("n{id}"));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        ("part", Arc::new(StringArray::from_iter_values(ids.clone().map(|_| part)))),
        ("note", Arc::new(ids.map(note).collect::<StringArray>())),
    ];
    RecordBatch::try_from_iter(columns).expect("fits")
}

fn ids(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn positions_are_left_out() {
    let lake = Lake::new();
    lake.create(TABLE, schema(), None, &[]);
    lake.append(TABLE, vec![rows(0..4, "a")]);
    lake.append(TABLE, vec![rows(4..6, "a")]);
    let first = lake.files(TABLE)[0].file.file_path().to_string();
    let columns =
        [("file_path", 2_147_483_546, texts(&[Some(&first), Some(&first)])), ("pos", 2_147_483_545, ids(&[0, 2]))];
    let file = lake.parquet(TABLE, "p.parquet", &columns);
    lake.foreign(TABLE, vec![described(DataContentType::PositionDeletes, file, 2).build().expect("whole")]);
    assert_eq!(lake.rows(ALL), ["1,a", "3,a", "4,a", "5,a"]);
    assert_eq!(lake.rows("select count(*) from ns.t where id < 4"), ["2"]);
}

#[test]
fn values_are_left_out_of_older_files_of_their_partition() {
    let lake = Lake::new();
    lake.create(TABLE, schema(), Some(by_part()), &[]);
    lake.append(TABLE, vec![rows(0..4, "a"), rows(0..4, "b")]);
    let file = lake.parquet(TABLE, "e.parquet", &[("id", 1, ids(&[1, 2, 9]))]);
    let delete = described(DataContentType::EqualityDeletes, file, 3)
        .equality_ids(Some(vec![1]))
        .partition(Struct::from_iter([Some(Literal::string("a"))]))
        .build();
    lake.foreign(TABLE, vec![delete.expect("whole")]);
    lake.append(TABLE, vec![rows(1..2, "a")]);
    assert_eq!(lake.rows(ALL), ["0,a", "0,b", "1,a", "1,b", "2,b", "3,a", "3,b"].map(String::from));
}

#[test]
fn null_equals_null_in_a_delete_by_value() {
    let lake = Lake::new();
    lake.create(TABLE, schema(), None, &[]);
    lake.append(TABLE, vec![rows(0..4, "a")]);
    let columns = [("note", 3, texts(&[None])), ("part", 2, texts(&[Some("a")]))];
    let file = lake.parquet(TABLE, "e.parquet", &columns);
    let delete = described(DataContentType::EqualityDeletes, file, 1).equality_ids(Some(vec![3, 2])).build();
    lake.foreign(TABLE, vec![delete.expect("whole")]);
    assert_eq!(lake.rows(ALL), ["0,a", "2,a"]);
}

#[test]
fn deletion_vectors_are_applied() {
    let lake = Lake::new();
    lake.create(TABLE, schema(), None, &[("format-version", "3")]);
    lake.append(TABLE, vec![rows(0..4, "a")]);
    lake.append(TABLE, vec![rows(4..8, "a")]);
    let second = lake.files(TABLE)[1].file.file_path().to_string();
    let blob = vector(&[1, 3].into_iter().collect());
    let padded = [&b"PFA1"[..], &blob, b"a footer would be here"].concat();
    let file = lake.put(TABLE, "v.puffin", &padded);
    let delete = described(DataContentType::PositionDeletes, file, 2)
        .file_format(DataFileFormat::Puffin)
        .referenced_data_file(Some(second))
        .content_offset(Some(4))
        .content_size_in_bytes(Some(blob.len() as i64))
        .build();
    lake.foreign(TABLE, vec![delete.expect("whole")]);
    assert_eq!(lake.rows("select id from ns.t order by id"), ["0", "1", "2", "3", "4", "6"]);
}

/// The blob of a deletion vector, as the Puffin specification sets it.
pub fn vector(positions: &RoaringTreemap) -> Vec<u8> {
    let mut body = vec![0xd1, 0xd3, 0x39, 0x64];
    positions.serialize_into(&mut body).expect("in memory");
    let mut check = flate2::Crc::new();
    check.update(&body);
    [&(body.len() as u32).to_be_bytes()[..], &body, &check.sum().to_be_bytes()].concat()
}
