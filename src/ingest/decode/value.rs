//! One value from text into its column, by the contract's rules for how text becomes values (see `contract`).
//!
//! This is the exact way, and the one that says what is wrong; the fast ways give up and come here.

use uuid::Uuid;

use super::column::{Column, Flaw, Values};
use super::number::{self, NoDecimal};
use super::time::{self, NoTime};
use crate::contract::{Code, FieldType};

/// A value as a text format has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// JSON's null.
    Null,
    /// JSON's true or false.
    Boolean(bool),
    /// A JSON number, as written.
    Number(&'a str),
    /// A JSON text, without quotes and escapes.
    Text(&'a str),
    /// A JSON array or object, as written.
    Nested(&'a str),
    /// A CSV cell, without quotes: read by the field's type.
    Bare(&'a str),
}

/// Most characters of a value that a message repeats.
const SHOWN: usize = 64;

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

impl Cell<'_> {
    fn show(&self) -> String {
        match self {
            Cell::Null => "null".to_owned(),
            Cell::Boolean(value) => value.to_string(),
            Cell::Number(text) => format!("number {}", shown(text)),
            Cell::Text(text) => format!("text \"{}\"", shown(text)),
            Cell::Nested(text) => shown(text),
            Cell::Bare(text) => format!("`{}`", shown(text)),
        }
    }
}

/// Appends `cell` to `column`, or nothing at all and says why.
pub fn put(column: &mut Column, cell: Cell<'_>, strict: bool) -> Result<(), Flaw> {
    if is_null(column, cell, strict) {
        if column.field.required {
            let detail = format!("found {}, and the field is required", cell.show());
            return Err(Flaw { code: Code::Null, detail });
        }
        column.push_null();
        return Ok(());
    }
    typed(column, cell, strict).map_err(|code| {
        let mut detail = format!("found {}, wanted {}", cell.show(), wanted(column, code));
        if code == Code::Type && strict && matches!(cell, Cell::Text(_)) {
            detail.push_str(" (not in quotes: the contract is strict)");
        }
        Flaw { code, detail }
    })
}

fn wanted(column: &Column, code: Code) -> String {
    let kind = column.field.kind;
    match code {
        Code::Enum => format!("one of {}", column.field.listed_texts().unwrap_or_default().join(", ")),
        Code::NaiveTimestamp => "an offset, as Z or +09:00 (the contract names no time zone)".to_owned(),
        Code::Timestamp if kind == FieldType::Timestamp => {
            "a timestamp without offset, as 2025-01-31T12:00:00".to_owned()
        }
        Code::Timestamp => "an RFC 3339 timestamp to the microsecond, years 1 to 9999, no leap second".to_owned(),
        Code::Date => "a date, as 2025-01-31".to_owned(),
        Code::Time => "a time of day, as 12:00:00".to_owned(),
        Code::Uuid => "a UUID, as 8-4-4-4-12 hex digits".to_owned(),
        Code::Nan => format!("a finite {kind}"),
        _ => kind.to_string(),
    }
}

fn is_null(column: &Column, cell: Cell<'_>, strict: bool) -> bool {
    let listed = |text: &str| column.field.null_values.iter().any(|null| null == text);
    match cell {
        Cell::Null => true,
        Cell::Bare(text) => listed(text),
        Cell::Text(text) if !strict => listed(text) && !(text.is_empty() && column.field.kind == FieldType::String),
        _ => false,
    }
}

/// The text a non-text type is to be read from, where the cell's kind allows it.
fn literal<'a>(cell: Cell<'a>, strict: bool) -> Result<&'a str, Code> {
    match cell {
        Cell::Number(text) => Ok(text),
        Cell::Bare(text) if strict => Ok(text),
        Cell::Bare(text) => Ok(text.trim()),
        Cell::Text(text) if !strict => Ok(text.trim()),
        _ => Err(Code::Type),
    }
}

/// The text of a type that JSON writes in quotes.
fn quoted<'a>(cell: Cell<'a>, strict: bool) -> Result<&'a str, Code> {
    match cell {
        Cell::Text(text) | Cell::Bare(text) => Ok(if strict { text } else { text.trim() }),
        _ => Err(Code::Type),
    }
}

/// The text of a string field.
fn text<'a>(cell: Cell<'a>, strict: bool) -> Result<&'a str, Code> {
    match cell {
        Cell::Text(text) | Cell::Bare(text) => Ok(text),
        Cell::Number(text) if !strict => Ok(text),
        Cell::Boolean(value) if !strict => Ok(if value { "true" } else { "false" }),
        _ => Err(Code::Type),
    }
}

