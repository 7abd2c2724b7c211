//! Lanes that the test runs itself, on a still lake.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iceberg::TableIdent;
use laked_catalog::system::{Clock, System};

use super::pending::Pending;
use super::{Lake, Lane, Source};
use crate::config::{Age, Commit, Settings};
use crate::contract::{Contract, property};
use crate::flow::{Door, Format, Packing};
use crate::ingest::decode::Input;

const TABLE: &str = "n.t";

/// A contract that takes numbers up to `most`, written to the lake's schemas.
fn contract(folder: &Path, most: u64) -> Contract {
    let text = format!(
        "[table]\nversion = {most}\nreject_limit = \"100%\"\n\n[fields]\n\
         n = {{ type = \"long\", required = true, range = [0, {most}] }}\n"
    );
    let disk = System::real().disk;
    let path = folder.join("schemas/n/t.toml");
    let _ = disk.make_dir(&folder.join("schemas"));
    let _ = disk.make_dir(&folder.join("schemas/n"));
    let _ = disk.remove(&path);
    disk.create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    Contract::parse(&text, "n/t.toml").unwrap()
}

fn open(folder: &Path, system: System) -> Lake {
    let commit = Commit { age: Age::seconds(5), age_most: Age::seconds(60), ..Commit::default() };
    let settings =
        Settings { lake: folder.join("lake"), schemas: folder.join("schemas"), commit, ..Settings::default() };
    Lake::still(settings, system, None).unwrap()
}

fn send(lake: &Lake, lines: &str) {
    let source = Source {
        name: "test".into(),
        format: Format::Ndjson,
        packing: Packing::Plain,
        input: Input::Stream(Box::new(Cursor::new(lines.to_owned()))),
        key: None,
    };
    lake.ingest(TABLE, source).unwrap();
}

fn lane(lake: &Lake) -> Lane {
    lake.lane(TABLE, Door::Push).unwrap()
}

/// The contract that each snapshot names, and the rows it added, oldest first.
fn history(lake: &Lake, table: &str) -> Vec<(String, String)> {
    let table = lake.catalog().load(&TableIdent::from_strs(["n", table]).unwrap()).unwrap();
    let mut snapshots: Vec<_> = table.metadata.snapshots().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let field = |snapshot: &iceberg::spec::Snapshot, name: &str| {
        snapshot.summary().additional_properties.get(name).cloned().unwrap_or_default()
    };
    snapshots.iter().map(|snapshot| (field(snapshot, property::HASH), field(snapshot, "added-records"))).collect()
}

#[test]
fn a_commit_is_of_one_contract_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = contract(folder.path(), 10);
    let lake = open(folder.path(), System::real());
    send(&lake, "{\"n\":1}\n{\"n\":2}\n{\"n\":99}\n");
    drop(lake);
    let second = contract(folder.path(), 100);
    let lake = open(folder.path(), System::real());
    send(&lake, "{\"n\":99}\n{\"n\":999}\n");
    lane(&lake).catch_up().unwrap();
    let named = |contract: &Contract, rows: &str| (contract.hash().to_owned(), rows.to_owned());
    // What was refused when it came stays refused: its sender was told so.
    assert_eq!(history(&lake, "t"), [named(&first, "2"), named(&second, "1")]);
    assert_eq!(history(&lake, "t__rejected"), [named(&first, "1"), named(&second, "1")]);
}

/// A clock on which every look takes a while.
#[derive(Debug, Default)]
struct Slow {
    now_ms: AtomicU64,
    step_ms: AtomicU64,
}

impl Clock for Slow {
    fn now_ms(&self) -> i64 {
        1_750_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.fetch_add(self.step_ms.load(Ordering::Relaxed), Ordering::Relaxed))
    }

    fn pause(&self, _: Duration) {}
}

#[test]
fn rows_wait_as_long_as_commits_take_and_the_figures_say_so() {
    let folder = tempfile::tempdir().unwrap();
    contract(folder.path(), 10);
    let clock = Arc::new(Slow::default());
    let lake = open(folder.path(), System { clock: clock.clone(), ..System::real() });
    let mut lane = lane(&lake);
    let mut commit = |step_ms: u64| {
        send(&lake, "{\"n\":1}\n");
        clock.step_ms.store(step_ms, Ordering::Relaxed);
        lane.catch_up().unwrap();
        clock.step_ms.store(0, Ordering::Relaxed);
        lane.0.progress.status().age_stretch
    };
    assert_eq!(commit(0), 1.0);
    let stretch = commit(20_000);
    assert!(stretch > 1.0, "{stretch}");
    assert_eq!(commit(1_000_000), 12.0, "no further than it may: a minute, for five seconds");
    let mut pending = Pending::new(&lane.0.stages, lane.0.lane).unwrap();
    pending.begin();
    for (waited, due) in [(5, false), (59, false), (60, true)] {
        clock.now_ms.fetch_add(waited * 1000, Ordering::Relaxed);
        assert_eq!(lane.0.is_due(&pending), due, "after {waited} s");
        clock.now_ms.fetch_sub(waited * 1000, Ordering::Relaxed);
    }
}
