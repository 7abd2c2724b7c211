//! A field of a contract and the rules its values obey, compiled: limits are in the units the column stores.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField};
use iceberg::spec::NestedField;
use jiff::tz::TimeZone;
use regex::Regex;

use super::types::FieldType;

/// A column: its type and its rules.
#[derive(Clone, Debug)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// The Iceberg field id: 1 for the first field of the file, and so on.
    pub id: i32,
    /// The Iceberg type.
    pub kind: FieldType,
    /// Whether each record must have it, not null.
    pub required: bool,
    /// What it means, for people.
    pub doc: Option<String>,
    /// What it is measured in, as `mg/dL`.
    pub unit: Option<String>,
    /// The names it had in earlier versions.
    pub was: Vec<String>,
    /// The least and greatest value.
    pub range: Option<Range>,
    /// The values that are possible.
    pub values: Option<Values>,
    /// What the whole text must match.
    pub pattern: Option<Pattern>,
    /// How long the text (in characters) or the bytes must be.
    pub length: Option<Length>,
    /// Whether NaN and the infinities are values (float and double only).
    pub allow_nan: bool,
    /// How a timestamp without offset is read; without it such a timestamp is refused. Of a time that a change of
    /// clocks skips or repeats, the later or the first, respectively, is meant ([`jiff`]'s "compatible").
    pub time_zone: Option<TimeZone>,
    /// The texts that mean null, for this field: see [`super::Contract`].
    pub null_values: Arc<[String]>,
}

/// The least and greatest value, both inclusive: an exclusive limit is its neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// As the contract says it, for messages: `20 to 600`, `above 0`.
    pub text: String,
    /// The limits in the column's units.
    pub limits: Limits,
}

/// Inclusive limits; an open side is the type's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limits {
    /// int and long; days of a date; microseconds of a time and a timestamp.
    Whole {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// float and double.
    Real {
        /// Least.
        min: f64,
        /// Greatest.
        max: f64,
    },
    /// The unscaled value of a decimal.
    Decimal {
        /// Least.
        min: i128,
        /// Greatest.
        max: i128,
    },
}

/// The listed values of `enum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// Of a string.
    Text(Vec<String>),
    /// Of an int or long, in ascending order.
    Whole(Vec<i64>),
}

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As the contract says it.
    pub text: String,
    /// Compiled, anchored at both ends.
    pub regex: Regex,
}

/// Least and greatest length, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Least.
    pub min: usize,
    /// Greatest.
    pub max: usize,
}

impl Field {
    /// The listed texts of a string field.
    pub fn listed_texts(&self) -> Option<&[String]> {
        match &self.values {
            Some(Values::Text(texts)) => Some(texts),
            _ => None,
        }
    }

    /// The column in the batches that stages exchange: a string with listed values is a dictionary.
    pub fn arrow(&self) -> ArrowField {
        let data_type = match self.listed_texts() {
            Some(texts) => {
                let key = if texts.len() <= i8::MAX as usize { DataType::Int8 } else { DataType::Int16 };
                DataType::Dictionary(Box::new(key), Box::new(DataType::Utf8))
            }
            None => self.kind.arrow(),
        };
        ArrowField::new(&self.name, data_type, !self.required)
    }

    /// The column in the table. The unit goes into its doc, where every engine shows it.
    pub fn iceberg(&self) -> NestedField {
        let field = NestedField::new(self.id, &self.name, self.kind.iceberg(), self.required);
        match (&self.doc, &self.unit) {
            (Some(doc), Some(unit)) => field.with_doc(format!("{doc} [{unit}]")),
            (Some(doc), None) => field.with_doc(doc),
            (None, Some(unit)) => field.with_doc(format!("[{unit}]")),
            (None, None) => field,
        }
    }
}
