//! The rows of one partition on their way to files: pieces of held batches, spilled runs, an open file.
//!
//! A **piece** is some rows of a batch that is held once for all partitions it has rows of; nothing is copied before
//! the rows are sorted or encoded. As long as pieces come in the table's order the partition knows, and its rows are
//! encoded as slices of the batches they came in.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::RecordBatch;
use iceberg::spec::Struct;

use super::gather::{At, gather};
use super::layout::OrderColumn;
use super::sink::Sink;
use super::sort::{Comparison, is_sorted, keys, sorted};
use super::spill::Run;
use crate::budget::Reservation;
use crate::error::Result;

/// A batch in memory, shared by the partitions it has rows of.
#[derive(Debug)]
pub(super) struct Held {
    pub batch: RecordBatch,
    /// Bytes a row takes, about.
    pub row_bytes: usize,
    /// Kept for its drop.
    pub _reservation: Reservation,
}

/// Rows of a held batch.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub held: Arc<Held>,
    pub rows: Rows,
}

#[derive(Clone, Debug)]
pub(super) enum Rows {
    Range {
        start: u32,
        len: u32,
    },
    /// `all[start..start + len]` are the rows' numbers, ascending.
    Picked {
        all: Arc<Vec<u32>>,
        start: u32,
        len: u32,
    },
}

impl Piece {
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Range { len, .. } | Rows::Picked { len, .. } => *len as usize,
        }
    }

    fn first(&self) -> usize {
        match &self.rows {
            Rows::Range { start, .. } => *start as usize,
            Rows::Picked { all, start, .. } => all[*start as usize] as usize,
        }
    }

    fn last(&self) -> usize {
        match &self.rows {
            Rows::Range { start, len } => (start + len - 1) as usize,
            Rows::Picked { all, start, len } => all[(start + len - 1) as usize] as usize,
        }
    }

    fn push_rows(&self, piece: usize, out: &mut Vec<At>) {
        match &self.rows {
            Rows::Range { start, len } => out.extend((*start..start + len).map(|row| At::new(piece, row as usize))),
            Rows::Picked { all, start, len } => {
                let rows = &all[*start as usize..(start + len) as usize];
                out.extend(rows.iter().map(|&row| At::new(piece, row as usize)));
            }
        }
    }
}

/// One partition's rows.
pub(super) struct Partition {
    pub value: Struct,
    pub pieces: Vec<Piece>,
    /// Rows and bytes of `pieces`.
    pub rows: usize,
    pub bytes: usize,
    /// Whether all rows so far came in order.
    pub in_order: bool,
    pub runs: Vec<Run>,
    /// Row groups of rows that came in order.
    pub open: Option<Sink>,
    /// The last row that is no longer in `pieces`, while the partition is in order.
    tail: Option<RecordBatch>,
}

impl Partition {
    pub fn new(value: Struct) -> Self {
        let (pieces, runs) = (Vec::new(), Vec::new());
        Self { value, pieces, rows: 0, bytes: 0, in_order: true, runs, open: None, tail: None }
    }

    /// Takes more rows.
    pub fn push(&mut self, order: &[OrderColumn], piece: Piece) -> Result<()> {
        self.in_order = self.in_order && self.continues(order, &piece)?;
        self.rows += piece.len();
        self.bytes += piece.len() * piece.held.row_bytes;
        self.pieces.push(piece);
        Ok(())
    }

    /// Whether `piece` is in order, and not before the last row.
    fn continues(&self, order: &[OrderColumn], piece: &Piece) -> Result<bool> {
        if order.is_empty() {
            return Ok(true);
        }
        let Rows::Range { start, len } = &piece.rows else { return Ok(false) };
        let new = keys(order, &piece.held.batch)?;
        let after = match (self.pieces.last(), &self.tail) {
            (Some(last), _) => self.follows(order, &last.held.batch, last.last(), &new, piece.first())?,
            (None, Some(tail)) => self.follows(order, tail, 0, &new, piece.first())?,
            (None, None) => true,
        };
        Ok(after && is_sorted(order, &new, *start as usize, *len as usize)?)
    }

    fn follows(
        &self,
        order: &[OrderColumn],
        last: &RecordBatch,
        row: usize,
        new: &[arrow::array::ArrayRef],
        first: usize,
    ) -> Result<bool> {
        let compare = Comparison::new(order, &keys(order, last)?, new)?;
        Ok(compare.rows(row, first) != Ordering::Greater)
    }

    /// Gives up the pieces, remembering where they ended.
    pub fn take_pieces(&mut self) -> Result<Vec<Piece>> {
        if self.in_order
            && let Some(last) = self.pieces.last()
        {
            self.tail = Some(gather(std::slice::from_ref(&last.held.batch), &[At::new(0, last.last())])?);
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(std::mem::take(&mut self.pieces))
    }
}

/// Rows in order, given out in batches of a size.
pub(super) struct Ordered {
    batches: Vec<RecordBatch>,
    rows: Vec<At>,
    next: usize,
}

impl Ordered {
    /// The rows of `pieces`; sorted unless they are in order already.
    pub fn new(order: &[OrderColumn], pieces: &[Piece], in_order: bool) -> Result<Self> {
        let mut rows = Vec::with_capacity(pieces.iter().map(Piece::len).sum());
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut last: Option<&Arc<Held>> = None;
        for piece in pieces {
            if !last.is_some_and(|held| Arc::ptr_eq(held, &piece.held)) {
                batches.push(piece.held.batch.clone());
                last = Some(&piece.held);
            }
            piece.push_rows(batches.len() - 1, &mut rows);
        }
        if !in_order {
            let keys = batches.iter().map(|batch| keys(order, batch)).collect::<Result<Vec<_>>>()?;
            rows = sorted(order, &keys, rows)?;
        }
        Ok(Self { batches, rows, next: 0 })
    }

    /// The next `most` rows; nothing at the end.
    pub fn next(&mut self, most: usize) -> Result<Option<RecordBatch>> {
        if self.next == self.rows.len() {
            return Ok(None);
        }
        let end = (self.next + most).min(self.rows.len());
        let batch = gather(&self.batches, &self.rows[self.next..end])?;
        self.next = end;
        Ok(Some(batch))
    }
}

/// The pieces as slices, for rows that are in order; nothing if they are too short to be worth it.
pub(super) fn slices(pieces: &[Piece]) -> Option<Vec<RecordBatch>> {
    const SHORTEST: usize = 256;
    let rows: usize = pieces.iter().map(Piece::len).sum();
    if rows < SHORTEST * pieces.len() {
        return None;
    }
    let slice = |piece: &Piece| match &piece.rows {
        Rows::Range { start, len } => Some(piece.held.batch.slice(*start as usize, *len as usize)),
        Rows::Picked { .. } => None,
    };
    pieces.iter().map(slice).collect()
}
