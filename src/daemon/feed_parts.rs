//! Taking a file part by part (`atomic = "parts"`): what has been read is committed whenever a commit is due.
//!
//! The mark then stands inside the file's entry, at a source record, and a crash goes on behind it. So the bytes must be
//! those that the mark was set on: the file is hashed and pinned before its first part, and hashed again when it is taken
//! up after a crash. A file that turns out bad later leaves what the table holds of it there, and says how much: its
//! failure is recorded, the mark passes it with the next commit, and only then it goes to `failed/`, because a mark
//! inside a file that is not there would tell of a gap. The share of bad records counts from where reading began.

use super::feed_files::{Ended, hash_of};
use super::lane::{Taken, Worker};
use super::pending::Pending;
use crate::error::{Error, Kind, Result};
use crate::flow::Mark;
use crate::ingest::entry::over_limit;
use crate::ingest::inbox::{Claim, Inbox};
use crate::ingest::push::over;
use crate::telemetry;

impl Worker {
    /// Takes a file from the record on that `pending` begins at. What is pending is only this file's.
    pub(super) fn take_parts(&mut self, inbox: &Inbox, pending: &mut Pending, claim: &Claim) -> Result<Taken> {
        let after = Mark { entry: claim.entry + 1, record: 0 };
        match self.read_parts(inbox, pending, claim) {
            Ok(true) => {
                pending.begin();
                pending.next = after;
                Ok(Taken::Some)
            }
            Ok(false) => {
                pending.next = after;
                Ok(Taken::Discard)
            }
            Err(Ended::Bad(error)) => self.stop_parts(inbox, pending, claim, &error),
            Err(Ended::Ours(error)) => Err(error),
            Err(Ended::Large) => Err(Error::new(Kind::Internal, "a file is neither small nor large")),
        }
    }

    fn read_parts(&mut self, inbox: &Inbox, pending: &mut Pending, claim: &Claim) -> Result<bool, Ended> {
        if claim.record.as_ref().is_some_and(|record| record.failed.is_some()) {
            return Err(Ended::Bad(Error::new(Kind::Invalid, "it failed before the last start")));
        }
        let (hash, len) = hash_of(self.stages.system.disk.as_ref(), claim).map_err(Error::from)?;
        let Some(record) = self.pinned(inbox, claim, hash, len)? else { return Ok(false) };
        let mut reading = self.open(claim, pending.next.record)?;
        let before = reading.records;
        while let Some(part) = reading.next()? {
            pending.take(part, self.origin(claim, &record))?;
            pending.next = Mark { entry: claim.entry, record: reading.records };
            if self.is_due(pending) {
                let full = std::mem::replace(pending, Pending::new(&self.stages, self.lane)?);
                *pending = self.commit(full)?;
            }
        }
        if over_limit(self.contract.reject_limit, reading.records, reading.bad) {
            return Err(Ended::Bad(over(reading.records, reading.bad, &reading.reasons)));
        }
        telemetry::durable(&self.name, self.lane.door, reading.records - before - reading.bad, reading.bad);
        Ok(true)
    }

    /// Stops a file; what the table holds of it stays.
    fn stop_parts(&self, inbox: &Inbox, pending: &mut Pending, claim: &Claim, error: &Error) -> Result<Taken> {
        *pending = Pending::new(&self.stages, self.lane)?;
        let held = if pending.next.entry == claim.entry { pending.next.record } else { 0 };
        pending.next = Mark { entry: claim.entry + 1, record: 0 };
        if held == 0 {
            self.fail(inbox, claim, error)?;
            return Ok(Taken::Discard);
        }
        if claim.record.as_ref().is_none_or(|record| record.failed.is_none()) {
            let reason =
                format!("{error}; its first {held} records are in the table: send a file of what follows them");
            telemetry::source_stopped(&self.name, &claim.name.to_string_lossy(), &reason);
            inbox.fail_later(claim.entry, reason)?;
        }
        pending.begin();
        Ok(Taken::Some)
    }
}
