//! Whether a partition, a file or a row group can hold a row that satisfies a condition.
//!
//! Pruning is one-sided: "no" is certain, "perhaps" costs a read. What is known of a column is a [`View`]: the bounds
//! of its values, or of a transform of its values (Iceberg specification, scan planning: inclusive projection).

use std::cmp::Ordering;

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType, Transform};
use iceberg::transform::create_transform_function;

use super::predicate::{Op, Predicate, Term};
use super::value::Value;

/// Literals of an IN that are taken through a partition's transform; with more, the partition may match.
const TRANSFORMED: usize = 256;

/// What is known of a column's values in some rows.
#[derive(Clone, Debug)]
pub struct View {
    /// Bounds are of this transform of the values.
    pub transform: Transform,
    /// No value is below.
    pub lower: Option<Value>,
    /// No value is above.
    pub upper: Option<Value>,
    /// Whether every value is null.
    pub all_null: bool,
    /// Whether a value may be null.
    pub may_be_null: bool,
    /// Whether every value is NaN.
    pub all_nan: bool,
    /// Whether a value may be NaN, which is outside all bounds.
    pub may_be_nan: bool,
}

/// Whether rows of which `views` tells (for a column's field id) may satisfy the condition.
pub fn may_match(predicate: &Predicate, views: &dyn Fn(i32) -> Vec<View>) -> bool {
    let all = |column: i32, holds: &dyn Fn(&View) -> bool| views(column).iter().all(holds);
    match predicate {
        Predicate::True | Predicate::Unknown => true,
        Predicate::False => false,
        Predicate::And(parts) => parts.iter().all(|part| may_match(part, views)),
        Predicate::Or(parts) => parts.iter().any(|part| may_match(part, views)),
        Predicate::Compare { term, op, literal } => all(term.column, &|view| compares(view, term, *op, literal)),
        Predicate::In { term, literals, among: true } => all(term.column, &|view| among(view, term, literals)),
        Predicate::In { term, literals, among: false } => all(term.column, &|view| !always_among(view, term, literals)),
        Predicate::StartsWith { term, prefix, starts: true } => all(term.column, &|view| starts(view, term, prefix)),
        Predicate::StartsWith { term, prefix, starts: false } => {
            all(term.column, &|view| !always_starts(view, term, prefix))
        }
        Predicate::IsNull { column, null: true } => all(*column, &|view| view.may_be_null),
        Predicate::IsNull { column, null: false } => all(*column, &|view| !view.all_null),
        Predicate::IsNan { column, nan: true } => all(*column, &|view| !view.all_null && view.may_be_nan),
        Predicate::IsNan { column, nan: false } => all(*column, &|view| !view.all_nan),
    }
}

fn compares(view: &View, term: &Term, op: Op, literal: &Datum) -> bool {
    if op == Op::Ne {
        return !always_among(view, term, std::slice::from_ref(literal));
    }
    if view.all_null {
        return false;
    }
    let Some((op, literal)) = through(view, term, op, literal) else { return true };
    // NaN sorts above every number in the engines that read these tables.
    if literal.is_nan() || (view.may_be_nan && matches!(op, Op::Gt | Op::Ge)) {
        return true;
    }
    !view.all_nan && within(view, op, &literal)
}

fn within(view: &View, op: Op, literal: &Value) -> bool {
    let below = |order: &[Ordering]| bounded(view.lower.as_ref(), literal, order);
    let above = |order: &[Ordering]| bounded(view.upper.as_ref(), literal, order);
    match op {
        Op::Eq => below(&[Ordering::Less, Ordering::Equal]) && above(&[Ordering::Greater, Ordering::Equal]),
        Op::Ne => true,
        Op::Lt => below(&[Ordering::Less]),
        Op::Le => below(&[Ordering::Less, Ordering::Equal]),
        Op::Gt => above(&[Ordering::Greater]),
        Op::Ge => above(&[Ordering::Greater, Ordering::Equal]),
    }
}

/// Whether the bound stands to the literal in one of these ways, or nothing is known.
fn bounded(bound: Option<&Value>, literal: &Value, order: &[Ordering]) -> bool {
    match bound.and_then(|bound| bound.compare(literal)) {
        Some(found) => order.contains(&found),
        None => true,
    }
}

