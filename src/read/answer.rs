//! A query's answer in the form that was asked for, written while it is computed.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;

use crate::error::{Error, Kind, Result};

/// Rows of a table that are drawn at a time: columns are as wide as these need.
const DRAWN: usize = 10_000;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tables drawn for a person, one for each 10,000 rows.
    Table,
    /// CSV with a header.
    Csv,
    /// One JSON object a line, nulls written out.
    Json,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

/// Writes the batches as they come.
///
/// # Errors
/// Those of the batches; output errors.
pub fn write(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    form: Form,
    out: &mut dyn Write,
) -> Result<()> {
    match form {
        Form::Table => draw(schema, batches, out),
        Form::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
            writer.write(&RecordBatch::new_empty(schema.clone())).map_err(bad)?;
            each(batches, |batch| writer.write(batch))
        }
        Form::Json => {
            let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
            let mut writer = builder.build::<_, arrow::json::writer::LineDelimited>(out);
            each(batches, |batch| writer.write(batch))?;
            writer.finish().map_err(bad)
        }
        Form::Arrow => {
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(out, schema).map_err(bad)?;
            each(batches, |batch| writer.write(batch))?;
            writer.finish().map_err(bad)
        }
        Form::Parquet => parquet(schema, batches, out),
    }
}

fn bad(error: ArrowError) -> Error {
    Error::new(Kind::Unavailable, "the answer cannot be written").because(error)
}

fn each(
    batches: impl Iterator<Item = Result<RecordBatch>>,
    mut write: impl FnMut(&RecordBatch) -> Result<(), ArrowError>,
) -> Result<()> {
    for batch in batches {
        write(&batch?).map_err(bad)?;
    }
    Ok(())
}

fn draw(schema: &SchemaRef, batches: impl Iterator<Item = Result<RecordBatch>>, out: &mut dyn Write) -> Result<()> {
    let (mut held, mut rows, mut drawn) = (Vec::new(), 0, false);
    let show = |held: &mut Vec<RecordBatch>, out: &mut dyn Write| -> Result<()> {
        let all = concat_batches(schema, held.iter()).map_err(bad)?;
        held.clear();
        writeln!(out, "{}", pretty_format_batches(&[all]).map_err(bad)?)?;
        Ok(())
    };
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows();
        held.push(batch);
        if rows >= DRAWN {
            show(&mut held, out)?;
            (rows, drawn) = (0, true);
        }
    }
    if rows > 0 || !drawn { show(&mut held, out) } else { Ok(()) }
}

/// A Parquet file is written to disk first: its writer wants to keep what it writes to.
fn parquet(schema: &SchemaRef, batches: impl Iterator<Item = Result<RecordBatch>>, out: &mut dyn Write) -> Result<()> {
    let failed = |error: parquet::errors::ParquetError| {
        Error::new(Kind::Unavailable, "the answer cannot be written").because(error)
    };
    let mut file = tempfile::tempfile()?;
    let mut writer = parquet::arrow::ArrowWriter::try_new(file.try_clone()?, schema.clone(), None).map_err(failed)?;
    for batch in batches {
        writer.write(&batch?).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    std::io::Seek::rewind(&mut file)?;
    std::io::copy(&mut file, out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn written(form: Form, batches: Vec<RecordBatch>) -> Vec<u8> {
        let schema = batches[0].schema();
        let mut out = Vec::new();
        write(&schema, batches.into_iter().map(Ok), form, &mut out).expect("written");
        out
    }

    fn two() -> Vec<RecordBatch> {
        let batch = |numbers: &[i64], texts: &[Option<&str>]| {
            let numbers = Arc::new(Int64Array::from(numbers.to_vec()));
            let texts = Arc::new(StringArray::from(texts.to_vec()));
            RecordBatch::try_from_iter_with_nullable([("n", numbers as _, false), ("t", texts as _, true)])
                .expect("fits")
        };
        vec![batch(&[1], &[Some("a,b")]), batch(&[2], &[None])]
    }

    #[test]
    fn texts_have_one_header_and_every_row() {
        assert_eq!(String::from_utf8(written(Form::Csv, two())).expect("UTF-8"), "n,t\n1,\"a,b\"\n2,\n");
        let json = "{\"n\":1,\"t\":\"a,b\"}\n{\"n\":2,\"t\":null}\n";
        assert_eq!(String::from_utf8(written(Form::Json, two())).expect("UTF-8"), json);
        let table = "+---+-----+\n| n | t   |\n+---+-----+\n| 1 | a,b |\n| 2 |     |\n+---+-----+\n";
        assert_eq!(String::from_utf8(written(Form::Table, two())).expect("UTF-8"), table);
    }

    #[test]
    fn a_long_table_is_drawn_in_parts() {
        let numbers = Arc::new(Int64Array::from_iter_values(0..DRAWN as i64));
        let batch = RecordBatch::try_from_iter([("n", numbers as _)]).expect("fits");
        let text = String::from_utf8(written(Form::Table, vec![batch.clone(), batch.slice(0, 1)])).expect("UTF-8");
        assert_eq!(text.matches("| n ").count(), 2);
        assert_eq!(text.lines().count(), DRAWN + 1 + 8);
    }

    #[test]
    fn an_empty_answer_still_has_its_columns() {
        let empty = vec![two()[0].slice(0, 0)];
        assert_eq!(written(Form::Csv, empty.clone()), b"n,t\n");
        assert_eq!(written(Form::Json, empty.clone()), b"");
        assert!(String::from_utf8(written(Form::Table, empty)).expect("UTF-8").contains("| n | t |"));
    }
}
