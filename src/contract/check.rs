//! Holds a batch to the contract: one vectorised pass a rule, nothing allocated while nothing is broken.
//!
//! A pass folds `value is in order` over a block of values without branches, which the compiler turns into SIMD, and
//! looks at single rows only in a block that has a bad one. A dictionary's values are checked, not its rows.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteArray, OffsetSizeTrait, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, ByteArrayType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{Code, Contract, Field, FieldType, Length, Limits, Pattern, Values, natural};
use crate::flow::Broken;

/// What a batch breaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The broken rules with their rows, in the order of the rows; a row may be there several times.
    pub broken: Vec<(u32, Broken)>,
}

impl Verdict {
    /// Whether no row breaks a rule.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    /// The rows that break a rule, each once, ascending.
    pub fn rows(&self) -> Vec<u32> {
        let mut rows: Vec<u32> = self.broken.iter().map(|(row, _)| *row).collect();
        rows.dedup();
        rows
    }
}

/// Most characters of a value that a message repeats.
const SHOWN: usize = 64;
/// Rows a fold covers before it looks whether one was bad: enough to amortise, small enough to search again.
const BLOCK: usize = 256;

impl Contract {
    /// Holds a batch in the shape of [`Contract::arrow_schema`] to the rules. A string column may be a dictionary or
    /// not, whatever the schema says; columns are found by name. A column that is missing, or of another type, breaks
    /// `missing` (if required) or `type` in every row.
    pub fn check(&self, batch: &RecordBatch) -> Verdict {
        let fields: Vec<&Field> = self.fields().iter().collect();
        self.check_some(&fields, batch)
    }

    /// The same for some of the contract's fields: those a reader of other rows has.
    pub fn check_some(&self, fields: &[&Field], batch: &RecordBatch) -> Verdict {
        let mut verdict = Verdict::default();
        for (index, field) in fields.iter().enumerate() {
            match column(batch, index, &field.name) {
                Some(array) => check_column(field, array, &mut verdict),
                None if field.required => {
                    all(field, Code::Missing, "the column is missing", batch.num_rows(), &mut verdict)
                }
                None => {}
            }
        }
        verdict.broken.sort_by_key(|(row, _)| *row);
        verdict
    }
}

fn column<'b>(batch: &'b RecordBatch, index: usize, name: &str) -> Option<&'b ArrayRef> {
    let schema = batch.schema_ref();
    if schema.fields().get(index).is_some_and(|field| field.name() == name) {
        return batch.columns().get(index);
    }
    batch.column_by_name(name)
}

fn check_column(field: &Field, array: &ArrayRef, verdict: &mut Verdict) {
    if field.required {
        check_nulls(field, array, verdict);
    }
    let mut bad = Bad { field, array, verdict };
    match (field.kind, array.data_type()) {
        (FieldType::Boolean, DataType::Boolean) => {}
        (FieldType::Int, DataType::Int32) => bad.whole::<Int32Type>(Code::Range),
        (FieldType::Long, DataType::Int64) => bad.whole::<Int64Type>(Code::Range),
        (FieldType::Float, DataType::Float32) => bad.real::<Float32Type>(),
        (FieldType::Double, DataType::Float64) => bad.real::<Float64Type>(),
        (FieldType::Decimal { precision, scale }, DataType::Decimal128(_, s)) if *s == scale as i8 => {
            bad.decimal(precision);
        }
        (FieldType::Date, DataType::Date32) => bad.whole::<Date32Type>(Code::Date),
        (FieldType::Time, DataType::Time64(TimeUnit::Microsecond)) => bad.whole::<Time64MicrosecondType>(Code::Time),
        (FieldType::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, None))
        | (FieldType::Timestamptz, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => {
            bad.whole::<TimestampMicrosecondType>(Code::Timestamp);
        }
        (FieldType::String, DataType::Dictionary(_, values)) if **values == DataType::Utf8 => bad.dictionary(),
        (FieldType::String, DataType::Utf8) => bad.texts::<i32>(),
        (FieldType::String, DataType::LargeUtf8) => bad.texts::<i64>(),
        (FieldType::Binary, DataType::Binary) => bad.bytes::<i32>(),
        (FieldType::Binary, DataType::LargeBinary) => bad.bytes::<i64>(),
        (FieldType::Uuid, DataType::FixedSizeBinary(16)) => {}
        (FieldType::Fixed(n), DataType::FixedSizeBinary(width)) if i64::from(n) == i64::from(*width) => {}
        (kind, found) => all(field, Code::Type, &format!("found {found}, wanted {kind}"), array.len(), verdict),
    }
}

