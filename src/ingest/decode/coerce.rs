//! Arrow batches of foreign types into the contract's, where nothing is lost; what a single value loses is that
//! record's fault, what a type cannot give is the source's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{
    DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::Options;
use super::column::{Column, Values};
use super::rows::{Origin, admit_batch, cut};
use super::time::instant;
use crate::contract::{Code, Contract, Field, FieldType, Unknown};
use crate::error::{Error, Kind, Result};
use crate::flow::{Admitted, Broken};

/// The way from a source's schema to the contract's.
pub struct Coercion {
    contract: Arc<Contract>,
    /// For each column of the projected source, the contract's field.
    fields: Vec<usize>,
    /// The source's columns that are read, ascending.
    sources: Vec<usize>,
    max_raw: usize,
    records: u64,
}

impl Coercion {
    /// Finds the contract's fields in a source's schema; an error if they are not there or of types that cannot give
    /// them.
    pub fn new(contract: Arc<Contract>, schema: &Schema, options: &Options) -> Result<Self> {
        let (mut fields, mut sources) = (Vec::new(), Vec::new());
        for (index, column) in schema.fields().iter().enumerate() {
            match contract.fields().iter().position(|field| field.name == *column.name()) {
                Some(field) if fields.contains(&field) => return Err(refuse(column.name(), "is there twice")),
                Some(field) => {
                    check_type(&contract, &contract.fields()[field], column.data_type())?;
                    fields.push(field);
                    sources.push(index);
                }
                None if contract.unknown == Unknown::Reject => {
                    return Err(refuse(
                        column.name(),
                        "is not in the contract; leave it out, or set unknown = \"ignore\"",
                    ));
                }
                None => {}
            }
        }
        let mut all = contract.fields().iter().enumerate();
        if let Some((_, field)) = all.find(|(index, field)| field.required && !fields.contains(index)) {
            return Err(refuse(&field.name, "is required and is not there"));
        }
        Ok(Self { contract, fields, sources, max_raw: options.max_raw, records: 0 })
    }

    /// The source's columns that are read.
    pub fn source_columns(&self) -> Vec<usize> {
        self.sources.clone()
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Keeps the columns that are read.
    pub fn project(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let internal = |error| Error::new(Kind::Internal, "columns could not be chosen").because(error);
        batch.project(&self.sources).map_err(internal)
    }

    /// Holds a batch of the projected source to the contract.
    pub fn admit(&mut self, source: &RecordBatch) -> Result<Admitted> {
        let mut flaws = Vec::new();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.contract.fields().len()];
        for (array, &field) in source.columns().iter().zip(&self.fields) {
            let field_of = &self.contract.fields()[field];
            columns[field] = Some(coerce(array, field_of, self.contract.strict, &mut flaws)?);
        }
        flaws.sort_by_key(|(row, _)| *row);
        let rows = source.num_rows();
        let given = self.contract.fields().iter().zip(columns);
        let arrays: Vec<ArrayRef> = given
            .map(|(field, array)| {
                array.unwrap_or_else(|| arrow::array::new_null_array(field.arrow().data_type(), rows))
            })
            .collect();
        let batch = with_schema(self.schema(&arrays, true), arrays, rows)?;
        let max_raw = self.max_raw;
        let origins =
            |rows: &[u32]| rows.iter().map(|&row| (None, as_json(source, row, max_raw))).collect::<Vec<Origin>>();
        let mut admitted = admit_batch(&self.contract, batch, flaws, self.records, origins)?;
        self.records += admitted.records;
        let (arrays, rows) = (admitted.batch.columns().to_vec(), admitted.batch.num_rows());
        admitted.batch = with_schema(self.schema(&arrays, false), arrays, rows)?;
        Ok(admitted)
    }

