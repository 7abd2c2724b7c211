//! Columns within columns, put into the table's form: fields by their ids, missing ones null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

/// What Arrow's Parquet reader keeps a field's id under.
const FIELD_ID: &str = "PARQUET:field_id";

/// A field's id in its table's schema.
pub(super) fn id_of(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}

/// The array with exactly the type of `to`.
pub(super) fn fitted(array: &ArrayRef, to: &Field) -> Result<ArrayRef, ArrowError> {
    match to.data_type() {
        DataType::Struct(fields) => {
            let from = array.as_struct_opt().ok_or_else(|| differs(array, to))?;
            Ok(Arc::new(structure(from, fields)?))
        }
        DataType::List(element) => {
            let from = array.as_list_opt::<i32>().ok_or_else(|| differs(array, to))?;
            let values = fitted(from.values(), element)?;
            Ok(Arc::new(ListArray::try_new(element.clone(), from.offsets().clone(), values, from.nulls().cloned())?))
        }
        DataType::Map(entries, ordered) => {
            let from = array.as_map_opt().ok_or_else(|| differs(array, to))?;
            let DataType::Struct(fields) = entries.data_type() else { return Err(differs(array, to)) };
            let values = structure(from.entries(), fields)?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, values, nulls, *ordered)?))
        }
        kind if array.data_type() == kind => Ok(array.clone()),
        kind => cast(array, kind),
    }
}

fn structure(from: &StructArray, to: &Fields) -> Result<StructArray, ArrowError> {
    let child = |field: &FieldRef| {
        let found = from.fields().iter().position(|other| id_of(other).is_some() && id_of(other) == id_of(field));
        match found {
            Some(at) => fitted(from.column(at), field),
            None => Ok(new_null_array(field.data_type(), from.len())),
        }
    };
    let children = to.iter().map(child).collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new(to.clone(), children, from.nulls().cloned())
}

fn differs(array: &ArrayRef, to: &Field) -> ArrowError {
    ArrowError::SchemaError(format!("column {} is {}, the table's is {}", to.name(), array.data_type(), to.data_type()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::Int32Array;
    use arrow::datatypes::Int64Type;

    use super::*;

    fn field(name: &str, id: i32, kind: DataType) -> FieldRef {
        let metadata = HashMap::from([(FIELD_ID.to_string(), id.to_string())]);
        Arc::new(Field::new(name, kind, true).with_metadata(metadata))
    }

    #[test]
    fn fields_within_go_by_their_ids() {
        let old: Fields = vec![field("b", 3, DataType::Int32), field("a", 2, DataType::Int32)].into();
        let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![3])), Arc::new(Int32Array::from(vec![2]))];
        let array: ArrayRef = Arc::new(StructArray::try_new(old, columns, None).expect("fits"));
        let new: Fields = vec![field("renamed", 2, DataType::Int64), field("new", 4, DataType::Utf8)].into();
        let to = Field::new("s", DataType::Struct(new), true);
        let fitted = fitted(&array, &to).expect("fits");
        assert_eq!(fitted.data_type(), to.data_type());
        assert_eq!(fitted.as_struct().column(0).as_primitive::<Int64Type>().value(0), 2);
        assert_eq!(fitted.as_struct().column(1).null_count(), 1);
    }
}
