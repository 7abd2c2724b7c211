//! Where a data file goes: `<data location>/<partition field>=<value>/…/<seq>-<uuid>.parquet`.
//!
//! Directories are named as Iceberg's Java writers name them, so that files of all writers lie side by side: the
//! transform's human form (`2025-01` for a month, `null` for no value), field and value form-encoded in UTF-8 (a
//! space is `+`, a slash `%2F`). The location is literal to the byte: nobody decodes it.
//!
//! A directory name is cut at 255 bytes, the most a local file system takes. It identifies nothing: the partition's
//! value is in the manifest and the file's name is unique, so two values may share a directory.

use std::fmt::Write;

use iceberg::spec::{Literal, PrimitiveLiteral, PrimitiveType, Struct, TableMetadata, Transform};

use super::layout::PartitionColumn;

const LONGEST_NAME: usize = 255;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// The folder of the table's data files: `write.data.path`, else `data` in the table's location.
pub(super) fn data_location(metadata: &TableMetadata) -> String {
    match metadata.properties().get("write.data.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/data", metadata.location().trim_end_matches('/')),
    }
}

/// The partition's folders, each followed by a slash; empty for an unpartitioned table.
pub(super) fn partition_path(columns: &[PartitionColumn], value: &Struct) -> String {
    let mut out = String::new();
    for (column, value) in columns.iter().zip(value.iter()) {
        let mut name = String::new();
        encode(&column.name, &mut name);
        name.push('=');
        encode(&human(column, value), &mut name);
        cut(&mut name);
        out.push_str(&name);
        out.push('/');
    }
    out
}

/// Cuts to what a file system takes, never inside of a `%XX`.
fn cut(name: &mut String) {
    if name.len() > LONGEST_NAME {
        let end =
            (LONGEST_NAME - 2..=LONGEST_NAME).find(|&i| name.as_bytes()[i - 1] == b'%').map_or(LONGEST_NAME, |i| i - 1);
        name.truncate(end);
    }
}

/// `application/x-www-form-urlencoded`, as `java.net.URLEncoder` does it.
fn encode(text: &str, out: &mut String) {
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("invariant: writing to a String does not fail"),
        }
    }
}

/// A partition value as Iceberg shows it to people.
fn human(column: &PartitionColumn, value: Option<&Literal>) -> String {
    let Some(Literal::Primitive(value)) = value else { return "null".to_owned() };
    match (column.transform, value) {
        (Transform::Void, _) => "null".to_owned(),
        (Transform::Year, PrimitiveLiteral::Int(years)) => format!("{:04}", 1970 + i64::from(*years)),
        (Transform::Month, PrimitiveLiteral::Int(months)) => {
            format!("{:04}-{:02}", 1970 + months.div_euclid(12), months.rem_euclid(12) + 1)
        }
        (Transform::Day, PrimitiveLiteral::Int(days)) => date(i64::from(*days)),
        (Transform::Hour, PrimitiveLiteral::Int(hours)) => {
            let hours = i64::from(*hours);
            format!("{}-{:02}", date(hours.div_euclid(24)), hours.rem_euclid(24))
        }
        (_, value) => by_type(&column.result, value),
    }
}

