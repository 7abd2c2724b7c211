//! Rows along a curve that fills space (Z-order): near one another in several columns at once.
//!
//! # How it works
//! A first pass over the columns takes a sample of each ([`Sampler`]); cuts through the sorted sample give every value a rank,
//! the share of values below it. The ranks' bits are interleaved, highest first, to one integer ([`Curve::keyed`]), and rows
//! are sorted by that. So each column counts the same whatever its type and however its values are spread, strings too, which
//! interleaving the values' own bits would not do: a column of large numbers would come before one of small ones.
//!
//! # Limits
//! The sample has at most [`SAMPLE`] rows and takes at most the bytes it is given: over them every other row of it goes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::row::{RowConverter, SortField};
use iceberg::spec::Transform;

use super::gather::plain;
use super::layout::OrderColumn;
use crate::error::{Error, Kind, Result};

/// Rows of a sample.
const SAMPLE: u64 = 1 << 16;
/// Bits of a rank, at most: more than the sample tells apart.
const RANK_BITS: usize = 16;
/// Bits of a key: what a positive 64-bit integer has.
const KEY_BITS: usize = 63;
/// The key's name among the columns, which it is taken from again before anything is written.
const KEY: &str = "laked.z";

/// Takes a sample of some columns.
pub struct Sampler {
    converters: Vec<RowConverter>,
    /// Of each column, the sampled values in a form whose bytes compare as the values do.
    values: Vec<Vec<Box<[u8]>>>,
    bytes: usize,
    most_bytes: usize,
    every: u64,
    /// Rows until the next that is taken.
    skip: u64,
}

impl Sampler {
    /// For columns of these types and, about, so many rows; the sample takes up to `most_bytes`.
    ///
    /// # Errors
    /// `Invalid` for a type that has no order.
    pub fn new(types: &[DataType], rows: u64, most_bytes: usize) -> Result<Self> {
        let converter = |kind: &DataType| {
            RowConverter::new(vec![SortField::new(kind.clone())])
                .map_err(|error| Error::new(Kind::Invalid, "a column that has no order").because(error))
        };
        let converters = types.iter().map(converter).collect::<Result<Vec<_>>>()?;
        let values = types.iter().map(|_| Vec::new()).collect();
        let every = rows.div_ceil(SAMPLE).max(1);
        Ok(Self { converters, values, bytes: 0, most_bytes, every, skip: 0 })
    }

    /// Looks at rows; `columns` are those, in order.
    ///
    /// # Errors
    /// `Internal` if the columns are of other types.
    pub fn take(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let rows = columns.first().map_or(0, |column| column.len()) as u64;
        let taken = UInt64Array::from_iter_values((self.skip..rows).step_by(self.every as usize));
        self.skip = match taken.values().last() {
            Some(last) => last + self.every - rows,
            None => self.skip - rows,
        };
        if taken.is_empty() {
            return Ok(());
        }
        for ((converter, column), values) in self.converters.iter().zip(columns).zip(&mut self.values) {
            for row in &encoded(converter, &take(column, &taken, None).map_err(|error| unranked(error.to_string()))?)? {
                let value: Box<[u8]> = row.as_ref().into();
                self.bytes += value.len() + size_of::<Box<[u8]>>();
                values.push(value);
            }
        }
        while self.bytes > self.most_bytes && self.values.iter().any(|values| values.len() > 2) {
            self.thin();
        }
        Ok(())
    }

    fn thin(&mut self) {
        self.every *= 2;
        self.bytes = 0;
        for values in &mut self.values {
            let mut stays = false;
            values.retain(|_| {
                stays = !stays;
                stays
            });
            self.bytes += values.iter().map(|value| value.len() + size_of::<Box<[u8]>>()).sum::<usize>();
        }
    }

    /// The curve through what was seen; `columns` are the columns' places in the batches to come, in order.
    pub fn curve(self, columns: &[usize]) -> Curve {
        let bits = (KEY_BITS / columns.len().max(1)).min(RANK_BITS);
        let mut axes = Vec::with_capacity(columns.len());
        for ((converter, mut values), &column) in self.converters.into_iter().zip(self.values).zip(columns) {
            values.sort_unstable();
            axes.push(Axis { column, converter, ranks: ranks(&values, bits) });
        }
        Curve { axes, bits }
    }
}

fn encoded(converter: &RowConverter, column: &ArrayRef) -> Result<arrow::row::Rows> {
    let column = plain(column).map_err(unranked)?;
    converter.convert_columns(&[column]).map_err(|error| unranked(error.to_string()))
}

fn unranked(error: String) -> Error {
    Error::new(Kind::Internal, "a column cannot be ranked").because(error)
}

/// Each distinct value of a sorted sample, with the rank of values from it on: the share of the sample below it.
fn ranks(values: &[Box<[u8]>], bits: usize) -> Vec<(Box<[u8]>, u64)> {
    let (all, top) = (values.len().max(1) as u64, 1_u64 << bits);
    let mut ranks: Vec<(Box<[u8]>, u64)> = Vec::new();
    for (below, value) in values.iter().enumerate() {
        if ranks.last().is_none_or(|(last, _)| last != value) {
            ranks.push((value.clone(), below as u64 * top / all));
        }
    }
    ranks
}

/// A column's part in the curve.
#[derive(Debug)]
struct Axis {
    column: usize,
    converter: RowConverter,
    ranks: Vec<(Box<[u8]>, u64)>,
}

