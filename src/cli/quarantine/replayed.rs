//! Which refused records were sent again: positions, kept in properties of the quarantine table.
//!
//! `laked.replayed.<lane>` holds the records of each entry, as `3:0-5,7;4:1` (entry 3: records 0 to 5 and 7). They are
//! written after the records were sent and are durable with the catalog. Between the two lies a gap: a replay that ends
//! there is safe to repeat as it was, because its idempotency keys come from the same positions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableUpdate};

use crate::cli::change;
use crate::error::{Error, Kind, Result};
use crate::maintain::Edit;
use crate::read::Source;

const PREFIX: &str = "laked.replayed.";
/// A property of more bytes is not written: it is copied at every commit of the table.
const MOST: usize = 1 << 20;

/// A record's place: lane, entry, record.
pub type Place = (String, u64, u64);

/// The records of a quarantine table that were sent again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    lanes: BTreeMap<String, BTreeMap<u64, BTreeSet<u64>>>,
}

impl Replayed {
    /// What the table's properties tell.
    ///
    /// # Errors
    /// `Corrupt` for a property that cannot be read.
    pub fn of(metadata: &TableMetadata) -> Result<Replayed> {
        let mut found = Replayed::default();
        for (key, value) in metadata.properties() {
            let Some(lane) = key.strip_prefix(PREFIX) else { continue };
            let entries = entries(value).ok_or_else(|| {
                Error::new(Kind::Corrupt, "a quarantine table's property cannot be read; mend or remove it")
                    .with("property", key)
            })?;
            found.lanes.insert(lane.to_string(), entries);
        }
        Ok(found)
    }

    /// Whether the record was sent again.
    pub fn has(&self, (lane, entry, record): &Place) -> bool {
        let records = self.lanes.get(lane).and_then(|entries| entries.get(entry));
        records.is_some_and(|records| records.contains(record))
    }

    /// Adds records; false if there would be more than a property should hold.
    pub fn add<'a>(&mut self, places: impl Iterator<Item = &'a Place>) -> bool {
        for (lane, entry, record) in places {
            self.lanes.entry(lane.clone()).or_default().entry(*entry).or_default().insert(*record);
        }
        self.lanes.values().all(|entries| text(entries).len() <= MOST)
    }

    /// Writes it to the table.
    ///
    /// # Errors
    /// Those of the commit.
    pub fn keep(&self, source: &Source, table: &TableIdent) -> Result<()> {
        let updates = self.lanes.iter().map(|(lane, entries)| (format!("{PREFIX}{lane}"), text(entries))).collect();
        let mut edit = Edit::of(&source.table(table)?.metadata);
        edit.updates.push(TableUpdate::SetProperties { updates });
        change::Place::open(source)?.commit(table, &edit)
    }
}

fn text(entries: &BTreeMap<u64, BTreeSet<u64>>) -> String {
    let mut out = String::new();
    for (entry, records) in entries {
        let _ = write!(out, "{}{entry}:", if out.is_empty() { "" } else { ";" });
        let (mut records, mut comma) = (records.iter().copied().peekable(), "");
        while let Some(first) = records.next() {
            let mut last = first;
            while let Some(next) = records.next_if(|next| *next == last + 1) {
                last = next;
            }
            let _ = if first == last { write!(out, "{comma}{first}") } else { write!(out, "{comma}{first}-{last}") };
            comma = ",";
        }
    }
    out
}

fn entries(text: &str) -> Option<BTreeMap<u64, BTreeSet<u64>>> {
    let entry = |part: &str| {
        let (entry, ranges) = part.split_once(':')?;
        let mut records = BTreeSet::new();
        for range in ranges.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            // No entry refuses so many.
            if last.checked_sub(first)? > 1 << 32 {
                return None;
            }
            records.extend(first..=last);
        }
        Some((entry.parse().ok()?, records))
    };
    text.split(';').filter(|part| !part.is_empty()).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_they_were_written() {
        let places: Vec<Place> =
            [(3, 0), (3, 1), (3, 2), (3, 7), (4, 1)].map(|(entry, record)| ("push.x".into(), entry, record)).into();
        let mut replayed = Replayed::default();
        assert!(replayed.add(places.iter()));
        let written = text(&replayed.lanes["push.x"]);
        assert_eq!(written, "3:0-2,7;4:1");
        assert_eq!(entries(&written).as_ref(), replayed.lanes.get("push.x"));
        assert!(places.iter().all(|place| replayed.has(place)));
        assert!(!replayed.has(&("push.x".into(), 3, 3)) && !replayed.has(&("inbox.x".into(), 3, 0)));
    }

    #[test]
    fn nonsense_is_not_taken_for_positions() {
        for bad in ["3", "3:", "3:b", "x:1", "3:5-1", "3:0-99999999999999"] {
            assert_eq!(entries(bad), None, "{bad}");
        }
        assert_eq!(entries(""), Some(BTreeMap::new()));
    }
}
