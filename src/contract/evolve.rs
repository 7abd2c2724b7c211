//! A contract against a live table: how they differ, and whether a proposed change of the table breaks the contract.
//!
//! Layout (partition spec, sort order) is not compared: it is what the table says, and the contract's is for the
//! table's creation only. A table may have optional columns that the contract does not: ingestion leaves them null.

use std::fmt;

use iceberg::spec::{Schema, TableMetadata, Type};

use super::{Contract, property};
use crate::error::{Error, Kind};

/// One difference between a contract and a table's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The contract has the field, the table has no such column.
    Absent {
        /// The field.
        field: String,
        /// The column's name in the table, where it is known to have been renamed.
        renamed: Option<String>,
    },
    /// A change puts another column of that name in its place: the values so far are gone.
    Replaced {
        /// The field.
        field: String,
    },
    /// The table has the column, the contract has no such field.
    Extra {
        /// The column.
        field: String,
        /// Whether the column must not be null, so that ingestion cannot write a row.
        required: bool,
    },
    /// Both have it, with other types.
    Type {
        /// The field.
        field: String,
        /// The contract's type.
        contract: String,
        /// The table's type.
        table: String,
        /// Whether the table's column can be widened to the contract's type without a rewrite.
        widens: bool,
    },
    /// The contract requires it, the table's column may be null.
    Optional {
        /// The field.
        field: String,
    },
    /// The table's column must not be null, the contract allows null.
    Required {
        /// The field.
        field: String,
    },
    /// The descriptions differ.
    Doc {
        /// The field.
        field: String,
    },
}

