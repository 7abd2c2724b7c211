//! Compaction in-process: what is taken, what is written, what happens when somebody else is faster.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, Literal, NestedField, NullOrder, Operation, PrimitiveLiteral,
    PrimitiveType, Schema, SortDirection, SortField, SortOrder, Struct, Transform, Type, UnboundPartitionSpec,
};
use laked::daemon::compaction::{Done, Manner, Stepped, planned};
use laked::maintain::compact::{Options, Order};
use laked::maintain::invariants::{Depth, doctor};
use laked::read::{PlannedFile, Predicate, parse_where};
use laked_catalog::CreateTable;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use roaring::RoaringTreemap;

use crate::read::deletes::vector;
use crate::read::lake::{Lake, described};

pub const TABLE: &str = "ns.t";
const ALL: &str = "select id, part, n from ns.t order by n, part";

/// `id`, `part`, the row's own number, and a measure.
pub fn schema() -> Schema {
    let field = |id, name: &str, kind| NestedField::required(id, name, Type::Primitive(kind)).into();
    let fields = vec![
        field(1, "id", PrimitiveType::Long),
        field(2, "part", PrimitiveType::String),
        field(3, "n", PrimitiveType::Long),
        NestedField::optional(4, "x", Type::Primitive(PrimitiveType::Double)).into(),
    ];
    Schema::builder().with_fields(fields).build().expect("valid")
}

pub fn by_part() -> UnboundPartitionSpec {
    let spec = UnboundPartitionSpec::builder().add_partition_field(2, "part", Transform::Identity);
    spec.expect("valid").build()
}

/// A table of small files: rows of a row group and bytes of a file are few.
pub fn create(lake: &Lake, spec: Option<UnboundPartitionSpec>, sorted: bool, properties: &[(&str, &str)]) {
    let mut order = SortOrder::builder();
    let (direction, null_order) = (SortDirection::Ascending, NullOrder::First);
    order.with_sort_field(SortField { source_id: 1, transform: Transform::Identity, direction, null_order });
    let order = order.build_unbound().expect("an order");
    let properties = properties.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string()));
    lake.create_table(
        TABLE,
        CreateTable {
            schema: schema(),
            spec,
            sort_order: sorted.then_some(order),
            location: None,
            properties: properties.collect(),
        },
    );
}

