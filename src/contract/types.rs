//! A field's type: Iceberg's primitive types of format v2, and what each becomes in Arrow.
//!
//! Lists, maps and structs are refused: a contract describes flat records, since every rule, partition and bound is of
//! a column. Nanosecond timestamps need format v3 and are refused too. Both refusals say what to do instead.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};
use iceberg::spec::{PrimitiveType, Type};

/// An Iceberg primitive type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// True or false.
    Boolean,
    /// 32-bit signed integer.
    Int,
    /// 64-bit signed integer.
    Long,
    /// 32-bit IEEE 754.
    Float,
    /// 64-bit IEEE 754.
    Double,
    /// Fixed-point decimal.
    Decimal {
        /// All digits, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
    /// Days from 1970-01-01.
    Date,
    /// Microseconds from midnight.
    Time,
    /// Microseconds from 1970-01-01 00:00 of a clock on some wall; no zone.
    Timestamp,
    /// Microseconds from 1970-01-01 00:00 UTC: an instant.
    Timestamptz,
    /// UTF-8 text.
    String,
    /// 16 bytes, written 8-4-4-4-12.
    Uuid,
    /// So many bytes.
    Fixed(u32),
    /// Bytes.
    Binary,
}

/// The type names a contract may use, for messages.
pub const TYPES: &str = "boolean, int, long, float, double, decimal(precision, scale), date, time, timestamp, \
                         timestamptz, string, uuid, fixed(bytes), binary";

impl FieldType {
    /// Reads a type as a contract writes it; the error is a message for the contract's author.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(inner) = call(text, "decimal") {
            return decimal(inner).ok_or_else(|| {
                format!("`{text}`: write decimal(precision, scale) with precision 1 to 38 and scale 0 to precision")
            });
        }
        if let Some(inner) = call(text, "fixed") {
            let bytes = inner.trim().parse().ok().filter(|&n| n > 0 && n <= i32::MAX as u32);
            return bytes.map(Self::Fixed).ok_or_else(|| format!("`{text}`: write fixed(bytes), as fixed(16)"));
        }
        Ok(match text {
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            "string" => Self::String,
            "uuid" => Self::Uuid,
            "binary" => Self::Binary,
            other => return Err(refusal(other)),
        })
    }

    /// The Iceberg type.
    pub fn iceberg(self) -> Type {
        Type::Primitive(match self {
            Self::Boolean => PrimitiveType::Boolean,
            Self::Int => PrimitiveType::Int,
            Self::Long => PrimitiveType::Long,
            Self::Float => PrimitiveType::Float,
            Self::Double => PrimitiveType::Double,
            Self::Decimal { precision, scale } => {
                PrimitiveType::Decimal { precision: u32::from(precision), scale: u32::from(scale) }
            }
            Self::Date => PrimitiveType::Date,
            Self::Time => PrimitiveType::Time,
            Self::Timestamp => PrimitiveType::Timestamp,
            Self::Timestamptz => PrimitiveType::Timestamptz,
            Self::String => PrimitiveType::String,
            Self::Uuid => PrimitiveType::Uuid,
            Self::Fixed(bytes) => PrimitiveType::Fixed(u64::from(bytes)),
            Self::Binary => PrimitiveType::Binary,
        })
    }

    /// The Arrow type of a column of it. A string with listed values travels as a dictionary instead.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::String => DataType::Utf8,
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Fixed(bytes) => DataType::FixedSizeBinary(bytes as i32),
            Self::Binary => DataType::Binary,
        }
    }

    /// Whether `range` has a meaning for it.
    pub fn has_order(self) -> bool {
        !matches!(self, Self::Boolean | Self::String | Self::Uuid | Self::Fixed(_) | Self::Binary)
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::String => "string",
            Self::Uuid => "uuid",
            Self::Fixed(bytes) => return write!(f, "fixed({bytes})"),
            Self::Binary => "binary",
        })
    }
}

/// The text between the brackets of `name(…)` or `name[…]`.
fn call<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(name)?.trim_start();
    rest.strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .or_else(|| rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')))
}

fn decimal(inner: &str) -> Option<FieldType> {
    let (precision, scale) = inner.split_once(',')?;
    let (precision, scale): (u8, u8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    ((1..=38).contains(&precision) && scale <= precision).then_some(FieldType::Decimal { precision, scale })
}

fn refusal(text: &str) -> String {
    let head = text.split(['<', '(', '[']).next().unwrap_or_default().trim();
    let instead = match head {
        "list" | "map" | "struct" | "array" | "object" => {
            return format!(
                "`{text}`: a contract describes flat records, without lists, maps and structs; give each part a field \
                 of its own, or keep the JSON text in a string field"
            );
        }
        "timestamp_ns" | "timestamptz_ns" => {
            return format!("`{text}` needs format version 3; use timestamp or timestamptz (microseconds)");
        }
        "str" | "text" | "varchar" | "char" => "string",
        "integer" | "int32" => "int",
        "bigint" | "int64" => "long",
        "bool" => "boolean",
        "real" | "float32" => "float",
        "number" | "float64" => "double",
        "numeric" => "decimal(precision, scale)",
        "datetime" | "timestampz" | "timestamp_tz" => "timestamptz (an instant) or timestamp (no zone)",
        "bytes" | "bytea" => "binary",
        _ => return format!("no type `{text}`; possible: {TYPES}"),
    };
    format!("no type `{text}`: write {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        for text in TYPES.replace("precision, scale", "12, 2").replace("bytes", "16").split(", ").map(str::trim) {
            let text = if text == "decimal(12" { "decimal(12, 2)" } else { text };
            if text == "2)" {
                continue;
            }
            let parsed = FieldType::parse(text).unwrap();
            assert_eq!(FieldType::parse(&parsed.to_string()), Ok(parsed));
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, hint) in [
            ("list<string>", "flat records"),
            ("timestamp_ns", "microseconds"),
            ("bigint", "long"),
            ("decimal(39,2)", "1 to 38"),
            ("decimal(4,5)", "0 to precision"),
            ("fixed(0)", "fixed(16)"),
            ("colour", "possible: boolean"),
        ] {
            let message = FieldType::parse(text).unwrap_err();
            assert!(message.contains(hint), "{message}");
        }
    }
}
