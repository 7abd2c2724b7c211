//! The catalog over a real disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};

use super::{Catalog, Settings};
use crate::error::Kind;
use crate::state::Database;
use crate::store::Store;
use crate::store::location_of;
use crate::system::System;
use crate::table::{Change, CreateTable, Origin, Outcome, Table};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};

fn catalog() -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::local(System::real(), folder.path().join("staging")).expect("opens");
    let warehouse = location_of(&folder.path().join("warehouse")).expect("UTF-8");
    let settings = Settings { database: Database::File(folder.path().join("catalog.db")), warehouse };
    let catalog = Catalog::open(settings, store).expect("opens");
    catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("makes");
    (folder, catalog)
}

fn new_table() -> CreateTable {
    let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
    let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
    CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() }
}

fn ident(name: &str) -> TableIdent {
    TableIdent::from_strs(["n", name]).expect("valid")
}

fn set(name: &str, value: u32, requirements: Vec<TableRequirement>) -> Change {
    let updates = vec![TableUpdate::SetProperties { updates: [("v".to_string(), value.to_string())].into() }];
    Change { ident: ident(name), requirements, updates }
}

fn committed(outcome: Outcome) -> Vec<Arc<Table>> {
    match outcome {
        Outcome::Committed(tables) => tables,
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_tables_move_together_or_not_at_all() {
    let (_folder, catalog) = catalog();
    for name in ["a", "b"] {
        catalog.create_table(&ident(name), new_table(), Origin::Daemon).expect("makes");
    }
    let wrong = TableRequirement::UuidMatch { uuid: uuid::Uuid::nil() };
    let outcome = catalog.commit(vec![set("a", 1, vec![]), set("b", 1, vec![wrong])], Origin::Daemon);
    assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
    let value = |name| catalog.load(&ident(name)).expect("loads").metadata.properties().get("v").cloned();
    assert_eq!((value("a"), value("b")), (None, None));
    let tables = committed(catalog.commit(vec![set("b", 2, vec![]), set("a", 2, vec![])], Origin::Daemon));
    assert_eq!(tables.iter().map(|table| table.ident.name()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((value("a"), value("b")), (Some("2".into()), Some("2".into())));
}

#[test]
fn what_was_committed_is_there_after_a_restart_and_the_hint_follows() {
    let (folder, catalog) = catalog();
    catalog.create_table(&ident("a"), new_table(), Origin::Daemon).expect("makes");
    for n in 0..3 {
        let _ = committed(catalog.commit(vec![set("a", n, vec![])], Origin::Daemon));
    }
    let before = catalog.load(&ident("a")).expect("loads");
    let settings = Settings {
        database: Database::File(folder.path().join("catalog.db")),
        warehouse: catalog.warehouse().to_string(),
    };
    let again = Catalog::open(settings, catalog.store().clone()).expect("opens");
    let after = again.load(&ident("a")).expect("loads");
    assert_eq!(after.metadata, before.metadata);
    let name = after.metadata_location.rsplit('/').next().expect("has a name");
    assert!(name.starts_with("00003-"), "{name}");
    let hint = format!("{}/metadata/version-hint.text", after.metadata.location());
    let read = || String::from_utf8(again.store().read(&hint).expect("is there").to_vec()).expect("UTF-8");
    assert_eq!(format!("{}.metadata.json", read()), name);
    again.store().replace(&hint, b"00000-old").expect("replaces");
    again.repair_hints().expect("repairs");
    assert_eq!(format!("{}.metadata.json", read()), name);
}

#[test]
fn a_name_comes_back_but_files_do_not_mix() {
    let (_folder, catalog) = catalog();
    let first = catalog.create_table(&ident("a/b"), new_table(), Origin::Daemon).expect("makes");
    let taken = catalog.create_table(&ident("a/b"), new_table(), Origin::Daemon).expect_err("taken");
    assert_eq!(taken.kind(), Kind::Exists);
    catalog.drop_table(&ident("a/b")).expect("drops");
    let second = catalog.create_table(&ident("a/b"), new_table(), Origin::Daemon).expect("makes");
    assert_ne!(first.metadata.location(), second.metadata.location());
    assert!(first.metadata.location().ends_with("/n/a%2Fb"), "{}", first.metadata.location());
}

#[test]
fn old_metadata_files_are_deleted_after_a_commit() {
    let (_folder, catalog) = catalog();
    let mut create = new_table();
    create.properties.insert("write.metadata.previous-versions-max".into(), "2".into());
    let table = catalog.create_table(&ident("a"), create, Origin::Daemon).expect("makes");
    for n in 0..6 {
        let _ = committed(catalog.commit(vec![set("a", n, vec![])], Origin::Daemon));
    }
    let store = catalog.store().clone();
    let files = || -> usize {
        let found = store.list(&format!("{}/metadata", table.metadata.location())).expect("lists");
        found.iter().filter(|file| file.location.ends_with(".json")).count()
    };
    assert_eq!(files(), 4, "the current one, two before it, and one that goes with the next commit");
    drop(catalog);
    assert_eq!(files(), 3, "or when the catalog is closed");
}

#[test]
fn a_hundred_metadata_files_are_kept_unless_the_table_says_otherwise() {
    let (folder, catalog) = catalog();
    let aside = location_of(&folder.path().join("warehouse/aside")).expect("UTF-8");
    let properties = [
        ("usual", vec![], 102),
        ("aside", vec![("write.metadata.path", aside.as_str())], 102),
        ("all", vec![("write.metadata.delete-after-commit.enabled", "false")], 106),
    ];
    for (name, properties, kept) in properties {
        let mut create = new_table();
        create.properties.extend(properties.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        let mut table = catalog.create_table(&ident(name), create, Origin::Daemon).expect("makes");
        for n in 0..105 {
            table = committed(catalog.commit(vec![set(name, n, vec![])], Origin::Daemon)).remove(0);
        }
        assert_eq!(table.metadata.metadata_log().len(), 100, "{name}");
        let home = table.metadata_location.rsplit_once('/').expect("a folder").0;
        let files = catalog.store().list(home).expect("lists");
        let found = files.iter().filter(|file| file.location.ends_with(".metadata.json")).count();
        assert_eq!(found, kept, "{name}: the current one, those before it, and one that goes with the next commit");
    }
}

/// Clients show these texts, and the compatibility kit compares them.
#[test]
fn refusals_speak_as_the_reference_does() {
    let (_folder, catalog) = catalog();
    for name in ["a", "b"] {
        catalog.create_table(&ident(name), new_table(), Origin::Rest).expect("makes");
    }
    let taken = catalog.create_table(&ident("a"), new_table(), Origin::Rest).expect_err("taken");
    assert_eq!(taken.to_string(), "Table already exists: n.a");
    let taken = catalog.register_view(&ident("a"), "file:///none".into()).expect_err("taken");
    assert_eq!((taken.kind(), taken.to_string().as_str()), (Kind::Exists, "Table with same name already exists: n.a"));
    let taken = catalog.rename_table(&ident("a"), &ident("b")).expect_err("taken");
    assert_eq!(taken.to_string(), "Cannot rename n.a to n.b. Table already exists");
    let lost = catalog.register_table(&ident("c"), "file:///none/0.metadata.json".into()).expect_err("missing");
    assert_eq!(lost.to_string(), "Failed to open input stream for file: file:///none/0.metadata.json");
    assert!(lost.concerns("location"));
}
