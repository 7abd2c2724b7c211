//! What follows a commit by REST: its metadata file becomes durable, the version hint moves, old files are deleted.
//!
//! Such a commit waits for the disk once. Its metadata file gets its name whole, but is not synced; what it holds goes
//! into the transaction that moves the pointer ([`State::body`]), and that transaction is what the commit waits for. Here,
//! within moments, the file and its folder are synced, the hint follows, and the body is forgotten. At start the files of
//! all bodies that are still kept are written anew, so a power cut at any time leaves the table as it was answered.
//!
//! - A file that the next commit overtakes is not synced any more: from then on only a metadata log names it, and nothing
//!   reads those but to delete them. So a table in a hurry costs a sync a round, not one a commit. After a power cut such
//!   a file can be short.
//! - The hint never names a file that is not durable, and never moves back: whoever writes it while its folder waits
//!   here takes the folder out first.
//! - A round begins at once if nothing went on, and then [`PERIOD`] after the last: that is how long the hint may lag.
//!   A file that cannot be synced is written anew from its body, once; if that fails too, its body stays, is what
//!   everybody reads, and goes with the table's next commit or the next start.
//!
//! Not for new tables, whose folders are not durable; not for large metadata, which would go through SQLite's log twice;
//! not for what has to sync other files anyway; not for requests that may come again, whose answer is their file; not
//! where the database is elsewhere. A simulated disk is settled on the
//! committing thread, so that the order of calls is the same in each run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::names::folder_of;
use crate::error::Result;
use crate::hint;
use crate::state::State;
use crate::store::{Placed, Store};

/// Metadata in bytes that goes this way, at most.
pub(super) const BODY: usize = 64 << 10;

/// Tables that wait here, at most; each holds a file open.
const TABLES: usize = 256;

/// From one round's end to the next.
const PERIOD: Duration = Duration::from_millis(200);

/// The rounds and the thread that makes them, which there is from the first commit on.
#[derive(Debug)]
pub(super) struct Settling {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: State,
    store: Store,
    queue: Mutex<Queue>,
    /// Held through a round.
    round: Mutex<()>,
    /// Held while a hint is written.
    hinting: Mutex<()>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The last file of each folder, that is of each table.
    waiting: BTreeMap<String, Placed>,
    /// The folders of the round under way whose hint is still its to write.
    under_way: BTreeSet<String>,
    /// Metadata files to be deleted.
    fallen: Vec<String>,
    /// Whether the thread waits for something to do.
    rests: bool,
    stops: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Settling {
    pub fn new(state: State, store: Store) -> Self {
        let (queue, round, hinting) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { state, store, queue, round, hinting }), thread: Mutex::default() }
    }

    /// Whether so many more tables may wait here.
    pub fn has_room(&self, tables: usize) -> bool {
        locked(&self.shared.queue).waiting.len() + tables <= TABLES
    }

    /// A table points to this file, whose body is kept. The table's lock is held.
    pub fn follow(&self, placed: Placed) {
        let folder = folder_of(placed.location()).to_string();
        let before = locked(&self.shared.queue).waiting.insert(folder, placed);
        // Closing a file takes a while, and others wait for the queue.
        drop(before);
        self.wake();
    }

    /// A table points to this file, which is durable: the hint follows now. The table's lock is held.
    pub fn follow_durable(&self, location: &str) {
        self.shared.point(location, true);
    }

    /// These are to be deleted: with the next round, or while a commit waits for the disk.
    pub fn let_go(&self, files: impl Iterator<Item = String>) {
        locked(&self.shared.queue).fallen.extend(files);
    }

    /// Deletes what is to be deleted.
    pub fn sweep(&self) {
        self.shared.sweep();
    }

    /// Makes a file durable whose body is kept, and forgets the body.
    ///
    /// # Errors
    /// Database errors; storage errors.
    pub fn settle(&self, location: &str) -> Result<()> {
        if !self.shared.state.is_embedded() || self.shared.state.body(location)?.is_none() {
            return Ok(());
        }
        self.shared.make_round();
        self.shared.restore(location)?;
        self.shared.state.forget_bodies(&[location.to_string()])
    }

    /// At start: writes the files anew whose bodies are kept, if something points to them, and forgets the bodies. Gives
    /// those that cannot be written; they are read from their bodies.
    ///
    /// # Errors
    /// Database errors.
    pub fn recover(&self, pointed: &BTreeSet<&str>) -> Result<BTreeSet<String>> {
        let restore = |location: &String| {
            let restored = if pointed.contains(location.as_str()) { self.shared.restore(location) } else { Ok(()) };
            if let Err(error) = &restored {
                tracing::warn!(metadata = location, %error, "{LAGS}");
            }
            restored.is_ok()
        };
        let (done, left): (Vec<String>, Vec<String>) = self.shared.state.unsynced()?.into_iter().partition(restore);
        self.shared.state.forget_bodies(&done)?;
        Ok(left.into_iter().collect())
    }

    fn wake(&self) {
        // One call after another in each run: no thread.
        if self.shared.store.disk().parallel_syncs() == 1 {
            return self.shared.make_round();
        }
        let mut queue = locked(&self.shared.queue);
        let (rests, stops) = (std::mem::take(&mut queue.rests), queue.stops);
        drop(queue);
        let mut thread = locked(&self.thread);
        match thread.as_ref() {
            Some(thread) if rests => thread.thread().unpark(),
            Some(_) => {}
            None if stops => {}
            None => {
                let shared = self.shared.clone();
                let spawned = std::thread::Builder::new().name("settle".into()).spawn(move || shared.run());
                match spawned {
                    Ok(spawned) => *thread = Some(spawned),
                    Err(_) => self.shared.make_round(),
                }
            }
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        locked(&self.shared.queue).stops = true;
        if let Some(thread) = locked(&self.thread).take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        self.shared.make_round();
    }
}

