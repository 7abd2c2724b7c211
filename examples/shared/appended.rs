//! A table that is only ever appended to, a small file a commit, for the examples that time commits.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::DataFile;
use laked::commit::{Advance, Append, Committer, NewFile};
use laked::error::Result;
use laked::flow::{Door, LaneId, Mark};
use laked_catalog::store::{Store, location_of, path_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, CreateTable, Database, Origin, Settings, Table};

/// The table, and what commits to it.
pub struct Appended {
    pub catalog: Catalog,
    pub store: Store,
    pub table: Arc<Table>,
    pub commits: u64,
    committer: Committer,
    lane: LaneId,
}

impl Appended {
    /// A new table in a folder.
    pub fn create(dir: &Path, system: System, ident: &TableIdent, create: CreateTable) -> Result<Self> {
        let store = Store::local(system, dir.join("staging"))?;
        let warehouse = location_of(&dir.join("warehouse"))?;
        let catalog =
            Catalog::open(Settings { database: Database::File(dir.join("catalog.db")), warehouse }, store.clone())?;
        catalog.create_namespace(ident.namespace(), BTreeMap::new())?;
        let table = catalog.create_table(ident, create, Origin::Daemon)?;
        let committer = Committer::new(catalog.clone(), store.clone(), dir.join("intents"))?;
        let lane = LaneId { door: Door::Push, epoch: store.system().ids.uuid() };
        Ok(Self { catalog, store, table, commits: 0, committer, lane })
    }

    /// Where the next commit's file goes.
    pub fn next_location(&self) -> String {
        format!("{}/data/{:08}.parquet", self.table.metadata.location(), self.commits)
    }

    /// One more commit of a file of these bytes; how long it took, in microseconds.
    pub fn commit(&mut self, data_file: DataFile, bytes: &[u8], summary: Vec<(String, String)>) -> Result<u128> {
        let metadata = &self.table.metadata;
        let mut staged = self.store.stage(data_file.file_path())?;
        staged.write_all(bytes)?;
        let mark = |entry| Mark { entry, record: 0 };
        let from = (self.commits > 0).then(|| mark(self.commits));
        self.commits += 1;
        let append = Append {
            ident: self.table.ident.clone(),
            expect_uuid: metadata.uuid(),
            schema_id: metadata.current_schema_id(),
            spec_id: metadata.default_partition_spec_id(),
            files: vec![NewFile { staged, data_file }],
            marks: vec![Advance { lane: self.lane, from, to: mark(self.commits) }],
            retire: Vec::new(),
            summary,
        };
        self.timed(|| self.committer.commit(vec![append]).map(drop))
    }

    /// The table as it is now, and the length of its `metadata.json`.
    pub fn now(&self) -> Result<(Arc<Table>, u64)> {
        let table = self.catalog.load(&self.table.ident)?;
        let length = std::fs::metadata(path_of(&table.metadata_location)?)?.len();
        Ok((table, length))
    }

    /// How long some work took, in microseconds.
    pub fn timed(&self, work: impl FnOnce() -> Result<()>) -> Result<u128> {
        let clock = &self.store.system().clock;
        let start = clock.monotonic();
        work()?;
        Ok((clock.monotonic() - start).as_micros())
    }
}
