//! Which partition each row of a batch belongs to.
//!
//! Each partition field gives every row a small number that stands for its value within the batch; most fields are
//! constant in a batch, and that is found without work per row: a coded column by its codes' range, a time by its
//! least and greatest value. Times that span several days, months or years are looked up by day in a small table;
//! only other columns are transformed row by row. The fields' numbers combine to one per row, and each that occurs is
//! looked up once among the writer's partitions.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Int16Type, TimeUnit, TimestampMicrosecondType};
use iceberg::arrow::arrow_primitive_to_literal;
use iceberg::spec::{Literal, Struct, Transform, Type};
use iceberg::transform::create_transform_function;

use super::gather::plain;
use super::layout::PartitionColumn;
use super::path::civil;
use super::sort::Folded;
use crate::error::{Error, Kind, Result};

const MICROS_A_DAY: i64 = 86_400_000_000;
/// Days a table of days may have.
const MOST_DAYS: usize = 1 << 16;
/// Combined numbers up to which a plain table is used.
const MOST_DENSE: usize = 1 << 20;

/// The rows of a batch by partition.
pub(super) enum Routed {
    /// All in one.
    One(Struct),
    /// The partitions that occur, and each row's.
    Many { values: Vec<Struct>, rows: Vec<u32> },
}

/// One field's values in a batch.
struct Numbers {
    values: Vec<Option<Literal>>,
    /// Each row's position in `values`; nothing if there is but one value.
    rows: Option<Vec<u32>>,
}

impl Numbers {
    fn constant(value: Option<Literal>) -> Self {
        Numbers { values: vec![value], rows: None }
    }
}

