//! The schemas folder while the daemon runs.
//!
//! It is looked at every second, by names, lengths and times, and read when it has changed and rested from one look to
//! the next: a file that is being written may be sound by its beginning. A contract of a table that does not exist makes
//! it, with its doors. One of a table that does waits for `lakectl apply`, and is told ([`super::force`]). What cannot be
//! used is told too, in the log, at `/status` and `/health`, by a metric; the others go on. A file that is taken away
//! closes no door before the next start.
//!
//! Tables are looked at besides, now and then: a daemon that shares the database may have put a contract in force.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::lake::Lake;
use super::lane::Stop;
use crate::contract::{self, Contract, LOCK, Lock};
use crate::error::{Error, Kind, Result};
use crate::telemetry;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Tables are looked at each time that the folder was looked at so often.
const TABLES: u32 = 10;

type Seen = Vec<(PathBuf, u64, SystemTime)>;

/// What is known of the folder, and the thread that looks at it.
#[derive(Default)]
pub struct Contracts {
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
    unfit: Mutex<Vec<String>>,
}

impl Contracts {
    /// Looks no more. No table is opened after this.
    pub fn stop(&self) {
        self.stop.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last to hold the lake may be that thread itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }

    /// Contracts that cannot be used, and why.
    pub fn unfit(&self) -> Vec<String> {
        self.unfit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, found: Vec<String>) {
        let mut unfit = self.unfit.lock().unwrap_or_else(PoisonError::into_inner);
        if *unfit != found {
            telemetry::contracts_unfit(&found);
            *unfit = found;
        }
    }
}

/// Looks at the folder of a lake that is served, until it is drained.
///
/// # Errors
/// Of the thread.
pub fn watch(lake: &Arc<Lake>) -> Result<()> {
    let (weak, stop) = (Arc::downgrade(lake), lake.contracts().stop.clone());
    let looks = move || {
        let mut looks = Looks::default();
        while !stop.is_stopping() {
            match weak.upgrade() {
                Some(lake) => looks.look(&lake),
                None => return,
            }
            stop.pause(EVERY);
        }
    };
    let thread = std::thread::Builder::new().name("contracts".into()).spawn(looks).map_err(Error::from)?;
    *lake.contracts().thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(())
}

/// What the looks before have seen.
#[derive(Default)]
pub struct Looks {
    count: u32,
    last: Option<Seen>,
    read: Option<Seen>,
}

impl Looks {
    /// Looks once.
    pub fn look(&mut self, lake: &Lake) {
        if self.count.is_multiple_of(TABLES) {
            for table in lake.tables() {
                match lake.catalog().load(&table.stages.ident) {
                    Ok(table) => lake.force().follow(&table),
                    Err(error) => tracing::debug!(table = table.name, %error, "not looked at for its contract"),
                }
            }
        }
        self.count = self.count.wrapping_add(1);
        if lake.settings().schemas.as_os_str().is_empty() {
            return;
        }
        match seen(lake) {
            Ok(seen) if self.last.as_ref() != Some(&seen) => self.last = Some(seen),
            Ok(seen) if self.read.as_ref() == Some(&seen) => {}
            Ok(seen) => self.read = read(lake).then_some(seen),
            Err(error) => {
                // What is told is of this failure now: the next look that succeeds reads all again.
                self.read = None;
                lake.contracts().tell(vec![error.to_string()]);
            }
        }
    }
}

/// Every contract's file and the lock, as they are.
fn seen(lake: &Lake) -> Result<Seen> {
    let (disk, folder) = (lake.system().disk.as_ref(), &lake.settings().schemas);
    let mut seen = Vec::new();
    for path in contract::files(disk, folder)?.into_iter().chain([folder.join(LOCK)]) {
        // A file may be taken away, and there need be no lock.
        if let Ok(stat) = disk.stat(&path) {
            seen.push((path, stat.len, stat.modified));
        }
    }
    Ok(seen)
}

/// Takes up what is there; false if something failed by no fault of what is written there: neither names nor times change
/// when a file can be read again.
fn read(lake: &Lake) -> bool {
    let (disk, folder) = (lake.system().disk.as_ref(), &lake.settings().schemas);
    let (lock, files) = match (Lock::load(disk, folder), contract::files(disk, folder)) {
        (Ok(lock), Ok(files)) => (lock, files),
        (Err(error), _) | (_, Err(error)) => {
            lake.contracts().tell(vec![error.to_string()]);
            return is_written(&error);
        }
    };
    let (mut unfit, mut tables, mut settled) = (Vec::new(), Vec::new(), true);
    for path in files {
        let shown = path.display();
        match contract::load(disk, &path) {
            Ok(contract) if tables.contains(contract.ident()) => {
                unfit.push(format!("{shown}: {} has a contract already; keep one", contract.id()));
            }
            Ok(contract) => {
                tables.push(contract.ident().clone());
                if let Err(error) = lock.check(&contract).and_then(|()| take(lake, contract)) {
                    settled &= is_written(&error);
                    unfit.push(format!("{shown}: {error}"));
                }
            }
            Err(error) => {
                settled &= is_written(&error);
                unfit.push(error.to_string());
            }
        }
    }
    lake.contracts().tell(unfit);
    settled
}

/// Whether it is the text that is wrong: nothing else helps than to write another one.
fn is_written(error: &Error) -> bool {
    error.kind() == Kind::Invalid
}

fn take(lake: &Lake, contract: Contract) -> Result<()> {
    let doors = match lake.table(&contract.id()) {
        Some(doors) => {
            let table = lake.catalog().load(contract.ident())?;
            doors.in_force.given(&table, &contract);
            doors
        }
        None => {
            let doors = lake.open_table(Arc::new(contract))?;
            doors.runs.wanting.store(true, Ordering::SeqCst);
            doors
        }
    };
    if doors.runs.wanting.load(Ordering::SeqCst) {
        // It takes records already: until its lanes run it is tried with each look.
        lake.start_table(&doors)?;
        lake.watch_inboxes()?;
        doors.runs.wanting.store(false, Ordering::SeqCst);
    }
    Ok(())
}

impl Lake {
    /// What is to be told of contracts: those that cannot be used, and those that wait.
    pub fn contracts_told(&self) -> Vec<String> {
        let waiting = self.tables().into_iter().filter_map(|table| {
            let waiting = table.in_force.status().waiting?;
            Some(format!("{} version {} is not in force: {}", table.name, waiting.version, waiting.reason))
        });
        self.contracts().unfit().into_iter().chain(waiting).collect()
    }
}
