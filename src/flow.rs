//! The values that pass between stages. Plain data: no IO, no clock, no logic but order and display.
//!
//! A **lane** is one log of source records: (table, door, spool epoch). An **entry** is one unit a sender handed over
//! (a request, a file); entries of a lane are numbered from 0 without gaps, and so are the source records of an entry,
//! accepted and rejected alike. A **mark** is a position in a lane: everything before it is in the table.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use arrow::record_batch::RecordBatch;
use uuid::Uuid;

use crate::error::{Error, Kind};

/// What a lane's mark is called in a table's properties and a snapshot's summary; the lane's id follows.
pub const LANE_PREFIX: &str = "laked.lane.";

/// Where records come in. HTTP and standard input share the spool's segments; a file is its own spool entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    /// Files dropped into the inbox.
    Inbox,
    /// Batches sent by HTTP or standard input.
    Push,
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Door::Inbox => "inbox",
            Door::Push => "push",
        })
    }
}

/// One log: a door and the epoch of its spool. The table it belongs to is the one that carries its mark.
///
/// Written as `inbox.0190…` (the epoch is a UUID without dashes), in the table property `laked.lane.<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId {
    /// The door.
    pub door: Door,
    /// Made anew with each spool, so that a lost spool's numbers are never taken for the new one's.
    pub epoch: Uuid,
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.door, self.epoch.simple())
    }
}

impl FromStr for LaneId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::new(Kind::Corrupt, "not a lane id").with("text", text);
        let (door, epoch) = text.split_once('.').ok_or_else(bad)?;
        let door = match door {
            "inbox" => Door::Inbox,
            "push" => Door::Push,
            _ => return Err(bad()),
        };
        Ok(LaneId { door, epoch: Uuid::try_parse(epoch).map_err(|_| bad())? })
    }
}

/// A position in a lane: all records of the entries before `entry`, and the first `record` records of `entry`.
///
/// Written as `entry:record`. A finished entry 5 is `6:0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// The first entry that is not covered whole.
    pub entry: u64,
    /// How many of its source records are covered.
    pub record: u64,
}

/// How far a lane is in its table, for those who wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Its mark.
    pub mark: Mark,
    /// It is halted: the mark will not move.
    pub halted: bool,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.entry, self.record)
    }
}

impl FromStr for Mark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::new(Kind::Corrupt, "not a mark").with("text", text);
        let (entry, record) = text.split_once(':').ok_or_else(bad)?;
        Ok(Mark { entry: entry.parse().map_err(|_| bad())?, record: record.parse().map_err(|_| bad())? })
    }
}

/// The marks of a table's lanes.
pub type Marks = BTreeMap<LaneId, Mark>;

/// How the bytes of a source are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// A JSON array of objects, or one object.
    Json,
    /// Comma-separated values with a header, RFC 4180.
    Csv,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC file or stream.
    Arrow,
}

/// How a source is packed around its [`Format`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Not packed.
    #[default]
    Plain,
    /// gzip, several members allowed.
    Gzip,
    /// Zstandard, several frames allowed.
    Zstd,
}

/// One broken rule of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// A stable code, as `range` or `missing`: `contract::Code` lists them.
    pub code: &'static str,
    /// The field, where one is to blame.
    pub field: Option<String>,
    /// What was found and what was wanted, for a person.
    pub detail: String,
}

/// A source record that the contract refuses, as it goes to quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The record's number within its entry, from 0.
    pub record: u64,
    /// The line it began on, from 1, where the source has lines.
    pub line: Option<u64>,
    /// Its text as it came, cut at a bound; a row of a binary format is given as JSON.
    pub raw: String,
    /// Every rule it breaks; never empty.
    pub broken: Vec<Broken>,
}

/// Consecutive source records of one entry, decoded and held to the contract.
///
/// `records` source records became `batch.num_rows()` rows, in order, and `rejects`. The batch has the contract's
/// fields by name and in order; a string column may arrive as `Utf8` or as a dictionary of it.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The accepted rows.
    pub batch: RecordBatch,
    /// The refused records.
    pub rejects: Vec<Reject>,
    /// How many source records this covers: accepted and refused.
    pub records: u64,
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The new snapshot.
    pub snapshot_id: i64,
    /// Its sequence number.
    pub sequence_number: i64,
    /// Rows it added.
    pub rows: u64,
    /// Data files it added.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}
