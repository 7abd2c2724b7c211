//! A replacement while records come in.

use std::cell::RefCell;
use std::collections::HashSet;

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use iceberg::{TableIdent, TableUpdate};
use laked_catalog::{Change, Origin};

use super::*;
use crate::commit::Append;
use crate::commit::manifests::read_list;
use crate::commit::tests::{Lake, at, ident, lake};
use crate::history::{INGEST_BRANCH, ancestry};

/// A catalog in which records come in between a look at the table and the change that it leads to.
struct Between<'a> {
    lake: &'a Lake,
    append: RefCell<Option<Append>>,
}

impl Tables for Between<'_> {
    fn current(&self, ident: &TableIdent) -> Result<Current> {
        self.lake.catalog.current(ident)
    }

    fn change(&self, change: Change) -> Answer {
        self.append.take().into_iter().for_each(|append| drop(self.lake.commit(vec![append])));
        self.lake.catalog.change(change)
    }
}

/// Joins all files of `main` to one.
fn joined(lake: &Lake) -> Replacement {
    let Current { metadata, .. } = lake.catalog.current(&ident("data")).expect("is there");
    let snapshot = metadata.current_snapshot().expect("is there");
    let list = read_list(&lake.store, snapshot.manifest_list(), metadata.format_version()).expect("reads");
    let outputs = lake.append("data", 1, None, at(0)).files;
    let part = Part { spec_id: 0, inputs: lake.files("data"), outputs, applied: Vec::new() };
    Replacement {
        ident: ident("data"),
        expect_uuid: metadata.uuid(),
        schema_id: metadata.current_schema_id(),
        base: snapshot.snapshot_id(),
        sequence_number: snapshot.sequence_number(),
        manifests: list.into_iter().map(|manifest| manifest.manifest_path).collect(),
        deletes: HashSet::new(),
        parts: vec![part],
        spent: Vec::new(),
        summary: Vec::new(),
        removes_rows: false,
    }
}

#[test]
fn records_that_come_into_a_branch_meanwhile_hold_it_back_and_main_does_not_part_from_them() {
    for published in [true, false] {
        let lake = lake(&[]);
        let change = |updates| {
            let change = Change { ident: ident("data"), requirements: Vec::new(), updates };
            assert!(matches!(lake.catalog.commit(vec![change], Origin::Rest), Answer::Committed(_)));
        };
        let into = |branch: &str| {
            let updates = [(INGEST_BRANCH.to_string(), branch.to_string())].into();
            change(vec![TableUpdate::SetProperties { updates }]);
        };
        // The branch is there and published, or is made by the records that come in between.
        into(if published { "audit" } else { MAIN_BRANCH });
        let one = lake.commit(vec![lake.append("data", 2, None, at(1))])[0].snapshot_id;
        into("audit");
        let reference = SnapshotReference::new(one, SnapshotRetention::branch(None, None, None));
        change(vec![TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference }]);
        let append = RefCell::new(Some(lake.append("data", 1, Some(at(1)), at(2))));
        let tables = Between { lake: &lake, append };
        let refused = replace(&tables, &lake.store, None, &|_| (), joined(&lake)).expect_err("is held back");
        assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
        assert!(refused.to_string().contains("lakectl publish"), "{refused}");
        let Current { metadata, refs } = lake.catalog.current(&ident("data")).expect("is there");
        let comes_from = ancestry(&metadata, refs["audit"].snapshot_id).any(|snapshot| snapshot.snapshot_id() == one);
        assert!(comes_from && metadata.current_snapshot_id() == Some(one), "published: {published}");
        assert_eq!(lake.on_disk("data"), 3, "and nothing of it is left");
    }
}
