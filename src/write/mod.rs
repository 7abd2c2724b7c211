//! Rows of one table in; sorted, partitioned Parquet files out, staged and described but not yet published.
//!
//! # How rows flow
//! [`Writer::write`] maps a batch to the table's columns (`conform`), finds the partition of each row (`route`) and
//! hands every partition its **pieces**: which rows of the batch are its own (`partition`). No row is copied here. A
//! partition whose pieces come in the table's sort order notices, and its rows are later encoded as slices of the
//! batches they came in; others are sorted by an integer key and gathered once (`sort`, `gather`).
//!
//! [`Writer::seal`] turns each partition into files, two partitions at a time: a `Sink` cuts ordered rows into row
//! groups and closes a file at `write.target-file-size-bytes`; `encode` writes it, `metrics` says what the manifest is
//! told of it, `path` names it.
//!
//! # Memory
//! Everything held is reserved in the [`Budget`], by the capacity of its buffers. When the budget is three quarters
//! used the largest partitions give way until half is: rows that came in order go straight into the partition's open
//! file as row groups, if there are enough for one; others are spilled as a sorted run into one scratch file (`spill`),
//! and merged at the seal (`merge`). A batch's memory is free only when all its partitions gave way, so input that
//! touches every partition all the time spills them all at once: an external sort.
//!
//! Descriptors are bounded too: the scratch file is one for all partitions, and at most [`MOST_OPEN`] files are open
//! between batches.

mod conform;
mod curve;
mod encode;
mod gather;
mod layout;
mod merge;
mod metrics;
mod partition;
mod path;
mod rewrite;
mod route;
mod settings;
mod sink;
mod sort;
mod spill;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use iceberg::spec::Struct;
use laked_catalog::store::{DiskRead, Store};
use laked_catalog::system::System;

pub use curve::{Curve, Sampler};
pub use encode::CURVE;
pub use layout::{LINEAGE, Layout};
pub use merge::Stream;
pub use rewrite::{Rewriter, named as curve_name};
pub use sink::SealedFile;

use self::conform::Conform;
use self::encode::Shape;
use self::merge::{Merge, Source};
use self::partition::{Held, Ordered, Partition, Piece, Rows, slices};
use self::route::{Routed, route};
use self::sink::{Files, Sink};
use self::spill::{BLOCK_ROWS, Spill};
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};

/// Partitions with an open file between batches, at most.
const MOST_OPEN: usize = 64;
/// Bytes of rows in order that make a row group worth writing before the seal.
const LEAST_GROUP: usize = 8 << 20;
/// A batch's mean run of rows of one partition from which on rows are kept as ranges.
const RANGE_ROWS: usize = 16;
/// Partitions sealed at a time.
const SEALERS: usize = 2;
/// A commit of more partitions syncs each file as it is sealed, and so holds no descriptor of it until it is published.
const OPEN_FILES: usize = 256;

/// Takes rows of one table and makes files of them.
pub struct Writer {
    files: Arc<Files>,
    budget: Budget,
    conform: Conform,
    partitions: Vec<Partition>,
    by_value: HashMap<Struct, usize>,
    spill: Option<Spill>,
    rows: u64,
    bytes: u64,
}

/// What a writer made: staged files, to be published and committed together.
#[derive(Debug, Default)]
pub struct Sealed {
    /// The files, by partition in the order the partitions appeared.
    pub files: Vec<SealedFile>,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Writer {
    /// A writer of files of `layout` into `store`, within `budget`.
    pub fn new(layout: Layout, store: Store, system: System, budget: Budget) -> Self {
        let shape = Arc::new(Shape::new(layout.clone()));
        let (partitions, by_value) = (Vec::new(), HashMap::new());
        let (files, conform) = (Arc::new(Files::new(shape, store, system)), Conform::new(layout));
        Self { files, budget, conform, partitions, by_value, spill: None, rows: 0, bytes: 0 }
    }

    /// Takes the rows of `batch`, whose columns are named as the table's (or as the layout's name map says).
    ///
    /// # Errors
    /// `Invalid` if the batch does not fit the table; storage errors of spilling. The writer is then of no more use.
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let conformed = self.conform.batch(&batch)?;
        let held = self.hold(conformed)?;
        drop(batch);
        self.rows += held.batch.num_rows() as u64;
        let inner = self.files.shape.layout.inner.clone();
        match route(&inner.partition, &held.batch)? {
            Routed::One(value) => {
                let rows = Rows::Range { start: 0, len: held.batch.num_rows() as u32 };
                let number = self.partition(value);
                self.partitions[number].push(&inner.order, Piece { held, rows })?;
            }
            Routed::Many { values, rows } => self.push_many(values, &rows, &held)?,
        }
        self.give_way()
    }

