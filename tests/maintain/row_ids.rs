//! Rows of format 3 have ids, and the sequence number of their last change: who writes them anew writes both down.

use std::collections::BTreeMap;

use laked::maintain::compact::Order;

use super::compact::{TABLE, by_part, column, create, is_sound, manner, numbered, rows};
use super::moving::{by_id, evolve};
use crate::read::lake::Lake;

/// Id and sequence number of each row, by its own number; `written` if the files have them as columns.
fn lineage(lake: &Lake, written: bool) -> BTreeMap<i64, (i64, i64)> {
    let mut found = BTreeMap::new();
    for file in lake.files(TABLE) {
        let numbers = column(lake, &file, "n");
        let (ids, sequences) = match (written, file.first_row_id) {
            (true, _) => (column(lake, &file, "_row_id"), column(lake, &file, "_last_updated_sequence_number")),
            (false, first) => {
                let first = first.expect("format 3 gives each file one");
                ((first..).take(numbers.len()).collect(), vec![file.sequence_number; numbers.len()])
            }
        };
        for ((number, id), sequence) in numbers.into_iter().zip(ids).zip(sequences) {
            assert_eq!(found.insert(number, (id, sequence)), None, "{number} is there once");
        }
    }
    found
}

/// Two partitions with three files each; ids and numbers go different ways.
fn lake() -> Lake {
    let lake = Lake::new();
    create(&lake, Some(by_part()), true, &[("format-version", "3")]);
    for file in 0..3 {
        let of = |part: i64| (0..30).map(|n| ((n * 7) % 5, 1_000 * part + 100 * file + n)).collect::<Vec<_>>();
        lake.append(TABLE, vec![rows("a", &of(1)), rows("b", &of(2))]);
    }
    lake
}

#[test]
fn rows_keep_their_ids_when_they_move_to_other_partitions() {
    let lake = lake();
    let before = lineage(&lake, false);
    assert_eq!(before.len(), 180);
    evolve(&lake, by_id());
    assert!(lake.relocate_while(TABLE, &manner(1), || {}).snapshot_id.is_some());
    assert_eq!(lake.files(TABLE).len(), 10, "of each old partition one for each new");
    assert_eq!(lineage(&lake, true), before);
    is_sound(&lake);
}

#[test]
fn rows_keep_their_ids_along_a_curve_and_when_it_is_drawn_again() {
    let lake = lake();
    let before = lineage(&lake, false);
    for columns in [vec![1, 3], vec![3, 1]] {
        let mut along = manner(2);
        along.options.order = Order::ZOrder(columns);
        assert!(lake.compact(TABLE, &along).snapshot_id.is_some());
        assert_eq!(lake.files(TABLE).len(), 2);
        assert_eq!(lineage(&lake, true), before);
    }
    lake.append(TABLE, vec![numbered("a", 5_000..5_010)]);
    assert!(lake.compact(TABLE, &manner(2)).snapshot_id.is_some());
    is_sound(&lake);
}
