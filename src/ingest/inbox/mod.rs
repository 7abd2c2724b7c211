//! The inbox: files dropped into a folder become entries of the table's inbox lane.
//!
//! `DIR/inbox/<ns>.<table>/` is swept by scans; events of the file system only say which folder to look at now. A
//! whole file ([`looks`]) is claimed by renaming it into the spool ([`claim`]), file and folders synced. The pipeline
//! reads claims in order, and says what becomes of each: it moves to `done/`, `failed/` (with a
//! `.reason.json` beside it) or `duplicate/`, where it is kept for days that are set.
//!
//! Few files are claimed ahead of the pipeline; the rest waits in the inbox, where its owner can still see it.

mod claim;
mod expiry;
mod finished;
mod hashes;
mod looks;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use laked_catalog::system::System;
use serde_json::json;
use uuid::Uuid;

use super::durable;
use super::epoch::Epoch;
use crate::error::{Error, Kind, Result};
use crate::flow::{Door, LaneId, Mark, Marks};

pub use claim::{Claim, Record};
pub use finished::{FOLDERS, Finished, finished, remove};
pub use looks::is_ignored;
pub use watch::Watch;

/// Files claimed ahead of the pipeline, at most.
const AHEAD: usize = 64;

/// Where an inbox is and how it behaves.
#[derive(Clone, Debug)]
pub struct Place {
    /// The lake's folder.
    pub lake: PathBuf,
    /// `ns.table`.
    pub table_name: String,
    /// The table's UUID.
    pub table: Uuid,
    /// Clock, ids, disk.
    pub system: System,
    /// How long a file's size must rest.
    pub settle: Duration,
    /// Whether the same bytes are ingested only once.
    pub once: bool,
    /// How long finished files are kept.
    pub kept: Duration,
}

/// What [`Inbox::next`] finds.
#[derive(Debug)]
pub enum Next {
    /// A claimed file.
    Claim(Claim),
    /// Nothing came in time.
    Idle,
    /// The inbox is closed, and claims are read to their end.
    Closed,
}

/// The inbox of one table.
pub struct Inbox {
    place: Place,
    lane: LaneId,
    inbox: PathBuf,
    spool: PathBuf,
    state: Mutex<State>,
    grown: Condvar,
}

struct State {
    claims: BTreeMap<u64, Claim>,
    /// A file on its way from the inbox to `claims`: its rename was asked for.
    claiming: Option<Claim>,
    /// Claims that are passed over, on their way out of the spool.
    leaving: BTreeMap<u64, Leaving>,
    next_entry: u64,
    looks: looks::Looks,
    closed_names: BTreeSet<OsString>,
    hashes: hashes::Hashes,
    closed: bool,
    failed: Vec<Failure>,
    expired: Duration,
}

/// Where a claim goes that no mark will cover.
#[derive(Clone, Debug)]
struct Leaving {
    folder: &'static str,
    /// What is said beside the file.
    reason: Option<Vec<u8>>,
    /// Where it is now, once that is known.
    target: Option<PathBuf>,
}

/// A source that was stopped.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Failure {
    /// Its file name.
    pub file: String,
    /// Why.
    pub reason: String,
    /// When, in ms since 1970.
    pub at_ms: i64,
}

/// Stopped sources that are remembered for `/health`.
const FAILURES: usize = 20;