    /// Rows taken so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of Arrow memory of the rows taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sorts, encodes and stages what is left.
    ///
    /// # Errors
    /// Storage errors. Nothing staged is left behind then.
    pub fn seal(mut self) -> Result<Sealed> {
        let partitions: Vec<Mutex<Option<Partition>>> =
            std::mem::take(&mut self.partitions).into_iter().map(|partition| Mutex::new(Some(partition))).collect();
        let file: Option<Arc<dyn DiskRead>> = match &self.spill {
            Some(spill) => Some(spill.reader()?.into()),
            None => None,
        };
        let sealer = Sealer { files: self.files.clone(), budget: self.budget.clone(), file };
        let sealed = seal_all(&sealer, &partitions)?;
        let bytes = sealed.iter().map(|file| file.data_file.file_size_in_bytes()).sum();
        let rows: u64 = sealed.iter().map(|file| file.data_file.record_count()).sum();
        if rows != self.rows {
            return Err(Error::new(Kind::Internal, "the sealed files do not have the rows that were written")
                .with("written", self.rows)
                .with("sealed", rows));
        }
        Ok(Sealed { files: sealed, rows, bytes })
    }

    /// Reserves what the batch takes; one that keeps much more memory than its rows need is copied first.
    fn hold(&mut self, batch: RecordBatch) -> Result<Arc<Held>> {
        let needed = needed_bytes(&batch);
        let batch = if memory(&batch) > 2 * needed + (64 << 10) { gather::compacted(&batch)? } else { batch };
        let bytes = memory(&batch);
        self.bytes += needed as u64;
        let row_bytes = bytes.div_ceil(batch.num_rows());
        let _reservation = self.budget.reserve(bytes + batch.num_rows() * size_of::<u32>());
        Ok(Arc::new(Held { batch, row_bytes, _reservation }))
    }

    fn partition(&mut self, value: Struct) -> usize {
        if let Some(&number) = self.by_value.get(&value) {
            return number;
        }
        let number = self.partitions.len();
        self.by_value.insert(value.clone(), number);
        self.partitions.push(Partition::new(value));
        number
    }

    fn push_many(&mut self, values: Vec<Struct>, rows: &[u32], held: &Arc<Held>) -> Result<()> {
        let numbers: Vec<usize> = values.into_iter().map(|value| self.partition(value)).collect();
        let layout = self.files.shape.layout.clone();
        let mut push = |partition: u32, rows: Rows| {
            let piece = Piece { held: held.clone(), rows };
            self.partitions[numbers[partition as usize]].push(&layout.inner.order, piece)
        };
        let changes = rows.windows(2).filter(|pair| pair[0] != pair[1]).count();
        if rows.len() >= RANGE_ROWS * (changes + 1) {
            let mut start = 0;
            for run in rows.chunk_by(|a, b| a == b) {
                push(run[0], Rows::Range { start, len: run.len() as u32 })?;
                start += run.len() as u32;
            }
            return Ok(());
        }
        let (all, ends) = by_partition(rows, numbers.len());
        let mut start = 0;
        for (partition, end) in ends.into_iter().enumerate() {
            push(partition as u32, Rows::Picked { all: all.clone(), start, len: end - start })?;
            start = end;
        }
        Ok(())
    }

    /// Frees memory if the budget runs out.
    fn give_way(&mut self) -> Result<()> {
        let limit = self.budget.limit();
        let own: usize = self.partitions.iter().map(|partition| partition.bytes).sum();
        if self.budget.used() <= limit / 4 * 3 || own < limit / 16 {
            return Ok(());
        }
        let mut by_size: Vec<usize> = (0..self.partitions.len()).filter(|&i| self.partitions[i].rows > 0).collect();
        by_size.sort_unstable_by_key(|&i| std::cmp::Reverse(self.partitions[i].bytes));
        for number in by_size {
            if self.budget.used() <= limit / 2 {
                break;
            }
            self.flush(number)?;
        }
        Ok(())
    }

    /// Encodes a partition's rows into its open file, or spills them.
    fn flush(&mut self, number: usize) -> Result<()> {
        let open = self.partitions.iter().filter(|partition| partition.open.is_some()).count();
        let partition = &mut self.partitions[number];
        let order = &self.files.shape.layout.inner.order;
        let may_open = partition.open.is_some() || open < MOST_OPEN;
        let (in_order, bytes) = (partition.in_order, partition.bytes);
        let row_bytes = bytes.div_ceil(partition.rows.max(1));
        let pieces = partition.take_pieces()?;
        if in_order && partition.runs.is_empty() && bytes >= LEAST_GROUP && may_open {
            let files = &self.files;
            let sink = partition.open.get_or_insert_with(|| Sink::new(files.clone(), partition.value.clone()));
            feed(sink, order, &pieces, Sink::row_group_rows(files, row_bytes))?;
            return sink.flush();
        }
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill::create(&self.files.store)?),
        };
        let mut ordered = Ordered::new(order, &pieces, in_order)?;
        partition.runs.extend(spill.run(|| ordered.next(BLOCK_ROWS))?);
        Ok(())
    }
}

/// The memory of the batch's buffers. The dictionaries of coded columns are the writer's and not counted.
fn memory(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| match column.as_any_dictionary_opt() {
        Some(dictionary) => dictionary.keys().get_array_memory_size(),
        None => column.get_array_memory_size(),
    };
    batch.columns().iter().map(column).sum()
}

