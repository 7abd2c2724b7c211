//! Merges the sorted runs of a partition.
//!
//! In rounds: of each run a block is in memory. The least of the blocks' last rows is the cut: no row still on disk
//! comes before it, so all rows up to it are put in order by the one sort there is, and given out. Runs that do not
//! overlap pass through as they are, one after the other, and are read only when it is their turn.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use laked_catalog::store::DiskRead;

use super::gather::{At, gather};
use super::layout::OrderColumn;
use super::partition::Ordered;
use super::sort::{Comparison, keys, sorted};
use super::spill::{BLOCK_ROWS, Run};
use crate::error::Result;

/// Rows in order, block by block.
pub(super) enum Source {
    Spilled {
        run: Run,
        file: Arc<dyn DiskRead>,
        next: usize,
    },
    Memory(Ordered),
    /// Rows that come from elsewhere, in order.
    Stream(Stream),
}

/// Gives batches until there are no more.
pub type Stream = Box<dyn FnMut() -> Result<Option<RecordBatch>> + Send>;

impl Source {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            Source::Stream(next) => loop {
                match next()? {
                    Some(batch) if batch.num_rows() == 0 => {}
                    other => return Ok(other),
                }
            },
            Source::Memory(ordered) => ordered.next(BLOCK_ROWS),
            Source::Spilled { run, next, .. } if *next == run.blocks() => Ok(None),
            Source::Spilled { run, file, next } => {
                *next += 1;
                run.read(file.as_ref(), *next - 1).map(Some)
            }
        }
    }
}

/// A source's block in memory and how far it is used up.
struct Head {
    source: Source,
    batch: RecordBatch,
    keys: Vec<ArrayRef>,
    at: usize,
}

impl Head {
    fn load(mut source: Source, order: &[OrderColumn]) -> Result<Option<Self>> {
        let Some(batch) = source.next()? else { return Ok(None) };
        let keys = keys(order, &batch)?;
        Ok(Some(Self { source, batch, keys, at: 0 }))
    }

    fn last(&self) -> usize {
        self.batch.num_rows() - 1
    }

    /// The first row after `at` that is greater than `cut`'s last row.
    fn until(&self, order: &[OrderColumn], cut: &Head) -> Result<usize> {
        let compare = Comparison::new(order, &self.keys, &cut.keys)?;
        let (mut low, mut high) = (self.at, self.batch.num_rows());
        while low < high {
            let middle = low + (high - low) / 2;
            match compare.rows(middle, cut.last()) {
                Ordering::Greater => high = middle,
                _ => low = middle + 1,
            }
        }
        Ok(low)
    }
}

/// Gives the rows of several sources in order.
pub(super) struct Merge<'a> {
    order: &'a [OrderColumn],
    /// Sources that wait for their turn, the next one last.
    waiting: Vec<Source>,
    heads: Vec<Head>,
}

impl<'a> Merge<'a> {
    /// With `chained`, each source's rows follow those of the source before.
    pub fn new(order: &'a [OrderColumn], mut sources: Vec<Source>, chained: bool) -> Result<Self> {
        let mut merge = Self { order, waiting: Vec::new(), heads: Vec::new() };
        if chained || order.is_empty() {
            sources.reverse();
            merge.waiting = sources;
        } else {
            for source in sources {
                merge.heads.extend(Head::load(source, order)?);
            }
        }
        Ok(merge)
    }

    /// The next rows; nothing at the end.
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.heads.is_empty() {
            let Some(source) = self.waiting.pop() else { return Ok(None) };
            self.heads.extend(Head::load(source, self.order)?);
        }
        let ends = self.ends()?;
        let parts: Vec<usize> = (0..self.heads.len()).filter(|&i| ends[i] > self.heads[i].at).collect();
        let out = match parts[..] {
            [only] => self.heads[only].batch.slice(self.heads[only].at, ends[only] - self.heads[only].at),
            _ => self.mix(&parts, &ends)?,
        };
        self.advance(&ends)?;
        Ok(Some(out))
    }

    /// For each head, the end of its rows up to the cut.
    fn ends(&self) -> Result<Vec<usize>> {
        let mut cut = &self.heads[0];
        for head in &self.heads[1..] {
            let compare = Comparison::new(self.order, &head.keys, &cut.keys)?;
            if compare.rows(head.last(), cut.last()) == Ordering::Less {
                cut = head;
            }
        }
        self.heads.iter().map(|head| head.until(self.order, cut)).collect()
    }

    fn mix(&self, parts: &[usize], ends: &[usize]) -> Result<RecordBatch> {
        let mut rows = Vec::new();
        for (piece, &part) in parts.iter().enumerate() {
            rows.extend((self.heads[part].at..ends[part]).map(|row| At::new(piece, row)));
        }
        let keys: Vec<Vec<ArrayRef>> = parts.iter().map(|&part| self.heads[part].keys.clone()).collect();
        let batches: Vec<RecordBatch> = parts.iter().map(|&part| self.heads[part].batch.clone()).collect();
        gather(&batches, &sorted(self.order, &keys, rows)?)
    }

    fn advance(&mut self, ends: &[usize]) -> Result<()> {
        let mut heads = Vec::with_capacity(self.heads.len());
        for (mut head, &end) in std::mem::take(&mut self.heads).into_iter().zip(ends) {
            head.at = end;
            match end == head.batch.num_rows() {
                true => heads.extend(Head::load(head.source, self.order)?),
                false => heads.push(head),
            }
        }
        self.heads = heads;
        Ok(())
    }
}
