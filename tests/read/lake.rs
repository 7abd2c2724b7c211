//! A lake written through the real stages, and foreign commits of delete files on its tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use futures::executor::block_on;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, MAIN_BRANCH, ManifestList,
    ManifestListWriter, ManifestWriterBuilder, Operation, Schema, Snapshot, SnapshotReference, SnapshotRetention,
    Struct, Summary, TableMetadata, UnboundPartitionSpec,
};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};
use laked::budget::Budget;
use laked::commit::{Append, Committer, NewFile, Outcome};
use laked::contract::Contract;
use laked::daemon::compaction::{Manner, Stepped, planned, planned_move, step};
use laked::daemon::erasing::erased;
use laked::maintain::erase::{Certificate, Request};
use laked::read::Source;
use laked::read::duck::{At, Form, query};
use laked::write::{Layout, Writer};
use laked_catalog::store::{Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Settings};
use parquet::arrow::ArrowWriter;

/// A lake in a temporary folder.
pub struct Lake {
    dir: tempfile::TempDir,
    /// Its catalog.
    pub catalog: Catalog,
    /// Its storage.
    pub store: Store,
    /// What commits to its tables.
    pub committer: Committer,
}

/// `ns.table`.
pub fn ident(text: &str) -> TableIdent {
    TableIdent::from_strs(text.split('.')).expect("a table's name")
}

impl Lake {
    pub fn new() -> Lake {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::local(System::real(), dir.path().join("staging")).expect("opens");
        let warehouse = location_of(&dir.path().join("warehouse")).expect("UTF-8");
        let database = Database::File(dir.path().join("catalog.db"));
        let catalog = Catalog::open(Settings { database, warehouse }, store.clone()).expect("opens");
        let committer = Committer::new(catalog.clone(), store.clone(), dir.path().join("intents")).expect("opens");
        Lake { dir, catalog, store, committer }
    }

    /// Where `lakectl --lake` finds it.
    pub fn source(&self) -> Source {
        Source::Lake(self.dir.path().to_path_buf())
    }

    pub fn create(&self, table: &str, schema: Schema, spec: Option<UnboundPartitionSpec>, properties: &[(&str, &str)]) {
        let ident = ident(table);
        let _ = self.catalog.create_namespace(ident.namespace(), BTreeMap::new());
        let properties: HashMap<String, String> =
            properties.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect();
        self.create_table(table, CreateTable { schema, spec, sort_order: None, location: None, properties });
    }

    pub fn create_table(&self, table: &str, create: CreateTable) {
        let _ = self.catalog.create_namespace(ident(table).namespace(), BTreeMap::new());
        self.catalog.create_table(&ident(table), create, Origin::Daemon).expect("is made");
    }

    /// Takes one step of the table's compaction.
    pub fn compact(&self, table: &str, manner: &Manner) -> Stepped {
        self.compact_while(table, manner, || {})
    }

    /// The same; `meanwhile` happens when the new files are written and not yet committed.
    pub fn compact_while(&self, table: &str, manner: &Manner, meanwhile: impl Fn()) -> Stepped {
        let metadata = self.metadata(table);
        let commit = |replacement| {
            meanwhile();
            self.committer.replace(replacement)
        };
        let planned = planned(&self.store, &metadata, manner).expect("plans");
        step(&self.store, (&ident(table), &metadata), planned, manner, &commit, &|_, _| {}).expect("compacts")
    }

    /// Takes one step of the table's move to its own spec; `meanwhile` happens before it is committed.
    pub fn relocate_while(&self, table: &str, manner: &Manner, meanwhile: impl Fn()) -> Stepped {
        let metadata = self.metadata(table);
        let commit = |replacement| {
            meanwhile();
            self.committer.replace(replacement)
        };
        let planned = planned_move(&self.store, &metadata, manner).expect("plans");
        step(&self.store, (&ident(table), &metadata), planned, manner, &commit, &|_, _| {}).expect("moves")
    }

