//! The reason codes of refused records: what a quarantine row, an HTTP answer and a metric call a broken rule.
//!
//! Slugs are stable: they are stored in quarantine tables and queried there. A new reason gets a new slug; an old one
//! never changes its meaning.

use std::fmt;

/// Why a record is refused. Decoding and checking share these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A required field is not in the record.
    Missing,
    /// A required field is null.
    Null,
    /// The value is of another type than the field's.
    Type,
    /// The value is outside the field's range, or does not fit its integer type.
    Range,
    /// The value is none of those listed.
    Enum,
    /// The text does not match the pattern.
    Pattern,
    /// The text or bytes are too short or too long.
    Length,
    /// The record has a field that the contract does not.
    UnknownField,
    /// The record has a key twice.
    DuplicateKey,
    /// A timestamp without offset, and the contract names no time zone.
    NaiveTimestamp,
    /// Not a timestamp, or one outside the years 1 to 9999.
    Timestamp,
    /// Not a date, or one outside the years 1 to 9999.
    Date,
    /// Not a time of day.
    Time,
    /// NaN or an infinity, where the field does not allow them.
    Nan,
    /// A decimal with more digits than the field's precision or scale holds.
    Decimal,
    /// Not a UUID.
    Uuid,
    /// The bytes are not UTF-8.
    Utf8,
    /// The record is not well-formed.
    Syntax,
    /// The record is longer than allowed.
    TooLong,
    /// The record is nested deeper than allowed.
    TooDeep,
    /// A CSV record has more or fewer cells than the header.
    Columns,
}

impl Code {
    /// All codes, for the reference and for metrics.
    pub const ALL: [Code; 21] = [
        Code::Missing,
        Code::Null,
        Code::Type,
        Code::Range,
        Code::Enum,
        Code::Pattern,
        Code::Length,
        Code::UnknownField,
        Code::DuplicateKey,
        Code::NaiveTimestamp,
        Code::Timestamp,
        Code::Date,
        Code::Time,
        Code::Nan,
        Code::Decimal,
        Code::Uuid,
        Code::Utf8,
        Code::Syntax,
        Code::TooLong,
        Code::TooDeep,
        Code::Columns,
    ];

    /// The stable word that is stored and shown.
    pub fn slug(self) -> &'static str {
        match self {
            Code::Missing => "missing",
            Code::Null => "null",
            Code::Type => "type",
            Code::Range => "range",
            Code::Enum => "enum",
            Code::Pattern => "pattern",
            Code::Length => "length",
            Code::UnknownField => "unknown-field",
            Code::DuplicateKey => "duplicate-key",
            Code::NaiveTimestamp => "naive-timestamp",
            Code::Timestamp => "timestamp",
            Code::Date => "date",
            Code::Time => "time",
            Code::Nan => "nan",
            Code::Decimal => "decimal",
            Code::Uuid => "uuid",
            Code::Utf8 => "utf8",
            Code::Syntax => "syntax",
            Code::TooLong => "too-long",
            Code::TooDeep => "too-deep",
            Code::Columns => "columns",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_distinct() {
        let slugs: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.slug()).collect();
        assert_eq!(slugs.len(), Code::ALL.len());
    }
}
