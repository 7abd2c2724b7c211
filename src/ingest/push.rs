//! The push door: batches by HTTP or standard input, decoded whole before they are appended to the spool.
//!
//! A request is all or nothing. Its records are decoded first, in bounded memory: what exceeds it goes, piece by
//! piece, to a file of the spool. Only then is it appended; the answer follows the sync.

use std::io::Read;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use laked_catalog::system::System;

use super::entry::{Answer, REASONS, Reason, Refusal, is_hopeless, over_limit, reasons};
use super::spool::{Begin, Busy, Head, KeyGuard, Parcel, Spill, Spool, Ticket};
use crate::budget::{Budget, Reservation};
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::flow::Admitted;
use crate::telemetry;

/// Decoded rows of one request that are held in memory, in bytes, at most.
const HELD: usize = 8 << 20;

/// Where pushed records of one table go: one request's, all of them held to the same contract.
#[derive(Clone)]
pub struct PushDoor {
    /// `ns.table`.
    pub name: String,
    /// What they are held to.
    pub contract: Arc<Contract>,
    /// Where they become durable.
    pub spool: Arc<Spool>,
    /// The clock.
    pub system: System,
    /// Memory.
    pub budget: Budget,
}

/// What a sender calls a body, so that it is taken once.
#[derive(Clone, Debug)]
pub struct Key {
    /// The idempotency key.
    pub name: String,
    /// XXH3-128 of the body.
    pub body: u128,
}

/// A request, decoded.
pub struct Gathered {
    head: Head,
    batch: Option<RecordBatch>,
    spill: Option<Spill>,
    reservation: Option<Reservation>,
}

/// Why a request is refused whole.
#[derive(Debug)]
pub enum Denied {
    /// More bad records than the contract allows.
    OverLimit { records: u64, bad: u64, reasons: Vec<Reason> },
    /// It cannot be read, or not be kept.
    Failed(Error),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Denied::Failed(error)
    }
}

#[derive(Default)]
struct Gathering {
    batches: Vec<RecordBatch>,
    bytes: usize,
    reservation: Option<Reservation>,
    refusals: Vec<Refusal>,
    spill: Option<Spill>,
    records: u64,
    bad: u64,
    reasons: Vec<Reason>,
}

impl PushDoor {
    /// The same door under the contract that is in force now.
    pub fn under(self: &Arc<Self>, contract: Arc<Contract>) -> Arc<PushDoor> {
        match Arc::ptr_eq(&self.contract, &contract) {
            true => self.clone(),
            false => Arc::new(PushDoor { contract, ..self.as_ref().clone() }),
        }
    }

    /// Takes all that `decoder` gives.
    pub fn gather(&self, source: &str, decoder: impl Iterator<Item = Result<Admitted>>) -> Result<Gathered, Denied> {
        let mut got = Gathering::default();
        for admitted in decoder {
            self.take(&mut got, admitted?)?;
            if is_hopeless(self.contract.reject_limit, got.records, got.bad) {
                break;
            }
        }
        if over_limit(self.contract.reject_limit, got.records, got.bad) {
            return Err(Denied::OverLimit { records: got.records, bad: got.bad, reasons: got.reasons });
        }
        if let Some(spill) = &mut got.spill {
            spill.finish()?;
        }
        let answer = Answer { accepted: got.records - got.bad, rejected: got.bad, entry: 0, reasons: got.reasons };
        let head = Head {
            at_ms: self.system.clock.now_ms(),
            source: source.to_owned(),
            contract: self.contract.hash().to_owned(),
            answer,
            key: None,
            refusals: got.refusals,
            spill: None,
        };
        let batch = match (&got.spill, got.batches.as_slice()) {
            (Some(_), _) => None,
            (None, []) => Some(RecordBatch::new_empty(self.contract.arrow_schema())),
            (None, [one]) => Some(one.clone()),
            (None, [first, ..]) => Some(join(first, &got.batches)?),
        };
        Ok(Gathered { head, batch, spill: got.spill, reservation: got.reservation })
    }

    fn take(&self, got: &mut Gathering, admitted: Admitted) -> Result<()> {
        let refusals: Vec<Refusal> = admitted.rejects.into_iter().map(Refusal::from).collect();
        got.records += admitted.records;
        got.bad += refusals.len() as u64;
        if got.reasons.len() < REASONS {
            got.reasons.extend(reasons(&refusals));
            got.reasons.truncate(REASONS);
        }
        let bytes = admitted.batch.get_array_memory_size() + refusals.iter().map(|r| r.raw.len()).sum::<usize>();
        if got.spill.is_none() && got.bytes + bytes > HELD {
            let mut spill = self.spool.spill()?;
            for batch in got.batches.drain(..) {
                spill.write(&batch, Vec::new(), 0)?;
            }
            let (held, counted) = (std::mem::take(&mut got.refusals), got.records - admitted.records);
            spill.write(&RecordBatch::new_empty(admitted.batch.schema()), held, counted)?;
            got.reservation = None;
            got.spill = Some(spill);
        }
        if let Some(spill) = &mut got.spill {
            return spill.write(&admitted.batch, refusals, admitted.records);
        }
        got.bytes += bytes;
        got.batches.push(admitted.batch);
        got.refusals.extend(refusals);
        match &mut got.reservation {
            Some(reservation) => reservation.resize(got.bytes),
            None => got.reservation = Some(self.budget.reserve(got.bytes)),
        }
        Ok(())
    }