fn check_nulls(field: &Field, array: &ArrayRef, verdict: &mut Verdict) {
    let in_values = array.as_any_dictionary_opt().is_some_and(|dictionary| dictionary.values().null_count() > 0);
    if array.null_count() == 0 && !in_values {
        return;
    }
    let Some(nulls) = array.logical_nulls() else { return };
    for row in (0..array.len()).filter(|&row| nulls.is_null(row)) {
        push(field, Code::Null, "the field is required".to_owned(), row, verdict);
    }
}

fn all(field: &Field, code: Code, detail: &str, rows: usize, verdict: &mut Verdict) {
    for row in 0..rows {
        push(field, code, detail.to_owned(), row, verdict);
    }
}

fn push(field: &Field, code: Code, detail: String, row: usize, verdict: &mut Verdict) {
    let broken = Broken { code: code.slug(), field: Some(field.name.clone()), detail };
    verdict.broken.push((u32::try_from(row).unwrap_or(u32::MAX), broken));
}

/// One column under check, and where its bad rows go.
struct Bad<'a> {
    field: &'a Field,
    array: &'a ArrayRef,
    verdict: &'a mut Verdict,
}

impl Bad<'_> {
    fn note(&mut self, row: usize, code: Code, wanted: &str) {
        let options = FormatOptions::default();
        let found = ArrayFormatter::try_new(self.array, &options)
            .map_or_else(|_| String::new(), |formatter| formatter.value(row).try_to_string().unwrap_or_default());
        let cut: String = found.chars().take(SHOWN).collect();
        let dots = if cut.len() < found.len() { "…" } else { "" };
        push(self.field, code, format!("found `{cut}{dots}`, wanted {wanted}"), row, self.verdict);
    }

    /// Whole numbers, dates and times: the contract's range within the type's own; `natural_code` is for the latter.
    fn whole<T: ArrowPrimitiveType>(&mut self, natural_code: Code)
    where
        T::Native: Into<i64> + TryFrom<i64> + Ord,
    {
        let (least, most) = natural(self.field.kind);
        let (low, high) = match self.field.range.as_ref().map(|range| range.limits) {
            Some(Limits::Whole { min, max }) => (min.max(least), max.min(most)),
            _ => (least, most),
        };
        if let (Ok(low), Ok(high)) = (T::Native::try_from(low), T::Native::try_from(high)) {
            let values: &PrimitiveArray<T> = self.array.as_primitive();
            scan(
                values.values(),
                values.nulls(),
                |v| (v >= low) & (v <= high),
                |row, value| {
                    let natural = (least..=most).contains(&value.into());
                    let code = if natural { Code::Range } else { natural_code };
                    self.note(row, code, self.range_text("the years 1 to 9999"));
                },
            );
        }
        let Some(Values::Whole(listed)) = &self.field.values else { return };
        let values: &PrimitiveArray<T> = self.array.as_primitive();
        scan(
            values.values(),
            values.nulls(),
            |v| listed.binary_search(&v.into()).is_ok(),
            |row, _| {
                self.note(row, Code::Enum, &format!("one of {}", list(listed)));
            },
        );
    }

    fn real<T: ArrowPrimitiveType>(&mut self)
    where
        T::Native: Into<f64>,
    {
        let (min, max) = match self.field.range.as_ref().map(|range| range.limits) {
            Some(Limits::Real { min, max }) => (min, max),
            _ if self.field.allow_nan => return,
            _ => (f64::MIN, f64::MAX),
        };
        let values: &PrimitiveArray<T> = self.array.as_primitive();
        let in_range = |value: T::Native| {
            let value: f64 = value.into();
            (value >= min) & (value <= max)
        };
        scan(values.values(), values.nulls(), in_range, |row, value| {
            let value: f64 = value.into();
            let code = if value.is_finite() { Code::Range } else { Code::Nan };
            self.note(row, code, self.range_text("a finite number"));
        });
    }

    fn decimal(&mut self, precision: u8) {
        let most = 10i128.pow(u32::from(precision)) - 1;
        let (low, high) = match self.field.range.as_ref().map(|range| range.limits) {
            Some(Limits::Decimal { min, max }) => (min.max(-most), max.min(most)),
            _ => (-most, most),
        };
        let values: &PrimitiveArray<Decimal128Type> = self.array.as_primitive();
        let kind = self.field.kind.to_string();
        scan(
            values.values(),
            values.nulls(),
            |v| (v >= low) & (v <= high),
            |row, value| {
                let code = if (-most..=most).contains(&value) { Code::Range } else { Code::Decimal };
                self.note(row, code, self.range_text(&kind));
            },
        );
    }

    /// What is wanted: the contract's range, or else the type's own.
    fn range_text<'t>(&self, natural: &'t str) -> &'t str
    where
        Self: 't,
    {
        self.field.range.as_ref().map_or(natural, |range| range.text.as_str())
    }

    fn texts<O: OffsetSizeTrait>(&mut self) {
        let texts: &GenericByteArray<arrow::datatypes::GenericStringType<O>> = self.array.as_string::<O>();
        let Some(rules) = TextRules::of(self.field) else { return };
        if rules.only_length().is_some_and(|length| lengths_fit(texts, length)) {
            return;
        }
        for row in (0..texts.len()).filter(|&row| texts.is_valid(row)) {
            rules.each_broken(texts.value(row), |code, wanted| self.note(row, code, wanted));
        }
    }

    fn dictionary(&mut self) {
        let Some(rules) = TextRules::of(self.field) else { return };
        let dictionary = self.array.as_any_dictionary();
        let values = dictionary.values().as_string::<i32>();
        let broken = |at: usize| {
            let mut any = false;
            if values.is_valid(at) {
                rules.each_broken(values.value(at), |_, _| any = true);
            }
            any
        };
        if !(0..values.len()).any(broken) {
            return;
        }
        let bad: Vec<bool> = (0..values.len()).map(broken).collect();
        let keys = dictionary.normalized_keys();
        for (row, &key) in keys.iter().enumerate() {
            if bad[key] && dictionary.keys().is_valid(row) {
                rules.each_broken(values.value(key), |code, wanted| self.note(row, code, wanted));
            }
        }
    }

    fn bytes<O: OffsetSizeTrait>(&mut self) {
        let values = self.array.as_binary::<O>();
        let Some(length) = self.field.length else { return };
        for row in (0..values.len()).filter(|&row| values.is_valid(row)) {
            if !(length.min..=length.max).contains(&values.value(row).len()) {
                self.note(row, Code::Length, &length_text(length, "bytes"));
            }
        }
    }
}

