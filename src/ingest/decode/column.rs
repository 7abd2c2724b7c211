//! One column under construction: typed values appended straight from text, by the contract's type.
//!
//! A value that cannot be made is a [`Flaw`]; the caller then appends a placeholder, so that all columns keep one row
//! a source record, and the row is filtered out at the end. Required columns have no nulls to hold at all.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{Int8Type, Int16Type};
use arrow::error::ArrowError;

use super::bytes::low_bytes;
use crate::contract::{Code, Field, FieldType};
use crate::flow::Broken;

/// Why a value is not one of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The reason.
    pub code: Code,
    /// What was found and what was wanted.
    pub detail: String,
}

impl Flaw {
    /// A flaw of a field.
    pub fn of(self, field: &Field) -> Broken {
        Broken { code: self.code.slug(), field: Some(field.name.clone()), detail: self.detail }
    }
}

/// Strings or bytes, end to end.
#[derive(Debug, Default)]
pub struct Runs {
    /// Where each value ends.
    pub ends: Vec<i32>,
    /// The values.
    pub bytes: Vec<u8>,
}

impl Runs {
    /// Appends one value.
    #[inline(always)]
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as i32);
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |&end| end as usize));
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let (rows, bytes) = (self.ends.len(), self.bytes.len());
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        let values = std::mem::replace(&mut self.bytes, Vec::with_capacity(bytes + bytes / 16));
        (OffsetBuffer::new(offsets.into()), Buffer::from_vec(values))
    }
}

/// Strings with listed values: keys, and the list in a shape that compares fast.
#[derive(Debug)]
pub struct Listed<K> {
    /// One key a row.
    pub keys: Vec<K>,
    words: Vec<u64>,
    texts: Vec<String>,
    dictionary: ArrayRef,
}

impl<K: TryFrom<usize>> Listed<K> {
    fn new(texts: &[String]) -> Self {
        let words = texts.iter().map(|text| short_word(text.as_bytes()).unwrap_or(0)).collect();
        let dictionary = Arc::new(StringArray::from_iter_values(texts));
        Self { keys: Vec::new(), words, texts: texts.to_vec(), dictionary }
    }

    /// Appends the key of a text of at most eight bytes, given as a word of its bytes.
    #[inline(always)]
    pub fn push_word(&mut self, word: u64) -> Option<()> {
        let index = self.words.iter().position(|&w| w == word && w != 0)?;
        self.keys.push(K::try_from(index).ok()?);
        Some(())
    }

    /// Appends the key of a text.
    pub fn push(&mut self, text: &str) -> Option<()> {
        let index = self.texts.iter().position(|t| t == text)?;
        self.keys.push(K::try_from(index).ok()?);
        Some(())
    }
}

/// The bytes of a text of one to eight bytes without NUL, as a word.
fn short_word(text: &[u8]) -> Option<u64> {
    let short = (1..=8).contains(&text.len()) && !text.contains(&0);
    short.then(|| low_bytes(super::bytes::load8(text, 0), text.len()))
}

/// The values of a column, by the type it is built as.
#[derive(Debug)]
pub enum Values {
    /// boolean
    Boolean(Vec<bool>),
    /// int
    Int(Vec<i32>),
    /// long
    Long(Vec<i64>),
    /// float
    Float(Vec<f32>),
    /// double
    Double(Vec<f64>),
    /// decimal: unscaled
    Decimal(Vec<i128>),
    /// date
    Date(Vec<i32>),
    /// time
    Time(Vec<i64>),
    /// timestamp
    Local(Vec<i64>),
    /// timestamptz
    Instant(Vec<i64>),
    /// string
    Text(Runs),
    /// string of at most 127 listed values
    Listed8(Listed<i8>),
    /// string of more
    Listed16(Listed<i16>),
    /// uuid, fixed: bytes of one width
    Fixed(usize, Vec<u8>),
    /// binary
    Binary(Runs),
}

/// A column under construction.
#[derive(Debug)]
pub struct Column {
    /// What it is of.
    pub field: Field,
    /// Its values so far.
    pub values: Values,
    /// The rows that are null, ascending.
    nulls: Vec<u32>,
    /// The day part last read and its microseconds: records come in runs of one day.
    pub last_day: ([u64; 2], i64),
}

macro_rules! each_values {
    ($self:expr, $v:ident => $plain:expr, $l:ident => $listed:expr, $r:ident => $runs:expr, ($w:ident, $f:ident) => $fixed:expr) => {
        match $self {
            Values::Boolean($v) => $plain,
            Values::Int($v) | Values::Date($v) => $plain,
            Values::Long($v) | Values::Time($v) | Values::Local($v) | Values::Instant($v) => $plain,
            Values::Float($v) => $plain,
            Values::Double($v) => $plain,
            Values::Decimal($v) => $plain,
            Values::Listed8($l) => $listed,
            Values::Listed16($l) => $listed,
            Values::Text($r) | Values::Binary($r) => $runs,
            Values::Fixed($w, $f) => $fixed,
        }
    };
}

