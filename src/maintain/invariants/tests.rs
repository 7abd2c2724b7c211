//! The checks over a small lake: silent when all is well, and each says so when it is not.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct, Type,
};
use iceberg::{NamespaceIdent, TableIdent};
use laked_catalog::store::location_of;
use laked_catalog::system::System;
use laked_catalog::{CreateTable, Database, Origin, Settings};

use super::*;
use crate::commit::{Append, Committer, NewFile, Outcome};

/// A lake with one table of two commits; the data files hold four bytes, not Parquet.
fn lake() -> (tempfile::TempDir, Catalog, Store, TableIdent) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = Store::local(System::real(), dir.path().join("staging")).expect("opens");
    let warehouse = location_of(&dir.path().join("warehouse")).expect("UTF-8");
    let settings = Settings { database: Database::Memory, warehouse };
    let catalog = Catalog::open(settings, store.clone()).expect("opens");
    let ident = TableIdent::new(NamespaceIdent::new("ns".into()), "t".into());
    catalog.create_namespace(ident.namespace(), BTreeMap::new()).expect("is made");
    let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields([Arc::new(field)]).build().expect("valid");
    let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
    let table = catalog.create_table(&ident, create, Origin::Daemon).expect("is made");
    let committer = Committer::new(catalog.clone(), store.clone(), dir.path().join("intents")).expect("opens");
    for n in 0..2 {
        let location = format!("{}/data/{n}.parquet", table.metadata.location());
        let mut staged = store.stage(&location).expect("stages");
        staged.write_all(b"rows").expect("is written");
        let data_file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(10)
            .file_size_in_bytes(4)
            .build()
            .expect("whole");
        let append = Append {
            ident: ident.clone(),
            expect_uuid: table.metadata.uuid(),
            schema_id: table.metadata.current_schema_id(),
            spec_id: table.metadata.default_partition_spec_id(),
            files: vec![NewFile { staged, data_file }],
            marks: Vec::new(),
            retire: Vec::new(),
            summary: Vec::new(),
        };
        assert!(matches!(committer.commit(vec![append]).expect("commits"), Outcome::Committed(_)));
    }
    (dir, catalog, store, ident)
}

fn violations(catalog: &Catalog, store: &Store, staging: &Path, depth: Depth) -> Vec<&'static str> {
    let report = doctor(catalog, store, &[], Some(staging), depth).expect("looks");
    report.violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn a_lake_in_order_has_no_violation() {
    let (dir, catalog, store, _) = lake();
    let report = doctor(&catalog, &store, &[], Some(&dir.path().join("staging")), Depth::Shallow).expect("looks");
    assert_eq!((report.tables, report.files, report.violations), (1, 2, Vec::new()));
}

#[test]
fn missing_short_and_broken_files_are_found() {
    let (dir, catalog, store, ident) = lake();
    let staging = dir.path().join("staging");
    assert_eq!(violations(&catalog, &store, &staging, Depth::Deep), ["I3", "I3"], "four bytes are no Parquet");
    let table = catalog.load(&ident).expect("is there");
    let needed = reachable(&table, &Tree::read(&table, &store));
    let gone = format!("{}/data/0.parquet", table.metadata.location());
    store.delete(&gone).expect("deletes");
    assert_eq!(nothing_needed_was_deleted(&table, &store, &needed, &needed).len(), 1);
    assert_eq!(violations(&catalog, &store, &staging, Depth::Shallow), ["I3"]);
    store.put(&gone, b"longer").expect("publishes");
    assert_eq!(violations(&catalog, &store, &staging, Depth::Shallow), ["I3"]);
}

#[test]
fn leftovers_and_open_commits_are_found() {
    let (dir, catalog, store, _) = lake();
    let _held = store.stage("file:///nowhere/x").expect("stages");
    assert_eq!(violations(&catalog, &store, &dir.path().join("staging"), Depth::Shallow), ["I10"]);
    assert_eq!(nothing_unresolved(&["c".to_string()]).len(), 1);
}
