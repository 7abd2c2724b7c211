//! The order of rows: whether they are in it, and the permutation that puts them there.
//!
//! Sorting packs the sort columns of each row into one integer whose order is the rows' order: numbers less their
//! minimum, strings as the rank of the distinct string, nulls before or after, descending columns inverted; below it
//! the row's position, which makes the sort stable. (user, time) of a month's partition takes some 70 bits, so one
//! unstable sort of `u128` does what a comparison sort of two columns does, several times faster. Columns that do not
//! fit into 96 bits are sorted in turn: what has been packed is replaced by its dense rank.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use arrow::array::{Array, ArrayRef, AsArray, DynComparator, RecordBatch, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use iceberg::spec::Transform;
use iceberg::transform::create_transform_function;

use super::gather::At;
use super::layout::OrderColumn;
use crate::error::{Error, Kind, Result};

/// The bits of a packed row that are its position.
const POSITION: u32 = 32;
const KEY_BITS: u32 = 128 - POSITION;

/// The sort columns of a batch: the table's columns, transformed where the sort order says so.
pub(super) fn keys(order: &[OrderColumn], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    order.iter().map(|by| key(by, batch.column(by.column))).collect()
}

fn key(by: &OrderColumn, column: &ArrayRef) -> Result<ArrayRef> {
    if by.transform == Transform::Identity {
        return Ok(column.clone());
    }
    let transformed = || {
        let plain = super::gather::plain(column)?;
        let transform = create_transform_function(&by.transform).map_err(|e| e.to_string())?;
        transform.transform(plain).map_err(|e| e.to_string())
    };
    transformed().map_err(|e| Error::new(Kind::Internal, "a sort key cannot be computed").because(e))
}

/// Whether rows `start..start + len` are in order.
pub(super) fn is_sorted(order: &[OrderColumn], keys: &[ArrayRef], start: usize, len: usize) -> Result<bool> {
    let compare = Comparison::new(order, keys, keys)?;
    Ok((start + 1..start + len).all(|row| compare.rows(row - 1, row) != Ordering::Greater))
}

/// Compares rows of two sets of sort columns.
pub(super) struct Comparison {
    columns: Vec<Column>,
}

enum Column {
    /// Strings without nulls, ascending or descending: the usual first column, without a call through a pointer.
    Texts(arrow::array::StringArray, arrow::array::StringArray, bool),
    /// 64-bit integers without nulls: the usual second one.
    Longs(arrow::buffer::ScalarBuffer<i64>, arrow::buffer::ScalarBuffer<i64>, bool),
    /// Coded strings without nulls.
    Codes(Coded, Coded, bool),
    Any(DynComparator),
}

type Coded = arrow::array::DictionaryArray<Int16Type>;

/// The string of a row.
fn text(coded: &Coded, row: usize) -> &str {
    coded.values().as_string::<i32>().value(coded.keys().value(row) as usize)
}

impl Comparison {
    pub fn new(order: &[OrderColumn], left: &[ArrayRef], right: &[ArrayRef]) -> Result<Self> {
        let pairs = order.iter().zip(left.iter().zip(right));
        let columns = pairs.map(|(by, (left, right))| Column::new(by, left, right)).collect::<Result<_>>()?;
        Ok(Self { columns })
    }

    /// How row `a` of the left stands to row `b` of the right.
    pub fn rows(&self, a: usize, b: usize) -> Ordering {
        for column in &self.columns {
            let found = match column {
                Column::Texts(left, right, down) => directed(left.value(a).cmp(right.value(b)), *down),
                Column::Longs(left, right, down) => directed(left[a].cmp(&right[b]), *down),
                Column::Codes(left, right, down) => {
                    let same = left.keys().value(a) == right.keys().value(b);
                    if same { Ordering::Equal } else { directed(text(left, a).cmp(text(right, b)), *down) }
                }
                Column::Any(compare) => compare(a, b),
            };
            if found != Ordering::Equal {
                return found;
            }
        }
        Ordering::Equal
    }
}

fn directed(found: Ordering, descending: bool) -> Ordering {
    if descending { found.reverse() } else { found }
}