/// The place of each row on the curve.
#[derive(Debug)]
pub struct Curve {
    axes: Vec<Axis>,
    bits: usize,
}

impl Curve {
    /// The batch with the rows' places as its last column.
    ///
    /// # Errors
    /// `Internal` if the batch has other columns than the sample.
    pub(super) fn keyed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut keys = vec![0_i64; batch.num_rows()];
        for (number, axis) in self.axes.iter().enumerate() {
            let rows = encoded(&axis.converter, batch.column(axis.column))?;
            for (key, row) in keys.iter_mut().zip(rows.iter()) {
                *key |= spread(axis.rank(row.as_ref()), self.bits, self.axes.len(), number);
            }
        }
        let fields = batch.schema_ref().fields().iter().cloned();
        let fields: Vec<_> = fields.chain([Arc::new(Field::new(KEY, DataType::Int64, false))]).collect();
        let keys: ArrayRef = Arc::new(Int64Array::from(keys));
        let columns = batch.columns().iter().cloned().chain([keys]).collect();
        let failed = |error| Error::new(Kind::Internal, "rows cannot be placed on a curve").because(error);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
    }

    /// The order of keyed batches of so many columns, the key not counted.
    pub(super) fn order(columns: usize) -> Vec<OrderColumn> {
        let transform = Transform::Identity;
        vec![OrderColumn { column: columns, transform, descending: false, nulls_first: true }]
    }
}

/// The batch without its key.
pub(super) fn without_key(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns: Vec<usize> = (0..batch.num_columns() - 1).collect();
    let failed = |error| Error::new(Kind::Internal, "rows cannot be taken from a curve").because(error);
    batch.project(&columns).map_err(failed)
}

impl Axis {
    fn rank(&self, value: &[u8]) -> u64 {
        let above = self.ranks.partition_point(|(cut, _)| cut.as_ref() <= value);
        above.checked_sub(1).map_or(0, |at| self.ranks[at].1)
    }
}

/// The bits of the `number`-th of `all` ranks at their places in a key: the first axis has the highest bit.
fn spread(rank: u64, bits: usize, all: usize, number: usize) -> i64 {
    let bit = |at: usize| (rank >> at & 1) << (at * all + all - 1 - number);
    (0..bits).map(bit).fold(0, |key, bit| key | bit).cast_signed()
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn keys(columns: Vec<ArrayRef>, most_bytes: usize) -> Vec<i64> {
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let mut sampler = Sampler::new(&types, columns[0].len() as u64, most_bytes).expect("ordered");
        sampler.take(&columns).expect("fits");
        let curve = sampler.curve(&(0..columns.len()).collect::<Vec<_>>());
        let fields: Vec<_> =
            types.iter().enumerate().map(|(n, kind)| Field::new(n.to_string(), kind.clone(), true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits");
        let keyed = curve.keyed(&batch).expect("fits");
        assert_eq!(without_key(&keyed).expect("has one"), batch);
        keyed.column(batch.num_columns()).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn bits_go_by_turns() {
        assert_eq!((spread(0b11, 2, 2, 0), spread(0b11, 2, 2, 1)), (0b1010, 0b0101));
        assert_eq!((spread(0b10, 2, 3, 2), spread(0b01, 2, 3, 0)), (0b001_000, 0b000_100));
    }

    #[test]
    fn quadrants_follow_one_another_whatever_the_values_are() {
        // Skewed numbers beside strings: 16 rows, four of each, in a square.
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for n in 0..16 {
            x.push([-1e300, 0.5, 0.75, 7e9][n % 4]);
            y.push(["", "a", "ab", "ünlike"][n / 4]);
        }
        let found = keys(vec![Arc::new(Float64Array::from(x)), Arc::new(StringArray::from(y))], usize::MAX);
        let mut rows: Vec<usize> = (0..16).collect();
        rows.sort_by_key(|row| found[*row]);
        let quadrants: Vec<(usize, usize)> = rows.iter().map(|row| (row % 4 / 2, row / 8)).collect();
        let told: Vec<_> = quadrants.chunks(4).map(|of| (of[0], of.iter().all(|one| *one == of[0]))).collect();
        assert_eq!(told, [((0, 0), true), ((0, 1), true), ((1, 0), true), ((1, 1), true)]);
    }

    #[test]
    fn nulls_come_first_and_a_small_sample_still_orders() {
        let values: Vec<Option<i64>> = (0..4000).map(|n| (n % 100 != 0).then_some(n)).collect();
        let found = keys(vec![Arc::new(Int64Array::from(values.clone()))], 2_000);
        assert!(values.iter().zip(&found).all(|(value, key)| value.is_some() || *key == 0));
        let known: Vec<i64> =
            values.iter().zip(&found).filter(|(value, _)| value.is_some()).map(|(_, key)| *key).collect();
        assert!(known.is_sorted() && known.last() > Some(&(1 << 15)), "{:?}", known.last());
    }

    #[test]
    fn a_sample_is_taken_evenly_over_batches() {
        let mut sampler = Sampler::new(&[DataType::Int64], SAMPLE * 10, usize::MAX).expect("ordered");
        for first in (0..SAMPLE as i64 * 10).step_by(999) {
            let rows = Int64Array::from_iter_values(first..(first + 999).min(SAMPLE as i64 * 10));
            sampler.take(&[Arc::new(rows) as ArrayRef]).expect("fits");
        }
        assert_eq!(sampler.values[0].len() as u64, SAMPLE);
    }
}
