//! What must be true in the end: the invariants, and that each record is where it belongs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use laked::commit::Intents;
use laked::maintain::invariants::{
    Depth, Tree, Violation, exactly_once, files_exist, nothing_needed_was_deleted, nothing_staged, nothing_unresolved,
    reachable, rows_are_in_their_partition, rows_fit_their_contract, sequence_numbers, whole_commits,
};
use laked::read::Predicate;
use laked::read::plan::plan;
use laked_catalog::store::{Disk, Store};
use laked_catalog::{Catalog, Table};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::world::{LAKE, World};

const DATA: &str = "t";
const REJECTED: &str = "t__rejected";

/// What was there before the fault.
#[derive(Default)]
pub struct Before {
    tables: BTreeMap<&'static str, (TableMetadata, BTreeSet<String>)>,
}

/// What a data file holds. Files are the same in many cases and slow to decode, so each content is decoded once.
#[derive(Clone, Default)]
struct Content {
    ids: Vec<String>,
    rows: u64,
    broken: Vec<String>,
}

static CONTENTS: LazyLock<Mutex<HashMap<u64, Content>>> = LazyLock::new(Mutex::default);

/// The lake as somebody else sees it.
struct View {
    catalog: Catalog,
    store: Store,
}

impl View {
    fn of(world: &World) -> View {
        let store = Store::read_only(world.system(world.disk.outside()));
        View { catalog: Catalog::over(world.state.clone(), format!("file://{LAKE}/warehouse"), store.clone()), store }
    }

    fn table(&self, name: &str) -> Option<Arc<Table>> {
        self.catalog.load(&TableIdent::from_strs(["n", name]).expect("a name")).ok()
    }

    /// The files of the current snapshot.
    fn live(&self, table: &Table) -> Vec<String> {
        let snapshot = table.metadata.current_snapshot();
        let scan = plan(&self.store, &table.metadata, snapshot, &Predicate::True, true).expect("plans");
        scan.files.iter().map(|file| file.file.file_path().to_string()).collect()
    }

    fn content(&self, file: &str) -> Content {
        let bytes = self.store.read(file).expect("a live file is there");
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let known = CONTENTS.lock().expect("no panic holds it").get(&hasher.finish()).cloned();
        known.unwrap_or_else(|| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
            let mut content = Content::default();
            reader.expect("is Parquet").for_each(|batch| content.add(&batch.expect("decodes")));
            CONTENTS.lock().expect("no panic holds it").insert(hasher.finish(), content.clone());
            content
        })
    }
}

impl Content {
    /// A record's id is in its column; in quarantine it is within the raw text.
    fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        let texts = |name| batch.column_by_name(name).map(|column| column.as_string::<i32>());
        if let Some(raw) = texts("raw") {
            let id = |text: &str| Some(text.split_once("\"id\":\"")?.1.split_once('"')?.0.to_string());
            self.ids.extend(raw.iter().flatten().map(|text| id(text).expect("a record of ours")));
            return;
        }
        self.ids.extend(texts("id").expect("the column").iter().flatten().map(str::to_string));
        let values = batch.column_by_name("value").expect("the column").as_primitive::<Int64Type>().values();
        let broken = values.iter().filter(|value| !(0..=100).contains(*value));
        self.broken.extend(broken.map(|value| format!("value {value}")));
    }
}

impl Before {
    pub fn of(world: &World) -> Before {
        let view = View::of(world);
        let known = |name: &'static str| {
            let table = view.table(name)?;
            let needed = reachable(&table, &Tree::read(&table, &view.store));
            Some((name, (TableMetadata::clone(&table.metadata), needed)))
        };
        Before { tables: [DATA, REJECTED].into_iter().filter_map(known).collect() }
    }
}

