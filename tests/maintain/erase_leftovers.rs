//! What an erase leaves beside the table, or finds there: manifests and names that are values themselves, reports of runs,
//! commits that never ended, folders of dropped tables.

use std::path::PathBuf;
use std::sync::Arc;

use iceberg::spec::TableMetadata;
use laked::commit::{Intent, IntentTable};
use laked::daemon::erasing::counted;
use laked::maintain::erase::{Certificate, ERASE, Request};
use laked::read::{PlannedFile, Source};
use laked_catalog::store::location_of;
use laked_catalog::system::System;
use laked_catalog::{Catalog, Database, Run, RunState, State};
use serde_json::json;

use super::compact::{TABLE, by_part, create, equality, is_sound, manner, positions, rows};
use super::erase::with_bytes;
use crate::read::lake::{Lake, ident};

const PERSON: &str = "zq7-person";
const WHERE: &str = "part = 'zq7-person'";

fn folder(lake: &Lake) -> PathBuf {
    match lake.source() {
        Source::Lake(folder) => folder,
        Source::Daemon(_) => panic!("it is no daemon"),
    }
}

/// Three appends of two partitions, one of which is the person.
fn filled() -> Lake {
    let lake = Lake::new();
    create(&lake, Some(by_part()), false, &[]);
    for start in [0, 10, 20] {
        let numbers: Vec<(i64, i64)> = (start..start + 5).map(|n| (n, n)).collect();
        lake.append(TABLE, vec![rows(PERSON, &numbers), rows("b", &numbers)]);
    }
    lake
}

fn held(certificate: &Certificate) -> String {
    certificate.held.iter().map(|held| format!("{}: {}\n", held.place, held.why)).collect()
}

fn erase_leaves_nothing(lake: &Lake) {
    let others = "select n, id from ns.t where part = 'b' order by n";
    let before = lake.rows(others);
    let done = lake.erase(TABLE, WHERE);
    assert!(done.complete, "{}", held(&done));
    assert_eq!(with_bytes(&folder(lake), PERSON), Vec::<PathBuf>::new());
    assert_eq!(
        (lake.rows(others), lake.rows("select count(*) from ns.t")),
        (before.clone(), vec![before.len().to_string()])
    );
    let metadata: Arc<TableMetadata> = lake.metadata(TABLE);
    for snapshot in done.snapshots_made.iter().filter_map(|id| metadata.snapshot_by_id(*id)) {
        assert_eq!(snapshot.summary().additional_properties.get(ERASE), Some(&done.id), "{snapshot:?}");
    }
    is_sound(lake);
}

fn delete_some(lake: &Lake, name: &str, files: &[PlannedFile]) {
    let delete = |(n, file)| positions(lake, &format!("{name}{n}.parquet"), file, &[1], n % 2 == 0);
    lake.foreign(TABLE, files.iter().enumerate().map(delete).collect());
}

#[test]
fn a_partition_that_is_the_person_is_in_no_manifest() {
    // Deletes by position of both partitions, in one manifest.
    let lake = filled();
    delete_some(&lake, "live", &lake.files(TABLE));
    erase_leaves_nothing(&lake);
    // The same, worked into the files and remembered as gone; and then some of files that are gone.
    let lake = filled();
    let files = lake.files(TABLE);
    delete_some(&lake, "spent", &files);
    lake.compact(TABLE, &manner(2));
    delete_some(&lake, "dangling", &files);
    erase_leaves_nothing(&lake);
    // A delete by value of a column that says nothing of anybody.
    let lake = filled();
    let of = lake.files(TABLE).into_iter().map(|file| file.file.partition().clone());
    let deletes = of.enumerate().map(|(n, partition)| equality(&lake, &format!("e{n}.parquet"), &[3], partition));
    lake.foreign(TABLE, deletes.collect());
    erase_leaves_nothing(&lake);
}

