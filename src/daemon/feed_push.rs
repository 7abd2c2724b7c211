//! Taking pushed entries: whole groups while they last, so that single records cost no batch each.

use std::time::Duration;

use super::lane::{Taken, Worker, acknowledged};
use super::part::Part;
use super::pending::{Origin, Pending};
use crate::error::{Error, Kind, Result};
use crate::flow::Mark;
use crate::ingest::push::PushDoor;
use crate::ingest::quarantine::Refused;
use crate::ingest::spool::{Group, Head, Next};

impl Worker {
    pub(super) fn take_pushed(
        &mut self,
        push: &PushDoor,
        pending: &mut Pending,
        wait: Option<Duration>,
    ) -> Result<Taken> {
        let group = match push.spool.next(pending.next.entry, wait)? {
            Next::Group(group) => group,
            Next::Idle => return Ok(Taken::Nothing),
            Next::Closed => return Ok(Taken::Closed),
        };
        let heads = group.heads.clone();
        // A group is of one contract, which may have changed since.
        if !heads.iter().all(|head| pending.suits(&head.contract)) {
            return Ok(Taken::CommitFirst);
        }
        if let [head] = heads.as_slice()
            && let Some(name) = &head.spill
        {
            self.take_spilled(push, pending, head, name)?;
        } else {
            self.take_group(pending, group)?;
        }
        let last = heads.last().map_or(pending.next.entry, |head| head.answer.entry);
        pending.next = Mark { entry: last + 1, record: 0 };
        Ok(Taken::Some)
    }

    /// The entries of a group that are not taken yet: their rows stand together at its end.
    fn take_group(&self, pending: &mut Pending, group: Group) -> Result<()> {
        let batch = group.batch.clone().ok_or_else(|| Error::new(Kind::Corrupt, "a group without rows"))?;
        let (mut row, next) = (0, pending.next);
        let taken = group.heads.iter().take_while(|head| head.answer.entry < next.entry);
        row += taken.map(|head| head.answer.accepted as usize).sum::<usize>();
        let rest = group.heads.iter().filter(|head| head.answer.entry >= next.entry);
        if next.record == 0 {
            let refused: Vec<Refused<'_>> = rest.flat_map(|head| self.refused(head)).collect();
            pending.refuse(&refused)?;
            let contract = group.heads.first().map_or("", |head| &head.contract);
            return pending.rows(batch.slice(row, batch.num_rows() - row), contract);
        }
        for head in rest {
            let rows = head.answer.accepted as usize;
            let part = Part {
                first: 0,
                records: head.records(),
                batch: batch.slice(row, rows),
                refusals: head.refusals.clone(),
            };
            row += rows;
            let from = if head.answer.entry == next.entry { next.record } else { 0 };
            if let Some(part) = part.from(from) {
                pending.take(part, origin(head))?;
            }
        }
        Ok(())
    }

    fn take_spilled(&self, push: &PushDoor, pending: &mut Pending, head: &Head, name: &str) -> Result<()> {
        let mut first = 0;
        for piece in push.spool.pieces(name)? {
            let piece = piece.map_err(|e| acknowledged(e, self.lane, head.answer.entry))?;
            let part = Part { first, records: piece.records, batch: piece.batch, refusals: piece.refusals };
            first += part.records;
            pending.take(part, origin(head))?;
        }
        Ok(())
    }

    fn refused<'a>(&self, head: &'a Head) -> impl Iterator<Item = Refused<'a>> {
        let lane = self.lane;
        head.refusals.iter().map(move |refusal| Refused {
            at_ms: head.at_ms,
            source: &head.source,
            lane,
            entry: head.answer.entry,
            contract: &head.contract,
            refusal,
        })
    }
}

fn origin(head: &Head) -> Origin<'_> {
    Origin { at_ms: head.at_ms, source: &head.source, entry: head.answer.entry, contract: &head.contract }
}
