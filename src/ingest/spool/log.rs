//! The spool itself: senders append, one thread writes in groups, the pipeline reads in order and gives marks back.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use laked_catalog::system::System;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::parcel::{Busy, Group, Next, Parcel, SpoolStatus, Ticket};
use super::retire::{no_gap, retire, rewrite_keys, start_over};
use super::scan::{self, Scan};
use super::segment::{self, Writer};
use super::{Bounds, Head, Header, Keys, Pieces, Spill, frame};
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::flow::{Door, LaneId, Mark, Marks};
use crate::ingest::durable;
use crate::ingest::entry::Answer;
use crate::ingest::epoch::Epoch;

/// Rows of a group, in bytes, at most; one entry alone may exceed it.
const GROUP_BYTES: usize = 8 << 20;
/// Entries of a group, at most.
const GROUP_ENTRIES: usize = 4096;

/// Where a spool is and what it may use.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its folder.
    pub dir: PathBuf,
    /// Clock, ids, disk.
    pub system: System,
    /// Memory for groups that are kept until the pipeline takes them.
    pub budget: Budget,
    /// Bounds.
    pub bounds: Bounds,
    /// The table's UUID.
    pub table: Uuid,
}

/// A durable log of pushed batches for one table.
pub struct Spool {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    place: Place,
    lane: LaneId,
    keys: Keys,
    state: Mutex<State>,
    work: Condvar,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Parcel, oneshot::Sender<Result<Answer>>)>,
    rolls: Vec<oneshot::Sender<Result<u64>>>,
    waiting_bytes: u64,
    writing: bool,
    frames: VecDeque<Kept>,
    segments: VecDeque<(u64, u64)>,
    /// Files of entries that are covered, on their way out.
    spills: Vec<String>,
    next_entry: u64,
    backlog: u64,
    closed: bool,
}

/// What the writer thread does next.
enum Task {
    Write(Vec<(Parcel, oneshot::Sender<Result<Answer>>)>),
    Roll(Vec<oneshot::Sender<Result<u64>>>),
}

struct Kept {
    at: scan::Group,
    bytes: u64,
    group: Option<Group>,
}

