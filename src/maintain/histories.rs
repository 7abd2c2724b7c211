//! Random histories of a table, for the tests of plans that remove files, and a model of what its snapshots reach that
//! knows nothing of how the plans find out.
//!
//! The files are real (manifests and lists by the `iceberg` crate, on a simulated disk, in a catalog of its own), the
//! data files hold a byte each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, MAIN_BRANCH, ManifestFile, ManifestListWriter,
    ManifestWriterBuilder, NestedField, Operation, PrimitiveType, Schema, Snapshot, SnapshotReference,
    SnapshotRetention, StatisticsFile, Struct, Summary, Type,
};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};
use laked_catalog::store::{SimulatedDisk, Store};
use laked_catalog::system::{SimulatedClock, SimulatedIds, System};
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Outcome, State, Table};

/// A data file and the snapshot and sequence number that added it.
type Live = (DataFile, i64, i64);

/// What a snapshot reaches.
#[derive(Clone, Default)]
pub struct Model {
    list: String,
    manifests: Vec<(ManifestFile, Vec<Live>)>,
    statistics: Option<String>,
}

impl Model {
    /// Its manifests.
    pub fn manifests(&self) -> impl Iterator<Item = &str> {
        self.manifests.iter().map(|(manifest, _)| manifest.manifest_path.as_str())
    }

    /// All its files.
    pub fn files(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::from([self.list.clone()]);
        all.extend(self.statistics.clone());
        for (manifest, live) in &self.manifests {
            all.insert(manifest.manifest_path.clone());
            all.extend(live.iter().map(|(file, ..)| file.file_path().to_string()));
        }
        all
    }
}

/// A table with a past.
pub struct History {
    pub catalog: Catalog,
    pub clock: Arc<SimulatedClock>,
    pub disk: SimulatedDisk,
    pub ident: TableIdent,
    /// What each snapshot that ever was reaches.
    pub model: BTreeMap<i64, Model>,
    random: u64,
    count: i64,
}

pub const START_MS: i64 = 1_750_000_000_000;

impl History {
    /// An empty table `n.t`, with these properties.
    pub fn new(seed: u64, properties: &[(&str, &str)]) -> History {
        let clock = Arc::new(SimulatedClock::at(START_MS));
        let ids = Arc::new(SimulatedIds::after(START_MS.unsigned_abs()));
        let disk = SimulatedDisk::new();
        let system = System { clock: clock.clone(), ids, disk: Arc::new(disk.clone()) };
        let store = Store::local(system, PathBuf::from("/lake/staging")).expect("opens");
        let state = State::open(&Database::Memory).expect("opens");
        let catalog = Catalog::over(state, "file:///lake/warehouse".into(), store);
        let namespace = NamespaceIdent::new("n".into());
        catalog.create_namespace(&namespace, BTreeMap::new()).expect("is made");
        let ident = TableIdent::new(namespace, "t".into());
        let history = History { catalog, clock, disk, ident, model: BTreeMap::new(), random: seed, count: 0 };
        history.create(&history.ident, properties);
        history
    }

    /// Makes a table.
    pub fn create(&self, ident: &TableIdent, properties: &[(&str, &str)]) -> Arc<Table> {
        let long = NestedField::optional(1, "c", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([Arc::new(long)]).build().expect("a schema");
        let properties = properties.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties };
        self.catalog.create_table(ident, create, Origin::Daemon).expect("is made")
    }

    pub fn table(&self) -> Arc<Table> {
        self.catalog.load(&self.ident).expect("is there")
    }

    pub fn store(&self) -> &Store {
        self.catalog.store()
    }

    /// A number below `most`.
    pub fn below(&mut self, most: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap_or(0) % most.max(1)
    }

