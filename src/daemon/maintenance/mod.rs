//! What is done to tables by itself: one worker that follows commits and the clock, one run at a time.
//!
//! `maintain::policy` says what is to be done to a table, `maintain::schedule` when; this is who does it. The worker is
//! woken by each commit, of ingestion or of a client, and by the clock; it looks anew at the tables that changed and at
//! those whose time has come, and attends to the one that has waited longest. Tables that nobody looks after are forgotten
//! until they change; every hour all tables are gone through, because a property may have come by another daemon.
//!
//! # The budget
//! A run ends after five minutes, unless the settings say otherwise, and goes on once others had their turn. One thread, of
//! a lower priority than ingestion's (Linux gives it a tenth of a core that both want), and as many as
//! `maintenance.threads` says while files are rewritten, of the same priority. Memory is reserved from the lake's one budget.
//! Before each step it gives way to ingestion ([`run`]), and after it rests, so that the disk is not its own.
//!
//! # After a crash
//! Runs are written down when they begin. Those that a dead daemon of this lake had begun are marked as cut off at the
//! start, and due at once: planned anew, because a plan is of the table as it was. What they had staged is gone by the
//! commit's intents. If runs keep being cut off, each further try waits longer, or a run that kills its daemon would kill
//! it for ever. What a stop or its deadline ended goes on as well. A run that panics fails, and `/health` says so: files of
//! others must not end the daemon.

mod known;
pub mod pressure;
mod routes;
mod run;
mod tasks;
mod wake;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use iceberg::TableIdent;
use laked_catalog::Catalog;
use laked_catalog::system::System;

use self::known::{Above, Known, Tables};
pub use self::routes::{RULES, RunView, Schedule, most_of, router};
use self::run::Current;
use self::tasks::{Attended, Errand};
use self::wake::Wake;
use super::lane::Stop;
use crate::budget::Budget;
use crate::commit::Committer;
use crate::config::{Maintenance as Settings, Whose};
use crate::error::{Error, Kind, Result};
use crate::ingest::decode::contained;
use crate::maintain::policy::{Defaults, Silent, Task, Trigger};
use crate::maintain::reach::Reach;
use crate::maintain::schedule::{Due, Look, Next};
use crate::telemetry::maintenance as telemetry;

/// It sleeps no longer than this.
const SLEEP: Duration = Duration::from_secs(10);
/// And no shorter, so that a crowd of commits is looked at together.
const LEAST: Duration = Duration::from_millis(100);
/// How often all tables are gone through.
const SWEEP: Duration = Duration::from_secs(3600);
/// A clock that steps back further than this is told from one that is set right by and by.
const STEP_MS: i64 = 1000;
/// The nice value of its threads.
const NICE: i32 = 10;

/// Why ingestion is in need, if it is.
pub type Pressure = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// With what runs are done.
pub struct Means {
    /// The catalog.
    pub catalog: Catalog,
    /// Commits.
    pub committer: Committer,
    /// The one memory budget.
    pub budget: Budget,
    /// Clock, ids.
    pub system: System,
    /// The settings.
    pub settings: Settings,
    /// Told when the daemon is.
    pub stop: Arc<Stop>,
    /// Whether ingestion is in need; never, where there is none.
    pressure: OnceLock<Pressure>,
    /// The run that goes on.
    current: Mutex<Option<Arc<Current>>>,
    /// What the last expiry has read, and of which table: one that takes a commit a second is expired every minute.
    read: Mutex<(Option<TableIdent>, Reach)>,
    /// What removing orphans has read of all tables in this round.
    round: Mutex<Reach>,
}

impl Means {
    /// The lake's own.
    pub fn new(catalog: Catalog, committer: Committer, budget: Budget, settings: Settings, stop: Arc<Stop>) -> Means {
        let system = catalog.store().system().clone();
        Means {
            catalog,
            committer,
            budget,
            system,
            settings,
            stop,
            pressure: OnceLock::new(),
            current: Mutex::default(),
            read: Mutex::default(),
            round: Mutex::default(),
        }
    }

    /// How long it is since then, in ms.
    fn took_ms(&self, began: Duration) -> i64 {
        i64::try_from(self.system.clock.monotonic().saturating_sub(began).as_millis()).unwrap_or(i64::MAX)
    }

    /// Why ingestion is in need, if it is.
    fn need(&self) -> Option<String> {
        self.pressure.get().and_then(|pressure| pressure())
    }
}

