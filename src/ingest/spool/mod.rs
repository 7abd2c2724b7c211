//! The spool of pushed batches: per table, a log of segments that makes records durable in order.
//!
//! ```text
//! DIR/spool/<ns>.<table>/push/
//!   epoch.json         whose spool this is
//!   0000000007.seg     a segment: a frame that opens it, then a frame for each group of entries
//!   keys-<uuid>        idempotency keys of a segment that is gone, until they expire
//!   big-<uuid>         the pieces of one entry too big to hold in memory; named by its entry's head
//! ```
//! **Group commit.** One writer thread takes all that wait, concatenates their rows, writes one frame and syncs once;
//! then all of them have their answers. The frame is the unit of recovery: whole, or never acknowledged. So a broken
//! frame with nothing whole behind it is a torn tail and is cut; with something behind it, it is corruption and halts
//! the lane.
//!
//! **A segment is only appended to by the run that made it.** Each begins with a frame that says how many bytes of
//! its predecessor count. That is how a torn tail stays cut, and how bytes of unknown fate after a failed sync (the
//! kernel may have dropped or kept them) are put out of account: the failed segment is never synced again, the next
//! one declares where it ended.
//!
//! **Space.** A segment goes when the table's mark covers it; the newest stays, because it carries the numbering. Its
//! keys go to a key file first. What is not yet covered is bounded: beyond the bound, [`Spool::append`] says busy.

mod frame;
mod keys;
mod log;
mod parcel;
mod retire;
mod scan;
mod segment;
mod spill;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entry::{Answer, Refusal};

pub use keys::{Begin, KeyGuard, KeyRecord, Keys};
pub use log::{Place, Spool};
pub use parcel::{Busy, Group, Next, Parcel, SpoolStatus, Ticket};
pub use spill::{Piece, Pieces, Spill};

/// Bounds of a spool.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A segment is closed at this many bytes.
    pub segment_bytes: u64,
    /// Bytes that no mark covers yet, at most; beyond, senders are told to wait.
    pub backlog_bytes: u64,
    /// Bytes of rows that wait for the writer thread, at most.
    pub waiting_bytes: u64,
    /// Keys that are remembered, at most.
    pub keys: usize,
    /// How long keys are remembered, in ms.
    pub keys_kept_ms: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            backlog_bytes: 4 << 30,
            waiting_bytes: 64 << 20,
            keys: 1_000_000,
            keys_kept_ms: 24 * 3600 * 1000,
        }
    }
}

/// An entry without its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// When it came, in ms since 1970.
    pub at_ms: i64,
    /// Who sent it.
    pub source: String,
    /// The hash of the contract it was held to.
    pub contract: String,
    /// What the sender was told; holds the entry's number, and its records and rows by their counts.
    pub answer: Answer,
    /// The idempotency key and the body's hash.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<(String, String)>,
    /// The refused records.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub refusals: Vec<Refusal>,
    /// The file with its pieces, if it was too big.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spill: Option<String>,
}

impl Head {
    /// Source records: accepted and refused.
    pub fn records(&self) -> u64 {
        self.answer.accepted + self.answer.rejected
    }

    fn key_record(&self) -> Option<KeyRecord> {
        let (key, body) = self.key.clone()?;
        Some(KeyRecord { key, body, at_ms: self.at_ms, answer: self.answer.clone() })
    }
}

/// The header of a frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Header {
    /// Opens a segment.
    Open { epoch: Uuid, segment: u64, first: u64, previous: Option<Previous> },
    /// A group of entries; the payload holds their rows one after another.
    Group { heads: Vec<Head> },
    /// Part of a spilled entry.
    Piece { records: u64, refusals: Vec<Refusal> },
    /// Keys that outlive their segment.
    Keys { keys: Vec<KeyRecord> },
}

/// How much of the segment before counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Previous {
    segment: u64,
    len: u64,
}