    /// Erases from a table, its branches and tags too.
    pub fn erase(&self, table: &str, condition: &str) -> Certificate {
        let request = Request { condition: condition.to_string(), drop_refs: true, ..Request::default() };
        erased((&self.catalog, &self.committer, self.dir.path()), &ident(table), &request).expect("erases")
    }

    pub fn create_by(&self, contract: &Contract, properties: &[(&str, &str)]) {
        let namespace: &NamespaceIdent = contract.ident().namespace();
        let _ = self.catalog.create_namespace(namespace, BTreeMap::new());
        let mut all = contract.properties();
        all.extend(properties.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())));
        let create = CreateTable {
            schema: contract.iceberg_schema().clone(),
            spec: Some(contract.partition_spec().clone()),
            sort_order: Some(contract.sort_order().clone()),
            location: None,
            properties: all,
        };
        self.catalog.create_table(contract.ident(), create, Origin::Daemon).expect("is made");
    }

    pub fn metadata(&self, table: &str) -> Arc<TableMetadata> {
        self.catalog.load(&ident(table)).expect("is there").metadata.clone()
    }

    /// Writes and commits batches as one append.
    pub fn append(&self, table: &str, batches: Vec<RecordBatch>) {
        let metadata = self.metadata(table);
        let layout = Layout::of(&metadata).expect("a layout");
        let mut writer = Writer::new(layout, self.store.clone(), System::real(), Budget::new(256 << 20));
        for batch in batches {
            writer.write(batch).expect("is written");
        }
        let sealed = writer.seal().expect("seals");
        let files = sealed.files.into_iter().map(|file| NewFile { staged: file.staged, data_file: file.data_file });
        let append = Append {
            ident: ident(table),
            expect_uuid: metadata.uuid(),
            schema_id: metadata.current_schema_id(),
            spec_id: metadata.default_partition_spec_id(),
            files: files.collect(),
            marks: Vec::new(),
            retire: Vec::new(),
            summary: Vec::new(),
        };
        assert!(matches!(self.committer.commit(vec![append]).expect("commits"), Outcome::Committed(_)));
    }

    /// Changes a table as a foreign client does.
    pub fn change(&self, table: &str, updates: Vec<TableUpdate>) {
        let change = Change { ident: ident(table), requirements: Vec::new(), updates };
        let outcome = self.catalog.commit(vec![change], Origin::Rest);
        assert!(matches!(outcome, laked_catalog::Outcome::Committed(_)), "{outcome:?}");
    }

    /// Sets a property.
    pub fn set(&self, table: &str, key: &str, value: &str) {
        let updates = HashMap::from([(key.to_string(), value.to_string())]);
        self.change(table, vec![TableUpdate::SetProperties { updates }]);
    }

    /// Paths of the data files, in order.
    pub fn files(&self, table: &str) -> Vec<laked::read::PlannedFile> {
        let metadata = self.metadata(table);
        let everything = laked::read::Predicate::True;
        let plan = laked::read::plan::plan(&self.store, &metadata, metadata.current_snapshot(), &everything, true);
        let mut files = plan.expect("plans").files;
        files.sort_by_key(|file| (file.sequence_number, file.file.file_path().to_string()));
        files
    }

    /// A query's answer as CSV lines without the header.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        self.rows_at(sql, &At::Now)
    }

    pub fn rows_at(&self, sql: &str, at: &At) -> Vec<String> {
        let mut out = Vec::new();
        query(&self.source(), sql, at, Form::Csv, &mut out).unwrap_or_else(|error| panic!("{sql}: {error}"));
        String::from_utf8(out).expect("UTF-8").lines().skip(1).map(str::to_string).collect()
    }

    /// Writes a Parquet file of columns with field ids into the table's folder; gives its location and length.
    pub fn parquet(&self, table: &str, name: &str, columns: &[(&str, i32, ArrayRef)]) -> (String, u64) {
        let field = |(name, id, array): &(&str, i32, ArrayRef)| {
            let metadata = HashMap::from([("PARQUET:field_id".to_string(), id.to_string())]);
            Field::new(*name, array.data_type().clone(), true).with_metadata(metadata)
        };
        let schema = Arc::new(ArrowSchema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let arrays = columns.iter().map(|(_, _, array)| array.clone()).collect();
        let batch = RecordBatch::try_new(schema.clone(), arrays).expect("fits");
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).expect("opens");
        writer.write(&batch).expect("is written");
        writer.close().expect("closes");
        self.put(table, name, &bytes)
    }

    pub fn put(&self, table: &str, name: &str, bytes: &[u8]) -> (String, u64) {
        let location = format!("{}/data/{name}", self.metadata(table).location());
        self.store.put(&location, bytes).expect("is put");
        (location, bytes.len() as u64)
    }

    /// Commits files as another engine would: one manifest, one snapshot.
    pub fn foreign(&self, table: &str, files: Vec<DataFile>) {
        let metadata = self.metadata(table);
        let deletes = files.iter().any(|file| file.content_type() != DataContentType::Data);
        let snapshot_id = System::real().ids.uuid().as_u128() as i64 & i64::MAX;
        let sequence = metadata.last_sequence_number() + 1;
        let folder = format!("{}/metadata", metadata.location());
        let (io, v3) = (self.store.file_io(), metadata.format_version() == FormatVersion::V3);
        let output = io.new_output(format!("{folder}/{snapshot_id}-m0.avro")).expect("a location");
        let spec = metadata.default_partition_spec().as_ref().clone();
        let builder = ManifestWriterBuilder::new(output, Some(snapshot_id), metadata.current_schema().clone(), spec);
        let mut writer = match (v3, deletes) {
            (false, false) => builder.build_v2_data(),
            (false, true) => builder.build_v2_deletes(),
            (true, false) => builder.build_v3_data(),
            (true, true) => builder.build_v3_deletes(),
        };
        files.into_iter().for_each(|file| writer.add_file(file, -1).expect("fits"));
        let manifest = block_on(writer.write_manifest_file()).expect("is written");
        let list = format!("{folder}/snap-{snapshot_id}.avro");
        let output = block_on(io.new_output(&list).expect("a location").writer()).expect("opens");
        let parent = metadata.current_snapshot_id();
        let mut writer = match v3 {
            true => ManifestListWriter::v3(output, snapshot_id, parent, sequence, Some(metadata.next_row_id())),
            false => ManifestListWriter::v2(output, snapshot_id, parent, sequence),
        };
        if let Some(snapshot) = metadata.current_snapshot() {
            let bytes = self.store.read(snapshot.manifest_list()).expect("reads");
            let old = ManifestList::parse_with_version(&bytes, metadata.format_version()).expect("parses");
            writer.add_manifests(old.consume_entries().into_iter()).expect("fits");
        }
        writer.add_manifests(std::iter::once(manifest)).expect("fits");
        block_on(writer.close()).expect("closes");
        let summary = Summary { operation: Operation::Overwrite, additional_properties: HashMap::new() };
        let snapshot = Snapshot::builder()
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(metadata.last_updated_ms() + 1)
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id());
        let snapshot = if v3 { snapshot.with_row_range(metadata.next_row_id(), 0).build() } else { snapshot.build() };
        let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
        self.change(
            table,
            vec![
                TableUpdate::AddSnapshot { snapshot },
                TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_string(), reference },
            ],
        );
    }
}

/// A file as a manifest describes it.
pub fn described(content: DataContentType, (location, bytes): (String, u64), rows: u64) -> DataFileBuilder {
    let mut builder = DataFileBuilder::default();
    builder
        .content(content)
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(rows)
        .file_size_in_bytes(bytes);
    builder
}
