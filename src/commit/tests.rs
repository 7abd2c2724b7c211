//! The protocol against a real catalog in a temporary folder, with foreign writers and faults of the catalog's guard.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, NestedField, Operation, PrimitiveType, Schema, Snapshot,
    SnapshotReference, SnapshotRetention, Struct, Summary, TableMetadata, Type,
};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use laked_catalog::store::{Store, location_of};
use laked_catalog::system::{Clock, System};
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Settings};
use uuid::Uuid;

use super::manifests::{read_list, read_manifest};
use super::*;
use crate::error::Kind;
use crate::flow::{Door, LaneId, Mark};

pub(super) struct Lake {
    dir: tempfile::TempDir,
    pub(super) catalog: Catalog,
    pub(super) store: Store,
    committer: Committer,
    waits: Arc<Mutex<Vec<Duration>>>,
}

pub(super) const LANE: LaneId = LaneId { door: Door::Push, epoch: Uuid::from_u128(7) };

pub(super) fn ident(name: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new("ns".into()), name.into())
}

pub(super) fn lake(properties: &[(&str, &str)]) -> Lake {
    lake_of(System::real(), properties)
}

fn lake_of(system: System, properties: &[(&str, &str)]) -> Lake {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = Store::local(system, dir.path().join("staging")).expect("opens");
    let warehouse = location_of(&dir.path().join("warehouse")).expect("UTF-8");
    let settings = Settings { database: Database::File(dir.path().join("catalog.db")), warehouse };
    let catalog = Catalog::open(settings, store.clone()).expect("opens");
    catalog.create_namespace(&NamespaceIdent::new("ns".into()), BTreeMap::new()).expect("is made");
    for name in ["data", "rejected"] {
        let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([Arc::new(field)]).build().expect("valid");
        let properties: HashMap<String, String> =
            properties.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect();
        let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties };
        catalog.create_table(&ident(name), create, Origin::Daemon).expect("is made");
    }
    let waits = Arc::new(Mutex::new(Vec::new()));
    let seen = waits.clone();
    let wait = Arc::new(move |time| seen.lock().expect("not poisoned").push(time));
    let committer =
        Committer::with_wait(catalog.clone(), store.clone(), dir.path().join("intents"), wait).expect("opens");
    Lake { dir, catalog, store, committer, waits }
}

impl Lake {
    fn metadata(&self, name: &str) -> Arc<TableMetadata> {
        self.catalog.load(&ident(name)).expect("is there").metadata.clone()
    }

    pub(super) fn append(&self, name: &str, files: usize, from: Option<Mark>, to: Mark) -> Append {
        let metadata = self.metadata(name);
        let new_file = |_| {
            let location = format!("{}/data/{}.parquet", metadata.location(), Uuid::from_u128(rand(self)));
            let mut staged = self.store.stage(&location).expect("stages");
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
            NewFile { staged, data_file }
        };
        Append {
            ident: ident(name),
            expect_uuid: metadata.uuid(),
            schema_id: metadata.current_schema_id(),
            spec_id: metadata.default_partition_spec_id(),
            files: (0..files).map(new_file).collect(),
            marks: vec![Advance { lane: LANE, from, to }],
            retire: Vec::new(),
            summary: Vec::new(),
        }
    }

    /// The live files as the manifests tell of them: sequence number, snapshot, rows. Manifests count their entries right.
    fn told(&self, name: &str) -> BTreeMap<String, (Option<i64>, Option<i64>, u64)> {
        let metadata = self.metadata(name);
        let list = metadata.current_snapshot().expect("is there").manifest_list().to_string();
        let mut told = BTreeMap::new();
        for manifest in read_list(&self.store, &list, metadata.format_version()).expect("reads") {
            let read = read_manifest(&self.store, &manifest).expect("reads");
            let counted = manifest.added_files_count.unwrap_or(0) + manifest.existing_files_count.unwrap_or(0);
            assert_eq!(read.entries().len(), counted as usize);
            assert_eq!(self.store.len(&manifest.manifest_path).expect("is there"), manifest.manifest_length as u64);
            for entry in read.entries() {
                let said = (entry.sequence_number(), entry.snapshot_id(), entry.record_count());
                told.insert(entry.file_path().to_string(), said);
                assert!(entry.sequence_number() >= Some(manifest.min_sequence_number));
            }
        }
        told
    }

