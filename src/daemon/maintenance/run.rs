//! One run: written down when it begins and when it ends, and asked before each step whether it may go on.
//!
//! A run may go on until its deadline, while nobody cancels it and the daemon is not stopped. Before a step it gives way to
//! ingestion, no longer than `maintenance.yield_most`, nor than half of the time it has, so that each run does something;
//! after it, it rests as long as `maintenance.rate` asks for. Steps themselves are not interrupted: they are bounded, and
//! what they have written is committed or gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iceberg::TableIdent;
use laked_catalog::{Run, RunState};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

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
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        telemetry::progress(progress.steps, progress.partitions, progress.rewritten);
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
    /// How long it may take.
    most: Duration,
    ended: bool,
}

/// What a run is to be.
pub struct Wanted<'a> {
    /// The table.
    pub ident: &'a TableIdent,
    /// Its UUID.
    pub uuid: Uuid,
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
            owner: means.catalog.warehouse().to_string(),
            table: wanted.ident.clone(),
            table_uuid: wanted.uuid.to_string(),
            task: wanted.task.name().to_string(),
            state: RunState::Running,
            why: wanted.why.to_string(),
            began_ms,
            ended_ms: None,
            deadline_ms: began_ms.saturating_add(wanted.deadline_ms),
            sequence: wanted.sequence,
            report: Value::Null,
        };
        if !means.catalog.begin_run(&run)? {
            return Ok(None);
        }
        telemetry::run_began(&wanted.ident.to_string(), wanted.task.name(), &run.id, wanted.why);
        let most = Duration::from_millis(u64::try_from(wanted.deadline_ms).unwrap_or(0));
        let current = Current { run, cancelled: AtomicBool::new(false), progress: Mutex::default() };
        let current = Arc::new(current);
        *means.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current.clone());
        Ok(Some(Running { means, task: wanted.task, current, began, most, ended: false }))
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
        if self.means.system.clock.monotonic().saturating_sub(self.began) >= self.most {
            return Err(Ended::Before(RunState::Overdue));
        }
        Ok(())
    }

    /// Waits while ingestion is in need, but not for ever; gives whether it waited.
    ///
    /// # Errors
    /// As [`Running::may_go_on`].
    pub fn give_way(&self) -> Result<bool, Ended> {
        let began = self.means.system.clock.monotonic();
        let ended = self.wait_for_ingestion(began);
        let waited = self.means.system.clock.monotonic().saturating_sub(began);
        if waited >= PAUSE {
            telemetry::yielded(waited);
            self.current.note(|progress| progress.yielded_seconds += waited.as_secs_f64());
        }
        ended.map(|()| waited >= PAUSE)
    }

    fn wait_for_ingestion(&self, began: Duration) -> Result<(), Ended> {
        self.may_go_on()?;
        let most = self.means.settings.yield_most.get().min(self.most / 2);
        let waited = || self.means.system.clock.monotonic().saturating_sub(began);
        while let Some(why) = self.means.need().filter(|_| waited() < most) {
            self.current.note(|progress| progress.doing = format!("waits for ingestion: {why}"));
            self.means.stop.pause(PAUSE);
            self.may_go_on()?;
        }
        Ok(())
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
    pub fn end(mut self, ended: Result<(), Ended>, mut report: Value) -> Result<RunState> {
        let (state, failed) = match ended {
            Ok(()) => (RunState::Done, None),
            Err(Ended::Before(state)) => (state, None),
            Err(Ended::Failed(error)) => (RunState::Failed, Some(error)),
        };
        if let (Some(error), Value::Object(fields)) = (&failed, &mut report) {
            fields.insert("error".into(), error.to_string().into());
        }
        let written = self.write_end(state, &report);
        match (failed, written) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(state),
        }
    }

    fn write_end(&mut self, state: RunState, report: &Value) -> Result<()> {
        self.ended = true;
        *self.means.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (clock, run) = (&self.means.system.clock, &self.current.run);
        let took = clock.monotonic().saturating_sub(self.began);
        let written = self.means.catalog.end_run(&run.id, state, report);
        telemetry::run_ended(&run.table.to_string(), self.task.name(), (&run.id, state.word()), took, clock.now_ms());
        written
    }
}