#[test]
fn what_runs_reported_is_forgotten() {
    let lake = filled();
    let run = Run {
        id: "one".into(),
        owner: lake.catalog.warehouse().to_string(),
        table_uuid: String::new(),
        table: ident(TABLE),
        task: "compact".into(),
        state: RunState::Running,
        why: format!("it is tried again: part={PERSON} is damaged"),
        began_ms: 1,
        ended_ms: None,
        deadline_ms: i64::MAX,
        sequence: 0,
        report: json!({}),
    };
    assert!(lake.catalog.begin_run(&run).expect("is written down"));
    let report = json!({ "partitions": [format!("part={PERSON}")] });
    lake.catalog.end_run("one", RunState::Done, &report).expect("is written down");
    assert!(with_bytes(&folder(&lake), PERSON).iter().any(|path| path.to_string_lossy().contains("catalog.db")));
    erase_leaves_nothing(&lake);
    let run = lake.catalog.run("one").expect("is there");
    assert_eq!((run.state, run.report), (RunState::Done, json!({})));
    assert!(run.why.contains("forgotten"), "{}", run.why);
}

#[test]
fn metadata_of_a_commit_that_died_goes_and_what_is_ahead_of_the_table_stays() {
    let lake = filled();
    let table = lake.catalog.load(&ident(TABLE)).expect("is there");
    let (metadata, _) = table.metadata_location.rsplit_once('/').expect("a folder");
    let whole = lake.store.read(&table.metadata_location).expect("reads");
    let put = |name: &str, bytes: &[u8]| {
        let location = format!("{metadata}/{name}.metadata.json");
        lake.store.put(&location, bytes).expect("is written");
        location
    };
    let lost = [put("00002-lost", &whole), put("00003-short", &whole[..20]), put("00001-empty", b"")];
    let kept = [put("00900-ahead", &whole), put("named-by-hand", &whole)];
    let done = lake.erase(TABLE, "part = 'nobody'");
    assert!(done.complete && done.snapshots_made.is_empty(), "{}", held(&done));
    assert!(
        lost.iter().all(|file| lake.store.len(file).is_err()) && kept.iter().all(|file| lake.store.len(file).is_ok())
    );
    is_sound(&lake);
}

#[test]
fn a_commit_that_never_ended_is_told_until_it_is_settled() {
    let lake = filled();
    let metadata = lake.metadata(TABLE);
    let file = format!("{}/data/part={PERSON}/left.parquet", metadata.location());
    let (commit, parent) = (System::real().ids.uuid(), metadata.current_snapshot_id());
    let table = IntentTable { name: vec!["ns".into(), "t".into()], uuid: metadata.uuid(), parent, snapshot: 7 };
    lake.committer.announce(Intent { commit, tables: vec![table], files: vec![file.clone()] }).expect("is announced");
    lake.store.put(&file, b"whatever it holds").expect("is written");
    let done = lake.erase(TABLE, WHERE);
    assert!(!done.complete && held(&done).contains("restart laked"), "{}", held(&done));
    lake.committer.recover().expect("settles");
    let done = lake.erase(TABLE, WHERE);
    assert!(done.complete, "{}", held(&done));
    assert_eq!(with_bytes(&folder(&lake), PERSON), Vec::<PathBuf>::new());
}

#[test]
fn folders_of_dropped_tables_are_told_as_long_as_they_are_there() {
    let lake = filled();
    lake.create("ns.gone", super::compact::schema(), None, &[]);
    let gone = lake.metadata("ns.gone").location().to_string();
    lake.catalog.drop_table(&ident("ns.gone")).expect("is dropped");
    assert!(held(&lake.erase(TABLE, WHERE)).contains("undrop"));
    // Another database, as after a day: it does not know of it.
    let state = State::open(&Database::Memory).expect("opens");
    let warehouse = location_of(&folder(&lake).join("warehouse")).expect("UTF-8");
    let catalog = Catalog::over(state, warehouse, lake.store.clone());
    catalog.create_namespace(ident(TABLE).namespace(), std::collections::BTreeMap::new()).expect("is made");
    let location = lake.catalog.load(&ident(TABLE)).expect("is there").metadata_location.clone();
    catalog.register_table(&ident(TABLE), location).expect("is registered");
    let count = || {
        let request = Request { condition: WHERE.into(), ..Request::default() };
        counted((&catalog, &folder(&lake)), None, &ident(TABLE), &request).expect("counts")
    };
    assert!(held(&count()).contains(&format!("folders of dropped tables: {gone}")), "{}", held(&count()));
    std::fs::remove_dir_all(gone.trim_start_matches("file://")).expect("is removed");
    assert_eq!(held(&count()), "");
}
