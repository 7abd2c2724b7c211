//! A contract's layout beside a table's. The contract's is for the table's creation; afterwards the table's word holds,
//! so a difference is only told.

use iceberg::spec::{NullOrder, Schema, SortDirection, TableMetadata, Transform};

use super::Contract;

/// Where a table's partition spec, sort order or identifier is not its contract's: what differs, and what would change
/// it. Columns go by the names the contract has for them.
pub fn unlike(contract: &Contract, metadata: &TableMetadata) -> Vec<String> {
    let (own, theirs) = (contract.iceberg_schema(), metadata.current_schema().as_ref());
    let mut told = Vec::new();
    let spec = contract.partition_spec().fields().iter();
    let wanted: Vec<String> = spec.map(|field| term(&field.transform, &name(own, field.source_id))).collect();
    let fields = metadata.default_partition_spec().fields().iter();
    let is: Vec<String> = fields
        .filter(|field| field.transform != Transform::Void)
        .map(|field| term(&field.transform, &contracted(contract, theirs, field.source_id)))
        .collect();
    if is != wanted {
        let verb = format!("`lakectl evolve-partition {} \"{}\"`", contract.id(), wanted.join(", "));
        told.push(format!("partitioned by {}, by {} in the contract; {verb}", listed(&is), listed(&wanted)));
    }
    let wanted = order(contract.sort_order(), |id| name(own, id));
    let is = order(metadata.default_sort_order(), |id| contracted(contract, theirs, id));
    if is != wanted {
        let verb = "an engine can change it, as Spark's `ALTER TABLE … WRITE ORDERED BY`";
        told.push(format!("sorted by {}, by {} in the contract; {verb}", listed(&is), listed(&wanted)));
    }
    let identifier = |schema: &Schema, names: &dyn Fn(i32) -> String| {
        let mut names: Vec<String> = schema.identifier_field_ids().map(names).collect();
        names.sort();
        names
    };
    let wanted = identifier(own, &|id| name(own, id));
    let is = identifier(theirs, &|id| contracted(contract, theirs, id));
    if is != wanted {
        let verb = "an engine can change it, as Spark's `ALTER TABLE … SET IDENTIFIER FIELDS`";
        told.push(format!("rows identified by {}, by {} in the contract; {verb}", listed(&is), listed(&wanted)));
    }
    told
}

fn name(schema: &Schema, id: i32) -> String {
    schema.name_by_field_id(id).unwrap_or("?").to_owned()
}

/// A column's name as the contract has it, which may be about to rename it.
fn contracted(contract: &Contract, schema: &Schema, id: i32) -> String {
    let name = name(schema, id);
    let renamed = contract.fields().iter().find(|field| field.was.contains(&name));
    let free = renamed.filter(|field| schema.field_by_name(&field.name).is_none());
    free.map_or(name, |field| field.name.clone())
}

/// A transform of a column as contracts write it.
fn term(transform: &Transform, column: &str) -> String {
    match transform {
        Transform::Identity => column.to_owned(),
        Transform::Bucket(width) => format!("bucket({width}, {column})"),
        Transform::Truncate(width) => format!("truncate({width}, {column})"),
        other => format!("{other}({column})"),
    }
}

fn order(order: &iceberg::spec::SortOrder, name: impl Fn(i32) -> String) -> Vec<String> {
    let one = |field: &iceberg::spec::SortField| {
        let term = term(&field.transform, &name(field.source_id));
        let way = if field.direction == SortDirection::Descending { " desc" } else { "" };
        let usual = (field.direction == SortDirection::Ascending) == (field.null_order == NullOrder::First);
        let nulls = match field.null_order {
            _ if usual => "",
            NullOrder::First => " nulls first",
            NullOrder::Last => " nulls last",
        };
        format!("{term}{way}{nulls}")
    };
    order.fields.iter().map(one).collect()
}

fn listed(terms: &[String]) -> String {
    if terms.is_empty() { "nothing".to_owned() } else { terms.join(", ") }
}
