//! One table's doors and lanes, and what is told of them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use super::force::InForce;
use super::pending::Stages;
use super::progress::{LaneStatus, Progress, TableStatus};
use crate::ingest::inbox::Inbox;
use crate::ingest::push::PushDoor;

/// The tables that are open, by `ns.table`; some come while the daemon runs.
pub type OpenTables = RwLock<BTreeMap<String, Arc<TableDoors>>>;

/// One table with its doors.
pub struct TableDoors {
    /// `ns.table`.
    pub name: String,
    /// What comes after the doors.
    pub(super) stages: Stages,
    /// What its records are held to.
    pub(super) in_force: Arc<InForce>,
    /// Where records are pushed; `None` if it could not be opened.
    pub(super) push: Option<Arc<PushDoor>>,
    /// Where files are dropped; `None` if it could not be opened.
    pub(super) inbox: Option<Arc<Inbox>>,
    /// How far the lane of what is pushed is.
    pub(super) push_progress: Arc<Progress>,
    /// How far the lane of files is.
    pub(super) inbox_progress: Arc<Progress>,
    /// What runs of it.
    pub(super) runs: Runs,
}

/// What runs of a table, so that a start that failed half-way is made good by the next.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// It is to run, and something of it does not yet.
    pub wanting: AtomicBool,
    /// The lane of what is pushed has its worker.
    pub push: AtomicBool,
    /// So has the lane of files.
    pub inbox: AtomicBool,
}

impl TableDoors {
    /// The push door under the contract in force, or why it is halted.
    pub fn push(&self) -> Result<Arc<PushDoor>, String> {
        match (self.push_progress.halted(), &self.push) {
            (Some(reason), _) => Err(reason),
            (None, Some(push)) => Ok(push.under(self.in_force.contract())),
            (None, None) => Err("it could not be opened".into()),
        }
    }

    /// How far the push lane is.
    pub fn pushed(&self) -> tokio::sync::watch::Receiver<crate::flow::Reach> {
        self.push_progress.watch()
    }

    /// The table with its lanes.
    pub fn status(&self) -> TableStatus {
        let table = self.stages.catalog.load(&self.stages.ident).ok();
        let snapshot = table.as_ref().and_then(|t| t.metadata.current_snapshot().cloned());
        let total =
            |s: &iceberg::spec::SnapshotRef| s.summary().additional_properties.get("total-records")?.parse().ok();
        TableStatus {
            table: self.name.clone(),
            contract: self.in_force.status(),
            snapshot_id: snapshot.as_ref().map(|s| s.snapshot_id()),
            total_records: snapshot.as_ref().and_then(total),
            lanes: self.lanes().into(),
        }
    }

    /// Its lanes: what is pushed, and files.
    pub fn lanes(&self) -> [LaneStatus; 2] {
        [self.push_status(), self.inbox_status()]
    }

    fn push_status(&self) -> LaneStatus {
        let mut status = self.push_progress.status();
        if let Some(push) = &self.push {
            let spool = push.spool.status();
            let now = self.stages.system.clock.now_ms();
            status.next_entry = spool.next_entry;
            status.backlog = spool.bytes;
            status.lag_seconds = spool.oldest_ms.map_or(0.0, |at| (now - at).max(0) as f64 / 1000.0);
        }
        status
    }

    fn inbox_status(&self) -> LaneStatus {
        let mut status = self.inbox_progress.status();
        if let Some(inbox) = &self.inbox {
            let (claims, next) = inbox.pending();
            status.next_entry = next;
            status.backlog = claims as u64;
            let now = self.stages.system.clock.now_ms();
            status.lag_seconds = inbox.oldest_ms().map_or(0.0, |at| (now - at).max(0) as f64 / 1000.0);
            status.stopped = inbox.failures();
        }
        status
    }
}
