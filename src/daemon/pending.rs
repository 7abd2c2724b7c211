//! What is gathered for a lane's next commit: open writers, and the mark the commit will set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use iceberg::TableIdent;
use laked_catalog::system::System;
use laked_catalog::{Catalog, Table};

use super::fitted::fitted;
use super::part::Part;
use crate::budget::Budget;
use crate::commit::{Advance, Append, Committer, NewFile, Outcome, marks_of};
use crate::contract::property;
use crate::error::{Error, Kind, Result};
use crate::flow::{LaneId, Mark};
use crate::ingest::quarantine::{self, Refused};
use crate::telemetry::{self, Done};
use crate::write::{Layout, Sealed, Writer};

/// Batches smaller than this are joined before they are written: a batch costs the same however few rows it has.
const JOIN_ROWS: usize = 16 << 10;
const JOIN_BYTES: usize = 4 << 20;

/// The stages after a door, for one table.
#[derive(Clone)]
pub struct Stages {
    /// The table.
    pub ident: TableIdent,
    /// The catalog.
    pub catalog: Catalog,
    /// Commits.
    pub committer: Committer,
    /// Memory.
    pub budget: Budget,
    /// Clock, ids, disk.
    pub system: System,
}

/// One table's side of a commit.
struct Side {
    table: Arc<Table>,
    from: Option<Mark>,
    writer: Writer,
}

/// The next commit of a lane.
pub struct Pending {
    stages: Stages,
    lane: LaneId,
    data: Side,
    rejected: Option<Side>,
    joining: Vec<RecordBatch>,
    joining_rows: usize,
    joining_bytes: usize,
    /// The mark the commit will set: everything before it has been taken.
    pub next: Mark,
    rejects: u64,
    /// Refused records by the first rule each breaks.
    codes: BTreeMap<String, u64>,
    /// The hash of the contract that all of it was held to; the snapshot names it.
    contract: Option<String>,
    since: Option<Duration>,
}

/// Where refused records come from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// When they came, in ms since 1970.
    pub at_ms: i64,
    /// Who sent them.
    pub source: &'a str,
    /// Their entry.
    pub entry: u64,
    /// The hash of the contract.
    pub contract: &'a str,
}

impl Stages {
    fn side(&self, ident: &TableIdent, lane: LaneId) -> Result<Side> {
        let table = self.catalog.load(ident)?;
        let from = marks_of(&table.metadata)?.get(&lane).copied();
        let layout = Layout::of(&table.metadata)?;
        let writer = Writer::new(layout, self.catalog.store().clone(), self.system.clone(), self.budget.clone());
        Ok(Side { table, from, writer })
    }
}

impl Side {
    fn append(self, lane: LaneId, to: Mark, contract: Option<&str>) -> Result<(Append, u64, u64)> {
        let metadata = &self.table.metadata;
        let Sealed { files, rows, bytes } = self.writer.seal()?;
        let files = files.into_iter().map(|f| NewFile { staged: f.staged, data_file: f.data_file }).collect();
        let append = Append {
            ident: self.table.ident.clone(),
            expect_uuid: metadata.uuid(),
            schema_id: metadata.current_schema_id(),
            spec_id: metadata.default_partition_spec_id(),
            files,
            marks: vec![Advance { lane, from: self.from, to }],
            retire: Vec::new(),
            summary: contract.map(|hash| (property::HASH.to_owned(), hash.to_owned())).into_iter().collect(),
        };
        Ok((append, rows, bytes))
    }
}

impl Pending {
    /// Nothing yet, from the mark that the table has.
    pub fn new(stages: &Stages, lane: LaneId) -> Result<Pending> {
        let data = stages.side(&stages.ident, lane)?;
        let start = data.from.unwrap_or_default();
        Ok(Pending {
            stages: stages.clone(),
            lane,
            data,
            rejected: None,
            joining: Vec::new(),
            joining_rows: 0,
            joining_bytes: 0,
            next: start,
            rejects: 0,
            codes: BTreeMap::new(),
            contract: None,
            since: None,
        })
    }

    /// Takes records of the entry the origin names.
    pub fn take(&mut self, part: Part, origin: Origin<'_>) -> Result<()> {
        let refused: Vec<Refused<'_>> = part
            .refusals
            .iter()
            .map(|refusal| Refused {
                at_ms: origin.at_ms,
                source: origin.source,
                lane: self.lane,
                entry: origin.entry,
                contract: origin.contract,
                refusal,
            })
            .collect();
        self.refuse(&refused)?;
        self.rows(part.batch, origin.contract)
    }

    /// Whether what was held to this contract may share the commit: a file of the table is of one contract.
    pub fn suits(&self, contract: &str) -> bool {
        self.contract.as_deref().is_none_or(|own| own == contract)
    }

