use std::time::Duration;

use iceberg::spec::MAIN_BRANCH;

use super::*;
use crate::maintain::expire::{self, expire};
use crate::maintain::histories::History;
use crate::maintain::retention::Asked;

fn all_but_the_current() -> Asked {
    Asked { older_than_ms: Some(0), ..Asked::default() }
}

fn appended(seed: u64, appends: usize) -> History {
    let mut history = History::new(seed, &[]);
    (0..appends).for_each(|_| history.append(MAIN_BRANCH));
    history.clock.advance(Duration::from_secs(60));
    history
}

fn now_ms(history: &History) -> i64 {
    history.store().system().clock.now_ms()
}

#[test]
fn a_row_waits_for_the_commit_that_it_was_written_before() {
    let history = appended(1, 4);
    let (table, now) = (history.table(), now_ms(&history));
    let (asked, mut reach) = (all_but_the_current(), Reach::default());
    let plan = expire::plan(history.store(), &table.metadata, &table.refs, &asked, now, &mut reach).expect("plans");
    let files: Vec<String> = plan.files.into_iter().map(|file| file.location).collect();
    let count = files.len() as u64;
    owe(&history.catalog, &table, Uuid::from_u128(7), now, files).expect("is written down");
    // Somebody looks between the two.
    assert_eq!(unlink_due(&history.catalog, now).expect("looks"), Unlinked::default());
    assert!(history.needed().is_subset(&history.files()));
    history.commit(plan.edit.updates);
    history.clock.advance(Duration::from_secs(61));
    assert_eq!(unlink_due(&history.catalog, now_ms(&history)).expect("unlinks").files, count);
    assert_eq!(history.files(), history.needed());
    assert_eq!(history.catalog.next_owed_ms().expect("is read"), None);
}

#[test]
fn a_row_whose_commit_never_comes_ends() {
    let history = appended(2, 3);
    let (table, now) = (history.table(), now_ms(&history));
    let files: Vec<String> = history.needed().into_iter().collect();
    owe(&history.catalog, &table, Uuid::from_u128(7), now, files.clone()).expect("is written down");
    for _ in 0..60 {
        assert_eq!(unlink_due(&history.catalog, now_ms(&history)).expect("looks"), Unlinked::default());
        history.clock.advance(Duration::from_secs(60));
    }
    let done = unlink_due(&history.catalog, now_ms(&history)).expect("looks");
    assert_eq!((done.files, done.needed), (0, files.len() as u64));
    assert_eq!(history.catalog.next_owed_ms().expect("is read"), None);
    assert!(history.needed().is_subset(&history.files()));
}

#[test]
fn a_failure_of_another_table_is_not_this_ones() {
    let mut history = appended(3, 3);
    let (first, second) = (history.ident.clone(), TableIdent::from_strs(["n", "other"]).expect("a name"));
    history.create(&second, &[]);
    let request = expire::Request { asked: all_but_the_current(), grace_ms: 0, dry_run: false };
    let table = history.table();
    owe(&history.catalog, &table, Uuid::from_u128(7), 0, vec!["file:///lake/x".into()]).expect("is written down");
    let list = table.metadata.current_snapshot().expect("a snapshot").manifest_list().to_string();
    history.store().delete(&list).and_then(|()| history.store().put(&list, b"no list")).expect("is broken");
    history.ident = second.clone();
    (0..3).for_each(|_| history.append(MAIN_BRANCH));
    history.clock.advance(Duration::from_secs(60));
    let report = expire(&history.catalog, &second, &request).expect("expires");
    assert_eq!(report.unlinked.files, 2, "two manifest lists");
    assert!(unlink_of(&history.catalog, table.metadata.uuid(), now_ms(&history), &mut Reach::default()).is_err());
    assert!(expire(&history.catalog, &first, &request).is_err());
}

#[test]
fn what_a_table_reaches_is_read_once_for_many_rows() {
    let mut history = appended(4, 30);
    let mut reach = Reach::default();
    let round = |history: &History, reach: &mut Reach| {
        let table = history.table();
        owe(&history.catalog, &table, Uuid::from_u128(7), 0, vec!["file:///lake/x".into()]).expect("is written down");
        let round = unlink_due_with(&history.catalog, now_ms(history), reach).expect("looks");
        let read = reach.read;
        reach.forget_all_but(round.tables.values().map(|table| table.metadata.as_ref()));
        read
    };
    assert!(round(&history, &mut reach) > 30);
    history.append(MAIN_BRANCH);
    assert!(round(&history, &mut reach) <= 2, "a list and a manifest are new");
}
