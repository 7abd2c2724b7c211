//! Whether a partition, a file or a row group can hold a row that satisfies a condition.
//!
//! Pruning is one-sided: "no" is certain, "perhaps" costs a read. What is known of a column is a [`View`]: the bounds
//! of its values, or of a transform of its values (Iceberg specification, scan planning: inclusive projection).

use std::cmp::Ordering;

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType, Transform};
use iceberg::transform::create_transform_function;

use super::predicate::{Op, Predicate};

/// A value that compares with others of its column, whatever width it was written with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Integers, dates, times, decimals (unscaled), booleans.
    Number(i128),
    /// Floating point.
    Real(f64),
    /// Texts.
    Text(String),
    /// Binary, fixed.
    Bytes(Vec<u8>),
}

impl Value {
    /// The value of a literal; `None` for what has no order here.
    pub fn of(literal: &PrimitiveLiteral) -> Option<Value> {
        Some(match literal {
            PrimitiveLiteral::Boolean(value) => Value::Number(i128::from(*value)),
            PrimitiveLiteral::Int(value) => Value::Number(i128::from(*value)),
            PrimitiveLiteral::Long(value) => Value::Number(i128::from(*value)),
            PrimitiveLiteral::Int128(value) => Value::Number(*value),
            PrimitiveLiteral::UInt128(value) => Value::Bytes(value.to_be_bytes().to_vec()),
            PrimitiveLiteral::Float(value) => Value::Real(f64::from(value.into_inner())),
            PrimitiveLiteral::Double(value) => Value::Real(value.into_inner()),
            PrimitiveLiteral::String(value) => Value::Text(value.clone()),
            PrimitiveLiteral::Binary(value) => Value::Bytes(value.clone()),
            _ => return None,
        })
    }

    fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => Some(a.cmp(b)),
            (Value::Real(a), Value::Real(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

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
    /// Whether a value may be NaN, which is outside all bounds.
    pub may_be_nan: bool,
}

/// Whether rows of which `views` tells (for a column's field id) may satisfy the condition.
pub fn may_match(predicate: &Predicate, views: &dyn Fn(i32) -> Vec<View>) -> bool {
    match predicate {
        Predicate::True | Predicate::Unknown => true,
        Predicate::And(parts) => parts.iter().all(|part| may_match(part, views)),
        Predicate::Or(parts) => parts.iter().any(|part| may_match(part, views)),
        Predicate::Compare { column, op, literal } => views(*column).iter().all(|view| compares(view, *op, literal)),
        Predicate::StartsWith { column, prefix } => views(*column).iter().all(|view| starts(view, prefix)),
        Predicate::IsNull { column, null } => {
            views(*column).iter().all(|view| if *null { view.may_be_null } else { !view.all_null })
        }
    }
}

fn compares(view: &View, op: Op, literal: &Datum) -> bool {
    if view.all_null {
        return false;
    }
    let Some((op, literal)) = through(&view.transform, op, literal) else { return true };
    // NaN sorts above every number in the engines that read these tables.
    if view.may_be_nan && matches!(op, Op::Gt | Op::Ge | Op::Ne) {
        return true;
    }
    let below = |order: &[Ordering]| bounded(view.lower.as_ref(), &literal, order);
    let above = |order: &[Ordering]| bounded(view.upper.as_ref(), &literal, order);
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

/// The comparison that must hold of the transformed value where `op` holds of the value itself.
fn through(transform: &Transform, op: Op, literal: &Datum) -> Option<(Op, Value)> {
    if *transform == Transform::Identity {
        return Some((op, Value::of(literal.literal())?));
    }
    let function = create_transform_function(transform).ok()?;
    // `< 2025-04-01` is `<= the last instant of March`: the month of April holds nothing of it.
    let nearest = match op {
        Op::Lt => neighbour(literal, -1),
        Op::Gt => neighbour(literal, 1),
        _ => None,
    };
    let literal = nearest.as_ref().unwrap_or(literal);
    let transformed = Value::of(function.transform_literal(literal).ok()??.literal())?;
    let op = match (transform, op) {
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
        _ => return None,
    })
}

fn starts(view: &View, prefix: &str) -> bool {
    let width = match view.transform {
        Transform::Identity => usize::MAX,
        Transform::Truncate(width) => width as usize,
        _ => return !view.all_null,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn view(transform: Transform, lower: Value, upper: Value) -> View {
        let (lower, upper) = (Some(lower), Some(upper));
        View { transform, lower, upper, all_null: false, may_be_null: false, may_be_nan: false }
    }

    fn compare(op: Op, literal: Datum) -> Predicate {
        Predicate::Compare { column: 1, op, literal }
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
        ] {
            assert_eq!(may_match(&compare(op, Datum::long(literal)), &views), expected, "{op:?} {literal}");
        }
    }

    #[test]
    fn a_month_is_pruned_through_its_transform() {
        let march = (2025 - 1970) * 12 + 2;
        let views = |_| vec![view(Transform::Month, Value::Number(march), Value::Number(march))];
        let at = |text| Datum::timestamptz_micros(super::super::parse::micros(text).expect("a time"));
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
        let starts = |prefix: &str| may_match(&Predicate::StartsWith { column: 1, prefix: prefix.into() }, &views);
        assert!(starts("u0001") && starts("u000150") && starts("u"));
        assert!(!starts("u0003") && !starts("t"));
    }
}
