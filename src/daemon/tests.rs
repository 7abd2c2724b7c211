//! Lanes that the test runs itself, on a still lake.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use iceberg::{TableIdent, TableUpdate};
use laked_catalog::store::{Disk, Fault, SimulatedDisk};
use laked_catalog::system::{Clock, SimulatedClock, System};
use laked_catalog::{Change, Database, Origin, Outcome, State};

use super::contracts::Looks;
use super::pending::Pending;
use super::progress::LaneState;
use super::{Lake, Lane, Source};
use crate::config::{Age, Commit, Settings};
use crate::contract::{Contract, property};
use crate::flow::{Door, Format, Packing};
use crate::ingest::decode::Input;

const TABLE: &str = "n.t";

/// A contract that takes numbers up to `most`, written to the lake's schemas.
fn contract(folder: &Path, most: u64) -> Contract {
    contract_on(System::real().disk.as_ref(), folder, most)
}

fn contract_on(disk: &dyn Disk, folder: &Path, most: u64) -> Contract {
    let text = format!(
        "[table]\nversion = {most}\nreject_limit = \"100%\"\n\n[fields]\n\
         n = {{ type = \"long\", required = true, range = [0, {most}] }}\n"
    );
    let path = folder.join("schemas/n/t.toml");
    let _ = disk.make_dir(&folder.join("schemas"));
    let _ = disk.make_dir(&folder.join("schemas/n"));
    let _ = disk.remove(&path);
    disk.create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    Contract::parse(&text, "n/t.toml").unwrap()
}

fn open(folder: &Path, system: System) -> Lake {
    open_over(folder, system, None)
}