/// The comparison that must hold of what the view bounds where `op` holds of the term; `None` if nothing must.
fn through(view: &View, term: &Term, op: Op, literal: &Datum) -> Option<(Op, Value)> {
    if view.transform == term.transform {
        return Some((op, Value::of(literal.literal())?));
    }
    if term.transform != Transform::Identity {
        return None;
    }
    let function = create_transform_function(&view.transform).ok()?;
    // `< 2025-04-01` is `<= the last instant of March`: the month of April holds nothing of it.
    let nearest = match op {
        Op::Lt => neighbour(literal, -1),
        Op::Gt => neighbour(literal, 1),
        _ => None,
    };
    let literal = nearest.as_ref().unwrap_or(literal);
    let transformed = Value::of(function.transform_literal(literal).ok()??.literal())?;
    let op = match (view.transform, op) {
        (_, Op::Eq) => Op::Eq,
        (Transform::Bucket(_) | Transform::Void | Transform::Unknown, _) | (_, Op::Ne) => return None,
        (_, Op::Lt | Op::Le) => Op::Le,
        (_, Op::Gt | Op::Ge) => Op::Ge,
    };
    Some((op, transformed))
}

/// The value next to one of a type that has such.
fn neighbour(literal: &Datum, step: i8) -> Option<Datum> {
    let int = |value: &i32| value.checked_add(i32::from(step));
    let long = |value: &i64| value.checked_add(i64::from(step));
    Some(match (literal.data_type(), literal.literal()) {
        (PrimitiveType::Int, PrimitiveLiteral::Int(value)) => Datum::int(int(value)?),
        (PrimitiveType::Date, PrimitiveLiteral::Int(value)) => Datum::date(int(value)?),
        (PrimitiveType::Long, PrimitiveLiteral::Long(value)) => Datum::long(long(value)?),
        (PrimitiveType::Timestamp, PrimitiveLiteral::Long(value)) => Datum::timestamp_micros(long(value)?),
        (PrimitiveType::Timestamptz, PrimitiveLiteral::Long(value)) => Datum::timestamptz_micros(long(value)?),
        (PrimitiveType::TimestampNs, PrimitiveLiteral::Long(value)) => Datum::timestamp_nanos(long(value)?),
        (PrimitiveType::TimestamptzNs, PrimitiveLiteral::Long(value)) => Datum::timestamptz_nanos(long(value)?),
        _ => return None,
    })
}

/// Whether every value is one of these literals, which are in order: bounds that meet leave but one value.
fn always_among(view: &View, term: &Term, literals: &[Datum]) -> bool {
    let known = view.transform == term.transform && !view.may_be_null && !view.may_be_nan;
    let (Some(lower), Some(upper), true) = (&view.lower, &view.upper, known) else { return false };
    lower.compare(upper) == Some(Ordering::Equal) && first_from(literals, lower).is_some_and(|first| first == *lower)
}

fn among(view: &View, term: &Term, literals: &[Datum]) -> bool {
    if view.transform == term.transform {
        let (Some(lower), Some(upper), false) = (&view.lower, &view.upper, view.all_nan) else {
            return !view.all_null && !view.all_nan;
        };
        let order = |first: Value| first.compare(upper);
        return !view.all_null
            && first_from(literals, lower).is_some_and(|first| order(first) != Some(Ordering::Greater));
    }
    if literals.len() > TRANSFORMED {
        return !view.all_null;
    }
    literals.iter().any(|literal| compares(view, term, Op::Eq, literal))
}

/// The first of some literals in order that is not below a value.
fn first_from(literals: &[Datum], value: &Value) -> Option<Value> {
    let below = |literal: &Datum| {
        Value::of(literal.literal()).and_then(|literal| literal.compare(value)) == Some(Ordering::Less)
    };
    literals.get(literals.partition_point(below)).and_then(|literal| Value::of(literal.literal()))
}

/// How many characters of a text's beginning the view shows; `None` if none.
fn shown(view: &View, term: &Term) -> Option<usize> {
    match view.transform {
        transform if transform == term.transform => Some(usize::MAX),
        Transform::Truncate(width) if term.transform == Transform::Identity => Some(width as usize),
        _ => None,
    }
}

fn starts(view: &View, term: &Term, prefix: &str) -> bool {
    let Some(width) = shown(view, term) else { return !view.all_null };
    let prefix: String = prefix.chars().take(width).collect();
    let low = match &view.lower {
        Some(Value::Text(lower)) => lower.chars().take(prefix.chars().count()).collect::<String>() <= prefix,
        _ => true,
    };
    let high = match &view.upper {
        Some(Value::Text(upper)) => *upper >= prefix,
        _ => true,
    };
    !view.all_null && low && high
}

