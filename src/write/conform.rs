//! Turns an incoming batch into one of the table's columns, in their order and with the table's Arrow types.
//!
//! Columns are found by name; a missing optional column is null, a null in a required one is an error (the contract
//! has checked; here it is the last line of defence). Values are not copied where types agree.
//!
//! Strings that repeat become **coded** columns, whether they come plain or as a dictionary: the keys are `Int16` codes
//! into one dictionary that the writer keeps per column for all batches ([`Codes`]). So batches of any decoder can be
//! cut, sorted, merged and spilled by their codes alone, and a longer dictionary agrees with every shorter one on the
//! codes it has. A column that turns out to have too many different strings is plain from then on; both forms may meet
//! in one partition.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int16Array, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Int16Type, Schema, SchemaRef, TimeUnit};

use super::layout::Layout;
use super::sort::Folded;
use crate::error::{Error, Kind, Result};

/// The most strings a coded column has, and their bytes.
const MOST_CODES: usize = 32_000;
const MOST_CODED_BYTES: usize = 1 << 20;
/// A column with more strings than this is coded only while each of them came often.
const FEW_CODES: usize = 4_096;
const OFTEN: usize = 4;

/// Makes batches of the table from batches by name.
#[derive(Debug)]
pub(super) struct Conform {
    layout: Layout,
    codes: Vec<Codes>,
    /// The last incoming schema, and for each column of the table where it is.
    known: Option<(SchemaRef, Vec<Option<usize>>)>,
}

impl Conform {
    pub fn new(layout: Layout) -> Self {
        let codes = layout.inner.arrow.fields().iter().map(|_| Codes::default()).collect();
        Self { layout, codes, known: None }
    }

    /// The batch with the table's columns.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let sources = self.sources(&batch.schema())?;
        let table = self.layout.inner.arrow.clone();
        let mut fields = Vec::with_capacity(sources.len());
        let mut columns = Vec::with_capacity(sources.len());
        for (i, (field, source)) in table.fields().iter().zip(sources).enumerate() {
            let column = match source {
                Some(source) => self.codes[i].conform(batch.column(source), field)?,
                None => new_null_array(field.data_type(), batch.num_rows()),
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::new(Kind::Invalid, "a required column has nulls").with("column", field.name()));
            }
            let same = column.data_type() == field.data_type();
            fields.push(if same { field.clone() } else { Arc::new(retyped(field, column.data_type())) });
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|e| Error::new(Kind::Internal, "the batch does not fit the table").because(e))
    }

    fn sources(&mut self, schema: &SchemaRef) -> Result<Vec<Option<usize>>> {
        if let Some((known, sources)) = &self.known
            && (Arc::ptr_eq(known, schema) || known == schema)
        {
            return Ok(sources.clone());
        }
        let inner = &self.layout.inner;
        let mut sources = vec![None; inner.arrow.fields().len()];
        for (i, field) in schema.fields().iter().enumerate() {
            let column = inner.names.get(field.name()).copied().ok_or_else(|| {
                Error::new(Kind::Invalid, "the batch has a column the table has not").with("column", field.name())
            })?;
            if sources[column].replace(i).is_some() {
                return Err(Error::new(Kind::Invalid, "two columns of the batch go to one column of the table")
                    .with("column", inner.arrow.field(column).name()));
            }
        }
        for (field, source) in inner.arrow.fields().iter().zip(&sources) {
            if source.is_none() && !field.is_nullable() {
                return Err(Error::new(Kind::Invalid, "the batch lacks a required column").with("column", field.name()));
            }
        }
        self.known = Some((schema.clone(), sources.clone()));
        Ok(sources)
    }
}

/// The field with another type and the same id.
pub(super) fn retyped(field: &Field, data_type: &DataType) -> Field {
    Field::new(field.name(), data_type.clone(), field.is_nullable()).with_metadata(field.metadata().clone())
}

/// The dictionary of one column.
#[derive(Debug, Default)]
struct Codes {
    by_text: HashMap<Box<str>, i16, Folded>,
    values: Vec<Box<str>>,
    bytes: usize,
    /// Rows coded so far.
    rows: usize,
    /// Too many strings: the column is plain.
    given_up: bool,
    array: Option<Arc<StringArray>>,
    /// The last incoming dictionary and the code of each of its strings; `None` is null.
    last: Option<(ArrayRef, Vec<Option<i16>>)>,
}

