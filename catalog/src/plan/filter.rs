//! A filter as the protocol's JSON says it, bound to a table's columns, and what a file's partition leaves of it.
//!
//! Read is every form of the OpenAPI document: `left`/`right` and `child`, references by name or id and applied
//! functions, and the older `term`/`value`/`values`, which is what today's clients send. Written are only the older ones,
//! which is what they read. NOT is pushed to the leaves, so that null satisfies neither a comparison nor its opposite.
//!
//! A leaf keeps its JSON beside what pruning makes of it: what pruning cannot use (an unknown function, a column against
//! a column) is given back as it came.

use iceberg::spec::{PrimitiveType, Schema, Transform, Type};
use serde_json::{Map, Value as Json, json};

use super::literal::{Read, read};
use super::predicate::{Op, Predicate, Term};
use super::prune::{View, may_match};
use crate::error::{Error, Kind, Result};

/// A filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Every row, or none.
    Always(bool),
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// One of both.
    Or(Box<Filter>, Box<Filter>),
    /// A test of one column.
    Leaf(Leaf),
}

/// A test of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    test: Predicate,
    json: Json,
}

/// Where names are looked up.
#[derive(Clone, Copy)]
struct Binder<'a> {
    schema: &'a Schema,
    case_sensitive: bool,
}

fn bad(what: impl Into<String>, json: &Json) -> Error {
    let mut text = json.to_string();
    text.truncate((0..=200).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    Error::new(Kind::Invalid, what).with("filter", text)
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// `Invalid` for what is no expression, a column that is not there, a value that does not fit its column.
    pub fn read(json: &Json, schema: &Schema, case_sensitive: bool) -> Result<Filter> {
        Binder { schema, case_sensitive }.filter(json, false)
    }

    /// What pruning goes by.
    pub fn predicate(&self) -> Predicate {
        match self {
            Filter::Always(true) => Predicate::True,
            Filter::Always(false) => Predicate::False,
            Filter::And(left, right) => Predicate::And(vec![left.predicate(), right.predicate()]),
            Filter::Or(left, right) => Predicate::Or(vec![left.predicate(), right.predicate()]),
            Filter::Leaf(leaf) => leaf.test.clone(),
        }
    }

    /// What is left to test of rows of which `views` tells: leaves that hold for all of them or for none are decided.
    pub fn residual(&self, views: &dyn Fn(i32) -> Vec<View>) -> Filter {
        match self {
            Filter::Always(_) => self.clone(),
            Filter::And(left, right) => match (left.residual(views), right.residual(views)) {
                (Filter::Always(false), _) | (_, Filter::Always(false)) => Filter::Always(false),
                (Filter::Always(true), other) | (other, Filter::Always(true)) => other,
                (left, right) => Filter::And(Box::new(left), Box::new(right)),
            },
            Filter::Or(left, right) => match (left.residual(views), right.residual(views)) {
                (Filter::Always(true), _) | (_, Filter::Always(true)) => Filter::Always(true),
                (Filter::Always(false), other) | (other, Filter::Always(false)) => other,
                (left, right) => Filter::Or(Box::new(left), Box::new(right)),
            },
            Filter::Leaf(leaf) => leaf.decided(views).map_or_else(|| self.clone(), Filter::Always),
        }
    }

    /// Its JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Filter::Always(always) => Json::Bool(*always),
            Filter::And(left, right) => json!({ "type": "and", "left": left.to_json(), "right": right.to_json() }),
            Filter::Or(left, right) => json!({ "type": "or", "left": left.to_json(), "right": right.to_json() }),
            Filter::Leaf(leaf) => leaf.json.clone(),
        }
    }
}

impl Leaf {
    /// Whether all of the rows satisfy it, or none; `None` if that is not known.
    fn decided(&self, views: &dyn Fn(i32) -> Vec<View>) -> Option<bool> {
        if !may_match(&self.test, views) {
            return Some(false);
        }
        // Of null no comparison holds, nor does its opposite.
        let about_null = matches!(self.test, Predicate::IsNull { .. });
        let never_null = self.test.columns().iter().all(|column| views(*column).iter().any(|view| !view.may_be_null));
        let always = (about_null || never_null) && !may_match(&self.test.clone().negated(), views);
        always.then_some(true)
    }
}

