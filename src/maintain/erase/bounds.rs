//! Whether what a manifest keeps of a file are values that are sought: the bounds of its columns, and the fields of its
//! partition that are values as they are. It stays when the file itself is gone. Pure.

use std::collections::HashMap;

use iceberg::spec::{DataFile, Datum, PrimitiveLiteral, TableMetadata, Transform};
use laked_catalog::plan::{PlannedFile, Predicate, Value, View, may_match};

/// A text bound of so many characters may have been cut (Iceberg's default, `truncate(16)`).
const CUT: usize = 16;

/// Whether, for each column that a condition asks for, the value in the partition, or else the least or greatest one,
/// satisfies it.
pub fn tell(predicate: &Predicate, metadata: &TableMetadata, file: &PlannedFile) -> bool {
    told(predicate, &|leaf| by_partition(leaf, metadata, file).unwrap_or_else(|| by_bounds(leaf, &file.file)))
}

/// Whether the partition by itself says that the condition is satisfied: then the file's entry has the values, and so has
/// its name, whatever the file holds.
pub fn is_partition(predicate: &Predicate, metadata: &TableMetadata, file: &PlannedFile) -> bool {
    !predicate.columns().is_empty()
        && told(predicate, &|leaf| by_partition(leaf, metadata, file).is_some_and(|satisfied| satisfied))
}

fn told(predicate: &Predicate, leaf: &dyn Fn(&Predicate) -> bool) -> bool {
    match predicate {
        Predicate::True | Predicate::Unknown => true,
        Predicate::False => false,
        Predicate::And(parts) => parts.iter().all(|part| told(part, leaf)),
        Predicate::Or(parts) => parts.iter().any(|part| told(part, leaf)),
        one => leaf(one),
    }
}

/// Whether the partition's value satisfies it; nothing if the partition has the column's values in no other form, or not.
fn by_partition(leaf: &Predicate, metadata: &TableMetadata, file: &PlannedFile) -> Option<bool> {
    let spec = metadata.partition_spec_by_id(file.spec_id)?;
    let fields = spec.fields().iter().zip(file.file.partition().iter());
    let identities = fields.filter(|(field, _)| field.transform == Transform::Identity);
    let views: HashMap<i32, View> = identities
        .filter_map(|(field, value)| match value {
            Some(value) => Some((field.source_id, exactly(Value::of(&value.as_primitive_literal()?)?))),
            None => Some((field.source_id, View { all_null: true, may_be_null: true, ..whatever() })),
        })
        .collect();
    let known = leaf.columns().iter().all(|column| views.contains_key(column));
    known.then(|| may_match(leaf, &|column| views.get(&column).cloned().into_iter().collect()))
}

fn by_bounds(leaf: &Predicate, file: &DataFile) -> bool {
    leaf.columns().iter().any(|column| {
        let ends = [file.lower_bounds().get(column), file.upper_bounds().get(column)];
        let mut ends = ends.into_iter().zip([true, false]).filter_map(|(end, low)| Some((end?, low)));
        ends.any(|(end, low)| view(end, low).is_none_or(|view| may_match(leaf, &|_| vec![view.clone()])))
    })
}

fn exactly(value: Value) -> View {
    let is_nan = matches!(value, Value::Real(real) if real.is_nan());
    View { lower: Some(value.clone()), upper: Some(value), all_nan: is_nan, may_be_nan: is_nan, ..whatever() }
}

/// Nothing is known of it but that it is no null and no NaN.
fn whatever() -> View {
    View {
        transform: Transform::Identity,
        lower: None,
        upper: None,
        all_null: false,
        may_be_null: false,
        all_nan: false,
        may_be_nan: false,
    }
}

/// The values that a bound may stand for; nothing if that cannot be told.
fn view(bound: &Datum, low: bool) -> Option<View> {
    let (lower, upper) = match bound.literal() {
        PrimitiveLiteral::String(text) if text.chars().count() >= CUT => {
            let mut from = text.clone();
            if !low {
                // The greatest value was below: its last character was raised.
                from.pop();
            }
            let to = if low { format!("{text}\u{10FFFF}") } else { text.clone() };
            (Value::Text(from), Value::Text(to))
        }
        literal => {
            let value = Value::of(literal)?;
            (value.clone(), value)
        }
    };
    Some(View { lower: Some(lower), upper: Some(upper), ..whatever() })
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, Struct};
    use laked_catalog::plan::Op;

    use super::*;

    fn file(low: &str, high: &str) -> DataFile {
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path("f.parquet".to_string())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(1)
            .file_size_in_bytes(1)
            .lower_bounds([(1, Datum::string(low))].into())
            .upper_bounds([(1, Datum::string(high))].into());
        builder.build().expect("a file")
    }

    #[test]
    fn a_bound_tells_if_it_is_the_value_or_its_beginning() {
        let is = |value: &str| Predicate::compare(1, Op::Eq, Datum::string(value));
        assert!(by_bounds(&is("ann"), &file("ann", "zoe")) && by_bounds(&is("zoe"), &file("ann", "zoe")));
        assert!(!by_bounds(&is("bob"), &file("ann", "zoe")), "between the two");
        assert!(by_bounds(&is("person-of-sixteen-and-more"), &file("person-of-sixtee", "z")), "cut");
        assert!(by_bounds(&is("person-of-sixteen-and-more"), &file("a", "person-of-sixtef")), "cut and raised");
        assert!(!by_bounds(&is("person"), &file("person-of-sixtee", "z")));
    }
}
