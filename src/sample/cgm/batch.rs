//! Readings as Arrow batches, typed as a producer who does not know the contract types them: plain strings, all
//! columns nullable.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::text::{glucose, hex6, padded, source, uuid_text};
use super::{COUNTRIES, Flaw, Ids, Options, Reading, Readings, SLOT_MICROS, TRENDS, country, device, uuid_bits};
use crate::error::{Error, Kind, Result};
use crate::sample::Batches;

/// Rows of a batch.
const ROWS: usize = 1 << 15;

/// The columns.
pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        text("reading_id"),
        text("user_id"),
        text("device_id"),
        Field::new("timestamp", time, true),
        Field::new("glucose_mg_dl", DataType::Float64, true),
        text("country"),
        text("source"),
        text("trend"),
    ]))
}

/// The readings of `options`, batch by batch.
pub fn batches(options: Options) -> Result<Batches> {
    let mut readings = Readings::new(options.clone(), true)?;
    let mut rows = Rows::default();
    let next = move || {
        readings.by_ref().take(ROWS).for_each(|reading| rows.push(&options, &reading));
        if rows.times.values_slice().is_empty() { None } else { Some(rows.take()) }
    };
    Ok(Batches::new(schema(), std::iter::from_fn(next)))
}

#[derive(Default)]
struct Rows {
    ids: StringBuilder,
    users: StringBuilder,
    devices: StringBuilder,
    times: TimestampMicrosecondBuilder,
    glucose: Float64Builder,
    countries: StringBuilder,
    sources: StringBuilder,
    trends: StringBuilder,
}

impl Rows {
    fn push(&mut self, options: &Options, reading: &Reading) {
        let seed = options.seed;
        match options.ids {
            Ids::Sequential => self.ids.append_value(ascii(&padded::<13>(b'r', reading.ordinal))),
            Ids::Random => self.ids.append_value(ascii(&uuid_text(uuid_bits(seed, reading)))),
        }
        let user = padded::<8>(b'u', u64::from(reading.user) + 1);
        self.users.append_option((reading.flaw != Some(Flaw::NoUser)).then_some(ascii(&user)));
        let mut worn = *b"G7-000000";
        worn[3..].copy_from_slice(&hex6(device(seed, reading)));
        self.devices.append_value(ascii(&worn));
        self.times.append_value(options.start + i64::from(reading.slot) * SLOT_MICROS);
        self.glucose.append_value(f64::from(glucose(reading)));
        let home = COUNTRIES[country(seed, reading.user)].0;
        self.countries.append_value(if reading.flaw == Some(Flaw::Country) { "XX" } else { home });
        self.sources.append_value(source(reading));
        self.trends.append_value(TRENDS[usize::from(reading.trend)]);
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(self.users.finish()),
            Arc::new(self.devices.finish()),
            Arc::new(self.times.finish().with_timezone("UTC")),
            Arc::new(self.glucose.finish()),
            Arc::new(self.countries.finish()),
            Arc::new(self.sources.finish()),
            Arc::new(self.trends.finish()),
        ];
        RecordBatch::try_new(schema(), columns)
            .map_err(|error| Error::new(Kind::Internal, "the sample's columns do not fit its schema").because(error))
    }
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("invariant: letters, digits and dashes")
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, RecordBatch};

    use super::*;

    #[test]
    fn batches_hold_every_reading_and_the_typed_flaws() {
        let options = Options { users: 40, bad: 1000, ..Options::default() };
        let readings = Readings::new(options.clone(), true).expect("valid");
        let expected = readings.totals().readings + readings.broken();
        let all: Vec<RecordBatch> = batches(options).expect("valid").collect::<Result<_>>().expect("fits");
        assert_eq!(all.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), expected);
        assert!(all.len() > 1);
        let nulls: usize = all.iter().map(|batch| batch.column(1).null_count()).sum();
        assert!(nulls > 0);
        assert_eq!(all[0].column(0).as_string::<i32>().value(0), "r000000000001");
    }
}
