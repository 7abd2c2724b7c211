//! Commits whose metadata file follows them, with each fault at each call, and the power cut afterwards.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};

use super::Catalog;
use crate::hint;
use crate::state::{Database, State};
use crate::store::{Disk, DiskError, Fault, Loss, SimulatedDisk, Store, location_of};
use crate::system::System;
use crate::table::{Change, CreateTable, Origin, Outcome};

fn ident() -> TableIdent {
    TableIdent::from_strs(["n", "t"]).expect("valid")
}

/// A process: its catalog over the disk, and over the state that outlives it.
fn process(disk: &SimulatedDisk, state: &State) -> Catalog {
    let system = System { disk: Arc::new(disk.clone()), ..System::real() };
    let store = Store::local(system, "/staging".into()).expect("opens");
    let catalog = Catalog::over(state.through(disk.wire()), "file:///warehouse".into(), store);
    catalog.repair_hints().expect("starts");
    catalog
}

fn world() -> (SimulatedDisk, State, Catalog) {
    let (disk, state) = (SimulatedDisk::new(), State::open(&Database::Memory).expect("opens"));
    let catalog = process(&disk, &state);
    make(&catalog);
    (disk, state, catalog)
}

fn make(catalog: &Catalog) {
    catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("is made");
    let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
    let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
    let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
    catalog.create_table(&ident(), create, Origin::Rest).expect("is made");
}

fn set(catalog: &Catalog, value: usize) -> Outcome {
    let updates = vec![TableUpdate::SetProperties { updates: [("v".to_string(), value.to_string())].into() }];
    catalog.commit(vec![Change { ident: ident(), requirements: Vec::new(), updates }], Origin::Rest)
}

fn value(catalog: &Catalog) -> usize {
    let table = catalog.load(&ident()).expect("is there");
    table.metadata.properties().get("v").map_or(0, |text| text.parse().expect("a number"))
}

/// What the folder alone says: the value in the file that the hint names, if there is a hint.
fn hinted(disk: &SimulatedDisk) -> Option<usize> {
    let folder = Path::new("/warehouse/n/t/metadata");
    let stem = disk.read(&folder.join("version-hint.text")).ok()?;
    let name = format!("{}.metadata.json", String::from_utf8_lossy(&stem));
    let text = disk.read(&folder.join(name)).expect("the hint names a file that is there");
    let document: serde_json::Value = serde_json::from_slice(&text).expect("the hint names a file that is whole");
    Some(document["properties"]["v"].as_str().map_or(0, |text| text.parse().expect("a number")))
}

/// Commits until the fault has befallen; gives whether it has.
fn play(fault: Fault, nth: u64) -> bool {
    let (disk, state, catalog) = world();
    disk.arm(fault, nth);
    let (mut answered, mut asked) = (0, 0);
    while asked < 4 && !disk.fired() {
        asked += 1;
        match set(&catalog, asked) {
            Outcome::Committed(_) => answered = asked,
            Outcome::Refused(_) | Outcome::Unknown(_) => {}
            Outcome::Conflict(error) => panic!("{fault:?} at {nth}: {error}"),
        }
    }
    let fired = disk.fired();
    disk.disarm();
    disk.answer();
    if !disk.is_dead() {
        let seen = value(&catalog);
        assert!(seen >= answered && seen <= asked, "{fault:?} at {nth}: {seen}, {answered} answered, {asked} asked");
        answered = seen;
    }
    disk.lose_power(Loss::All);
    drop(catalog);
    let disk = disk.restart();
    let catalog = process(&disk, &state);
    let held = value(&catalog);
    assert!(held >= answered && held <= asked, "{fault:?} at {nth}: {held}, {answered} answered, {asked} asked");
    assert_eq!(hinted(&disk), Some(held), "{fault:?} at {nth}: the folder says the same");
    assert_eq!(state.unsynced().expect("reads"), [""; 0], "{fault:?} at {nth}: nothing is kept twice");
    // What the start left needs the database no more.
    disk.lose_power(Loss::All);
    drop(catalog);
    let disk = disk.restart();
    let catalog = process(&disk, &state);
    assert_eq!(value(&catalog), held, "{fault:?} at {nth}");
    assert!(matches!(set(&catalog, asked + 1), Outcome::Committed(_)), "{fault:?} at {nth}: it goes on");
    fired
}

#[test]
fn an_answered_commit_outlives_any_fault_and_the_power_cut_after_it() {
    for fault in Fault::EVERY {
        let mut nth = 1;
        while play(fault, nth) {
            nth += 1;
        }
        assert!(nth > 4, "{fault:?} befell {nth} calls: too few for a commit");
    }
}

#[test]
fn a_file_that_cannot_be_synced_is_written_anew_and_a_table_reads_without_it() {
    let (disk, state, catalog) = world();
    // The calls of a commit: create, write, transaction, sync.
    disk.arm(Fault::Before(DiskError::Io), 4);
    assert!(matches!(set(&catalog, 1), Outcome::Committed(_)));
    assert!(disk.fired());
    assert_eq!(state.unsynced().expect("reads"), [""; 0], "it is durable now");
    assert_eq!(hinted(&disk), Some(1));
    disk.lose_power(Loss::All);
    let disk = disk.restart();
    assert_eq!(value(&process(&disk, &state)), 1);
}

#[test]
fn a_table_reads_from_what_the_database_keeps_where_its_file_is_gone() {
    let (disk, state, catalog) = world();
    disk.arm(Fault::DeathAfter, 3);
    let _ = set(&catalog, 1);
    assert!(disk.fired() && state.unsynced().expect("reads").len() == 1, "it died within the commit, which is kept");
    disk.lose_power(Loss::All);
    drop(catalog);
    let disk = disk.restart();
    let system = System { disk: Arc::new(disk.clone()), ..System::real() };
    let catalog = Catalog::over(state.clone(), "file:///warehouse".into(), Store::read_only(system));
    assert_eq!(value(&catalog), 1, "as lakectl reads a lake whose daemon has not started again");
    let location = catalog.load(&ident()).expect("is there").metadata_location.clone();
    catalog.find_metadata(&location).expect("it is as good as there");
    assert!(catalog.store().len(&location).is_err(), "though its file is gone");
}

#[test]
fn a_table_in_a_hurry_keeps_one_body_and_settles_when_it_is_dropped_or_closed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::local(System::real(), folder.path().join("staging")).expect("opens");
    let warehouse = location_of(&folder.path().join("warehouse")).expect("UTF-8");
    let state = State::open(&Database::File(folder.path().join("catalog.db"))).expect("opens");
    let catalog = Catalog::over(state.clone(), warehouse, store.clone());
    make(&catalog);
    for n in 1..=50 {
        assert!(matches!(set(&catalog, n), Outcome::Committed(_)));
        assert!(state.unsynced().expect("reads").len() <= 1);
    }
    let table = catalog.load(&ident()).expect("is there");
    let named = || {
        let hint = store.read(&format!("{}/metadata/version-hint.text", table.metadata.location())).expect("is there");
        hint::version(&String::from_utf8_lossy(&hint))
    };
    catalog.drop_table(&ident()).expect("drops");
    assert_eq!(state.unsynced().expect("reads"), [""; 0], "what is dropped is durable before");
    catalog.register_table(&ident(), table.metadata_location.clone()).expect("comes back");
    assert!(matches!(set(&catalog, 51), Outcome::Committed(_)));
    drop(catalog);
    assert_eq!((state.unsynced().expect("reads").len(), named()), (0, Some(51)), "so is everything when it is closed");
}
