//! Moving what has an older partition spec to the table's: every row once, deletes that land meanwhile are kept, bounded
//! steps, killed and asked for again, and overwrites by others in between.

use std::collections::BTreeSet;
use std::sync::mpsc;

use iceberg::TableUpdate;
use iceberg::spec::{Literal, Struct, Transform, UnboundPartitionSpec};
use laked::daemon::compaction::Done;
use serde_json::{Value, json};

use super::compact::{TABLE as PLAIN, by_part, create, equality, is_sound, manner, positions, rows};
use super::{BODY, Lake, TABLE, await_body, produce};
use crate::contracts::Shop;
use crate::kit::daemon::binary;
use crate::read::lake::Lake as Tables;

const ALL: &str = "select n, id, part from ns.t order by n";

fn specs(lake: &Tables) -> BTreeSet<i32> {
    lake.files(PLAIN).iter().map(|file| file.spec_id).collect()
}

/// The table's spec from now on; gives its id.
pub(super) fn evolve(lake: &Tables, spec: UnboundPartitionSpec) -> i32 {
    lake.change(PLAIN, vec![TableUpdate::AddSpec { spec }, TableUpdate::SetDefaultSpec { spec_id: -1 }]);
    lake.metadata(PLAIN).default_partition_spec_id()
}

pub(super) fn by_id() -> UnboundPartitionSpec {
    UnboundPartitionSpec::builder().add_partition_field(1, "id", Transform::Identity).expect("valid").build()
}

/// Two partitions, three files each, of ids 0 to 2, and the table by id from now on.
fn lake() -> Tables {
    let lake = Tables::new();
    create(&lake, Some(by_part()), true, &[]);
    for file in 0..3 {
        let of = |part: i64| (0..30).map(|n| (n % 3, 1_000 * part + 100 * file + n)).collect::<Vec<_>>();
        lake.append(PLAIN, vec![rows("a", &of(1)), rows("b", &of(2))]);
    }
    evolve(&lake, by_id());
    lake
}

#[test]
fn rows_go_to_their_new_partitions_once_with_deletes_worked_in() {
    let lake = lake();
    lake.change(PLAIN, vec![TableUpdate::SetDefaultSpec { spec_id: 0 }]);
    let file = &lake.files(PLAIN)[0];
    let part = Struct::from_iter([Some(Literal::string("b"))]);
    lake.foreign(
        PLAIN,
        vec![positions(&lake, "p.parquet", file, &[0, 5, 7], true), equality(&lake, "e.parquet", &[2], part)],
    );
    lake.change(PLAIN, vec![TableUpdate::SetDefaultSpec { spec_id: 1 }]);
    let before = lake.rows(ALL);
    assert!(before.len() < 180 - 30);
    let sizes: Vec<u64> = lake.files(PLAIN).iter().map(|file| file.file.file_size_in_bytes()).collect();
    let mut manner = manner(1);
    manner.options.max_bytes = Some(sizes[0] * 2 + 100);
    let mut steps = 0;
    while let Some(snapshot) = lake.relocate_while(PLAIN, &manner, || {}).snapshot_id {
        assert_eq!(lake.rows(ALL), before, "after step {steps}, {snapshot}");
        steps += 1;
    }
    assert_eq!((steps, specs(&lake)), (3, BTreeSet::from([1])));
    for file in lake.files(PLAIN) {
        assert_eq!(file.file.sort_order_id(), Some(1));
        assert!(file.file.file_path().contains("/id="), "{}", file.file.file_path());
    }
    assert_eq!(lake.rows("select count(*) from ns.t where id = 1").len(), 1);
    is_sound(&lake);
}

/// What somebody commits while the files are written: the table's spec then, the equality delete's id and its partition.
fn delete_meanwhile(spec_id: i32, partition: Struct) -> (Tables, Vec<String>, Vec<Done>) {
    let lake = lake();
    let none = evolve(&lake, UnboundPartitionSpec::builder().build());
    lake.change(PLAIN, vec![TableUpdate::SetDefaultSpec { spec_id: 1 }]);
    assert_eq!(none, 2);
    let stepped = lake.relocate_while(PLAIN, &manner(1), || {
        lake.change(PLAIN, vec![TableUpdate::SetDefaultSpec { spec_id }]);
        lake.foreign(PLAIN, vec![equality(&lake, "e.parquet", &[2], partition.clone())]);
        lake.change(PLAIN, vec![TableUpdate::SetDefaultSpec { spec_id: 1 }]);
    });
    is_sound(&lake);
    let found = lake.rows("select part, count(*) from ns.t where id = 2 group by 1 order by 1");
    (lake, found, stepped.done)
}

fn is_left(done: &Done) -> bool {
    matches!(done, Done::Left(why) if why.contains("deletes rows of it since"))
}

#[test]
fn a_delete_of_a_partition_that_is_left_keeps_it_from_being_moved() {
    let (lake, found, done) = delete_meanwhile(0, Struct::from_iter([Some(Literal::string("b"))]));
    assert_eq!(found, ["a,30"], "the delete is about b");
    assert_eq!(done.iter().map(is_left).collect::<Vec<_>>(), [false, true]);
    assert_eq!(specs(&lake), BTreeSet::from([0, 1]));
    lake.relocate_while(PLAIN, &manner(1), || {});
    assert_eq!(specs(&lake), BTreeSet::from([1]));
    assert_eq!(lake.rows("select part, count(*) from ns.t where id = 2 group by 1 order by 1"), ["a,30"]);
}

