//! What planning costs on 100,000 files in 144 partitions: manifests by partition, manifests as they come, and those after
//! they were rewritten.
//!
//! `cargo run --release --example plan_cost`

use std::collections::HashMap;

use futures::executor::block_on;
use iceberg::TableIdent;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, MAIN_BRANCH, ManifestFile,
    ManifestListWriter, ManifestWriterBuilder, Operation, Snapshot, SnapshotReference, SnapshotRetention, Struct,
    Summary, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use laked::commit::Committer;
use laked::contract::shipped;
use laked::daemon::clustering::clusters;
use laked::read::parse_where;
use laked::read::plan::plan;
use laked_catalog::store::{Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Outcome, Settings};

const FILES: usize = 100_000;
const PARTITIONS: usize = 144;
const CONDITION: &str =
    "country = 'TW' and timestamp >= '2025-03-01' and timestamp < '2025-04-01' and user_id = 'u000070'";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let system = System::real();
    let store = Store::local(system.clone(), dir.path().join("staging"))?;
    let warehouse = location_of(&dir.path().join("warehouse"))?;
    let catalog = Catalog::open(Settings { database: Database::Memory, warehouse }, store.clone())?;
    let contract = shipped().into_iter().find(|contract| contract.id() == "glucose.cgm_readings").ok_or("shipped")?;
    catalog.create_namespace(contract.ident().namespace(), Default::default())?;
    let committer = Committer::new(catalog.clone(), store.clone(), dir.path().join("intents"))?;
    println!("| what | figure |\n|---|---|");
    for clustered in [true, false] {
        let name = if clustered { "clustered" } else { "mixed" };
        let ident = TableIdent::new(contract.ident().namespace().clone(), name.into());
        let create = CreateTable {
            schema: contract.iceberg_schema().clone(),
            spec: Some(contract.partition_spec().clone()),
            sort_order: Some(contract.sort_order().clone()),
            location: None,
            properties: HashMap::new(),
        };
        catalog.create_table(&ident, create, Origin::Daemon)?;
        fill(&catalog, &store, &ident, clustered)?;
        measure(&system, &catalog, &ident, name)?;
        if !clustered {
            let begun = system.clock.monotonic();
            let table = catalog.load(&ident)?;
            committer.cluster(clusters(&store, (&ident, &table.metadata))?.clustered)?;
            let took = (system.clock.monotonic() - begun).as_secs_f64();
            println!("| rewriting the manifests of {FILES} files | {took:.2} s |");
            measure(&system, &catalog, &ident, "rewritten")?;
        }
    }
    Ok(())
}

/// The least of three plans, and what they read.
fn measure(
    system: &System,
    catalog: &Catalog,
    ident: &TableIdent,
    name: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let (table, store) = (catalog.load(ident)?, catalog.store());
    let predicate = parse_where(CONDITION, table.metadata.current_schema())?;
    let mut least = f64::INFINITY;
    let mut said = String::new();
    for _ in 0..3 {
        let begun = system.clock.monotonic();
        let found = plan(store, &table.metadata, table.metadata.current_snapshot(), &predicate, false)?;
        least = least.min((system.clock.monotonic() - begun).as_secs_f64() * 1000.0);
        let (files, read, all) = (found.files.len(), found.manifests_read, found.manifests);
        said = format!("{files} files left, {read} of {all} manifests read");
    }
    println!("| planning, manifests {name}: {said} | {least:.1} ms |");
    Ok(())
}

fn fill(
    catalog: &Catalog,
    store: &Store,
    ident: &TableIdent,
    clustered: bool,
) -> Result<(), Box<dyn std::error::Error>> {
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
) -> Result<ManifestFile, Box<dyn std::error::Error>> {
    let spec = metadata.default_partition_spec().as_ref().clone();
    let schema = metadata.current_schema().clone();
    let mut writer = ManifestWriterBuilder::new(io.new_output(location)?, Some(1), schema, spec).build_v2_data();
    for (partition, file) in files {
        writer.add_file(data_file(metadata.location(), partition, file)?, 1)?;
    }
    Ok(block_on(writer.write_manifest_file())?)
}

fn data_file(location: &str, partition: usize, file: usize) -> Result<DataFile, Box<dyn std::error::Error>> {
    let country = ["TW", "JP", "KR", "SG"][partition % 4];
    let month = 636 + (partition / 4) as i32;
    let user = |number: usize| Datum::string(format!("u{number:06}"));
    let texts = |low: &str, high: &str| (Datum::string(low), Datum::string(high));
    let columns: [(i32, (Datum, Datum)); 8] = [
        (1, texts("r000000000000000", "rfffffffffffffff")),
        (2, (user(file * 10), user(file * 10 + 9))),
        (3, texts("d000000000000000", "dfffffffffffffff")),
        (
            4,
            (
                Datum::timestamptz_micros(1_700_000_000_000_000_i64),
                Datum::timestamptz_micros(1_800_000_000_000_000_i64),
            ),
        ),
        (5, (Datum::double(40.0), Datum::double(400.0))),
        (6, texts(country, country)),
        (7, texts("cgm", "manual")),
        (8, texts("down", "up")),
    ];
    let counts = |value: u64| -> HashMap<i32, u64> { (1..=8).map(|id| (id, value)).collect() };
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("{location}/data/country={country}/timestamp_month={month}/{file:05}.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::string(country)), Some(Literal::int(month))]))
        .record_count(100_000)
        .file_size_in_bytes(3_000_000)
        .column_sizes(counts(300_000))
        .value_counts(counts(100_000))
        .null_value_counts(counts(0))
        .lower_bounds(columns.iter().map(|(id, (low, _))| (*id, low.clone())).collect())
        .upper_bounds(columns.iter().map(|(id, (_, high))| (*id, high.clone())).collect())
        .build()?;
    Ok(file)
}
