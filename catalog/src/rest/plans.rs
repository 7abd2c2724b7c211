//! The plans that clients hold: prepared scans by plan id, bounded in number, bytes and life.
//!
//! A plan is *spent* once it failed, was cancelled, or each of its plan tasks was fetched: the client may still ask for
//! it, but nobody suffers if it goes. When there is no room, spent plans go first, then plans nobody asked for in
//! [`Bounds::idle`]; after that the next client is told to come later. A plan is of one table: another table's clients
//! do not find it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::plan::{Page, Position, Scan};
use crate::system::System;

/// How much plans may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Plans held.
    pub plans: usize,
    /// Bytes held by all of them, roughly.
    pub weight: usize,
    /// How long a plan is kept that nobody asks for.
    pub life: Duration,
    /// How long a plan must have been idle to make room for another.
    pub idle: Duration,
}

/// A failure that is told again to whoever asks.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What kind.
    pub kind: Kind,
    /// The message.
    pub message: String,
}

/// How far a plan is.
#[derive(Clone, Debug)]
pub enum State {
    /// Being prepared.
    Running,
    /// To be fetched.
    Ready(Arc<Scan>),
    /// Over.
    Failed(Failed),
    /// Given up by its client.
    Cancelled,
}

/// A plan.
#[derive(Debug)]
pub struct Held {
    /// The table it is of.
    table: Uuid,
    /// Whether its work is to end.
    pub cancelled: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    touched: Duration,
    /// Given out and not fetched yet; `None` until the first page was given out.
    open: Option<BTreeSet<Position>>,
}

/// All plans.
#[derive(Debug)]
pub struct Plans {
    bounds: Bounds,
    system: System,
    held: Mutex<HashMap<Uuid, Arc<Held>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plans {
    /// None yet.
    pub fn new(bounds: Bounds, system: System) -> Plans {
        Plans { bounds, system, held: Mutex::default() }
    }

    /// Begins a plan of a table.
    ///
    /// # Errors
    /// `Unavailable` if there is no room.
    pub fn begin(&self, table: Uuid) -> Result<(Uuid, Arc<Held>)> {
        let now = self.system.clock.monotonic();
        let inner = Inner { state: State::Running, touched: now, open: None };
        let plan = Arc::new(Held { table, cancelled: AtomicBool::new(false), inner: Mutex::new(inner) });
        let mut held = lock(&self.held);
        held.retain(|_, plan| plan.idle(now) < self.bounds.life);
        self.make_room(&mut held, now, 1, 0)?;
        let id = self.system.ids.uuid();
        held.insert(id, plan.clone());
        Ok((id, plan))
    }

    /// Lets go of what can be missed until so much more fits.
    fn make_room(&self, held: &mut HashMap<Uuid, Arc<Held>>, now: Duration, plans: usize, weight: usize) -> Result<()> {
        let full = |held: &HashMap<Uuid, Arc<Held>>| {
            let heavy = held.values().map(|plan| plan.weight()).sum::<usize>() + weight > self.bounds.weight;
            held.len() + plans > self.bounds.plans || heavy
        };
        while full(held) {
            let last = held.iter().filter(|(_, plan)| plan.is_spent() || plan.idle(now) >= self.bounds.idle);
            let last = last.max_by_key(|(_, plan)| (plan.is_spent(), plan.idle(now))).map(|(id, _)| *id);
            let last = last.ok_or_else(|| {
                let message = "too many scans are being planned: try again in a minute, or plan in the client";
                Error::new(Kind::Unavailable, message)
            })?;
            if let Some(plan) = held.remove(&last) {
                plan.cancel();
            }
        }
        Ok(())
    }

    /// The end of a plan's preparation; without effect once it is cancelled.
    pub fn settle(&self, plan: &Held, result: Result<Scan>) {
        let weight = result.as_ref().map_or(0, Scan::weight);
        let mut held = lock(&self.held);
        let room = self.make_room(&mut held, self.system.clock.monotonic(), 0, weight);
        plan.settle(room.and(result));
    }

    /// A table's plan.
    pub fn find(&self, id: &str, table: Uuid) -> Option<Arc<Held>> {
        let plan = lock(&self.held).get(&Uuid::parse_str(id).ok()?).cloned()?;
        let now = self.system.clock.monotonic();
        if plan.table != table || plan.idle(now) >= self.bounds.life {
            return None;
        }
        lock(&plan.inner).touched = now;
        Some(plan)
    }
}

impl Held {
    /// How far it is.
    pub fn state(&self) -> State {
        lock(&self.inner).state.clone()
    }

    fn settle(&self, result: Result<Scan>) {
        let mut inner = lock(&self.inner);
        if matches!(inner.state, State::Running) {
            inner.state = match result {
                Ok(scan) => State::Ready(Arc::new(scan)),
                Err(error) => State::Failed(Failed { kind: error.kind(), message: error.to_string() }),
            };
        }
    }

    /// Gives it up.
    pub fn cancel(&self) {
        // In this order: what its work has by then is not taken for the whole.
        lock(&self.inner).state = State::Cancelled;
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Notes what of it was given out, in answer to a position or as the first page.
    pub fn gave(&self, at: Option<Position>, page: &Page) {
        let open = &mut lock(&self.inner).open;
        let open = match at {
            Some(at) => {
                let open = open.get_or_insert_default();
                open.remove(&at);
                open
            }
            // Asked for again, the first page begins everything anew.
            None => open.insert(BTreeSet::new()),
        };
        open.extend(&page.rest);
    }

    fn is_spent(&self) -> bool {
        let inner = lock(&self.inner);
        match inner.state {
            State::Running => false,
            State::Ready(_) => inner.open.as_ref().is_some_and(BTreeSet::is_empty),
            State::Failed(_) | State::Cancelled => true,
        }
    }

    fn idle(&self, now: Duration) -> Duration {
        now.saturating_sub(lock(&self.inner).touched)
    }

    fn weight(&self) -> usize {
        match &lock(&self.inner).state {
            State::Ready(scan) => scan.weight(),
            _ => 0,
        }
    }
}
