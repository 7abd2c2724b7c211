//! Opening a spool: which segments count and how far, what entries they hold, which keys are remembered.

use std::collections::BTreeMap;
use std::path::Path;

use laked_catalog::store::{Disk, DiskRead};
use uuid::Uuid;

use super::frame::{self, Found};
use super::{Header, KeyRecord, Previous, segment};
use crate::error::{Error, Kind, Result};
use crate::ingest::durable;

/// A frame's place and what it holds.
#[derive(Clone, Debug)]
pub struct Group {
    pub segment: u64,
    pub offset: u64,
    pub len: u64,
    pub first: u64,
    pub entries: u64,
    pub at_ms: i64,
    pub spill: Option<String>,
}

/// A segment that counts.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub number: u64,
    pub first: u64,
    pub len: u64,
}

/// What a spool's folder holds.
#[derive(Debug, Default)]
pub struct Scan {
    pub segments: Vec<Segment>,
    pub groups: Vec<Group>,
    pub keys: Vec<KeyRecord>,
    pub next_entry: u64,
}

/// Prefix of the files of keys that outlive their segment.
pub const KEYS: &str = "keys-";

struct Opening {
    first: u64,
    previous: Option<Previous>,
    body: u64,
    file: Box<dyn DiskRead>,
}

/// Reads the spool in `dir`; cuts a torn tail, removes what does not count and keys answered before `expired_ms`.
///
/// What is found is durable when this returns. A process that died between a write and its sync leaves frames that can
/// be read and may still be lost; their senders will be told that they are kept.
pub fn scan(disk: &dyn Disk, dir: &Path, epoch: Uuid, expired_ms: i64) -> Result<Scan> {
    let mut found = Scan::default();
    let listed = disk.list(dir).map_err(|e| Error::from(e).with("spool", dir.display()))?;
    let mut numbers = BTreeMap::new();
    for (name, _) in &listed {
        let name = name.to_string_lossy();
        if let Some(number) = segment::number(&name) {
            numbers.insert(number, ());
        } else if name.starts_with(KEYS) && !name.ends_with(".tmp") {
            read_keys(disk, &dir.join(name.as_ref()), expired_ms, &mut found.keys)?;
        }
    }
    let mut openings = BTreeMap::new();
    for &number in numbers.keys() {
        match opening(disk, dir, number, epoch)? {
            Some(opening) => drop(openings.insert(number, opening)),
            // The process died while it made this segment: nothing in it was acknowledged.
            None => durable::remove(disk, &dir.join(segment::name(number)))?,
        }
    }
    let chain = chain(&openings);
    for number in openings.keys().filter(|n| !chain.iter().any(|(in_chain, _)| in_chain == *n)) {
        durable::remove(disk, &dir.join(segment::name(*number)))?;
    }
    for (number, declared) in chain {
        let path = dir.join(segment::name(number));
        read_segment(disk, &path, number, &openings[&number], declared, &mut found)?;
    }
    if let Some(newest) = found.segments.last() {
        durable::sync_file(disk, &dir.join(segment::name(newest.number)))?;
    }
    durable::sync_dir(disk, dir)?;
    let referenced = |name: &str| found.groups.iter().any(|g| g.spill.as_deref() == Some(name));
    for (name, _) in &listed {
        let name = name.to_string_lossy();
        if (name.starts_with("big-") && !referenced(&name)) || name.ends_with(".tmp") {
            durable::remove(disk, &dir.join(name.as_ref()))?;
        }
    }
    Ok(found)
}

/// The segments that count, oldest first, each with the length its successor declared; the newest has none.
fn chain(openings: &BTreeMap<u64, Opening>) -> Vec<(u64, Option<u64>)> {
    let mut chain = Vec::new();
    let mut at = openings.keys().next_back().map(|&number| (number, None));
    while let Some((number, declared)) = at {
        let Some(opening) = openings.get(&number) else { break };
        chain.push((number, declared));
        at = opening.previous.filter(|p| p.segment < number).map(|p| (p.segment, Some(p.len)));
    }
    chain.reverse();
    chain
}

