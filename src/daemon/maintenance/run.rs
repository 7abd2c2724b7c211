//! One run: written down when it begins and when it ends, and asked before each step whether it may go on.
//!
//! A run may go on until its deadline, while nobody cancels it and the daemon is not stopped. Before a step it gives way to
//! ingestion, no longer than `maintenance.yield_most`; after it, it rests as long as `maintenance.rate` asks for. Steps
//! themselves are not interrupted: they are bounded, and what they have written is committed or gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iceberg::TableIdent;
use laked_catalog::{Run, RunState};
use serde::Serialize;
use serde_json::Value;

use super::Means;
use crate::budget::Reservation;
use crate::error::{Error, Result};
use crate::maintain::policy::Task;
use crate::telemetry::maintenance as telemetry;

/// How long it waits before it looks again whether it may go on.
const PAUSE: Duration = Duration::from_millis(100);

/// How far a run is.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// What it is doing.
    pub doing: String,
    /// Steps that are committed.
    pub steps: u64,
    /// Partitions of this step, and those that are rewritten.
    pub partitions: usize,
    /// See `partitions`.
    pub rewritten: usize,
    /// Seconds that it waited for ingestion.
    pub yielded_seconds: f64,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Current {
    /// As it was written down.
    pub run: Run,
    cancelled: AtomicBool,
    progress: Mutex<Progress>,
}

impl Current {
    /// Asks it to end before its next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how far it is.
    pub fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Why a run does not go on.
#[derive(Debug)]
pub enum Ended {
    /// It was cancelled, stopped, or its deadline came.
    Before(RunState),
    /// It failed.
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error)
    }
}

/// A run under way.
pub struct Running<'a> {
    means: &'a Means,
    task: Task,
    current: Arc<Current>,
    began: Duration,
    deadline: Duration,
}

/// What a run is to be.
pub struct Wanted<'a> {
    /// The table.
    pub ident: &'a TableIdent,
    /// What is done.
    pub task: Task,
    /// Why.
    pub why: &'a str,
    /// How long it may take, in ms.
    pub deadline_ms: i64,
    /// The table's last sequence number.
    pub sequence: i64,
}

impl<'a> Running<'a> {
    /// Begins a run; `None` while another daemon has one of this table.
    ///
    /// # Errors
    /// Database errors.
    pub fn begin(means: &'a Means, wanted: &Wanted<'_>) -> Result<Option<Running<'a>>> {
        let clock = &means.system.clock;
        let (began_ms, began) = (clock.now_ms(), clock.monotonic());
        let run = Run {
            id: means.system.ids.uuid().to_string(),
            table: wanted.ident.clone(),
            task: wanted.task.name().to_string(),
            state: RunState::Running,
            why: wanted.why.to_string(),
            began_ms,
            ended_ms: None,
            deadline_ms: began_ms.saturating_add(wanted.deadline_ms),
            sequence: wanted.sequence,
            report: Value::Null,
        };
        let kept_ms = i64::try_from(means.settings.kept.get().as_millis()).unwrap_or(i64::MAX);
        if !means.catalog.begin_run(&run, began_ms.saturating_sub(kept_ms))? {
            return Ok(None);
        }
        telemetry::run_began(&wanted.ident.to_string(), wanted.task.name(), &run.id, wanted.why);
        let deadline = began + Duration::from_millis(u64::try_from(wanted.deadline_ms).unwrap_or(0));
        let current = Current { run, cancelled: AtomicBool::new(false), progress: Mutex::default() };
        let current = Arc::new(current);
        *means.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current.clone());
        Ok(Some(Running { means, task: wanted.task, current, began, deadline }))
    }

    /// What others see of it.
    pub fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// Whether the next step may be taken.
    ///
    /// # Errors
    /// Why not.
    pub fn may_go_on(&self) -> Result<(), Ended> {
        if self.current.cancelled.load(Ordering::SeqCst) {
            return Err(Ended::Before(RunState::Cancelled));
        }
        if self.means.stop.is_stopping() {
            return Err(Ended::Before(RunState::Stopped));
        }
        if self.means.system.clock.monotonic() >= self.deadline {
            return Err(Ended::Before(RunState::Overdue));
        }
        Ok(())
    }

    /// Waits while ingestion is in need, but not for ever; gives whether it waited.
    ///
    /// # Errors
    /// As [`Running::may_go_on`].
    pub fn give_way(&self) -> Result<bool, Ended> {
        self.may_go_on()?;
        let began = self.means.system.clock.monotonic();
        let most = self.means.settings.yield_most.get();
        let waited = || self.means.system.clock.monotonic().saturating_sub(began);
        while let Some(why) = self.means.need().filter(|_| waited() < most) {
            self.current.note(|progress| progress.doing = format!("waits for ingestion: {why}"));
            self.means.stop.pause(PAUSE);
            self.may_go_on()?;
        }
        let waited = waited();
        if waited >= PAUSE {
            telemetry::yielded(waited);
        }
        self.current.note(|progress| progress.yielded_seconds += waited.as_secs_f64());
        Ok(waited >= PAUSE)
    }

    /// Memory out of the one budget; waits until it is free.
    ///
    /// # Errors
    /// As [`Running::may_go_on`].
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Ended> {
        loop {
            if let Some(held) = self.means.budget.try_reserve(bytes) {
                return Ok(held);
            }
            self.current.note(|progress| progress.doing = "waits for memory".into());
            self.means.stop.pause(PAUSE);
            self.may_go_on()?;
        }
    }

    /// Rests after a step that began then and rewrote so many bytes, as long as the rate asks for.
    ///
    /// # Errors
    /// As [`Running::may_go_on`].
    pub fn rest(&self, bytes: u64, began: Duration) -> Result<(), Ended> {
        let rate = self.means.settings.rate.bytes().max(1);
        let until = began + Duration::from_millis(bytes.saturating_mul(1000) / rate);
        loop {
            let left = until.saturating_sub(self.means.system.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            self.may_go_on()?;
            self.current.note(|progress| progress.doing = "rests, as maintenance.rate asks for".into());
            self.means.stop.pause(left.min(PAUSE));
        }
    }

    /// Ends it, and writes that down. A run whose end cannot be written down holds its table until its deadline.
    ///
    /// # Errors
    /// What it failed for; database errors.
    pub fn end(self, ended: Result<(), Ended>, mut report: Value) -> Result<RunState> {
        let (state, failed) = match ended {
            Ok(()) => (RunState::Done, None),
            Err(Ended::Before(state)) => (state, None),
            Err(Ended::Failed(error)) => (RunState::Failed, Some(error)),
        };
        if let (Some(error), Value::Object(fields)) = (&failed, &mut report) {
            fields.insert("error".into(), error.to_string().into());
        }
        *self.means.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (clock, run) = (&self.means.system.clock, &self.current.run);
        let took = clock.monotonic().saturating_sub(self.began);
        let written = self.means.catalog.end_run(&run.id, state, &report);
        telemetry::run_ended(&run.table.to_string(), self.task.name(), (&run.id, state.word()), took, clock.now_ms());
        match (failed, written) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(state),
        }
    }
}
