//! How far a lane is, for those who wait for it and those who look at it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::force::ContractStatus;
use crate::error::Error;
use crate::flow::{Mark, Reach};
use crate::ingest::inbox::Failure;

/// What a lane is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum LaneState {
    /// Reading its mark.
    #[default]
    Starting,
    /// Taking records in.
    Running,
    /// Something does not answer; it tries again.
    Retrying {
        /// Why.
        reason: String,
        /// Since when, in ms since 1970.
        since_ms: i64,
    },
    /// It needs somebody.
    Halted {
        /// Why.
        reason: String,
    },
    /// Drained.
    Closed,
}

/// Figures of a lane since the daemon started.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LaneStatus {
    /// Its id.
    pub lane: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: LaneState,
    /// Its mark in the table.
    pub mark: String,
    /// The next entry's number.
    pub next_entry: u64,
    /// Bytes that are durable but not committed (files: how many).
    pub backlog: u64,
    /// Age of the oldest of them, in seconds.
    pub lag_seconds: f64,
    /// Commits.
    pub commits: u64,
    /// Rows committed.
    pub rows: u64,
    /// Records quarantined.
    pub rejects: u64,
    /// When it last committed, in ms since 1970.
    pub last_commit_ms: Option<i64>,
    /// How many times longer than its age a commit waits.
    pub age_stretch: f64,
    /// Sources that were stopped lately.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<Failure>,
}

/// A table with its lanes.
#[derive(Clone, Debug, Serialize)]
pub struct TableStatus {
    /// `ns.table`.
    pub table: String,
    /// Its contract.
    pub contract: ContractStatus,
    /// Its current snapshot.
    pub snapshot_id: Option<i64>,
    /// Rows in it, as its summary says.
    pub total_records: Option<u64>,
    /// Its lanes.
    pub lanes: Vec<LaneStatus>,
}

/// Shared between a lane's worker and its doors.
#[derive(Debug)]
pub struct Progress {
    reach: watch::Sender<Reach>,
    status: Mutex<LaneStatus>,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Self {
        let status = LaneStatus { age_stretch: 1.0, ..LaneStatus::default() };
        Self { reach: watch::Sender::default(), status: Mutex::new(status) }
    }

    fn lock(&self) -> MutexGuard<'_, LaneStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is, to wait for.
    pub fn watch(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// The mark.
    pub fn mark(&self) -> Mark {
        self.reach.borrow().mark
    }

    /// The table's mark is this.
    pub fn reached(&self, mark: Mark) {
        self.reach.send_modify(|reach| reach.mark = mark);
    }

    /// The lane does this now.
    pub fn set(&self, state: LaneState) {
        let halted = matches!(state, LaneState::Halted { .. });
        self.lock().state = state;
        self.reach.send_modify(|reach| reach.halted = halted);
    }

    /// The lane failed and tries again; keeps since when.
    pub fn retrying(&self, error: &Error, now_ms: i64) {
        let mut status = self.lock();
        let since_ms = match &status.state {
            LaneState::Retrying { since_ms, .. } => *since_ms,
            _ => now_ms,
        };
        status.state = LaneState::Retrying { reason: error.to_string(), since_ms };
    }

    /// Changes the figures.
    pub fn update(&self, change: impl FnOnce(&mut LaneStatus)) {
        change(&mut self.lock());
    }

    /// The figures.
    pub fn status(&self) -> LaneStatus {
        let mut status = self.lock().clone();
        status.mark = self.mark().to_string();
        status
    }

    /// Why the lane is halted, if it is.
    pub fn halted(&self) -> Option<String> {
        match &self.lock().state {
            LaneState::Halted { reason } => Some(reason.clone()),
            _ => None,
        }
    }
}

/// Commit ages, stretched as they are, that an acknowledged record may wait while its lane commits nothing.
const LATE_AGES: f64 = 12.0;
/// Seconds it may wait in any case.
const LATE_LEAST: f64 = 60.0;

/// Whether a lane commits nothing, although what it acknowledged should long be in the table. A lane that works off a
/// backlog commits; it is behind, not late.
pub fn is_late(lane: &LaneStatus, commit_age: Duration, now_ms: i64) -> bool {
    let most = (commit_age.as_secs_f64() * lane.age_stretch.max(1.0) * LATE_AGES).max(LATE_LEAST);
    let idle = lane.last_commit_ms.is_none_or(|at| (now_ms - at) as f64 / 1000.0 > most);
    idle && lane.lag_seconds > most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_late_only_if_it_commits_nothing() {
        let lane = |lag_seconds, last_commit_ms, age_stretch| LaneStatus {
            lag_seconds,
            last_commit_ms,
            age_stretch,
            ..LaneStatus::default()
        };
        let late = |lane: LaneStatus| is_late(&lane, Duration::from_secs(10), 1_000_000);
        assert!(late(lane(121.0, None, 1.0)));
        assert!(!late(lane(119.0, None, 1.0)), "twelve ages are not over");
        assert!(!late(lane(500.0, Some(990_000), 1.0)), "it works off a backlog");
        assert!(late(lane(500.0, Some(800_000), 1.0)));
        assert!(!late(lane(121.0, None, 2.0)), "its commits are stretched");
        assert!(!is_late(&lane(59.0, None, 1.0), Duration::from_secs(1), 0), "a minute in any case");
    }
}