/// The partition of each row. The batch is not empty and has the table's columns.
pub(super) fn route(columns: &[PartitionColumn], batch: &RecordBatch) -> Result<Routed> {
    // The column of a field that is void may be gone.
    let field = |by: &PartitionColumn| match by.transform {
        Transform::Void => Ok(Numbers::constant(None)),
        _ => numbers(by, batch.column(by.column)),
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>>>()?;
    if fields.iter().all(|field| field.rows.is_none()) {
        return Ok(Routed::One(fields.iter().map(|field| field.values[0].clone()).collect()));
    }
    let mut combined: Vec<u32> = vec![0; batch.num_rows()];
    let mut tuples: Vec<Vec<u32>> = vec![Vec::new()];
    for field in &fields {
        combine(field, &mut combined, &mut tuples);
    }
    let value =
        |tuple: &Vec<u32>| fields.iter().zip(tuple).map(|(field, &i)| field.values[i as usize].clone()).collect();
    let values: Vec<Struct> = tuples.iter().map(value).collect();
    Ok(match values.len() {
        1 => Routed::One(values.into_iter().next().expect("invariant: one value")),
        _ => Routed::Many { values, rows: combined },
    })
}

/// Makes `combined` tell rows apart by `field` too; `tuples` are the fields' numbers of each combined number.
fn combine(field: &Numbers, combined: &mut [u32], tuples: &mut Vec<Vec<u32>>) {
    let Some(rows) = &field.rows else {
        tuples.iter_mut().for_each(|tuple| tuple.push(0));
        return;
    };
    let before = std::mem::take(tuples);
    let width = field.values.len();
    let mut found = Found::new(before.len() * width);
    for (number, &row) in combined.iter_mut().zip(rows) {
        let key = *number as usize * width + row as usize;
        *number = found.number(key, tuples.len() as u32);
        if *number as usize == tuples.len() {
            let mut tuple = before[key / width].clone();
            tuple.push(row);
            tuples.push(tuple);
        }
    }
}

/// Numbers given in the order of appearance.
enum Found {
    Dense(Vec<u32>),
    Sparse(HashMap<usize, u32, Folded>),
}

impl Found {
    fn new(size: usize) -> Self {
        if size <= MOST_DENSE { Found::Dense(vec![u32::MAX; size]) } else { Found::Sparse(HashMap::default()) }
    }

    /// The number of `key`, which is `next` if it is new.
    fn number(&mut self, key: usize, next: u32) -> u32 {
        match self {
            Found::Dense(table) => {
                if table[key] == u32::MAX {
                    table[key] = next;
                }
                table[key]
            }
            Found::Sparse(map) => *map.entry(key).or_insert(next),
        }
    }
}

fn numbers(by: &PartitionColumn, column: &ArrayRef) -> Result<Numbers> {
    if column.null_count() == column.len() {
        return Ok(Numbers::constant(None));
    }
    match column.data_type() {
        DataType::Dictionary(_, _) => coded(by, column),
        DataType::Timestamp(TimeUnit::Microsecond, _) if column.null_count() == 0 => match calendar(by.transform) {
            Some(unit) => times(by, column, unit),
            None => general(by, column),
        },
        _ => general(by, column),
    }
}

/// Transforms the strings that occur, once each.
fn coded(by: &PartitionColumn, column: &ArrayRef) -> Result<Numbers> {
    let dictionary = column.as_dictionary::<Int16Type>();
    let keys = dictionary.keys();
    if keys.null_count() == 0 && min(keys) == max(keys) {
        return general(by, &plain_row(column)?);
    }
    let strings = general(by, dictionary.values())?;
    let null = strings.values.iter().position(Option::is_none).unwrap_or(strings.values.len()) as u32;
    let number = |key: i16| strings.rows.as_ref().map_or(0, |rows| rows[key as usize]);
    let rows: Vec<u32> = keys.iter().map(|key| key.map_or(null, number)).collect();
    let mut values = strings.values;
    if null as usize == values.len() {
        values.push(None);
    }
    Ok(Numbers { values, rows: Some(rows) })
}

/// The first row alone, without its dictionary.
fn plain_row(column: &ArrayRef) -> Result<ArrayRef> {
    plain(&column.slice(0, 1)).map_err(|e| Error::new(Kind::Internal, "a partition value cannot be read").because(e))
}

/// The number of a day's period, for the transforms whose periods are whole days.
fn calendar(transform: Transform) -> Option<fn(i64) -> i64> {
    match transform {
        Transform::Day => Some(|day| day),
        Transform::Month => Some(|day| {
            let (year, month, _) = civil(day);
            (year - 1970) * 12 + month - 1
        }),
        Transform::Year => Some(|day| civil(day).0 - 1970),
        _ => None,
    }
}

fn times(by: &PartitionColumn, column: &ArrayRef, unit: fn(i64) -> i64) -> Result<Numbers> {
    let times = column.as_primitive::<TimestampMicrosecondType>();
    let (Some(first), Some(last)) = (min(times), max(times)) else { return Ok(Numbers::constant(None)) };
    let (first, last) = (first.div_euclid(MICROS_A_DAY), last.div_euclid(MICROS_A_DAY));
    let literal = |period: i64| i32::try_from(period).ok().map(Literal::int);
    if unit(first) == unit(last) {
        return Ok(Numbers::constant(literal(unit(first))));
    }
    let days = (last - first) as usize + 1;
    if days > MOST_DAYS {
        return general(by, column);
    }
    let mut values = Vec::new();
    let mut by_day = Vec::with_capacity(days);
    let mut current = None;
    for day in first..=last {
        let period = unit(day);
        if current != Some(period) {
            current = Some(period);
            values.push(literal(period));
        }
        by_day.push(values.len() as u32 - 1);
    }
    let start = first * MICROS_A_DAY;
    let number = |&time: &i64| by_day[((time - start) as u64 / MICROS_A_DAY as u64) as usize];
    Ok(Numbers { rows: Some(times.values().iter().map(number).collect()), values })
}

/// The transform of each row, and equal results found by hashing (or by looking at the row before).
fn general(by: &PartitionColumn, column: &ArrayRef) -> Result<Numbers> {
    let internal = |e: iceberg::Error| {
        Error::new(Kind::Invalid, "a partition value cannot be computed").with("field", &by.name).because(e)
    };
    let transform = create_transform_function(&by.transform).map_err(internal)?;
    let transformed = transform.transform(column.clone()).map_err(internal)?;
    let (firsts, rows) = distinct(&transformed)?;
    let result = Type::Primitive(by.result.clone());
    let value = |&row: &usize| -> Result<Option<Literal>> {
        let one = transformed.slice(row, 1);
        Ok(arrow_primitive_to_literal(&one, &result).map_err(internal)?.into_iter().next().flatten())
    };
    let values = firsts.iter().map(value).collect::<Result<Vec<_>>>()?;
    Ok(Numbers { rows: (values.len() > 1).then_some(rows), values })
}

/// The first row of each distinct value, and each row's number among them.
fn distinct(column: &ArrayRef) -> Result<(Vec<usize>, Vec<u32>)> {
    let (mut firsts, mut rows) = (Vec::new(), Vec::with_capacity(column.len()));
    match column.data_type() {
        DataType::Utf8 => number(column.as_string::<i32>().iter(), &mut firsts, &mut rows),
        DataType::Int32 => number(column.as_primitive::<arrow::datatypes::Int32Type>().iter(), &mut firsts, &mut rows),
        DataType::Date32 => {
            number(column.as_primitive::<arrow::datatypes::Date32Type>().iter(), &mut firsts, &mut rows)
        }
        DataType::Int64 => number(column.as_primitive::<arrow::datatypes::Int64Type>().iter(), &mut firsts, &mut rows),
        _ => {
            let internal = |e| Error::new(Kind::Internal, "partition values cannot be told apart").because(e);
            let field = arrow::row::SortField::new(column.data_type().clone());
            let converter = arrow::row::RowConverter::new(vec![field]).map_err(internal)?;
            let converted = converter.convert_columns(std::slice::from_ref(column)).map_err(internal)?;
            number(converted.iter().map(|row| Some(row.data())), &mut firsts, &mut rows);
        }
    }
    Ok((firsts, rows))
}

fn number<T: std::hash::Hash + Eq + Copy>(
    values: impl Iterator<Item = Option<T>>,
    firsts: &mut Vec<usize>,
    rows: &mut Vec<u32>,
) {
    let mut numbers: HashMap<Option<T>, u32, Folded> = HashMap::default();
    let mut last: Option<(Option<T>, u32)> = None;
    for (row, value) in values.enumerate() {
        let number = match last {
            Some((before, number)) if before == value => number,
            _ => *numbers.entry(value).or_insert_with(|| {
                firsts.push(row);
                firsts.len() as u32 - 1
            }),
        };
        last = Some((value, number));
        rows.push(number);
    }
}
