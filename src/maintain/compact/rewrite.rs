//! Writing the groups of a plan anew, some at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::spec::{FormatVersion, PartitionSpecRef, TableMetadata};
use laked_catalog::store::Store;
use roaring::RoaringTreemap;

use super::copy::{self, Count};
use super::curve;
use super::decode::{Decoder, Lineage, Wanted};
use super::input::File;
use super::matching::Erased;
use super::plan::{Group, Input, Plan};
use super::positions;
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::write::{Layout, Rewriter, SealedFile, Stream, Writer};

/// A rewrite of more groups syncs each file as it is written, and so holds no descriptor of it until it is published.
const OPEN_GROUPS: usize = 64;

/// What rewriting needs.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Where files are.
    pub store: &'a Store,
    /// The table as it was planned on.
    pub metadata: &'a TableMetadata,
    /// What is to be done.
    pub plan: &'a Plan,
    /// Groups at a time.
    pub threads: usize,
    /// Bytes that sorting and deletes may take in each.
    pub memory: usize,
    /// Rows that are to go for another reason than deletes.
    pub erased: Option<&'a Erased>,
}

/// A group's new files, staged.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// The files; none if every row is deleted.
    pub files: Vec<SealedFile>,
    /// Rows that were taken out.
    pub deleted: u64,
    /// Those of them that were live: no delete hit them.
    pub erased: u64,
    /// Rows whose row groups were taken over as they are.
    pub copied: u64,
}

/// Rewrites every group; `done` is told of each. A group that cannot be rewritten, and why, is a result like any other.
///
/// # Errors
/// Storage errors, `Corrupt`: everything is given up then, and nothing staged is left behind.
pub fn rewrite(job: Job<'_>, done: &(dyn Fn(usize) + Sync)) -> Result<Vec<Result<Rewritten>>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Vec<Mutex<Option<Result<Rewritten>>>> = job.plan.groups.iter().map(|_| Mutex::default()).collect();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = job.plan.groups.get(number).filter(|_| !failed.load(Ordering::Relaxed)) else { return };
            let rewritten = job.group(group);
            let fatal = matches!(&rewritten, Err(error) if error.kind() != Kind::Invalid);
            failed.fetch_or(fatal, Ordering::Relaxed);
            *results[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(rewritten);
            done(number);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..job.threads.min(results.len())).map(|_| scope.spawn(work)).collect();
        work();
        let died = |_| Error::new(Kind::Internal, "a thread that rewrites files died");
        others.into_iter().try_for_each(|other| other.join().map_err(died))
    })?;
    let mut rewritten = Vec::with_capacity(results.len());
    for result in results {
        match result.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Err(error)) if error.kind() != Kind::Invalid => return Err(error),
            Some(result) => rewritten.push(result),
            None => rewritten.push(Err(Error::new(Kind::Invalid, "another partition failed before its turn came"))),
        }
    }
    Ok(rewritten)
}

/// How many live rows would be erased.
///
/// # Errors
/// As [`rewrite`].
pub fn count_erased(job: Job<'_>) -> Result<u64> {
    job.plan.groups.iter().map(|group| job.gone(group).map(|(_, live)| live)).sum()
}

