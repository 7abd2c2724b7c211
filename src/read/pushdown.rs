//! What a statement's WHERE says of the tables it reads: so that files are left out before DuckDB opens their footers.
//!
//! Read from DuckDB's own parse tree (`json_serialize_sql`). Only a plain `SELECT … FROM table WHERE …` tells anything:
//! with joins, samples or column aliases the table is taken whole. A table that is mentioned several times must satisfy
//! one of its mentions. What is not understood prunes nothing, and DuckDB applies the condition anyway.

use std::collections::BTreeMap;

use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use iceberg::{NamespaceIdent, TableIdent};
use laked_catalog::plan::{Op, Predicate};
use serde_json::Value;

use super::defaults::decimal;
use super::parse::literal;

/// Schemas of DuckDB's own.
const OWN: [&str; 3] = ["information_schema", "pg_catalog", "main"];

/// One place where a statement reads a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Mention {
    /// What columns may be qualified with.
    names: Vec<String>,
    /// The condition on its rows, as parsed.
    condition: Option<Value>,
}

/// The tables a statement names with a namespace, each with its mentions.
pub fn mentions(tree: &Value) -> BTreeMap<TableIdent, Vec<Mention>> {
    let mut found = BTreeMap::new();
    collect(tree, &mut found);
    found
}

fn collect(tree: &Value, found: &mut BTreeMap<TableIdent, Vec<Mention>>) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            let from = &tree["from_table"];
            let alone = tree["type"] == "SELECT_NODE" && is_plain(from) && tree["sample"].is_null();
            if let (true, Some(ident)) = (alone, table_of(from)) {
                let names = ["alias", "table_name"].map(|key| from[key].as_str().unwrap_or_default().to_string());
                let condition = Some(tree["where_clause"].clone()).filter(|condition| !condition.is_null());
                found.entry(ident).or_default().push(Mention { names: names.into(), condition });
                fields.iter().filter(|(key, _)| *key != "from_table").for_each(|(_, value)| collect(value, found));
                return;
            }
            if let Some(ident) = table_of(tree) {
                found.entry(ident).or_default().push(Mention { names: Vec::new(), condition: None });
            }
            fields.values().for_each(|value| collect(value, found));
        }
        _ => {}
    }
}

/// Whether a FROM is one table as it is.
fn is_plain(from: &Value) -> bool {
    from["sample"].is_null() && from["column_name_alias"].as_array().is_none_or(Vec::is_empty)
}

fn table_of(from: &Value) -> Option<TableIdent> {
    let text = |key: &str| from[key].as_str().unwrap_or_default();
    let (catalog, schema) = (text("catalog_name"), text("schema_name"));
    if text("type") != "BASE_TABLE" || schema.is_empty() || OWN.contains(&schema) {
        return None;
    }
    let levels = [catalog, schema].into_iter().filter(|part| !part.is_empty()).flat_map(|part| part.split('.'));
    Some(TableIdent::new(NamespaceIdent::from_strs(levels).ok()?, text("table_name").to_string()))
}

/// What every row that the statement can use satisfies.
pub fn predicate(mentions: &[Mention], schema: &Schema) -> Predicate {
    let condition = |mention: &Mention| match &mention.condition {
        Some(tree) => Reader { schema, names: &mention.names }.read(tree),
        None => Predicate::True,
    };
    Predicate::Or(mentions.iter().map(condition).collect())
}

struct Reader<'a> {
    schema: &'a Schema,
    names: &'a [String],
}

