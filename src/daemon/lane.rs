//! A lane's worker: takes entries in order, commits them by size or age, and gives what is covered back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::force::InForce;
use super::pending::{Pending, Stages};
use super::progress::{LaneState, Progress};
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::flow::{Door, LaneId, Mark};
use crate::ingest::inbox::Inbox;
use crate::ingest::push::PushDoor;
use crate::telemetry;

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Where a lane's entries come from.
#[derive(Clone)]
pub enum Feed {
    /// Pushed batches.
    Push(Arc<PushDoor>),
    /// Files.
    Files(Arc<Inbox>),
}

/// When a lane commits.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Rows wait no longer than this …
    pub age: Duration,
    /// … but where a commit takes longer, up to this.
    pub age_most: Duration,
    /// Rows of this many bytes are committed at once.
    pub size: u64,
}

/// One lane's worker.
pub struct Worker {
    pub(super) stages: Stages,
    pub(super) feed: Feed,
    pub(super) lane: LaneId,
    pub(super) name: String,
    /// What the file is held to that is being read.
    pub(super) contract: Arc<Contract>,
    pub(super) in_force: Arc<InForce>,
    pub(super) progress: Arc<Progress>,
    pub(super) pace: Pace,
    pub(super) stop: Arc<Stop>,
    /// How long the last commits took, smoothed.
    pub(super) took: Duration,
}

/// What taking an entry came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Records were taken, or an entry was passed over.
    Some,
    /// Nothing came in time.
    Nothing,
    /// Nothing will come.
    Closed,
    /// The next entry wants a commit of its own, or was held to another contract.
    CommitFirst,
    /// What is pending is void: begin again at the mark.
    Discard,
}

/// Tells workers to stop waiting between tries.
#[derive(Debug, Default)]
pub struct Stop {
    stopping: AtomicBool,
    lock: Mutex<()>,
    told: Condvar,
}

impl Stop {
    /// No more tries.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.told.notify_all();
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits, but not when stopping.
    pub fn pause(&self, pause: Duration) {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_stopping() {
            drop(self.told.wait_timeout(held, pause));
        }
    }
}

/// A lane that its caller runs, on the calling thread.
pub struct Lane(pub(super) Worker);

impl Lane {
    /// Takes in what there is now, and commits it.
    ///
    /// # Errors
    /// `Unavailable`, `Conflict`, `Unknown`: it may pass, and the next call begins again at the table's mark, as the
    /// worker does after a pause. Any other kind would halt the lane.
    pub fn catch_up(&mut self) -> Result<()> {
        self.0.session(Until::Idle)
    }

    /// Whether a failure of this kind may pass by itself; any other halts the lane.
    pub fn may_pass(kind: Kind) -> bool {
        passes(kind)
    }

    /// How far it is in its table, as far as it was told.
    pub fn mark(&self) -> Mark {
        self.0.progress.mark()
    }
}

/// When a lane's session ends, if nothing fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The feed is closed and drained.
    Closed,
    /// There is nothing to take.
    Idle,
}

impl Worker {
    /// Runs until the feed is closed and drained, or the lane halts.
    pub fn run(mut self) {
        let mut pause = PAUSE_FIRST;
        loop {
            let committed_before = self.progress.status().commits;
            let error = match self.session(Until::Closed) {
                Ok(()) => return self.progress.set(LaneState::Closed),
                Err(error) => error,
            };
            if self.progress.status().commits > committed_before {
                pause = PAUSE_FIRST;
            }
            if !passes(error.kind()) {
                telemetry::lane_halted(&self.name, self.door(), &error);
                return self.progress.set(LaneState::Halted { reason: error.to_string() });
            }
            telemetry::lane_failed(&self.name, self.door(), &error, pause);
            self.progress.retrying(&error, self.stages.system.clock.now_ms());
            if self.stop.is_stopping() && pause >= PAUSE_MOST {
                // What is durable waits for the next start.
                return;
            }
            self.stop.pause(pause);
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }

    /// Whether what is pending is to be committed now.
    pub(super) fn is_due(&self, pending: &Pending) -> bool {
        let waited = pending.waits(self.age()) == Some(Duration::ZERO);
        !pending.is_empty() && (waited || pending.bytes() >= self.pace.size)
    }

    fn door(&self) -> Door {
        self.lane.door
    }

    /// From the table's mark until the feed ends or something fails.
    fn session(&mut self, until: Until) -> Result<()> {
        let mut pending = Pending::new(&self.stages, self.lane)?;
        self.cover(pending.next)?;
        loop {
            self.progress.set(LaneState::Running);
            let wait = match until {
                Until::Closed => pending.waits(self.age()),
                Until::Idle => Some(Duration::ZERO),
            };
            if self.is_due(&pending) {
                pending = self.commit(pending)?;
                continue;
            }
            let taken = match self.feed.clone() {
                Feed::Push(push) => self.take_pushed(&push, &mut pending, wait)?,
                Feed::Files(inbox) => self.take_file(&inbox, &mut pending, wait)?,
            };
            match taken {
                Taken::Nothing if until == Until::Idle && pending.is_empty() => return Ok(()),
                Taken::Nothing if until == Until::Idle => pending = self.commit(pending)?,
                Taken::Some | Taken::Nothing => {}
                Taken::CommitFirst => pending = self.commit(pending)?,
                Taken::Discard => pending = self.renew(pending.next)?,
                Taken::Closed if pending.is_empty() => return Ok(()),
                Taken::Closed => pending = self.commit(pending)?,
            }
        }
    }

    /// Commits, says so to all who wait, and begins the next.
    pub(super) fn commit(&mut self, pending: Pending) -> Result<Pending> {
        let (mark, done) = pending.commit()?;
        self.took = (self.took + done.seal + done.commit) / 2;
        let stretch = self.age().as_secs_f64() / self.pace.age.as_secs_f64().max(0.001);
        telemetry::age_stretch(&self.name, self.door(), stretch);
        let now = self.stages.system.clock.now_ms();
        self.progress.update(|status| {
            status.commits += 1;
            status.rows += done.rows;
            status.rejects += done.rejects;
            status.last_commit_ms = Some(now);
            status.age_stretch = stretch;
        });
        self.cover(mark)?;
        Pending::new(&self.stages, self.lane)
    }

    /// A pending without what is void, that has passed over what `next` passed over.
    fn renew(&self, next: Mark) -> Result<Pending> {
        let mut fresh = Pending::new(&self.stages, self.lane)?;
        fresh.next = fresh.next.max(next);
        Ok(fresh)
    }

    fn cover(&self, mark: Mark) -> Result<()> {
        match &self.feed {
            Feed::Push(push) => push.spool.covered(mark)?,
            Feed::Files(inbox) => inbox.covered(mark)?,
        }
        self.progress.reached(mark);
        Ok(())
    }

    /// The age at which a commit is due: stretched to what commits take, so that they never follow one another
    /// without a pause that lets rows gather.
    fn age(&self) -> Duration {
        self.pace.age.max(self.took.min(self.pace.age_most))
    }
}

/// Whether a failure of this kind may pass by itself.
fn passes(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Conflict | Kind::Unknown)
}

/// A failure in an entry that was acknowledged: no fault of the sender any more.
pub fn acknowledged(error: Error, lane: LaneId, entry: u64) -> Error {
    error.with("lane", lane).with("entry", entry)
}