impl Column {
    fn new(by: &OrderColumn, left: &ArrayRef, right: &ArrayRef) -> Result<Self> {
        let dense = left.null_count() == 0 && right.null_count() == 0;
        match (left.data_type(), right.data_type()) {
            (DataType::Utf8, DataType::Utf8) if dense => {
                return Ok(Column::Texts(left.as_string().clone(), right.as_string().clone(), by.descending));
            }
            (DataType::Dictionary(_, _), DataType::Dictionary(_, _)) if dense => {
                let coded = |a: &ArrayRef| a.as_dictionary::<Int16Type>().clone();
                return Ok(Column::Codes(coded(left), coded(right), by.descending));
            }
            (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(TimeUnit::Microsecond, _)) if dense => {
                let longs = |a: &ArrayRef| a.as_primitive::<TimestampMicrosecondType>().values().clone();
                return Ok(Column::Longs(longs(left), longs(right), by.descending));
            }
            _ => {}
        }
        let internal = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Kind::Internal, "sort keys cannot be compared").because(e)
        };
        let left = super::gather::plain(left).map_err(|e| internal(e.into()))?;
        let right = super::gather::plain(right).map_err(|e| internal(e.into()))?;
        let options = SortOptions { descending: by.descending, nulls_first: by.nulls_first };
        Ok(Column::Any(make_comparator(&left, &right, options).map_err(|e| internal(e.into()))?))
    }
}

/// The rows `rows` of `pieces` (each its sort columns) in the table's order, stable.
pub(super) fn sorted(order: &[OrderColumn], pieces: &[Vec<ArrayRef>], rows: Vec<At>) -> Result<Vec<At>> {
    if order.is_empty() || rows.len() < 2 {
        return Ok(rows);
    }
    let mut packed: Vec<u128> = (0..rows.len() as u128).collect();
    let mut used = 0;
    for (i, by) in order.iter().enumerate() {
        let columns: Vec<&ArrayRef> = pieces.iter().map(|keys| &keys[i]).collect();
        let key = Key::of(by, &columns, &rows)?;
        if used + key.bits > KEY_BITS {
            used = rank(&mut packed);
        }
        for row in &mut packed {
            let position = *row as u32;
            let value = u128::from(key.values[position as usize]);
            *row = ((*row >> POSITION) << key.bits | value) << POSITION | u128::from(position);
        }
        used += key.bits;
    }
    if !packed.is_sorted() {
        packed.sort_unstable();
    }
    Ok(packed.into_iter().map(|row| rows[row as u32 as usize]).collect())
}

/// Replaces each key by its dense rank, and returns the bits that takes.
fn rank(packed: &mut [u128]) -> u32 {
    packed.sort_unstable();
    let (mut rank, mut last) = (0_u128, packed.first().map_or(0, |row| row >> POSITION));
    for row in packed.iter_mut() {
        let key = *row >> POSITION;
        rank += u128::from(key != last);
        last = key;
        *row = rank << POSITION | u128::from(*row as u32);
    }
    128 - rank.leading_zeros()
}

/// One sort column of the rows, as integers below `2^bits`.
struct Key {
    values: Vec<u64>,
    bits: u32,
}

impl Key {
    fn of(by: &OrderColumn, columns: &[&ArrayRef], rows: &[At]) -> Result<Self> {
        let raw = raw(columns, rows)?;
        Ok(Self::dense(by, raw, nulls(columns, rows)))
    }

    /// Less the minimum, inverted if descending, with a place for nulls.
    fn dense(by: &OrderColumn, mut values: Vec<u64>, nulls: Option<Vec<bool>>) -> Self {
        let is_null = |i: usize| nulls.as_ref().is_some_and(|nulls| nulls[i]);
        let (mut least, mut most) = (u64::MAX, 0);
        for (i, &value) in values.iter().enumerate() {
            if !is_null(i) {
                (least, most) = (least.min(value), most.max(value));
            }
        }
        if nulls.is_some() && most.wrapping_sub(least) >= u64::MAX - 1 && least <= most {
            // No place left for null beside a full range: fold to ranks.
            values = ranks_of(&values);
            return Self::dense(by, values, nulls);
        }
        let low = u64::from(nulls.is_some() && by.nulls_first);
        let span = most.saturating_sub(least);
        for (i, value) in values.iter_mut().enumerate() {
            *value = match (is_null(i), by.descending) {
                (true, _) if by.nulls_first => 0,
                (true, _) => span + 1,
                (false, false) => *value - least + low,
                (false, true) => most - *value + low,
            };
        }
        let top = span + u64::from(nulls.is_some());
        Self { values, bits: 64 - top.leading_zeros() }
    }
}