impl Reader<'_> {
    fn read(&self, tree: &Value) -> Predicate {
        self.try_read(tree).unwrap_or(Predicate::Unknown)
    }

    fn try_read(&self, tree: &Value) -> Option<Predicate> {
        let children = || tree["children"].as_array().map(Vec::as_slice).unwrap_or_default();
        let all = || children().iter().map(|child| self.read(child)).collect();
        Some(match tree["type"].as_str()? {
            "CONJUNCTION_AND" => Predicate::And(all()),
            "CONJUNCTION_OR" => Predicate::Or(all()),
            "OPERATOR_NOT" => self.read(children().first()?).negated(),
            "OPERATOR_IS_NULL" => self.null(children().first()?, true)?,
            "OPERATOR_IS_NOT_NULL" => self.null(children().first()?, false)?,
            "COMPARE_IN" => self.choice(children())?,
            "COMPARE_NOT_IN" => self.choice(children())?.negated(),
            "COMPARE_BETWEEN" => {
                let low = self.compare(&tree["input"], Op::Ge, &tree["lower"])?;
                Predicate::And(vec![low, self.compare(&tree["input"], Op::Le, &tree["upper"])?])
            }
            "FUNCTION" if tree["function_name"] == "~~" => self.like(children())?,
            name => self.comparison(tree, operator(name)?)?,
        })
    }

    fn comparison(&self, tree: &Value, op: Op) -> Option<Predicate> {
        let (left, right) = (&tree["left"], &tree["right"]);
        self.compare(left, op, right).or_else(|| self.compare(right, op.mirrored(), left))
    }

    fn choice(&self, children: &[Value]) -> Option<Predicate> {
        let (column, values) = children.split_first()?;
        let one = |value| self.compare(column, Op::Eq, value);
        Some(Predicate::Or(values.iter().map(one).collect::<Option<Vec<Predicate>>>()?))
    }

    fn null(&self, column: &Value, null: bool) -> Option<Predicate> {
        Some(Predicate::IsNull { column: self.column(column)?.0, null })
    }

    fn like(&self, children: &[Value]) -> Option<Predicate> {
        let [column, pattern] = children else { return None };
        let (column, PrimitiveType::String) = self.column(column)? else { return None };
        let pattern = constant(pattern)?;
        let (prefix, rest) = pattern.text.split_at(pattern.text.find(['%', '_'])?);
        // Where more than a prefix is asked for, the opposite is not known.
        let more = if rest == "%" { Predicate::True } else { Predicate::Unknown };
        (!prefix.is_empty()).then(|| Predicate::And(vec![Predicate::starts_with(column, prefix), more]))
    }

    fn compare(&self, column: &Value, op: Op, value: &Value) -> Option<Predicate> {
        let (column, kind) = self.column(column)?;
        Some(Predicate::compare(column, op, constant(value)?.typed(&kind)?))
    }

    fn column(&self, tree: &Value) -> Option<(i32, PrimitiveType)> {
        let names: Vec<&str> = match tree["type"].as_str()? {
            "COLUMN_REF" => tree["column_names"].as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?,
            _ => return None,
        };
        let fields = self.schema.as_struct().fields();
        let named = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let name = match names.as_slice() {
            [name] => name,
            // A column of that name could be a struct with a field.
            [table, name] if self.names.iter().any(|own| own == table) && named(table).is_none() => name,
            _ => return None,
        };
        let field = named(name)?;
        match field.field_type.as_ref() {
            Type::Primitive(kind) => Some((field.id, kind.clone())),
            _ => None,
        }
    }
}

fn operator(name: &str) -> Option<Op> {
    Some(match name {
        "COMPARE_EQUAL" => Op::Eq,
        "COMPARE_NOTEQUAL" => Op::Ne,
        "COMPARE_LESSTHAN" => Op::Lt,
        "COMPARE_LESSTHANOREQUALTO" => Op::Le,
        "COMPARE_GREATERTHAN" => Op::Gt,
        "COMPARE_GREATERTHANOREQUALTO" => Op::Ge,
        _ => return None,
    })
}

/// A constant of the statement: its text and DuckDB's type, also where it is cast.
struct Constant {
    text: String,
    kind: String,
}

fn constant(tree: &Value) -> Option<Constant> {
    match tree["type"].as_str()? {
        "OPERATOR_CAST" => {
            let inner = constant(&tree["child"])?;
            let kind = tree["cast_type"]["id"].as_str()?.to_string();
            let text = match (kind.as_str(), inner.text.as_str()) {
                ("BOOLEAN", "t") => "true".to_string(),
                ("BOOLEAN", "f") => "false".to_string(),
                // A cast to a date cuts the time off.
                ("DATE", text) if text.len() == "2025-01-31".len() => inner.text,
                ("TIMESTAMP" | "TIMESTAMP WITH TIME ZONE", _) => inner.text,
                _ => return None,
            };
            (inner.kind == "VARCHAR").then_some(Constant { text, kind })
        }
        "VALUE_CONSTANT" => {
            let kind = &tree["value"]["type"];
            let text = match &tree["value"]["value"] {
                Value::String(text) => text.clone(),
                Value::Bool(value) => value.to_string(),
                Value::Number(number) if kind["id"] == "DECIMAL" => {
                    let scale = u32::try_from(kind["type_info"]["scale"].as_u64()?).ok()?;
                    decimal(i128::from(number.as_i64()?), scale)
                }
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some(Constant { text, kind: kind["id"].as_str()?.to_string() })
        }
        _ => None,
    }
}

impl Constant {
    /// The literal of a column's type that DuckDB would compare with; `None` where it would cast the column instead.
    fn typed(&self, column: &PrimitiveType) -> Option<Datum> {
        let constant = self.kind.as_str();
        let text = constant == "VARCHAR";
        let whole = matches!(constant, "TINYINT" | "SMALLINT" | "INTEGER" | "BIGINT");
        let compares = match column {
            PrimitiveType::String | PrimitiveType::Uuid => text,
            PrimitiveType::Boolean => constant == "BOOLEAN",
            PrimitiveType::Int | PrimitiveType::Long => whole || text,
            PrimitiveType::Double => whole || matches!(constant, "DECIMAL" | "DOUBLE"),
            PrimitiveType::Decimal { .. } => whole || constant == "DECIMAL",
            PrimitiveType::Date => text || constant == "DATE",
            PrimitiveType::Timestamp | PrimitiveType::Timestamptz => {
                text || matches!(constant, "DATE" | "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE")
            }
            _ => false,
        };
        if compares { literal(&self.text, column) } else { None }
    }
}
