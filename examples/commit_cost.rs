//! What a commit costs at few and at many snapshots, beside a durable file write on the same disk.
//!
//! `cargo run --release --example commit_cost -- [SNAPSHOTS]` (5000 by default). Works in a temporary folder of the
//! current one. At 10 snapshots, at each thousand and at the end it rests, then times 31 commits, each followed by a
//! durable write (write, fsync, rename, fsync of the folder), and prints the medians. The rest is for ext4, which gives
//! no inode away that was freed within the last five seconds and looks at each of them again at each new file: what
//! thousands of commits freed in a row would be charged to the ones that are timed.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct, Type,
};
use iceberg::{NamespaceIdent, TableIdent};
use laked::commit::{Advance, Append, Committer, NewFile};
use laked::error::{Error, Kind, Result};
use laked::flow::{Door, LaneId, Mark};
use laked_catalog::store::{Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, CreateTable, Database, Origin, Settings, Table};

const REST: Duration = Duration::from_secs(6);
const TIMED: u64 = 31;

fn internal(what: &'static str) -> impl Fn(iceberg::Error) -> Error {
    move |error| Error::new(Kind::Internal, what).because(error)
}

fn median(mut times: Vec<u128>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |&us| us as f64 / 1000.0)
}

/// A table that is only ever appended to.
struct Appended {
    store: Store,
    table: Arc<Table>,
    committer: Committer,
    lane: LaneId,
    commits: u64,
}

impl Appended {
    fn create(dir: &std::path::Path) -> Result<Self> {
        let store = Store::local(System::real(), dir.join("staging"))?;
        let warehouse = location_of(&dir.join("warehouse"))?;
        let catalog =
            Catalog::open(Settings { database: Database::File(dir.join("catalog.db")), warehouse }, store.clone())?;
        let namespace = NamespaceIdent::new("ns".into());
        catalog.create_namespace(&namespace, BTreeMap::new())?;
        let long = |id| Arc::new(NestedField::optional(id, format!("c{id}"), Type::Primitive(PrimitiveType::Long)));
        let schema = Schema::builder().with_fields((1..=8).map(long)).build().map_err(internal("schema"))?;
        let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
        let table = catalog.create_table(&TableIdent::new(namespace, "t".into()), create, Origin::Daemon)?;
        let committer = Committer::new(catalog, store.clone(), dir.join("intents"))?;
        let lane = LaneId { door: Door::Push, epoch: store.system().ids.uuid() };
        Ok(Self { store, table, committer, lane, commits: 0 })
    }

    fn data_file(&self, location: String) -> Result<DataFile> {
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(10)
            .file_size_in_bytes(4096)
            .build()
            .map_err(|error| Error::new(Kind::Internal, "data file").because(error))
    }

    /// One more commit of one small file; how long it took, in microseconds.
    fn commit(&mut self) -> Result<u128> {
        let metadata = &self.table.metadata;
        let location = format!("{}/data/{:08}.parquet", metadata.location(), self.commits);
        let mut staged = self.store.stage(&location)?;
        staged.write_all(&[7; 4096])?;
        let mark = |entry| Mark { entry, record: 0 };
        let from = (self.commits > 0).then(|| mark(self.commits));
        self.commits += 1;
        let append = Append {
            ident: self.table.ident.clone(),
            expect_uuid: metadata.uuid(),
            schema_id: metadata.current_schema_id(),
            spec_id: metadata.default_partition_spec_id(),
            files: vec![NewFile { staged, data_file: self.data_file(location)? }],
            marks: vec![Advance { lane: self.lane, from, to: mark(self.commits) }],
            retire: Vec::new(),
            summary: Vec::new(),
        };
        self.timed(|| self.committer.commit(vec![append]).map(drop))
    }

    fn durable_write(&self) -> Result<u128> {
        let location = format!("{}/probe/{}", self.table.metadata.location(), self.commits);
        self.timed(|| self.store.put(&location, &[7; 4096]))
    }

    fn timed(&self, work: impl FnOnce() -> Result<()>) -> Result<u128> {
        let clock = &self.store.system().clock;
        let start = clock.monotonic();
        work()?;
        Ok((clock.monotonic() - start).as_micros())
    }
}

fn main() -> Result<()> {
    let most: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5000);
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let mut table = Appended::create(dir.path())?;
    let mut first = None;
    for snapshots in std::iter::once(10).chain((1000..most).step_by(1000)).chain([most]) {
        while table.commits < snapshots {
            let _ = table.commit()?;
        }
        std::thread::park_timeout(REST);
        let (mut commits, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..TIMED {
            commits.push(table.commit()?);
            writes.push(table.durable_write()?);
        }
        let (commit, write) = (median(commits), median(writes));
        let first = *first.get_or_insert(commit);
        println!(
            "{snapshots:>6} snapshots: a commit {commit:.2} ms ({:.2} times the first), a durable write {write:.2} ms: \
             {:.2} of them",
            commit / first,
            commit / write
        );
    }
    Ok(())
}