/// Rows by id and number, of one part.
pub fn rows(part: &str, rows: &[(i64, i64)]) -> RecordBatch {
    let measure = |n: i64| match n % 7 {
        0 => None,
        1 => Some(f64::NAN),
        _ => Some(n as f64 / 4.0),
    };
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)))),
        ("part", Arc::new(StringArray::from_iter_values(rows.iter().map(|_| part)))),
        ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, n)| *n)))),
        ("x", Arc::new(rows.iter().map(|(_, n)| measure(*n)).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter(columns).expect("fits")
}

/// Rows whose numbers are their ids.
pub fn numbered(part: &str, range: std::ops::Range<i64>) -> RecordBatch {
    rows(part, &range.map(|n| (n, n)).collect::<Vec<_>>())
}

pub fn manner(least_inputs: usize) -> Manner {
    let options = Options { least_inputs, max_bytes: None, order: Order::OfTable };
    Manner { options, predicate: Predicate::True, threads: 2, memory: 1 << 20 }
}

fn total(stepped: &Stepped) -> [u64; 5] {
    let mut sums = [0; 5];
    for done in &stepped.done {
        let Done::Replaced { after, deleted, copied } = done else { panic!("{done:?}") };
        sums.iter_mut().zip(after.iter().chain([deleted, copied])).for_each(|(sum, more)| *sum += more);
    }
    sums
}

/// A file's column of 64-bit numbers, as it is in the file.
pub fn column(lake: &Lake, file: &PlannedFile, name: &str) -> Vec<i64> {
    let bytes = lake.store.read(file.file.file_path()).expect("reads");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("opens").build().expect("reads");
    let values = reader.flat_map(|batch| {
        let batch = batch.expect("reads");
        let column = batch.column_by_name(name).expect("a column").clone();
        assert_eq!(column.null_count(), 0);
        column.as_primitive::<Int64Type>().values().to_vec()
    });
    values.collect()
}

pub fn is_sound(lake: &Lake) {
    let report = doctor(&lake.catalog, &lake.store, &[], None, Depth::Deep).expect("looks");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

/// No plan takes what a step wrote.
pub fn is_done(lake: &Lake, manner: &Manner) {
    let again = planned(&lake.store, &lake.metadata(TABLE), manner).expect("plans").1;
    assert!(again.groups.is_empty(), "{:?}", again.groups.iter().map(|group| &group.path).collect::<Vec<_>>());
}

pub fn equality(lake: &Lake, name: &str, ids: &[i64], partition: Struct) -> iceberg::spec::DataFile {
    let file = lake.parquet(TABLE, name, &[("id", 1, Arc::new(Int64Array::from(ids.to_vec())))]);
    let mut delete = described(DataContentType::EqualityDeletes, file, ids.len() as u64);
    delete.equality_ids(Some(vec![1])).partition(partition).build().expect("whole")
}

pub fn positions(lake: &Lake, name: &str, of: &PlannedFile, rows: &[i64], says_so: bool) -> iceberg::spec::DataFile {
    let paths: StringArray = rows.iter().map(|_| Some(of.file.file_path())).collect();
    let columns: [(&str, i32, ArrayRef); 2] = [
        ("file_path", 2_147_483_546, Arc::new(paths)),
        ("pos", 2_147_483_545, Arc::new(Int64Array::from(rows.to_vec()))),
    ];
    let file = lake.parquet(TABLE, name, &columns);
    let mut delete = described(DataContentType::PositionDeletes, file, rows.len() as u64);
    delete.partition(of.file.partition().clone());
    if says_so {
        delete.referenced_data_file(Some(of.file.file_path().to_string()));
    }
    delete.build().expect("whole")
}

#[test]
fn small_files_become_one_in_order_with_true_figures() {
    let lake = Lake::new();
    create(&lake, Some(by_part()), true, &[]);
    for start in 0..5 {
        // Ids overlap, so that files are merged and not set one after another.
        let scattered = |part: i64| (0..40).map(|i| (i * 5 + start, start * 100 + i + part * 1000)).collect::<Vec<_>>();
        lake.append(TABLE, vec![rows("a", &scattered(0)), rows("b", &scattered(1))]);
    }
    let before = lake.rows(ALL);
    let sequence = lake.metadata(TABLE).last_sequence_number();
    let stepped = lake.compact(TABLE, &manner(5));
    assert_eq!(total(&stepped)[..2], [2, 400]);
    assert_eq!(lake.rows(ALL), before);
    let files = lake.files(TABLE);
    assert_eq!(files.len(), 2);
    for file in &files {
        let ids = column(&lake, file, "id");
        assert!(ids.is_sorted() && ids.len() == 200, "{ids:?}");
        assert_eq!((file.file.record_count(), file.sequence_number), (200, sequence));
        assert_eq!(file.file.sort_order_id(), Some(1));
        let bound = |datum: Option<&Datum>| datum.map(|datum| datum.literal().clone());
        assert_eq!(bound(file.file.lower_bounds().get(&1)), Some(PrimitiveLiteral::Long(0)));
        assert_eq!(bound(file.file.upper_bounds().get(&1)), Some(PrimitiveLiteral::Long(199)));
        assert_eq!((file.file.null_value_counts()[&4] > 0, file.file.nan_value_counts()[&4] > 0), (true, true));
        assert_eq!(file.file.split_offsets().map(<[i64]>::len), Some(1));
    }
    let snapshot = lake.metadata(TABLE).current_snapshot().cloned().expect("a snapshot");
    assert_eq!(snapshot.summary().operation, Operation::Replace);
    let said = |key: &str| snapshot.summary().additional_properties.get(key).map(String::as_str);
    let figures = ["added-data-files", "deleted-data-files", "total-data-files", "total-records"].map(said);
    assert_eq!(figures, [Some("2"), Some("10"), Some("2"), Some("400")]);
    is_sound(&lake);
    is_done(&lake, &manner(2));
}

#[test]
fn large_files_are_parted_and_the_last_is_not_small() {
    let lake = Lake::new();
    let rows_of_a_group = ("write.parquet.row-group-limit", "4000");
    create(&lake, None, false, &[rows_of_a_group]);
    let scattered: Vec<(i64, i64)> = (0..60_000).map(|n| (n * 7_919 % 1_000_003, n * 104_729 % 1_299_709)).collect();
    lake.append(TABLE, vec![rows("a", &scattered)]);
    let bytes = lake.files(TABLE)[0].file.file_size_in_bytes();
    let target = bytes / 4;
    lake.set(TABLE, "write.target-file-size-bytes", &target.to_string());
    let before = lake.rows(ALL);
    lake.compact(TABLE, &manner(5));
    let sizes: Vec<u64> = lake.files(TABLE).iter().map(|file| file.file.file_size_in_bytes()).collect();
    assert!(sizes.len() > 1 && sizes.iter().all(|size| (target / 4 * 3..target / 5 * 9).contains(size)), "{sizes:?}");
    assert_eq!(lake.rows(ALL), before);
    is_sound(&lake);
    is_done(&lake, &manner(2));
}

#[test]
fn row_groups_are_copied_where_no_order_is_wanted() {
    let lake = Lake::new();
    create(&lake, None, false, &[("write.parquet.row-group-limit", "50")]);
    for start in 0..4 {
        lake.append(TABLE, vec![numbered("a", start * 1000..start * 1000 + 110)]);
    }
    let before = lake.rows("select * from ns.t order by n");
    let stepped = lake.compact(TABLE, &manner(2));
    // Of each file two full row groups; the third has too few rows.
    assert_eq!(total(&stepped)[4], 400);
    assert_eq!(lake.rows("select * from ns.t order by n"), before);
    let files = lake.files(TABLE);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].file.value_counts()[&1], 440);
    // How many NaN a copied row group has is not known, and so not said.
    assert_eq!(files[0].file.nan_value_counts().get(&4), None);
    assert_eq!(lake.rows("select count(*) from ns.t where n >= 3000"), ["110"]);
    is_sound(&lake);
}