impl Inbox {
    /// Opens the inbox, makes its folders, finishes what `marks` cover, and takes up the claims that remain.
    pub fn open(place: Place, marks: &Marks) -> Result<Inbox> {
        let disk = place.system.disk.clone();
        let inbox = place.lake.join("inbox").join(&place.table_name);
        let spool = place.lake.join("spool").join(&place.table_name).join("inbox");
        for dir in [&inbox, &spool] {
            durable::make_dirs(disk.as_ref(), dir)?;
        }
        for folder in ["done", "failed", "duplicate"] {
            durable::make_dirs(disk.as_ref(), &place.lake.join(folder).join(&place.table_name))?;
        }
        let epoch = Epoch::open(disk.as_ref(), place.system.ids.as_ref(), &spool, place.table)?;
        let lane = LaneId { door: Door::Inbox, epoch: epoch.epoch };
        let mark = marks.get(&lane).copied();
        let (claims, orphans) = claim::list(disk.as_ref(), &spool, place.system.clock.now_ms())?;
        // A process that died may have left what can be seen and still be lost.
        for claim in &claims {
            sync_claimed(disk.as_ref(), &claim.path)?;
        }
        durable::sync_dir(disk.as_ref(), &spool)?;
        durable::sync_dir(disk.as_ref(), &inbox)?;
        for entry in orphans {
            claim::remove_record(disk.as_ref(), &spool, entry)?;
        }
        let start = mark.unwrap_or_default();
        let hashes = hashes::Hashes::open(disk, &spool, place.system.clock.now_ms())?;
        no_gap(&spool, &claims, mark, hashes.last_entry())?;
        let next_entry = claims.last().map_or(0, |c| c.entry + 1).max(start.entry + u64::from(start.record > 0));
        let state = State {
            claims: claims.into_iter().map(|c| (c.entry, c)).collect(),
            claiming: None,
            leaving: BTreeMap::new(),
            next_entry,
            looks: looks::Looks::default(),
            closed_names: BTreeSet::new(),
            hashes,
            closed: false,
            failed: Vec::new(),
            expired: place.system.clock.monotonic(),
        };
        let inbox = Inbox { place, lane, inbox, spool, state: Mutex::new(state), grown: Condvar::new() };
        inbox.covered(start)?;
        inbox.expire()?;
        Ok(inbox)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane this inbox is.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The folder files are dropped into.
    pub fn folder(&self) -> &Path {
        &self.inbox
    }

    /// Looks at the folder and claims what is whole. Returns whether files remain that may become whole by waiting.
    pub fn sweep(&self) -> Result<bool> {
        let listed = self.list(&self.inbox)?;
        let mut state = self.lock();
        if state.closed {
            return Ok(false);
        }
        let closed_names = std::mem::take(&mut state.closed_names);
        let now = self.place.system.clock.monotonic();
        self.settle_claim(&mut state)?;
        let whole = state.looks.whole(&listed, &|name| closed_names.contains(name), now, self.place.settle);
        let room = AHEAD.saturating_sub(state.claims.len());
        // What finds no room keeps its standing for the next look.
        state.closed_names = whole.iter().skip(room).cloned().collect();
        for name in whole.into_iter().take(room) {
            self.claim(&mut state, &name)?;
        }
        let waiting = state.looks.is_waiting();
        let expire = now.saturating_sub(state.expired) >= expiry::EVERY;
        if expire {
            state.expired = now;
        }
        drop(state);
        self.grown.notify_all();
        if expire {
            self.expire()?;
        }
        Ok(waiting)
    }

    /// The kernel says that a file was closed by its writer or renamed into place.
    pub fn closed_by_writer(&self, name: &OsStr) {
        let mut state = self.lock();
        if !is_ignored(name) && state.closed_names.len() < 100_000 {
            state.closed_names.insert(name.to_owned());
        }
    }

    /// Claims one file.
    fn claim(&self, state: &mut State, name: &OsStr) -> Result<()> {
        self.settle_claim(state)?;
        let path = self.spool.join(claim::claimed_name(state.next_entry, name));
        let since_ms = self.place.system.clock.now_ms();
        state.claiming = Some(Claim { entry: state.next_entry, name: name.to_owned(), path, record: None, since_ms });
        self.settle_claim(state)
    }

    /// Brings the claim under way to its end: rename, then sync the file and both folders. Until it is durable nothing
    /// is read of it, and no other file is claimed, since the entries are numbered in order.
    fn settle_claim(&self, state: &mut State) -> Result<()> {
        let Some(claim) = state.claiming.clone() else { return Ok(()) };
        let disk = self.place.system.disk.as_ref();
        let from = self.inbox.join(&claim.name);
        if let Err(error) = disk.rename_new(&from, &claim.path) {
            // It may have taken effect, now or at an earlier try.
            match disk.stat(&claim.path) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    state.claiming = None;
                    let gone = error.kind() == io::ErrorKind::NotFound;
                    return if gone { Ok(()) } else { Err(Error::from(error).with("file", from.display())) };
                }
                Err(e) => return Err(Error::from(e).with("file", claim.path.display())),
            }
        }
        sync_claimed(disk, &claim.path)?;
        durable::sync_dir(disk, &self.spool)?;
        durable::sync_dir(disk, &self.inbox)?;
        state.claiming = None;
        state.next_entry = claim.entry + 1;
        state.claims.insert(claim.entry, claim);
        Ok(())
    }

    /// Takes a file that the caller names into the inbox lane, by its claim: for tests and for `lakectl --lake`.
    pub fn offer(&self, path: &Path) -> Result<u64> {
        let name = path.file_name().ok_or_else(|| Error::new(Kind::Invalid, "a file has a name"))?;
        let target = self.inbox.join(name);
        self.place.system.disk.rename_new(path, &target).map_err(|e| Error::from(e).with("file", path.display()))?;
        let mut state = self.lock();
        let entry = state.next_entry;
        self.claim(&mut state, name)?;
        drop(state);
        self.grown.notify_all();
        Ok(entry)
    }

    /// The first claim at or after `from`; waits for it as long as `wait`, or for ever.
    pub fn next(&self, from: u64, wait: Option<Duration>) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(claim) = state.first(from) {
                return Next::Claim(claim.clone());
            }
            if state.closed {
                return Next::Closed;
            }
            let Some(wait) = wait else {
                state = self.grown.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, timeout) = self.grown.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.first(from).is_none() {
                return if state.closed { Next::Closed } else { Next::Idle };
            }
        }
    }

    /// The other entry that brought these bytes, if the same bytes are to be ingested once.
    pub fn duplicate_of(&self, hash: &str, entry: u64) -> Option<u64> {
        let state = self.lock();
        self.place.once.then_some(())?;
        let pending =
            state.claims.range(..entry).find_map(|(e, c)| c.record.as_ref().filter(|r| r.hash == hash).map(|_| *e));
        pending.or_else(|| state.hashes.other(hash, entry, self.place.system.clock.now_ms()))
    }

    /// Pins what was read of a claim, durably: to be called before its first commit.
    pub fn pin(&self, entry: u64, record: Record) -> Result<()> {
        claim::write_record(self.place.system.disk.as_ref(), &self.spool, entry, &record)?;
        if let Some(claim) = self.lock().claims.get_mut(&entry) {
            claim.record = Some(record);
        }
        Ok(())
    }

    /// Stops a source that the table holds a part of, durably. Its file goes to `failed/` when the mark has passed it: a
    /// mark inside a file that is not there would tell of a gap.
    pub fn fail_later(&self, entry: u64, reason: String) -> Result<()> {
        let record = self.lock().claims.get(&entry).and_then(|claim| claim.record.clone());
        let record =
            record.ok_or_else(|| Error::new(Kind::Internal, "a part of a file was taken before it was pinned"))?;
        self.pin(entry, Record { failed: Some(reason), ..record })
    }

    /// Stops a source: its file goes to `failed/` now, with the reason beside it. The mark passes its entry later.
    pub fn fail(&self, claim: &Claim, reason: &str, detail: serde_json::Value) -> Result<()> {
        let at_ms = self.place.system.clock.now_ms();
        let name = claim.name.to_string_lossy().into_owned();
        let reason_file =
            json!({ "file": name, "entry": claim.entry, "reason": reason, "at_ms": at_ms, "detail": detail });
        let text = serde_json::to_vec_pretty(&reason_file).unwrap_or_default();
        let mut state = self.lock();
        state.failed.push(Failure { file: name, reason: reason.to_owned(), at_ms });
        let surplus = state.failed.len().saturating_sub(FAILURES);
        state.failed.drain(..surplus);
        drop(state);
        self.leave(claim, Leaving { folder: "failed", reason: Some(text), target: None })
    }

    /// The same bytes were ingested before: the file goes to `duplicate/`.
    pub fn duplicate(&self, claim: &Claim) -> Result<()> {
        self.leave(claim, Leaving { folder: "duplicate", reason: None, target: None })
    }

    /// Takes a claim out of the spool. If that fails half-way the claim is passed over all the same, and
    /// [`Inbox::covered`] goes on with it.
    fn leave(&self, claim: &Claim, leaving: Leaving) -> Result<()> {
        self.lock().leaving.insert(claim.entry, leaving.clone());
        let moved = self.file_away(leaving.folder, claim)?;
        if moved.is_some()
            && let Some(leaving) = self.lock().leaving.get_mut(&claim.entry)
        {
            leaving.target.clone_from(&moved);
        }
        self.filed_away(leaving.folder, claim)?;
        if let (Some(text), Some(target)) = (&leaving.reason, moved.or(leaving.target)) {
            let mut beside = target.into_os_string();
            beside.push(".reason.json");
            durable::replace(self.place.system.disk.as_ref(), Path::new(&beside), text)?;
        }
        let mut state = self.lock();
        state.claims.remove(&claim.entry);
        state.leaving.remove(&claim.entry);
        Ok(())
    }

    /// The table's mark has moved: files it covers are remembered by their hash and go to `done/`.
    pub fn covered(&self, mark: Mark) -> Result<()> {
        let leaving: Vec<_> = {
            let state = self.lock();
            let claim = |entry| state.claims.get(entry).cloned();
            state.leaving.iter().filter_map(|(entry, leaving)| Some((claim(entry)?, leaving.clone()))).collect()
        };
        leaving.into_iter().try_for_each(|(claim, leaving)| self.leave(&claim, leaving))?;
        let done: Vec<Claim> = self.lock().claims.range(..mark.entry).map(|(_, c)| c.clone()).collect();
        for claim in done {
            if let Some(record) = &claim.record {
                self.lock().hashes.add(&record.hash, claim.entry, self.place.system.clock.now_ms())?;
            }
            if let Some(reason) = claim.record.as_ref().and_then(|record| record.failed.as_deref()) {
                self.fail(&claim, reason, json!({ "kind": Kind::Invalid.slug() }))?;
                continue;
            }
            self.file_away("done", &claim)?;
            self.filed_away("done", &claim)?;
            self.lock().claims.remove(&claim.entry);
        }
        Ok(())
    }

    /// Moves a claimed file to `folder`, under its own name if that is free; `None` if it is not in the spool any more.
    fn file_away(&self, folder: &str, claim: &Claim) -> Result<Option<PathBuf>> {
        let disk = self.place.system.disk.as_ref();
        let dir = self.place.lake.join(folder).join(&self.place.table_name);
        let unique = format!("{}-{}", claim.entry, claim.name.to_string_lossy());
        let again = format!("{}-{unique}", self.place.system.ids.uuid().simple());
        let mut moved = None;
        for name in [claim.name.as_os_str(), OsStr::new(&unique), OsStr::new(&again)] {
            let target = dir.join(name);
            match disk.rename_new(&claim.path, &target) {
                Ok(()) => {
                    moved = Some(target);
                    break;
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(Error::from(e).with("file", claim.path.display())),
            }
        }
        Ok(moved)
    }

    /// Makes the move durable, then forgets the claim's record.
    fn filed_away(&self, folder: &str, claim: &Claim) -> Result<()> {
        let disk = self.place.system.disk.as_ref();
        durable::sync_dir(disk, &self.place.lake.join(folder).join(&self.place.table_name))?;
        durable::sync_dir(disk, &self.spool)?;
        claim::remove_record(disk, &self.spool, claim.entry)
    }

    fn list(&self, dir: &Path) -> Result<Vec<(OsString, laked_catalog::store::Stat)>> {
        self.place.system.disk.list(dir).map_err(|e| Error::from(e).with("folder", dir.display()))
    }

    /// Claims nothing more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.grown.notify_all();
    }

    /// Sources that were stopped lately.
    pub fn failures(&self) -> Vec<Failure> {
        self.lock().failed.clone()
    }

    /// Claims that no mark covers, and the next entry's number.
    pub fn pending(&self) -> (usize, u64) {
        let state = self.lock();
        (state.claims.len(), state.next_entry)
    }

    /// The first claim that no mark covers.
    pub fn oldest(&self) -> Option<u64> {
        self.lock().claims.first_key_value().map(|(entry, _)| *entry)
    }

    /// When the first claim that no mark covers was claimed, in ms since 1970.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.lock().claims.first_key_value().map(|(_, claim)| claim.since_ms)
    }
}

