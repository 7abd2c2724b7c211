//! A database lost, a warehouse damaged: what is found again, and what is said of the rest.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};

use super::folder_of;
use crate::catalog::Catalog;
use crate::state::{Database, Sort, State, Swap};
use crate::store::{Store, location_of};
use crate::system::System;
use crate::table::{Change, CreateTable, Origin, Outcome};

struct Place {
    folder: tempfile::TempDir,
    catalog: Catalog,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = over(&folder);
        for namespace in [vec!["n"], vec!["n", "be low"], vec!["other"]] {
            let namespace = NamespaceIdent::from_strs(namespace).expect("valid");
            catalog.create_namespace(&namespace, BTreeMap::new()).expect("makes");
        }
        Place { folder, catalog }
    }

    fn create(&self, ident: &TableIdent) {
        let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
        let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
        let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
        self.catalog.create_table(ident, create, Origin::Rest).expect("makes");
    }

    fn commit(&self, ident: &TableIdent, times: u32) {
        for n in 0..times {
            let updates = vec![TableUpdate::SetProperties { updates: [("v".to_string(), n.to_string())].into() }];
            let change = Change { ident: ident.clone(), requirements: Vec::new(), updates };
            let outcome = self.catalog.commit(vec![change], Origin::Daemon);
            assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
        }
    }

    fn at(&self, ident: &TableIdent) -> String {
        self.catalog.load(ident).expect("loads").metadata_location.clone()
    }

    /// The same warehouse without its database.
    fn lost(&self) -> Catalog {
        over(&self.folder)
    }

    fn kinds(&self) -> Vec<(&'static str, String)> {
        let problems = self.catalog.check().expect("checks");
        problems.into_iter().map(|problem| (problem.kind, problem.subject)).collect()
    }
}

fn over(folder: &tempfile::TempDir) -> Catalog {
    let store = Store::local(System::real(), folder.path().join("staging")).expect("opens");
    let warehouse = location_of(&folder.path().join("warehouse")).expect("UTF-8");
    Catalog::over(State::open(&Database::Memory).expect("opens"), warehouse, store)
}

fn ident<const N: usize>(parts: [&str; N]) -> TableIdent {
    TableIdent::from_strs(parts).expect("valid")
}

/// A later file's name with this number.
fn beside(location: &str, number: u32, name: &str) -> String {
    format!("{}/{number:05}-{name}.metadata.json", folder_of(location))
}

#[test]
fn a_lost_database_is_made_again_with_its_names() {
    let place = Place::new();
    let (plain, nested) = (ident(["n", "pl/ain t"]), ident(["n", "be low", "t"]));
    let (old, new, gone) = (ident(["n", "old"]), ident(["other", "new"]), ident(["n", "gone"]));
    [&plain, &nested, &old, &gone].into_iter().for_each(|ident| place.create(ident));
    place.commit(&plain, 12);
    place.catalog.rename_table(&old, &new).expect("renames");
    place.commit(&new, 1);
    place.catalog.drop_table(&gone).expect("drops");
    place.create(&old);
    assert_eq!(place.kinds(), []);
    let lost = place.lost();
    let dry = lost.rebuild(true).expect("looks");
    assert_eq!(lost.list_namespaces().expect("lists"), []);
    let rebuilt = lost.rebuild(false).expect("rebuilds");
    assert_eq!(dry, rebuilt);
    assert_eq!((rebuilt.found.len(), rebuilt.dropped.len(), rebuilt.problems.len()), (4, 1, 0), "{rebuilt:?}");
    assert!(rebuilt.found.iter().all(|found| found.named));
    for ident in [&plain, &nested, &old, &new] {
        assert_eq!(lost.load(ident).expect("is there again").metadata_location, place.at(ident), "{ident}");
    }
    assert!(lost.load(&gone).is_err(), "what was dropped stays so");
    assert_eq!(lost.check().expect("checks"), []);
    let again = lost.rebuild(false).expect("rebuilds");
    assert_eq!((again.found.len(), again.kept.len()), (0, 4), "what is there is left as it is");
}

#[test]
fn without_what_was_written_down_folders_give_the_names() {
    let place = Place::new();
    place.create(&ident(["n", "be low", "é.x"]));
    std::fs::remove_dir_all(place.folder.path().join("warehouse/.laked")).expect("removes");
    let rebuilt = place.lost().rebuild(true).expect("looks");
    let found = rebuilt.found.first().expect("one");
    assert_eq!((found.namespace.join("/").as_str(), found.name.as_str(), found.named), ("n/be low", "é.x", false));
}

