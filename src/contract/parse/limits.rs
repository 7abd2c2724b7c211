//! `range` and `length`: limits in the units the column stores.
//!
//! `[20, 600]` includes both ends; `{ min, max }` the same, with one side open if it is left out; `{ above, below }`
//! exclude theirs. An exclusive limit is turned into its inclusive neighbour here, so that a check is two compares.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use toml::de::DeValue;

use super::super::{FieldType, Length, Limits, Range};
use super::keys::{Keys, Value, kind as kind_of, wrong};
use super::{Notes, known};

pub(super) fn range(kind: FieldType, value: &Value<'_>, notes: &mut Notes<'_>) -> Option<Range> {
    if !kind.has_order() {
        let instead = if kind == FieldType::String { "; use enum, pattern or length" } else { "" };
        notes.at(value.span(), format!("`range` is for numbers, dates and times, this field is {kind}{instead}"));
        return None;
    }
    let ends = ends(value, notes)?;
    let text = ends.text();
    let limits = match kind {
        FieldType::Float | FieldType::Double => {
            let (min, max) = ends.resolve(|v| real(v, notes), f64::next_up, f64::next_down)?;
            Limits::Real { min: min.unwrap_or(f64::MIN), max: max.unwrap_or(f64::MAX) }
        }
        FieldType::Decimal { precision, scale } => {
            let most = 10i128.pow(u32::from(precision)) - 1;
            let (min, max) = ends.resolve(|v| decimal(scale, v, notes), |v| v + 1, |v| v - 1)?;
            Limits::Decimal { min: min.unwrap_or(-most), max: max.unwrap_or(most) }
        }
        _ => {
            let (min, max) =
                ends.resolve(|v| whole(kind, v, notes), |v| v.saturating_add(1), |v| v.saturating_sub(1))?;
            let (least, most) = natural(kind);
            Limits::Whole { min: min.unwrap_or(least), max: max.unwrap_or(most) }
        }
    };
    let empty = match limits {
        Limits::Whole { min, max } => min > max,
        Limits::Real { min, max } => min > max,
        Limits::Decimal { min, max } => min > max,
    };
    if empty {
        notes.at(value.span(), format!("no value is in this range ({text})"));
    }
    Some(Range { text, limits })
}

/// The least and greatest value that a whole-numbered type holds: years 1 to 9999 for dates and timestamps, beyond
/// which engines disagree.
pub fn natural(kind: FieldType) -> (i64, i64) {
    const DAY: i64 = 86_400_000_000;
    let days = (-719_162, 2_932_896);
    match kind {
        FieldType::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
        FieldType::Date => days,
        FieldType::Time => (0, DAY - 1),
        FieldType::Timestamp | FieldType::Timestamptz => (days.0 * DAY, (days.1 + 1) * DAY - 1),
        _ => (i64::MIN, i64::MAX),
    }
}

pub(super) fn length(kind: FieldType, value: &Value<'_>, notes: &mut Notes<'_>) -> Option<Length> {
    if !matches!(kind, FieldType::String | FieldType::Binary) {
        notes.at(value.span(), format!("`length` is for string and binary, this field is {kind}"));
        return None;
    }
    let count = |value: &Value<'_>| value.get_ref().as_integer().and_then(|n| n.to_string().parse::<usize>().ok());
    let length = match value.get_ref() {
        DeValue::Integer(_) => count(value).map(|exact| Length { min: exact, max: exact }),
        DeValue::Array(ends) if ends.len() == 2 => {
            count(&ends[0]).zip(count(&ends[1])).map(|(min, max)| Length { min, max })
        }
        DeValue::Table(table) => {
            let keys = Keys::of(table, known::LENGTH, "in `length`", notes);
            let side = |key, open| keys.get(key).map_or(Some(open), &count);
            side("min", 0).zip(side("max", usize::MAX)).map(|(min, max)| Length { min, max })
        }
        _ => None,
    };
    if length.is_none_or(|length| length.min > length.max) {
        wrong("length", "a count, as 12, or [1, 64], or { min = 1, max = 64 }", value, notes);
    }
    length
}

/// An end of a range as it is written, and whether it belongs to it.
struct End<'a, 'i> {
    value: &'a Value<'i>,
    inclusive: bool,
}

struct Ends<'a, 'i> {
    low: Option<End<'a, 'i>>,
    high: Option<End<'a, 'i>>,
}

impl Ends<'_, '_> {
    fn text(&self) -> String {
        let show = |end: &End<'_, '_>| shown(end.value.get_ref());
        match (&self.low, &self.high) {
            (Some(low), Some(high)) if low.inclusive && high.inclusive => format!("{} to {}", show(low), show(high)),
            (low, high) => {
                let low = low.as_ref().map(|end| format!("{} {}", pick(end, "at least", "above"), show(end)));
                let high = high.as_ref().map(|end| format!("{} {}", pick(end, "at most", "below"), show(end)));
                low.into_iter().chain(high).collect::<Vec<_>>().join(" and ")
            }
        }
    }

