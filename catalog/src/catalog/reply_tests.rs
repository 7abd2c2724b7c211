//! Commits whose transaction fails, before or after it took effect, and when nobody can look.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};

use super::Catalog;
use crate::state::{Database, State};
use crate::store::{Disk, DiskError, Fault, SimulatedDisk, Store};
use crate::system::System;
use crate::table::{Change, CreateTable, Origin, Outcome};

fn catalog() -> (SimulatedDisk, Catalog) {
    let disk = SimulatedDisk::new();
    let system = System { disk: Arc::new(disk.clone()), ..System::real() };
    let store = Store::local(system, "/staging".into()).expect("opens");
    let state = State::open(&Database::Memory).expect("opens").through(disk.wire());
    let catalog = Catalog::over(state, "file:///warehouse".into(), store);
    catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("is made");
    let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
    let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
    let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
    catalog.create_table(&ident(), create, Origin::Daemon).expect("is made");
    (disk, catalog)
}

fn ident() -> TableIdent {
    TableIdent::from_strs(["n", "t"]).expect("valid")
}

fn set(catalog: &Catalog, value: u32) -> Outcome {
    let updates = vec![TableUpdate::SetProperties { updates: [("v".to_string(), value.to_string())].into() }];
    catalog.commit(vec![Change { ident: ident(), requirements: Vec::new(), updates }], Origin::Daemon)
}

fn value(catalog: &Catalog) -> Option<String> {
    catalog.load(&ident()).expect("is there").metadata.properties().get("v").cloned()
}

fn metadata_files(disk: &SimulatedDisk) -> usize {
    let listed = disk.list(Path::new("/warehouse/n/t/metadata")).expect("lists");
    listed.iter().filter(|(name, _)| name.to_string_lossy().ends_with(".metadata.json")).count()
}

#[test]
fn a_lost_reply_is_found_out_by_another_look() {
    for (landed, expected) in [(true, Some("1")), (false, None)] {
        let (disk, catalog) = catalog();
        disk.arm(Fault::Silence { landed, calls: 0 }, 1);
        let outcome = set(&catalog, 1);
        assert!(disk.fired());
        assert_eq!(matches!(outcome, Outcome::Committed(_)), landed, "{outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Refused(_)), !landed, "{outcome:?}");
        assert_eq!(value(&catalog).as_deref(), expected);
        assert_eq!(metadata_files(&disk), 1 + usize::from(landed), "what did not take effect is taken back");
    }
}

#[test]
fn an_outcome_nobody_can_look_up_is_unknown_and_keeps_its_file() {
    for landed in [true, false] {
        let (disk, catalog) = catalog();
        disk.arm(Fault::Silence { landed, calls: u64::MAX }, 1);
        assert!(matches!(set(&catalog, 1), Outcome::Unknown(_)));
        assert_eq!(metadata_files(&disk), 2, "the file of a commit that may have landed stays");
        assert!(matches!(set(&catalog, 2), Outcome::Refused(_)), "while nobody answers, nothing is changed");
        disk.answer();
        assert_eq!(value(&catalog).is_some(), landed);
        assert!(matches!(set(&catalog, 3), Outcome::Committed(_)));
        assert_eq!(value(&catalog).as_deref(), Some("3"));
    }
}

#[test]
fn a_disk_that_fails_at_any_call_leaves_the_table_before_or_after() {
    for error in [DiskError::Io, DiskError::Full] {
        for fault in [Fault::Before(error), Fault::After(error), Fault::Torn(error)] {
            let mut nth = 1;
            loop {
                let (disk, catalog) = catalog();
                disk.arm(fault, nth);
                let committed = match set(&catalog, 1) {
                    Outcome::Committed(_) => true,
                    Outcome::Refused(_) => false,
                    other => panic!("{fault:?} at {nth}: {other:?}"),
                };
                let fired = disk.fired();
                disk.disarm();
                assert_eq!(value(&catalog).is_some(), committed, "{fault:?} at {nth}");
                assert!(matches!(set(&catalog, 2), Outcome::Committed(_)), "{fault:?} at {nth}");
                if !fired {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 1, "{fault:?} never befell anything");
        }
    }
}