/// Names of tests, each with its opposite.
const OPPOSITES: [(&str, &str); 7] = [
    ("eq", "not-eq"),
    ("lt", "gt-eq"),
    ("gt", "lt-eq"),
    ("in", "not-in"),
    ("starts-with", "not-starts-with"),
    ("is-null", "not-null"),
    ("is-nan", "not-nan"),
];

/// A test's name, or its opposite's.
fn test_name(name: &str, negated: bool) -> Option<&'static str> {
    OPPOSITES.iter().find_map(|(one, other)| match name {
        _ if name == *one => Some(if negated { *other } else { *one }),
        _ if name == *other => Some(if negated { *one } else { *other }),
        _ => None,
    })
}

/// The same with its sides exchanged.
fn mirrored(name: &'static str) -> Option<&'static str> {
    Some(match name {
        "lt" => "gt",
        "lt-eq" => "gt-eq",
        "gt" => "lt",
        "gt-eq" => "lt-eq",
        "eq" | "not-eq" => name,
        _ => return None,
    })
}

fn operator(name: &str) -> Option<Op> {
    Some(match name {
        "eq" => Op::Eq,
        "not-eq" => Op::Ne,
        "lt" => Op::Lt,
        "lt-eq" => Op::Le,
        "gt" => Op::Gt,
        "gt-eq" => Op::Ge,
        _ => return None,
    })
}

/// What a test is about.
enum Operand {
    Term(Bound),
    Literal(Json),
    /// A function that is not known here.
    Other,
}

/// A term with its type and its name.
struct Bound {
    term: Term,
    kind: PrimitiveType,
    json: Json,
}

impl Binder<'_> {
    fn filter(self, json: &Json, negated: bool) -> Result<Filter> {
        let object = match json {
            Json::Bool(always) => return Ok(Filter::Always(*always != negated)),
            Json::Object(object) => object,
            _ => return Err(bad("an expression is true, false or an object with a type", json)),
        };
        let part = |key: &str| object.get(key).ok_or_else(|| bad(format!("the expression lacks '{key}'"), json));
        let name = part("type")?.as_str().unwrap_or_default().to_ascii_lowercase().replace('_', "-");
        Ok(match name.as_str() {
            "true" => Filter::Always(!negated),
            "false" => Filter::Always(negated),
            "literal" => Filter::Always((part("value")? == &Json::Bool(true)) != negated),
            "not" => self.filter(part("child")?, !negated)?,
            "and" | "or" => {
                let left = Box::new(self.filter(part("left")?, negated)?);
                let right = Box::new(self.filter(part("right")?, negated)?);
                if (name == "and") == negated { Filter::Or(left, right) } else { Filter::And(left, right) }
            }
            _ => {
                let known = test_name(&name, negated);
                let name = known.ok_or_else(|| bad(format!("there is no expression of type '{name}'"), json))?;
                Filter::Leaf(self.leaf(name, object, json, negated)?)
            }
        })
    }

    fn leaf(self, name: &'static str, object: &Map<String, Json>, json: &Json, negated: bool) -> Result<Leaf> {
        let part = |keys: [&str; 2]| {
            let found = keys.iter().find_map(|key| object.get(*key));
            found.ok_or_else(|| bad(format!("the expression lacks '{}'", keys[0]), json))
        };
        let operand = self.operand(part(if operator(name).is_some() || name.ends_with("starts-with") {
            ["left", "term"]
        } else {
            ["child", "term"]
        })?)?;
        // As it came, for the client to apply.
        let opaque = || {
            let json = if negated { json!({ "type": "not", "child": json }) } else { json.clone() };
            Leaf { test: Predicate::Unknown, json }
        };
        if name.ends_with("null") || name.ends_with("nan") {
            let Operand::Term(bound) = operand else { return Ok(opaque()) };
            return unary(name, bound, json);
        }
        if name.ends_with("in") {
            let Operand::Term(bound) = operand else { return Ok(opaque()) };
            return set(name, bound, part(["values", "values"])?, json);
        }
        match (operand, self.operand_or_literal(part(["right", "value"])?)?) {
            (Operand::Term(bound), Operand::Literal(value)) => comparison(name, bound, value, json),
            (Operand::Literal(value), Operand::Term(bound)) => match mirrored(name) {
                Some(name) => comparison(name, bound, value, json),
                None => Ok(opaque()),
            },
            _ => Ok(opaque()),
        }
    }

    /// What stands on the left: a plain text is a column's name.
    fn operand(self, json: &Json) -> Result<Operand> {
        match json {
            Json::String(name) => self.column(name, json).map(Operand::Term),
            _ => self.operand_or_literal(json),
        }
    }

    /// What stands on the right: a plain text is a text.
    fn operand_or_literal(self, json: &Json) -> Result<Operand> {
        let Json::Object(object) = json else { return Ok(Operand::Literal(json.clone())) };
        let text = |key: &str| object.get(key).and_then(Json::as_str);
        match text("type") {
            Some("literal") => match object.get("value") {
                Some(value) => Ok(Operand::Literal(value.clone())),
                None => Err(bad("a literal has a 'value'", json)),
            },
            Some("reference") => self.reference(object, json).map(Operand::Term),
            Some("transform") => {
                let (Some(transform), Some(term)) = (text("transform"), object.get("term")) else {
                    return Err(bad("a transform has a 'transform' and a 'term'", json));
                };
                let Operand::Term(column) = self.operand(term)? else {
                    return Err(bad("a transform is of a column", json));
                };
                let transform: Transform =
                    transform.parse().map_err(|error| bad("there is no such transform", json).because(error))?;
                transformed(column, transform, json).map(Operand::Term)
            }
            Some("apply") => self.applied(object, json),
            _ => Err(bad("a term is a column's name, a reference, a transform, an apply or a literal", json)),
        }
    }

    fn reference(self, object: &Map<String, Json>, json: &Json) -> Result<Bound> {
        if let Some(id) = object.get("id") {
            let id = id.as_i64().and_then(|id| i32::try_from(id).ok());
            let name = id.and_then(|id| self.schema.name_by_field_id(id));
            return self.column(name.ok_or_else(|| bad("there is no column with that id", json))?, json);
        }
        let name = ["name", "term"].iter().find_map(|key| object.get(*key).and_then(Json::as_str));
        self.column(name.ok_or_else(|| bad("a reference has a 'name' or an 'id'", json))?, json)
    }

    fn column(self, name: &str, json: &Json) -> Result<Bound> {
        let found = match self.case_sensitive {
            true => self.schema.field_by_name(name),
            false => self.schema.field_by_name_case_insensitive(name),
        };
        let field = found.ok_or_else(|| bad(format!("there is no column '{name}'"), json))?;
        let reachable = self.schema.accessor_by_field_id(field.id).is_some();
        let Type::Primitive(kind) = field.field_type.as_ref() else {
            return Err(bad(format!("'{name}' is nested: name one of its fields"), json));
        };
        if !reachable {
            return Err(bad(format!("'{name}' is inside of a list or a map and has no single value"), json));
        }
        let name = self.schema.name_by_field_id(field.id).unwrap_or(name);
        Ok(Bound { term: field.id.into(), kind: kind.clone(), json: json!(name) })
    }

    /// Iceberg's transforms as functions: `day(ts)`, `bucket(16, id)`, `truncate(4, name)`.
    fn applied(self, object: &Map<String, Json>, json: &Json) -> Result<Operand> {
        let arguments = object.get("arguments").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let operands = arguments.iter().map(|one| self.operand_or_literal(one)).collect::<Result<Vec<Operand>>>();
        let (Some(function), Ok(operands)) = (object.get("function").and_then(Json::as_str), operands) else {
            return Ok(Operand::Other);
        };
        let (width, column) = match <[Operand; 1]>::try_from(operands) {
            Ok([Operand::Term(column)]) => (String::new(), column),
            Ok(_) => return Ok(Operand::Other),
            Err(operands) => match <[Operand; 2]>::try_from(operands) {
                Ok([Operand::Literal(width), Operand::Term(column)]) => (format!("[{width}]"), column),
                _ => return Ok(Operand::Other),
            },
        };
        Ok(match format!("{function}{width}").parse::<Transform>() {
            Ok(transform) if transform != Transform::Unknown => Operand::Term(transformed(column, transform, json)?),
            _ => Operand::Other,
        })
    }
}

