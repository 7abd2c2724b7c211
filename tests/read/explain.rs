//! What pruning skips on three years of four countries, written by the write stage itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use laked::contract::shipped;
use laked::read::explain::{Explained, explain};
use laked::read::parse_where;
use laked::read::plan::plan;

use super::lake::Lake;

const TABLE: &str = "glucose.cgm_readings";
const MONTHS: i64 = 36;
const USERS: i64 = 20;

/// A month of readings of a country's users, `each` a user; ids are random, as devices make them.
fn month(country: &str, month: i64, each: i64) -> RecordBatch {
    let start = jiff::civil::date(2023 + (month / 12) as i16, 1 + (month % 12) as i8, 1);
    let start = start.to_zoned(jiff::tz::TimeZone::UTC).expect("a time").timestamp().as_microsecond();
    let rows = || (0..USERS).flat_map(move |user| (0..each).map(move |slot| (user, slot)));
    let text = |of: &dyn Fn(i64, i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from(rows().map(|(user, slot)| of(user, slot)).collect::<Vec<String>>()))
    };
    let noise = |user: i64, slot: i64, salt: i64| {
        let seed =
            (month << 40) ^ (user << 20) ^ slot ^ (salt << 56) ^ country.bytes().map(i64::from).sum::<i64>() << 32;
        (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let times = rows().map(|(user, slot)| {
        let late = if noise(user, slot, 1).is_multiple_of(9) { 1 } else { 0 };
        start + (slot * 300 + late) * 1_000_000
    });
    let glucose = rows().map(|(user, slot)| 70.0 + (noise(user, slot, 2) % 1100) as f64 / 10.0);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("reading_id", text(&|user, slot| format!("{:016x}{:08x}", noise(user, slot, 3), noise(user, slot, 4) as u32))),
        ("user_id", text(&|user, _| format!("u{user:06}"))),
        ("device_id", text(&|user, _| format!("d{:06}", user * 7))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(times.collect::<Vec<i64>>()).with_timezone("UTC"))),
        ("glucose_mg_dl", Arc::new(Float64Array::from(glucose.collect::<Vec<f64>>()))),
        ("country", text(&|_, _| country.to_string())),
        ("source", text(&|_, _| "cgm".to_string())),
        ("trend", text(&|user, slot| ["flat", "up", "down"][(noise(user, slot, 5) % 3) as usize].to_string())),
    ];
    RecordBatch::try_from_iter(columns).expect("fits")
}

fn explained(lake: &Lake, condition: &str, select: &[&str]) -> Explained {
    let metadata = lake.metadata(TABLE);
    let schema = metadata.current_schema();
    let predicate = parse_where(condition, schema).expect("a condition");
    let selected: Vec<i32> = select.iter().map(|name| schema.field_by_name(name).expect("a column").id).collect();
    let plan = plan(&lake.store, &metadata, metadata.current_snapshot(), &predicate, true).expect("plans");
    explain(&lake.store, &metadata, &plan, &predicate, &selected).expect("explains")
}

#[test]
fn one_users_month_skips_nearly_everything() {
    let lake = Lake::new();
    let contract = shipped().into_iter().find(|contract| contract.id() == TABLE).expect("is shipped");
    lake.create_by(&contract, &[("write.target-file-size-bytes", "25000"), ("write.parquet.row-group-limit", "600")]);
    let batches = |country: &'static str, each: i64| (0..MONTHS).map(move |number| month(country, number, each));
    let few = ["JP", "KR", "SG"].into_iter().flat_map(|country| batches(country, 10));
    lake.append(TABLE, few.chain(batches("TW", 600)).collect());
    let condition = "country = 'TW' and timestamp >= '2025-03-01' and timestamp < '2025-04-01' and user_id = 'u000007'";
    let found = explained(&lake, condition, &["timestamp", "glucose_mg_dl"]);
    let [partitions, bounds, groups, columns] = found.steps;
    assert_eq!((partitions.before.partitions, partitions.after.partitions), (144, 1));
    assert!(partitions.skipped.partitions >= 99.3, "{found:#?}");
    assert!(bounds.skipped.files >= 80.0, "{found:#?}");
    assert!(groups.skipped.row_groups >= Some(50.0), "{found:#?}");
    assert!(columns.skipped.bytes >= 75.0, "{found:#?}");
    assert_eq!(found.columns, ["user_id", "timestamp", "glucose_mg_dl"]);
    // What is left is all that is needed.
    let sql = format!("select count(*), count(distinct timestamp) from {TABLE} where {condition}");
    assert_eq!(lake.rows(&sql), ["600,600"]);
}
