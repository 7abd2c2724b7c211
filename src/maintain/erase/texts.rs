//! A condition held against the text of a refused record, which never became a row. Pure.
//!
//! A JSON object is read field by field. Of anything else (a line of CSV, text that is broken) no column is known; there
//! a text that the condition asks for, found as a word of its own, counts as found. What can be told neither way is
//! [`Finding::Undecided`]: it is counted, and removed when that is asked for.

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};
use jiff::tz::TimeZone;
use laked_catalog::plan::{Op, Predicate, Value};
use serde_json::Value as Json;

use super::condition::{Column, Condition};

/// What a text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The record satisfies the condition.
    Yes,
    /// It does not.
    No,
    /// That cannot be told.
    Undecided,
}

use Finding::{No, Undecided, Yes};

/// Whether the record of a text satisfies a condition; `whole` if the text is all of the record.
pub fn finding(condition: &Condition, raw: &str, whole: bool) -> Finding {
    let record = serde_json::from_str::<Json>(raw.trim()).ok().filter(Json::is_object);
    match of_part(condition, condition.predicate(), raw, record.as_ref()) {
        No if !whole => Undecided,
        found => found,
    }
}

fn of_part(condition: &Condition, part: &Predicate, raw: &str, record: Option<&Json>) -> Finding {
    let each = |part: &Predicate| of_part(condition, part, raw, record);
    match part {
        Predicate::True => Yes,
        Predicate::False | Predicate::Unknown => No,
        Predicate::And(parts) => parts.iter().map(each).fold(Yes, |a, b| match (a, b) {
            (No, _) | (_, No) => No,
            (Undecided, _) | (_, Undecided) => Undecided,
            _ => Yes,
        }),
        Predicate::Or(parts) => parts.iter().map(each).fold(No, |a, b| match (a, b) {
            (Yes, _) | (_, Yes) => Yes,
            (Undecided, _) | (_, Undecided) => Undecided,
            _ => No,
        }),
        leaf => match leaf.columns().first().and_then(|id| condition.column(*id)) {
            Some(column) => of_leaf(leaf, column, raw, record),
            None => Undecided,
        },
    }
}

fn of_leaf(leaf: &Predicate, column: &Column, raw: &str, record: Option<&Json>) -> Finding {
    let told = record.map(|record| column.names.iter().try_fold(record, |at, name| at.get(name)));
    let value = match told {
        // A record that cannot be read, or has no such field: perhaps it goes by another name there.
        None | Some(None) => return of_words(leaf, raw, record.is_some()),
        Some(Some(value)) => value,
    };
    if let Predicate::IsNull { null, .. } = leaf {
        return if value.is_null() == *null { Yes } else { No };
    }
    if value.is_null() {
        return No;
    }
    let Some(value) = read(value, &column.kind) else { return of_words(leaf, raw, true) };
    let compares = |op: Op, literal: &Datum| Value::of(literal.literal()).and_then(|with| held(&value, op, &with));
    let decided = match leaf {
        Predicate::Compare { op, literal, .. } => compares(*op, literal),
        Predicate::In { literals, among, .. } => {
            let any = literals.iter().any(|literal| compares(Op::Eq, literal) == Some(true));
            Some(any == *among)
        }
        Predicate::StartsWith { prefix, starts, .. } => match &value {
            Value::Text(text) => Some(text.starts_with(prefix.as_str()) == *starts),
            _ => None,
        },
        _ => None,
    };
    decided.map_or(Undecided, |holds| if holds { Yes } else { No })
}

fn held(value: &Value, op: Op, with: &Value) -> Option<bool> {
    let order = value.compare(with)?;
    Some(match op {
        Op::Eq => order.is_eq(),
        Op::Ne => order.is_ne(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
    })
}

/// What the words of a text tell, where the column's value is not known. A word that is there is the person's only if it is
/// a text: a number may be any field's.
fn of_words(leaf: &Predicate, raw: &str, named: bool) -> Finding {
    let has = |literal: &Datum| match literal.literal() {
        PrimitiveLiteral::String(text) => Some(has_word(raw, text)),
        _ => None,
    };
    match leaf {
        Predicate::Compare { op: Op::Eq, literal, .. } => match has(literal) {
            Some(true) => Yes,
            Some(false) => No,
            None => Undecided,
        },
        Predicate::In { literals, among: true, .. } => {
            let found: Vec<Option<bool>> = literals.iter().map(has).collect();
            match found {
                found if found.contains(&Some(true)) => Yes,
                found if found.iter().all(|found| *found == Some(false)) => No,
                _ => Undecided,
            }
        }
        Predicate::StartsWith { prefix, starts: true, .. } if !raw.contains(prefix.as_str()) => No,
        Predicate::IsNull { null: true, .. } if named => Yes,
        _ => Undecided,
    }
}

/// Whether a text has a word, with no letter or digit beside it.
fn has_word(text: &str, word: &str) -> bool {
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            ![before, after].into_iter().flatten().any(char::is_alphanumeric)
        })
}