/// Who looks after the tables.
pub struct Maintenance {
    means: Means,
    defaults: Defaults,
    wake: Arc<Wake>,
    tables: Mutex<Tables>,
    above: Mutex<Above>,
}

/// What the settings say.
///
/// # Errors
/// `Invalid` for a trigger that cannot be read.
pub fn defaults(settings: &Settings) -> Result<Defaults> {
    let texts = [&settings.expire, &settings.compact, &settings.manifests, &settings.orphans];
    let mut defaults = Defaults {
        silent: match settings.tables {
            Whose::Contracts => Silent::Contracts,
            Whose::All => Silent::All,
            Whose::None => Silent::None,
        },
        triggers: std::collections::BTreeMap::new(),
        min_inputs: settings.min_inputs,
        hot_files: settings.hot_files,
        deadline_ms: i64::try_from(settings.deadline.get().as_millis()).unwrap_or(i64::MAX),
    };
    for (task, text) in Task::ALL.into_iter().zip(texts) {
        let unfit = |why| Error::new(Kind::Invalid, format!("maintenance.{}: {why}", task.name()));
        defaults.triggers.extend(Trigger::parse(text).map_err(unfit)?.map(|trigger| (task, trigger)));
    }
    Ok(defaults)
}

impl Maintenance {
    /// Over a lake's means; it is told of each of the catalog's commits from now on.
    ///
    /// # Errors
    /// As [`defaults`].
    pub fn new(means: Means) -> Result<Maintenance> {
        let (defaults, wake) = (defaults(&means.settings)?, Arc::new(Wake::default()));
        means.catalog.watch(wake.clone());
        let tables = Mutex::new(Tables::new(means.system.clock.now_ms()));
        Ok(Maintenance { means, defaults, wake, tables, above: Mutex::default() })
    }

