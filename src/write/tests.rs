//! The write stage against a naive model: random rows, specs, orders and budgets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Decimal128Type, Float64Type, Int8Type, Int64Type, TimestampMicrosecondType};
use iceberg::spec::{
    DataFile, Datum, FormatVersion, NestedField, NullOrder, PrimitiveType, Schema, SortDirection, SortField, SortOrder,
    Struct, TableMetadata, TableMetadataBuilder, Transform, Type, UnboundPartitionSpec,
};
use iceberg::transform::create_transform_function;
use laked_catalog::store::Store;
use laked_catalog::system::System;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Row {
    id: String,
    user: Option<String>,
    time: i64,
    glucose: Option<f64>,
    country: Option<String>,
    count: Option<i64>,
    price: Option<i128>,
}

const COUNTRIES: [&str; 12] = ["TW", "JP", "a/b", "50 %", "..", ".", "", "台灣", "x=y&z", "null", "TWX", "a+b"];

/// A small generator, so that one seed is one case.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(8) > 0).then(|| make(self))
    }

    fn row(&mut self) -> Row {
        let user = |r: &mut Self| format!("user-{}-{}", "é".repeat(r.below(20) as usize), r.below(30));
        let glucose = |r: &mut Self| match r.below(20) {
            0 => f64::NAN,
            1 => -0.0,
            2 => f64::NEG_INFINITY,
            n => n as f64 * 7.5 - 40.0,
        };
        Row {
            id: format!("{:08x}", self.below(1 << 32)),
            user: self.maybe(user),
            time: self.below(400) as i64 * 86_400_000_000 / 3 - 50 * 86_400_000_000 + self.below(1000) as i64,
            glucose: self.maybe(glucose),
            country: self.maybe(|r| COUNTRIES[r.below(12) as usize].to_owned()),
            count: self.maybe(|r| r.below(9) as i64 - 4),
            price: self.maybe(|r| i128::from(r.below(100_000)) - 50_000),
        }
    }
}

fn schema() -> Schema {
    let field = |id, name: &str, kind, required| Arc::new(NestedField::new(id, name, Type::Primitive(kind), required));
    Schema::builder()
        .with_fields([
            field(1, "id", PrimitiveType::String, true),
            field(2, "user", PrimitiveType::String, false),
            field(3, "time", PrimitiveType::Timestamptz, true),
            field(4, "glucose", PrimitiveType::Double, false),
            field(5, "country", PrimitiveType::String, false),
            field(6, "count", PrimitiveType::Long, false),
            field(7, "price", PrimitiveType::Decimal { precision: 12, scale: 2 }, false),
        ])
        .build()
        .expect("a schema")
}

fn metadata(
    spec: &[(i32, Transform)],
    order: &[(i32, Transform, bool, bool)],
    props: &[(&str, &str)],
) -> TableMetadata {
    let mut partition = UnboundPartitionSpec::builder();
    for (i, &(id, transform)) in spec.iter().enumerate() {
        partition = partition.add_partition_field(id, format!("p {i}"), transform).expect("a partition field");
    }
    let mut sort = SortOrder::builder();
    for &(source_id, transform, descending, first) in order {
        let direction = if descending { SortDirection::Descending } else { SortDirection::Ascending };
        let null_order = if first { NullOrder::First } else { NullOrder::Last };
        sort.with_sort_field(SortField { source_id, transform, direction, null_order });
    }
    let props = props.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let sort = sort.build_unbound().expect("a sort order");
    TableMetadataBuilder::new(schema(), partition.build(), sort, "file:///unused".into(), FormatVersion::V2, props)
        .and_then(TableMetadataBuilder::build)
        .expect("metadata")
        .metadata
}

