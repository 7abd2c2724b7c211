//! The `write.*` properties of a table that shape its files.
//!
//! | property | default | meaning |
//! |---|---|---|
//! | `write.target-file-size-bytes` | 536870912 | a file is closed at the first row group's end past this size |
//! | `write.parquet.compression-codec` | zstd | uncompressed, snappy, gzip, lz4, zstd |
//! | `write.parquet.compression-level` | 1 for zstd, 6 for gzip | |
//! | `write.parquet.row-group-size-bytes` | 134217728 | a row group holds at most about this much Arrow memory |
//! | `write.parquet.row-group-limit` | 122880 | rows of a row group at most; small ones are what readers prune by |
//! | `write.parquet.page-size-bytes` | 1048576 | |
//! | `write.parquet.page-row-limit` | 20000 | |
//! | `write.parquet.dict-size-bytes` | 2097152 | |
//! | `laked.parquet.modern-encodings` | true | false: no DELTA_BINARY_PACKED, no BYTE_STREAM_SPLIT, for old readers |
//! | `write.parquet.bloom-filter-enabled.column.<name>` | false | |
//! | `write.parquet.bloom-filter-fpp.column.<name>` | 0.01 | |
//! | `write.metadata.metrics.default` | truncate(16) | none, counts, truncate(n), full |
//! | `write.metadata.metrics.column.<name>` | | the same for one column |
//! | `write.metadata.metrics.max-inferred-column-defaults` | 100 | columns past this one get none by default |

use std::collections::HashMap;

use iceberg::spec::{Schema, TableMetadata};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};

use crate::error::{Error, Kind, Result};

/// File and encoding settings of one table.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub target_file_size: u64,
    pub compression: Compression,
    pub row_group_bytes: usize,
    pub row_group_rows: usize,
    pub page_bytes: usize,
    pub page_rows: usize,
    pub dictionary_bytes: usize,
    pub modern_encodings: bool,
    /// Field id → false positive probability, for columns with a bloom filter.
    pub blooms: HashMap<i32, f64>,
    /// Field id → what the manifest tells of the column.
    pub metrics: HashMap<i32, MetricsMode>,
}

/// How much of a column's metrics goes to the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsMode {
    None,
    Counts,
    /// Bounds of strings in characters, of binaries in bytes; others exact.
    Truncate(usize),
    Full,
}

struct Properties<'a>(&'a HashMap<String, String>);

impl Properties<'_> {
    fn parse<T: std::str::FromStr>(&self, key: &str, default: T) -> Result<T> {
        let Some(text) = self.0.get(key) else { return Ok(default) };
        text.trim().parse().map_err(|_| bad(key, text, "a number"))
    }

    /// A number of at least one.
    fn size(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.parse(key, default)?.max(1))
    }
}

fn bad(key: &str, text: &str, wanted: &str) -> Error {
    Error::new(Kind::Invalid, format!("a table property cannot be read; set it to {wanted}"))
        .with("property", key)
        .with("value", text)
}

impl Settings {
    pub fn of(metadata: &TableMetadata, schema: &Schema) -> Result<Self> {
        let properties = Properties(metadata.properties());
        Ok(Self {
            target_file_size: properties.parse("write.target-file-size-bytes", 512 << 20)?,
            compression: compression(&properties)?,
            row_group_bytes: properties.size("write.parquet.row-group-size-bytes", 128 << 20)?,
            row_group_rows: properties.size("write.parquet.row-group-limit", 122_880)?,
            page_bytes: properties.size("write.parquet.page-size-bytes", 1 << 20)?,
            page_rows: properties.size("write.parquet.page-row-limit", 20_000)?,
            dictionary_bytes: properties.size("write.parquet.dict-size-bytes", 2 << 20)?,
            modern_encodings: properties.parse("laked.parquet.modern-encodings", true)?,
            blooms: blooms(&properties, schema)?,
            metrics: metrics(&properties, schema)?,
        })
    }

    pub fn metrics(&self, field_id: i32) -> MetricsMode {
        self.metrics.get(&field_id).copied().unwrap_or(MetricsMode::None)
    }
}

fn compression(properties: &Properties<'_>) -> Result<Compression> {
    const CODEC: &str = "write.parquet.compression-codec";
    const LEVEL: &str = "write.parquet.compression-level";
    let codec = properties.0.get(CODEC).map_or("zstd", |text| text.trim());
    let level_error =
        |e| Error::new(Kind::Invalid, "the compression level is out of range").with("property", LEVEL).because(e);
    Ok(match codec.to_ascii_lowercase().as_str() {
        "zstd" => Compression::ZSTD(ZstdLevel::try_new(properties.parse(LEVEL, 1)?).map_err(level_error)?),
        "gzip" => Compression::GZIP(GzipLevel::try_new(properties.parse(LEVEL, 6)?).map_err(level_error)?),
        "snappy" => Compression::SNAPPY,
        "lz4" | "lz4_raw" => Compression::LZ4_RAW,
        "uncompressed" | "none" => Compression::UNCOMPRESSED,
        _ => return Err(bad(CODEC, codec, "one of uncompressed, snappy, gzip, lz4, zstd")),
    })
}

fn blooms(properties: &Properties<'_>, schema: &Schema) -> Result<HashMap<i32, f64>> {
    let mut blooms = HashMap::new();
    for (&id, name) in schema.field_id_to_name_map() {
        if properties.parse(&format!("write.parquet.bloom-filter-enabled.column.{name}"), false)? {
            let key = format!("write.parquet.bloom-filter-fpp.column.{name}");
            let probability = properties.parse(&key, 0.01)?;
            if !(probability > 0.0 && probability < 1.0) {
                return Err(bad(&key, &probability.to_string(), "a number between 0 and 1"));
            }
            blooms.insert(id, probability);
        }
    }
    Ok(blooms)
}

fn metrics(properties: &Properties<'_>, schema: &Schema) -> Result<HashMap<i32, MetricsMode>> {
    const DEFAULT: &str = "write.metadata.metrics.default";
    let default = properties.0.get(DEFAULT).map_or(Ok(MetricsMode::Truncate(16)), |text| mode(DEFAULT, text))?;
    let inferred = properties.parse("write.metadata.metrics.max-inferred-column-defaults", 100_usize)?;
    let explicit = properties.0.contains_key(DEFAULT);
    let mut ids: Vec<_> = schema.field_id_to_name_map().iter().collect();
    ids.sort_unstable();
    let mut modes = HashMap::with_capacity(ids.len());
    for (i, (&id, name)) in ids.into_iter().enumerate() {
        let key = format!("write.metadata.metrics.column.{name}");
        let of_column = match properties.0.get(&key) {
            Some(text) => mode(&key, text)?,
            None if explicit || i < inferred => default,
            None => MetricsMode::None,
        };
        modes.insert(id, of_column);
    }
    Ok(modes)
}

fn mode(key: &str, text: &str) -> Result<MetricsMode> {
    let text = text.trim().to_ascii_lowercase();
    let length = text.strip_prefix("truncate(").and_then(|rest| rest.strip_suffix(')'));
    match (text.as_str(), length.map(str::parse::<usize>)) {
        ("none", _) => Ok(MetricsMode::None),
        ("counts", _) => Ok(MetricsMode::Counts),
        ("full", _) => Ok(MetricsMode::Full),
        (_, Some(Ok(length))) if length > 0 => Ok(MetricsMode::Truncate(length)),
        _ => Err(bad(key, &text, "one of none, counts, truncate(n), full")),
    }
}
