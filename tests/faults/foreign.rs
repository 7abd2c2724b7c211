//! A client's changes with every fault at every call: each table is before or after, never between.
//!
//! A client makes tables, commits to one and to two at once, renames, drops; a view comes too. After each answer the
//! catalog is looked at: who was told that it is done finds it done, who was refused finds nothing of it, who was told
//! nothing finds the one or the other, and asks again. In the end the power is cut, the catalog is opened anew and must
//! hold what the client was told; and the database is thrown away, and made again from what lies in the warehouse.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::{
    MAIN_BRANCH, NestedField, Operation, PrimitiveType, Schema, Snapshot, SnapshotReference, SnapshotRetention,
    Summary, Type,
};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};
use laked_catalog::error::{Error, Kind, Result};
use laked_catalog::store::{Fault, Loss, SimulatedDisk, Store};
use laked_catalog::system::{SimulatedClock, SimulatedIds, System};
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Outcome, State};

/// How often a change may fail under a single fault.
const TRIES: usize = 8;

/// A change that a client asks for.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create(&'static str),
    /// A snapshot of that number, its reference and a property, in one commit of each of the tables.
    Commit(&'static [&'static str], u64),
    Rename(&'static str, &'static str),
    Drop(&'static str),
}
use Act::{Commit, Create, Drop, Rename};

/// What comes before the faults.
const BEFORE: [Act; 3] = [Create("a"), Create("b"), Commit(&["a"], 1)];
const ACTS: [Act; 8] = [
    Commit(&["a"], 2),
    Commit(&["a", "b"], 3),
    Create("c"),
    Rename("a", "d"),
    Commit(&["d"], 4),
    Drop("b"),
    Create("b"),
    Commit(&["c", "b"], 5),
];

/// The tables, and the number of the last commit to each.
type Tables = BTreeMap<String, u64>;

impl Act {
    /// What it makes of the tables.
    fn applied(self, before: &Tables) -> Tables {
        let mut after = before.clone();
        match self {
            Create(name) => drop(after.insert(name.into(), 0)),
            Commit(names, number) => after.extend(names.iter().map(|name| ((*name).to_string(), number))),
            Rename(from, to) => {
                let number = after.remove(from).expect("is there");
                after.insert(to.into(), number);
            }
            Drop(name) => drop(after.remove(name)),
        }
        after
    }
}

struct World {
    disk: SimulatedDisk,
    state: State,
    clock: Arc<SimulatedClock>,
    ids: Arc<SimulatedIds>,
    catalog: Option<Catalog>,
    /// What the client takes for true.
    tables: Tables,
}

fn ident(name: &str) -> TableIdent {
    TableIdent::from_strs(["n", name]).expect("a name")
}

fn change(name: &str, number: u64) -> Change {
    let id = i64::try_from(number).expect("is small");
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_sequence_number(id)
        .with_timestamp_ms(1_750_000_000_000 + id)
        .with_manifest_list(format!("file:///warehouse/{name}-{number}.avro"))
        .with_summary(Summary { operation: Operation::Append, additional_properties: [].into() })
        .build();
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference },
        TableUpdate::SetProperties { updates: [("number".to_string(), number.to_string())].into() },
    ];
    Change { ident: ident(name), requirements: Vec::new(), updates }
}

fn table() -> CreateTable {
    let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
    let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
    CreateTable { schema, spec: None, sort_order: None, location: None, properties: [].into() }
}

impl World {
    fn new() -> World {
        let mut world = World {
            disk: SimulatedDisk::new(),
            state: State::open(&Database::Memory).expect("opens"),
            clock: Arc::new(SimulatedClock::at(1_750_000_000_000)),
            ids: Arc::new(SimulatedIds::after(1_750_000_000_000)),
            catalog: None,
            tables: Tables::new(),
        };
        let catalog = world.running().expect("opens");
        catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("is made");
        world.play(&BEFORE);
        world
    }

    fn catalog_over(&self, disk: SimulatedDisk, state: State) -> Result<Catalog> {
        let system = System { clock: self.clock.clone(), ids: self.ids.clone(), disk: Arc::new(disk) };
        let store = Store::local(system, "/staging".into())?;
        Ok(Catalog::over(state, "file:///warehouse".into(), store))
    }

    /// The catalog of a process that runs; started if none does, as the daemon starts it.
    fn running(&mut self) -> Result<Catalog> {
        if self.catalog.is_none() {
            let catalog = self.catalog_over(self.disk.clone(), self.state.through(self.disk.wire()))?;
            catalog.repair_hints()?;
            self.catalog = Some(catalog);
        }
        self.catalog.clone().ok_or_else(|| Error::new(Kind::Internal, "no process"))
    }

    fn restart(&mut self) {
        let next = self.disk.restart();
        self.catalog = None;
        self.disk = next;
    }