/// A file with the same rows, as an engine writes it that knows no page index.
fn without_page_index(lake: &Lake, file: &PlannedFile) -> DataFile {
    let bytes = lake.store.read(file.file.file_path()).expect("reads");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("opens");
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(50))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, reader.schema().clone(), Some(properties)).expect("opens");
    reader.build().expect("reads").for_each(|batch| writer.write(&batch.expect("reads")).expect("is written"));
    writer.close().expect("closes");
    let put = lake.put(TABLE, "foreign.parquet", &bytes);
    described(DataContentType::Data, put, file.file.record_count()).build().expect("complete")
}

#[test]
fn row_groups_without_a_page_index_are_decoded() {
    let lake = Lake::new();
    create(&lake, None, false, &[("write.parquet.row-group-limit", "50")]);
    lake.append(TABLE, vec![numbered("a", 0..110)]);
    let own = lake.files(TABLE).remove(0);
    lake.foreign(TABLE, vec![without_page_index(&lake, &own)]);
    let before = lake.rows(ALL);
    assert_eq!(before.len(), 220);
    let stepped = lake.compact(TABLE, &manner(2));
    assert_eq!(total(&stepped)[4], 100, "of the own file two row groups, of the other none");
    assert_eq!(lake.rows(ALL), before);
    is_sound(&lake);
}

#[test]
fn deletes_are_worked_in_and_go_with_their_files() {
    let lake = Lake::new();
    create(&lake, Some(by_part()), false, &[]);
    lake.append(TABLE, vec![numbered("a", 0..10), numbered("b", 0..10)]);
    lake.append(TABLE, vec![numbered("a", 10..20)]);
    let files = lake.files(TABLE);
    let a = Struct::from_iter([Some(Literal::string("a"))]);
    let first = files.iter().find(|file| *file.file.partition() == a).expect("a file").clone();
    lake.foreign(TABLE, vec![positions(&lake, "p1.parquet", &first, &[0, 3], true)]);
    lake.foreign(TABLE, vec![positions(&lake, "p2.parquet", &first, &[4], false)]);
    lake.foreign(TABLE, vec![equality(&lake, "e.parquet", &[7, 12], a.clone())]);
    // Younger than the delete: stays.
    lake.append(TABLE, vec![rows("a", &[(7, 107)])]);
    let before = lake.rows(ALL);
    assert_eq!(before.len(), 31 - 5);
    let stepped = lake.compact(TABLE, &manner(2));
    assert_eq!(total(&stepped)[..4], [1, 16, total(&stepped)[2], 5]);
    assert_eq!(lake.rows(ALL), before);
    let metadata = lake.metadata(TABLE);
    let scan = planned(&lake.store, &metadata, &manner(2)).expect("plans").0;
    assert!(scan.deletes.is_empty(), "nothing is left for them to apply to");
    is_sound(&lake);
    is_done(&lake, &manner(2));
}