    fn resolve<T>(
        &self,
        mut read: impl FnMut(&Value<'_>) -> Option<T>,
        up: impl Fn(T) -> T,
        down: impl Fn(T) -> T,
    ) -> Option<(Option<T>, Option<T>)> {
        let mut side = |end: &Option<End<'_, '_>>, next: &dyn Fn(T) -> T| match end {
            None => Some(None),
            Some(end) => read(end.value).map(|value| Some(if end.inclusive { value } else { next(value) })),
        };
        let low = side(&self.low, &up);
        let high = side(&self.high, &down);
        Some((low?, high?))
    }
}

fn pick<'t>(end: &End<'_, '_>, inclusive: &'t str, exclusive: &'t str) -> &'t str {
    if end.inclusive { inclusive } else { exclusive }
}

fn ends<'a, 'i>(value: &'a Value<'i>, notes: &mut Notes<'_>) -> Option<Ends<'a, 'i>> {
    match value.get_ref() {
        DeValue::Array(ends) if ends.len() == 2 => {
            let end = |at: usize| Some(End { value: &ends[at], inclusive: true });
            Some(Ends { low: end(0), high: end(1) })
        }
        DeValue::Table(table) => {
            let keys = Keys::of(table, known::RANGE, "in `range`", notes);
            let mut side = |inclusive: &str, exclusive: &str| match (keys.get(inclusive), keys.get(exclusive)) {
                (Some(_), Some(value)) => {
                    notes.at(value.span(), format!("`{exclusive}` and `{inclusive}` are one end: keep one of them"));
                    None
                }
                (value, None) => value.map(|value| End { value, inclusive: true }),
                (None, Some(value)) => Some(End { value, inclusive: false }),
            };
            Some(Ends { low: side("min", "above"), high: side("max", "below") })
        }
        _ => {
            wrong("range", "[least, greatest], or { min = …, max = … }, or { above = …, below = … }", value, notes);
            None
        }
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Datetime(when) => when.to_string(),
        other => kind_of(other).to_owned(),
    }
}

fn real(value: &Value<'_>, notes: &mut Notes<'_>) -> Option<f64> {
    let number = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().filter(|number| number.is_finite()),
        _ => None,
    };
    if number.is_none() {
        wrong("range", "of finite numbers", value, notes);
    }
    number
}

fn decimal(scale: u8, value: &Value<'_>, notes: &mut Notes<'_>) -> Option<i128> {
    let unscaled = unscaled(&shown(value.get_ref()), scale);
    if unscaled.is_none() {
        wrong("range", &format!("of numbers with at most {scale} digits after the point"), value, notes);
    }
    unscaled
}

/// `12.5` at scale 2 is 1250. Nothing if it has other characters or more digits after the point.
fn unscaled(text: &str, scale: u8) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > usize::from(scale)
        || whole.is_empty()
        || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let digits = format!("{whole}{part:0<width$}", width = usize::from(scale));
    digits.parse::<i128>().ok().filter(|n| *n < 10i128.pow(38)).map(|n| sign * n)
}

/// A whole number, or a date or time in the units of its column.
pub(super) fn whole(kind: FieldType, value: &Value<'_>, notes: &mut Notes<'_>) -> Option<i64> {
    let text = shown(value.get_ref());
    let temporal = matches!(value.get_ref(), DeValue::Datetime(_) | DeValue::String(_));
    let (number, wanted) = match kind {
        FieldType::Date => (days(&text), "dates, as 2020-01-31"),
        FieldType::Time => (time(&text), "times, as 13:30:00"),
        FieldType::Timestamp => (local(&text), "timestamps without offset, as 2020-01-31T13:30:00"),
        FieldType::Timestamptz => (instant(&text), "timestamps with offset, as 2020-01-31T13:30:00Z"),
        _ => {
            let number = value.get_ref().as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
            let (least, most) = natural(kind);
            let number = number.filter(|number| (least..=most).contains(number));
            if number.is_none() {
                notes.at(value.span(), format!("`{text}` is no {kind}"));
            }
            return number;
        }
    };
    let number = number.filter(|_| temporal);
    if number.is_none() {
        notes.at(value.span(), format!("`{text}`: this field is {kind}, so its limits are {wanted}"));
    }
    number
}

fn days(text: &str) -> Option<i64> {
    let date = Date::from_str(text).ok()?;
    Some(date.duration_since(Date::constant(1970, 1, 1)).as_secs() / 86_400)
}

fn time(text: &str) -> Option<i64> {
    let time = Time::from_str(text).ok()?;
    i64::try_from(time.duration_since(Time::midnight()).as_micros()).ok()
}

fn local(text: &str) -> Option<i64> {
    let time = DateTime::from_str(text).ok()?;
    i64::try_from(time.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_micros()).ok()
}

fn instant(text: &str) -> Option<i64> {
    Timestamp::from_str(text).ok().map(|instant| instant.as_microsecond())
}