/// A transform of a column.
fn transformed(column: Bound, transform: Transform, json: &Json) -> Result<Bound> {
    if column.term.transform != Transform::Identity {
        return Err(bad("a transform is of a column, not of a transform", json));
    }
    let unfit = || bad(format!("a column of type {} has no transform {transform}", column.kind), json);
    let Type::Primitive(kind) =
        transform.result_type(&Type::Primitive(column.kind.clone())).map_err(|error| unfit().because(error))?
    else {
        return Err(unfit());
    };
    let json = json!({ "type": "transform", "transform": transform.to_string(), "term": column.json });
    Ok(Bound { term: Term { transform, ..column.term }, kind, json })
}

fn unary(name: &'static str, bound: Bound, json: &Json) -> Result<Leaf> {
    let Bound { term, kind, json: written } = bound;
    let column = term.column;
    let test = match name {
        // A void transform is null of every value.
        _ if !matches!(term.transform, Transform::Identity) => Predicate::Unknown,
        "is-null" => Predicate::IsNull { column, null: true },
        "not-null" => Predicate::IsNull { column, null: false },
        _ if !matches!(kind, PrimitiveType::Float | PrimitiveType::Double) => {
            return Err(bad(format!("a column of type {kind} has no NaN"), json));
        }
        name => Predicate::IsNan { column, nan: name == "is-nan" },
    };
    Ok(Leaf { test, json: json!({ "type": name, "term": written }) })
}

