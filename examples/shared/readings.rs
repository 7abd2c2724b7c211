//! Data files of CGM readings as a manifest tells of them, with the bounds of all eight columns. There need be no files.

use std::collections::HashMap;

use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, Struct};
use laked::error::{Error, Kind, Result};

/// Countries of the readings.
pub const COUNTRIES: [&str; 4] = ["TW", "JP", "KR", "SG"];

/// A file of a table partitioned by country and month: the month counted from 1970, the users from the number of their
/// first, the times in microseconds since 1970.
pub struct Readings {
    pub country: &'static str,
    pub month: i32,
    pub users: [usize; 2],
    pub times: [i64; 2],
    pub rows: u64,
    pub bytes: u64,
}

impl Readings {
    /// What a manifest says of it.
    pub fn file(&self, location: String) -> Result<DataFile> {
        let user = |number: usize| Datum::string(format!("u{number:06}"));
        let texts = |low: &str, high: &str| (Datum::string(low), Datum::string(high));
        let columns: [(i32, (Datum, Datum)); 8] = [
            (1, texts("r000000000000000", "rfffffffffffffff")),
            (2, (user(self.users[0]), user(self.users[1]))),
            (3, texts("d000000000000000", "dfffffffffffffff")),
            (4, (Datum::timestamptz_micros(self.times[0]), Datum::timestamptz_micros(self.times[1]))),
            (5, (Datum::double(40.0), Datum::double(400.0))),
            (6, texts(self.country, self.country)),
            (7, texts("cgm", "manual")),
            (8, texts("down", "up")),
        ];
        let counts = |value: u64| -> HashMap<i32, u64> { (1..=8).map(|id| (id, value)).collect() };
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([Some(Literal::string(self.country)), Some(Literal::int(self.month))]))
            .record_count(self.rows)
            .file_size_in_bytes(self.bytes)
            .column_sizes(counts(self.bytes / 8))
            .value_counts(counts(self.rows))
            .null_value_counts(counts(0))
            .lower_bounds(columns.iter().map(|(id, (low, _))| (*id, low.clone())).collect())
            .upper_bounds(columns.iter().map(|(id, (_, high))| (*id, high.clone())).collect())
            .build()
            .map_err(|error| Error::new(Kind::Internal, "a data file").because(error))
    }
}
