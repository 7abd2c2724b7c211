//! Row groups that are taken over without being decoded.

use std::sync::atomic::{AtomicU64, Ordering};

use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader, RowGroupMetaData};

use super::decode::{Decoder, Lineage, Wanted};
use super::input::File;
use super::plan::Input;
use crate::error::Result;
use crate::write::Rewriter;

/// Appends a file of which no row is deleted: row groups as they are where that is possible and they are worth it, the
/// rows of others decoded. Returns the rows that were copied.
///
/// Where rows have ids, either every row group has them written down and can be copied, or the whole file is decoded: ids
/// that follow from a row's place need all rows before it.
pub(super) fn append(
    file: &File,
    input: &Input,
    wanted: &Wanted<'_>,
    lineage: Option<Lineage>,
    rewriter: &mut Rewriter,
) -> Result<u64> {
    let location = input.file.file.file_path();
    let metadata = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = metadata.parse_and_finish(file).map_err(|error| file.failed(location, error))?;
    // The writer panics over a file in which some row groups have a page index and others have none.
    let indexed = metadata.offset_index().is_some_and(|index| {
        index.len() == metadata.num_row_groups()
            && index.iter().zip(metadata.row_groups()).all(|(of, group)| of.len() == group.num_columns())
    });
    let can_copy = |rewriter: &Rewriter, group: &RowGroupMetaData| indexed && rewriter.can_copy(group);
    if let Some(lineage) = lineage.filter(|_| !metadata.row_groups().iter().all(|group| can_copy(rewriter, group))) {
        let decoder = Decoder::open(file, location, wanted, None, None)?.tracing(lineage);
        return rewriter.append(decoder.stream(|_, _| {})).map(|()| 0);
    }
    let columns = file.by_columns();
    let mut copied = 0;
    let mut pending: Vec<usize> = Vec::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        if !can_copy(rewriter, group) || !rewriter.is_worth_copying(group) {
            pending.push(number);
            continue;
        }
        decode(file, location, wanted, std::mem::take(&mut pending), rewriter)?;
        rewriter.copy(&columns, &metadata, number, input.file.file.nan_value_counts())?;
        copied += group.num_rows().unsigned_abs();
    }
    decode(file, location, wanted, pending, rewriter)?;
    Ok(copied)
}

fn decode(file: &File, location: &str, wanted: &Wanted<'_>, groups: Vec<usize>, to: &mut Rewriter) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    to.append(Decoder::open(file, location, wanted, Some(groups), None)?.stream(|_, _| {}))
}

/// Counts rows over several streams.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// Rows left out.
    pub removed: AtomicU64,
    /// Rows given.
    pub given: AtomicU64,
}

impl Count {
    pub fn add(&self, removed: u64, given: u64) {
        self.removed.fetch_add(removed, Ordering::Relaxed);
        self.given.fetch_add(given, Ordering::Relaxed);
    }
}
