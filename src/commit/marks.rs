//! Marks in a table's properties, and what they mean when a lane is opened. Pure.

use iceberg::spec::TableMetadata;
use uuid::Uuid;

use crate::error::{Error, Kind, Result};
pub use crate::flow::LANE_PREFIX;
use crate::flow::{LaneId, Mark, Marks};

/// The property that holds a lane's mark.
pub fn lane_property(lane: LaneId) -> String {
    format!("{LANE_PREFIX}{lane}")
}

/// The marks a table holds.
///
/// # Errors
/// `Corrupt` if a `laked.lane.*` property is no mark: somebody edited it, and to guess would lose or double rows.
pub fn marks_of(metadata: &TableMetadata) -> Result<Marks> {
    let mut marks = Marks::new();
    for (key, value) in metadata.properties() {
        let Some(lane) = key.strip_prefix(LANE_PREFIX) else { continue };
        let parsed = lane.parse::<LaneId>().and_then(|lane| Ok((lane, value.parse::<Mark>()?)));
        let (lane, mark) = parsed.map_err(|error| {
            Error::new(Kind::Corrupt, "a lane's mark cannot be read; restore the property from an older metadata file")
                .with("property", key)
                .with("value", value)
                .because(error)
        })?;
        marks.insert(lane, mark);
    }
    Ok(marks)
}

/// How a lane's log and its table stand to each other when the lane is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Go on from the mark.
    Continue(Mark),
    /// The log is new and the table has no mark of it: begin at its start.
    Fresh,
    /// The mark lies beyond the log's end: the log lost its tail, and its next entries would be taken for ones that are
    /// in the table already. A new epoch is needed.
    NewEpoch {
        /// Where the table is.
        mark: Mark,
        /// The log's first free entry.
        end: u64,
    },
    /// Entries between the mark and the oldest kept one are gone, or the mark is: the lane halts and a person decides.
    Gap {
        /// Where the table is, if it says.
        mark: Option<Mark>,
        /// The oldest entry the log has.
        oldest: u64,
    },
    /// The table was dropped and made anew: what the log holds belonged to the other one.
    OtherTable {
        /// The table the log was made for.
        expected: Uuid,
        /// The table that is there.
        found: Uuid,
    },
}

/// Judges a lane at open: `oldest..end` are the entries its log holds, `for_table` the table it was made for.
pub fn standing(metadata: &TableMetadata, for_table: Uuid, mark: Option<Mark>, oldest: u64, end: u64) -> Standing {
    if metadata.uuid() != for_table {
        return Standing::OtherTable { expected: for_table, found: metadata.uuid() };
    }
    match mark {
        None if oldest == 0 => Standing::Fresh,
        None => Standing::Gap { mark, oldest },
        Some(at) if at.entry > end || (at.entry == end && at.record > 0) => Standing::NewEpoch { mark: at, end },
        Some(at) if at.entry < oldest => Standing::Gap { mark, oldest },
        Some(at) => Standing::Continue(at),
    }
}

/// Refuses a foreign change of the marks: rows would be lost or doubled in silence.
///
/// # Errors
/// `Forbidden`, naming the property.
pub fn guard_marks(before: Option<&TableMetadata>, after: &TableMetadata) -> Result<()> {
    let changed = |from: &TableMetadata, to: &TableMetadata| {
        let differs = |(key, value): &(&String, &String)| {
            key.starts_with(LANE_PREFIX) && to.properties().get(*key) != Some(*value)
        };
        from.properties().iter().find(differs).map(|(key, _)| key.clone())
    };
    let lost = before.and_then(|before| changed(before, after));
    let gained = match before {
        Some(before) => changed(after, before),
        None => after.properties().keys().find(|key| key.starts_with(LANE_PREFIX)).cloned(),
    };
    match lost.or(gained) {
        None => Ok(()),
        Some(key) => Err(Error::new(
            Kind::Forbidden,
            "laked.lane.* properties say what has been ingested; only laked sets them: leave them out of the change",
        )
        .with("property", key)),
    }
}
