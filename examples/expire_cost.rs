//! What it costs to expire 10,000 of 10,001 snapshots: appends of one file, manifests merged as they came.
//!
//! `cargo run --release --example expire_cost -- [SNAPSHOTS]` (10001 by default). Works in a temporary folder of the
//! current one. The history is written without commits, a list and a manifest a snapshot, and merged whenever there are
//! a hundred manifests; then `expire` runs as `lakectl` runs it: plan, ledger, commit. At last what it owes is unlinked.

use std::collections::HashMap;
use std::io::Write as _;

use futures::executor::block_on;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, MAIN_BRANCH, ManifestFile, ManifestListWriter,
    ManifestWriterBuilder, NestedField, Operation, PrimitiveType, Schema, Snapshot, SnapshotReference,
    SnapshotRetention, Struct, Summary, TableMetadata, Type,
};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};
use laked::maintain::expire::{Request, expire};
use laked::maintain::ledger::unlink_due;
use laked::maintain::retention::Asked;
use laked_catalog::store::{Staged, Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Outcome, Settings};

type Answer<T> = Result<T, Box<dyn std::error::Error>>;

/// Manifests are merged when there are so many.
const MERGED: usize = 100;
/// Files that are made durable at a time.
const BATCH: usize = 1000;

/// A history on its way.
struct Writing<'a> {
    store: &'a Store,
    metadata: &'a TableMetadata,
    staged: Vec<Staged>,
    manifests: Vec<ManifestFile>,
    /// Each manifest's files with the snapshot that added them.
    entries: Vec<Vec<(DataFile, i64)>>,
}

impl Writing<'_> {
    fn keep(&mut self, location: &str, bytes: &[u8]) -> Answer<()> {
        let mut staged = self.store.stage(location)?;
        staged.write_all(bytes)?;
        self.staged.push(staged);
        if self.staged.len() >= BATCH {
            self.store.publish(std::mem::take(&mut self.staged))?;
        }
        Ok(())
    }

    fn manifest(&mut self, id: i64, entries: &[(DataFile, i64)]) -> Answer<ManifestFile> {
        let location = format!("{}/metadata/{id:06}-m{}.avro", self.metadata.location(), entries.len());
        let io = FileIO::new_with_memory();
        let (schema, spec) = (self.metadata.current_schema().clone(), self.metadata.default_partition_spec());
        let output = io.new_output(&location)?;
        let mut writer = ManifestWriterBuilder::new(output, Some(id), schema, spec.as_ref().clone()).build_v2_data();
        for (file, by) in entries {
            match *by == id {
                true => writer.add_file(file.clone(), id)?,
                false => writer.add_existing_file(file.clone(), *by, *by, Some(*by))?,
            }
        }
        let mut manifest = block_on(writer.write_manifest_file())?;
        (manifest.sequence_number, manifest.min_sequence_number) = (id, 1);
        let bytes = block_on(io.new_input(&location)?.read())?;
        self.keep(&location, &bytes)?;
        Ok(manifest)
    }

    fn snapshot(&mut self, id: i64, made_ms: i64) -> Answer<Snapshot> {
        let location = self.metadata.location().to_string();
        let file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(format!("{location}/data/019c3c2e-7d1f-7000-8000-{id:012}.parquet"))
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(10)
            .file_size_in_bytes(4096)
            .build()?;
        let entries = vec![(file, id)];
        let manifest = self.manifest(id, &entries)?;
        self.manifests.push(manifest);
        self.entries.push(entries);
        if self.manifests.len() >= MERGED {
            let all: Vec<(DataFile, i64)> = self.entries.drain(..).flatten().collect();
            self.manifests = vec![self.manifest(id, &all)?];
            self.entries.push(all);
        }
        let list = format!("{location}/metadata/snap-{id:06}-019c3c2e-7d1f-7000-8000-000000000000.avro");
        let io = FileIO::new_with_memory();
        let parent = (id > 1).then(|| id - 1);
        let mut writer = ManifestListWriter::v2(block_on(io.new_output(&list)?.writer())?, id, parent, id);
        writer.add_manifests(self.manifests.iter().cloned())?;
        block_on(writer.close())?;
        let bytes = block_on(io.new_input(&list)?.read())?;
        self.keep(&list, &bytes)?;
        let summary = Summary { operation: Operation::Append, additional_properties: HashMap::new() };
        let built = Snapshot::builder().with_snapshot_id(id).with_parent_snapshot_id(parent).with_sequence_number(id);
        let built = built.with_timestamp_ms(made_ms).with_manifest_list(list).with_summary(summary);
        Ok(built.with_schema_id(0).build())
    }
}

fn main() -> Answer<()> {
    let count: i64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_001);
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let system = System::real();
    let store = Store::local(system.clone(), dir.path().join("staging"))?;
    let warehouse = location_of(&dir.path().join("warehouse"))?;
    let database = Database::File(dir.path().join("catalog.db"));
    let catalog = Catalog::open(Settings { database, warehouse }, store.clone())?;
    let namespace = NamespaceIdent::new("ns".into());
    catalog.create_namespace(&namespace, Default::default())?;
    let long = |id| NestedField::optional(id, format!("c{id}"), Type::Primitive(PrimitiveType::Long)).into();
    let schema = Schema::builder().with_fields((1..=8).map(long)).build()?;
    let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
    let ident = TableIdent::new(namespace, "t".into());
    let table = catalog.create_table(&ident, create, Origin::Daemon)?;
    fill(&catalog, &ident, &table.metadata, count)?;

    let asked = Asked { older_than_ms: Some(0), ..Asked::default() };
    system.clock.pause(std::time::Duration::from_millis(5));
    let begun = system.clock.monotonic();
    let report = expire(&catalog, &ident, &Request { asked, ..Request::default() })?;
    let took = system.clock.monotonic() - begun;
    let files: u64 = report.files.values().map(|sum| sum.files).sum();
    println!(
        "expired {} of {count} snapshots, {files} files owed: {:.2} s",
        report.snapshots.len(),
        took.as_secs_f64()
    );
    let begun = system.clock.monotonic();
    let unlinked = unlink_due(&catalog, system.clock.now_ms() + 7_200_000)?;
    let took = system.clock.monotonic() - begun;
    println!("unlinked {} files, {} needed: {:.2} s", unlinked.files, unlinked.needed, took.as_secs_f64());
    Ok(())
}

/// Writes the history and makes it the table's, in one change.
fn fill(catalog: &Catalog, ident: &TableIdent, metadata: &TableMetadata, count: i64) -> Answer<()> {
    let mut writing =
        Writing { store: catalog.store(), metadata, staged: Vec::new(), manifests: Vec::new(), entries: Vec::new() };
    let mut updates = Vec::new();
    for id in 1..=count {
        let snapshot = writing.snapshot(id, metadata.last_updated_ms() + id / 1000)?;
        updates.push(TableUpdate::AddSnapshot { snapshot });
    }
    writing.store.publish(std::mem::take(&mut writing.staged))?;
    let reference = SnapshotReference::new(count, SnapshotRetention::branch(None, None, None));
    updates.push(TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference });
    match catalog.commit(vec![Change { ident: ident.clone(), requirements: Vec::new(), updates }], Origin::Daemon) {
        Outcome::Committed(_) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
