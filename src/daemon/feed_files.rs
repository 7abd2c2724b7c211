//! Taking files: decoded, held to the contract, pinned, and only then part of a commit.
//!
//! A small file is decoded into memory before any of it is written, so that several share a commit and a bad one
//! costs the others nothing. A large one has a commit of its own: what was pending is committed first, and if the
//! file turns out bad, what was written of it is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use laked_catalog::store::Disk;
use serde_json::json;

use super::lane::{Taken, Worker};
use super::part::Part;
use super::pending::{Origin, Pending};
use crate::contract::Atomic;
use crate::error::{Error, Kind, Result};
use crate::flow::{Admitted, Format, Mark};
use crate::ingest::decode::{self, Input};
use crate::ingest::entry::{REASONS, Reason, Refusal, is_hopeless, over_limit, reasons};
use crate::ingest::inbox::{Claim, Inbox, Next, Record};
use crate::ingest::push::{Hashed, Sequential, Tally, over};
use crate::telemetry;

/// Files up to this size, as they are, may share a commit.
const SMALL_FILE: u64 = 4 << 20;
/// Decoded rows of a small file, in bytes, at most; one that unpacks to more is large after all.
const SMALL_ROWS: usize = 32 << 20;

/// A file being read.
pub(super) struct Reading {
    len: u64,
    /// Hashes as it is read; a file read at random is hashed before.
    tally: Result<Arc<Mutex<Tally>>, (String, u64)>,
    decoder: Box<dyn Iterator<Item = Result<Admitted>>>,
    pub(super) records: u64,
    pub(super) bad: u64,
    pub(super) reasons: Vec<Reason>,
    /// The share of bad records its contract allows.
    limit: f64,
}

/// How reading a file ended, if not well.
pub(super) enum Ended {
    /// The source is to blame.
    Bad(Error),
    /// We are, or the disk.
    Ours(Error),
    /// It is not small.
    Large,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error.kind() {
            Kind::Invalid | Kind::Forbidden | Kind::Exists => Ended::Bad(error),
            _ => Ended::Ours(error),
        }
    }
}

impl Worker {
    pub(super) fn take_file(&mut self, inbox: &Inbox, pending: &mut Pending, wait: Option<Duration>) -> Result<Taken> {
        let claim = match inbox.next(pending.next.entry, wait) {
            Next::Claim(claim) => claim,
            Next::Idle => return Ok(Taken::Nothing),
            Next::Closed => return Ok(Taken::Closed),
        };
        // A file is read by the contract that is in force when it is begun, and a commit is of one contract.
        let contract = self.in_force.contract();
        if !pending.suits(contract.hash()) {
            return Ok(Taken::CommitFirst);
        }
        self.contract = contract;
        if pending.next.entry == claim.entry && pending.next.record > 0 {
            // The table holds a part of it, whatever the contract says now.
            return self.take_parts(inbox, pending, &claim);
        }
        let disk = self.stages.system.disk.clone();
        let len = disk.stat(&claim.path).map_err(|e| Error::from(e).with("file", claim.path.display()))?.len;
        let alone = pending.is_empty();
        if len > SMALL_FILE && !alone {
            return Ok(Taken::CommitFirst);
        }
        let after = Mark { entry: claim.entry + 1, record: 0 };
        let mut ended = if len > SMALL_FILE { Err(Ended::Large) } else { self.take_small(inbox, pending, &claim) };
        if matches!(ended, Err(Ended::Large)) {
            if !alone {
                return Ok(Taken::CommitFirst);
            }
            if self.contract.atomic == Atomic::Parts {
                return self.take_parts(inbox, pending, &claim);
            }
            ended = self.take_large(inbox, pending, &claim);
        }
        pending.next = after;
        match ended {
            Ok(true) => Ok(Taken::Some),
            // Passed over: as a duplicate, or failed. What a large one had written is void.
            Ok(false) if alone => Ok(Taken::Discard),
            Ok(false) => Ok(Taken::Some),
            Err(Ended::Bad(error)) => {
                self.fail(inbox, &claim, &error)?;
                Ok(if alone { Taken::Discard } else { Taken::Some })
            }
            Err(Ended::Ours(error)) => Err(error),
            Err(Ended::Large) => Err(Error::new(Kind::Internal, "a file is neither small nor large")),
        }
    }

    fn take_small(&self, inbox: &Inbox, pending: &mut Pending, claim: &Claim) -> Result<bool, Ended> {
        let mut reading = self.open(claim, 0)?;
        let (mut held, mut bytes) = (Vec::new(), 0);
        while let Some(part) = reading.next()? {
            bytes += part.batch.get_array_memory_size() + part.refusals.iter().map(|r| r.raw.len()).sum::<usize>();
            if bytes > SMALL_ROWS {
                return Err(Ended::Large);
            }
            held.push(part);
        }
        let Some(record) = self.judge(inbox, claim, reading)? else { return Ok(false) };
        pending.begin();
        for part in held {
            pending.take(part, self.origin(claim, &record))?;
        }
        Ok(true)
    }

    fn take_large(&self, inbox: &Inbox, pending: &mut Pending, claim: &Claim) -> Result<bool, Ended> {
        let mut reading = self.open(claim, 0)?;
        let at_ms = claim.record.as_ref().map_or_else(|| self.stages.system.clock.now_ms(), |r| r.at_ms);
        let name = claim.name.to_string_lossy();
        pending.begin();
        let origin = Origin { at_ms, source: &name, entry: claim.entry, contract: self.contract.hash() };
        while let Some(part) = reading.next()? {
            pending.take(part, origin)?;
        }
        Ok(self.judge(inbox, claim, reading)?.is_some())
    }