/// A JSON value as one of a column, coerced as far as that is certain.
fn read(value: &Json, kind: &PrimitiveType) -> Option<Value> {
    let text = match value {
        Json::String(text) => text.trim().to_string(),
        Json::Number(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        _ => return None,
    };
    match kind {
        PrimitiveType::String => Some(Value::Text(value.as_str().map_or(text, str::to_string))),
        PrimitiveType::Boolean => Some(Value::Number(i128::from(text.to_ascii_lowercase().parse::<bool>().ok()?))),
        PrimitiveType::Int | PrimitiveType::Long => text.parse().ok().map(Value::Number),
        PrimitiveType::Float | PrimitiveType::Double => text.parse().ok().map(Value::Real),
        PrimitiveType::Decimal { scale, .. } => scaled(&text, *scale).map(Value::Number),
        PrimitiveType::Date => {
            let days = text.parse::<jiff::civil::Date>().ok()?.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
            Some(Value::Number(i128::from(days)))
        }
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz => micros(&text).map(|at| Value::Number(i128::from(at))),
        PrimitiveType::Uuid => Some(Value::Bytes(uuid::Uuid::parse_str(&text).ok()?.as_u128().to_be_bytes().to_vec())),
        _ => None,
    }
}

fn micros(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let local = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

/// A decimal's unscaled value; nothing if it has more digits than the column.
fn scaled(text: &str, scale: u32) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let missing = (scale as usize).checked_sub(part.len())?;
    format!("{whole}{part}{}", "0".repeat(missing)).parse().ok()
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{NestedField, Schema, Type};

    use super::*;

    fn told(predicate: Predicate, raw: &str) -> Finding {
        let field = |id, name: &str, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
        let fields = vec![
            field(1, "who", PrimitiveType::String),
            field(2, "n", PrimitiveType::Long),
            field(3, "at", PrimitiveType::Timestamptz),
        ];
        let schema = Schema::builder().with_fields(fields).build().expect("a schema");
        finding(&Condition::of(predicate, &schema).expect("a condition"), raw, true)
    }

    fn who() -> Predicate {
        Predicate::compare(1, Op::Eq, Datum::string("ann"))
    }

    fn n(op: Op, n: i64) -> Predicate {
        Predicate::compare(2, op, Datum::long(n))
    }

    #[test]
    fn a_records_own_field_decides() {
        assert_eq!(told(who(), r#"{"who":"ann","n":"x"}"#), Yes);
        assert_eq!(told(who(), r#"{"who":"bob","friend":"ann"}"#), No);
        assert_eq!(told(n(Op::Ge, 7), r#"{"n":"8"}"#), Yes, "a number in quotes is why it was refused");
        assert_eq!(told(n(Op::Ge, 7), r#"{"n":"many"}"#), Undecided);
        assert_eq!(told(n(Op::Ne, 7), r#"{"n":null}"#), No);
        let since = Predicate::compare(3, Op::Ge, Datum::timestamptz_micros(1_767_225_600_000_000));
        assert_eq!(told(since.clone(), r#"{"at":"2026-01-01T01:00:00+01:00"}"#), Yes);
        assert_eq!(told(since.clone(), r#"{"at":"2026-01-01"}"#), Yes, "its midnight");
        assert_eq!(told(since, r#"{"at":"soon"}"#), Undecided);
    }

    #[test]
    fn where_no_field_tells_its_words_do() {
        assert_eq!(told(who(), "7,ann,2026-01-01"), Yes);
        assert_eq!(told(who(), "7,\"ann\",TW"), Yes);
        assert_eq!(told(who(), "7,joanna,TW"), No);
        assert_eq!(told(who(), r#"{"who":"ann","n":"#), Yes, "broken JSON");
        assert_eq!(told(who(), r#"{"Who":"ann"}"#), Yes, "a field of another name");
        assert_eq!(told(n(Op::Eq, 7), "7,ann"), Undecided, "any field's number");
        assert_eq!(told(n(Op::Lt, 7), "7,ann"), Undecided);
        assert_eq!(told(Predicate::And(vec![who(), n(Op::Eq, 7)]), "7,ann"), Undecided);
        assert_eq!(told(Predicate::And(vec![who(), n(Op::Eq, 7)]), "7,bob"), No);
        assert_eq!(told(Predicate::Or(vec![who(), n(Op::Eq, 7)]), "7,ann"), Yes);
    }

    #[test]
    fn what_was_cut_is_undecided() {
        let field = NestedField::optional(1, "who", Type::Primitive(PrimitiveType::String)).into();
        let schema = Schema::builder().with_fields(vec![field]).build().expect("a schema");
        let condition = Condition::of(who(), &schema).expect("a condition");
        assert_eq!(finding(&condition, "7,bob", false), Undecided);
        assert_eq!(finding(&condition, "7,ann", false), Yes);
    }
}
