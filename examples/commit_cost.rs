//! What a commit costs: its median at few and at many snapshots, beside a durable file write on the same disk.
//!
//! `cargo run --release --example commit_cost -- [SNAPSHOTS]` (5000 by default). Works in a temporary folder.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct, Type,
};
use iceberg::{NamespaceIdent, TableIdent};
use laked::commit::{Advance, Append, Committer, NewFile};
use laked::error::Result;
use laked::flow::{Door, LaneId, Mark};
use laked_catalog::store::{Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, CreateTable, Database, Origin, Settings};

fn median(mut times: Vec<u128>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |&us| us as f64 / 1000.0)
}

fn main() -> Result<()> {
    let most: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5000);
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let store = Store::local(System::real(), dir.path().join("staging"))?;
    let warehouse = location_of(&dir.path().join("warehouse"))?;
    let database = Database::File(dir.path().join("catalog.db"));
    let catalog = Catalog::open(Settings { database, warehouse }, store.clone())?;
    let namespace = NamespaceIdent::new("ns".into());
    catalog.create_namespace(&namespace, BTreeMap::new())?;
    let ident = TableIdent::new(namespace, "t".into());
    let fields =
        (1..=8).map(|id| Arc::new(NestedField::optional(id, format!("c{id}"), Type::Primitive(PrimitiveType::Long))));
    let schema = Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|e| laked::error::Error::new(laked::error::Kind::Internal, "schema").because(e))?;
    let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
    let table = catalog.create_table(&ident, create, Origin::Daemon)?;
    let committer = Committer::new(catalog, store.clone(), dir.path().join("intents"))?;
    let clock = &store.system().clock;
    let lane = LaneId { door: Door::Push, epoch: store.system().ids.uuid() };
    let (mut times, mut writes) = (Vec::new(), Vec::new());
    for n in 0..most {
        let location = format!("{}/data/{n:08}.parquet", table.metadata.location());
        let mut staged = store.stage(&location)?;
        staged.write_all(&[7; 4096])?;
        let data_file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(10)
            .file_size_in_bytes(4096)
            .build()
            .map_err(|e| laked::error::Error::new(laked::error::Kind::Internal, "data file").because(e))?;
        let mark = |entry| Mark { entry, record: 0 };
        let append = Append {
            ident: ident.clone(),
            expect_uuid: table.metadata.uuid(),
            schema_id: table.metadata.current_schema_id(),
            spec_id: table.metadata.default_partition_spec_id(),
            files: vec![NewFile { staged, data_file }],
            marks: vec![Advance { lane, from: (n > 0).then(|| mark(n)), to: mark(n + 1) }],
            retire: Vec::new(),
            summary: Vec::new(),
        };
        let start = clock.monotonic();
        let _ = committer.commit(vec![append])?;
        times.push((clock.monotonic() - start).as_micros());
        if n % 10 == 0 {
            let start = clock.monotonic();
            store.put(&format!("{}/probe/{n}", table.metadata.location()), &[7; 4096])?;
            writes.push((clock.monotonic() - start).as_micros());
        }
        if n == 59 || n + 1 == most || (n + 1) % 1000 == 0 {
            let (commit, write) =
                (median(times.split_off(times.len().saturating_sub(50))), median(std::mem::take(&mut writes)));
            println!(
                "{:>6} snapshots: a commit {commit:.2} ms, a durable write {write:.2} ms, {:.2} writes",
                n + 1,
                commit / write
            );
        }
    }
    Ok(())
}
