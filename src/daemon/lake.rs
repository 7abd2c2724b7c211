//! A lake that is open: its folder locked, its tables there, a worker for each lane.
//!
//! Order at open: lock, store, catalog (with version hints repaired), intents of unknown outcome resolved, tables made,
//! lanes held against their tables' marks, guard set, workers started. A lane that cannot be opened is halted and the
//! others go on; a lake that cannot be opened at all stops with a message.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use iceberg::TableIdent;
use laked_catalog::store::{DiskLock, Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Database, State};

use super::compaction::{Manner, Stepped, planned, step};
use super::contracts::Contracts;
use super::doors::{OpenTables, Runs, TableDoors};
use super::erasing::Erasures;
use super::force::{Force, InForce};
use super::guard::Rules;
use super::lane::{Feed, Lane, Pace, Stop, Worker};
use super::maintenance::{Maintenance, Means, Pressure, pressure};
use super::pending::Stages;
use super::picking::pick;
use super::progress::{LaneState, Progress, TableStatus, is_late};
use super::tables::{ensure, ensure_quarantine};
use super::upkeep;
use crate::budget::Budget;
use crate::commit::{Committer, marks_of};
use crate::config::Settings;
use crate::contract::{self, Contract};
use crate::error::{Error, Kind, Result};
use crate::flow::{Door, Format, LaneId, Packing};
use crate::ingest::decode::{self, Input};
use crate::ingest::durable;
use crate::ingest::entry::Answer;
use crate::ingest::inbox::{self, Inbox, Watch};
use crate::ingest::push::{Key, PushDoor};
use crate::ingest::spool::{self, Spool};
use crate::maintain::cherry_pick;
use crate::telemetry;

/// What is taken in by [`Lake::ingest`].
pub struct Source {
    /// Its name, for quarantine.
    pub name: String,
    /// How to read it.
    pub format: Format,
    /// What it is packed in.
    pub packing: Packing,
    /// Its bytes.
    pub input: Input,
    /// What it is called, if it is to be taken once.
    pub key: Option<Key>,
}

/// An open lake.
pub struct Lake {
    settings: Settings,
    system: System,
    catalog: Catalog,
    committer: Committer,
    budget: Budget,
    tables: Arc<OpenTables>,
    force: Arc<Force>,
    contracts: Contracts,
    watch: Mutex<Option<Watch>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    maintenance: Arc<Maintenance>,
    pub(super) erasures: Erasures,
    stop: Arc<Stop>,
    _lock: Box<dyn DiskLock>,
}

impl Lake {
    /// Opens the lake the settings name; makes what is missing.
    pub fn open(settings: Settings, system: System) -> Result<Lake> {
        let lake = Self::still(settings, system, None)?;
        lake.start()?;
        Ok(lake)
    }

    /// The same without workers and without a watch of the inboxes: who calls this runs the lanes himself, with
    /// [`Lake::lane`] and [`Lake::sweep`], and so knows the order of all that happens. `state` stands in for the
    /// catalog's database, which SQLite keeps on the machine's own disk whatever disk `system` has.
    pub fn still(settings: Settings, system: System, state: Option<State>) -> Result<Lake> {
        let dir = absolute(&settings.lake)?;
        let disk = system.disk.clone();
        durable::make_dirs(disk.as_ref(), &dir)?;
        let lock = disk.lock(&dir.join("lock")).map_err(|e| locked(&dir, e))?;
        for folder in ["warehouse", "intents", "inbox"] {
            durable::make_dirs(disk.as_ref(), &dir.join(folder))?;
        }
        let contracts = match settings.schemas.as_os_str().is_empty() {
            true => contract::shipped(),
            false => contract::load_published(disk.as_ref(), &settings.schemas)?,
        };
        let store = Store::local(system.clone(), dir.join("staging"))?;
        let warehouse = location_of(&dir.join("warehouse"))?;
        let allowed = settings.access.locations.0.iter().cloned();
        store.confine(&std::iter::once(warehouse.clone()).chain(allowed).collect::<Vec<_>>())?;
        let state = match state {
            Some(state) => state,
            None => State::open(&database_of(&settings, &dir)?)?,
        };
        let catalog = Catalog::over(state, warehouse, store.clone());
        catalog.repair_hints()?;
        let committer = Committer::new(catalog.clone(), store, dir.join("intents"))?;
        committer.recover()?;
        let (budget, stop) = (Budget::new(settings.memory.in_memory()), Arc::<Stop>::default());
        let upkeep = settings.maintenance.clone();
        let means = Means::new(catalog.clone(), committer.clone(), budget.clone(), upkeep, stop.clone());
        let lake = Lake {
            maintenance: Arc::new(Maintenance::new(means)?),
            erasures: Erasures::default(),
            budget,
            settings,
            system,
            catalog,
            committer,
            tables: Arc::default(),
            force: Arc::default(),
            contracts: Contracts::default(),
            watch: Mutex::new(None),
            workers: Mutex::new(Vec::new()),
            stop,
            _lock: lock,
        };
        for contract in contracts {
            lake.open_table(Arc::new(contract))?;
        }
        let (store, force) = (lake.catalog.store().clone(), lake.force.clone());
        lake.catalog.guard(Arc::new(Rules { store, force }));
        lake.catalog.watch(lake.force.clone());
        Ok(lake)
    }