fn open_over(folder: &Path, system: System, state: Option<State>) -> Lake {
    let commit = Commit { age: Age::seconds(5), age_most: Age::seconds(60), ..Commit::default() };
    let settings =
        Settings { lake: folder.join("lake"), schemas: folder.join("schemas"), commit, ..Settings::default() };
    Lake::still(settings, system, state).unwrap()
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

/// Puts a contract into the table as `lakectl apply` does.
fn apply(lake: &Lake, contract: &Contract) {
    change(lake, contract, Origin::Rest, vec![TableUpdate::SetProperties { updates: contract.stamp().into() }]);
}

fn change(lake: &Lake, contract: &Contract, origin: Origin, updates: Vec<TableUpdate>) {
    let change = Change { ident: contract.ident().clone(), requirements: Vec::new(), updates };
    assert!(matches!(lake.catalog().commit(vec![change], origin), Outcome::Committed(_)));
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
    let doors = lake.table(TABLE).unwrap();
    let waiting = |doors: &super::doors::TableDoors| doors.in_force.status().waiting.map(|waiting| waiting.version);
    assert_eq!((doors.in_force.contract().version, waiting(&doors)), (10, Some(100)), "the table's own is in force");
    apply(&lake, &second);
    assert_eq!((doors.in_force.contract().version, waiting(&doors)), (100, None), "by the commit");
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

#[test]
fn a_table_looked_at_late_does_not_bring_an_older_contract_back() {
    let folder = tempfile::tempdir().unwrap();
    contract(folder.path(), 10);
    let lake = open(folder.path(), System::real());
    let doors = lake.table(TABLE).unwrap();
    let before = lake.catalog().load(&doors.stages.ident).unwrap();
    apply(&lake, &contract(folder.path(), 100));
    lake.force().follow(&before);
    assert_eq!(doors.in_force.contract().version, 100);
}

#[test]
fn a_folder_is_read_once_it_rests_and_what_cannot_be_used_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    contract(folder.path(), 10);
    let lake = open(folder.path(), System::real());
    let mut looks = Looks::default();
    looks.look(&lake);
    let disk = System::real().disk;
    let put = |name: &str, text: &str| {
        let path = folder.path().join("schemas/n").join(name);
        let _ = disk.remove(&path);
        disk.create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    put("fresh.toml", "[fields]\nn = \"long\"\n");
    put("wrong.toml", "[fields]\nn = \"lung\"\n");
    looks.look(&lake);
    assert!(lake.table("n.fresh").is_none() && lake.contracts_told().is_empty(), "it may still be written");
    looks.look(&lake);
    assert!(lake.table("n.fresh").is_some_and(|table| table.push().is_ok()));
    let told = lake.contracts_told();
    assert!(told.len() == 1 && told[0].contains("wrong.toml:2:5: "), "{told:?}");
    put("wrong.toml", "[table]\nname = \"n.t\"\n[fields]\nn = \"long\"\n");
    let first = contract(folder.path(), 10).text().replace("= 10\n", "= 10 \n");
    put("t.toml", &first);
    (0..2).for_each(|_| looks.look(&lake));
    let told = lake.contracts_told();
    assert!(told.len() == 2 && told[0].contains("n.t has a contract already"), "{told:?}");
    assert!(told[1].contains("version 10 was published with another text"), "{told:?}");
    assert_eq!(lake.table(TABLE).unwrap().in_force.contract().version, 10);
    drop(lake);
}

#[test]
fn a_table_that_carries_no_contract_takes_up_the_first_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (contract(folder.path(), 10), contract(folder.path(), 100));
    let lake = open(folder.path(), System::real());
    let names = [property::ID, property::VERSION, property::HASH, property::TEXT].map(str::to_owned).into();
    // As one that somebody else made.
    change(&lake, &first, Origin::Daemon, vec![TableUpdate::RemoveProperties { removals: names }]);
    drop(lake);
    let third = contract(folder.path(), 1000);
    let lake = open(folder.path(), System::real());
    let doors = lake.table(TABLE).unwrap();
    let told = || {
        let status = doors.in_force.status();
        (status.version, status.waiting.map(|waiting| waiting.version))
    };
    assert_eq!(told(), (third.version, None), "the folder's, as long as there is no other");
    apply(&lake, &second);
    assert_eq!(told(), (second.version, Some(third.version)), "what the table says holds, though the folder is ahead");
    apply(&lake, &third);
    assert_eq!(told(), (third.version, None));
}

#[test]
fn a_look_that_fails_is_made_again() {
    let (folder, disk) = (Path::new("/"), SimulatedDisk::new());
    contract_on(&disk, folder, 10);
    let state = State::open(&Database::Memory).unwrap();
    let lake = open_over(folder, System { disk: Arc::new(disk.clone()), ..System::real() }, Some(state));
    let mut looks = Looks::default();
    let mut failed = 0;
    for nth in 1.. {
        let version = contract_on(&disk, folder, 10 * nth + 10).version;
        looks.look(&lake);
        disk.arm(Fault::Unreadable, nth);
        looks.look(&lake);
        let is_over = !disk.fired();
        disk.disarm();
        failed += usize::from(!lake.contracts_told().iter().all(|told| told.contains("is not in force")));
        (0..2).for_each(|_| looks.look(&lake));
        let told = lake.contracts_told();
        assert!(told.len() == 1 && told[0].contains(&format!("version {version} is not in force")), "{nth}: {told:?}");
        if is_over {
            break;
        }
    }
    assert!(failed > 4, "{failed}: folder, lock and file were to fail");
}

#[test]
fn a_table_that_was_only_half_started_is_started_by_the_next_look() {
    let folder = tempfile::tempdir().unwrap();
    contract(folder.path(), 10);
    let lake = open(folder.path(), System::real());
    // Its lanes could not be started.
    lake.table(TABLE).unwrap().runs.wanting.store(true, Ordering::SeqCst);
    let mut looks = Looks::default();
    (0..2).for_each(|_| looks.look(&lake));
    send(&lake, "{\"n\":1}\n");
    lake.drain();
    lake.settled(TABLE).unwrap();
    assert_eq!(history(&lake, "t").len(), 1);
    assert!(!lake.table(TABLE).unwrap().runs.wanting.load(Ordering::SeqCst));
}

#[test]
fn rows_wait_while_the_table_cannot_be_read_that_they_were_judged_for() {
    let folder = tempfile::tempdir().unwrap();
    contract(folder.path(), 10);
    let lake = open(folder.path(), System::real());
    let lane = lane(&lake);
    let begun = || Pending::new(&lane.0.stages, lane.0.lane).unwrap();
    let mut pending = begun();
    // Its contract brings a column, while a commit waits for its first row.
    let next = "[table]\nversion = 100\n\n[fields]\nn = { type = \"long\", required = true }\nm = \"long\"\n";
    let next = Contract::parse(next, "n/t.toml").unwrap();
    let schema = next.iceberg_schema().clone();
    change(
        &lake,
        &next,
        Origin::Rest,
        vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }],
    );
    apply(&lake, &next);
    let column = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let rows = || RecordBatch::try_from_iter([("n", column(1)), ("m", column(2))]).unwrap();
    let elsewhere = TableIdent::from_strs(["n", "elsewhere"]).unwrap();
    lake.catalog().rename_table(next.ident(), &elsewhere).unwrap();
    assert!(pending.rows(rows(), next.hash()).is_err(), "`m` is not taken for a column that was dropped");
    lake.catalog().rename_table(&elsewhere, next.ident()).unwrap();
    let mut pending = begun();
    pending.rows(rows(), next.hash()).unwrap();
    pending.commit().unwrap();
    assert_eq!(history(&lake, "t"), [(next.hash().to_owned(), "1".to_owned())]);
}

#[test]
fn what_maintenance_gives_way_to_are_the_tables_open_at_the_time_but_for_halted_lanes() {
    let folder = tempfile::tempdir().unwrap();
    contract(folder.path(), 10);
    let clock = Arc::new(SimulatedClock::at(1_750_000_000_000));
    let lake = open(folder.path(), System { clock: clock.clone(), ..System::real() });
    let pressure = lake.pressure();
    let fresh = Contract::parse("[fields]\nn = \"long\"\n", "n/fresh.toml").unwrap();
    let doors = lake.open_table(Arc::new(fresh)).unwrap();
    let source = Source {
        name: "test".into(),
        format: Format::Ndjson,
        packing: Packing::Plain,
        input: Input::Stream(Box::new(Cursor::new("{\"n\":1}\n"))),
        key: None,
    };
    lake.ingest("n.fresh", source).unwrap();
    assert_eq!(pressure(), None);
    clock.advance(Duration::from_secs(60));
    assert_eq!(pressure().as_deref(), Some("n.fresh is 60.0 s behind"));
    doors.push_progress.set(LaneState::Halted { reason: "a bad file".into() });
    assert_eq!(pressure(), None, "it waits for somebody, not for maintenance");
    drop(lake);
}
