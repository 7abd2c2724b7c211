//! A column of one value: what a file without the column has for it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, StringArray, UInt32Array, new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use iceberg::spec::{Literal, PrimitiveLiteral};

/// `rows` times the value, or null.
pub(in crate::maintain) fn column(
    value: Option<&Literal>,
    kind: &DataType,
    rows: usize,
) -> Result<ArrayRef, ArrowError> {
    let Some(literal) = value else { return Ok(new_null_array(kind, rows)) };
    let Some(primitive) = literal.as_primitive_literal() else {
        return Err(ArrowError::NotYetImplemented("a default of a nested column".into()));
    };
    take(&one(&primitive, kind)?, &UInt32Array::from(vec![0; rows]), None)
}

fn one(value: &PrimitiveLiteral, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let array: ArrayRef = match value {
        PrimitiveLiteral::Boolean(value) => Arc::new(BooleanArray::from(vec![*value])),
        PrimitiveLiteral::Int(value) => Arc::new(Int32Array::from(vec![*value])),
        PrimitiveLiteral::Long(value) => Arc::new(Int64Array::from(vec![*value])),
        PrimitiveLiteral::Float(value) => Arc::new(Float32Array::from(vec![value.0])),
        PrimitiveLiteral::Double(value) => Arc::new(Float64Array::from(vec![value.0])),
        PrimitiveLiteral::String(value) => Arc::new(StringArray::from(vec![value.as_str()])),
        PrimitiveLiteral::Binary(value) => match kind {
            DataType::FixedSizeBinary(_) => Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(value))?),
            _ => Arc::new(BinaryArray::from(vec![value.as_slice()])),
        },
        PrimitiveLiteral::Int128(value) => match kind {
            DataType::Decimal128(precision, scale) => {
                Arc::new(Decimal128Array::from(vec![*value]).with_precision_and_scale(*precision, *scale)?)
            }
            _ => return Err(ArrowError::NotYetImplemented(format!("a default of {kind}"))),
        },
        PrimitiveLiteral::UInt128(value) => {
            Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(value.to_be_bytes()))?)
        }
        other => return Err(ArrowError::NotYetImplemented(format!("a default of {other:?}"))),
    };
    cast(&array, kind)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, TimeUnit, TimestampMicrosecondType};

    use super::*;

    #[test]
    fn values_take_the_columns_types() {
        let date = column(Some(&Literal::date(7)), &DataType::Date32, 3).expect("a date");
        assert_eq!(date.as_primitive::<Date32Type>().values().to_vec(), [7, 7, 7]);
        let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let time = column(Some(&Literal::timestamptz(9)), &kind, 1).expect("a time");
        assert_eq!((time.as_primitive::<TimestampMicrosecondType>().value(0), time.data_type()), (9, &kind));
        let none = column(None, &DataType::Utf8, 2).expect("nulls");
        assert_eq!(none.null_count(), 2);
        let price = column(Some(&Literal::decimal(-5)), &DataType::Decimal128(9, 2), 1).expect("a decimal");
        assert_eq!(price.data_type(), &DataType::Decimal128(9, 2));
    }
}