/// Calls `bad` for each value, not null, that is not `ok`.
#[inline]
fn scan<T: Copy>(
    values: &[T],
    nulls: Option<&NullBuffer>,
    ok: impl Fn(T) -> bool + Copy,
    mut bad: impl FnMut(usize, T),
) {
    for (block, values) in values.chunks(BLOCK).enumerate() {
        if values.iter().fold(true, |all, &value| all & ok(value)) {
            continue;
        }
        for (offset, &value) in values.iter().enumerate().filter(|&(_, &value)| !ok(value)) {
            let row = block * BLOCK + offset;
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                bad(row, value);
            }
        }
    }
}

/// Whether all lengths, nulls' too, are in order, told from the offsets alone: a text has at most as many characters
/// as bytes and at least a quarter as many.
fn lengths_fit<T: ByteArrayType>(texts: &GenericByteArray<T>, length: Length) -> bool {
    let least = length.min.saturating_mul(if length.min > 1 { 4 } else { 1 });
    texts.value_offsets().windows(2).fold(true, |all, pair| {
        let bytes = pair[1].as_usize() - pair[0].as_usize();
        all & (bytes >= least) & (bytes <= length.max)
    })
}

/// The rules of a text field.
struct TextRules<'f> {
    listed: Option<&'f [String]>,
    pattern: Option<&'f Pattern>,
    length: Option<Length>,
}

impl<'f> TextRules<'f> {
    /// Nothing if there are none.
    fn of(field: &'f Field) -> Option<Self> {
        let rules = Self { listed: field.listed_texts(), pattern: field.pattern.as_ref(), length: field.length };
        (rules.listed.is_some() || rules.pattern.is_some() || rules.length.is_some()).then_some(rules)
    }

    fn only_length(&self) -> Option<Length> {
        self.length.filter(|_| self.listed.is_none() && self.pattern.is_none())
    }

    fn each_broken(&self, text: &str, mut broken: impl FnMut(Code, &str)) {
        if let Some(listed) = self.listed
            && !listed.iter().any(|value| value == text)
        {
            broken(Code::Enum, &format!("one of {}", list(listed)));
        }
        if let Some(length) = self.length
            && !fits(text, length)
        {
            broken(Code::Length, &length_text(length, "characters"));
        }
        if let Some(pattern) = self.pattern
            && !pattern.regex.is_match(text)
        {
            broken(Code::Pattern, &format!("text that matches {}", pattern.text));
        }
    }
}

fn fits(text: &str, length: Length) -> bool {
    let bytes = text.len();
    if bytes < length.min || bytes / 4 > length.max {
        return false;
    }
    if text.is_ascii() { bytes <= length.max } else { (length.min..=length.max).contains(&text.chars().count()) }
}

fn length_text(length: Length, what: &str) -> String {
    match (length.min, length.max) {
        (min, max) if min == max => format!("{min} {what}"),
        (min, usize::MAX) => format!("{min} {what} or more"),
        (min, max) => format!("{min} to {max} {what}"),
    }
}

/// The listed values for a message, cut when there are many.
fn list<T: ToString>(values: &[T]) -> String {
    const MOST: usize = 20;
    let shown: Vec<_> = values.iter().take(MOST).map(T::to_string).collect();
    let more = if values.len() > MOST { format!(" and {} more", values.len() - MOST) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