    pub fn commit(&self, updates: Vec<TableUpdate>) {
        let change = Change { ident: self.ident.clone(), requirements: Vec::new(), updates };
        match self.catalog.commit(vec![change], Origin::Rest) {
            Outcome::Committed(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{}/{what}-{:06}", self.table().metadata.location(), self.count)
    }

    /// One random thing happens, some time after the last.
    pub fn step(&mut self) {
        let minutes = self.below(300) as u64;
        self.clock.advance(Duration::from_secs(minutes * 60));
        let (table, branch) = (self.table(), self.branch());
        let ids: Vec<i64> = table.metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).collect();
        let any = if ids.is_empty() { None } else { Some(ids[self.below(ids.len())]) };
        match (self.below(12), any) {
            (0, Some(id)) => {
                let name = format!("tag{}", self.below(4));
                let age = (self.below(2) == 0).then_some(86_400_000);
                self.point(&name, id, SnapshotRetention::Tag { max_ref_age_ms: age });
            }
            (1, Some(id)) => {
                let name = format!("branch{}", self.below(3));
                let least = (self.below(2) == 0).then_some(2);
                self.point(&name, id, SnapshotRetention::branch(least, None, None));
            }
            (2, Some(id)) => self.point(MAIN_BRANCH, id, SnapshotRetention::branch(None, None, None)),
            (3, Some(id)) => self.describe(id),
            (4, Some(_)) => {
                let names: Vec<String> = table.refs.keys().filter(|name| *name != MAIN_BRANCH).cloned().collect();
                if !names.is_empty() {
                    let ref_name = names[self.below(names.len())].clone();
                    self.commit(vec![TableUpdate::RemoveSnapshotRef { ref_name }]);
                }
            }
            (5, _) => self.rewrite(&branch),
            (6, _) => self.merge(&branch),
            _ => self.append(&branch),
        }
    }

    fn branch(&mut self) -> String {
        let table = self.table();
        let is_branch = |reference: &SnapshotReference| matches!(reference.retention, SnapshotRetention::Branch { .. });
        let mut names: Vec<String> =
            table.refs.iter().filter(|(_, held)| is_branch(held)).map(|(name, _)| name.clone()).collect();
        names.extend([MAIN_BRANCH.to_string(), MAIN_BRANCH.to_string()]);
        names[self.below(names.len())].clone()
    }

    fn point(&self, name: &str, id: i64, retention: SnapshotRetention) {
        let held = self.table().refs.get(name).cloned();
        let same = held.is_none_or(|held| {
            matches!(held.retention, SnapshotRetention::Tag { .. })
                == matches!(retention, SnapshotRetention::Tag { .. })
        });
        if same {
            let reference = SnapshotReference::new(id, retention);
            self.commit(vec![TableUpdate::SetSnapshotRef { ref_name: name.to_string(), reference }]);
        }
    }

    fn describe(&mut self, snapshot_id: i64) {
        let path = self.fresh("metadata/statistics");
        self.store().put(&path, b"puffin").expect("is written");
        if let Some(model) = self.model.get_mut(&snapshot_id) {
            model.statistics = Some(path.clone());
        }
        let statistics = StatisticsFile {
            snapshot_id,
            statistics_path: path,
            file_size_in_bytes: 6,
            file_footer_size_in_bytes: 1,
            key_metadata: None,
            blob_metadata: Vec::new(),
        };
        self.commit(vec![TableUpdate::SetStatistics { statistics }]);
    }

    fn parent(&self, branch: &str) -> (Option<i64>, Model) {
        let table = self.table();
        let parent = table.refs.get(branch).map(|held| held.snapshot_id).or(table.metadata.current_snapshot_id());
        (parent, parent.and_then(|id| self.model.get(&id).cloned()).unwrap_or_default())
    }

    /// Appends files, one to three.
    pub fn append(&mut self, branch: &str) {
        let (parent, mut model) = self.parent(branch);
        let (id, sequence) = self.next();
        let live: Vec<Live> = (0..=self.below(3)).map(|_| (self.data_file(), id, sequence)).collect();
        let manifest = self.manifest(id, sequence, &live, &[], &[]);
        model.manifests.push((manifest, live));
        self.snapshot(branch, parent, model, id, sequence);
    }

    /// Takes files out of a manifest, and leaves entries of them behind.
    fn rewrite(&mut self, branch: &str) {
        let (parent, mut model) = self.parent(branch);
        if model.manifests.is_empty() {
            return;
        }
        let (id, sequence) = self.next();
        let at = self.below(model.manifests.len());
        let (_, live) = model.manifests.remove(at);
        let cut = self.below(live.len() + 1);
        let (stays, goes) = live.split_at(cut);
        let manifest = self.manifest(id, sequence, &[], stays, goes);
        model.manifests.push((manifest, stays.to_vec()));
        self.snapshot(branch, parent, model, id, sequence);
    }

    /// Joins all manifests.
    fn merge(&mut self, branch: &str) {
        let (parent, mut model) = self.parent(branch);
        let live: Vec<Live> = model.manifests.drain(..).flat_map(|(_, live)| live).collect();
        if live.is_empty() {
            return;
        }
        let (id, sequence) = self.next();
        let manifest = self.manifest(id, sequence, &[], &live, &[]);
        model.manifests.push((manifest, live));
        self.snapshot(branch, parent, model, id, sequence);
    }

    fn next(&mut self) -> (i64, i64) {
        self.count += 1;
        (self.count, self.table().metadata.next_sequence_number())
    }

    fn data_file(&mut self) -> DataFile {
        let path = self.fresh("data/file");
        self.store().put(&path, b"x").expect("is written");
        // Engines write either.
        let path = if self.below(4) == 0 { path.replacen("file:///", "file:/", 1) } else { path };
        let built = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(10)
            .file_size_in_bytes(1)
            .build();
        built.expect("a data file")
    }

    fn manifest(&mut self, id: i64, sequence: i64, new: &[Live], old: &[Live], gone: &[Live]) -> ManifestFile {
        let (location, metadata) = (self.fresh("metadata/manifest"), self.table().metadata.clone());
        let io = FileIO::new_with_memory();
        let output = io.new_output(&location).expect("an output");
        let (schema, spec) = (metadata.current_schema().clone(), metadata.default_partition_spec().as_ref().clone());
        let mut writer = ManifestWriterBuilder::new(output, Some(id), schema, spec).build_v2_data();
        for (file, ..) in new {
            writer.add_file(file.clone(), sequence).expect("is added");
        }
        for (file, by, at) in old {
            writer.add_existing_file(file.clone(), *by, *at, Some(*at)).expect("is added");
        }
        for (file, _, at) in gone {
            writer.add_delete_file(file.clone(), *at, Some(*at)).expect("is added");
        }
        let mut manifest = block_on(writer.write_manifest_file()).expect("is written");
        let bytes = block_on(io.new_input(&location).expect("an input").read()).expect("is read");
        self.store().put(&location, &bytes).expect("is written");
        (manifest.sequence_number, manifest.min_sequence_number) = (sequence, 0);
        manifest
    }

    fn snapshot(&mut self, branch: &str, parent: Option<i64>, mut model: Model, id: i64, sequence: i64) {
        let location = self.fresh("metadata/snap");
        let io = FileIO::new_with_memory();
        let output = block_on(io.new_output(&location).expect("an output").writer()).expect("an output");
        let mut writer = ManifestListWriter::v2(output, id, parent, sequence);
        writer.add_manifests(model.manifests.iter().map(|(manifest, _)| manifest.clone())).expect("are added");
        block_on(writer.close()).expect("is written");
        let bytes = block_on(io.new_input(&location).expect("an input").read()).expect("is read");
        self.store().put(&location, &bytes).expect("is written");
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(self.catalog.store().system().clock.now_ms())
            .with_manifest_list(location.clone())
            .with_summary(Summary { operation: Operation::Append, additional_properties: HashMap::new() })
            .with_schema_id(0)
            .build();
        (model.list, model.statistics) = (location, None);
        self.model.insert(id, model);
        let held = self.table().refs.get(branch).map(|held| held.retention.clone());
        let retention = held.unwrap_or(SnapshotRetention::branch(None, None, None));
        let reference = SnapshotReference::new(id, retention);
        let updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef { ref_name: branch.to_string(), reference },
        ];
        self.commit(updates);
    }

    /// What some snapshots reach, by the model.
    pub fn reached(&self, ids: impl IntoIterator<Item = i64>) -> BTreeSet<String> {
        ids.into_iter().filter_map(|id| self.model.get(&id)).flat_map(Model::files).map(|file| normal(&file)).collect()
    }

    /// What the table's snapshots reach now, by the model.
    pub fn needed(&self) -> BTreeSet<String> {
        let table = self.table();
        self.reached(table.metadata.snapshots().map(|snapshot| snapshot.snapshot_id()))
    }

    /// The files there are, but for metadata files and hints.
    pub fn files(&self) -> BTreeSet<String> {
        let listed = self.store().list(self.table().metadata.location()).expect("lists");
        let listed = listed.into_iter().map(|entry| entry.location);
        listed.filter(|file| !file.ends_with(".json") && !file.ends_with(".text")).collect()
    }
}

/// One spelling of a location.
pub fn normal(location: &str) -> String {
    if location.starts_with("file:///") { location.to_string() } else { location.replacen("file:/", "file:///", 1) }
}