impl Column {
    /// An empty column of a field.
    pub fn new(field: &Field) -> Self {
        let values = match field.kind {
            FieldType::Boolean => Values::Boolean(Vec::new()),
            FieldType::Int => Values::Int(Vec::new()),
            FieldType::Long => Values::Long(Vec::new()),
            FieldType::Float => Values::Float(Vec::new()),
            FieldType::Double => Values::Double(Vec::new()),
            FieldType::Decimal { .. } => Values::Decimal(Vec::new()),
            FieldType::Date => Values::Date(Vec::new()),
            FieldType::Time => Values::Time(Vec::new()),
            FieldType::Timestamp => Values::Local(Vec::new()),
            FieldType::Timestamptz => Values::Instant(Vec::new()),
            FieldType::String => match field.listed_texts() {
                Some(texts) if texts.len() <= i8::MAX as usize => Values::Listed8(Listed::new(texts)),
                Some(texts) => Values::Listed16(Listed::new(texts)),
                None => Values::Text(Runs::default()),
            },
            FieldType::Uuid => Values::Fixed(16, Vec::new()),
            FieldType::Fixed(width) => Values::Fixed(width as usize, Vec::new()),
            FieldType::Binary => Values::Binary(Runs::default()),
        };
        Self { field: field.clone(), values, nulls: Vec::new(), last_day: ([0; 2], 0) }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        each_values!(&self.values, v => v.len(), l => l.keys.len(), r => r.ends.len(), (w, f) => f.len() / *w)
    }

    /// Appends a value that stands for none in a row that will be filtered out, or behind a null.
    pub fn push_placeholder(&mut self) {
        each_values!(&mut self.values,
            v => v.push(Default::default()),
            l => l.keys.push(Default::default()),
            r => r.push(&[]),
            (w, f) => f.resize(f.len() + *w, 0))
    }

    /// Appends null; the field must be optional.
    pub fn push_null(&mut self) {
        self.nulls.push(self.len() as u32);
        self.push_placeholder();
    }

    /// Forgets all rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        each_values!(&mut self.values,
            v => v.truncate(rows),
            l => l.keys.truncate(rows),
            r => r.truncate(rows),
            (w, f) => f.truncate(rows * *w));
        while self.nulls.last().is_some_and(|&row| row as usize >= rows) {
            self.nulls.pop();
        }
    }

    fn take_nulls(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut valid = vec![0xff_u8; rows.div_ceil(8)];
        for row in self.nulls.drain(..) {
            valid[row as usize / 8] &= !(1 << (row % 8));
        }
        Some(NullBuffer::new(BooleanBuffer::new(valid.into(), 0, rows)))
    }

    /// The array of all rows; the column is empty afterwards.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.take_nulls(self.len());
        Ok(match &mut self.values {
            Values::Boolean(v) => Arc::new(BooleanArray::new(BooleanBuffer::from(&take(v)[..]), nulls)),
            Values::Int(v) => Arc::new(Int32Array::try_new(take(v).into(), nulls)?),
            Values::Long(v) => Arc::new(Int64Array::try_new(take(v).into(), nulls)?),
            Values::Float(v) => Arc::new(Float32Array::try_new(take(v).into(), nulls)?),
            Values::Double(v) => Arc::new(Float64Array::try_new(take(v).into(), nulls)?),
            Values::Decimal(v) => {
                let FieldType::Decimal { precision, scale } = self.field.kind else {
                    return Err(ArrowError::SchemaError("not a decimal".to_owned()));
                };
                let array = Decimal128Array::try_new(take(v).into(), nulls)?;
                Arc::new(array.with_precision_and_scale(precision, scale as i8)?)
            }
            Values::Date(v) => Arc::new(Date32Array::try_new(take(v).into(), nulls)?),
            Values::Time(v) => Arc::new(Time64MicrosecondArray::try_new(take(v).into(), nulls)?),
            Values::Local(v) => Arc::new(TimestampMicrosecondArray::try_new(take(v).into(), nulls)?),
            Values::Instant(v) => {
                Arc::new(TimestampMicrosecondArray::try_new(take(v).into(), nulls)?.with_timezone("UTC"))
            }
            Values::Text(runs) => {
                let (offsets, values) = runs.finish();
                Arc::new(StringArray::try_new(offsets, values, nulls)?)
            }
            Values::Listed8(listed) => {
                let keys = Int8Array::try_new(take(&mut listed.keys).into(), nulls)?;
                Arc::new(DictionaryArray::<Int8Type>::try_new(keys, listed.dictionary.clone())?)
            }
            Values::Listed16(listed) => {
                let keys = Int16Array::try_new(take(&mut listed.keys).into(), nulls)?;
                Arc::new(DictionaryArray::<Int16Type>::try_new(keys, listed.dictionary.clone())?)
            }
            Values::Fixed(width, bytes) => {
                Arc::new(FixedSizeBinaryArray::try_new(*width as i32, Buffer::from_vec(take(bytes)), nulls)?)
            }
            Values::Binary(runs) => {
                let (offsets, values) = runs.finish();
                Arc::new(BinaryArray::try_new(offsets, values, nulls)?)
            }
        })
    }
}

/// Takes the values and leaves room for as many: the next batch is most likely as long.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = values.len();
    std::mem::replace(values, Vec::with_capacity(room))
}