#[test]
fn deletes_of_rows_that_a_file_does_not_have_take_no_row() {
    for sorted in [false, true] {
        let lake = Lake::new();
        create(&lake, None, sorted, &[]);
        lake.append(TABLE, vec![numbered("a", 0..3)]);
        lake.append(TABLE, vec![numbered("a", 3..6)]);
        let file = &lake.files(TABLE)[0];
        lake.foreign(TABLE, vec![positions(&lake, "p.parquet", file, &[1, 3, 4, 5], true)]);
        let before = lake.rows(ALL);
        assert_eq!(before.len(), 5);
        let stepped = lake.compact(TABLE, &manner(2));
        assert_eq!((total(&stepped)[1], total(&stepped)[3]), (5, 1));
        assert_eq!(lake.rows(ALL), before);
        is_sound(&lake);
    }
}

#[test]
fn more_deletes_than_memory_holds_are_worked_in_by_parts() {
    let lake = Lake::new();
    create(&lake, None, true, &[]);
    lake.append(TABLE, vec![numbered("a", 0..3000)]);
    let odd: Vec<i64> = (0..30_000).filter(|id| id % 2 == 1).collect();
    lake.foreign(TABLE, vec![equality(&lake, "e.parquet", &odd, Struct::empty())]);
    lake.append(TABLE, vec![numbered("a", 3000..3010)]);
    let before = lake.rows(ALL);
    let stepped = lake.compact(TABLE, &Manner { memory: 64 << 10, ..manner(2) });
    assert_eq!(total(&stepped)[3], 1500);
    assert_eq!(lake.rows(ALL), before);
}

#[test]
fn a_delete_by_value_that_lands_meanwhile_still_applies() {
    let lake = Lake::new();
    create(&lake, None, true, &[]);
    lake.append(TABLE, vec![numbered("a", 0..10)]);
    lake.append(TABLE, vec![numbered("a", 10..20)]);
    let stepped = lake.compact_while(TABLE, &manner(2), || {
        lake.foreign(TABLE, vec![equality(&lake, "e.parquet", &[3, 13], Struct::empty())]);
        lake.append(TABLE, vec![numbered("a", 3..4)]);
    });
    assert!(stepped.snapshot_id.is_some());
    let left: Vec<String> = (0..20).filter(|n| ![3, 13].contains(n)).map(|n| n.to_string()).collect();
    let mut expected = left;
    expected.insert(3, "3".into());
    assert_eq!(lake.rows("select n from ns.t order by n"), expected);
    is_sound(&lake);
}

#[test]
fn a_delete_by_position_that_lands_meanwhile_leaves_its_partition_and_stays() {
    let lake = Lake::new();
    create(&lake, Some(by_part()), true, &[]);
    for start in [0, 10] {
        lake.append(TABLE, vec![numbered("a", start..start + 10), numbered("b", start..start + 10)]);
    }
    let a = Struct::from_iter([Some(Literal::string("a"))]);
    for says_so in [true, false] {
        let hit = lake.files(TABLE).into_iter().find(|file| *file.file.partition() == a).expect("a file");
        let name = format!("p{says_so}.parquet");
        let row = i64::from(says_so);
        let stepped = lake.compact_while(TABLE, &manner(2), || {
            lake.foreign(TABLE, vec![positions(&lake, &name, &hit, &[row], says_so)]);
        });
        let left = stepped.done.iter().filter(|done| matches!(done, Done::Left(_))).count();
        assert_eq!(left, 1, "{:?}", stepped.done);
        let in_a: Vec<String> = lake.rows("select n from ns.t where part = 'a' order by n");
        assert_eq!(in_a.len(), if says_so { 19 } else { 18 });
    }
    // Nobody is in the way now: what was left is done, with the deletes in it.
    let stepped = lake.compact(TABLE, &manner(2));
    assert_eq!(total(&stepped)[3], 2);
    assert_eq!(lake.rows("select count(*) from ns.t"), ["38"]);
    let names: BTreeSet<String> = lake.files(TABLE).iter().map(|file| file.file.file_path().to_string()).collect();
    let listed = lake.store.list(&format!("{}/data", lake.metadata(TABLE).location())).expect("lists");
    let unknown = listed.iter().filter(|entry| !names.contains(&entry.location));
    // Nothing of the attempts that gave way is left: what is there was read at some snapshot.
    let live = unknown.filter(|entry| entry.location.ends_with(".parquet")).count();
    assert_eq!(live, 4 + 2, "the first files and the two delete files");
    is_sound(&lake);
}

