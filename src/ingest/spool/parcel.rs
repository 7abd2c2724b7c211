//! What passes through a spool: a sender's parcel in, and out to the pipeline the group of entries it became part of.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::oneshot;

use super::{Head, KeyGuard, Spill};
use crate::budget::Reservation;
use crate::error::Result;
use crate::ingest::entry::Answer;

/// What a sender hands over. The numbers of `head.answer` are set but for the entry's, which the spool gives.
pub struct Parcel {
    /// The entry.
    pub head: Head,
    /// Its rows; none if it was spilled.
    pub batch: Option<RecordBatch>,
    /// Its file, finished.
    pub spill: Option<Spill>,
    /// Its key, held since the request began.
    pub guard: Option<KeyGuard>,
    /// The memory its rows hold.
    pub reservation: Option<Reservation>,
}

/// Resolves once the entry is durable.
pub type Ticket = oneshot::Receiver<Result<Answer>>;

/// The spool takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Too much waits for the disk or for commits.
    Full,
    /// The daemon is shutting down.
    Closed,
}

/// Entries of one frame.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their heads, in order.
    pub heads: Arc<Vec<Head>>,
    /// Their rows, one entry after another.
    pub batch: Option<RecordBatch>,
    pub(super) _reservation: Option<Arc<Reservation>>,
}

/// What [`super::Spool::next`] finds.
#[derive(Debug)]
pub enum Next {
    /// The frame that holds the entry asked for.
    Group(Group),
    /// Nothing came in time.
    Idle,
    /// Nothing will come: the spool is closed and read to its end.
    Closed,
}

/// Figures of a spool.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpoolStatus {
    /// The next entry's number.
    pub next_entry: u64,
    /// Entries no mark covers.
    pub entries: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// When the oldest of them came, in ms since 1970.
    pub oldest_ms: Option<i64>,
}

impl Parcel {
    /// What it weighs while it waits, about.
    pub(super) fn bytes(&self) -> usize {
        let refused: usize = self.head.refusals.iter().map(|r| r.raw.len() + 128).sum();
        self.batch.as_ref().map_or(0, RecordBatch::get_array_memory_size) + refused + 256
    }

    /// Whether both may stand in one frame: it holds rows of one schema, held to one contract.
    pub(super) fn joins(&self, other: &Parcel) -> bool {
        if self.head.contract != other.head.contract {
            return false;
        }
        match (&self.batch, &other.batch) {
            (Some(a), Some(b)) => Arc::ptr_eq(a.schema_ref(), b.schema_ref()) || a.schema_ref() == b.schema_ref(),
            _ => false,
        }
    }

    /// It is durable: keeps its file, lets its key answer, gives the answer.
    pub(super) fn durable(self) -> Answer {
        if let Some(spill) = self.spill {
            spill.keep();
        }
        if let (Some(guard), Some(record)) = (self.guard, self.head.key_record()) {
            guard.done(record);
        }
        self.head.answer
    }
}
