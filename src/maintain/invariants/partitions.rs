//! I8: each row's transforms equal its file's partition. A reader prunes by it: a row elsewhere is never found.
//!
//! Judged by the file's recorded bounds, without reading it: all transforms but bucket keep order, so the partition's
//! value lies between the transforms of the lower and the upper bound; for dates and times, whose bounds are exact, it
//! equals both.

use iceberg::spec::{Datum, PrimitiveLiteral, Transform};
use iceberg::transform::create_transform_function;
use laked_catalog::Table;

use super::{Tree, Violation};

/// Checks every live file.
pub fn rows_are_in_their_partition(table: &Table, tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (location, live) in &tree.files {
        let Some(spec) = table.metadata.partition_spec_by_id(live.spec_id) else {
            found.push(Violation::of("I8", table, format!("{location}: its partition spec {} is gone", live.spec_id)));
            continue;
        };
        let file = live.entry.data_file();
        if spec.fields().len() != file.partition().fields().len() {
            found.push(Violation::of(
                "I8",
                table,
                format!("{location}: its partition does not have the spec's fields"),
            ));
            continue;
        }
        for (field, value) in spec.fields().iter().zip(file.partition().iter()) {
            let bounds = (file.lower_bounds().get(&field.source_id), file.upper_bounds().get(&field.source_id));
            let (Some(value), (Some(lower), Some(upper))) = (value, bounds) else { continue };
            let Some(value) = value.as_primitive_literal() else { continue };
            if !holds(field.transform, &value, lower, upper) {
                let what = format!("{location}: bounds {lower} and {upper} do not belong to {}={value:?}", field.name);
                found.push(Violation::of("I8", table, what));
            }
        }
    }
    found
}

fn holds(transform: Transform, value: &PrimitiveLiteral, lower: &Datum, upper: &Datum) -> bool {
    let Ok(function) = create_transform_function(&transform) else { return true };
    let of = |bound: &Datum| function.transform_literal(bound).ok().flatten().map(|datum| datum.literal().clone());
    let (Some(lower), Some(upper)) = (of(lower), of(upper)) else { return true };
    match transform {
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => lower == *value && upper == *value,
        Transform::Identity | Transform::Truncate(_) => lower <= *value && *value <= upper,
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_outside_the_partition_are_found() {
        let text = |text: &str| Datum::string(text);
        let taiwan = PrimitiveLiteral::String("TW".into());
        assert!(holds(Transform::Identity, &taiwan, &text("TW"), &text("TW")));
        assert!(!holds(Transform::Identity, &taiwan, &text("JP"), &text("SG")));
        let day = PrimitiveLiteral::Int(19_000);
        let at = |day: i64, us: i64| Datum::timestamptz_micros(day * 86_400_000_000 + us);
        assert!(holds(Transform::Day, &day, &at(19_000, 0), &at(19_000, 86_399_999_999)));
        assert!(!holds(Transform::Day, &day, &at(19_000, 0), &at(19_001, 0)));
    }
}