impl Job<'_> {
    fn group(&self, group: &Group) -> Result<Rewritten> {
        if group.to_spec != group.spec_id {
            return self.moved(group);
        }
        let layout = Layout::rewriting(self.metadata, group.spec_id, group.sorted)?;
        let (deleted, erased) = self.gone(group)?;
        let gone: u64 = deleted.iter().map(RoaringTreemap::len).sum();
        let rows = group.rows().saturating_sub(gone);
        let mut rewriter = self.rewriter(group, &layout, rows)?;
        let count = Arc::new(Count::default());
        let mut copied = 0;
        let (mut sorted, mut unsorted) = (Vec::new(), Vec::new());
        for (input, deleted) in group.inputs.iter().zip(deleted) {
            let in_order = input.file.file.sort_order_id().is_some_and(|id| id == layout.order_id() && id != 0);
            if deleted.len() >= input.file.file.record_count() {
                count.add(input.file.file.record_count(), 0);
                continue;
            }
            let reading = self.reading(&layout, input);
            match (group.sorted || !group.curve.is_empty(), in_order) {
                (true, true) => sorted.push(reading.stream(deleted, &count)),
                (true, false) => unsorted.push(reading.stream(deleted, &count)),
                (false, _) if deleted.is_empty() => copied += reading.append(&mut rewriter)?,
                (false, _) => rewriter.append(reading.stream(deleted, &count))?,
            }
        }
        if !(sorted.is_empty() && unsorted.is_empty()) {
            rewriter.merge(sorted, unsorted)?;
        }
        let mut files = rewriter.finish()?;
        self.settle(&mut files)?;
        let deleted = count.removed.load(Ordering::Relaxed);
        check(group, &files, deleted)?;
        Ok(Rewritten { files, deleted, erased, copied })
    }

    /// The rows of each file that go, and how many of them are live.
    fn gone(&self, group: &Group) -> Result<(Vec<RoaringTreemap>, u64)> {
        let mut gone = positions::deleted(self.store, self.metadata, &self.plan.deletes, group, self.memory)?;
        let mut live = 0;
        for (input, gone) in group.inputs.iter().zip(&mut gone) {
            // A delete may name rows that the file does not have: they are no row less.
            gone.remove_range(input.file.file.record_count()..);
            if let Some(rows) = self.erased.and_then(|erased| erased.get(input.file.file.file_path())) {
                let before = gone.len();
                *gone |= rows;
                live += gone.len() - before;
            }
        }
        Ok((gone, live))
    }

    fn rewriter(&self, group: &Group, layout: &Layout, rows: u64) -> Result<Rewriter> {
        let (store, value, memory) = (self.store, group.partition.clone(), self.memory);
        if group.curve.is_empty() {
            return Ok(Rewriter::new(layout, store, value, rows, memory));
        }
        let curve = curve::through(store, self.metadata, group, layout, memory / 4)?;
        Ok(Rewriter::along((curve, &group.curve), layout, store, value, rows, memory - memory / 4))
    }

    /// The group's rows under another spec: routed to its partitions and sorted there, spilled where memory ends.
    fn moved(&self, group: &Group) -> Result<Rewritten> {
        let layout = Layout::rewriting(self.metadata, group.to_spec, true)?.routing()?;
        let (deleted, erased) = self.gone(group)?;
        let (count, budget) = (Arc::new(Count::default()), Budget::new(self.memory));
        let mut writer = Writer::new(layout.clone(), self.store.clone(), self.store.system().clone(), budget);
        for (input, deleted) in group.inputs.iter().zip(deleted) {
            let mut rows = self.reading(&layout, input).stream(deleted, &count);
            while let Some(batch) = rows()? {
                writer.write(batch)?;
            }
        }
        let mut files = writer.seal()?.files;
        self.settle(&mut files)?;
        let deleted = count.removed.load(Ordering::Relaxed);
        check(group, &files, deleted)?;
        Ok(Rewritten { files, deleted, erased, copied: 0 })
    }

    fn settle(&self, files: &mut [SealedFile]) -> Result<()> {
        if self.plan.groups.len() > OPEN_GROUPS {
            files.iter_mut().try_for_each(|file| file.staged.settle())?;
        }
        Ok(())
    }

    fn reading(&self, layout: &Layout, input: &Input) -> Reading {
        let spec = self.metadata.partition_spec_by_id(input.file.spec_id).cloned();
        let lineage = (self.metadata.format_version() == FormatVersion::V3).then(|| Lineage::of(&input.file));
        Reading { store: self.store.clone(), layout: layout.clone(), spec, input: input.clone(), lineage }
    }
}

/// One file to be read.
struct Reading {
    store: Store,
    layout: Layout,
    spec: Option<PartitionSpecRef>,
    input: Input,
    /// Where rows have ids.
    lineage: Option<Lineage>,
}

impl Reading {
    fn wanted(&self) -> Wanted<'_> {
        let wanted = Wanted::of(self.layout.schema(), self.layout.arrow());
        match &self.spec {
            Some(spec) => wanted.within(spec, self.input.file.file.partition()),
            None => wanted,
        }
    }

    fn open(&self, deleted: RoaringTreemap) -> Result<Decoder> {
        let location = self.input.file.file.file_path();
        let file = File::open(&self.store, location)?;
        let decoder = Decoder::open(&file, location, &self.wanted(), None, Some(deleted))?;
        Ok(match self.lineage {
            Some(lineage) => decoder.tracing(lineage),
            None => decoder,
        })
    }

    /// The rows of the file, appended; those of whole row groups as they are.
    fn append(&self, rewriter: &mut Rewriter) -> Result<u64> {
        let file = File::open(&self.store, self.input.file.file.file_path())?;
        copy::append(&file, &self.input, &self.wanted(), self.lineage, rewriter)
    }

    /// The file's rows; it is opened when its turn comes.
    fn stream(self, deleted: RoaringTreemap, count: &Arc<Count>) -> Stream {
        let count = count.clone();
        let mut waiting = Some(deleted);
        let mut stream: Option<Stream> = None;
        Box::new(move || {
            if let Some(deleted) = waiting.take() {
                let count = count.clone();
                stream = Some(self.open(deleted)?.stream(move |removed, given| count.add(removed, given)));
            }
            stream.as_mut().map_or(Ok(None), |next| next())
        })
    }
}

/// I6: the rows of the inputs, less the deleted ones, and no others.
fn check(group: &Group, files: &[SealedFile], deleted: u64) -> Result<()> {
    let written: u64 = files.iter().map(|file| file.data_file.record_count()).sum();
    if written + deleted == group.rows() {
        return Ok(());
    }
    let what = "the files of a partition do not have the rows that their manifests say; run `lakectl doctor --deep`";
    Err(Error::new(Kind::Corrupt, what)
        .with("partition", &group.path)
        .with("recorded", group.rows())
        .with("written", written)
        .with("deleted", deleted))
}
