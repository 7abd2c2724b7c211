//! Measures the write stage alone: CGM batches made in memory, sorted or in order of arrival with random ids.
//!
//! `cargo run --release --example write -- [sorted|arrival|partitions] [rows] [budget MiB] [users]` prints rows per CPU-second
//! of writing and sealing (making the batches is not counted), the files' bytes a row, and the peak RSS.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int8Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use iceberg::spec::{
    FormatVersion, NestedField, NullOrder, PrimitiveType, Schema, SortDirection, SortField, SortOrder, TableMetadata,
    TableMetadataBuilder, Transform, Type, UnboundPartitionSpec,
};
use laked::budget::Budget;
use laked::error::Result;
use laked::write::{Layout, Writer};
use laked_catalog::store::Store;
use laked_catalog::system::System;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 65_536;
/// 2025-01-01T00:00:00Z in microseconds.
const START: i64 = 1_735_689_600_000_000;
const STEP: i64 = 300_000_000;
const COUNTRIES: [&str; 4] = ["TW", "JP", "KR", "SG"];

fn metadata(location: String, by_user: bool) -> TableMetadata {
    let field = |id, name: &str, kind| Arc::new(NestedField::required(id, name, Type::Primitive(kind)));
    let fields = [
        field(1, "reading_id", PrimitiveType::String),
        field(2, "user_id", PrimitiveType::String),
        field(3, "device_id", PrimitiveType::String),
        field(4, "timestamp", PrimitiveType::Timestamptz),
        field(5, "glucose_mg_dl", PrimitiveType::Double),
        field(6, "country", PrimitiveType::String),
        field(7, "source", PrimitiveType::String),
        field(8, "trend", PrimitiveType::String),
    ];
    let schema = Schema::builder().with_fields(fields).build().expect("a schema");
    let spec = UnboundPartitionSpec::builder();
    let spec = match by_user {
        true => spec.add_partition_field(1, "reading_id_bucket", Transform::Bucket(10_000)),
        false => spec
            .add_partition_field(6, "country", Transform::Identity)
            .and_then(|spec| spec.add_partition_field(4, "timestamp_month", Transform::Month)),
    };
    let mut order = SortOrder::builder();
    for source_id in [2, 4] {
        let (direction, null_order) = (SortDirection::Ascending, NullOrder::First);
        order.with_sort_field(SortField { source_id, transform: Transform::Identity, direction, null_order });
    }
    let (spec, order) = (spec.expect("a spec").build(), order.build_unbound().expect("an order"));
    TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, Default::default())
        .and_then(TableMetadataBuilder::build)
        .expect("metadata")
        .metadata
}

fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The rows `start..end` of `rows`: user by user, or slot by slot for all users.
fn batch(start: usize, end: usize, rows: usize, users: usize, arrival: bool) -> RecordBatch {
    let slots = rows.div_ceil(users);
    let place = |row: usize| if arrival { (row % users, row / users) } else { (row / slots, row % slots) };
    let at = || (start..end).map(place);
    let id = |row: usize| match arrival {
        true => format!("{:016x}-{:016x}", mixed(row as u64), mixed(!row as u64)),
        false => format!("r-{row:010}"),
    };
    let coded = |codes: Int8Array, values: &[&str]| -> ArrayRef {
        Arc::new(DictionaryArray::new(codes, Arc::new(StringArray::from_iter_values(values))))
    };
    let noise = |row: usize| mixed(row as u64 ^ 77);
    let glucose = |row: usize| 70.0 + (noise(row) % 1_600) as f64 / 10.0;
    let columns: [(&str, ArrayRef); 8] = [
        ("reading_id", Arc::new(StringArray::from_iter_values((start..end).map(id)))),
        ("user_id", Arc::new(StringArray::from_iter_values(at().map(|(user, _)| format!("user-{user:06}"))))),
        ("device_id", Arc::new(StringArray::from_iter_values(at().map(|(user, _)| format!("dexcom-g7-{user:06}"))))),
        (
            "timestamp",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(at().map(|(_, slot)| START + slot as i64 * STEP))
                    .with_timezone("UTC"),
            ),
        ),
        ("glucose_mg_dl", Arc::new(Float64Array::from_iter_values((start..end).map(glucose)))),
        ("country", coded(at().map(|(user, _)| (user % 4) as i8).collect(), &COUNTRIES)),
        ("source", coded((start..end).map(|row| i8::from(noise(row) % 50 == 0)).collect(), &["cgm", "manual"])),
        ("trend", coded((start..end).map(|row| (noise(row) / 64 % 3) as i8).collect(), &["flat", "up", "down"])),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields: Vec<&str> = text.rsplit(')').next().expect("a command").split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().expect("ticks");
    (ticks(11) / 100.0, ticks(12) / 100.0)
}

fn peak_rss() -> String {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc");
    text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned()
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = arguments.first().map_or("sorted", String::as_str);
    let number = |i: usize, default: usize| arguments.get(i).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rows, budget, users) = (number(1, 9_667_990), number(2, 256), number(3, 4_476));
    let folder = tempfile::tempdir()?;
    let store = Store::local(System::real(), folder.path().join("staging"))?;
    let metadata = metadata(format!("file://{}/t", folder.path().display()), kind == "partitions");
    let mut writer = Writer::new(Layout::of(&metadata)?, store, System::real(), Budget::new(budget << 20));
    let (mut user, mut system) = (0.0, 0.0);
    for start in (0..rows).step_by(BATCH) {
        let batch = batch(start, rows.min(start + BATCH), rows, users, kind != "sorted");
        let before = cpu_seconds();
        writer.write(batch)?;
        (user, system) = (user + cpu_seconds().0 - before.0, system + cpu_seconds().1 - before.1);
    }
    let before = cpu_seconds();
    let sealed = writer.seal()?;
    let (seal_user, seal_system) = (cpu_seconds().0 - before.0, cpu_seconds().1 - before.1);
    println!(
        "{kind}: {:.2} M rows/CPU-s (write {user:.2} + {system:.2} s, seal {seal_user:.2} + {seal_system:.2} s, user + \
         system), {} files, {:.1} bytes a row, peak RSS {}",
        rows as f64 / (user + system + seal_user + seal_system) / 1e6,
        sealed.files.len(),
        sealed.bytes as f64 / rows as f64,
        peak_rss(),
    );
    Ok(())
}