fn batch(rows: &[Row], coded: bool) -> RecordBatch {
    let country: ArrayRef = match coded {
        true => Arc::new(rows.iter().map(|r| r.country.as_deref()).collect::<DictionaryArray<Int8Type>>()),
        false => Arc::new(rows.iter().map(|r| r.country.as_deref()).collect::<StringArray>()),
    };
    let price: Decimal128Array = rows.iter().map(|r| r.price).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("price", Arc::new(price.with_precision_and_scale(12, 2).expect("fits")) as ArrayRef, true),
        ("id", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.id))), false),
        ("user", Arc::new(rows.iter().map(|r| r.user.as_deref()).collect::<StringArray>()), true),
        (
            "time",
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.time)).with_timezone("UTC")),
            false,
        ),
        ("glucose", Arc::new(rows.iter().map(|r| r.glucose).collect::<Float64Array>()), true),
        ("country", country, true),
        ("count", Arc::new(rows.iter().map(|r| r.count).collect::<Int64Array>()), true),
    ])
    .expect("a batch")
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let text = |i: usize, row: usize| {
        let column = batch.column(i).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let glucose = batch.column(3).as_primitive::<Float64Type>();
    let count = batch.column(5).as_primitive::<Int64Type>();
    let price = batch.column(6).as_primitive::<Decimal128Type>();
    (0..batch.num_rows())
        .map(|row| Row {
            id: text(0, row).expect("an id"),
            user: text(1, row),
            time: times.value(row),
            glucose: glucose.is_valid(row).then(|| glucose.value(row)),
            country: text(4, row),
            count: count.is_valid(row).then(|| count.value(row)),
            price: price.is_valid(row).then(|| price.value(row)),
        })
        .collect()
}

/// Each column's value as Iceberg has it.
fn datum(row: &Row, id: i32) -> Option<Datum> {
    match id {
        1 => Some(Datum::string(&row.id)),
        2 => row.user.as_ref().map(Datum::string),
        3 => Some(Datum::timestamptz_micros(row.time)),
        4 => row.glucose.map(Datum::double),
        5 => row.country.as_ref().map(Datum::string),
        6 => row.count.map(Datum::long),
        _ => row.price.map(|price| {
            let kind = PrimitiveType::Decimal { precision: 12, scale: 2 };
            Datum::try_from_bytes(&price.to_be_bytes(), kind).expect("a decimal")
        }),
    }
}

fn transformed(row: &Row, id: i32, transform: Transform) -> Option<Datum> {
    let function = create_transform_function(&transform).expect("a transform");
    datum(row, id).and_then(|datum| function.transform_literal(&datum).expect("transforms"))
}

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
    data: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::local(System::real(), folder.path().join("staging")).expect("a store");
        let data = format!("file://{}/data", folder.path().display());
        Self { folder, store, data }
    }

    fn writer(&self, metadata: &TableMetadata, budget: usize) -> Writer {
        let mut properties = metadata.properties().clone();
        properties.insert("write.data.path".into(), self.data.clone());
        let builder = metadata.clone().into_builder(None).set_properties(properties).expect("properties");
        let metadata = builder.build().expect("metadata").metadata;
        let layout = Layout::of(&metadata).expect("a layout");
        Writer::new(layout, self.store.clone(), System::real(), Budget::new(budget))
    }

    fn scratch_files(&self) -> usize {
        self.store.disk().list(&self.folder.path().join("staging")).expect("a listing").len()
    }

    /// Publishes the files and reads each back.
    fn read(&self, sealed: Sealed) -> Vec<(DataFile, Vec<Row>)> {
        let (staged, files): (Vec<_>, Vec<_>) = sealed.files.into_iter().map(|f| (f.staged, f.data_file)).unzip();
        self.store.publish(staged).expect("published");
        files.into_iter().map(|file| (file.clone(), self.rows(&file))).collect()
    }

    fn rows(&self, file: &DataFile) -> Vec<Row> {
        let bytes = self.store.read(file.file_path()).expect("the file");
        assert_eq!(bytes.len() as u64, file.file_size_in_bytes());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
        let ids = |field: &Arc<arrow::datatypes::Field>| field.metadata()["PARQUET:field_id"].clone();
        let ids: Vec<String> = reader.schema().fields().iter().map(ids).collect();
        assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7"]);
        let offsets = reader.metadata().row_groups().iter().map(|g| g.column(0).byte_range().0 as i64);
        assert_eq!(file.split_offsets(), Some(&offsets.collect::<Vec<_>>()[..]));
        reader.build().expect("a reader").flat_map(|batch| rows_of(&batch.expect("a batch"))).collect()
    }
}