    /// Appends what was gathered, with the key the request holds and the hash of its body.
    pub fn append(&self, gathered: Gathered, key: Option<(KeyGuard, u128)>) -> Result<Ticket, Busy> {
        let Gathered { mut head, batch, spill, reservation } = gathered;
        let (guard, body) = key.unzip();
        if let (Some(guard), Some(body)) = (&guard, body) {
            head.key = Some((guard.key.clone(), hex(body)));
        }
        self.spool.append(Parcel { head, batch, spill, guard, reservation })
    }

    /// Counts what became durable.
    pub fn count(&self, answer: &Answer) {
        telemetry::durable(&self.name, crate::flow::Door::Push, answer.accepted, answer.rejected);
    }

    /// A request of the same process: decodes `input`, waits for the sync. With a key that was answered before, gives
    /// that answer and reads nothing.
    ///
    /// # Errors
    /// `Invalid` for what cannot be read, has too many bad records, or comes under another body's key; `Unavailable`.
    pub fn send(
        &self,
        source: &str,
        key: Option<Key>,
        decoder: impl Iterator<Item = Result<Admitted>>,
    ) -> Result<Answer> {
        let key = match key {
            None => None,
            Some(key) => match self.begin(&key)? {
                Ok(guard) => Some((guard, key.body)),
                Err(answer) => return Ok(answer),
            },
        };
        let gathered = self.gather(source, decoder).map_err(|denied| match denied {
            Denied::Failed(error) => error,
            Denied::OverLimit { records, bad, reasons } => over(records, bad, &reasons),
        })?;
        let ticket = self.append(gathered, key).map_err(|busy| {
            Error::new(Kind::Unavailable, "the spool takes nothing now; try again").with("state", format!("{busy:?}"))
        })?;
        let gone = |_| Error::new(Kind::Unavailable, "the spool was closed; send it again");
        let answer = ticket.blocking_recv().map_err(gone)??;
        self.count(&answer);
        Ok(answer)
    }

    fn begin(&self, key: &Key) -> Result<Result<KeyGuard, Answer>> {
        loop {
            match self.spool.keys().begin(&key.name, self.system.clock.now_ms()) {
                Begin::First(guard) => return Ok(Ok(guard)),
                Begin::Full => {
                    return Err(Error::new(Kind::Unavailable, "too many keys are remembered; raise spool.keys"));
                }
                Begin::Running(mut running) => drop(futures::executor::block_on(running.changed())),
                Begin::Done(record) if record.body == hex(key.body) => return Ok(Err(record.answer.clone())),
                Begin::Done(_) => {
                    let message = "this key came with another body before; use a new key for new records";
                    return Err(Error::new(Kind::Invalid, message).with("key", &key.name));
                }
            }
        }
    }
}

/// A body's hash as it is kept.
pub fn hex(body: u128) -> String {
    format!("{body:032x}")
}

fn join(first: &RecordBatch, batches: &[RecordBatch]) -> Result<RecordBatch> {
    concat_batches(first.schema_ref(), batches)
        .map_err(|e| Error::new(Kind::Internal, "the rows of a request cannot be joined").because(e))
}

/// A source with too many bad records, as an error.
pub fn over(records: u64, bad: u64, reasons: &[Reason]) -> Error {
    let first = reasons.first().map(|r| format!("record {}: {}: {}", r.record, r.rule.code, r.rule.detail));
    Error::new(Kind::Invalid, "more bad records than the contract allows: the whole source is refused; correct it")
        .with("records", records)
        .with("bad", bad)
        .with("first", first.unwrap_or_default())
}

/// A reader that counts and hashes what passes (XXH3-128).
pub struct Hashed<R> {
    inner: R,
    hash: Arc<std::sync::Mutex<Tally>>,
}

/// What passed a [`Hashed`] reader.
pub struct Tally {
    hash: twox_hash::XxHash3_128,
    len: u64,
}

impl Tally {
    /// The hash in hex, and the bytes.
    pub fn end(&self) -> (String, u64) {
        (format!("{:032x}", self.hash.finish_128()), self.len)
    }
}

impl<R: Read> Hashed<R> {
    /// A reader over `inner`, and the tally to ask at the end.
    pub fn new(inner: R) -> (Self, Arc<std::sync::Mutex<Tally>>) {
        let hash = Arc::new(std::sync::Mutex::new(Tally { hash: twox_hash::XxHash3_128::new(), len: 0 }));
        (Self { inner, hash: hash.clone() }, hash)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let mut tally = self.hash.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tally.hash.write(&buffer[..read]);
        tally.len += read as u64;
        Ok(read)
    }
}

/// Reads a file of the disk from its beginning.
pub struct Sequential {
    file: Box<dyn laked_catalog::store::DiskRead>,
    at: u64,
}

impl Sequential {
    /// A reader at the beginning of `file`.
    pub fn new(file: Box<dyn laked_catalog::store::DiskRead>) -> Self {
        Self { file, at: 0 }
    }
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}