fn typed(column: &mut Column, cell: Cell<'_>, strict: bool) -> Result<(), Code> {
    let (kind, allow_nan) = (column.field.kind, column.field.allow_nan);
    match &mut column.values {
        Values::Boolean(values) => values.push(boolean(cell, strict)?),
        Values::Int(values) => {
            values.push(i32::try_from(whole(literal(cell, strict)?, strict)?).map_err(|_| Code::Range)?)
        }
        Values::Long(values) => values.push(whole(literal(cell, strict)?, strict)?),
        Values::Float(values) => values.push(float(cell, strict, allow_nan)?),
        Values::Double(values) => values.push(double(cell, strict, allow_nan)?),
        Values::Decimal(values) => values.push(decimal(literal(cell, strict)?, kind)?),
        Values::Date(values) => values.push(date(quoted(cell, strict)?, strict)?),
        Values::Time(values) => {
            values.push(time::time(quoted(cell, strict)?.as_bytes(), strict).map_err(|_| Code::Time)?);
        }
        Values::Local(values) => {
            values.push(time::local(quoted(cell, strict)?.as_bytes(), strict).map_err(|_| Code::Timestamp)?);
        }
        Values::Instant(values) => {
            let zone = column.field.time_zone.as_ref();
            let instant = time::instant(quoted(cell, strict)?.as_bytes(), zone, strict);
            values
                .push(instant.map_err(|no| if no == NoTime::Naive { Code::NaiveTimestamp } else { Code::Timestamp })?);
        }
        Values::Text(runs) => runs.push(text(cell, strict)?.as_bytes()),
        Values::Listed8(listed) => listed.push(text(cell, strict)?).ok_or(Code::Enum)?,
        Values::Listed16(listed) => listed.push(text(cell, strict)?).ok_or(Code::Enum)?,
        Values::Fixed(_, bytes) if kind == FieldType::Uuid => {
            let text = quoted(cell, strict)?;
            let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36).ok_or(Code::Uuid)?;
            bytes.extend_from_slice(id.as_bytes());
        }
        Values::Fixed(width, bytes) => {
            let value = hex(quoted(cell, strict)?).ok_or(Code::Type)?;
            if value.len() != *width {
                return Err(Code::Length);
            }
            bytes.extend(value);
        }
        Values::Binary(runs) => runs.push(&hex(quoted(cell, strict)?).ok_or(Code::Type)?),
    }
    Ok(())
}

fn boolean(cell: Cell<'_>, strict: bool) -> Result<bool, Code> {
    let text = match cell {
        Cell::Boolean(value) => return Ok(value),
        cell => literal(cell, strict)?,
    };
    match (text, strict) {
        ("true", _) => Ok(true),
        ("false", _) => Ok(false),
        (_, true) => Err(Code::Type),
        _ => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" => Ok(true),
            "false" | "f" | "no" | "n" | "0" => Ok(false),
            _ => Err(Code::Type),
        },
    }
}

/// The number that is the whole of `text`, by JSON's grammar.
fn scanned(text: &str) -> Result<number::Number, Code> {
    number::scan(text.as_bytes(), 0).filter(|n| n.end == text.len()).ok_or(Code::Type)
}

fn whole(text: &str, strict: bool) -> Result<i64, Code> {
    let number = scanned(text)?;
    if let Some(value) = number.long() {
        return Ok(value);
    }
    if strict && (number.decimals > 0 || number.exponent) {
        return Err(Code::Type);
    }
    match number::decimal(text.as_bytes(), 38, 0) {
        Ok(value) => i64::try_from(value).map_err(|_| Code::Range),
        Err(NoDecimal::Precision) => Err(Code::Range),
        Err(_) => Err(Code::Type),
    }
}

/// NaN and the infinities as CSV and JSON texts write them.
fn unreal(cell: Cell<'_>) -> Option<f64> {
    let (Cell::Text(text) | Cell::Bare(text)) = cell else { return None };
    match text.trim().to_ascii_lowercase().trim_start_matches('+') {
        "nan" | "-nan" => Some(f64::NAN),
        "inf" | "infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn double(cell: Cell<'_>, strict: bool, allow_nan: bool) -> Result<f64, Code> {
    if let Some(value) = unreal(cell) {
        return if allow_nan { Ok(value) } else { Err(Code::Nan) };
    }
    let text = literal(cell, strict)?;
    let value = scanned(text)?.double(text.as_bytes(), 0);
    if value.is_finite() { Ok(value) } else { Err(Code::Range) }
}

fn float(cell: Cell<'_>, strict: bool, allow_nan: bool) -> Result<f32, Code> {
    if let Some(value) = unreal(cell) {
        return if allow_nan { Ok(value as f32) } else { Err(Code::Nan) };
    }
    let text = literal(cell, strict)?;
    let value = scanned(text)?.float(text.as_bytes(), 0);
    if value.is_finite() { Ok(value) } else { Err(Code::Range) }
}

fn decimal(text: &str, kind: FieldType) -> Result<i128, Code> {
    let FieldType::Decimal { precision, scale } = kind else { return Err(Code::Type) };
    number::decimal(text.as_bytes(), precision, scale as i8).map_err(|no| match no {
        NoDecimal::Syntax => Code::Type,
        NoDecimal::Scale | NoDecimal::Precision => Code::Decimal,
    })
}

fn date(text: &str, strict: bool) -> Result<i32, Code> {
    if let Some(days) = time::date(text.as_bytes()) {
        return Ok(days);
    }
    // A midnight is a date to those who are not strict.
    let midnight = (!strict).then(|| time::local(text.as_bytes(), false).ok()).flatten();
    let days = midnight.filter(|micros| micros.rem_euclid(time::DAY) == 0).map(|micros| micros.div_euclid(time::DAY));
    days.and_then(|days| i32::try_from(days).ok()).ok_or(Code::Date)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}