fn assert_partition(file: &DataFile, rows: &[Row], spec: &[(i32, Transform)]) {
    for row in rows {
        let expected: Struct = spec.iter().map(|&(id, t)| transformed(row, id, t).map(Into::into)).collect();
        assert_eq!(file.partition(), &expected, "{row:?}");
    }
}

fn assert_sorted(rows: &[Row], order: &[(i32, Transform, bool, bool)]) {
    use std::cmp::Ordering;
    let compare = |a: &Row, b: &Row| {
        for &(id, transform, descending, nulls_first) in order {
            let found = match (transformed(a, id, transform), transformed(b, id, transform)) {
                (None, None) => Ordering::Equal,
                (None, _) => {
                    if nulls_first {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
                (_, None) => {
                    if nulls_first {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    }
                }
                (Some(a), Some(b)) => {
                    let found = match id {
                        4 => total(&a).total_cmp(&total(&b)),
                        _ => a.partial_cmp(&b).expect("comparable"),
                    };
                    if descending { found.reverse() } else { found }
                }
            };
            if found != Ordering::Equal {
                return found;
            }
        }
        Ordering::Equal
    };
    for pair in rows.windows(2) {
        assert_ne!(compare(&pair[0], &pair[1]), Ordering::Greater, "{pair:?}");
    }
}

fn total(datum: &Datum) -> f64 {
    match datum.literal() {
        iceberg::spec::PrimitiveLiteral::Double(value) => value.0,
        _ => f64::NAN,
    }
}

fn assert_metrics(file: &DataFile, rows: &[Row]) {
    assert_eq!(file.record_count(), rows.len() as u64);
    for id in 1..=7 {
        let values: Vec<Datum> = rows.iter().filter_map(|row| datum(row, id)).collect();
        assert_eq!(file.value_counts()[&id], rows.len() as u64);
        assert_eq!(file.null_value_counts()[&id], (rows.len() - values.len()) as u64);
        assert!(file.column_sizes()[&id] > 0);
        let nans = values.iter().filter(|value| value.is_nan()).count() as u64;
        assert_eq!(file.nan_value_counts().get(&id).copied(), (id == 4).then_some(nans));
        let values: Vec<Datum> = values.into_iter().filter(|value| !value.is_nan()).collect();
        let ends = (file.lower_bounds().get(&id), file.upper_bounds().get(&id));
        let (Some(low), Some(high)) = ends else {
            assert!(values.is_empty(), "column {id} has values and no bounds");
            continue;
        };
        assert!(values.iter().all(|value| low <= value && value <= high), "{low} {high}");
        let exact = |bound: &Datum| values.contains(bound);
        let length = |bound: &Datum| bound.to_human_string().chars().count();
        assert!(exact(low) || (id == 2 && length(low) == 16), "{low}");
        assert!(exact(high) || (id == 2 && length(high) <= 16), "{high}");
    }
}

fn key(row: &Row) -> String {
    format!("{row:?}")
}

type Order = &'static [(i32, Transform, bool, bool)];

const SPECS: [&[(i32, Transform)]; 7] = [
    &[],
    &[(5, Transform::Identity)],
    &[(5, Transform::Identity), (3, Transform::Month)],
    &[(2, Transform::Bucket(4)), (3, Transform::Year)],
    &[(5, Transform::Truncate(2)), (3, Transform::Day)],
    &[(6, Transform::Identity), (7, Transform::Truncate(10_000))],
    &[(1, Transform::Void), (3, Transform::Hour)],
];

const ORDERS: [Order; 6] = [
    &[],
    &[(2, Transform::Identity, false, true), (3, Transform::Identity, false, true)],
    &[(3, Transform::Identity, true, false)],
    &[(4, Transform::Identity, false, false), (7, Transform::Identity, true, true)],
    &[(5, Transform::Identity, true, true), (3, Transform::Day, false, true), (6, Transform::Identity, false, false)],
    &[
        (6, Transform::Identity, true, false),
        (4, Transform::Identity, false, true),
        (3, Transform::Identity, false, true),
        (2, Transform::Truncate(7), false, true),
    ],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn files_hold_the_rows_sorted_in_their_partitions(
        seed in any::<u64>(), spec in 0..SPECS.len(), order in 0..ORDERS.len(), budget in 0..3_usize,
        batches in prop::collection::vec((1..120_usize, any::<bool>()), 1..6), presorted in any::<bool>(),
    ) {
        let (spec, order) = (SPECS[spec], ORDERS[order]);
        let mut random = Random(seed);
        let total: usize = batches.iter().map(|(rows, _)| rows).sum();
        let mut rows: Vec<Row> = (0..total).map(|_| random.row()).collect();
        if presorted {
            rows.sort_by(|a, b| (&a.user, a.time).cmp(&(&b.user, b.time)));
        }
        let bench = Bench::new();
        let limits = [("write.parquet.row-group-limit", "50"), ("write.target-file-size-bytes", "9000")];
        let mut writer = bench.writer(&metadata(spec, order, &limits), [5_000, 60_000, 64 << 20][budget]);
        let mut rest = &rows[..];
        for (len, coded) in batches {
            let (now, later) = rest.split_at(len);
            writer.write(batch(now, coded)).expect("written");
            rest = later;
        }
        prop_assert_eq!(writer.rows(), total as u64);
        let sealed = writer.seal().expect("sealed");
        let files = bench.read(sealed);
        prop_assert_eq!(bench.scratch_files(), 0);
        let mut found: Vec<String> = files.iter().flat_map(|(_, rows)| rows.iter().map(key)).collect();
        let mut expected: Vec<String> = rows.iter().map(key).collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
        for (file, rows) in &files {
            assert_partition(file, rows, spec);
            assert_sorted(rows, order);
            assert_metrics(file, rows);
        }
    }
}

#[test]
fn ten_thousand_partitions_fit_a_small_budget() {
    let bench = Bench::new();
    let metadata = metadata(&[(2, Transform::Identity)], ORDERS[2], &[]);
    let mut writer = bench.writer(&metadata, 2 << 20);
    let budget = writer.budget.clone();
    let mut random = Random(7);
    for i in 0..6 {
        let make = |n: u64| Row { user: Some(format!("u{:05}", (n * 7 + i) % 10_000)), ..random.row() };
        let rows: Vec<Row> = (0..10_000).map(make).collect();
        writer.write(batch(&rows, true)).expect("written");
        assert!(budget.used() < 4 << 20, "{}", budget.used());
    }
    assert!(writer.spill.is_some());
    let sealed = writer.seal().expect("sealed");
    assert_eq!((sealed.files.len(), sealed.rows), (10_000, 60_000));
    assert!(sealed.files.iter().all(|file| file.data_file.record_count() == 6));
    drop(sealed);
    assert_eq!(budget.used(), 0);
}

#[test]
fn directories_show_the_partition_and_names_are_literal() {
    let bench = Bench::new();
    let mut writer = bench.writer(&metadata(SPECS[2], ORDERS[1], &[]), 1 << 20);
    let row = |country: Option<&str>| Row { country: country.map(str::to_owned), time: 0, ..Random(1).row() };
    writer.write(batch(&[row(Some("a/b c")), row(None), row(Some(""))], true)).expect("written");
    let sealed = writer.seal().expect("sealed");
    let folder = |file: &SealedFile| {
        let path = file.data_file.file_path().strip_prefix(&bench.data).expect("in the data folder");
        path.rsplit_once('/').expect("a folder").0.to_owned()
    };
    let folders: Vec<String> = sealed.files.iter().map(folder).collect();
    assert_eq!(folders, ["/p+0=a%2Fb+c/p+1=1970-01", "/p+0=null/p+1=1970-01", "/p+0=/p+1=1970-01"]);
    assert_eq!(bench.read(sealed).len(), 3);
}

#[test]
fn missing_columns_are_null_or_refused() {
    let bench = Bench::new();
    let metadata = metadata(&[], &[], &[]);
    let whole = batch(&[Random(3).row()], false);
    let mut writer = bench.writer(&metadata, 1 << 20);
    writer.write(whole.project(&[1, 3]).expect("id and time")).expect("the rest is optional");
    let rows = bench.read(writer.seal().expect("sealed")).remove(0).1;
    assert_eq!((rows[0].user.as_ref(), rows[0].price), (None, None));
    let error = bench.writer(&metadata, 1 << 20).write(whole.project(&[0, 1]).expect("no time")).expect_err("required");
    assert!(error.to_string().contains("lacks a required column"), "{error}");
}

#[test]
fn renamed_columns_come_by_the_name_map() {
    let bench = Bench::new();
    let metadata = metadata(&[], &[], &[("write.data.path", &bench.data)]);
    let names = BTreeMap::from([("when".to_owned(), 3)]);
    let layout = Layout::of(&metadata).and_then(|layout| layout.with_names(&names)).expect("a layout");
    let mut writer = Writer::new(layout, bench.store.clone(), System::real(), Budget::new(1 << 20));
    let rows = [Random(4).row()];
    let whole = batch(&rows, false).project(&[1, 3]).expect("id and time");
    let named = RecordBatch::try_from_iter([("id", whole.column(0).clone()), ("when", whole.column(1).clone())]);
    writer.write(named.expect("a batch")).expect("written");
    assert_eq!(bench.read(writer.seal().expect("sealed")).remove(0).1[0].time, rows[0].time);
}

#[test]
fn a_column_that_turns_out_to_have_many_strings_is_plain_from_then_on() {
    let bench = Bench::new();
    for budget in [100_000, 64 << 20] {
        let mut writer = bench.writer(&metadata(&[], ORDERS[1], &[]), budget);
        let mut random = Random(11);
        let mut few: Vec<Row> = (0..500).map(|_| random.row()).collect();
        let many = (0..6_000).map(|i| Row { user: Some(format!("u{}", (i * 7_919) % 6_000)), ..random.row() });
        let many: Vec<Row> = many.collect();
        writer.write(batch(&few, false)).expect("written");
        writer.write(batch(&many, false)).expect("written");
        let mut files = bench.read(writer.seal().expect("sealed"));
        let (file, rows) = files.remove(0);
        assert_sorted(&rows, ORDERS[1]);
        assert_metrics(&file, &rows);
        few.extend(many);
        let sorted = |rows: &[Row]| {
            let mut keys: Vec<String> = rows.iter().map(key).collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(sorted(&rows), sorted(&few));
    }
}

#[test]
fn rows_in_order_go_to_the_open_file_before_the_seal() {
    let bench = Bench::new();
    let mut writer = bench.writer(&metadata(&[], ORDERS[1], &[]), 24 << 20);
    let wide = "x".repeat(500);
    let row = |i: usize| Row { id: format!("{wide}{i:06}"), user: Some("u".into()), time: i as i64, ..Random(5).row() };
    for start in (0..60_000).step_by(4_000) {
        writer.write(batch(&(start..start + 4_000).map(row).collect::<Vec<_>>(), true)).expect("written");
    }
    assert!(writer.spill.is_none() && writer.partitions[0].open.is_some());
    let files = bench.read(writer.seal().expect("sealed"));
    assert_eq!(files.len(), 1);
    assert!(files[0].1.iter().enumerate().all(|(i, row)| row.time == i as i64));
    assert_eq!(files[0].1.len(), 60_000);
}

#[test]
fn uuids_are_annotated_in_the_file() {
    let field = NestedField::required(1, "key", Type::Primitive(PrimitiveType::Uuid));
    let schema = Schema::builder().with_fields([Arc::new(field)]).build().expect("a schema");
    let arrow = iceberg::arrow::schema_to_arrow_schema(&schema).expect("Arrow");
    let parquet = encode::parquet_schema(&arrow, &schema).expect("Parquet");
    let column = parquet.column(0);
    assert_eq!(column.logical_type_ref(), Some(&parquet::basic::LogicalType::Uuid));
    assert_eq!(column.self_type().get_basic_info().id(), 1);
}