impl Difference {
    /// Whether the table no longer holds what the contract promises, or cannot take its records.
    fn breaks(&self) -> bool {
        !matches!(self, Difference::Doc { .. } | Difference::Extra { required: false, .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Absent { field, renamed: None } => write!(f, "`{field}` is not in the table"),
            Difference::Absent { field, renamed: Some(to) } => write!(f, "`{field}` is named `{to}` in the table"),
            Difference::Replaced { field } => write!(f, "`{field}` is another column than before, without its values"),
            Difference::Extra { field, required: false } => write!(f, "`{field}` is not in the contract"),
            Difference::Extra { field, required: true } => {
                write!(f, "`{field}` is not in the contract, and is required: ingestion could not fill it")
            }
            Difference::Type { field, contract, table, .. } => {
                write!(f, "`{field}` is {contract} in the contract, {table} in the table")
            }
            Difference::Optional { field } => write!(f, "`{field}` is required by the contract, optional in the table"),
            Difference::Required { field } => write!(f, "`{field}` is optional in the contract, required in the table"),
            Difference::Doc { field } => write!(f, "`{field}` has another doc in the table"),
        }
    }
}

/// How a contract and a table's schema differ: first the contract's fields in order, then the table's other columns.
pub fn diff(contract: &Contract, schema: &Schema) -> Vec<Difference> {
    let mut differences = Vec::new();
    for field in contract.fields() {
        let name = field.name.clone();
        let Some(column) = schema.field_by_name(&name) else {
            differences.push(Difference::Absent { field: name, renamed: None });
            continue;
        };
        let wanted = field.iceberg();
        if *column.field_type != *wanted.field_type {
            differences.push(Difference::Type {
                field: name.clone(),
                contract: wanted.field_type.to_string(),
                table: column.field_type.to_string(),
                widens: widens(&column.field_type, &wanted.field_type),
            });
        }
        match (field.required, column.required) {
            (true, false) => differences.push(Difference::Optional { field: name.clone() }),
            (false, true) => differences.push(Difference::Required { field: name.clone() }),
            _ => {}
        }
        if column.doc != wanted.doc {
            differences.push(Difference::Doc { field: name });
        }
    }
    let extra = schema.as_struct().fields().iter().filter(|column| contract.field(&column.name).is_none());
    differences.extend(extra.map(|c| Difference::Extra { field: c.name.clone(), required: c.required }));
    differences
}

/// Iceberg's promotions: int to long, float to double, a decimal to more digits of the same scale.
pub(super) fn widens(from: &Type, to: &Type) -> bool {
    use iceberg::spec::PrimitiveType::{Decimal, Double, Float, Int, Long};
    match (from.as_primitive_type(), to.as_primitive_type()) {
        (Some(Int), Some(Long)) | (Some(Float), Some(Double)) => true,
        (Some(Decimal { precision: p, scale: s }), Some(Decimal { precision, scale })) => s == scale && p < precision,
        _ => false,
    }
}

/// What the guard makes of a proposed change.
#[derive(Debug)]
pub enum Judgement {
    /// The contract still holds, or is not enforced.
    Pass,
    /// It breaks, and the table's `laked.contract.enforce` is `warn`: for the log.
    Warn(String),
    /// It breaks: [`Kind::Forbidden`], with every reason and what to do instead.
    Refuse(Error),
}

/// Judges a change of a table from `before` (none at its creation) to `after`.
///
/// Only what the change itself breaks counts: a table that already differs from its contract can still be committed
/// to. `laked.contract.enforce` (`on`, `warn`, `off`) is read from `before`, so that one commit cannot lift the rule
/// and break it.
pub fn judge(contract: &Contract, before: Option<&TableMetadata>, after: &TableMetadata) -> Judgement {
    let schemas = before.map(|before| before.current_schema());
    if schemas.is_some_and(|schema| schema == after.current_schema()) {
        return Judgement::Pass;
    }
    let enforce = before.unwrap_or(after).properties().get(property::ENFORCE).map_or("on", String::as_str);
    let broken = broken(contract, schemas.map(AsRef::as_ref), after.current_schema());
    if broken.is_empty() || enforce.eq_ignore_ascii_case("off") {
        return Judgement::Pass;
    }
    let reasons: Vec<_> = broken.iter().map(|reason| format!("{reason}; {}", instead(contract, reason))).collect();
    let message = format!("the change breaks the contract of {}: {}", contract.id(), reasons.join(". "));
    if enforce.eq_ignore_ascii_case("warn") {
        return Judgement::Warn(message);
    }
    let relax = format!("{message}. (`{}` = warn or off on the table relaxes this.)", property::ENFORCE);
    Judgement::Refuse(Error::new(Kind::Forbidden, relax).with("contract", contract.id()))
}

/// The differences that break the contract and that `before` did not have.
fn broken(contract: &Contract, before: Option<&Schema>, after: &Schema) -> Vec<Difference> {
    let known = before.map(|before| diff(contract, before)).unwrap_or_default();
    let mut broken = diff(contract, after);
    broken.retain(|difference| difference.breaks() && !known.contains(difference));
    for difference in &mut broken {
        let Difference::Absent { field, renamed } = difference else { continue };
        let id = before.and_then(|before| before.field_id_by_name(field));
        *renamed = id.and_then(|id| after.name_by_field_id(id)).map(str::to_owned);
    }
    let replaced = contract.fields().iter().map(|field| &field.name).filter(|name| {
        let id = |schema: &Schema| schema.field_id_by_name(name);
        before.and_then(id).zip(id(after)).is_some_and(|(before, after)| before != after)
    });
    broken.extend(replaced.map(|name| Difference::Replaced { field: name.clone() }));
    broken
}

fn instead(contract: &Contract, difference: &Difference) -> String {
    let change = |what: &str| {
        let next = contract.version + 1;
        format!("{what} in the contract first, raise its version to {next}, and run `lakectl apply`")
    };
    match difference {
        Difference::Absent { field, renamed: None } => change(&format!("remove `{field}`")),
        Difference::Absent { field, renamed: Some(to) } => change(&format!("rename `{field}` to `{to}`")),
        Difference::Replaced { field } => {
            format!("keep the column, or give the new one another name than `{field}`")
        }
        Difference::Type { field, table, .. } => change(&format!("make `{field}` {table}")),
        Difference::Optional { field } => change(&format!("take `required` from `{field}`")),
        Difference::Required { field } => change(&format!("make `{field}` required")),
        Difference::Extra { field, .. } => format!("add `{field}` as an optional column"),
        Difference::Doc { field } => change(&format!("describe `{field}`")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use iceberg::TableCreation;
    use iceberg::spec::{NestedField, PrimitiveType, TableMetadataBuilder};

    use super::*;

    const TEXT: &str =
        "[fields]\nid = { type = \"string\", required = true, doc = \"Id.\" }\nn = \"long\"\nm = \"double\"";

    fn contract() -> Contract {
        Contract::parse(TEXT, "a/b.toml").unwrap()
    }

    fn table(columns: Vec<NestedField>, enforce: &str) -> TableMetadata {
        let schema = Schema::builder().with_fields(columns.into_iter().map(Into::into)).build().unwrap();
        let properties = HashMap::from([(property::ENFORCE.to_owned(), enforce.to_owned())]);
        let creation = TableCreation::builder()
            .name("b".to_owned())
            .location("file:///w/a/b".to_owned())
            .schema(schema)
            .properties(properties)
            .build();
        TableMetadataBuilder::from_table_creation(creation).unwrap().build().unwrap().metadata
    }

    fn columns() -> Vec<NestedField> {
        contract().iceberg_schema().as_struct().fields().iter().map(|field| field.as_ref().clone()).collect()
    }

    fn refusal(before: Option<&TableMetadata>, after: &TableMetadata) -> String {
        match judge(&contract(), before, after) {
            Judgement::Refuse(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn differences_are_listed_with_their_kind() {
        let schema = Schema::builder()
            .with_fields([
                NestedField::optional(1, "id", PrimitiveType::String.into()).into(),
                NestedField::required(2, "n", PrimitiveType::Int.into()).into(),
                NestedField::optional(3, "other", PrimitiveType::Int.into()).into(),
            ])
            .build()
            .unwrap();
        let field = |name: &str| name.to_owned();
        let wanted = [
            Difference::Optional { field: field("id") },
            Difference::Doc { field: field("id") },
            Difference::Type { field: field("n"), contract: "long".into(), table: "int".into(), widens: true },
            Difference::Required { field: field("n") },
            Difference::Absent { field: field("m"), renamed: None },
            Difference::Extra { field: field("other"), required: false },
        ];
        assert_eq!(diff(&contract(), &schema), wanted);
        assert!(diff(&contract(), contract().iceberg_schema()).is_empty());
    }

    #[test]
    fn a_change_that_breaks_the_contract_is_refused_with_the_way_to_do_it() {
        let before = table(columns(), "on");
        let mut dropped = columns();
        dropped.pop();
        let message = refusal(Some(&before), &table(dropped, "on"));
        assert!(message.contains("`m` is not in the table; remove `m` in the contract first"), "{message}");

        let mut renamed = columns();
        renamed[2].name = "z".to_owned();
        let message = refusal(Some(&before), &table(renamed, "on"));
        assert!(message.contains("named `z`") && message.contains("version to 2"), "{message}");

        let mut optional = columns();
        optional[0].required = false;
        assert!(refusal(Some(&before), &table(optional, "on")).contains("take `required` from `id`"));

        let mut retyped = columns();
        *retyped[1].field_type = PrimitiveType::Int.into();
        assert!(refusal(Some(&before), &table(retyped, "on")).contains("make `n` int"));

        let mut more = columns();
        more.push(NestedField::required(4, "extra", PrimitiveType::Int.into()));
        assert!(refusal(None, &table(more.clone(), "on")).contains("as an optional column"));
        more[3].required = false;
        assert!(matches!(judge(&contract(), Some(&before), &table(more, "on")), Judgement::Pass));
    }

    #[test]
    fn old_differences_pass_and_enforcement_is_the_tables() {
        let mut dropped = columns();
        dropped.pop();
        let broken = table(dropped.clone(), "on");
        assert!(matches!(judge(&contract(), Some(&broken), &broken), Judgement::Pass));
        dropped.push(NestedField::optional(9, "note", PrimitiveType::String.into()));
        assert!(matches!(judge(&contract(), Some(&broken), &table(dropped, "on")), Judgement::Pass));
        for (enforce, after) in [("off", "on"), ("warn", "on"), ("on", "off")] {
            let judgement =
                judge(&contract(), Some(&table(columns(), enforce)), &table(vec![columns().remove(0)], after));
            match enforce {
                "off" => assert!(matches!(judgement, Judgement::Pass)),
                "warn" => assert!(matches!(judgement, Judgement::Warn(_))),
                _ => {
                    assert!(matches!(judgement, Judgement::Refuse(_)), "one commit must not lift the rule and break it")
                }
            }
        }
    }
}