    /// Opens a table's doors, makes it if it is missing.
    pub(super) fn open_table(&self, contract: Arc<Contract>) -> Result<Arc<TableDoors>> {
        let dir = absolute(&self.settings.lake)?;
        let table = ensure(&self.catalog, &contract)?;
        ensure_quarantine(&self.catalog, &contract)?;
        let marks = marks_of(&table.metadata)?;
        let name = contract.id();
        let spool_place = spool::Place {
            dir: dir.join("spool").join(&name).join("push"),
            system: self.system.clone(),
            budget: self.budget.clone(),
            bounds: spool::Bounds {
                segment_bytes: self.settings.spool.segment.bytes(),
                backlog_bytes: self.settings.spool.backlog.bytes(),
                keys: self.settings.spool.keys,
                keys_kept_ms: i64::try_from(self.settings.spool.keys_kept.get().as_millis()).unwrap_or(i64::MAX),
                ..spool::Bounds::default()
            },
            table: table.metadata.uuid(),
        };
        let inbox_place = inbox::Place {
            lake: dir.clone(),
            table_name: name.clone(),
            table: table.metadata.uuid(),
            system: self.system.clone(),
            settle: self.settings.inbox.settle.get(),
            once: self.settings.inbox.once,
            kept: self.settings.inbox.kept.get(),
        };
        let (push_progress, inbox_progress) = (Arc::new(Progress::new()), Arc::new(Progress::new()));
        let ident = contract.ident().clone();
        let in_force = Arc::new(InForce::of(&table, contract));
        self.force.add(name.clone(), in_force.clone());
        let spool = opened(&name, Door::Push, &push_progress, Spool::open(spool_place, &marks))?;
        let inbox = opened(&name, Door::Inbox, &inbox_progress, Inbox::open(inbox_place, &marks))?;
        let push = spool.map(|spool| {
            Arc::new(PushDoor {
                name: name.clone(),
                contract: in_force.contract(),
                spool: Arc::new(spool),
                system: self.system.clone(),
                budget: self.budget.clone(),
            })
        });
        let stages = Stages {
            ident,
            catalog: self.catalog.clone(),
            committer: self.committer.clone(),
            budget: self.budget.clone(),
            system: self.system.clone(),
        };
        let inbox = inbox.map(Arc::new);
        let (own, runs) = (name.clone(), Runs::default());
        let doors = TableDoors { name: own, stages, in_force, push, inbox, push_progress, inbox_progress, runs };
        let doors = Arc::new(doors);
        self.tables.write().unwrap_or_else(PoisonError::into_inner).insert(name, doors.clone());
        Ok(doors)
    }