/// Reads a segment's first frame; none if it is not whole and nothing whole follows.
fn opening(disk: &dyn Disk, dir: &Path, number: u64, epoch: Uuid) -> Result<Option<Opening>> {
    let path = dir.join(segment::name(number));
    let fail = |e: std::io::Error| Error::from(e).with("segment", path.display());
    let file = disk.open(&path).map_err(fail)?;
    match frame::read(file.as_ref(), 0, file.len()).map_err(fail)? {
        Found::Frame(frame) => {
            let body = frame.next;
            let Header::Open { epoch: its, first, previous, .. } = frame.header()? else {
                return Err(corrupt(&path, 0, "the segment does not begin with its opening"));
            };
            if its != epoch {
                return Err(corrupt(&path, 0, "the segment is of another epoch"));
            }
            Ok(Some(Opening { first, previous, body, file }))
        }
        Found::Broken if frame::any_after(file.as_ref(), 0, file.len()).map_err(fail)? => {
            Err(corrupt(&path, 0, "a damaged frame, with whole ones behind it"))
        }
        _ => Ok(None),
    }
}

fn read_segment(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
    opening: &Opening,
    declared: Option<u64>,
    found: &mut Scan,
) -> Result<()> {
    let fail = |e: std::io::Error| Error::from(e).with("segment", path.display());
    let file = opening.file.as_ref();
    let end = declared.unwrap_or(file.len());
    if end > file.len() {
        return Err(corrupt(path, file.len(), "the segment is shorter than it was"));
    }
    if !found.segments.is_empty() && opening.first != found.next_entry {
        return Err(corrupt(path, 0, "entries are missing before this segment"));
    }
    found.next_entry = opening.first;
    let mut at = opening.body;
    loop {
        match frame::read(file, at, end).map_err(fail)? {
            Found::End => break,
            Found::Frame(frame) => {
                let next = frame.next;
                let Header::Group { heads } = frame.header()? else {
                    return Err(corrupt(path, at, "a frame that is no group of entries"));
                };
                take_group(found, number, (at, next - at), heads).map_err(|e| e.with("segment", path.display()))?;
                at = next;
            }
            Found::Broken if declared.is_some() || frame::any_after(file, at, end).map_err(fail)? => {
                return Err(corrupt(path, at, "a damaged frame, with acknowledged entries behind it"));
            }
            Found::Broken => {
                let mut tail = disk.append(path).map_err(fail)?;
                tail.truncate(at).and_then(|()| tail.sync()).map_err(fail)?;
                break;
            }
        }
    }
    found.segments.push(Segment { number, first: opening.first, len: at });
    Ok(())
}

fn take_group(found: &mut Scan, segment: u64, (offset, len): (u64, u64), heads: Vec<super::Head>) -> Result<()> {
    let first = found.next_entry;
    for head in &heads {
        if head.answer.entry != found.next_entry {
            return Err(Error::new(Kind::Corrupt, "the spool's entries are not numbered in order")
                .with("expected", found.next_entry)
                .with("found", head.answer.entry));
        }
        found.next_entry += 1;
        found.keys.extend(head.key_record());
    }
    let spill = heads.first().and_then(|h| h.spill.clone());
    let at_ms = heads.first().map_or(0, |h| h.at_ms);
    found.groups.push(Group { segment, offset, len, first, entries: heads.len() as u64, at_ms, spill });
    Ok(())
}

fn read_keys(disk: &dyn Disk, path: &Path, expired_ms: i64, keys: &mut Vec<KeyRecord>) -> Result<()> {
    let fail = |e: std::io::Error| Error::from(e).with("file", path.display());
    let file = disk.open(path).map_err(fail)?;
    let (mut at, mut live) = (0, Vec::new());
    while let Found::Frame(frame) = frame::read(file.as_ref(), at, file.len()).map_err(fail)? {
        at = frame.next;
        if let Header::Keys { keys: more } = frame.header()? {
            live.extend(more.into_iter().filter(|k| k.at_ms > expired_ms));
        }
    }
    if live.is_empty() {
        return durable::remove(disk, path);
    }
    keys.extend(live);
    Ok(())
}

fn corrupt(path: &Path, offset: u64, what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("{what}; restore the segment, or move the spool away and send its records again"))
        .with("segment", path.display())
        .with("offset", offset)
}