    /// The contract's fields with the types as they are; all optional until the check has found the nulls.
    fn schema(&self, arrays: &[ArrayRef], optional: bool) -> SchemaRef {
        let fields = self.contract.fields().iter().zip(arrays);
        let fields = fields
            .map(|(field, array)| ArrowField::new(&field.name, array.data_type().clone(), optional || !field.required));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

fn refuse(column: &str, what: &str) -> Error {
    Error::new(Kind::Invalid, format!("the column `{column}` {what}"))
}

fn with_schema(schema: SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, arrays, &options)
        .map_err(|error| Error::new(Kind::Internal, "coerced columns do not fit the contract").because(error))
}

fn as_json(source: &RecordBatch, row: u32, most: usize) -> String {
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    let written = in_utc(&source.slice(row as usize, 1)).and_then(|row| writer.write(&row));
    let written = written.and_then(|()| writer.finish());
    match written {
        Ok(()) => cut(text.trim_ascii_end(), most),
        Err(error) => format!("{{}} (a row that JSON cannot show: {error})"),
    }
}

/// The row with its instants in UTC: other zones' names need a database that the JSON writer does not have.
fn in_utc(row: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = row.schema_ref().fields().iter().zip(row.columns()).map(|(field, array)| {
        let array = match array.data_type() {
            DataType::Timestamp(unit, Some(_)) => {
                cast_with_options(array, &DataType::Timestamp(*unit, Some("+00:00".into())), &CastOptions::default())?
            }
            _ => array.clone(),
        };
        Ok((field.name().clone(), array, true))
    });
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}

fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// Whether a column of a type can give the field's values; single values may still not fit.
fn check_type(contract: &Contract, field: &Field, from: &DataType) -> Result<()> {
    use DataType as D;
    let from = plain(from);
    let fits = match field.kind {
        FieldType::Int | FieldType::Long => from.is_integer(),
        FieldType::Float => matches!(from, D::Float16 | D::Float32 | D::Int8 | D::Int16 | D::UInt8 | D::UInt16),
        FieldType::Double => from.is_floating() || from.is_integer(),
        FieldType::Decimal { .. } => {
            from.is_integer()
                || matches!(from, D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..))
        }
        FieldType::String => matches!(from, D::Utf8 | D::LargeUtf8 | D::Utf8View),
        FieldType::Binary => matches!(from, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_)),
        FieldType::Date => matches!(from, D::Date32),
        FieldType::Time => matches!(from, D::Time32(_) | D::Time64(_)),
        FieldType::Timestamp => matches!(from, D::Timestamp(_, None)),
        FieldType::Timestamptz => match from {
            D::Timestamp(_, None) => field.time_zone.is_some(),
            other => matches!(other, D::Timestamp(_, Some(_))),
        },
        other => *from == other.arrow(),
    } || *from == D::Null;
    if fits || (!contract.strict && can_cast_types(from, &field.kind.arrow())) {
        return Ok(());
    }
    let naive = matches!((field.kind, from), (FieldType::Timestamptz, D::Timestamp(_, None)));
    let hint = if naive { "; name the time zone it is to be read in (time_zone)" } else { "" };
    Err(refuse(&field.name, &format!("is {from}, which cannot be read as {}{hint}", field.kind)))
}

/// The array as the field's type, and what was wrong with single values.
fn coerce(array: &ArrayRef, field: &Field, strict: bool, flaws: &mut Vec<(u32, Broken)>) -> Result<ArrayRef> {
    let wanted = field.kind.arrow();
    if field.listed_texts().is_some() {
        return listed(&cast(array, &DataType::Utf8)?, field, flaws);
    }
    if *array.data_type() == wanted {
        return Ok(array.clone());
    }
    if matches!(plain(array.data_type()), DataType::Timestamp(TimeUnit::Nanosecond, _)) && strict {
        let nanos = cast(array, plain(array.data_type()))?;
        let nanos = nanos.as_primitive::<TimestampNanosecondType>();
        let lossy = nanos.iter().enumerate().filter(|(_, value)| value.is_some_and(|value| value % 1000 != 0));
        flaws.extend(lossy.map(|(row, _)| flaw(field, row, Code::Timestamp, "nanoseconds would be lost")));
    }
    let naive = matches!(plain(array.data_type()), DataType::Timestamp(_, None));
    let done = if field.kind == FieldType::Timestamptz && naive {
        zoned(&cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?, field)?
    } else {
        cast(array, &wanted)?
    };
    if done.null_count() > array.logical_null_count() {
        let lost = (0..done.len()).filter(|&row| done.is_null(row) && array.is_valid(row));
        let code = if matches!(field.kind, FieldType::Decimal { .. }) { Code::Decimal } else { Code::Range };
        let detail = format!("a value of {} that {} does not hold", array.data_type(), field.kind);
        flaws.extend(lost.map(|row| flaw(field, row, code, &detail)));
    }
    lossless(array, &done, field, flaws)?;
    Ok(done)
}

