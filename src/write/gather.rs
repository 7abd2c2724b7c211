//! Copies chosen rows of several batches into one: fixed-width columns, strings and coded strings by loops of their
//! own, everything else by Arrow's `interleave`.
//!
//! Batches of one table differ only in which string columns are coded. Coded columns share a growing dictionary, so
//! their codes are copied as they are and the longest dictionary serves all; where a column is coded in one batch and
//! plain in another the result is plain.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};

use super::conform::retyped;
use crate::error::{Error, Kind, Result};

/// A row: which piece, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(u64);

impl At {
    pub fn new(piece: usize, row: usize) -> Self {
        At((piece as u64) << 32 | row as u64)
    }

    pub fn piece(self) -> usize {
        (self.0 >> 32) as usize
    }

    pub fn row(self) -> usize {
        self.0 as u32 as usize
    }
}

/// The column without a dictionary.
pub(super) fn plain(column: &ArrayRef) -> Result<ArrayRef, String> {
    match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values).map_err(|e| e.to_string()),
        _ => Ok(column.clone()),
    }
}

/// The rows `rows` of `pieces`, in that order. There must be a piece.
pub(super) fn gather(pieces: &[RecordBatch], rows: &[At]) -> Result<RecordBatch> {
    let schema = pieces[0].schema();
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (i, field) in schema.fields().iter().enumerate() {
        let sources: Vec<&ArrayRef> = pieces.iter().map(|piece| piece.column(i)).collect();
        let column = gather_column(&sources, rows).map_err(|e| {
            Error::new(Kind::Internal, "rows cannot be gathered").with("column", field.name()).because(e)
        })?;
        let same = column.data_type() == field.data_type();
        fields.push(if same { field.clone() } else { Arc::new(retyped(field, column.data_type())) });
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|e| Error::new(Kind::Internal, "rows cannot be gathered").because(e))
}

fn gather_column(sources: &[&ArrayRef], rows: &[At]) -> Result<ArrayRef, arrow::error::ArrowError> {
    let kind = sources[0].data_type();
    if sources.iter().any(|source| source.data_type() != kind) {
        let plain: Vec<ArrayRef> = sources
            .iter()
            .map(|source| plain(source).map_err(arrow::error::ArrowError::ComputeError))
            .collect::<Result<_, _>>()?;
        return gather_column(&plain.iter().collect::<Vec<_>>(), rows);
    }
    Ok(match kind {
        DataType::Int32 => numbers::<Int32Type>(sources, rows),
        DataType::Int64 => numbers::<Int64Type>(sources, rows),
        DataType::Float32 => numbers::<Float32Type>(sources, rows),
        DataType::Float64 => numbers::<Float64Type>(sources, rows),
        DataType::Date32 => numbers::<Date32Type>(sources, rows),
        DataType::Decimal128(_, _) => numbers::<Decimal128Type>(sources, rows),
        DataType::Time64(TimeUnit::Microsecond) => numbers::<Time64MicrosecondType>(sources, rows),
        DataType::Timestamp(TimeUnit::Microsecond, _) => numbers::<TimestampMicrosecondType>(sources, rows),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => numbers::<TimestampNanosecondType>(sources, rows),
        DataType::Dictionary(_, _) => coded(sources, rows),
        DataType::Utf8 if total_bytes(sources) < i32::MAX as usize => texts(sources, rows),
        _ => {
            let arrays: Vec<&dyn Array> = sources.iter().map(|source| source.as_ref()).collect();
            let indices: Vec<(usize, usize)> = rows.iter().map(|at| (at.piece(), at.row())).collect();
            interleave(&arrays, &indices)?
        }
    })
}

fn nulls<A: Array>(sources: &[&A], rows: &[At]) -> Option<NullBuffer> {
    if sources.iter().all(|source| source.null_count() == 0) {
        return None;
    }
    let nulls: Vec<_> = sources.iter().map(|source| source.nulls()).collect();
    Some(rows.iter().map(|at| nulls[at.piece()].is_none_or(|n| n.is_valid(at.row()))).collect())
}

fn numbers<T: ArrowPrimitiveType>(sources: &[&ArrayRef], rows: &[At]) -> ArrayRef {
    let sources: Vec<&PrimitiveArray<T>> = sources.iter().map(|source| source.as_primitive()).collect();
    Arc::new(primitive(&sources, rows).with_data_type(sources[0].data_type().clone()))
}

fn primitive<T: ArrowPrimitiveType>(sources: &[&PrimitiveArray<T>], rows: &[At]) -> PrimitiveArray<T> {
    let slices: Vec<&[T::Native]> = sources.iter().map(|source| source.values().as_ref()).collect();
    let values: Vec<T::Native> = rows.iter().map(|at| slices[at.piece()][at.row()]).collect();
    PrimitiveArray::new(values.into(), nulls(sources, rows))
}

fn coded(sources: &[&ArrayRef], rows: &[At]) -> ArrayRef {
    let dictionaries: Vec<_> = sources.iter().map(|source| source.as_dictionary::<Int16Type>()).collect();
    let keys: Vec<_> = dictionaries.iter().map(|dictionary| dictionary.keys()).collect();
    let longest = dictionaries.iter().max_by_key(|dictionary| dictionary.values().len());
    let values = longest.expect("invariant: there is a piece").values().clone();
    Arc::new(DictionaryArray::new(primitive(&keys, rows), values))
}

fn total_bytes(sources: &[&ArrayRef]) -> usize {
    sources.iter().map(|source| source.as_string::<i32>().value_data().len()).sum()
}

fn texts(sources: &[&ArrayRef], rows: &[At]) -> ArrayRef {
    let sources: Vec<&StringArray> = sources.iter().map(|source| source.as_string()).collect();
    let parts: Vec<(&[i32], &[u8])> = sources.iter().map(|s| (s.value_offsets(), s.value_data())).collect();
    let mut offsets = Vec::with_capacity(rows.len() + 1);
    let mut end = 0_usize;
    offsets.push(0_i32);
    for at in rows {
        let part = parts[at.piece()].0;
        end += (part[at.row() + 1] - part[at.row()]) as usize;
        offsets.push(end as i32);
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(end);
    for at in rows {
        let (offsets, data) = parts[at.piece()];
        bytes.extend_from_slice(&data[offsets[at.row()] as usize..offsets[at.row() + 1] as usize]);
    }
    let offsets = OffsetBuffer::new(offsets.into());
    // SAFETY: each value is a whole value of a string array, so UTF-8, and the offsets are the sums of their lengths.
    let array = unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes), nulls(&sources, rows)) };
    Arc::new(array)
}

/// The batch without spare capacity and without what it shares with others.
pub(super) fn compacted(batch: &RecordBatch) -> Result<RecordBatch> {
    let rows: Vec<At> = (0..batch.num_rows()).map(|row| At::new(0, row)).collect();
    gather(std::slice::from_ref(batch), &rows)
}