#[test]
fn a_delete_of_a_partition_that_is_entered_does_not_hit_what_comes_there() {
    let (lake, found, done) = delete_meanwhile(1, Struct::from_iter([Some(Literal::long(2))]));
    assert_eq!(found, ["a,30", "b,30"], "the delete is about files of the new spec, and there were none");
    assert!(done.iter().all(is_left), "{done:?}");
    lake.relocate_while(PLAIN, &manner(1), || {});
    assert_eq!(specs(&lake), BTreeSet::from([1]));
    assert_eq!(lake.rows("select part, count(*) from ns.t where id = 2 group by 1 order by 1"), ["a,30", "b,30"]);
}

#[test]
fn a_delete_of_all_partitions_hits_the_rows_where_they_are_now() {
    let (lake, found, done) = delete_meanwhile(2, Struct::empty());
    assert_eq!((found.len(), specs(&lake)), (0, BTreeSet::from([1])), "{found:?}");
    assert!(done.iter().all(|done| !is_left(done)), "{done:?}");
}

fn spec_of(lake: &Lake) -> BTreeSet<i64> {
    let files = lake.json(&["files", TABLE]);
    files.as_array().expect("files").iter().map(|file| file["spec"].as_i64().expect("a spec")).collect()
}

#[test]
fn old_files_are_moved_under_a_producer_in_bounded_steps() {
    let mut lake = Lake::new();
    let url = lake.url().to_owned();
    let (tell, told) = mpsc::channel();
    let producer = std::thread::spawn(move || produce(&url, 0..61, &tell));
    await_body(&told, 12);
    let dry = lake.json(&["evolve-partition", TABLE, "place, month(at)", "--rewrite", "", "--dry-run"]);
    assert!(dry["moved"]["before"]["files"].as_u64() >= Some(4) && dry["moved"]["snapshots"] == json!([]), "{dry}");
    assert_eq!(lake.metadata()["default-spec-id"], 0, "a dry run changes nothing");
    let done =
        lake.json(&["evolve-partition", TABLE, "place, month(at)", "--rewrite", "place = 'TW'", "--max-bytes", "2KiB"]);
    let moved = &done["moved"];
    assert!(moved["snapshots"].as_array().map(Vec::len) >= Some(2), "{done}");
    assert_eq!((&moved["left-out"], &moved["before"]["rows"]), (&json!([]), &moved["after"]["rows"]), "{done}");
    assert_eq!(spec_of(&lake), BTreeSet::from([0, 1]), "JP is where it was");
    assert!(producer.join().is_ok());
    let told = lake.lakectl(&["evolve-partition", TABLE, "place, month(at)", "--rewrite-before", "2027-01-01"]);
    assert!(told.contains(" became "), "{told}");
    let told = lake.lakectl(&["evolve-partition", TABLE, "place, month(at)", "--rewrite-before", "2027-01-01"]);
    assert!(told.contains("no file of another spec is to be moved"), "{told}");
    assert_eq!((lake.numbers(), spec_of(&lake)), ((0..61 * BODY).collect::<Vec<_>>(), BTreeSet::from([1])));
    lake.refuses(&["evolve-partition", TABLE, "place", "--rewrite", "nowhere = 1"], "nowhere");
    lake.refuses(&["evolve-partition", TABLE, "place", "--rewrite-before", "soon"], "timestamptz");
    lake.stop();
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn killed_at_any_call_a_move_goes_on_when_it_is_asked_for_again() {
    let mut lake = Lake::new();
    (0..9).for_each(|body| lake.send(body..body + 1));
    lake.stop();
    let mut deaths = 0;
    for calls in ["rename,renameat2", "fsync,fdatasync", "unlink,unlinkat", "pwrite64"] {
        let mut nth = 1;
        for spec in ["month(at)", "place"].into_iter().cycle() {
            let died =
                lake.dies_at(calls, nth, &["evolve-partition", TABLE, spec, "--rewrite", "", "--max-bytes", "1B"]);
            assert_eq!(lake.numbers(), (0..9 * BODY).collect::<Vec<_>>(), "{calls} {nth}");
            if !died {
                break;
            }
            assert!(nth < 1_000, "it never ends");
            (nth, deaths) = (nth + 1 + nth / 4, deaths + 1);
        }
    }
    assert!(deaths >= 10, "{deaths} deaths");
    lake.lakectl(&["evolve-partition", TABLE, "place, day(at)", "--rewrite", ""]);
    let sole: Value = lake.metadata()["default-spec-id"].clone();
    assert_eq!(
        (lake.numbers(), spec_of(&lake)),
        ((0..9 * BODY).collect(), BTreeSet::from([sole.as_i64().expect("an id")]))
    );
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn overwrites_after_an_evolution_lose_and_double_no_row() {
    let shop = Shop::open();
    let said = shop.run("maintain/overwrite.py", &[binary("lakectl").to_str().expect("UTF-8")]);
    assert!(said.contains("overwrites, "), "{said}");
    assert!(shop.daemon.stop());
}