    pub(super) fn commit(&self, appends: Vec<Append>) -> Vec<crate::flow::Committed> {
        match self.committer.commit(appends).expect("commits") {
            Outcome::Committed(done) => done,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn files(&self, name: &str) -> Vec<String> {
        let metadata = self.metadata(name);
        let Some(snapshot) = metadata.current_snapshot() else { return Vec::new() };
        let list = read_list(&self.store, snapshot.manifest_list(), metadata.format_version()).expect("reads");
        let manifests = list.iter().map(|manifest| read_manifest(&self.store, manifest).expect("reads"));
        manifests
            .flat_map(|manifest| manifest.entries().iter().map(|e| e.file_path().to_string()).collect::<Vec<_>>())
            .collect()
    }

    pub(super) fn on_disk(&self, name: &str) -> usize {
        let listed = self.store.list(&format!("{}/data", self.metadata(name).location())).expect("lists");
        listed.len()
    }
}

fn rand(lake: &Lake) -> u128 {
    lake.store.system().ids.uuid().as_u128()
}

pub(super) fn at(entry: u64) -> Mark {
    Mark { entry, record: 0 }
}

#[test]
fn data_and_quarantine_commit_together_with_their_marks() {
    let lake = lake(&[]);
    let done = lake.commit(vec![lake.append("rejected", 1, None, at(1)), lake.append("data", 3, None, at(1))]);
    assert_eq!(done.iter().map(|d| d.files).collect::<Vec<_>>(), [1, 3], "in the order of the appends");
    for name in ["data", "rejected"] {
        let metadata = lake.metadata(name);
        assert_eq!(marks_of(&metadata).expect("valid").get(&LANE), Some(&at(1)));
        let snapshot = metadata.current_snapshot().expect("is there");
        assert_eq!(snapshot.summary().additional_properties.get(&lane_property(LANE)).map(String::as_str), Some("1:0"));
    }
    assert_eq!(lake.files("data").len(), 3);
    lake.commit(vec![lake.append("data", 2, Some(at(1)), at(2))]);
    let summary = lake.metadata("data").current_snapshot().expect("is there").summary().clone();
    assert_eq!(summary.additional_properties.get("total-records").map(String::as_str), Some("50"));
    assert_eq!(summary.additional_properties.get("added-data-files").map(String::as_str), Some("2"));
    assert!(lake.committer.pending().is_empty());
}

#[test]
fn a_branch_takes_the_rows_and_begins_anew_where_main_is() {
    let lake = lake(&[(crate::history::INGEST_BRANCH, "audit")]);
    let refs = || lake.catalog.load(&ident("data")).expect("is there").refs.clone();
    let main = |id: i64| {
        let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
        let updates = vec![TableUpdate::SetSnapshotRef { ref_name: "main".into(), reference }];
        let change = Change { ident: ident("data"), requirements: Vec::new(), updates };
        assert!(matches!(lake.catalog.commit(vec![change], Origin::Rest), laked_catalog::Outcome::Committed(_)));
    };
    let parent = |id: i64| lake.metadata("data").snapshot_by_id(id).expect("is kept").parent_snapshot_id();
    let one = lake.commit(vec![lake.append("data", 1, None, at(1))])[0].snapshot_id;
    assert_eq!((refs()["audit"].snapshot_id, lake.metadata("data").current_snapshot_id()), (one, None));
    assert_eq!(marks_of(&lake.metadata("data")).expect("valid").get(&LANE), Some(&at(1)));
    main(one);
    let two = lake.commit(vec![lake.append("data", 2, Some(at(1)), at(2))])[0].snapshot_id;
    assert_eq!((parent(two), lake.metadata("data").current_snapshot_id()), (Some(one), Some(one)));
    let three = lake.commit(vec![lake.append("data", 1, Some(at(2)), at(3))])[0].snapshot_id;
    assert_eq!((parent(three), lake.files("data").len()), (Some(two), 1));
    // Main goes on by itself, from where it was published.
    main(three);
    assert_eq!(lake.files("data").len(), 4);
    let metadata = lake.metadata("data");
    let list = metadata.current_snapshot().expect("is there").manifest_list().to_string();
    let foreign = Snapshot::builder()
        .with_snapshot_id(99)
        .with_parent_snapshot_id(Some(three))
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(list)
        .with_summary(Summary { operation: Operation::Replace, additional_properties: HashMap::new() })
        .with_schema_id(metadata.current_schema_id())
        .build();
    let change = Change {
        ident: ident("data"),
        requirements: Vec::new(),
        updates: vec![TableUpdate::AddSnapshot { snapshot: foreign }],
    };
    assert!(matches!(lake.catalog.commit(vec![change], Origin::Rest), laked_catalog::Outcome::Committed(_)));
    main(99);
    let four = lake.commit(vec![lake.append("data", 1, Some(at(3)), at(4))])[0].snapshot_id;
    assert_eq!((parent(four), refs()["audit"].snapshot_id), (Some(99), four));
}

#[test]
fn a_tag_takes_no_rows() {
    let lake = lake(&[(crate::history::INGEST_BRANCH, "v1")]);
    let one = lake.commit(vec![lake.append("rejected", 1, None, at(1))])[0].snapshot_id;
    let reference = SnapshotReference::new(one, SnapshotRetention::Tag { max_ref_age_ms: None });
    let updates = vec![
        TableUpdate::RemoveSnapshotRef { ref_name: "v1".into() },
        TableUpdate::SetSnapshotRef { ref_name: "v1".into(), reference },
    ];
    let change = Change { ident: ident("rejected"), requirements: Vec::new(), updates };
    assert!(matches!(lake.catalog.commit(vec![change], Origin::Rest), laked_catalog::Outcome::Committed(_)));
    let refused = lake.committer.commit(vec![lake.append("rejected", 1, Some(at(1)), at(2))]);
    assert_eq!(refused.expect_err("a tag stays").kind(), Kind::Invalid);
    assert!(lake.committer.pending().is_empty());
}

#[test]
fn an_empty_commit_moves_the_mark() {
    let lake = lake(&[]);
    lake.commit(vec![lake.append("data", 0, None, at(5))]);
    assert_eq!(marks_of(&lake.metadata("data")).expect("valid").get(&LANE), Some(&at(5)));
    assert!(lake.files("data").is_empty());
}

#[test]
fn a_mark_that_moved_gives_the_rows_back_and_leaves_no_file() {
    let lake = lake(&[]);
    lake.commit(vec![lake.append("data", 1, None, at(1))]);
    let late = lake.append("data", 1, None, at(1));
    match lake.committer.commit(vec![late]).expect("answers") {
        Outcome::Moved(marks) => assert_eq!(marks[0].1.get(&LANE), Some(&at(1))),
        other => panic!("{other:?}"),
    }
    assert_eq!(lake.on_disk("data"), 1);
    assert!(lake.store.disk().list(&lake.dir.path().join("staging")).expect("lists").is_empty());
}

/// Changes a table between the committer's look and its commit, as another engine would.
#[derive(Debug)]
struct Meddler {
    left: Mutex<u32>,
    answer: Kind,
}

impl laked_catalog::Guard for Meddler {
    fn check(&self, _: &laked_catalog::Proposal<'_>) -> crate::error::Result<()> {
        let mut left = self.left.lock().expect("not poisoned");
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(crate::error::Error::new(self.answer, "as if somebody had been faster"))
    }
}

#[test]
fn a_conflict_is_rebased_with_growing_waits_and_its_leftovers_are_deleted() {
    let lake = lake(&[]);
    lake.catalog.guard(Arc::new(Meddler { left: Mutex::new(2), answer: Kind::Conflict }));
    lake.commit(vec![lake.append("data", 2, None, at(1))]);
    let waits: Vec<u128> = lake.waits.lock().expect("not poisoned").iter().map(Duration::as_millis).collect();
    assert_eq!(waits, [100, 200]);
    let folder = format!("{}/metadata", lake.metadata("data").location());
    let left = lake.store.list(&folder).expect("lists");
    let avro = left.iter().filter(|entry| entry.location.ends_with(".avro")).count();
    assert_eq!(avro, 2, "one manifest and one list: {left:?}");
    assert!(lake.committer.pending().is_empty());
}

/// A clock that stands still: a turn lasts until it is over, however slow the machine.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now_ms(&self) -> i64 {
        1_750_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn pause(&self, _: Duration) {
        std::thread::park();
    }
}

/// A client in a loop without pauses, whose commits are shorter than ours: with one try more than the first, ours would
/// not all get through if the loser had no turn.
#[test]
fn a_fast_client_does_not_keep_a_commit_from_its_second_try() {
    let lake = lake_of(System { clock: Arc::new(Still), ..System::real() }, &[("commit.retry.num-retries", "1")]);
    lake.commit(vec![lake.append("data", 1, None, at(1))]);
    let (catalog, stop) = (lake.catalog.clone(), AtomicBool::new(false));
    let made = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            (1..).take_while(|_| !stop.load(Ordering::SeqCst)).filter(|id| foreign_append(&catalog, *id)).count()
        });
        let next = |n| lake.committer.commit(vec![lake.append("data", 1, Some(at(n)), at(n + 1))]);
        let ended: Vec<_> = (1..=20).map(next).collect();
        stop.store(true, Ordering::SeqCst);
        for outcome in ended {
            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        }
        client.join().expect("it ends")
    });
    assert!(made > 0, "the client gets through as well");
}