impl Drop for Running<'_> {
    /// A run that nobody ended panicked.
    fn drop(&mut self) {
        if !self.ended {
            let report = json!({ "error": "it panicked: the daemon's log says where" });
            if let Err(error) = self.write_end(RunState::Failed, &report) {
                tracing::warn!(%error, "the end of a run cannot be written down; it holds its table until its deadline");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use laked_catalog::WhichRuns;
    use laked_catalog::system::Clock;

    use super::*;
    use crate::budget::Budget;
    use crate::commit::Committer;
    use crate::config::{Age, Maintenance, Size};
    use crate::daemon::lane::Stop;
    use crate::maintain::histories::History;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Means over a simulated lake, whose pressure lets a minute pass each time it is asked, and holds so many times.
    fn means(history: &History, yield_most: Age, times: usize) -> Means {
        let (catalog, store) = (history.catalog.clone(), history.store().clone());
        let committer = Committer::new(catalog.clone(), store, "/lake/intents".into()).expect("opens");
        let settings = Maintenance { yield_most, rate: Size::mib(1), ..Maintenance::default() };
        let means = Means::new(catalog, committer, Budget::new(100), settings, Arc::<Stop>::default());
        let (clock, left) = (history.clock.clone(), AtomicUsize::new(times));
        let needs = move || {
            let holds = left.load(Ordering::SeqCst) > 0;
            left.fetch_sub(usize::from(holds), Ordering::SeqCst);
            clock.advance(MINUTE);
            holds.then(|| "it is behind".to_string())
        };
        assert!(means.pressure.set(Arc::new(needs)).is_ok());
        means
    }

    fn begin<'a>(means: &'a Means, history: &'a History, deadline: Duration) -> Running<'a> {
        let deadline_ms = i64::try_from(deadline.as_millis()).expect("a time");
        let (ident, uuid) = (&history.ident, history.table().metadata.uuid());
        let wanted = Wanted { ident, uuid, task: Task::Compact, why: "a test", deadline_ms, sequence: 1 };
        Running::begin(means, &wanted).expect("writes").expect("nobody else has it")
    }

    #[test]
    fn it_gives_way_as_long_as_there_is_need_and_no_longer_than_it_may() {
        let history = History::new(1, &[]);
        let hour = 60 * MINUTE;
        // How often there is need, how long it may wait and take, and how long it waits.
        for (times, most, deadline, waited) in
            [(0, 300, hour, 1), (2, 300, hour, 3), (99, 180, hour, 3), (99, 300, 4 * MINUTE, 2)]
        {
            let means = means(&history, Age::seconds(most), times);
            let running = begin(&means, &history, deadline);
            let began = history.clock.monotonic();
            running.give_way().expect("there is time left to work");
            assert_eq!(history.clock.monotonic() - began, waited * MINUTE, "{times} {most} {deadline:?}");
            let told = running.current().progress().yielded_seconds;
            assert_eq!(told, (waited * MINUTE).as_secs_f64());
            running.end(Ok(()), json!({})).expect("writes");
        }
    }

    #[test]
    fn what_it_waited_is_told_even_if_it_was_ended_meanwhile() {
        let history = History::new(1, &[]);
        let means = means(&history, Age::seconds(300), 99);
        let running = begin(&means, &history, 60 * MINUTE);
        history.clock.advance(57 * MINUTE);
        assert!(matches!(running.give_way(), Err(Ended::Before(RunState::Overdue))));
        assert_eq!(running.current().progress().yielded_seconds, 180.0);
        running.current().cancel();
        assert!(matches!(running.give_way(), Err(Ended::Before(RunState::Cancelled))));
    }

    #[test]
    fn it_waits_for_memory_and_ends_when_it_is_told_to() {
        let history = History::new(1, &[]);
        let means = means(&history, Age::seconds(300), 0);
        let running = begin(&means, &history, 60 * MINUTE);
        let held = running.reserve(60).unwrap_or_else(|_| panic!("it is free"));
        means.stop.stop();
        assert!(matches!(running.reserve(60), Err(Ended::Before(RunState::Stopped))), "60 of 100 are held");
        drop(held);
        assert!(running.reserve(60).is_ok());
        assert!(matches!(running.rest(1 << 30, Duration::ZERO), Err(Ended::Before(RunState::Stopped))));
    }

    #[test]
    fn a_run_that_panics_is_written_down_as_failed_and_leaves_its_table_free() {
        let history = History::new(1, &[]);
        let means = means(&history, Age::seconds(300), 0);
        let panicked = crate::ingest::decode::contained(|| {
            let _running = begin(&means, &history, 60 * MINUTE);
            panic!("a bad file");
        });
        assert_eq!(panicked, Err::<(), _>("a bad file".to_string()));
        assert!(means.current.lock().expect("is free").is_none());
        let runs = means.catalog.runs(&WhichRuns::default(), 9).expect("lists");
        assert_eq!((runs[0].state, runs.len()), (RunState::Failed, 1));
        begin(&means, &history, MINUTE).end(Ok(()), json!({})).expect("writes");
    }
}
