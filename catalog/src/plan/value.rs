//! Values that compare across the widths a column was written with.
//!
//! A file written before a column was widened has bounds of the narrower type. Numbers compare as numbers whatever
//! their width; what would compare wrongly (a date's days with a timestamp's microseconds) is unknown instead.

use std::cmp::Ordering;

use iceberg::spec::{PrimitiveLiteral, PrimitiveType};

/// A value that compares with others of its column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Integers, dates, times, decimals (unscaled), booleans.
    Number(i128),
    /// Floating point.
    Real(f64),
    /// Texts.
    Text(String),
    /// Binary, fixed, UUIDs.
    Bytes(Vec<u8>),
}

impl Value {
    /// The value of a literal; `None` for what has no order here.
    pub fn of(literal: &PrimitiveLiteral) -> Option<Value> {
        Some(match literal {
            PrimitiveLiteral::Boolean(value) => Value::Number(i128::from(*value)),
            PrimitiveLiteral::Int(value) => Value::Number(i128::from(*value)),
            PrimitiveLiteral::Long(value) => Value::Number(i128::from(*value)),
            PrimitiveLiteral::Int128(value) => Value::Number(*value),
            PrimitiveLiteral::UInt128(value) => Value::Bytes(value.to_be_bytes().to_vec()),
            PrimitiveLiteral::Float(value) => Value::Real(f64::from(value.into_inner())),
            PrimitiveLiteral::Double(value) => Value::Real(value.into_inner()),
            PrimitiveLiteral::String(value) => Value::Text(value.clone()),
            PrimitiveLiteral::Binary(value) => Value::Bytes(value.clone()),
            _ => return None,
        })
    }

    /// The value of a literal that was written for a column which is of type `kind` now.
    pub fn of_column(literal: &PrimitiveLiteral, kind: &PrimitiveType) -> Option<Value> {
        let instant = matches!(
            kind,
            PrimitiveType::Timestamp
                | PrimitiveType::Timestamptz
                | PrimitiveType::TimestampNs
                | PrimitiveType::TimestamptzNs
        );
        // A date that was promoted to a timestamp.
        if instant && !matches!(literal, PrimitiveLiteral::Long(_)) { None } else { Value::of(literal) }
    }

    /// Whether it is NaN.
    pub fn is_nan(&self) -> bool {
        matches!(self, Value::Real(real) if real.is_nan())
    }

    /// Their order; `None` if they are of different sorts, or one is NaN.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => Some(a.cmp(b)),
            (Value::Real(a), Value::Real(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}