    fn start(&self) -> Result<()> {
        for table in self.tables() {
            self.start_table(&table)?;
        }
        let (catalog, stop) = (self.catalog.clone(), self.stop.clone());
        let thread = std::thread::Builder::new().name("unlink".into());
        let unlinks = thread.spawn(move || upkeep::unlink(&catalog, &stop)).map_err(Error::from)?;
        let upkeep = self.maintenance.start(self.pressure())?;
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).extend([unlinks, upkeep]);
        self.watch_inboxes()
    }

    /// Whether ingestion is in need.
    pub(super) fn pressure(&self) -> Pressure {
        pressure::of(Arc::downgrade(&self.tables), self.budget.clone(), self.settings.commit.clone())
    }

    /// Starts a table's lanes, those that have no worker yet.
    pub(super) fn start_table(&self, table: &TableDoors) -> Result<()> {
        let (mut workers, runs) = (self.workers.lock().unwrap_or_else(PoisonError::into_inner), &table.runs);
        if let Some(push) = table.push.as_ref().filter(|_| !runs.push.load(Ordering::SeqCst)) {
            let lane = push.spool.lane();
            workers.push(self.work(table, lane, Feed::Push(push.clone()), &table.push_progress)?);
            runs.push.store(true, Ordering::SeqCst);
        }
        if let Some(inbox) = table.inbox.as_ref().filter(|_| !runs.inbox.load(Ordering::SeqCst)) {
            workers.push(self.work(table, inbox.lane(), Feed::Files(inbox.clone()), &table.inbox_progress)?);
            runs.inbox.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Watches the inboxes of the tables that there are; from a watch before, what waits is seen again by the first sweep.
    pub(super) fn watch_inboxes(&self) -> Result<()> {
        let inboxes = self.tables().iter().filter_map(|table| table.inbox.clone()).collect();
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        // If it cannot be started the one before goes on.
        let wider = Watch::start(inboxes, self.settings.inbox.settle.get(), self.system.clock.clone())?;
        drop(watch.replace(wider));
        Ok(())
    }

    fn work(&self, table: &TableDoors, lane: LaneId, feed: Feed, progress: &Arc<Progress>) -> Result<JoinHandle<()>> {
        let worker = self.worker(table, lane, feed, progress);
        let thread = std::thread::Builder::new().name(format!("{} {}", lane.door, table.name));
        thread.spawn(move || worker.run()).map_err(Error::from)
    }

    fn worker(&self, table: &TableDoors, lane: LaneId, feed: Feed, progress: &Arc<Progress>) -> Worker {
        progress.update(|status| status.lane = lane.to_string());
        let commit = &self.settings.commit;
        Worker {
            stages: table.stages.clone(),
            feed,
            lane,
            name: table.name.clone(),
            contract: table.in_force.contract(),
            in_force: table.in_force.clone(),
            progress: progress.clone(),
            pace: Pace { age: commit.age.get(), age_most: commit.age_most.get(), size: commit.size.bytes() },
            stop: self.stop.clone(),
            took: std::time::Duration::ZERO,
        }
    }

    /// A table's lane, to be run by the caller; `None` if it is halted. Only for a lake that is [`Lake::still`]: one
    /// lane has one worker.
    pub fn lane(&self, table: &str, door: Door) -> Option<Lane> {
        let table = self.table(table)?;
        let (lane, feed, progress) = match door {
            Door::Push => {
                let push = table.push.clone()?;
                (push.spool.lane(), Feed::Push(push), &table.push_progress)
            }
            Door::Inbox => {
                let inbox = table.inbox.clone()?;
                (inbox.lane(), Feed::Files(inbox), &table.inbox_progress)
            }
        };
        Some(Lane(self.worker(&table, lane, feed, progress)))
    }

    /// Looks through the inboxes once, as the watch does.
    pub fn sweep(&self) -> Result<()> {
        let tables = self.tables();
        tables.iter().filter_map(|table| table.inbox.as_ref()).try_for_each(|inbox| inbox.sweep().map(drop))
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its machine.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Its catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Who looks after its tables.
    pub fn maintenance(&self) -> &Arc<Maintenance> {
        &self.maintenance
    }

    /// The files of commits that are under way, or of unknown outcome.
    pub fn in_flight(&self) -> Vec<String> {
        self.committer.pending().into_iter().flat_map(|intent| intent.files).collect()
    }

    /// Picks a snapshot.
    ///
    /// # Errors
    /// Those of [`pick`].
    pub fn pick(&self, ident: &TableIdent, request: &cherry_pick::Request) -> Result<cherry_pick::Report> {
        pick(&self.catalog, &self.committer, ident, request)
    }

    /// What commits to its tables.
    pub fn committer(&self) -> &Committer {
        &self.committer
    }

    /// Takes one step of a table's compaction.
    ///
    /// # Errors
    /// `NotFound`; those of [`step`].
    pub fn compact(&self, ident: &TableIdent, manner: &Manner) -> Result<Stepped> {
        let table = self.catalog.load(ident)?;
        let commit = |replacement| self.committer.replace(replacement);
        let store = self.catalog.store();
        let planned = planned(store, &table.metadata, manner)?;
        step(store, (ident, &table.metadata), planned, manner, &commit, &|_, _| {})
    }

    /// A table's doors, by `ns.table`.
    pub fn table(&self, name: &str) -> Option<Arc<TableDoors>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Every table's doors.
    pub fn tables(&self) -> Vec<Arc<TableDoors>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The contracts in force.
    pub(super) fn force(&self) -> &Force {
        &self.force
    }

    /// What is told of the schemas folder.
    pub(super) fn contracts(&self) -> &Contracts {
        &self.contracts
    }

    /// Takes a source in as one entry: durable when this returns. `table` is `ns.table`. What came under its key before
    /// is answered as it was then, by whatever door it came.
    pub fn ingest(&self, table: &str, source: Source) -> Result<Answer> {
        let push = self.push_door(table)?;
        let Source { name, format, packing, input, key } = source;
        let input = match (format, input) {
            (Format::Parquet, Input::Stream(stream)) => Input::Random(push.spool.scratch(stream)?),
            (_, input) => input,
        };
        let decoder = decode::open(push.contract.clone(), format, packing, input, decode::Options::default())?;
        push.send(&name, key, decoder)
    }

    /// After [`Lake::drain`]: that all which was pushed is in the table.
    ///
    /// # Errors
    /// Why it is not. It is durable all the same, and the next to open the lake commits it.
    pub fn settled(&self, table: &str) -> Result<()> {
        let doors = self.table(table).ok_or_else(|| unknown(table))?;
        let reason = match doors.push_progress.status().state {
            LaneState::Closed => return Ok(()),
            LaneState::Halted { reason } => {
                return Err(Error::new(Kind::Corrupt, "the table's lane is halted").with("reason", reason));
            }
            LaneState::Retrying { reason, .. } => reason,
            LaneState::Starting | LaneState::Running => "it was not drained".to_owned(),
        };
        let message = "the records are safe, but cannot be committed now; the next to open the lake commits them";
        Err(Error::new(Kind::Unavailable, message).with("table", table).with("reason", reason))
    }

    fn push_door(&self, table: &str) -> Result<Arc<PushDoor>> {
        let doors = self.table(table).ok_or_else(|| unknown(table))?;
        doors.push().map_err(|reason| {
            Error::new(Kind::Corrupt, "the table's lane is halted").with("table", table).with("reason", reason)
        })
    }

    /// Closes the doors, commits what is durable, and waits for that.
    pub fn drain(&self) {
        self.contracts.stop();
        drop(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
        for table in self.tables() {
            if let Some(push) = &table.push {
                push.spool.close();
            }
            if let Some(inbox) = &table.inbox {
                inbox.close();
            }
        }
        self.stop.stop();
        self.maintenance.wake();
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            let _ = worker.join();
        }
    }

    /// Tables, lanes, marks, lag.
    pub fn status(&self) -> Vec<TableStatus> {
        self.tables().iter().map(|table| table.status()).collect()
    }

    /// Why the lake is not well; empty if it is.
    pub fn ailments(&self) -> Vec<String> {
        let now = self.system.clock.now_ms();
        let mut ailments = self.maintenance.ailments();
        for table in self.status() {
            for (door, lane) in [Door::Push, Door::Inbox].into_iter().zip(table.lanes) {
                match &lane.state {
                    LaneState::Halted { reason } => ailments.push(format!("{} is halted: {reason}", table.table)),
                    LaneState::Retrying { reason, since_ms } if now - *since_ms > 30_000 => {
                        ailments.push(format!("{} commits nothing: {reason}", table.table));
                    }
                    // A large file may be read for longer than this, and its sender was told nothing yet.
                    _ if door == Door::Push && is_late(&lane, self.settings.commit.age.get(), now) => {
                        ailments.push(format!(
                            "{} commits nothing: what lane {} acknowledged has waited for {:.0} s; look into the log",
                            table.table, lane.lane, lane.lag_seconds
                        ))
                    }
                    _ => {}
                }
            }
        }
        ailments
    }

    /// Sets the gauges that are read rather than counted.
    pub fn gauge(&self) {
        telemetry::memory(self.budget.used());
        for table in self.status() {
            for (door, lane) in [Door::Push, Door::Inbox].into_iter().zip(&table.lanes) {
                let lag = std::time::Duration::from_secs_f64(lane.lag_seconds);
                let halted = matches!(lane.state, LaneState::Halted { .. });
                telemetry::lane_figures(&table.table, door, Some(lag), lane.backlog, halted);
            }
        }
    }
}

impl Drop for Lake {
    fn drop(&mut self) {
        self.drain();
    }
}

/// A lane that contradicts itself is halted; anything else stops the start.
fn opened<T>(table: &str, door: Door, progress: &Progress, opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Err(error) if error.kind() == Kind::Corrupt => {
            telemetry::lane_halted(table, door, &error);
            progress.set(LaneState::Halted { reason: error.to_string() });
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

fn unknown(table: &str) -> Error {
    Error::new(Kind::NotFound, "there is no contract for this table: add schemas/<namespace>/<table>.toml")
        .with("table", table)
}

fn locked(dir: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Error::new(Kind::Conflict, "another laked has this lake; stop it first, or speak to it with lakectl")
            .with("lake", dir.display());
    }
    Error::from(error).with("lake", dir.display())
}

fn database_of(settings: &Settings, dir: &Path) -> Result<Database> {
    match settings.catalog.database.as_str() {
        "" => Ok(Database::File(dir.join("catalog.db"))),
        url => Ok(url.parse()?),
    }
}

fn absolute(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).map_err(|e| Error::from(e).with("lake", dir.display()))
}
