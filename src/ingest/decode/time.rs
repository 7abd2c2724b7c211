//! Dates, times of day and timestamps from text: RFC 3339, and what people write near it.
//!
//! Days are counted by the proleptic Gregorian calendar; the years are 1 to 9999. A leap second (`:60`) is refused:
//! the column has no place for it. Up to six decimals of a second are held; more are refused if the contract is strict
//! (precision would be lost), else cut. An offset is taken off: the column is UTC.

use jiff::tz::TimeZone;

use super::bytes::{byte, load8};

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// Why a text is no timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTime {
    /// Not of the shape, or a part out of its range.
    Shape,
    /// More than six decimals of a second.
    Precision,
    /// No offset, and no zone to read it in.
    Naive,
    /// An offset, where the column has none.
    Offset,
}

/// Two digits at `at`.
#[inline(always)]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let (tens, ones) = (byte(text, at).wrapping_sub(b'0'), byte(text, at + 1).wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Days since 1970-01-01 of the `YYYY-MM-DD` at `at`.
#[inline]
pub fn date_at(text: &[u8], at: usize) -> Option<i32> {
    let year = two(text, at)? * 100 + two(text, at + 2)?;
    let (month, day) = (two(text, at + 5)?, two(text, at + 8)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let longest = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let dashes = byte(text, at + 4) == b'-' && byte(text, at + 7) == b'-';
    if !dashes || year == 0 || day == 0 || day > longest {
        return None;
    }
    // Years that begin in March, so that the leap day is the last.
    let (y, m) = if month <= 2 { (year + 399, month + 9) } else { (year + 400, month - 3) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    Some(days as i32 - 719_468 - 146_097)
}

/// Microseconds since midnight of the `HH:MM:SS` at `at`.
#[inline(always)]
pub fn clock_at(text: &[u8], at: usize) -> Option<i64> {
    const SHAPE: u64 = u64::from_le_bytes(*b"00:00:00");
    const ABOVE_NINE: u64 = 0x7676_7F76_767F_7676;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let digits = load8(text, at) ^ SHAPE;
    if (digits | (digits & !HIGH).wrapping_add(ABOVE_NINE)) & HIGH != 0 {
        return None;
    }
    let pair = |shift: u32| ((digits >> shift) & 15) * 10 + ((digits >> (shift + 8)) & 15);
    let (hour, minute, second) = (pair(0), pair(24), pair(48));
    (hour < 24 && minute < 60 && second < 60).then(|| (hour * 3600 + minute * 60 + second) as i64 * 1_000_000)
}

/// The whole of `text` as a date.
pub fn date(text: &[u8]) -> Option<i32> {
    if text.len() == 10 { date_at(text, 0) } else { None }
}

/// A clock reading with optional seconds and decimals at `at`; and the position behind it.
fn clock(text: &[u8], at: usize, strict: bool) -> Result<(i64, usize), NoTime> {
    if byte(text, at + 5) != b':' && text.len() >= at + 5 && !strict {
        let minutes = clock_at(&[&text[at..at + 5], b":00"].concat(), 0).ok_or(NoTime::Shape)?;
        return Ok((minutes, at + 5));
    }
    let whole = clock_at(text, at).ok_or(NoTime::Shape)?;
    if byte(text, at + 8) != b'.' {
        return Ok((whole, at + 8));
    }
    let digits = text[at + 9..].iter().take_while(|b| b.is_ascii_digit()).count();
    let (held, rest) = text[at + 9..at + 9 + digits].split_at(digits.min(6));
    if digits == 0 {
        return Err(NoTime::Shape);
    }
    if strict && rest.iter().any(|&b| b != b'0') {
        return Err(NoTime::Precision);
    }
    let micros = (0..6).fold(0, |sum, i| sum * 10 + i64::from(held.get(i).map_or(0, |b| b - b'0')));
    Ok((whole + micros, at + 9 + digits))
}

/// The whole of `text` as a time of day, in microseconds.
pub fn time(text: &[u8], strict: bool) -> Result<i64, NoTime> {
    match clock(text, 0, strict)? {
        (micros, end) if end == text.len() => Ok(micros),
        _ => Err(NoTime::Shape),
    }
}

/// The offset that is the whole of `text`, in microseconds east; none if there is none.
fn offset(text: &[u8], strict: bool) -> Result<Option<i64>, NoTime> {
    let sign = match text {
        [] => return Ok(None),
        [b'Z' | b'z'] => return Ok(Some(0)),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return Err(NoTime::Shape),
    };
    let minutes_at = match (text.len(), byte(text, 3)) {
        (6, b':') => 4,
        (5, _) if !strict => 3,
        (3, _) if !strict => 0,
        _ => return Err(NoTime::Shape),
    };
    let hours = two(text, 1).ok_or(NoTime::Shape)?;
    let minutes = if minutes_at == 0 { 0 } else { two(text, minutes_at).ok_or(NoTime::Shape)? };
    if hours > 23 || minutes > 59 {
        return Err(NoTime::Shape);
    }
    Ok(Some(sign * i64::from(hours * 60 + minutes) * 60_000_000))
}

/// The parts of a date and time: microseconds as the wall clock shows them, and the offset.
fn wall(text: &[u8], strict: bool) -> Result<(i64, Option<i64>), NoTime> {
    let days = i64::from(date_at(text, 0).ok_or(NoTime::Shape)?);
    if text.len() == 10 && !strict {
        return Ok((days * DAY, None));
    }
    if !matches!(byte(text, 10), b'T' | b't' | b' ') {
        return Err(NoTime::Shape);
    }
    let (micros, end) = clock(text, 11, strict)?;
    let mut rest = &text[end..];
    if !strict {
        rest = rest.trim_ascii_start();
    }
    Ok((days * DAY + micros, offset(rest, strict)?))
}

/// The first and last microsecond of the years 1 to 9999.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The whole of `text` as an instant, in microseconds since 1970-01-01T00:00:00Z. Without an offset it is read in
/// `zone`; of a time that a change of clocks skips or repeats the later or the first is meant.
pub fn instant(text: &[u8], zone: Option<&TimeZone>, strict: bool) -> Result<i64, NoTime> {
    let (wall, offset) = wall(text, strict)?;
    let micros = match offset {
        Some(offset) => wall - offset,
        None => in_zone(wall, zone.ok_or(NoTime::Naive)?).ok_or(NoTime::Shape)?,
    };
    if YEARS.contains(&micros) { Ok(micros) } else { Err(NoTime::Shape) }
}

fn in_zone(wall: i64, zone: &TimeZone) -> Option<i64> {
    let civil = jiff::Timestamp::from_microsecond(wall).ok()?.to_zoned(TimeZone::UTC).datetime();
    Some(zone.to_ambiguous_timestamp(civil).compatible().ok()?.as_microsecond())
}

/// The whole of `text` as a date and time of no zone.
pub fn local(text: &[u8], strict: bool) -> Result<i64, NoTime> {
    match wall(text, strict)? {
        (micros, None) => Ok(micros),
        _ => Err(NoTime::Offset),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> Result<i64, NoTime> {
        instant(text.as_bytes(), None, true)
    }

    #[test]
    fn what_is_no_instant() {
        for bad in [
            "2016-12-31T23:59:60Z", // a leap second
            "10000-01-01T00:00:00Z",
            "+10000-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00+0900",
            "2025-01-01T0\u{0}:00:00Z",
            "2025-01-01",
            "",
        ] {
            assert_eq!(utc(bad), Err(NoTime::Shape), "{bad}");
        }
        assert_eq!(utc("2025-01-01T00:00:00"), Err(NoTime::Naive));
        assert_eq!(utc("2025-01-01T00:00:00.1234567Z"), Err(NoTime::Precision));
        assert_eq!(local(b"2025-01-01T00:00:00Z", true), Err(NoTime::Offset));
    }

    #[test]
    fn offsets_and_decimals() {
        assert_eq!(utc("1970-01-01T09:00:00+09:00"), Ok(0));
        assert_eq!(utc("1970-01-01 00:00:00.5z"), Ok(500_000));
        assert_eq!(utc("1970-01-01T00:00:00.1234560Z"), Ok(123_456));
        assert_eq!(instant(b"1970-01-01T00:00:00.1234567Z", None, false), Ok(123_456));
        assert_eq!(instant(b"1970-01-01T09:00 +0900", None, false), Ok(0));
    }

    #[test]
    fn zones_read_what_has_no_offset() {
        let zone = TimeZone::get("America/New_York").expect("bundled");
        let at = |text: &str| instant(text.as_bytes(), Some(&zone), true);
        assert_eq!(at("2025-01-01T00:00:00"), utc("2025-01-01T05:00:00Z"));
        assert_eq!(at("2025-03-09T02:30:00"), utc("2025-03-09T07:30:00Z"), "skipped: the later");
        assert_eq!(at("2025-11-02T01:30:00"), utc("2025-11-02T05:30:00Z"), "repeated: the first");
    }

    proptest! {
        #[test]
        fn instants_are_jiffs(micros in YEARS) {
            prop_assume!((-62_135_500_000_000_000..253_402_200_000_000_000).contains(&micros));
            let text = jiff::Timestamp::from_microsecond(micros).expect("in range").to_string();
            prop_assert_eq!(utc(&text), Ok(micros), "{}", text);
        }
    }
}
