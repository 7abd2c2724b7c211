//! The forms a sample can take, and the packing its file's name asks for (`.gz`, `.zst`).

use std::io::Write;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Batches;
use super::cgm::text::TextWriter;
use super::cgm::{self, Readings};
use crate::error::{Error, Kind, Result};

/// The form of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line.
    Ndjson,
    /// CSV with a header.
    Csv,
    /// Parquet, Zstandard level 1.
    Parquet,
    /// An Arrow IPC file.
    Arrow,
    /// An Arrow IPC stream: what goes through a pipe or over HTTP.
    ArrowStream,
}

/// Writes glucose readings; returns how many records, broken ones included.
pub fn write_cgm<W: Write + Send>(options: cgm::Options, form: Form, out: W) -> Result<u64> {
    if !matches!(form, Form::Ndjson | Form::Csv) {
        return write(cgm::batch::batches(options)?, form, out);
    }
    let mut writer = TextWriter::new(&options, form == Form::Csv, out);
    let mut records = 0;
    for reading in Readings::new(options, false)? {
        writer.write(&reading)?;
        records += 1;
    }
    writer.finish()?;
    Ok(records)
}

/// Writes batches; returns how many rows.
pub fn write<W: Write + Send>(batches: Batches, form: Form, out: W) -> Result<u64> {
    match form {
        Form::Ndjson => ndjson(batches, out),
        Form::Csv => csv(batches, out),
        Form::Parquet => parquet(batches, out),
        Form::Arrow => arrow_file(batches, out),
        Form::ArrowStream => arrow_stream(batches, out),
    }
}

fn ndjson<W: Write>(batches: Batches, out: W) -> Result<u64> {
    let mut writer = arrow::json::LineDelimitedWriter::new(out);
    let rows = each(batches, |batch| writer.write(&by_offset(batch)?).map_err(unwritten))?;
    writer.finish().map_err(unwritten)?;
    writer.into_inner().flush()?;
    Ok(rows)
}

fn csv<W: Write>(batches: Batches, out: W) -> Result<u64> {
    let mut writer = arrow::csv::Writer::new(out);
    let rows = each(batches, |batch| writer.write(&by_offset(batch)?).map_err(unwritten))?;
    writer.into_inner().flush()?;
    Ok(rows)
}

fn parquet<W: Write + Send>(batches: Batches, out: W) -> Result<u64> {
    let level = ZstdLevel::try_new(1).map_err(ArrowError::from).map_err(unwritten)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let failed = |error: parquet::errors::ParquetError| unwritten(error.into());
    let mut writer = ArrowWriter::try_new(out, batches.schema(), Some(properties)).map_err(failed)?;
    let rows = each(batches, |batch| writer.write(batch).map_err(failed))?;
    writer.close().map_err(failed)?;
    Ok(rows)
}

fn arrow_file<W: Write>(batches: Batches, out: W) -> Result<u64> {
    let mut writer = FileWriter::try_new(out, &batches.schema()).map_err(unwritten)?;
    let rows = each(batches, |batch| writer.write(batch).map_err(unwritten))?;
    writer.finish().map_err(unwritten)?;
    Ok(rows)
}

fn arrow_stream<W: Write>(batches: Batches, out: W) -> Result<u64> {
    let mut writer = StreamWriter::try_new(out, &batches.schema()).map_err(unwritten)?;
    let rows = each(batches, |batch| writer.write(batch).map_err(unwritten))?;
    writer.finish().map_err(unwritten)?;
    Ok(rows)
}

/// The batch with its times' zone as an offset: the text writers know no zone by name.
fn by_offset(batch: &RecordBatch) -> Result<RecordBatch> {
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let (mut fields, mut columns) = (Vec::new(), batch.columns().to_vec());
    for (field, column) in batch.schema().fields().iter().zip(&mut columns) {
        if *field.data_type() == zone {
            *column = Arc::new(column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("+00:00"));
        }
        fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
    }
    super::batch(&Arc::new(Schema::new(fields)), columns)
}

fn each(batches: Batches, mut write: impl FnMut(&RecordBatch) -> Result<()>) -> Result<u64> {
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        write(&batch)?;
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}

fn unwritten(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => error.into(),
        other => Error::new(Kind::Internal, "cannot write the sample").because(other),
    }
}

#[cfg(test)]
mod tests {
    use arrow::ipc::reader::{FileReader, StreamReader};

    use super::*;
    use crate::sample::world;

    #[test]
    fn every_form_holds_every_row() {
        for form in [Form::Ndjson, Form::Csv, Form::Parquet, Form::Arrow, Form::ArrowStream] {
            let mut bytes = Vec::new();
            let written = write(world::gdp(10, 1), form, &mut bytes).expect("memory");
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            let cursor = std::io::Cursor::new(&bytes);
            let read = match form {
                Form::Ndjson => lines,
                Form::Csv => lines - 1,
                Form::Parquet => 120,
                Form::Arrow => {
                    FileReader::try_new(cursor, None).expect("a file").map(|b| b.expect("ok").num_rows()).sum()
                }
                Form::ArrowStream => {
                    StreamReader::try_new(cursor, None).expect("a stream").map(|b| b.expect("ok").num_rows()).sum()
                }
            };
            assert_eq!((written, read), (120, 120), "{form:?}");
        }
    }

    #[test]
    fn times_carry_their_zone_in_text() {
        let start = 1_782_518_400_000_000;
        let timeframe = "1h".to_string();
        let options = crate::sample::market::Options { symbols: 1, days: 1, brokers: 1, timeframe, seed: 1, start };
        for form in [Form::Ndjson, Form::Csv] {
            let mut bytes = Vec::new();
            write(crate::sample::market::funding_rates(options.clone()), form, &mut bytes).expect("memory");
            assert!(String::from_utf8_lossy(&bytes).contains("2026-06-27T00:00:00Z"), "{form:?}");
        }
    }

    #[test]
    fn decimals_are_numbers_in_json() {
        let start = 1_782_518_400_000_000;
        let options =
            crate::sample::market::Options { symbols: 1, days: 3, brokers: 1, timeframe: "1h".into(), seed: 1, start };
        let mut bytes = Vec::new();
        write(crate::sample::market::prices(options), Form::Ndjson, &mut bytes).expect("memory");
        let first: serde_json::Value =
            serde_json::from_slice(bytes.split(|&b| b == b'\n').next().expect("a line")).expect("JSON");
        assert!(first["close"].is_number(), "{first}");
    }
}