impl Spool {
    /// Opens the spool, makes it if it is missing, and holds it against the table's marks.
    pub fn open(place: Place, marks: &Marks) -> Result<Spool> {
        let disk = place.system.disk.clone();
        durable::make_dirs(disk.as_ref(), &place.dir)?;
        let mut epoch = Epoch::open(disk.as_ref(), place.system.ids.as_ref(), &place.dir, place.table)?;
        let expired = place.system.clock.now_ms() - place.bounds.keys_kept_ms;
        let mut found = scan::scan(disk.as_ref(), &place.dir, epoch.epoch, expired)?;
        let mark = marks.get(&LaneId { door: Door::Push, epoch: epoch.epoch }).copied();
        if mark.is_some_and(|mark| mark.entry > found.next_entry) {
            found = start_over(&place, found)?;
            epoch = Epoch::renew(disk.as_ref(), place.system.ids.as_ref(), &place.dir, place.table)?;
        } else {
            no_gap(&place, &found, mark)?;
        }
        let lane = LaneId { door: Door::Push, epoch: epoch.epoch };
        let keys = Keys::new(place.bounds.keys, place.bounds.keys_kept_ms);
        let now = place.system.clock.now_ms();
        found.keys.sort_by_key(|k| k.at_ms);
        for key in found.keys.drain(..) {
            keys.restore(key, now);
        }
        let last = found.segments.last().map(|s| (s.number, s.len));
        let writer = Writer::new(disk, &place.dir, epoch.epoch, place.bounds.segment_bytes, last);
        let shared = Arc::new(Shared {
            state: Mutex::new(State::from(found)),
            place,
            lane,
            keys,
            work: Condvar::new(),
            grown: Condvar::new(),
        });
        if let Some(mark) = mark {
            shared.covered(mark)?;
        }
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new().name("spool".into()).spawn(move || shared.run(writer)).map_err(Error::from)?
        };
        Ok(Spool { shared, thread: Mutex::new(Some(thread)) })
    }

    /// The lane this spool is.
    pub fn lane(&self) -> LaneId {
        self.shared.lane
    }

    /// The senders' keys.
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// A file for an entry too big to hold.
    pub fn spill(&self) -> Result<Spill> {
        let place = &self.shared.place;
        let name = format!("big-{}", place.system.ids.uuid().simple());
        Spill::create(place.system.disk.clone(), &place.dir, name)
    }

    /// Puts a body on disk, to be read at random; the file has no name by the time this returns.
    pub fn scratch(&self, mut body: impl std::io::Read) -> Result<Box<dyn laked_catalog::store::DiskRead>> {
        let place = &self.shared.place;
        let path = place.dir.join(format!("big-{}", place.system.ids.uuid().simple()));
        let disk = place.system.disk.as_ref();
        let fail = |e: std::io::Error| Error::from(e).with("file", path.display());
        let mut file = disk.create(&path).map_err(fail)?;
        let copied = std::io::copy(&mut body, &mut file).and_then(|_| disk.open(&path));
        drop(file);
        durable::remove(disk, &path)?;
        copied.map_err(fail)
    }

    /// Queues an entry; the ticket resolves when it is durable, or with why it is not.
    pub fn append(&self, parcel: Parcel) -> Result<Ticket, Busy> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Busy::Closed);
        }
        let bounds = &self.shared.place.bounds;
        if state.backlog >= bounds.backlog_bytes || state.waiting_bytes >= bounds.waiting_bytes {
            return Err(Busy::Full);
        }
        let (sender, ticket) = oneshot::channel();
        state.waiting_bytes += parcel.bytes() as u64;
        state.waiting.push_back((parcel, sender));
        drop(state);
        self.shared.work.notify_one();
        Ok(ticket)
    }

    /// Whether an append would be refused now.
    pub fn is_full(&self) -> bool {
        self.shared.lock().backlog >= self.shared.place.bounds.backlog_bytes
    }

    /// The group that holds entry `from`; waits for it as long as `wait`, or for ever.
    pub fn next(&self, from: u64, wait: Option<Duration>) -> Result<Next> {
        let mut state = self.shared.lock();
        loop {
            if from < state.next_entry {
                let index = state.frames.partition_point(|k| k.at.first + k.at.entries <= from);
                let Some(kept) = state.frames.get_mut(index).filter(|k| k.at.first <= from) else {
                    return Err(Error::new(Kind::Corrupt, "an entry is no longer in the spool").with("entry", from));
                };
                if let Some(group) = kept.group.take() {
                    return Ok(Next::Group(group));
                }
                let at = kept.at.clone();
                drop(state);
                return self.shared.read(&at).map(Next::Group);
            }
            if state.closed && state.waiting.is_empty() && !state.writing {
                return Ok(Next::Closed);
            }
            let Some(wait) = wait else {
                state = self.shared.grown.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, timeout) = self.shared.grown.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && from >= state.next_entry {
                return Ok(if state.closed { Next::Closed } else { Next::Idle });
            }
        }
    }

    /// The pieces of a spilled entry.
    pub fn pieces(&self, name: &str) -> Result<Pieces> {
        Pieces::open(self.shared.place.system.disk.as_ref(), self.shared.place.dir.join(name))
    }

    /// The table's mark has moved: what it covers may go.
    pub fn covered(&self, mark: Mark) -> Result<()> {
        self.shared.covered(mark)
    }

    /// Begins a new segment, so that all there are can go once a mark covers their entries; resolves to the first entry
    /// that will not be in one of them.
    pub fn roll(&self) -> oneshot::Receiver<Result<u64>> {
        let (sender, rolled) = oneshot::channel();
        self.shared.lock().rolls.push(sender);
        self.shared.work.notify_one();
        rolled
    }

    /// Forgets what senders were told of their refused records: it quotes them. Keys and counts stay.
    pub fn forget_reasons(&self) -> Result<()> {
        self.shared.keys.forget_reasons();
        rewrite_keys(&self.shared.place, &self.shared.keys)
    }

    /// Takes nothing more; what waits is still written.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        self.shared.grown.notify_all();
    }

    /// Wakes the reader, so that it looks at its own state.
    pub fn nudge(&self) {
        self.shared.grown.notify_all();
    }

    /// Figures.
    pub fn status(&self) -> SpoolStatus {
        let state = self.shared.lock();
        SpoolStatus {
            next_entry: state.next_entry,
            entries: state.frames.iter().map(|k| k.at.entries).sum(),
            bytes: state.backlog,
            oldest_ms: state.frames.front().map(|k| k.at.at_ms),
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl From<Scan> for State {
    fn from(found: Scan) -> Self {
        let frames: VecDeque<_> = found.groups.into_iter().map(|at| Kept { bytes: at.len, at, group: None }).collect();
        State {
            backlog: frames.iter().map(|k| k.bytes).sum(),
            frames,
            segments: found.segments.iter().map(|s| (s.number, s.first)).collect(),
            next_entry: found.next_entry,
            ..State::default()
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut writer: Writer) {
        while let Some(task) = self.take() {
            match task {
                Task::Write(group) => self.write(&mut writer, group),
                Task::Roll(tell) => {
                    let rolled = self.roll(&mut writer);
                    for sender in tell {
                        let copy = |error: &Error| Error::new(error.kind(), error.to_string());
                        let _ = sender.send(rolled.as_ref().copied().map_err(copy));
                    }
                }
            }
            self.lock().writing = false;
            self.grown.notify_all();
        }
    }

    /// Begins a segment, unless the newest has no entries.
    fn roll(&self, writer: &mut Writer) -> Result<u64> {
        let (next, newest) = {
            let state = self.lock();
            (state.next_entry, state.segments.back().copied())
        };
        if newest.is_some_and(|(_, first)| first < next) {
            let number = writer.roll(next)?;
            self.lock().segments.push_back((number, next));
        }
        Ok(next)
    }

    /// Takes the waiting parcels that fit into one group; none once the spool is closed and empty.
    fn take(&self) -> Option<Task> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if !state.rolls.is_empty() {
                return Some(Task::Roll(std::mem::take(&mut state.rolls)));
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some((next, _)) = state.waiting.front() {
            if !group.is_empty() && (bytes + next.bytes() > GROUP_BYTES || group.len() >= GROUP_ENTRIES) {
                break;
            }
            if group.first().is_some_and(|(first, _): &(Parcel, _)| !first.joins(next)) {
                break;
            }
            bytes += next.bytes();
            group.extend(state.waiting.pop_front());
        }
        state.waiting_bytes = state.waiting_bytes.saturating_sub(bytes as u64);
        state.writing = true;
        Some(Task::Write(group))
    }

    fn write(&self, writer: &mut Writer, group: Vec<(Parcel, oneshot::Sender<Result<Answer>>)>) {
        let first = self.lock().next_entry;
        let (mut parcels, senders): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        for (number, parcel) in (first..).zip(&mut parcels) {
            parcel.head.answer.entry = number;
            if let Some(spill) = &parcel.spill {
                parcel.head.spill = Some(spill.name.clone());
            }
        }
        match self.put(writer, first, &mut parcels) {
            Ok(()) => {
                let answers: Vec<_> = parcels.into_iter().map(Parcel::durable).collect();
                for (sender, answer) in senders.into_iter().zip(answers) {
                    let _ = sender.send(Ok(answer));
                }
            }
            Err(error) => {
                tracing::error!(%error, entries = parcels.len(), "spool: entries not written");
                drop(parcels);
                for sender in senders {
                    let _ = sender.send(Err(Error::new(error.kind(), error.to_string())));
                }
            }
        }
    }

    fn put(&self, writer: &mut Writer, first: u64, parcels: &mut [Parcel]) -> Result<()> {
        let batches: Vec<&RecordBatch> = parcels.iter().filter_map(|p| p.batch.as_ref()).collect();
        let batch = match batches.as_slice() {
            [] => None,
            [one] => Some((*one).clone()),
            many => Some(
                concat_batches(many[0].schema_ref(), many.iter().copied())
                    .map_err(|e| Error::new(Kind::Internal, "the rows of a group cannot be joined").because(e))?,
            ),
        };
        let header = Header::Group { heads: parcels.iter().map(|p| p.head.clone()).collect() };
        let written = writer.write(first, &header, batch.as_ref())?;
        let Header::Group { heads } = header else { return Ok(()) };
        let spilled: u64 = parcels.iter().filter_map(|p| p.spill.as_ref()).map(|s| s.bytes).sum();
        let at = scan::Group {
            segment: written.segment,
            offset: written.offset,
            len: written.len,
            first,
            entries: heads.len() as u64,
            at_ms: heads.first().map_or(0, |h| h.at_ms),
            spill: heads.first().and_then(|h| h.spill.clone()),
        };
        let bytes = written.len + spilled;
        let group = self.hold(heads, batch);
        let mut state = self.lock();
        if written.fresh {
            state.segments.push_back((written.segment, first));
        }
        state.next_entry += at.entries;
        state.backlog += bytes;
        state.frames.push_back(Kept { at, bytes, group });
        Ok(())
    }

    /// Keeps a group in memory for the pipeline, while memory is plenty; else it is read back.
    fn hold(&self, heads: Vec<Head>, batch: Option<RecordBatch>) -> Option<Group> {
        let budget = &self.place.budget;
        let bytes = batch.as_ref().map_or(0, RecordBatch::get_array_memory_size) + heads.len() * 256;
        if budget.used() + bytes > budget.limit() / 2 {
            return None;
        }
        let reservation = budget.try_reserve(bytes)?;
        Some(Group { heads: Arc::new(heads), batch, _reservation: Some(Arc::new(reservation)) })
    }

    fn read(&self, at: &scan::Group) -> Result<Group> {
        let path = self.place.dir.join(segment::name(at.segment));
        let fail = |e: std::io::Error| Error::from(e).with("segment", path.display());
        let file = self.place.system.disk.open(&path).map_err(fail)?;
        let damaged = || {
            Error::new(Kind::Corrupt, "a group of entries can no longer be read; restore the segment")
                .with("segment", path.display())
                .with("offset", at.offset)
        };
        let frame::Found::Frame(frame) = frame::read(file.as_ref(), at.offset, at.offset + at.len).map_err(fail)?
        else {
            return Err(damaged());
        };
        let Header::Group { heads } = frame.header()? else { return Err(damaged()) };
        let reservation = Arc::new(self.place.budget.reserve(frame.payload_len()));
        Ok(Group { heads: Arc::new(heads), batch: frame.batch()?, _reservation: Some(reservation) })
    }

    fn covered(&self, mark: Mark) -> Result<()> {
        self.uncount(mark);
        while let Some((number, first, end)) = self.goes(mark) {
            retire(&self.place, &self.keys, number, first, end)?;
            // Only now: what could not be removed is tried again.
            let mut state = self.lock();
            if state.segments.front().is_some_and(|(oldest, _)| *oldest == number) {
                state.segments.pop_front();
            }
        }
        let spills = self.lock().spills.clone();
        for name in spills {
            durable::remove(self.place.system.disk.as_ref(), &self.place.dir.join(&name))?;
            self.lock().spills.retain(|other| *other != name);
        }
        Ok(())
    }

    /// Takes the frames that `mark` covers out of account; their spills go.
    fn uncount(&self, mark: Mark) {
        let mut state = self.lock();
        while state.frames.front().is_some_and(|k| k.at.first + k.at.entries <= mark.entry) {
            if let Some(kept) = state.frames.pop_front() {
                state.backlog = state.backlog.saturating_sub(kept.bytes);
                state.spills.extend(kept.at.spill);
            }
        }
    }

    /// The oldest segment, if `mark` covers it: its number, its first entry, its end.
    fn goes(&self, mark: Mark) -> Option<(u64, u64, u64)> {
        let state = self.lock();
        let ((number, first), (_, end)) = state.segments.front().copied().zip(state.segments.get(1).copied())?;
        (end <= mark.entry).then_some((number, first, end))
    }
}
