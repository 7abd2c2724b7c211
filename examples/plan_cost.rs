//! What planning costs on 100,000 files in 144 partitions: manifests by partition, manifests as they come, and those after
//! they were rewritten.
//!
//! `cargo run --release --example plan_cost -- [LAKE]`: with a folder it only makes the lake there, with a table
//! `glucose.mixed` whose manifests are as they come. Its data files are named and do not exist.

#[path = "shared/readings.rs"]
mod readings;

use std::collections::HashMap;
use std::path::Path;

use futures::executor::block_on;
use iceberg::TableIdent;
use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestFile, ManifestListWriter, ManifestWriterBuilder, Operation, Snapshot,
    SnapshotReference, SnapshotRetention, Summary, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use laked::commit::Committer;
use laked::contract::{Contract, shipped};
use laked::daemon::clustering::clusters;
use laked::read::parse_where;
use laked::read::plan::plan;
use laked_catalog::store::{Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Outcome, Settings};
use readings::{COUNTRIES, Readings};

const FILES: usize = 100_000;
const PARTITIONS: usize = 144;
const CONDITION: &str = "country = 'TW' and timestamp >= '2025-03-01' and timestamp < '2025-04-01'";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    if let Some(lake) = std::env::args().nth(1) {
        std::fs::create_dir_all(&lake)?;
        let lake = std::path::absolute(lake)?;
        let lake = Lake::open(&lake, Database::File(lake.join("catalog.db")))?;
        return lake.table("mixed", false).map(drop);
    }
    let dir = tempfile::tempdir()?;
    let lake = Lake::open(dir.path(), Database::Memory)?;
    let (store, clock) = (lake.catalog.store(), System::real().clock);
    let committer = Committer::new(lake.catalog.clone(), store.clone(), dir.path().join("intents"))?;
    println!("| what | figure |\n|---|---|");
    measure(&lake.catalog, &lake.table("clustered", true)?, "clustered")?;
    let mixed = lake.table("mixed", false)?;
    measure(&lake.catalog, &mixed, "mixed")?;
    let begun = clock.monotonic();
    let table = lake.catalog.load(&mixed)?;
    committer.cluster(clusters(store, (&mixed, &table.metadata))?.clustered)?;
    let took = (clock.monotonic() - begun).as_secs_f64();
    println!("| rewriting the manifests of {FILES} files | {took:.2} s |");
    measure(&lake.catalog, &mixed, "rewritten")
}

struct Lake {
    catalog: Catalog,
    contract: Contract,
}

impl Lake {
    fn open(folder: &Path, database: Database) -> Result<Lake> {
        let store = Store::local(System::real(), folder.join("staging"))?;
        let warehouse = location_of(&folder.join("warehouse"))?;
        let catalog = Catalog::open(Settings { database, warehouse }, store)?;
        let contract =
            shipped().into_iter().find(|contract| contract.id() == "glucose.cgm_readings").ok_or("shipped")?;
        catalog.create_namespace(contract.ident().namespace(), Default::default())?;
        Ok(Lake { catalog, contract })
    }

    /// A table of all the files.
    fn table(&self, name: &str, clustered: bool) -> Result<TableIdent> {
        let contract = &self.contract;
        let ident = TableIdent::new(contract.ident().namespace().clone(), name.into());
        let create = CreateTable {
            schema: contract.iceberg_schema().clone(),
            spec: Some(contract.partition_spec().clone()),
            sort_order: Some(contract.sort_order().clone()),
            location: None,
            properties: HashMap::new(),
        };
        self.catalog.create_table(&ident, create, Origin::Daemon)?;
        fill(&self.catalog, self.catalog.store(), &ident, clustered)?;
        Ok(ident)
    }
}

/// The least of three plans, and what they read.
fn measure(catalog: &Catalog, ident: &TableIdent, name: &str) -> Result<()> {
    let clock = System::real().clock;
    let (table, store) = (catalog.load(ident)?, catalog.store());
    let predicate = parse_where(CONDITION, table.metadata.current_schema())?;
    let mut least = f64::INFINITY;
    let mut said = String::new();
    for _ in 0..3 {
        let begun = clock.monotonic();
        let found = plan(store, &table.metadata, table.metadata.current_snapshot(), &predicate, false)?;
        least = least.min((clock.monotonic() - begun).as_secs_f64() * 1000.0);
        let (files, read, all) = (found.files.len(), found.manifests_read, found.manifests);
        let [entries, taken] = found.entries;
        said = format!("{files} files left, {read} of {all} manifests read, {taken} of {entries} entries");
    }
    println!("| planning, manifests {name}: {said} | {least:.1} ms |");
    Ok(())
}

fn fill(catalog: &Catalog, store: &Store, ident: &TableIdent, clustered: bool) -> Result<()> {
    let table = catalog.load(ident)?;
    let metadata = &table.metadata;
    let folder = format!("{}/metadata", metadata.location());
    let io = store.file_io();
    let mut manifests = Vec::new();
    for number in 0..PARTITIONS {
        let files = (0..FILES / PARTITIONS).map(|file| match clustered {
            true => (number, file),
            false => ((file * 7 + number) % PARTITIONS, file),
        });
        manifests.push(manifest(metadata, &io, format!("{folder}/m{number}.avro"), files)?);
    }
    let list = format!("{folder}/snap-1.avro");
    let output = block_on(io.new_output(&list)?.writer())?;
    let mut writer = ManifestListWriter::v2(output, 1, None, 1);
    writer.add_manifests(manifests.into_iter())?;
    block_on(writer.close())?;
    let summary = Summary { operation: Operation::Append, additional_properties: HashMap::new() };
    let snapshot = Snapshot::builder()
        .with_snapshot_id(1)
        .with_sequence_number(1)
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(list)
        .with_summary(summary)
        .with_schema_id(metadata.current_schema_id())
        .build();
    let reference = SnapshotReference::new(1, SnapshotRetention::branch(None, None, None));
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_string(), reference },
    ];
    let requirements: Vec<TableRequirement> = Vec::new();
    match catalog.commit(vec![Change { ident: ident.clone(), requirements, updates }], Origin::Daemon) {
        Outcome::Committed(_) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn manifest(
    metadata: &TableMetadata,
    io: &iceberg::io::FileIO,
    location: String,
    files: impl Iterator<Item = (usize, usize)>,
) -> Result<ManifestFile> {
    let spec = metadata.default_partition_spec().as_ref().clone();
    let schema = metadata.current_schema().clone();
    let mut writer = ManifestWriterBuilder::new(io.new_output(location)?, Some(1), schema, spec).build_v2_data();
    for (partition, file) in files {
        writer.add_file(data_file(metadata.location(), partition, file)?, 1)?;
    }
    Ok(block_on(writer.write_manifest_file())?)
}

fn data_file(location: &str, partition: usize, file: usize) -> Result<DataFile> {
    let country = COUNTRIES[partition % 4];
    let month = 636 + (partition / 4) as i32;
    let location = format!("{location}/data/country={country}/timestamp_month={month}/{file:05}.parquet");
    let times = [1_700_000_000_000_000, 1_800_000_000_000_000];
    let users = [file * 10, file * 10 + 9];
    Ok(Readings { country, month, users, times, rows: 100_000, bytes: 3_000_000 }.file(location)?)
}