fn by_type(kind: &PrimitiveType, value: &PrimitiveLiteral) -> String {
    match (kind, value) {
        (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => date(i64::from(*days)),
        (PrimitiveType::Time, PrimitiveLiteral::Long(micros)) => time(*micros, 1_000),
        (PrimitiveType::Timestamp, PrimitiveLiteral::Long(v)) => timestamp(*v, 1_000),
        (PrimitiveType::Timestamptz, PrimitiveLiteral::Long(v)) => format!("{}+00:00", timestamp(*v, 1_000)),
        (PrimitiveType::TimestampNs, PrimitiveLiteral::Long(v)) => timestamp(*v, 1),
        (PrimitiveType::TimestamptzNs, PrimitiveLiteral::Long(v)) => format!("{}+00:00", timestamp(*v, 1)),
        (PrimitiveType::Decimal { scale, .. }, PrimitiveLiteral::Int128(v)) => decimal(*v, *scale),
        (PrimitiveType::Uuid, PrimitiveLiteral::UInt128(v)) => uuid::Uuid::from_u128(*v).to_string(),
        (_, PrimitiveLiteral::Boolean(v)) => v.to_string(),
        (_, PrimitiveLiteral::Int(v)) => v.to_string(),
        (_, PrimitiveLiteral::Long(v)) => v.to_string(),
        (_, PrimitiveLiteral::Float(v)) => format!("{:?}", v.0),
        (_, PrimitiveLiteral::Double(v)) => format!("{:?}", v.0),
        (_, PrimitiveLiteral::String(v)) => v.clone(),
        (_, PrimitiveLiteral::Binary(v)) => base64(v),
        (_, other) => format!("{other:?}"),
    }
}

/// `days` since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `unit` is in nanoseconds.
fn time(value: i64, unit: i64) -> String {
    let second = 1_000_000_000 / unit;
    let (seconds, fraction) = (value.div_euclid(second), value.rem_euclid(second) * unit);
    let mut out = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = format!(".{fraction:09}");
        out.push_str(digits.trim_end_matches('0'));
    }
    out
}

fn timestamp(value: i64, unit: i64) -> String {
    let day = MICROS_A_DAY * 1_000 / unit;
    format!("{}T{}", date(value.div_euclid(day)), time(value.rem_euclid(day), unit))
}

fn decimal(value: i128, scale: u32) -> String {
    let scale = scale as usize;
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |sum, &byte| sum << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(transform: Transform, result: PrimitiveType, value: Option<Literal>) -> String {
        let column = PartitionColumn { column: 0, transform, name: "p q".into(), result };
        partition_path(&[column], &Struct::from_iter([value]))
    }

    #[test]
    fn directories_are_named_as_java_names_them() {
        let text = |s: &str| shown(Transform::Identity, PrimitiveType::String, Some(Literal::string(s)));
        assert_eq!(text("a/b c%"), "p+q=a%2Fb+c%25/");
        assert_eq!(text(""), "p+q=/");
        assert_eq!(text(".."), "p+q=../");
        assert_eq!(text("null"), "p+q=null/");
        assert_eq!(text("台*~"), "p+q=%E5%8F%B0*%7E/");
        assert_eq!(shown(Transform::Month, PrimitiveType::Int, Some(Literal::int(660))), "p+q=2025-01/");
        assert_eq!(shown(Transform::Month, PrimitiveType::Int, Some(Literal::int(-1))), "p+q=1969-12/");
        assert_eq!(shown(Transform::Year, PrimitiveType::Int, Some(Literal::int(55))), "p+q=2025/");
        assert_eq!(shown(Transform::Day, PrimitiveType::Date, Some(Literal::date(-1))), "p+q=1969-12-31/");
        assert_eq!(shown(Transform::Hour, PrimitiveType::Int, Some(Literal::int(25))), "p+q=1970-01-02-01/");
        assert_eq!(shown(Transform::Bucket(4), PrimitiveType::Int, Some(Literal::int(3))), "p+q=3/");
        assert_eq!(shown(Transform::Identity, PrimitiveType::Int, None), "p+q=null/");
        let decimal = PrimitiveType::Decimal { precision: 9, scale: 2 };
        assert_eq!(shown(Transform::Identity, decimal, Some(Literal::decimal(-5))), "p+q=-0.05/");
        let micros = 86_400_000_000 + 3_600_000_000 + 1_500_000;
        let stamp = shown(Transform::Identity, PrimitiveType::Timestamptz, Some(Literal::timestamptz(micros)));
        assert_eq!(stamp, "p+q=1970-01-02T01%3A00%3A01.5%2B00%3A00/");
        assert_eq!(
            shown(Transform::Identity, PrimitiveType::Binary, Some(Literal::binary([1, 2, 255, 7]))),
            "p+q=AQL%2FBw%3D%3D/"
        );
    }

    #[test]
    fn a_long_value_is_cut_between_encoded_bytes() {
        let name = shown(Transform::Identity, PrimitiveType::String, Some(Literal::string("台".repeat(200))));
        assert!(name.len() <= LONGEST_NAME + 1, "{}", name.len());
        assert_eq!((name.len() - 1 - "p+q=".len()) % 3, 0, "{name}");
    }
}