    /// What somebody sees who asks the database and reads the files, whatever the process is told.
    fn seen(&self) -> Tables {
        let catalog = self.catalog_over(self.disk.outside(), self.state.clone()).expect("opens");
        let mut tables = Tables::new();
        for ident in catalog.list_tables(&NamespaceIdent::new("n".into())).expect("lists") {
            let table = catalog.load(&ident).unwrap_or_else(|error| panic!("{ident} cannot be loaded: {error}"));
            let number = table.metadata.properties().get("number").map_or(0, |text| text.parse().expect("a number"));
            let current = table.metadata.current_snapshot_id().map_or(0, |id| u64::try_from(id).expect("is small"));
            assert_eq!(number, current, "{ident}: a part of a commit");
            tables.insert(ident.name().into(), number);
        }
        tables
    }

    /// The client asks; `Err` tells how it was answered.
    fn ask(&mut self, act: Act) -> Result<()> {
        let catalog = self.running()?;
        match act {
            Create(name) => catalog.create_table(&ident(name), table(), Origin::Rest).map(drop),
            Rename(from, to) => catalog.rename_table(&ident(from), &ident(to)),
            Drop(name) => catalog.drop_table(&ident(name)),
            Commit(names, number) => {
                let changes = names.iter().map(|name| change(name, number)).collect();
                match catalog.commit(changes, Origin::Rest) {
                    Outcome::Committed(_) => Ok(()),
                    Outcome::Conflict(error) | Outcome::Refused(error) => {
                        assert_ne!(error.kind(), Kind::Unknown, "{error}");
                        Err(error)
                    }
                    Outcome::Unknown(error) => Err(Error::new(Kind::Unknown, error.to_string())),
                }
            }
        }
    }

    /// Asks until it is done, and looks after each answer.
    fn until_done(&mut self, act: Act) {
        let (before, after) = (self.tables.clone(), act.applied(&self.tables));
        for _ in 0..TRIES {
            let told = self.ask(act);
            let seen = self.seen();
            match &told {
                // Nobody hears the answer of a process that died.
                _ if self.disk.is_dead() => assert!(seen == before || seen == after, "{act:?}: {seen:?}"),
                Ok(()) => assert_eq!(seen, after, "{act:?} was told to be done"),
                Err(error) if error.kind() == Kind::Unknown => {
                    assert!(seen == before || seen == after, "{act:?}: {seen:?}");
                }
                Err(error) => assert_eq!(seen, before, "{act:?} was refused: {error}"),
            }
            if self.disk.is_dead() {
                self.restart();
            }
            self.disk.answer();
            if seen == after {
                self.tables = after;
                return;
            }
        }
        panic!("{act:?} does not go through");
    }

    fn play(&mut self, acts: &[Act]) {
        acts.iter().for_each(|act| self.until_done(*act));
    }

    /// After the power was cut, the catalog and its warehouse hold what the client was told.
    fn judge(&mut self, loss: Loss) {
        self.disk.disarm();
        self.disk.lose_power(loss);
        self.restart();
        let catalog = self.running().expect("opens again");
        assert_eq!(self.seen(), self.tables, "after the power was cut");
        // The file of a commit that a crash cut off may be there; it is told, and nothing else is.
        let problems = catalog.check().expect("checks");
        assert!(problems.iter().all(|problem| ["behind", "unclaimed"].contains(&problem.kind)), "{problems:?}");
        let lost = State::open(&Database::Memory).expect("opens");
        let again = self.catalog_over(self.disk.outside(), lost).expect("opens");
        let rebuilt = again.rebuild(false).expect("is made again");
        for (name, number) in &self.tables {
            let told =
                |problem: &laked_catalog::Problem| ["two-tips", "name-taken", "unreadable"].contains(&problem.kind);
            match again.load(&ident(name)) {
                Ok(table) => {
                    let found = table.metadata.current_snapshot_id().unwrap_or(0);
                    assert_eq!(found.unsigned_abs(), *number, "{name} is another one now: {rebuilt:?}");
                }
                Err(_) => assert!(rebuilt.problems.iter().any(told), "{name} is lost in silence: {rebuilt:?}"),
            }
        }
    }
}

/// Plays everything with `fault` at the `nth` call; false if its turn never came.
fn disturbed(fault: Fault, nth: u64) -> bool {
    let told = std::panic::catch_unwind(|| {
        let mut world = World::new();
        world.disk.arm(fault, nth);
        world.play(&ACTS);
        let fired = world.disk.fired();
        world.judge([Loss::All, Loss::Torn, Loss::Bytes][(nth % 3) as usize]);
        fired
    });
    told.unwrap_or_else(|_| panic!("{fault:?} at call {nth}: see above"))
}

#[test]
fn a_table_is_before_or_after_a_change_whatever_fails() {
    let mut cases = 0;
    for fault in Fault::EVERY {
        let fired = (1..).take_while(|nth| disturbed(fault, *nth)).count();
        assert!(fired > 0, "{fault:?} befell nothing");
        cases += fired;
    }
    println!("{cases} cases");
}
