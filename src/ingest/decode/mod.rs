//! Decoding: the bytes of a source into Arrow batches by the contract, the records it refuses apart.
//!
//! No row objects: text goes straight into column builders, then the contract checks the batch once. Two kinds of
//! trouble are kept apart. A bad **record** is a [`Reject`](crate::flow::Reject) with every rule it breaks, and reading
//! goes on. A broken **container** (gzip cut off, no Parquet, a CSV header that fits nothing) is an error of the source.
//!
//! Memory is bounded: a batch's text (16 MiB) and columns, and one record (16 MiB). A longer record is refused without
//! being held. What a source may expand to is held to [`Options::max_expanded`] and [`Options::max_ratio`].
//!
//! Records are numbered from 0 in source order, the same in every run over the same bytes and contract; batch
//! boundaries mean nothing. [`Decoder::skip`] resumes behind a mark by that number.
//!
//! Choices: bytes columns (`binary`, `fixed`) are hex in text. Duplicate keys are refused where the contract knows
//! the key. NaN and infinities have no JSON number; where a field allows them they are the texts `NaN`, `Infinity`.

mod arrow_ipc;
mod arrow_message;
mod bytes;
mod coerce;
mod column;
mod contain;
mod csv;
mod document;
mod format;
mod input;
mod ndjson;
mod number;
mod object;
mod parquet;
mod parquet_footer;
mod rows;
mod scan;
mod text;
mod time;
mod unpack;
mod value;
mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};

use self::contain::contain;
pub use self::contain::{abort_elsewhere, contained};
pub use self::format::{NAMES, TYPES, of_headers, of_name};
pub use self::input::Input;
use self::unpack::Unpacked;
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::flow::{Admitted, Format, Packing};

/// Most raw text kept of a reject, in bytes, unless said otherwise.
pub const RAW: usize = 64 << 10;

/// Limits, in bytes unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most records of a batch.
    pub batch_records: usize,
    /// A batch ends when it took so much text.
    pub batch_bytes: usize,
    /// The longest record.
    pub max_record: usize,
    /// Most raw text kept of a reject.
    pub max_raw: usize,
    /// How many arrays and objects may be nested in one another.
    pub max_depth: usize,
    /// Most a source may hold: of text unpacked, of Parquet and Arrow the rows.
    pub max_expanded: Option<u64>,
    /// How many times its packed length a source may unpack to; looked at beyond 1 MiB. Records pack 5 to 50 times,
    /// blanks 1,030 times with gzip and 30,000 times with Zstandard.
    pub max_ratio: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch_records: 64 << 10,
            batch_bytes: 16 << 20,
            max_record: 16 << 20,
            max_raw: RAW,
            max_depth: 64,
            max_expanded: None,
            max_ratio: Some(1000),
        }
    }
}

/// One format's reader: batches of consecutive records until none are left.
trait Batches: Send {
    fn next(&mut self) -> Result<Option<Admitted>>;
}

/// Reads a source. An error ends it.
pub struct Decoder {
    batches: Box<dyn Batches>,
    skip: u64,
    /// Records before the next batch.
    records: u64,
    /// Most bytes of rows, for formats that expand by themselves.
    most: u64,
    bytes: u64,
    ended: bool,
}

/// Opens a source: `format` and `packing` say what its bytes are, the contract what they mean.
///
/// The errors are `Invalid` (the bytes are not what they should be) and whatever reading them gives.
pub fn open(
    contract: Arc<Contract>,
    format: Format,
    packing: Packing,
    input: Input,
    options: Options,
) -> Result<Decoder> {
    if packing != Packing::Plain && !format.is_text() {
        return Err(Error::new(Kind::Invalid, "Parquet and Arrow files are not packed once more; send it unpacked"));
    }
    let most = options.max_expanded.filter(|_| !format.is_text()).unwrap_or(u64::MAX);
    let unpacked = |input: Input, options: &Options| Unpacked::new(input.into_stream(), packing, options);
    let batches = contain(|| -> Result<Box<dyn Batches>> {
        Ok(match format {
            Format::Ndjson => Box::new(ndjson::Ndjson::new(contract, unpacked(input, &options)?, options)?),
            Format::Json => Box::new(document::Document::new(contract, unpacked(input, &options)?, options)?),
            Format::Csv => Box::new(csv::Csv::new(contract, unpacked(input, &options)?, options)?),
            Format::Parquet => Box::new(parquet::Parquet::new(contract, input, &options)?),
            Format::Arrow => Box::new(arrow_ipc::ArrowIpc::new(contract, input, &options)?),
        })
    })?;
    Ok(Decoder { batches, skip: 0, records: 0, most, bytes: 0, ended: false })
}

impl Decoder {
    /// Leaves out the first `records` records: they are in the table. Call it before the first batch is taken.
    #[must_use]
    pub fn skip_records(mut self, records: u64) -> Self {
        self.skip = records;
        self
    }

    fn step(&mut self) -> Result<Option<Admitted>> {
        while let Some(admitted) = self.batches.next()? {
            let before = self.records;
            self.records += admitted.records;
            self.within_limit(&admitted.batch)?;
            if self.records <= self.skip {
                continue;
            }
            return Ok(Some(if before < self.skip { behind(admitted, before, self.skip) } else { admitted }));
        }
        Ok(None)
    }
}

impl Decoder {
    /// Counts a batch's rows. A few bytes of Parquet can say two thousand million times the same row.
    fn within_limit(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.most == u64::MAX {
            return Ok(());
        }
        let of = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX) as u64;
        self.bytes = batch.columns().iter().map(of).fold(self.bytes, u64::saturating_add);
        if self.bytes > self.most {
            let message = format!("the rows are larger than {} bytes, the limit here; send them in parts", self.most);
            return Err(Error::new(Kind::Invalid, message).with("records so far", self.records));
        }
        Ok(())
    }
}

/// The part of a batch that begins at record `first` with the records from `skip` on.
fn behind(admitted: Admitted, first: u64, skip: u64) -> Admitted {
    let covered = skip - first;
    let (gone, rejects): (Vec<_>, Vec<_>) = admitted.rejects.into_iter().partition(|reject| reject.record < skip);
    let rows = covered as usize - gone.len();
    let batch = admitted.batch.slice(rows, admitted.batch.num_rows() - rows);
    Admitted { batch, rejects, records: admitted.records - covered }
}

impl Iterator for Decoder {
    type Item = Result<Admitted>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = contain(|| self.step());
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