/// Whether every value begins so: both bounds do, and what lies between them must.
fn always_starts(view: &View, term: &Term, prefix: &str) -> bool {
    let known = !view.may_be_null && shown(view, term).is_some_and(|width| width >= prefix.chars().count());
    let begins = |bound: &Option<Value>| matches!(bound, Some(Value::Text(text)) if text.starts_with(prefix));
    known && begins(&view.lower) && begins(&view.upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(transform: Transform, lower: Value, upper: Value) -> View {
        let (lower, upper) = (Some(lower), Some(upper));
        View { transform, lower, upper, all_null: false, may_be_null: false, all_nan: false, may_be_nan: false }
    }

    fn compare(op: Op, literal: Datum) -> Predicate {
        Predicate::compare(1, op, literal)
    }

    #[test]
    fn bounds_decide_comparisons() {
        let views = |_| vec![view(Transform::Identity, Value::Number(10), Value::Number(20))];
        for (op, literal, expected) in [
            (Op::Eq, 9, false),
            (Op::Eq, 10, true),
            (Op::Eq, 21, false),
            (Op::Lt, 10, false),
            (Op::Le, 10, true),
            (Op::Gt, 20, false),
            (Op::Ge, 20, true),
            (Op::Ne, 15, true),
            (Op::Ne, 10, true),
        ] {
            assert_eq!(may_match(&compare(op, Datum::long(literal)), &views), expected, "{op:?} {literal}");
        }
    }

    #[test]
    fn a_month_is_pruned_through_its_transform() {
        let march = (2025 - 1970) * 12 + 2;
        let views = |_| vec![view(Transform::Month, Value::Number(march), Value::Number(march))];
        let at = |text| Datum::timestamptz_from_str(format!("{text}Z")).expect("a time");
        assert!(may_match(&compare(Op::Ge, at("2025-03-15T00:00:00")), &views));
        assert!(!may_match(&compare(Op::Ge, at("2025-04-01T00:00:00")), &views));
        assert!(may_match(&compare(Op::Le, at("2025-03-01T00:00:00")), &views), "the month's first instant");
        assert!(!may_match(&compare(Op::Lt, at("2025-03-01T00:00:00")), &views));
        assert!(may_match(&compare(Op::Gt, at("2025-03-31T23:59:59")), &views));
        assert!(!may_match(&compare(Op::Gt, at("2025-03-31T23:59:59.999999")), &views));
        assert!(!may_match(&compare(Op::Lt, at("2025-02-01T00:00:00")), &views));
    }

    #[test]
    fn nan_and_null_are_not_forgotten() {
        let mut reals = view(Transform::Identity, Value::Real(1.0), Value::Real(2.0));
        assert!(!may_match(&compare(Op::Gt, Datum::double(5.0)), &|_| vec![reals.clone()]));
        reals.may_be_nan = true;
        assert!(may_match(&compare(Op::Gt, Datum::double(5.0)), &|_| vec![reals.clone()]));
        assert!(!may_match(&Predicate::IsNull { column: 1, null: true }, &|_| vec![reals.clone()]));
        reals.all_null = true;
        assert!(!may_match(&compare(Op::Eq, Datum::double(1.5)), &|_| vec![reals.clone()]));
    }

    #[test]
    fn text_prefixes_meet_bounds_that_were_cut() {
        let views = |_| vec![view(Transform::Identity, Value::Text("u000100".into()), Value::Text("u0002".into()))];
        let starts = |prefix: &str| may_match(&Predicate::starts_with(1, prefix), &views);
        assert!(starts("u0001") && starts("u000150") && starts("u"));
        assert!(!starts("u0003") && !starts("t"));
    }

    #[test]
    fn what_every_value_is_can_be_excluded() {
        let five = view(Transform::Identity, Value::Number(5), Value::Number(5));
        let none = |view: &View, predicate: &Predicate| !may_match(predicate, &|_| vec![view.clone()]);
        let not_in = |values: [i64; 2]| Predicate::among(1.into(), values.map(Datum::long).into()).negated();
        assert!(none(&five, &compare(Op::Ne, Datum::long(5))));
        assert!(none(&five, &not_in([4, 5])));
        assert!(!none(&five, &not_in([4, 6])));
        let nullable = View { may_be_null: true, ..five };
        assert!(!none(&nullable, &compare(Op::Ne, Datum::long(5))), "null satisfies <> in the reference");
        let text = view(Transform::Truncate(3), Value::Text("abc".into()), Value::Text("abc".into()));
        let not_starting =
            |prefix: &str| Predicate::StartsWith { term: 1.into(), prefix: prefix.into(), starts: false };
        assert!(none(&text, &not_starting("ab")));
        assert!(!none(&text, &not_starting("abcd")));
    }

    #[test]
    fn a_transformed_term_meets_its_own_partition_only() {
        let bucket = view(Transform::Bucket(4), Value::Number(2), Value::Number(2));
        let term = |transform| Term { column: 1, transform };
        let equals = |transform, value| {
            let predicate = Predicate::Compare { term: term(transform), op: Op::Eq, literal: Datum::int(value) };
            may_match(&predicate, &|_| vec![bucket.clone()])
        };
        assert!(equals(Transform::Bucket(4), 2) && !equals(Transform::Bucket(4), 3));
        assert!(equals(Transform::Bucket(8), 3), "another bucketing tells nothing");
    }
}