/// An append of nothing by REST, under the requirement that `main` is where it was; whether it got through.
fn foreign_append(catalog: &Catalog, id: i64) -> bool {
    let table = catalog.load(&ident("data")).expect("is there");
    let parent = table.metadata.current_snapshot().expect("has one");
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(Some(parent.snapshot_id()))
        .with_sequence_number(table.metadata.last_sequence_number() + 1)
        .with_timestamp_ms(table.metadata.last_updated_ms() + 1)
        .with_manifest_list(parent.manifest_list())
        .with_summary(Summary { operation: Operation::Append, additional_properties: HashMap::new() })
        .with_schema_id(table.metadata.current_schema_id())
        .build();
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    let updates =
        vec![TableUpdate::AddSnapshot { snapshot }, TableUpdate::SetSnapshotRef { ref_name: "main".into(), reference }];
    let at = TableRequirement::RefSnapshotIdMatch { r#ref: "main".into(), snapshot_id: Some(parent.snapshot_id()) };
    let change = Change { ident: ident("data"), requirements: vec![at], updates };
    matches!(catalog.commit(vec![change], Origin::Rest), laked_catalog::Outcome::Committed(_))
}

#[test]
fn a_commit_that_is_refused_or_never_wins_leaves_no_file() {
    for (answer, kind) in [(Kind::Forbidden, Kind::Forbidden), (Kind::Conflict, Kind::Conflict)] {
        let lake = lake(&[]);
        lake.catalog.guard(Arc::new(Meddler { left: Mutex::new(u32::MAX), answer }));
        let error = lake.committer.commit(vec![lake.append("data", 2, None, at(1))]).expect_err("is refused");
        assert_eq!(error.kind(), kind);
        assert_eq!(lake.on_disk("data"), 0);
        assert!(lake.committer.pending().is_empty());
    }
}

#[test]
fn a_column_that_became_required_asks_for_a_rewrite() {
    let lake = lake(&[]);
    let append = lake.append("data", 1, None, at(1));
    let schema = Schema::builder()
        .with_schema_id(1)
        .with_fields([
            Arc::new(NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long))),
            Arc::new(NestedField::required(2, "more", Type::Primitive(PrimitiveType::Long))),
        ])
        .build()
        .expect("valid");
    let updates = vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }];
    let change = Change { ident: ident("data"), requirements: Vec::new(), updates };
    assert!(matches!(lake.catalog.commit(vec![change], Origin::Rest), laked_catalog::Outcome::Committed(_)));
    assert!(matches!(lake.committer.commit(vec![append]).expect("answers"), Outcome::Rewrite(_)));
    assert_eq!(lake.on_disk("data"), 0);
}