const LAGS: &str =
    "a metadata file is not durable yet; the database keeps what it holds until the next commit or start";

impl Shared {
    fn run(&self) {
        loop {
            let mut queue = locked(&self.queue);
            if queue.stops {
                return;
            }
            queue.rests = queue.waiting.is_empty();
            let rests = queue.rests;
            drop(queue);
            if rests {
                std::thread::park();
                continue;
            }
            self.make_round();
            self.store.system().clock.pause(PERIOD);
        }
    }

    fn make_round(&self) {
        let _alone = locked(&self.round);
        let mut queue = locked(&self.queue);
        let waiting = std::mem::take(&mut queue.waiting);
        queue.under_way = waiting.keys().cloned().collect();
        drop(queue);
        let mut durable = Vec::with_capacity(waiting.len());
        for placed in waiting.into_values() {
            let location = placed.location().to_string();
            match self.store.settle(placed).or_else(|_| self.restore(&location)) {
                Ok(()) => durable.push(location),
                Err(error) => tracing::warn!(metadata = location, %error, "{LAGS}"),
            }
        }
        for location in &durable {
            self.point(location, false);
        }
        if let Err(error) = self.state.forget_bodies(&durable) {
            tracing::warn!(%error, "metadata files are durable, and the database keeps them once more until the next start");
        }
        self.sweep();
    }

    /// Writes a file anew from its body, if that is still kept: otherwise the table has gone on.
    fn restore(&self, location: &str) -> Result<()> {
        match self.state.body(location)? {
            Some(body) => self.store.replace_durably(location, &body),
            None => Ok(()),
        }
    }

    /// Moves the hint, for a commit, or for the round that has the folder unless a commit took it.
    fn point(&self, location: &str, takes: bool) {
        let _alone = locked(&self.hinting);
        let mut queue = locked(&self.queue);
        let folder = folder_of(location);
        let is_ours = queue.under_way.remove(folder);
        if takes {
            queue.waiting.remove(folder);
        }
        drop(queue);
        if takes || is_ours {
            hint::point(&self.store, location);
        }
    }

    fn sweep(&self) {
        let fallen = std::mem::take(&mut locked(&self.queue).fallen);
        for file in fallen {
            let _ = self.store.delete(&file);
        }
    }
}
