//! Single values as the protocol writes them in JSON.
//!
//! Clients differ. The reference sends dates and times of an expression as numbers (days, microseconds), PyIceberg as
//! texts, and drops the offset of a timestamp with zone: no offset is read as UTC. A value that its column cannot hold
//! exactly (1.5 for an integer, 0.1 for a 32-bit float) has no literal: pruning leaves the comparison alone rather than
//! round it.

use iceberg::spec::{Datum, Literal, PrimitiveLiteral, PrimitiveType, Type};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Span, Timestamp};
use serde_json::Value as Json;

/// What a JSON value is for a column.
#[derive(Debug, PartialEq)]
pub enum Read {
    /// A literal of its type.
    Literal(Datum),
    /// A value that compares with the column's, and that its type cannot hold.
    Inexact,
    /// No value of such a column.
    Unfit,
}

/// Reads a value of that type.
pub fn read(json: &Json, kind: &PrimitiveType) -> Read {
    use PrimitiveType as P;
    let read = match (kind, json) {
        (P::Boolean, Json::Bool(value)) => Some(Datum::bool(*value)),
        (P::Int | P::Long, Json::Number(_)) => return whole(json, kind),
        (P::Float | P::Double, Json::Number(_)) => return real(json, kind),
        (P::Date | P::Time | P::Timestamp | P::Timestamptz | P::TimestampNs | P::TimestamptzNs, Json::Number(_)) => {
            return json.as_i64().and_then(|value| instant(value, kind)).map_or(Read::Inexact, Read::Literal);
        }
        (P::Decimal { .. }, Json::Number(number)) => return decimal(&number.to_string(), kind),
        (P::Decimal { .. }, Json::String(text)) => return decimal(text, kind),
        (P::Timestamp | P::Timestamptz | P::TimestampNs | P::TimestamptzNs, Json::String(text)) => {
            return instant_of(text, kind);
        }
        (_, Json::String(text)) => of_text(text, kind),
        _ => None,
    };
    read.map_or(Read::Unfit, Read::Literal)
}

fn whole(json: &Json, kind: &PrimitiveType) -> Read {
    match json.as_i64() {
        // Beyond an int's range it still compares: all values are below or above.
        Some(value) => Read::Literal(match (kind, i32::try_from(value)) {
            (PrimitiveType::Int, Ok(value)) => Datum::int(value),
            _ => Datum::long(value),
        }),
        None => Read::Inexact,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "what is not exact is told apart by casting back")]
fn real(json: &Json, kind: &PrimitiveType) -> Read {
    match (json.as_f64(), kind) {
        (Some(value), PrimitiveType::Double) => Read::Literal(Datum::double(value)),
        (Some(value), _) if f64::from(value as f32).total_cmp(&value).is_eq() => {
            Read::Literal(Datum::float(value as f32))
        }
        _ => Read::Inexact,
    }
}

/// Days since 1970 of a date, microseconds of anything else.
fn instant(value: i64, kind: &PrimitiveType) -> Option<Datum> {
    Some(match kind {
        PrimitiveType::Date => Datum::date(i32::try_from(value).ok()?),
        PrimitiveType::Time => Datum::time_micros(value).ok()?,
        PrimitiveType::Timestamp => Datum::timestamp_micros(value),
        PrimitiveType::Timestamptz => Datum::timestamptz_micros(value),
        PrimitiveType::TimestampNs => Datum::timestamp_nanos(value.checked_mul(1000)?),
        PrimitiveType::TimestamptzNs => Datum::timestamptz_nanos(value.checked_mul(1000)?),
        _ => return None,
    })
}

/// Nanoseconds since 1970 of a time with an offset, or of one without, which is read as UTC.
fn nanos(text: &str) -> Option<i128> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_nanosecond());
    }
    let local = text.parse::<DateTime>().ok()?;
    Some(Offset::UTC.to_timestamp(local).ok()?.as_nanosecond())
}

