//! A batch under construction: one row a source record, the broken rules found so far, and the end of both.
//!
//! A record that cannot be read at all still takes a row, of placeholders: row and record numbers stay the same thing.
//! At the end the contract checks the batch once; bad rows are filtered out only if there are any.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::column::Column;
use crate::contract::{Code, Contract};
use crate::error::{Error, Kind, Result};
use crate::flow::{Admitted, Broken, Reject};

/// Most broken rules kept of one record.
const MOST_BROKEN: usize = 64;

/// What is wrong with one row.
#[derive(Debug)]
struct Bad {
    row: u32,
    /// Nothing of the record was read: what a check says of its placeholders means nothing.
    whole: bool,
    broken: Vec<Broken>,
}

/// Where a record stood, for its reject: the line, if there are lines, and its text, cut.
pub type Origin = (Option<u64>, String);

/// A batch under construction.
#[derive(Debug)]
pub struct Rows {
    contract: Arc<Contract>,
    /// One for each field of the contract.
    pub columns: Vec<Column>,
    len: usize,
    /// The number of the batch's first record.
    first: u64,
    bad: Vec<Bad>,
}

impl Rows {
    /// No rows yet.
    pub fn new(contract: Arc<Contract>) -> Self {
        let columns = contract.fields().iter().map(Column::new).collect();
        Self { contract, columns, len: 0, first: 0, bad: Vec::new() }
    }

    /// Rows, good and bad: source records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the record being read stays good so far.
    pub fn is_good(&self) -> bool {
        self.bad.last().is_none_or(|bad| bad.row as usize != self.len)
    }

    /// Notes a broken rule of the record being read.
    pub fn note(&mut self, broken: Broken) {
        if self.is_good() {
            self.bad.push(Bad { row: self.len as u32, whole: false, broken: Vec::new() });
        }
        if let Some(bad) = self.bad.last_mut()
            && bad.broken.len() < MOST_BROKEN
        {
            bad.broken.push(broken);
        }
    }

    /// Ends the record being read: every column has its value.
    #[inline(always)]
    pub fn end(&mut self) {
        self.len += 1;
    }

    /// Takes the end of the last record back, and what was appended of it.
    pub fn unend(&mut self) {
        self.len -= 1;
        self.undo();
    }

    /// Ends the record being read as one that could not be read.
    pub fn refuse(&mut self, code: Code, detail: impl Into<String>) {
        self.undo();
        self.bad.push(Bad {
            row: self.len as u32,
            whole: true,
            broken: vec![Broken { code: code.slug(), field: None, detail: detail.into() }],
        });
        for column in &mut self.columns {
            column.push_placeholder();
        }
        self.len += 1;
    }

    /// Forgets what was appended of the record being read.
    pub fn undo(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.len);
        }
        if !self.is_good() {
            self.bad.pop();
        }
    }

    /// The batch; nothing is left here. `origins` is asked, in order, where the rows of the rejects stood.
    pub fn finish(&mut self, origins: impl FnOnce(&[u32]) -> Vec<Origin>) -> Result<Admitted> {
        let internal = |error| Error::new(Kind::Internal, "decoded columns do not fit the contract").because(error);
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            arrays.push(column.finish().map_err(internal)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        let schema = self.contract.arrow_schema();
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options).map_err(internal)?;
        let admitted = admit(&self.contract, batch, std::mem::take(&mut self.bad), self.first, origins)?;
        self.first += self.len as u64;
        self.len = 0;
        Ok(admitted)
    }
}

/// Holds a batch that came as Arrow to the contract; `flawed` are the rules its coercion broke, ascending by row.
pub fn admit_batch(
    contract: &Contract,
    batch: RecordBatch,
    flawed: Vec<(u32, Broken)>,
    first: u64,
    origins: impl FnOnce(&[u32]) -> Vec<Origin>,
) -> Result<Admitted> {
    let mut bad: Vec<Bad> = Vec::new();
    for (row, broken) in flawed {
        match bad.last_mut() {
            Some(last) if last.row == row => last.broken.push(broken),
            _ => bad.push(Bad { row, whole: false, broken: vec![broken] }),
        }
    }
    admit(contract, batch, bad, first, origins)
}

fn admit(
    contract: &Contract,
    batch: RecordBatch,
    bad: Vec<Bad>,
    first: u64,
    origins: impl FnOnce(&[u32]) -> Vec<Origin>,
) -> Result<Admitted> {
    let records = batch.num_rows() as u64;
    let found = contract.check(&batch).broken;
    if bad.is_empty() && found.is_empty() {
        return Ok(Admitted { batch, rejects: Vec::new(), records });
    }
    let bad = merge(bad, found);
    let mut keep = vec![true; batch.num_rows()];
    for bad in &bad {
        keep[bad.row as usize] = false;
    }
    let internal = |error| Error::new(Kind::Internal, "bad rows could not be taken out").because(error);
    let batch = filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(internal)?;
    let rows: Vec<u32> = bad.iter().map(|bad| bad.row).collect();
    let reject = |(bad, (line, raw)): (Bad, Origin)| Reject {
        record: first + u64::from(bad.row),
        line,
        raw,
        broken: bad.broken,
    };
    let rejects = bad.into_iter().zip(origins(&rows)).map(reject).collect();
    Ok(Admitted { batch, rejects, records })
}

/// Joins what decoding and what the check found, both ascending by row. Of a field that decoding refused the check saw
/// a placeholder only.
fn merge(bad: Vec<Bad>, found: Vec<(u32, Broken)>) -> Vec<Bad> {
    let mut merged = Vec::with_capacity(bad.len() + found.len());
    // How many of the last row's broken rules decoding found.
    let mut decoded = 0;
    let mut bad = bad.into_iter().peekable();
    for (row, broken) in found {
        while let Some(before) = bad.next_if(|bad| bad.row <= row) {
            decoded = before.broken.len();
            merged.push(before);
        }
        match merged.last_mut() {
            Some(last) if last.row == row => {
                let refused = &last.broken[..decoded.min(last.broken.len())];
                let placeholder = last.whole || refused.iter().any(|b| b.field == broken.field);
                if !placeholder && last.broken.len() < MOST_BROKEN {
                    last.broken.push(broken);
                }
            }
            _ => {
                decoded = 0;
                merged.push(Bad { row, whole: false, broken: vec![broken] });
            }
        }
    }
    merged.extend(bad);
    merged
}

/// The first `most` bytes of `text`, whole characters, as text; what is not UTF-8 is replaced.
pub fn cut(text: &[u8], most: usize) -> String {
    let mut end = text.len().min(most);
    while end < text.len() && end > 0 && text[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    String::from_utf8_lossy(&text[..end]).into_owned()
}