    /// Starts the worker, which gives way to this.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(self: &Arc<Self>, pressure: Pressure) -> Result<JoinHandle<()>> {
        let _ = self.means.pressure.set(pressure);
        let own = self.clone();
        let thread = std::thread::Builder::new().name("maintenance".into());
        thread.spawn(move || own.work()).map_err(Error::from)
    }

    /// Wakes the worker: it is to stop.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// The run that goes on.
    pub fn current(&self) -> Option<Arc<Current>> {
        self.means.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why it is not well.
    pub fn ailments(&self) -> Vec<String> {
        self.lock().ailments()
    }

    /// Works until the daemon stops.
    fn work(&self) {
        let lowered = rustix::process::setpriority_process(None, NICE);
        if let Err(error) = lowered {
            tracing::debug!(%error, "maintenance has the priority of ingestion");
        }
        self.mark_cut_off();
        let (mut swept, mut seen_ms) = (None, i64::MIN);
        while !self.means.stop.is_stopping() {
            let (now_ms, now) = (self.means.system.clock.now_ms(), self.means.system.clock.monotonic());
            // What was noted by a clock that has stepped back is set right by a look.
            let stepped_back = now_ms < seen_ms.saturating_sub(STEP_MS);
            if stepped_back || swept.is_none_or(|at| now.saturating_sub(at) >= SWEEP) {
                self.forget_old();
                self.sweep();
                swept = Some(now);
            }
            seen_ms = now_ms;
            self.follow();
            let urgent = self.lock().most_urgent();
            match urgent {
                Some((known, next)) => self.attend(&known, &next),
                None => self.rest(),
            }
        }
    }

    /// Marks what a death had cut off.
    fn mark_cut_off(&self) {
        while !self.means.stop.is_stopping() {
            match self.means.catalog.cut_off_runs() {
                Ok(runs) => {
                    return runs.iter().for_each(|run| telemetry::cut_off(&run.table.to_string(), &run.task, &run.id));
                }
                Err(error) => tracing::warn!(%error, "the ledger of runs cannot be read; it is tried again"),
            }
            self.means.stop.pause(SLEEP);
        }
    }

    /// Nothing is due: until something is.
    fn rest(&self) {
        *self.means.round.lock().unwrap_or_else(PoisonError::into_inner) = Reach::default();
        let sleep = self.lock().sleep(self.means.system.clock.now_ms());
        self.wake.sleep(sleep.clamp(LEAST, SLEEP), LEAST, &self.means.stop);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_old(&self) {
        let kept_ms = i64::try_from(self.means.settings.kept.get().as_millis()).unwrap_or(i64::MAX);
        let from_ms = self.means.system.clock.now_ms().saturating_sub(kept_ms);
        if let Err(error) = self.means.catalog.forget_runs(from_ms) {
            tracing::warn!(%error, "old runs are not forgotten; it is tried again");
        }
    }

    /// Looks anew at every table.
    fn sweep(&self) {
        match self.means.catalog.tables() {
            Ok(idents) => {
                for ident in idents.iter().take_while(|_| !self.means.stop.is_stopping()) {
                    self.look(ident);
                }
            }
            Err(error) => tracing::warn!(%error, "tables cannot be listed; those that change are looked after"),
        }
    }

    /// Looks anew at the tables that changed and those whose time has come.
    fn follow(&self) {
        let (changed, missed) = self.wake.take();
        if missed {
            self.sweep();
        }
        let now_ms = self.means.system.clock.now_ms();
        let mut idents = self.lock().ripe(now_ms);
        idents.extend(changed);
        idents.iter().for_each(|ident| self.look(ident));
        let (tables, due) = self.lock().figures();
        telemetry::schedule(tables, due);
    }

    fn look(&self, ident: &TableIdent) {
        let now_ms = self.means.system.clock.now_ms();
        match self.contained(|| self.known(ident)) {
            Ok(known) => self.lock().put(ident, known, now_ms),
            Err(error) => {
                telemetry::look_failed(&ident.to_string(), &error);
                self.lock().put_off(ident, now_ms);
            }
        }
    }

    /// Does work whose panic is its own failure.
    fn contained<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let panicked = |words| Error::new(Kind::Internal, format!("it panicked: {words}"));
        contained(work).unwrap_or_else(|words| Err(panicked(words)))
    }

    /// A table as it is now, with what is to come of it; `None` if there is none.
    fn known(&self, ident: &TableIdent) -> Result<Option<Known>> {
        let (began_ms, before) = {
            let tables = self.lock();
            (tables.began_ms, tables.known(ident))
        };
        let mut above = self.above.lock().unwrap_or_else(PoisonError::into_inner);
        let properties = above.of(&self.means.catalog, ident.namespace())?;
        drop(above);
        Known::of(&self.means.catalog, (&self.defaults, &properties), ident, before, began_ms)
    }

    fn attend(&self, known: &Known, next: &Next) {
        let (ident, task, name) = (&known.ident, next.task, known.ident.to_string());
        let Some(trigger) = known.policy.triggers.get(&task) else { return };
        let clock = &self.means.system.clock;
        let (began_ms, began) = (clock.now_ms(), clock.monotonic());
        let (policy, facts) = (&known.policy, &known.facts);
        let errand = Errand { means: &self.means, ident, uuid: known.uuid, task, why: &next.why, policy, facts };
        let attended = self.contained(|| errand.attend());
        let (ended_ms, took_ms) = (clock.now_ms(), self.means.took_ms(began));
        let mut past = known.past.get(&task).cloned().unwrap_or_default();
        match attended {
            Ok(Attended::Nothing { found }) => {
                telemetry::looked(&name, task.name());
                past.looked(facts, trigger, Look { began_ms, ended_ms, took_ms, goes_on: false, found });
            }
            Ok(Attended::Ran { goes_on, look_ms, found }) => {
                past.looked(facts, trigger, Look { began_ms, ended_ms, took_ms: look_ms, goes_on, found });
            }
            Ok(Attended::Held) => {
                telemetry::held(&name, task.name());
                past.held(ended_ms);
            }
            Err(error) => {
                telemetry::maintenance_failed(&name, task.name(), &error);
                past.failed(&error, ended_ms);
            }
        }
        self.lock().note(ident, task, past);
        self.look(ident);
    }
}

/// Whether it is due.
fn is_due(next: &Next) -> bool {
    next.due == Due::Now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_read_are_named() {
        let own = defaults(&Settings::default()).expect("are read");
        assert_eq!(own.triggers.keys().map(|task| task.name()).collect::<Vec<_>>(), ["expire", "compact", "orphans"]);
        let refused = defaults(&Settings { compact: "often".into(), ..Settings::default() }).expect_err("no trigger");
        assert!(refused.to_string().starts_with("maintenance.compact: 'often'"), "{refused}");
    }
}
