//! Random histories of appends, deletes of every sort, evolution and compaction, with erasures between: a snapshot that is
//! kept has the rows it had, less nobody; no file of the table has the one who was erased; and who was never there costs
//! nobody a snapshot.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::compact::TABLE;
use super::compact_histories::History;

const HISTORIES: u64 = 12;
const EVENTS: usize = 16;
/// The first id that no row has.
const NOBODY: u64 = 50;

/// Files of the table, data and equality deletes, that have a row with this id.
fn with_id(history: &History, id: i64) -> Vec<String> {
    let location = history.lake.metadata(TABLE).location().to_string();
    let mut found = Vec::new();
    for entry in history.lake.store.list(&location).expect("lists") {
        if !entry.location.ends_with(".parquet") {
            continue;
        }
        let bytes = history.lake.store.read(&entry.location).expect("reads");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("opens").build().expect("reads");
        let has = |batch: arrow::array::RecordBatch| {
            let ids = batch.column_by_name("id").map(|ids| ids.as_primitive::<Int64Type>().clone());
            ids.is_some_and(|ids| ids.values().contains(&id))
        };
        if reader.into_iter().any(|batch| has(batch.expect("rows"))) {
            found.push(entry.location);
        }
    }
    found
}

fn erase(history: &mut History) -> usize {
    let id = history.dice.roll(NOBODY + 2) as i64;
    let before = with_id(history, id);
    let done = history.lake.erase(TABLE, &format!("id = {id}"));
    assert!(done.complete, "{done:?}");
    let live = history.rows.iter().filter(|row| row.id == id).count() as u64;
    assert_eq!(done.removed.get("table").map_or(0, |removed| removed.rows), live, "{done:?}");
    assert_eq!(with_id(history, id), Vec::<String>::new(), "{before:?} had it");
    history.expired.extend(&done.snapshots_expired);
    if id >= NOBODY as i64 {
        assert_eq!((done.snapshots_made, done.snapshots_expired), (Vec::new(), Vec::new()), "who was never there");
        return 0;
    }
    history.rows.retain(|row| row.id != id);
    let kept = history.seen.iter().filter(|(snapshot, _)| !history.expired.contains(snapshot));
    assert!(kept.flat_map(|(_, rows)| rows).all(|row| row.id != id), "a snapshot that is kept has them");
    history.remember();
    usize::from(!before.is_empty())
}

#[test]
fn what_is_left_are_the_rows_of_a_list_less_the_erased() {
    let mut erased = 0;
    for seed in 100..100 + HISTORIES {
        let told = std::panic::catch_unwind(|| {
            let mut history = History::new(seed);
            let mut erased = 0;
            for event in 0..EVENTS {
                history.event();
                if event % 4 == 3 {
                    erased += erase(&mut history);
                    history.holds();
                }
            }
            erased
        });
        erased += told.unwrap_or_else(|_| panic!("seed {seed}: see above"));
    }
    assert!(erased > HISTORIES as usize, "{erased}");
}