#[test]
fn two_tips_are_reported_and_who_lost_a_swap_is_not_one() {
    let place = Place::new();
    let (one, two) = (ident(["n", "one"]), ident(["n", "two"]));
    [&one, &two].into_iter().for_each(|ident| {
        place.create(ident);
        place.commit(ident, 4);
    });
    let store = place.catalog.store();
    // A file that a crash left of a commit which never took effect, with others after it.
    let text = store.read(&place.at(&one)).expect("reads");
    store.put(&beside(&place.at(&one), 2, "lost"), &text).expect("writes");
    assert_eq!(place.lost().rebuild(true).expect("looks").problems, []);
    // The same at the end of the chain: nobody can say which of the two was last.
    store.put(&beside(&place.at(&two), 4, "torn"), &store.read(&place.at(&two)).expect("reads")).expect("writes");
    let lost = place.lost();
    let rebuilt = lost.rebuild(false).expect("rebuilds");
    assert_eq!(rebuilt.found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["one"]);
    let [problem] = rebuilt.problems.as_slice() else { panic!("{rebuilt:?}") };
    assert_eq!((problem.kind, problem.locations.len()), ("two-tips", 3), "{problem:?}");
    assert!(problem.locations.contains(&format!("hinted: {}", place.at(&two))), "{problem:?}");
    assert!(lost.load(&two).is_err());
}

#[test]
fn a_damaged_last_file_is_not_replaced_by_the_one_before() {
    let place = Place::new();
    let torn = ident(["n", "torn"]);
    place.create(&torn);
    place.commit(&torn, 3);
    let at = place.at(&torn);
    place.catalog.store().replace(&at, b"{\"format-ver").expect("damages");
    let rebuilt = place.lost().rebuild(false).expect("rebuilds");
    let [problem] = rebuilt.problems.as_slice() else { panic!("{rebuilt:?}") };
    assert_eq!(problem.kind, "unreadable");
    assert!(problem.locations.contains(&at), "{problem:?}");
    assert_eq!(rebuilt.found, []);
    assert_eq!(place.kinds(), [("unreadable", "n.torn".to_string())]);
}

#[test]
fn a_check_names_what_does_not_fit() {
    let place = Place::new();
    let names = ["gone", "behind", "alias", "alone"].map(|name| ident(["n", name]));
    let [gone, behind, alias, alone] = &names;
    names.iter().filter(|ident| *ident != alias).for_each(|ident| place.create(ident));
    let (state, store) = (&place.catalog.inner.state, place.catalog.store());
    let old = place.at(behind);
    place.commit(behind, 1);
    let new = place.at(behind);
    let swap = |name: &str, from: Option<&str>, to: &str| {
        let (namespace, name, from) = ("n".to_string(), name.to_string(), from.map(str::to_string));
        let swap = Swap { sort: Sort::Table, namespace, name, from, to: to.to_string(), body: None };
        assert!(state.swap(&[swap]).expect("swaps"));
    };
    swap("behind", Some(&new), &old);
    swap("alias", None, &old);
    store.delete(&place.at(gone)).expect("deletes");
    let folder = folder_of(&place.at(alone)).to_string();
    assert!(state.remove(Sort::Table, "n", "alone").expect("forgets"));
    let mut kinds = place.kinds();
    kinds.retain(|(kind, _)| *kind != "twice");
    let expected = [
        ("behind", "n.alias".to_string()),
        ("behind", "n.behind".to_string()),
        ("missing", "n.gone".to_string()),
        ("unclaimed", folder),
    ];
    assert_eq!(kinds, expected);
    let problems = place.catalog.check().expect("checks");
    let twice = problems.iter().find(|problem| problem.kind == "twice").expect("two names");
    assert_eq!(twice.locations, ["n.alias", "n.behind"]);
}

#[test]
fn names_on_disk_are_repaired_at_the_start() {
    let place = Place::new();
    let (old, gone) = (ident(["n", "old"]), ident(["n", "gone"]));
    [&old, &gone].into_iter().for_each(|ident| place.create(ident));
    // What a crash leaves between the database and the disk.
    let state = &place.catalog.inner.state;
    assert!(state.rename(Sort::Table, ("n", "old"), ("other", "new")).expect("renames"));
    assert!(state.remove(Sort::Table, "n", "gone").expect("removes"));
    place.catalog.repair_hints().expect("repairs");
    let rebuilt = place.lost().rebuild(true).expect("looks");
    assert_eq!(rebuilt.found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(rebuilt.dropped.len(), 1);
}

#[test]
fn the_cache_is_bounded_and_locks_are_let_go() {
    let place = Place::new();
    for n in 0..3000 {
        drop(place.catalog.lock_of(&ident(["n", &format!("t{n}")])));
    }
    let held = place.catalog.lock_of(&ident(["n", "held"]));
    for n in 0..3000 {
        drop(place.catalog.lock_of(&ident(["n", &format!("u{n}")])));
    }
    let locks = place.catalog.inner.locks.lock().expect("not poisoned");
    assert!(locks.len() < 4000, "{}", locks.len());
    assert!(locks.get(&ident(["n", "held"])).is_some_and(|lock| std::sync::Arc::ptr_eq(lock, &held)));
}