#[test]
fn small_manifests_are_joined_and_every_file_stays_listed_once() {
    let lake = lake(&[("commit.manifest.min-count-to-merge", "5")]);
    let mut from = None;
    for n in 1..=12 {
        lake.commit(vec![lake.append("data", 2, from, at(n))]);
        from = Some(at(n));
    }
    let mut files = lake.files("data");
    assert_eq!(files.len(), 24);
    files.sort();
    files.dedup();
    assert_eq!(files.len(), 24);
    let metadata = lake.metadata("data");
    let list = metadata.current_snapshot().expect("is there").manifest_list().to_string();
    let manifests = read_list(&lake.store, &list, metadata.format_version()).expect("reads");
    assert!(manifests.len() <= 5, "{}", manifests.len());
    assert!(manifests.iter().all(|manifest| manifest.min_sequence_number >= 1));
}

/// Tiers of five: by the end entries have been joined three times, over a restart and a change of the schema.
#[test]
fn a_joined_manifest_says_of_each_file_what_was_said_before() {
    let mut lake = lake(&[("commit.manifest.min-count-to-merge", "5")]);
    let (mut from, mut told) = (None, BTreeMap::new());
    for n in 1..=260 {
        if n == 100 {
            let folder = lake.dir.path().join("intents");
            lake.committer = Committer::new(lake.catalog.clone(), lake.store.clone(), folder).expect("opens");
        }
        if n == 150 {
            let field =
                |id, name: &str| Arc::new(NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long)));
            let fields =
                [Arc::new(NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long))), field(2, "more")];
            let schema = Schema::builder().with_fields(fields).build().expect("valid");
            let updates = vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }];
            let change = Change { ident: ident("data"), requirements: Vec::new(), updates };
            assert!(matches!(lake.catalog.commit(vec![change], Origin::Rest), laked_catalog::Outcome::Committed(_)));
        }
        if n % 7 == 0 {
            // Another metadata file of the same snapshot, as an expiry leaves it.
            let updates = vec![TableUpdate::SetProperties { updates: HashMap::from([("n".into(), n.to_string())]) }];
            let change = Change { ident: ident("data"), requirements: Vec::new(), updates };
            assert!(matches!(lake.catalog.commit(vec![change], Origin::Rest), laked_catalog::Outcome::Committed(_)));
        }
        lake.commit(vec![lake.append("data", 1, from, at(n))]);
        from = Some(at(n));
        if n % 10 == 0 {
            let now = lake.told("data");
            assert_eq!(now.len() as u64, n, "each file is listed once");
            assert!(told.iter().all(|(file, said)| now.get(file) == Some(said)), "after {n} commits");
            told = now;
        }
    }
    let metadata = lake.metadata("data");
    let list = metadata.current_snapshot().expect("is there").manifest_list().to_string();
    let manifests = read_list(&lake.store, &list, metadata.format_version()).expect("reads");
    assert!(manifests.len() <= 16, "{}", manifests.len());
    let most = manifests.iter().filter_map(|manifest| manifest.existing_files_count).max();
    assert_eq!(most, Some(125), "five times, five times five");
}