/// A column of microseconds holds no part of one.
fn instant_of(text: &str, kind: &PrimitiveType) -> Read {
    let Some(nanos) = nanos(text) else { return Read::Unfit };
    let fine = matches!(kind, PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs);
    if !fine && nanos % 1000 != 0 {
        return Read::Inexact;
    }
    let datum = i64::try_from(if fine { nanos } else { nanos / 1000 }).ok().and_then(|value| {
        Some(match kind {
            PrimitiveType::TimestampNs => Datum::timestamp_nanos(value),
            PrimitiveType::TimestamptzNs => Datum::timestamptz_nanos(value),
            _ => instant(value, kind)?,
        })
    });
    datum.map_or(Read::Inexact, Read::Literal)
}

fn of_text(text: &str, kind: &PrimitiveType) -> Option<Datum> {
    Some(match kind {
        PrimitiveType::String => Datum::string(text),
        PrimitiveType::Date => Datum::date_from_str(text).ok()?,
        PrimitiveType::Time => Datum::time_from_str(text).ok()?,
        PrimitiveType::Uuid => Datum::uuid_from_str(text).ok()?,
        PrimitiveType::Binary => Datum::binary(bytes(text)?),
        PrimitiveType::Fixed(length) => {
            let bytes = bytes(text).filter(|bytes| bytes.len() as u64 == *length)?;
            Datum::fixed(bytes)
        }
        _ => return None,
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let pair = |pair: &[u32]| u8::try_from(pair.first()? * 16 + pair.get(1)?).ok();
    digits.chunks(2).map(pair).collect()
}

/// A decimal's text; digits beyond its column's scale must be zeros.
fn decimal(text: &str, kind: &PrimitiveType) -> Read {
    let PrimitiveType::Decimal { scale, .. } = kind else { return Read::Unfit };
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (units, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !(plain(units) && plain(part)) || (units.is_empty() && part.is_empty()) {
        // Scientific notation is a number too.
        return if text.parse::<f64>().is_ok_and(f64::is_finite) { Read::Inexact } else { Read::Unfit };
    }
    let part = part.trim_end_matches('0');
    let Some(missing) = (*scale as usize).checked_sub(part.len()) else { return Read::Inexact };
    let unscaled = format!("{units}{part}{}", "0".repeat(missing)).parse::<i128>();
    let datum = unscaled.ok().and_then(|value| Datum::try_from_bytes(&(sign * value).to_be_bytes(), kind.clone()).ok());
    datum.map_or(Read::Inexact, Read::Literal)
}

/// Writes a value of that type, also one written before the type was widened; `None` for what has no JSON form.
///
/// Days and times are written here: the `iceberg` crate's own writer panics on times before 1970.
pub fn write(literal: &PrimitiveLiteral, kind: &PrimitiveType) -> Option<Json> {
    use PrimitiveType as P;
    let widened = match (kind, literal) {
        (P::Long, PrimitiveLiteral::Int(value)) => PrimitiveLiteral::Long(i64::from(*value)),
        (P::Double, PrimitiveLiteral::Float(value)) => PrimitiveLiteral::Double(f64::from(value.into_inner()).into()),
        (_, PrimitiveLiteral::Binary(value)) => return Some(Json::String(hex(value))),
        (P::Date, PrimitiveLiteral::Int(days)) => return date(*days).map(Json::String),
        (P::Time, PrimitiveLiteral::Long(micros)) => return time(*micros).map(Json::String),
        (P::Timestamp, PrimitiveLiteral::Long(micros)) => return written(*micros, 1000, "").map(Json::String),
        (P::Timestamptz, PrimitiveLiteral::Long(micros)) => return written(*micros, 1000, "+00:00").map(Json::String),
        (P::TimestampNs, PrimitiveLiteral::Long(nanos)) => return written(*nanos, 1, "").map(Json::String),
        (P::TimestamptzNs, PrimitiveLiteral::Long(nanos)) => return written(*nanos, 1, "+00:00").map(Json::String),
        _ => literal.clone(),
    };
    Literal::Primitive(widened).try_into_json(&Type::Primitive(kind.clone())).ok()
}

fn date(days: i32) -> Option<String> {
    let span = Span::new().try_days(days).ok()?;
    Some(jiff::civil::date(1970, 1, 1).checked_add(span).ok()?.to_string())
}

fn time(micros: i64) -> Option<String> {
    let time = jiff::civil::Time::midnight().checked_add(SignedDuration::from_micros(micros)).ok()?;
    Some(time.strftime("%H:%M:%S%.6f").to_string())
}

fn written(value: i64, nanos_each: i128, offset: &str) -> Option<String> {
    let instant = Timestamp::from_nanosecond(i128::from(value) * nanos_each).ok()?;
    let form = if nanos_each == 1 { "%Y-%m-%dT%H:%M:%S%.9f" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
    Some(format!("{}{offset}", Offset::UTC.to_datetime(instant).strftime(form)))
}

/// Bytes as the protocol writes them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn literal(json: Json, kind: &PrimitiveType) -> Datum {
        match read(&json, kind) {
            Read::Literal(datum) => datum,
            other => panic!("{json} as {kind}: {other:?}"),
        }
    }

    #[test]
    fn each_client_writes_times_in_its_own_way() {
        let march = Datum::timestamptz_micros(1_740_787_200_000_000);
        for json in [
            json!("2025-03-01T00:00:00+00:00"),
            json!("2025-03-01T00:00:00.000Z"),
            json!("2025-03-01T01:00:00+01:00"),
            json!("2025-03-01T00:00:00"),
            json!(1_740_787_200_000_000_i64),
        ] {
            assert_eq!(literal(json, &PrimitiveType::Timestamptz), march);
        }
        assert_eq!(literal(json!("2025-03-01"), &PrimitiveType::Date), literal(json!(20148), &PrimitiveType::Date));
        let nanos = PrimitiveType::TimestampNs;
        assert_eq!(literal(json!("1970-01-01T00:00:01"), &nanos), Datum::timestamp_nanos(1_000_000_000));
        assert_eq!(literal(json!("1970-01-01T00:00:00.000000001"), &nanos), Datum::timestamp_nanos(1));
        assert_eq!(read(&json!("1970-01-01T00:00:00.000000001"), &PrimitiveType::Timestamp), Read::Inexact);
    }

    #[test]
    fn times_before_1970_are_written() {
        let long = PrimitiveLiteral::Long(-1);
        assert_eq!(write(&long, &PrimitiveType::Timestamptz), Some(json!("1969-12-31T23:59:59.999999+00:00")));
        assert_eq!(write(&long, &PrimitiveType::TimestampNs), Some(json!("1969-12-31T23:59:59.999999999")));
        assert_eq!(write(&PrimitiveLiteral::Int(-1), &PrimitiveType::Date), Some(json!("1969-12-31")));
        assert_eq!(write(&PrimitiveLiteral::Long(1_500_000), &PrimitiveType::Time), Some(json!("00:00:01.500000")));
        assert_eq!(write(&PrimitiveLiteral::Long(i64::MAX), &PrimitiveType::Timestamp), None);
    }

    #[test]
    fn what_a_column_cannot_hold_is_not_rounded() {
        let decimal = PrimitiveType::Decimal { precision: 9, scale: 2 };
        assert_eq!(write(literal(json!("-1.50"), &decimal).literal(), &decimal), Some(json!("-1.50")));
        assert_eq!(literal(json!(1.5), &decimal), literal(json!("1.500"), &decimal));
        assert_eq!(read(&json!("1.505"), &decimal), Read::Inexact);
        assert_eq!(read(&json!("much"), &decimal), Read::Unfit);
        assert_eq!(read(&json!(0.1), &PrimitiveType::Float), Read::Inexact);
        assert_eq!(literal(json!(0.5), &PrimitiveType::Float), Datum::float(0.5_f32));
        assert_eq!(read(&json!(1.5), &PrimitiveType::Int), Read::Inexact);
        assert_eq!(literal(json!(1_i64 << 40), &PrimitiveType::Int), Datum::long(1_i64 << 40));
        assert_eq!(read(&json!("5"), &PrimitiveType::Int), Read::Unfit);
    }

    #[test]
    fn bytes_are_hexadecimal() {
        assert_eq!(literal(json!("01fF"), &PrimitiveType::Binary), Datum::binary([1, 255]));
        assert_eq!(read(&json!("01f"), &PrimitiveType::Binary), Read::Unfit);
        assert_eq!(read(&json!("01"), &PrimitiveType::Fixed(2)), Read::Unfit);
        assert_eq!(write(&PrimitiveLiteral::Binary(vec![1, 255]), &PrimitiveType::Binary), Some(json!("01FF")));
    }
}