impl Codes {
    fn conform(&mut self, column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        let coded = match (column.data_type(), field.data_type()) {
            _ if self.given_up => None,
            (DataType::Utf8, DataType::Utf8) if std::env::var_os("NOCODE").is_none() => {
                self.code_plain(column.as_string())
            }
            (DataType::Dictionary(_, values), DataType::Utf8) if **values == DataType::Utf8 => self.code(column),
            _ => None,
        };
        match coded {
            Some(codes) => Ok(Arc::new(DictionaryArray::<Int16Type>::new(codes, self.array()))),
            None if column.data_type() == field.data_type() => Ok(column.clone()),
            None => converted(column, field),
        }
    }

    /// The codes of plain strings, or nothing if there are too many.
    fn code_plain(&mut self, column: &StringArray) -> Option<Int16Array> {
        let mut codes = Vec::with_capacity(column.len());
        let mut last: Option<(&str, i16)> = None;
        for row in 0..column.len() {
            if column.is_null(row) {
                codes.push(0);
                continue;
            }
            let text = column.value(row);
            let code = match last {
                Some((before, code)) if before == text => code,
                _ => self.code_of(text, self.rows + row)?,
            };
            last = Some((text, code));
            codes.push(code);
        }
        self.rows += column.len();
        Some(Int16Array::new(codes.into(), column.nulls().cloned()))
    }

    /// The codes of a dictionary's keys, or nothing if there are too many strings.
    fn code(&mut self, column: &ArrayRef) -> Option<Int16Array> {
        let dictionary = column.as_any_dictionary();
        let known = self.last.as_ref().is_some_and(|(values, _)| same_array(values, dictionary.values()));
        if !known {
            self.learn(dictionary.values())?;
        }
        self.rows += column.len();
        let (_, codes) = self.last.as_ref()?;
        let keys = dictionary.normalized_keys_or_empty(codes.len());
        let nulls = dictionary.keys().nulls();
        if nulls.is_none() && codes.iter().all(Option::is_some) {
            let dense: Vec<i16> = codes.iter().flatten().copied().collect();
            return Some(Int16Array::from_iter_values(keys.into_iter().map(|key| dense[key])));
        }
        let code = |(i, key): (usize, usize)| if nulls.is_some_and(|n| n.is_null(i)) { None } else { codes[key] };
        Some(keys.into_iter().enumerate().map(code).collect())
    }

    fn array(&mut self) -> Arc<StringArray> {
        let values = &self.values;
        self.array.get_or_insert_with(|| Arc::new(StringArray::from_iter_values(values.iter()))).clone()
    }

    /// Gives codes to the strings of an incoming dictionary.
    fn learn(&mut self, values: &ArrayRef) -> Option<()> {
        let mut codes = Vec::with_capacity(values.len());
        for text in values.as_string::<i32>() {
            codes.push(match text {
                Some(text) => Some(self.code_of(text, usize::MAX)?),
                None => None,
            });
        }
        self.last = Some((values.clone(), codes));
        Some(())
    }

    /// The code of `text`, a new one if need be; nothing if that makes too many in `rows` rows.
    fn code_of(&mut self, text: &str, rows: usize) -> Option<i16> {
        if let Some(&code) = self.by_text.get(text) {
            return Some(code);
        }
        let rare = self.values.len() >= FEW_CODES && rows / OFTEN < self.values.len();
        if rare || self.values.len() == MOST_CODES || self.bytes + text.len() > MOST_CODED_BYTES {
            self.given_up = true;
            (self.by_text, self.last) = (HashMap::default(), None);
            return None;
        }
        let code = self.values.len() as i16;
        self.by_text.insert(text.into(), code);
        self.values.push(text.into());
        self.bytes += text.len();
        self.array = None;
        Some(code)
    }
}

trait Keys {
    /// The keys as indices; of an empty dictionary none is valid and all read 0.
    fn normalized_keys_or_empty(&self, values: usize) -> Vec<usize>;
}

impl Keys for &dyn arrow::array::AnyDictionaryArray {
    fn normalized_keys_or_empty(&self, values: usize) -> Vec<usize> {
        if values == 0 { vec![0; self.len()] } else { self.normalized_keys() }
    }
}

fn same_array(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.len() == b.len() && a.to_data().ptr_eq(&b.to_data())
}

fn converted(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let wrong = || {
        Error::new(Kind::Invalid, "a column's type does not fit the table's")
            .with("column", field.name())
            .with("has", column.data_type())
            .with("wanted", field.data_type())
    };
    match (column.data_type(), field.data_type()) {
        // A local time has no place on the time line, and the other way round.
        (DataType::Timestamp(_, from), DataType::Timestamp(_, to)) if from.is_some() != to.is_some() => {
            return Err(wrong());
        }
        (
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)),
        ) => {
            let instants = column.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
            return Ok(Arc::new(instants.clone().with_timezone(zone.clone())));
        }
        _ => {}
    }
    let options = CastOptions { safe: false, ..Default::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|e| wrong().because(e))
}
