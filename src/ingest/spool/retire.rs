//! The far end of a spool: how an opened log is held against the table's mark, and how what a mark covers goes.
//!
//! A segment is removed only after the keys in it that are still remembered stand in a file of their own.

use super::log::Place;
use super::scan::{self, Scan};
use super::{Header, KeyRecord, Keys, frame, segment};
use crate::error::{Error, Kind, Result};
use crate::flow::Mark;
use crate::ingest::durable;

/// Keeps a segment's keys in a file of their own, then removes the segment.
pub fn retire(place: &Place, keys: &Keys, number: u64, first: u64, end: u64) -> Result<()> {
    let live = keys.between(first, end, place.system.clock.now_ms());
    keep_keys(place, live.iter().map(|k| KeyRecord::clone(k)).collect())?;
    durable::remove(place.system.disk.as_ref(), &place.dir.join(segment::name(number)))
}

/// Puts all keys that are remembered into one new file, in the place of those there are.
pub fn rewrite_keys(place: &Place, keys: &Keys) -> Result<()> {
    let disk = place.system.disk.as_ref();
    let listed = disk.list(&place.dir).map_err(|e| Error::from(e).with("spool", place.dir.display()))?;
    let live = keys.between(0, u64::MAX, place.system.clock.now_ms());
    keep_keys(place, live.iter().map(|k| KeyRecord::clone(k)).collect())?;
    let old = listed.iter().filter(|(name, _)| name.to_string_lossy().starts_with(scan::KEYS));
    old.map(|(name, _)| place.dir.join(name)).try_for_each(|path| durable::remove(disk, &path))
}

fn keep_keys(place: &Place, live: Vec<KeyRecord>) -> Result<()> {
    if live.is_empty() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    for chunk in live.chunks(1000) {
        frame::write(&mut bytes, &Header::Keys { keys: chunk.to_vec() }, None)?;
    }
    let name = format!("{}{}", scan::KEYS, place.system.ids.uuid().simple());
    durable::replace(place.system.disk.as_ref(), &place.dir.join(name), &bytes)
}

/// The mark is beyond the spool's end: entries that were committed are gone from here. Their numbers must not be given
/// out again, so the spool starts over; its keys stay, and its segments, which the mark covers, go.
pub fn start_over(place: &Place, found: Scan) -> Result<Scan> {
    tracing::warn!(spool = %place.dir.display(), "spool: shorter than the table's mark; a new epoch begins");
    keep_keys(place, found.keys.clone())?;
    for segment in &found.segments {
        durable::remove(place.system.disk.as_ref(), &place.dir.join(segment::name(segment.number)))?;
    }
    Ok(Scan { keys: found.keys, ..Scan::default() })
}

/// Halts a spool whose oldest entry comes after the table's mark: what lies between is lost.
pub fn no_gap(place: &Place, found: &Scan, mark: Option<Mark>) -> Result<()> {
    let oldest = found.segments.first().map_or(0, |s| s.first);
    let mark = mark.unwrap_or_default();
    if mark.entry >= oldest {
        return Ok(());
    }
    Err(Error::new(
        Kind::Corrupt,
        "entries between the table's mark and the spool's oldest are missing; restore the spool or the table, \
         or accept the loss by moving the spool away",
    )
    .with("spool", place.dir.display())
    .with("mark", mark)
    .with("oldest entry", oldest))
}