fn none(found: Vec<Violation>) {
    let said: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

/// As many rows as were acknowledged are visible, by what the tables' snapshots state.
pub fn totals(world: &World) {
    let view = View::of(world);
    for (name, wanted) in [(DATA, world.good.len()), (REJECTED, world.bad.len())] {
        let table = view.table(name).expect("is there");
        let snapshot = table.metadata.current_snapshot();
        let total = snapshot.and_then(|s| s.summary().additional_properties.get("total-records").cloned());
        assert_eq!(total.unwrap_or("0".into()), wanted.to_string(), "rows of {name}");
    }
}

/// Of the metadata files beside the tables each is what its table points to, or in its log.
pub fn no_lost_metadata(world: &World) {
    let view = View::of(world);
    for table in [DATA, REJECTED].into_iter().filter_map(|name| view.table(name)) {
        let log = table.metadata.metadata_log().iter().map(|log| log.metadata_file.clone());
        let known: BTreeSet<String> = log.chain([table.metadata_location.clone()]).collect();
        let listed = view.store.list(table.metadata.location()).expect("lists").into_iter().map(|entry| entry.location);
        let lost: Vec<String> =
            listed.filter(|file| file.ends_with(".metadata.json") && !known.contains(file)).collect();
        assert!(lost.is_empty(), "metadata files of commits that failed are left behind: {lost:?}");
    }
}

/// All invariants of a lake that was just opened and has nothing to do.
pub fn all(world: &World, before: &Before) {
    let view = View::of(world);
    let mut ids = Vec::new();
    for name in [DATA, REJECTED] {
        let table = view.table(name).expect("is there");
        let tree = Tree::read(&table, &view.store);
        one(&view, (&table, &tree), before.tables.get(name), world.erased.as_ref());
        ids.push(view.live(&table).iter().flat_map(|file| view.content(file).ids).collect::<Vec<_>>());
    }
    let acknowledged = world.good.iter().chain(&world.bad).cloned();
    none(exactly_once(acknowledged, ids[0].clone(), ids[1].clone()));
    let sorted = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&ids[0]), sorted(&world.good), "the table holds what the contract allows");
    assert_eq!(sorted(&ids[1]), sorted(&world.bad), "quarantine holds what it refuses");
    let disk: Arc<dyn Disk> = Arc::new(world.disk.outside());
    let intents = Intents::open(disk, Path::new(LAKE).join("intents")).expect("opens").pending();
    let open: Vec<String> = intents.iter().map(|intent| intent.commit.to_string()).collect();
    none(nothing_unresolved(&open));
    none(nothing_staged(&view.store, &Path::new(LAKE).join("staging")).expect("can be read"));
}

fn one(
    view: &View,
    (table, tree): (&Table, &Tree),
    before: Option<&(TableMetadata, BTreeSet<String>)>,
    erased: Option<&String>,
) {
    let needed = reachable(table, tree);
    assert!(tree.broken.is_empty(), "I3: {:?}", tree.broken);
    none(whole_commits(table, tree));
    none(files_exist(table, tree, &view.store, Depth::Shallow));
    none(sequence_numbers(table, before.map(|(metadata, _)| metadata)));
    none(rows_are_in_their_partition(table, tree));
    none(rows_fit_their_contract(tree.files.keys().map(String::as_str), |file| view.content(file).broken));
    for (file, live) in &tree.files {
        assert_eq!(view.content(file).rows, live.entry.record_count(), "I3, deep: rows of {file}");
    }
    if let Some((_, needed_before)) = before {
        none(nothing_needed_was_deleted(table, &view.store, needed_before, &needed));
    }
    let listed = view.store.list(table.metadata.location()).expect("lists");
    let stray = |location: &&String| {
        (location.ends_with(".parquet") || location.ends_with(".avro")) && !needed.contains(*location)
    };
    let strays: Vec<&String> = listed.iter().map(|entry| &entry.location).filter(stray).collect();
    assert!(strays.is_empty(), "files of commits that failed are left behind: {strays:?}");
    if let Some(erased) = erased {
        let files = listed.iter().map(|entry| &entry.location).filter(|file| file.ends_with(".parquet"));
        let holding: Vec<&String> = files.filter(|file| view.content(file).ids.contains(erased)).collect();
        assert!(holding.is_empty(), "{erased} was erased, and is in {holding:?}");
    }
}

/// Each request sent once more gets its first answer, and nothing is taken in for it.
pub fn keys_are_remembered(world: &mut World) {
    let pointer = |world: &World| View::of(world).table(DATA).expect("is there").metadata_location.clone();
    let before = pointer(world);
    for number in world.answers.keys().copied().collect::<Vec<_>>() {
        world.push(number).expect("is answered again");
    }
    world.catch_up().expect("has nothing to do");
    assert_eq!(before, pointer(world), "a request that was answered again was taken in again");
}
