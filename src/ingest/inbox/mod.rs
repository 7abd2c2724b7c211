//! The inbox: files dropped into a folder become entries of the table's inbox lane.
//!
//! `DIR/inbox/<ns>.<table>/` is swept by scans; events of the file system only say which folder to look at now. A
//! whole file ([`looks`]) is claimed by renaming it into the spool ([`claim`]), file and folders synced. The pipeline
//! reads claims in order, and says what becomes of each: it moves to `done/`, `failed/` (with a
//! `.reason.json` beside it) or `duplicate/`, where it is kept for days that are set.
//!
//! Few files are claimed ahead of the pipeline; the rest waits in the inbox, where its owner can still see it.

mod claim;
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
    next_entry: u64,
    looks: looks::Looks,
    closed_names: BTreeSet<OsString>,
    hashes: hashes::Hashes,
    closed: bool,
    failed: Vec<Failure>,
    expired: Duration,
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

/// When each finished file was first seen.
const SEEN: &str = ".seen.json";
/// Finished files are looked through this often.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

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
        for entry in orphans {
            claim::remove_record(disk.as_ref(), &spool, entry)?;
        }
        let start = mark.unwrap_or_default();
        no_gap(&spool, &claims, start)?;
        let next_entry = claims.last().map_or(0, |c| c.entry + 1).max(start.entry + u64::from(start.record > 0));
        let hashes = hashes::Hashes::open(disk, &spool, place.system.clock.now_ms())?;
        let state = State {
            claims: claims.into_iter().map(|c| (c.entry, c)).collect(),
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
        let whole = state.looks.whole(&listed, &|name| closed_names.contains(name), now, self.place.settle);
        let room = AHEAD.saturating_sub(state.claims.len());
        // What finds no room keeps its standing for the next look.
        state.closed_names = whole.iter().skip(room).cloned().collect();
        for name in whole.into_iter().take(room) {
            self.claim(&mut state, &name)?;
        }
        let waiting = state.looks.is_waiting();
        let expire = now.saturating_sub(state.expired) >= EXPIRE_EVERY;
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

    /// Claims one file: rename, then sync the file and both folders.
    fn claim(&self, state: &mut State, name: &OsStr) -> Result<()> {
        let disk = self.place.system.disk.as_ref();
        let (entry, from) = (state.next_entry, self.inbox.join(name));
        let path = self.spool.join(claim::claimed_name(entry, name));
        match disk.rename_new(&from, &path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::from(e).with("file", from.display())),
        }
        state.next_entry += 1;
        let since_ms = self.place.system.clock.now_ms();
        let claim = Claim { entry, name: name.to_owned(), path: path.clone(), record: None, since_ms };
        state.claims.insert(entry, claim);
        disk.append(&path).and_then(|mut file| file.sync()).map_err(|e| Error::from(e).with("file", path.display()))?;
        for dir in [&self.spool, &self.inbox] {
            disk.sync_dir(dir).map_err(|e| Error::from(e).with("folder", dir.display()))?;
        }
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
            if let Some((_, claim)) = state.claims.range(from..).next() {
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
            if timeout.timed_out() && state.claims.range(from..).next().is_none() {
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

    /// Stops a source: its file goes to `failed/` now, with the reason beside it. The mark passes its entry later.
    pub fn fail(&self, claim: &Claim, reason: &str, detail: serde_json::Value) -> Result<()> {
        let at_ms = self.place.system.clock.now_ms();
        let name = claim.name.to_string_lossy().into_owned();
        let reason_file =
            json!({ "file": name, "entry": claim.entry, "reason": reason, "at_ms": at_ms, "detail": detail });
        let target = self.file_away("failed", claim)?;
        if let Some(target) = target {
            let mut beside = target.into_os_string();
            beside.push(".reason.json");
            let text = serde_json::to_vec_pretty(&reason_file).unwrap_or_default();
            durable::replace(self.place.system.disk.as_ref(), Path::new(&beside), &text)?;
        }
        let mut state = self.lock();
        state.claims.remove(&claim.entry);
        state.failed.push(Failure { file: name, reason: reason.to_owned(), at_ms });
        let surplus = state.failed.len().saturating_sub(FAILURES);
        state.failed.drain(..surplus);
        Ok(())
    }

    /// The same bytes were ingested before: the file goes to `duplicate/`.
    pub fn duplicate(&self, claim: &Claim) -> Result<()> {
        self.file_away("duplicate", claim)?;
        self.lock().claims.remove(&claim.entry);
        Ok(())
    }

    /// The table's mark has moved: files it covers are remembered by their hash and go to `done/`.
    pub fn covered(&self, mark: Mark) -> Result<()> {
        let done: Vec<Claim> = self.lock().claims.range(..mark.entry).map(|(_, c)| c.clone()).collect();
        for claim in done {
            if let Some(record) = &claim.record {
                self.lock().hashes.add(&record.hash, claim.entry, self.place.system.clock.now_ms())?;
            }
            self.file_away("done", &claim)?;
            self.lock().claims.remove(&claim.entry);
        }
        Ok(())
    }

    /// Moves a claimed file to `folder`, under its own name if that is free, and forgets its record.
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
        for dir in [&dir, &self.spool] {
            disk.sync_dir(dir).map_err(|e| Error::from(e).with("folder", dir.display()))?;
        }
        claim::remove_record(disk, &self.spool, claim.entry)?;
        Ok(moved)
    }

    /// Removes finished files whose days are over. They count from when the file was first seen here, because its own
    /// time of modification is its writer's and may be years ago; `.seen.json` in each folder keeps those times.
    pub fn expire(&self) -> Result<()> {
        for folder in ["done", "failed", "duplicate"] {
            self.expire_folder(&self.place.lake.join(folder).join(&self.place.table_name))?;
        }
        Ok(())
    }

    fn expire_folder(&self, dir: &Path) -> Result<()> {
        let disk = self.place.system.disk.as_ref();
        let now = self.place.system.clock.now_ms();
        let kept = i64::try_from(self.place.kept.as_millis()).unwrap_or(i64::MAX);
        let path = dir.join(SEEN);
        // Unreadable or missing: every file counts from now, which keeps it longer and never shorter.
        let before: BTreeMap<String, i64> =
            disk.read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let mut seen = BTreeMap::new();
        for (name, _) in self.list(dir)?.into_iter().filter(|(name, stat)| stat.is_file && !is_ignored(name)) {
            let key = name.to_string_lossy().into_owned();
            let since = before.get(&key).copied().unwrap_or(now);
            if now.saturating_sub(since) >= kept {
                durable::remove(disk, &dir.join(&name))?;
            } else {
                seen.insert(key, since);
            }
        }
        if seen == before {
            return Ok(());
        }
        durable::replace(disk, &path, &serde_json::to_vec(&seen).unwrap_or_default())
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

    /// When the first claim that no mark covers was claimed, in ms since 1970.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.lock().claims.first_key_value().map(|(_, claim)| claim.since_ms)
    }
}

/// Entries are finished in order, so that the mark's own entry may be gone only if it was filed away before a later
/// one was committed; a claim below the mark is finished. What cannot be is a mark inside an entry that is not there.
fn no_gap(spool: &Path, claims: &[Claim], mark: Mark) -> Result<()> {
    if mark.record == 0 || claims.iter().any(|c| c.entry == mark.entry) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Corrupt,
        "the file the table holds a part of is missing from the spool; put it back, or move the spool away to go on \
         without the rest of it",
    )
    .with("spool", spool.display())
    .with("mark", mark))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn place(lake: &Path) -> Place {
        Place {
            lake: lake.to_owned(),
            table_name: "n.t".into(),
            table: Uuid::from_u128(7),
            system: System::real(),
            settle: Duration::ZERO,
            once: true,
            kept: Duration::from_secs(3600),
        }
    }

    fn drop_file(inbox: &Inbox, name: &str, text: &str) {
        inbox.place.system.disk.create(&inbox.folder().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        inbox.closed_by_writer(OsStr::new(name));
        inbox.sweep().unwrap();
    }

    fn claimed(inbox: &Inbox, from: u64) -> Claim {
        match inbox.next(from, Some(Duration::ZERO)) {
            Next::Claim(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    fn names(lake: &Path, folder: &str) -> Vec<String> {
        let listed = System::real().disk.list(&lake.join(folder).join("n.t")).unwrap();
        let mut names: Vec<_> = listed.into_iter().map(|(name, _)| name.into_string().unwrap()).collect();
        names.retain(|name| name != SEEN);
        names.sort();
        names
    }

    fn record(hash: &str) -> Record {
        Record { len: 1, hash: hash.into(), contract: "c".into(), at_ms: 1 }
    }

    #[test]
    fn a_claim_survives_a_restart_and_is_done_when_the_mark_covers_it() {
        let lake = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
        drop_file(&inbox, "a.csv", "x");
        drop_file(&inbox, "half.csv.part", "x");
        inbox.pin(claimed(&inbox, 0).entry, record("aa")).unwrap();
        let lane = inbox.lane();
        drop(inbox);
        let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
        assert_eq!(inbox.lane(), lane);
        let claim = claimed(&inbox, 0);
        assert_eq!((claim.entry, claim.name.to_str(), claim.record), (0, Some("a.csv"), Some(record("aa"))));
        drop(inbox);
        // The commit took effect, and the process died before it could say so.
        let inbox = Inbox::open(place(lake.path()), &Marks::from([(lane, Mark { entry: 1, record: 0 })])).unwrap();
        assert_eq!(names(lake.path(), "done"), ["a.csv"]);
        assert_eq!((inbox.pending(), inbox.oldest_ms()), ((0, 1), None));
        drop_file(&inbox, "again.csv", "x");
        assert_eq!(inbox.oldest_ms(), Some(claimed(&inbox, 1).since_ms));
        assert_eq!(inbox.duplicate_of("aa", claimed(&inbox, 1).entry), Some(0));
        inbox.duplicate(&claimed(&inbox, 1)).unwrap();
        assert_eq!(names(lake.path(), "duplicate"), ["again.csv"]);
    }

    #[test]
    fn a_failed_file_has_its_reason_beside_it_and_the_next_goes_on() {
        let lake = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
        drop_file(&inbox, "bad.csv", "x");
        inbox.fail(&claimed(&inbox, 0), "no header", json!({})).unwrap();
        assert_eq!(names(lake.path(), "failed"), ["bad.csv", "bad.csv.reason.json"]);
        assert_eq!(inbox.failures()[0].reason, "no header");
        drop_file(&inbox, "good.csv", "y");
        assert_eq!(claimed(&inbox, 1).entry, 1);
    }

    #[test]
    fn a_mark_inside_a_file_that_is_gone_halts_the_lane() {
        let lake = tempfile::tempdir().unwrap();
        let lane = Inbox::open(place(lake.path()), &Marks::new()).unwrap().lane();
        let opened = Inbox::open(place(lake.path()), &Marks::from([(lane, Mark { entry: 3, record: 5 })]));
        assert_eq!(opened.err().unwrap().kind(), Kind::Corrupt);
    }
}