    pub(super) fn origin<'a>(&'a self, claim: &'a Claim, record: &Record) -> Origin<'a> {
        let source = claim.name.to_str().unwrap_or("(a name that is not UTF-8)");
        Origin { at_ms: record.at_ms, source, entry: claim.entry, contract: self.contract.hash() }
    }

    /// Opens a file behind its first `skip` records.
    pub(super) fn open(&self, claim: &Claim, skip: u64) -> Result<Reading, Ended> {
        let disk = self.stages.system.disk.as_ref();
        let fail = |e: std::io::Error| Error::from(e).with("file", claim.path.display());
        let name = claim.name.to_string_lossy();
        let (format, packing) = decode::of_name(&name)?;
        let file = disk.open(&claim.path).map_err(fail)?;
        let len = file.len();
        let (input, tally) = if matches!(format, Format::Parquet | Format::Arrow) {
            let whole = hash_of(disk, claim).map_err(fail)?;
            (Input::Random(file), Err(whole))
        } else {
            let (reader, tally) = Hashed::new(Sequential::new(file));
            (Input::Stream(Box::new(reader)), Ok(tally))
        };
        let decoder = decode::open(self.contract.clone(), format, packing, input, decode::Options::default())?;
        let (limit, decoder) = (self.contract.reject_limit, Box::new(decoder.skip_records(skip)));
        Ok(Reading { len, tally, decoder, records: skip, bad: 0, reasons: Vec::new(), limit })
    }

    /// Decides about a file that was read to its end: pins it, or none if it is passed over.
    fn judge(&self, inbox: &Inbox, claim: &Claim, reading: Reading) -> Result<Option<Record>, Ended> {
        if over_limit(self.contract.reject_limit, reading.records, reading.bad) {
            return Err(Ended::Bad(over(reading.records, reading.bad, &reading.reasons)));
        }
        let disk = self.stages.system.disk.as_ref();
        let (hash, len) = match reading.tally {
            Ok(tally) => tally.lock().unwrap_or_else(PoisonError::into_inner).end(),
            Err(whole) => whole,
        };
        // A decoder may end before the file does; then what it read is not the file's hash.
        let (hash, len) = if len == reading.len { (hash, len) } else { hash_of(disk, claim).map_err(Error::from)? };
        let record = self.pinned(inbox, claim, hash, len)?;
        if record.is_some() {
            telemetry::durable(&self.name, self.lane.door, reading.records - reading.bad, reading.bad);
        }
        Ok(record)
    }

    /// Pins a claim to the bytes that were read; none if it is passed over, because they were ingested before.
    pub(super) fn pinned(&self, inbox: &Inbox, claim: &Claim, hash: String, len: u64) -> Result<Option<Record>, Ended> {
        let found = self.stages.system.disk.stat(&claim.path).map_err(Error::from)?.len;
        let pinned = claim.record.as_ref();
        if found != len || pinned.is_some_and(|r| r.hash != hash || r.len != len) {
            let message =
                "the file's bytes changed after it was claimed; write under a name ending in .part, then rename";
            return Err(Ended::Bad(Error::new(Kind::Invalid, message)));
        }
        if let Some(record) = pinned {
            return Ok(Some(record.clone()));
        }
        if let Some(other) = inbox.duplicate_of(&hash, claim.entry) {
            telemetry::duplicate(&self.name, &claim.name.to_string_lossy(), other);
            inbox.duplicate(claim)?;
            return Ok(None);
        }
        let at_ms = self.stages.system.clock.now_ms();
        let record = Record { len, hash, contract: self.contract.hash().to_owned(), at_ms, failed: None };
        inbox.pin(claim.entry, record.clone())?;
        Ok(Some(record))
    }

    pub(super) fn fail(&self, inbox: &Inbox, claim: &Claim, error: &Error) -> Result<()> {
        inbox.fail(claim, &error.to_string(), json!({ "kind": error.kind().slug() }))?;
        // Who reads this finds the file in failed/ with its reason.
        telemetry::source_stopped(&self.name, &claim.name.to_string_lossy(), &error.to_string());
        Ok(())
    }
}

impl Reading {
    pub(super) fn next(&mut self) -> Result<Option<Part>, Ended> {
        let Some(admitted) = self.decoder.next() else { return Ok(None) };
        let Admitted { batch, rejects, records } = admitted?;
        let refusals: Vec<Refusal> = rejects.into_iter().map(Refusal::from).collect();
        let first = self.records;
        self.records += records;
        self.bad += refusals.len() as u64;
        if self.reasons.len() < REASONS {
            self.reasons.extend(reasons(&refusals));
            self.reasons.truncate(REASONS);
        }
        if is_hopeless(self.limit, self.records, self.bad) {
            return Err(Ended::Bad(over(self.records, self.bad, &self.reasons)));
        }
        Ok(Some(Part { first, records, batch, refusals }))
    }
}

/// The whole file's hash and length.
pub(super) fn hash_of(disk: &dyn Disk, claim: &Claim) -> std::io::Result<(String, u64)> {
    let (mut reader, tally) = Hashed::new(Sequential::new(disk.open(&claim.path)?));
    let mut buffer = vec![0; 1 << 20];
    while std::io::Read::read(&mut reader, &mut buffer)? > 0 {}
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(tally.end())
}