fn ranks_of(values: &[u64]) -> Vec<u64> {
    let mut distinct = values.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    values.iter().map(|value| distinct.binary_search(value).unwrap_or_else(|at| at) as u64).collect()
}

fn nulls(columns: &[&ArrayRef], rows: &[At]) -> Option<Vec<bool>> {
    if columns.iter().all(|column| column.null_count() == 0) {
        return None;
    }
    let nulls: Vec<_> = columns.iter().map(|column| column.logical_nulls()).collect();
    Some(rows.iter().map(|at| nulls[at.piece()].as_ref().is_some_and(|n| n.is_null(at.row()))).collect())
}

macro_rules! integers {
    ($columns:expr, $rows:expr, $kind:ty, $map:expr) => {{
        let slices: Vec<_> = $columns.iter().map(|column| column.as_primitive::<$kind>().values().as_ref()).collect();
        Ok($rows.iter().map(|at| $map(slices[at.piece()][at.row()])).collect())
    }};
}

/// Values whose unsigned order is the column's; those of nulls are any.
fn raw(columns: &[&ArrayRef], rows: &[At]) -> Result<Vec<u64>> {
    let signed = |value: i64| value as u64 ^ (1 << 63);
    let double = |value: f64| {
        let bits = value.to_bits();
        if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
    };
    match columns[0].data_type() {
        DataType::Int32 => integers!(columns, rows, Int32Type, |v| signed(i64::from(v))),
        DataType::Date32 => integers!(columns, rows, Date32Type, |v| signed(i64::from(v))),
        DataType::Int64 => integers!(columns, rows, Int64Type, signed),
        DataType::Time64(TimeUnit::Microsecond) => integers!(columns, rows, Time64MicrosecondType, signed),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integers!(columns, rows, TimestampMicrosecondType, signed),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => integers!(columns, rows, TimestampNanosecondType, signed),
        DataType::Float32 => integers!(columns, rows, Float32Type, |v| double(f64::from(v))),
        DataType::Float64 => integers!(columns, rows, Float64Type, double),
        DataType::Utf8 | DataType::Dictionary(_, _) => {
            Ok(code_ranks(columns, rows).unwrap_or_else(|| text_ranks(columns, rows)))
        }
        _ => other_ranks(columns, rows),
    }
}

/// One piece's strings, plain or coded.
enum Texts<'a> {
    Plain(&'a arrow::array::StringArray),
    Coded(&'a [i16], &'a arrow::array::StringArray),
}

impl<'a> Texts<'a> {
    fn of(column: &'a ArrayRef) -> Self {
        match column.data_type() {
            DataType::Utf8 => Texts::Plain(column.as_string()),
            _ => {
                let dictionary = column.as_dictionary::<Int16Type>();
                Texts::Coded(dictionary.keys().values(), dictionary.values().as_string())
            }
        }
    }

    fn get(&self, row: usize) -> &'a str {
        match self {
            Texts::Plain(strings) => strings.value(row),
            Texts::Coded(keys, strings) => {
                let key = keys[row] as usize;
                if key < strings.len() { strings.value(key) } else { "" }
            }
        }
    }
}