fn set(name: &'static str, bound: Bound, values: &Json, json: &Json) -> Result<Leaf> {
    let values = match values {
        Json::Object(typed) => typed.get("values").unwrap_or(&Json::Null),
        plain => plain,
    };
    let values = values.as_array().ok_or_else(|| bad("'values' is a list of literals", json))?;
    let plain = |value: &Json| match value {
        Json::Object(literal) => literal.get("value").cloned().unwrap_or_default(),
        _ => value.clone(),
    };
    let values: Vec<Json> = values.iter().map(plain).collect();
    let mut literals = Vec::with_capacity(values.len());
    for value in &values {
        match read(value, &bound.kind) {
            Read::Literal(literal) => literals.push(literal),
            Read::Inexact => {}
            Read::Unfit => return Err(unfit(value, &bound.kind, json)),
        }
    }
    let test = match literals.len() == values.len() {
        true => Predicate::among(bound.term, literals),
        false => Predicate::Unknown,
    };
    let test = if name == "in" { test } else { test.negated() };
    Ok(Leaf { test, json: json!({ "type": name, "term": bound.json, "values": values }) })
}

fn comparison(name: &'static str, bound: Bound, value: Json, json: &Json) -> Result<Leaf> {
    let test = match (operator(name), read(&value, &bound.kind)) {
        (_, Read::Unfit) => return Err(unfit(&value, &bound.kind, json)),
        (_, Read::Inexact) => Predicate::Unknown,
        (Some(op), Read::Literal(literal)) => Predicate::Compare { term: bound.term, op, literal },
        (None, _) => match (&value, &bound.kind) {
            (Json::String(prefix), PrimitiveType::String) => {
                Predicate::StartsWith { term: bound.term, prefix: prefix.clone(), starts: name == "starts-with" }
            }
            _ => return Err(bad(format!("a column of type {} does not begin with a text", bound.kind), json)),
        },
    };
    Ok(Leaf { test, json: json!({ "type": name, "term": bound.json, "value": value }) })
}

fn unfit(value: &Json, kind: &PrimitiveType, json: &Json) -> Error {
    bad(format!("{value} is not a value of type {kind}"), json)
}