#[test]
fn recovery_removes_what_did_not_land_and_keeps_what_did() {
    let lake = lake(&[]);
    lake.commit(vec![lake.append("data", 1, None, at(1))]);
    let metadata = lake.metadata("data");
    let used = lake.files("data");
    let snapshot = metadata.current_snapshot().expect("is there");
    let table = |snapshot, parent| IntentTable {
        name: vec!["ns".into(), "data".into()],
        uuid: metadata.uuid(),
        parent,
        snapshot,
    };
    let id = &snapshot.summary().additional_properties[COMMIT_ID];
    let landed = Uuid::parse_str(id).expect("a UUID");
    let stray = format!("{}/data/stray.parquet", metadata.location());
    lake.store.put(&stray, b"x").expect("publishes");
    let intents = Intents::open(lake.store.disk().clone(), lake.dir.path().join("intents")).expect("opens");
    let begin = |commit, tables, files| intents.begin(Intent { commit, tables, files }).expect("is written");
    begin(landed, vec![table(snapshot.snapshot_id(), None)], used.clone());
    begin(Uuid::from_u128(2), vec![table(2, None)], vec![stray.clone(), used[0].clone()]);
    drop(intents);
    let again =
        Committer::new(lake.catalog.clone(), lake.store.clone(), lake.dir.path().join("intents")).expect("opens");
    let recovered = again.recover().expect("recovers");
    assert_eq!(recovered.committed, [landed]);
    assert_eq!(recovered.removed, [Uuid::from_u128(2)]);
    assert!(lake.store.len(&used[0]).is_ok(), "a file that a snapshot reaches stays");
    assert_eq!(lake.store.len(&stray).expect_err("is gone").kind(), Kind::NotFound);
    assert_eq!(again.recover().expect("recovers"), Recovered::default());
}

