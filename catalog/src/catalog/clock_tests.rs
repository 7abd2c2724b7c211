//! Every time in metadata is of the clock that the catalog is given.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::spec::{
    FormatVersion, NestedField, Operation, PrimitiveType, Schema, Snapshot, SnapshotReference, SnapshotRetention,
    Summary, Type,
};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};

use super::{Catalog, Settings};
use crate::state::Database;
use crate::store::{SimulatedDisk, Store};
use crate::system::{SimulatedClock, System};
use crate::table::{Change, CreateTable, Origin, Outcome, Table};

const START: i64 = 1_000_000_000_000;

fn catalog() -> (Arc<SimulatedClock>, Catalog) {
    let clock = Arc::new(SimulatedClock::at(START));
    let system = System { disk: Arc::new(SimulatedDisk::new()), clock: clock.clone(), ..System::real() };
    let store = Store::local(system, "/staging".into()).expect("opens");
    let settings = Settings { database: Database::Memory, warehouse: "file:///warehouse".into() };
    let catalog = Catalog::open(settings, store).expect("opens");
    catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("is made");
    (clock, catalog)
}

fn ident(version: FormatVersion) -> TableIdent {
    TableIdent::from_strs(["n", &format!("{version}")]).expect("valid")
}

fn make(catalog: &Catalog, version: FormatVersion) -> Arc<Table> {
    let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
    let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
    let number = (version as u8).to_string();
    let properties = HashMap::from([("format-version".to_string(), number)]);
    let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties };
    catalog.create_table(&ident(version), create, Origin::Daemon).expect("is made")
}

fn commit(catalog: &Catalog, version: FormatVersion, updates: Vec<TableUpdate>) -> Arc<Table> {
    let change = Change { ident: ident(version), requirements: Vec::new(), updates };
    match catalog.commit(vec![change], Origin::Daemon) {
        Outcome::Committed(mut tables) => tables.pop().expect("one"),
        other => panic!("{other:?}"),
    }
}

fn property() -> Vec<TableUpdate> {
    vec![TableUpdate::SetProperties { updates: HashMap::from([("k".into(), "v".into())]) }]
}

fn add(version: FormatVersion, id: i64, time: i64) -> TableUpdate {
    let summary = Summary { operation: Operation::Append, additional_properties: HashMap::new() };
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_sequence_number(if version == FormatVersion::V1 { 0 } else { id })
        .with_timestamp_ms(time)
        .with_manifest_list("file:///warehouse/none")
        .with_summary(summary)
        .with_row_range(0, 0);
    TableUpdate::AddSnapshot { snapshot: snapshot.build() }
}

fn main_at(id: i64) -> TableUpdate {
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    TableUpdate::SetSnapshotRef { ref_name: "main".into(), reference }
}

#[test]
fn times_are_of_the_clock_and_never_run_backwards() {
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        let (clock, catalog) = catalog();
        let updated = |table: &Table| table.metadata.last_updated_ms();
        assert_eq!(updated(&make(&catalog, version)), START);
        clock.set(START + 10);
        let table = commit(&catalog, version, property());
        assert_eq!((updated(&table), table.metadata.metadata_log()[0].timestamp_ms), (START + 10, START));
        let table =
            commit(&catalog, version, vec![add(version, 1, START + 20), main_at(1), add(version, 2, START + 30)]);
        assert_eq!(updated(&table), START + 30);
        clock.set(START + 40);
        let table = commit(&catalog, version, vec![main_at(2)]);
        assert_eq!((updated(&table), table.metadata.history()[1].timestamp_ms), (START + 40, START + 40));
        clock.set(START - 3_600_000);
        let table = commit(&catalog, version, property());
        assert_eq!(updated(&table), START + 40, "a clock that stepped back by an hour");
        assert_eq!(table.metadata.snapshots().len(), 2);
        assert_eq!(table.metadata.history().len(), 2);
        let text: serde_json::Value = serde_json::from_slice(&table.json().expect("text")).expect("JSON");
        assert_eq!(text["last-updated-ms"], START + 40);
    }
}