#[test]
fn an_input_that_goes_meanwhile_leaves_its_partition() {
    let lake = Lake::new();
    create(&lake, Some(by_part()), true, &[]);
    for start in [0, 10] {
        lake.append(TABLE, vec![numbered("a", start..start + 10), numbered("b", start..start + 10)]);
    }
    let only_a = parse_where("part = 'a'", &schema()).expect("a condition");
    let inner = Manner { predicate: only_a, ..manner(2) };
    let stepped = lake.compact_while(TABLE, &manner(2), || {
        lake.compact(TABLE, &inner);
    });
    assert_eq!(stepped.done.iter().filter(|done| matches!(done, Done::Left(_))).count(), 1);
    assert_eq!((lake.files(TABLE).len(), lake.rows("select count(*) from ns.t")), (2, vec!["40".to_string()]));
    is_sound(&lake);
}

#[test]
fn rows_of_format_3_keep_their_ids_and_vectors_are_worked_in() {
    let lake = Lake::new();
    create(&lake, None, true, &[("format-version", "3")]);
    lake.append(TABLE, vec![numbered("a", 0..10)]);
    lake.append(TABLE, vec![numbered("a", 10..20)]);
    let files = lake.files(TABLE);
    let gone: RoaringTreemap = [1, 2].into_iter().collect();
    let blob = vector(&gone);
    let (location, bytes) = lake.put(TABLE, "v.puffin", &[&b"PFA1"[..], &blob].concat());
    let mut delete = described(DataContentType::PositionDeletes, (location, bytes), 2);
    delete
        .file_format(DataFileFormat::Puffin)
        .referenced_data_file(Some(files[1].file.file_path().to_string()))
        .content_offset(Some(4))
        .content_size_in_bytes(Some(blob.len() as i64));
    lake.foreign(TABLE, vec![delete.build().expect("whole")]);
    let first_ids: Vec<i64> = files.iter().map(|file| file.first_row_id.expect("an id")).collect();
    lake.compact(TABLE, &manner(2));
    lake.append(TABLE, vec![numbered("a", 20..25)]);
    let lineage = |files: &[PlannedFile]| {
        let file = files.iter().find(|file| file.file.record_count() == 18).expect("the new file").clone();
        ["n", "_row_id", "_last_updated_sequence_number"].map(|name| column(&lake, &file, name))
    };
    let [numbers, ids, sequences] = lineage(&lake.files(TABLE));
    let kept: Vec<i64> = (0..20).filter(|n| ![11, 12].contains(n)).collect();
    let id = |n: &i64| if *n < 10 { first_ids[0] + n } else { first_ids[1] + n - 10 };
    assert_eq!(numbers, kept);
    assert_eq!(ids, kept.iter().map(id).collect::<Vec<_>>());
    assert_eq!(sequences, kept.iter().map(|n| if *n < 10 { 1 } else { 2 }).collect::<Vec<_>>());
    assert!(planned(&lake.store, &lake.metadata(TABLE), &manner(2)).expect("plans").0.deletes.is_empty());
    // Again: written ids stay what they are, beside ids that follow from a place.
    let third = lake.files(TABLE).last().and_then(|file| file.first_row_id).expect("an id");
    lake.compact(TABLE, &manner(2));
    let file = &lake.files(TABLE)[0];
    let twice = column(&lake, file, "_row_id");
    assert_eq!(twice, kept.iter().map(id).chain(third..third + 5).collect::<Vec<_>>());
    is_sound(&lake);
}

#[test]
fn steps_are_bounded_and_come_to_an_end() {
    let lake = Lake::new();
    create(&lake, Some(by_part()), true, &[]);
    for start in 0..4 {
        let range = start * 10..start * 10 + 10;
        lake.append(TABLE, vec![numbered("a", range.clone()), numbered("b", range)]);
    }
    let bytes = lake.files(TABLE)[0].file.file_size_in_bytes();
    let mut bounded = manner(2);
    bounded.options.max_bytes = Some(bytes * 5 / 2);
    let mut steps = 0;
    loop {
        let stepped = lake.compact(TABLE, &bounded);
        let taken: u64 = stepped.plan.groups.iter().map(laked::maintain::compact::Group::bytes).sum();
        let least = matches!(&stepped.plan.groups[..], [group] if group.inputs.len() == 2);
        assert!(taken <= bytes * 5 / 2 || least, "{taken}");
        if stepped.snapshot_id.is_none() {
            break;
        }
        steps += 1;
        assert!(steps < 20);
    }
    assert!(steps > 1);
    assert_eq!(lake.files(TABLE).len(), 2, "what is larger than a step is merged too");
    assert_eq!(lake.rows("select count(*), count(distinct n) from ns.t"), ["80,40"]);
    is_sound(&lake);
}