    /// Takes accepted rows, held to a contract that [`Pending::suits`].
    pub fn rows(&mut self, batch: RecordBatch, contract: &str) -> Result<()> {
        self.begin();
        if self.contract.is_none() {
            self.follow()?;
        }
        self.contract.get_or_insert_with(|| contract.to_owned());
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = fitted(batch, &self.data.table)?;
        if batch.num_rows() >= JOIN_ROWS && self.joining.is_empty() {
            return self.data.writer.write(batch);
        }
        if self.joining.first().is_some_and(|first| first.schema_ref() != batch.schema_ref()) {
            self.join()?;
        }
        self.joining_rows += batch.num_rows();
        self.joining_bytes += batch.get_array_memory_size();
        self.joining.push(batch);
        if self.joining_rows >= JOIN_ROWS || self.joining_bytes >= JOIN_BYTES { self.join() } else { Ok(()) }
    }

    /// Before the first row: an engine may have changed the table's layout since the last commit, or a contract have come
    /// in force that brought columns, and rows are laid out as the table says now. Rows are judged by what their table
    /// has, so a look made here is no older than their contract; without it their columns might be taken for dropped ones.
    fn follow(&mut self) -> Result<()> {
        let table = self.stages.catalog.load(&self.stages.ident)?;
        if table.metadata_location != self.data.table.metadata_location {
            let side = self.stages.side(&self.stages.ident, self.lane)?;
            // The mark stays the one this commit began from: where the table's has moved, the commit must fail.
            self.data = Side { from: self.data.from, ..side };
        }
        Ok(())
    }

    /// Takes refused records.
    pub fn refuse(&mut self, refused: &[Refused<'_>]) -> Result<()> {
        self.begin();
        if refused.is_empty() {
            return Ok(());
        }
        let side = match &mut self.rejected {
            Some(side) => side,
            none => none.insert(self.stages.side(&quarantine::ident(&self.stages.ident), self.lane)?),
        };
        self.rejects += refused.len() as u64;
        for code in refused.iter().filter_map(|r| r.refusal.broken.first()).map(|rule| &rule.code) {
            match self.codes.get_mut(code) {
                Some(count) => *count += 1,
                None => drop(self.codes.insert(code.clone(), 1)),
            }
        }
        side.writer.write(quarantine::batch(refused)?)
    }

    /// From now on there is something to commit, if only a mark.
    pub fn begin(&mut self) {
        self.since.get_or_insert_with(|| self.stages.system.clock.monotonic());
    }

    fn join(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.joining);
        (self.joining_rows, self.joining_bytes) = (0, 0);
        let joined = match batches.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            [first, ..] => concat_batches(first.schema_ref(), &batches)
                .map_err(|e| Error::new(Kind::Internal, "batches of one contract cannot be joined").because(e))?,
        };
        self.data.writer.write(joined)
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// How long the next commit may still wait; `None` while there is nothing to commit.
    pub fn waits(&self, age: Duration) -> Option<Duration> {
        Some((self.since? + age).saturating_sub(self.stages.system.clock.monotonic()))
    }

    /// Bytes of rows taken, as they are in memory.
    pub fn bytes(&self) -> u64 {
        self.data.writer.bytes() + self.joining_bytes as u64
    }

    /// Seals and commits data and quarantine in one change. Returns the mark, and what was done.
    pub fn commit(mut self) -> Result<(Mark, Done)> {
        let clock = self.stages.system.clock.clone();
        let started = clock.monotonic();
        self.join()?;
        let contract = self.contract.as_deref();
        let (append, rows, bytes) = self.data.append(self.lane, self.next, contract)?;
        let mut done = Done { rows, bytes, files: append.files.len() as u64, rejects: self.rejects, ..Done::default() };
        let mut appends = vec![append];
        if let Some(rejected) = self.rejected {
            appends.push(rejected.append(self.lane, self.next, contract)?.0);
        }
        let sealed = clock.monotonic();
        let outcome = self.stages.committer.commit(appends)?;
        done.seal = sealed - started;
        done.commit = clock.monotonic() - sealed;
        match outcome {
            Outcome::Committed(_) => {}
            Outcome::Moved(_) => {
                return Err(Error::new(Kind::Conflict, "the table's mark moved; the lane goes on from it"));
            }
            Outcome::Rewrite(error) => return Err(error),
        }
        let (lane, mark) = (self.lane.to_string(), self.next.to_string());
        let table = self.stages.ident.to_string();
        self.codes.iter().for_each(|(code, count)| telemetry::rejected(&table, code, *count));
        telemetry::committed(&table, &lane, &mark, clock.now_ms(), &done);
        Ok((self.next, done))
    }
}