/// The ranks of coded strings, by the longest dictionary; nothing if a piece is plain.
fn code_ranks(columns: &[&ArrayRef], rows: &[At]) -> Option<Vec<u64>> {
    let coded: Vec<_> = columns.iter().map(|column| column.as_dictionary_opt::<Int16Type>()).collect::<Option<_>>()?;
    let strings = coded.iter().map(|dictionary| dictionary.values()).max_by_key(|values| values.len())?;
    let strings = strings.as_string::<i32>();
    let mut by_text: Vec<u32> = (0..strings.len() as u32).collect();
    by_text.sort_unstable_by_key(|&code| strings.value(code as usize));
    let mut ranks = vec![0_u64; strings.len()];
    by_text.into_iter().enumerate().for_each(|(rank, code)| ranks[code as usize] = rank as u64);
    let keys: Vec<&[i16]> = coded.iter().map(|dictionary| dictionary.keys().values().as_ref()).collect();
    // The code of a null may be any.
    Some(rows.iter().map(|at| ranks.get(keys[at.piece()][at.row()] as usize).copied().unwrap_or(0)).collect())
}

/// The rank of each row's string among the distinct ones.
fn text_ranks(columns: &[&ArrayRef], rows: &[At]) -> Vec<u64> {
    let pieces: Vec<Texts<'_>> = columns.iter().map(|column| Texts::of(column)).collect();
    let mut numbers: HashMap<&str, u32, Folded> = HashMap::with_hasher(Folded::default());
    let mut last: (&str, u32) = ("", u32::MAX);
    let mut out: Vec<u64> = Vec::with_capacity(rows.len());
    for at in rows {
        let text = pieces[at.piece()].get(at.row());
        if text != last.0 || last.1 == u32::MAX {
            let next = numbers.len() as u32;
            last = (text, *numbers.entry(text).or_insert(next));
        }
        out.push(u64::from(last.1));
    }
    let mut distinct: Vec<(&str, u32)> = numbers.into_iter().collect();
    distinct.sort_unstable();
    let mut ranks = vec![0_u32; distinct.len()];
    for (rank, (_, number)) in distinct.into_iter().enumerate() {
        ranks[number as usize] = rank as u32;
    }
    for value in &mut out {
        *value = u64::from(ranks[*value as usize]);
    }
    out
}

/// Ranks by Arrow's row format: for decimals, binaries, booleans and whatever else may be sorted by.
fn other_ranks(columns: &[&ArrayRef], rows: &[At]) -> Result<Vec<u64>> {
    let internal = |e: arrow::error::ArrowError| Error::new(Kind::Internal, "rows cannot be sorted").because(e);
    let field = arrow::row::SortField::new(columns[0].data_type().clone());
    let converter = arrow::row::RowConverter::new(vec![field]).map_err(internal)?;
    let pieces = columns.iter().map(|column| converter.convert_columns(&[(*column).clone()]));
    let pieces = pieces.collect::<std::result::Result<Vec<_>, _>>().map_err(internal)?;
    let mut by_value: Vec<u32> = (0..rows.len() as u32).collect();
    let row = |i: u32| pieces[rows[i as usize].piece()].row(rows[i as usize].row());
    by_value.sort_unstable_by(|&a, &b| row(a).cmp(&row(b)));
    let mut out = vec![0; rows.len()];
    let mut rank = 0;
    for pair in by_value.windows(2) {
        rank += u64::from(row(pair[0]) != row(pair[1]));
        out[pair[1] as usize] = rank;
    }
    Ok(out)
}

/// A hash for short strings: eight bytes at a time, multiplied and folded; seeded, for the strings are the senders'.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    seed: u64,
}

impl Default for Folded {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0_u8) }
    }
}

impl BuildHasher for Folded {
    type Hasher = FoldedHasher;

    fn build_hasher(&self) -> FoldedHasher {
        FoldedHasher { state: self.seed }
    }
}

/// See [`Folded`].
#[derive(Debug)]
pub(super) struct FoldedHasher {
    state: u64,
}

impl FoldedHasher {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * 0x9E37_79B9_7F4A_7C15;
        self.state = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for FoldedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.fold(u64::from_le_bytes(chunk.try_into().expect("invariant: chunks of eight")));
        }
        let rest = chunks.remainder();
        let mut tail = [0; 8];
        tail[..rest.len()].copy_from_slice(rest);
        self.fold(u64::from_le_bytes(tail) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, byte: u8) {
        self.state ^= u64::from(byte);
    }

    fn write_u32(&mut self, word: u32) {
        self.fold(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.fold(word);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
