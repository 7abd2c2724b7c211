//! Compaction along a curve: rows stay, a condition on either column skips most files, a second run finds nothing to do.

use std::collections::BTreeSet;

use laked::daemon::compaction::{Done, Manner};
use laked::maintain::compact::{Options, Order};
use laked::read::{Predicate, parse_where, plan};

use super::compact::{self, TABLE, create, is_done, is_sound};
use super::{Lake as Served, TABLE as READINGS};
use crate::read::lake::Lake;

const SIDE: i64 = 400;

fn manner(order: Order) -> Manner {
    let options = Options { least_inputs: 2, max_bytes: None, order };
    Manner { options, predicate: Predicate::True, threads: 2, memory: 1 << 20 }
}

/// A square of ids and numbers, scattered; files of a few row groups when they are rewritten.
fn square() -> Lake {
    let lake = Lake::new();
    create(&lake, None, true, &[("write.parquet.row-group-limit", "2000")]);
    let all = SIDE * SIDE;
    // The step and the number of rows have no divisor in common, so that each row comes once.
    let scattered: Vec<(i64, i64)> = (0..all).map(|n| n * 7_919 % all).map(|n| (n / SIDE, n % SIDE)).collect();
    for part in scattered.chunks(scattered.len() / 6) {
        lake.append(TABLE, vec![compact::rows("a", part)]);
    }
    let bytes: u64 = lake.files(TABLE).iter().map(|file| file.file.file_size_in_bytes()).sum();
    lake.set(TABLE, "write.target-file-size-bytes", &(bytes / 32).to_string());
    lake
}

/// The share of files, in percent, that a condition leaves.
fn left(lake: &Lake, condition: &str) -> usize {
    let metadata = lake.metadata(TABLE);
    let predicate = parse_where(condition, metadata.current_schema()).expect("a condition");
    let plan = plan::plan(&lake.store, &metadata, metadata.current_snapshot(), &predicate, true).expect("plans");
    plan.left().count() * 100 / plan.files.len()
}

#[test]
fn rows_along_a_curve_are_skipped_by_either_column_and_are_not_taken_again() {
    let lake = square();
    let sums =
        "select count(*), sum(id * 1009 + n), count(distinct id * 1000 + n), sum(hash(id, n, x) % 1000003) from ns.t";
    let before = lake.rows(sums);
    let (by_id, by_n, by_both) = ("id between 100 and 110", "n between 100 and 110", "id < 30 and n < 30");
    lake.compact(TABLE, &manner(Order::OfTable));
    let sorted = [by_id, by_n, by_both].map(|condition| left(&lake, condition));
    let files = lake.files(TABLE).len();
    assert!(files >= 15 && sorted[0] <= 25 && sorted[1] == 100, "{files} files, {sorted:?}");
    // All are of the right size, and yet to be put along the curve.
    let along = manner(Order::ZOrder(vec![1, 3]));
    let stepped = lake.compact(TABLE, &along);
    let [Done::Replaced { after: [made, rows, _], .. }] = stepped.done[..] else { panic!("{:?}", stepped.done) };
    assert!(made >= 15 && rows == 160_000, "{made} files, {rows} rows");
    let curved = [by_id, by_n, by_both].map(|condition| left(&lake, condition));
    println!("files left of {files}: sorted {sorted:?} %, along the curve {curved:?} %");
    assert!(curved[0] <= 60 && curved[1] <= 60 && curved[2] <= 25, "{curved:?}");
    assert_eq!(lake.rows(sums), before);
    assert_eq!(
        lake.files(TABLE).iter().map(|file| file.file.sort_order_id()).collect::<BTreeSet<_>>(),
        [Some(0)].into()
    );
    is_sound(&lake);
    is_done(&lake, &along);
    // What comes later is small, and joins it; what is on another curve does not count.
    lake.append(TABLE, vec![compact::rows("a", &[(1, 1)])]);
    lake.append(TABLE, vec![compact::rows("a", &[(2, 2)])]);
    assert!(lake.compact(TABLE, &along).snapshot_id.is_some());
    is_done(&lake, &along);
    assert!(lake.compact(TABLE, &manner(Order::ZOrder(vec![3, 1]))).snapshot_id.is_some());
    is_sound(&lake);
}

#[test]
fn the_verb_takes_columns_by_their_names() {
    let lake = Served::new();
    (0..4).for_each(|body| lake.send(body..body + 1));
    let before = lake.numbers();
    let done = lake.json(&["compact", READINGS, "--z-order", "n, at"]);
    assert_eq!((&done["partitions"][0]["z-order"], &done["after"]["files"]), (&serde_json::json!([1, 3]), &2.into()));
    assert_eq!(lake.numbers(), before);
    assert!(lake.lakectl(&["compact", READINGS, "--z-order", "n, at"]).contains("nothing to compact"));
    for (columns, said) in [
        ("n", "two to 4 columns"),
        ("n, n", "each once"),
        ("n, nowhere", "there are n, place, at"),
        ("n, place, at, n, at", "two to 4"),
    ] {
        lake.refuses(&["compact", READINGS, "--z-order", columns], said);
    }
}
