//! Consecutive records of one entry, and what is left of them beyond a mark.

use arrow::array::RecordBatch;

use crate::ingest::entry::Refusal;

/// Records `first .. first + records` of an entry.
#[derive(Clone, Debug)]
pub struct Part {
    /// The number of the first record.
    pub first: u64,
    /// Source records: accepted and refused.
    pub records: u64,
    /// The accepted ones, in order.
    pub batch: RecordBatch,
    /// The refused ones, numbered within the entry.
    pub refusals: Vec<Refusal>,
}

impl Part {
    /// What is left from record `from` on; nothing if the part ends before it.
    pub fn from(self, from: u64) -> Option<Part> {
        if from <= self.first {
            return Some(self);
        }
        if from >= self.first + self.records {
            return None;
        }
        let skipped = from - self.first;
        let refused = self.refusals.iter().filter(|r| r.record < from).count();
        let rows = usize::try_from(skipped).unwrap_or(usize::MAX).saturating_sub(refused).min(self.batch.num_rows());
        Some(Part {
            first: from,
            records: self.records - skipped,
            batch: self.batch.slice(rows, self.batch.num_rows() - rows),
            refusals: self.refusals.into_iter().skip(refused).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    /// Records 10..20 of which 12 and 15 are refused; an accepted row holds its record's number.
    fn part() -> Part {
        let rows: Vec<i64> = (10..20).filter(|n| *n != 12 && *n != 15).collect();
        let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(rows)) as _)]).unwrap();
        let refusal = |record| Refusal { record, line: None, raw: String::new(), broken: Vec::new() };
        Part { first: 10, records: 10, batch, refusals: vec![refusal(12), refusal(15)] }
    }

    #[test]
    fn what_is_left_is_exactly_what_is_not_covered() {
        for from in 0..25 {
            let left = part().from(from);
            let mut records: Vec<u64> = Vec::new();
            if let Some(left) = &left {
                records.extend(left.batch.column(0).as_primitive::<Int64Type>().values().iter().map(|n| *n as u64));
                records.extend(left.refusals.iter().map(|r| r.record));
                assert_eq!(left.records as usize, records.len());
            }
            records.sort();
            assert_eq!(records, (from.max(10)..20).collect::<Vec<_>>(), "from {from}");
        }
    }
}