fn flaw(field: &Field, row: usize, code: Code, detail: &str) -> (u32, Broken) {
    (row as u32, Broken { code: code.slug(), field: Some(field.name.clone()), detail: detail.to_owned() })
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(array, to, &options)
        .map_err(|error| Error::new(Kind::Invalid, "a column cannot be read as the contract's type").because(error))
}

/// Where a cast may round (long to double, decimal to fewer decimals) the way back must give the same.
fn lossless(from: &ArrayRef, to: &ArrayRef, field: &Field, flaws: &mut Vec<(u32, Broken)>) -> Result<()> {
    let source = plain(from.data_type());
    let may_round = match field.kind {
        FieldType::Double => matches!(source, DataType::Int64 | DataType::UInt64),
        FieldType::Decimal { scale, .. } => match source {
            DataType::Decimal32(_, s)
            | DataType::Decimal64(_, s)
            | DataType::Decimal128(_, s)
            | DataType::Decimal256(_, s) => *s > scale as i8,
            _ => false,
        },
        _ => false,
    };
    if !may_round {
        return Ok(());
    }
    let (from, back) = (cast(from, source)?, cast(to, source)?);
    let same = arrow::compute::kernels::cmp::not_distinct(&from, &back)
        .map_err(|error| Error::new(Kind::Internal, "columns could not be compared").because(error))?;
    let code = if field.kind == FieldType::Double { Code::Range } else { Code::Decimal };
    let lost = (0..same.len()).filter(|&row| !same.value(row) && to.is_valid(row));
    flaws.extend(lost.map(|row| flaw(field, row, code, "digits would be lost")));
    Ok(())
}

fn zoned(local: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let local = local.as_primitive::<TimestampMicrosecondType>();
    let zone = field.time_zone.as_ref();
    let read = |micros: i64| {
        let civil = jiff::Timestamp::from_microsecond(micros).ok()?.to_string();
        instant(civil.trim_end_matches('Z').as_bytes(), zone, true).ok()
    };
    let instants = local.unary_opt::<_, TimestampMicrosecondType>(read);
    Ok(Arc::new(instants.with_timezone("UTC")))
}

/// Strings with listed values as the dictionary of them.
fn listed(texts: &ArrayRef, field: &Field, flaws: &mut Vec<(u32, Broken)>) -> Result<ArrayRef> {
    let texts: &StringArray = texts.as_string();
    let mut column = Column::new(field);
    for (row, text) in texts.iter().enumerate() {
        let Some(text) = text else {
            column.push_null();
            continue;
        };
        let found = match &mut column.values {
            Values::Listed8(listed) => listed.push(text),
            Values::Listed16(listed) => listed.push(text),
            _ => None,
        };
        if found.is_none() {
            column.push_placeholder();
            let shown: String = text.chars().take(64).collect();
            let wanted = field.listed_texts().unwrap_or_default().join(", ");
            flaws.push(flaw(field, row, Code::Enum, &format!("found `{shown}`, wanted one of {wanted}")));
        }
    }
    column.finish().map_err(|error| Error::new(Kind::Internal, "keys do not fit their list").because(error))
}