#[test]
fn standings_at_open() {
    let lake = lake(&[]);
    let metadata = lake.metadata("data");
    let judge = |mark, oldest, end| standing(&metadata, metadata.uuid(), mark, oldest, end);
    assert_eq!(judge(None, 0, 4), Standing::Fresh);
    assert_eq!(judge(Some(at(2)), 1, 4), Standing::Continue(at(2)));
    assert_eq!(judge(Some(at(4)), 1, 4), Standing::Continue(at(4)));
    assert_eq!(judge(Some(at(5)), 1, 4), Standing::NewEpoch { mark: at(5), end: 4 });
    assert_eq!(judge(Some(at(0)), 1, 4), Standing::Gap { mark: Some(at(0)), oldest: 1 });
    assert_eq!(judge(None, 3, 4), Standing::Gap { mark: None, oldest: 3 });
    let other = Uuid::from_u128(1);
    assert!(matches!(standing(&metadata, other, None, 0, 0), Standing::OtherTable { .. }));
}

#[test]
fn foreign_edits_of_marks_are_refused() {
    let lake = lake(&[]);
    lake.commit(vec![lake.append("data", 0, None, at(5))]);
    let before = lake.metadata("data");
    assert!(guard_marks(Some(&before), &before).is_ok());
    let edited = |builder: iceberg::Result<iceberg::spec::TableMetadataBuilder>| {
        builder.and_then(|builder| builder.build()).expect("builds").metadata
    };
    let builder = || TableMetadata::clone(&before).into_builder(None);
    let lost = edited(builder().remove_properties(&[lane_property(LANE)]));
    let moved = edited(builder().set_properties(HashMap::from([(lane_property(LANE), "9:0".to_string())])));
    let other = edited(builder().set_properties(HashMap::from([("owner".to_string(), "me".to_string())])));
    assert_eq!(guard_marks(Some(&before), &lost).expect_err("refuses").kind(), Kind::Forbidden);
    assert_eq!(guard_marks(Some(&before), &moved).expect_err("refuses").kind(), Kind::Forbidden);
    assert!(guard_marks(Some(&before), &other).is_ok());
    assert!(guard_marks(None, &before).is_err(), "a table is not registered with marks");
}
