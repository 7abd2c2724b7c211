//! The manifest's metrics of a finished file: sizes, counts and bounds of its columns.
//!
//! The bounds come from the statistics that the encoder kept of every row group, and never of fewer: a row group whose
//! statistics are missing although it has values leaves the column without bounds. Statistics of strings may be cut
//! (the lower end shorter, the upper end rounded up); cutting such a bound again keeps it a bound.

use std::collections::HashMap;

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaDataPtr};
use parquet::file::statistics::Statistics;

use super::encode::Shape;
use super::settings::MetricsMode;

/// The metrics of one file, by field id.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub column_sizes: HashMap<i32, u64>,
    pub value_counts: HashMap<i32, u64>,
    pub null_counts: HashMap<i32, u64>,
    pub nan_counts: HashMap<i32, u64>,
    pub lower: HashMap<i32, Datum>,
    pub upper: HashMap<i32, Datum>,
}

impl Metrics {
    pub fn of(shape: &Shape, row_groups: &[RowGroupMetaDataPtr], nans: &[Option<u64>]) -> Self {
        let mut metrics = Metrics::default();
        for (leaf, &nans) in nans.iter().enumerate() {
            if let Some(id) = shape.field_id(leaf) {
                let chunks: Vec<&ColumnChunkMetaData> = row_groups.iter().map(|group| group.column(leaf)).collect();
                metrics.column(shape, leaf, id, &chunks, nans);
            }
        }
        metrics
    }

    fn column(&mut self, shape: &Shape, leaf: usize, id: i32, chunks: &[&ColumnChunkMetaData], nans: Option<u64>) {
        self.column_sizes.insert(id, chunks.iter().map(|chunk| chunk.compressed_size().unsigned_abs()).sum());
        let inner = &shape.layout.inner;
        let mode = inner.settings.metrics(id);
        let Some(kind) = inner.schema.field_by_id(id).and_then(|field| field.field_type.as_primitive_type()) else {
            return;
        };
        if mode == MetricsMode::None || shape.schema.column(leaf).max_rep_level() > 0 {
            return;
        }
        let values: u64 = chunks.iter().map(|chunk| chunk.num_values().unsigned_abs()).sum();
        let nulls = |chunk: &&ColumnChunkMetaData| chunk.statistics().and_then(Statistics::null_count_opt);
        self.value_counts.insert(id, values);
        if let Some(counts) = chunks.iter().map(nulls).collect::<Option<Vec<u64>>>() {
            self.null_counts.insert(id, counts.iter().sum());
        }
        let top_level = shape.schema.column(leaf).path().parts().len() == 1;
        if matches!(kind, PrimitiveType::Float | PrimitiveType::Double) && top_level {
            self.nan_counts.extend(nans.map(|nans| (id, nans)));
        }
        if mode != MetricsMode::Counts {
            self.bounds(id, kind, mode, chunks);
        }
    }

    fn bounds(&mut self, id: i32, kind: &PrimitiveType, mode: MetricsMode, chunks: &[&ColumnChunkMetaData]) {
        let mut found: Option<(Datum, Datum)> = None;
        for chunk in chunks {
            let Some(statistics) = chunk.statistics() else { return };
            let (low, high) = match (ends(statistics, kind), statistics.null_count_opt()) {
                (Some(ends), _) => ends,
                // All null: nothing to bound. Floats that are all NaN have no ends either, and readers know by counts.
                (None, Some(nulls)) if nulls == chunk.num_values().unsigned_abs() => continue,
                (None, _) if matches!(kind, PrimitiveType::Float | PrimitiveType::Double) => continue,
                (None, _) => return,
            };
            found = Some(match found {
                None => (low, high),
                Some((least, most)) => (if low < least { low } else { least }, if high > most { high } else { most }),
            });
        }
        let Some((low, high)) = found else { return };
        self.lower.insert(id, cut_down(low, mode));
        if let Some(high) = cut_up(high, mode) {
            self.upper.insert(id, high);
        }
    }
}

/// The least and greatest value of a column chunk.
fn ends(statistics: &Statistics, kind: &PrimitiveType) -> Option<(Datum, Datum)> {
    Some((datum(statistics, statistics.min_bytes_opt()?, kind)?, datum(statistics, statistics.max_bytes_opt()?, kind)?))
}

/// Parquet's plain bytes as a value of the table's type.
fn datum(statistics: &Statistics, bytes: &[u8], kind: &PrimitiveType) -> Option<Datum> {
    match (kind, statistics) {
        // Iceberg has decimals big-endian, Parquet keeps short ones as little-endian integers.
        (PrimitiveType::Decimal { .. }, Statistics::Int32(_) | Statistics::Int64(_)) => {
            let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
            Datum::try_from_bytes(&reversed, kind.clone()).ok()
        }
        _ => Datum::try_from_bytes(bytes, kind.clone()).ok(),
    }
}

fn cut_down(datum: Datum, mode: MetricsMode) -> Datum {
    let MetricsMode::Truncate(length) = mode else { return datum };
    match datum.literal() {
        PrimitiveLiteral::String(text) => match text.char_indices().nth(length) {
            Some((end, _)) => Datum::string(&text[..end]),
            None => datum,
        },
        PrimitiveLiteral::Binary(bytes) if bytes.len() > length && is_binary(&datum) => {
            Datum::binary(bytes[..length].iter().copied())
        }
        _ => datum,
    }
}

fn is_binary(datum: &Datum) -> bool {
    *datum.data_type() == PrimitiveType::Binary
}

/// Cut and rounded up; nothing if what is left has no successor.
fn cut_up(datum: Datum, mode: MetricsMode) -> Option<Datum> {
    let MetricsMode::Truncate(length) = mode else { return Some(datum) };
    match datum.literal() {
        PrimitiveLiteral::String(text) => match text.char_indices().nth(length) {
            Some((end, _)) => successor(&text[..end]).map(Datum::string),
            None => Some(datum),
        },
        PrimitiveLiteral::Binary(bytes) if bytes.len() > length && is_binary(&datum) => {
            let mut prefix = bytes[..length].to_vec();
            while prefix.last() == Some(&u8::MAX) {
                prefix.pop();
            }
            *prefix.last_mut()? += 1;
            Some(Datum::binary(prefix))
        }
        _ => Some(datum),
    }
}

/// The least string of no more characters that is greater than every one that begins with `prefix`.
fn successor(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_bound_is_rounded_up() {
        let cut = |text: &str| cut_up(Datum::string(text), MetricsMode::Truncate(2));
        assert_eq!(cut("ab"), Some(Datum::string("ab")));
        assert_eq!(cut("abc"), Some(Datum::string("ac")));
        assert_eq!(cut("a\u{10FFFF}c"), Some(Datum::string("b")));
        assert_eq!(cut("a\u{D7FF}c"), Some(Datum::string("a\u{E000}")));
        assert_eq!(cut("\u{10FFFF}\u{10FFFF}c"), None);
        let binary = |bytes: &[u8]| cut_up(Datum::binary(bytes.iter().copied()), MetricsMode::Truncate(2));
        assert_eq!(binary(&[1, 255, 3]), Some(Datum::binary([2])));
        assert_eq!(binary(&[255, 255, 3]), None);
    }

    #[test]
    fn a_lower_bound_is_a_prefix() {
        assert_eq!(cut_down(Datum::string("台灣台北"), MetricsMode::Truncate(3)), Datum::string("台灣台"));
        assert_eq!(cut_down(Datum::long(7), MetricsMode::Truncate(3)), Datum::long(7));
    }
}
