//! Whether the bounds that a manifest keeps of a file are values that are sought: the file itself is gone. Pure.

use iceberg::spec::{DataFile, Datum, PrimitiveLiteral, Transform};
use laked_catalog::plan::{Predicate, Value, View, may_match};

/// A text bound of so many characters may have been cut (Iceberg's default, `truncate(16)`).
const CUT: usize = 16;

/// Whether the least or greatest value of each column that a condition asks for satisfies it.
pub fn tell(predicate: &Predicate, file: &DataFile) -> bool {
    match predicate {
        Predicate::True | Predicate::Unknown => true,
        Predicate::False => false,
        Predicate::And(parts) => parts.iter().all(|part| tell(part, file)),
        Predicate::Or(parts) => parts.iter().any(|part| tell(part, file)),
        leaf => leaf.columns().iter().any(|column| {
            let ends = [file.lower_bounds().get(column), file.upper_bounds().get(column)];
            let mut ends = ends.into_iter().zip([true, false]).filter_map(|(end, low)| Some((end?, low)));
            ends.any(|(end, low)| view(end, low).is_none_or(|view| may_match(leaf, &|_| vec![view.clone()])))
        }),
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
    Some(View {
        transform: Transform::Identity,
        lower: Some(lower),
        upper: Some(upper),
        all_null: false,
        may_be_null: false,
        all_nan: false,
        may_be_nan: false,
    })
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
        assert!(tell(&is("ann"), &file("ann", "zoe")) && tell(&is("zoe"), &file("ann", "zoe")));
        assert!(!tell(&is("bob"), &file("ann", "zoe")), "between the two");
        assert!(tell(&is("person-of-sixteen-and-more"), &file("person-of-sixtee", "z")), "cut");
        assert!(tell(&is("person-of-sixteen-and-more"), &file("a", "person-of-sixtef")), "cut and raised");
        assert!(!tell(&is("person"), &file("person-of-sixtee", "z")));
    }
}