/// The memory the batch's rows need, however large the buffers they lie in.
fn needed_bytes(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| match column.as_any_dictionary_opt() {
        Some(dictionary) => dictionary.keys().to_data().get_slice_memory_size(),
        None => column.to_data().get_slice_memory_size(),
    };
    batch.columns().iter().map(|of| column(of).unwrap_or(0)).sum()
}

/// The rows' numbers partition by partition, and where each partition's end.
fn by_partition(rows: &[u32], partitions: usize) -> (Arc<Vec<u32>>, Vec<u32>) {
    let mut ends = vec![0_u32; partitions];
    rows.iter().for_each(|&partition| ends[partition as usize] += 1);
    let mut next = 0;
    for end in &mut ends {
        (*end, next) = (next, next + *end);
    }
    let mut all = vec![0; rows.len()];
    for (row, &partition) in rows.iter().enumerate() {
        let at = &mut ends[partition as usize];
        all[*at as usize] = row as u32;
        *at += 1;
    }
    (Arc::new(all), ends)
}

/// Hands rows that came in order to a sink.
fn feed(sink: &mut Sink, order: &[layout::OrderColumn], pieces: &[Piece], group_rows: usize) -> Result<()> {
    if let Some(slices) = slices(pieces) {
        return slices.into_iter().try_for_each(|slice| sink.push(slice, group_rows));
    }
    let mut ordered = Ordered::new(order, pieces, true)?;
    while let Some(batch) = ordered.next(group_rows)? {
        sink.push(batch, group_rows)?;
    }
    Ok(())
}

/// Turns partitions into files.
struct Sealer {
    files: Arc<Files>,
    budget: Budget,
    /// The scratch file, if there is one.
    file: Option<Arc<dyn DiskRead>>,
}

fn seal_all(sealer: &Sealer, partitions: &[Mutex<Option<Partition>>]) -> Result<Vec<SealedFile>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Vec<SealedFile>)>> {
        let mut sealed = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = partitions.get(number) else { return Ok(sealed) };
            let taken = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(partition) = taken {
                let mut files = sealer.seal(partition)?;
                if partitions.len() > OPEN_FILES {
                    files.iter_mut().try_for_each(|file| file.staged.settle())?;
                }
                sealed.push((number, files));
            }
        }
    };
    let threads = SEALERS.min(partitions.len());
    let mut sealed = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut sealed = work()?;
        for other in others {
            let died = |_| Error::new(Kind::Internal, "a thread that seals partitions died");
            sealed.extend(other.join().map_err(died)??);
        }
        Ok::<_, Error>(sealed)
    })?;
    sealed.sort_unstable_by_key(|(number, _)| *number);
    Ok(sealed.into_iter().flat_map(|(_, files)| files).collect())
}

impl Sealer {
    fn seal(&self, mut partition: Partition) -> Result<Vec<SealedFile>> {
        let order = &self.files.shape.layout.inner.order;
        let mut sink = match partition.open.take() {
            Some(sink) if partition.in_order => sink,
            Some(sink) => {
                let done = sink.finish()?;
                let mut sink = Sink::new(self.files.clone(), partition.value.clone());
                sink.done = done;
                sink
            }
            None => Sink::new(self.files.clone(), partition.value.clone()),
        };
        let spilled: usize = partition.runs.iter().map(|run| run.rows).sum();
        let bytes = partition.bytes + partition.runs.iter().map(|run| run.bytes).sum::<usize>();
        let row_bytes = bytes.div_ceil((partition.rows + spilled).max(1));
        let group_rows = Sink::row_group_rows(&self.files, row_bytes);
        // A row group gathered, and its encoded pages.
        let _working = self.budget.reserve(2 * row_bytes * group_rows.min(partition.rows + spilled));
        if partition.runs.is_empty() && partition.in_order {
            feed(&mut sink, order, &partition.pieces, group_rows)?;
        } else if partition.runs.is_empty() {
            let mut ordered = Ordered::new(order, &partition.pieces, false)?;
            while let Some(batch) = ordered.next(group_rows)? {
                sink.push(batch, group_rows)?;
            }
        } else {
            let mut merge = self.merge(&mut partition)?;
            while let Some(batch) = merge.next()? {
                sink.push(batch, group_rows)?;
            }
        }
        sink.finish()
    }

    fn merge(&self, partition: &mut Partition) -> Result<Merge<'_>> {
        let order = &self.files.shape.layout.inner.order;
        let mut sources = Vec::with_capacity(partition.runs.len() + 1);
        for run in std::mem::take(&mut partition.runs) {
            let lost = || Error::new(Kind::Internal, "a run was spilled to no file");
            sources.push(Source::Spilled { run, file: self.file.clone().ok_or_else(lost)?, next: 0 });
        }
        sources.push(Source::Memory(Ordered::new(order, &partition.pieces, partition.in_order)?));
        Merge::new(order, sources, partition.in_order)
    }
}