impl State {
    /// The first claim at or after `from` that is not on its way out.
    fn first(&self, from: u64) -> Option<&Claim> {
        self.claims.range(from..).find(|(entry, _)| !self.leaving.contains_key(entry)).map(|(_, claim)| claim)
    }
}

/// Makes the bytes of a claimed file durable. One that we may not write to is left to its owner's care.
fn sync_claimed(disk: &dyn laked_catalog::store::Disk, path: &Path) -> Result<()> {
    match durable::sync_file(disk, path) {
        Err(error) if error.kind() != Kind::Forbidden => Err(error),
        _ => Ok(()),
    }
}

/// Holds the table's mark against what the spool tells. Entries are finished in order, so that the mark's own entry may be
/// gone only if it was filed away before a later one was committed; a claim below the mark is finished. What cannot be
/// is a mark inside an entry that is not there, and no mark at all once an entry was ingested.
fn no_gap(spool: &Path, claims: &[Claim], mark: Option<Mark>, ingested: Option<u64>) -> Result<()> {
    let why = match (mark, ingested) {
        (Some(mark), _) if mark.record == 0 || claims.iter().any(|c| c.entry == mark.entry) => return Ok(()),
        (None, None) => return Ok(()),
        (Some(_), _) => {
            "the file the table holds a part of is missing from the spool; put it back, or move the spool away to go on \
             without the rest of it"
        }
        (None, Some(_)) => {
            "the table has lost the mark that says which files it holds: set its property laked.lane.inbox.* again, or, \
             if it holds none of those that wait in the spool, move the spool away and drop them again"
        }
    };
    let error = Error::new(Kind::Corrupt, why).with("spool", spool.display());
    let error = ingested.into_iter().fold(error, |error, entry| error.with("last entry ingested", entry));
    Err(mark.into_iter().fold(error, |error, mark| error.with("mark", mark)))
}

#[cfg(test)]
mod tests;
