//! Rows that were judged by an older contract, with the columns that the table has now.
//!
//! A new version adds columns, renames them, and widens types; the writer fills and casts. Names are what is left: the
//! contract that the table carries says which names a column had. A column that the table had, and that neither it nor its
//! contract has any more, was dropped since, and its values would show nowhere. One that it never had is not left out: the
//! writer refuses it, because a table that is older than the contract of its rows would lose their values in silence.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use laked_catalog::Table;

use crate::contract::{Contract, carried};
use crate::error::{Error, Kind, Result};

/// The batch with the table's names. What the table should have and has not is left for the writer to refuse.
///
/// # Errors
/// `Corrupt` if the contract that the table carries cannot be read.
pub fn fitted(batch: RecordBatch, table: &Table) -> Result<RecordBatch> {
    let columns = table.metadata.current_schema().as_struct();
    let has = |name: &str| columns.field_by_name(name).is_some();
    if batch.schema_ref().fields().iter().all(|field| has(field.name())) {
        return Ok(batch);
    }
    match carried(&table.ident, &table.metadata)? {
        Some(contract) => {
            let had = |name: &str| {
                table.metadata.schemas_iter().any(|schema| schema.as_struct().field_by_name(name).is_some())
            };
            renamed(&batch, &contract, has, had)
        }
        None => Ok(batch),
    }
}

/// `has` says which columns the table has, `had` which it ever had.
fn renamed(
    batch: &RecordBatch,
    contract: &Contract,
    has: impl Fn(&str) -> bool,
    had: impl Fn(&str) -> bool,
) -> Result<RecordBatch> {
    let dropped = |name: &str| had(name) && !has(name) && contract.field(name).is_none();
    let schema = batch.schema_ref();
    let (mut fields, mut at) = (Vec::new(), Vec::new());
    for (index, field) in schema.fields().iter().enumerate() {
        let was = || contract.fields().iter().find(|now| now.was.contains(field.name()));
        match was().filter(|_| !has(field.name())) {
            Some(now) if schema.field_with_name(&now.name).is_ok() => continue,
            Some(now) => fields.push(Arc::new(field.as_ref().clone().with_name(&now.name))),
            None if dropped(field.name()) => continue,
            None => fields.push(field.clone()),
        }
        at.push(index);
    }
    let internal = |error| Error::new(Kind::Internal, "rows cannot be given the table's names").because(error);
    let columns = at.into_iter().map(|index| batch.column(index).clone()).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(internal)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn names_follow_the_contract_and_what_was_dropped_is_left_out() {
        let column = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([
            ("old", column(1)),
            ("gone", column(2)),
            ("same", column(3)),
            ("lost", column(4)),
            ("new to it", column(5)),
        ])
        .unwrap();
        let text =
            "[fields]\nnew = { type = \"long\", was = [\"older\", \"old\"] }\nsame = \"long\"\nlost = \"long\"\n";
        let contract = Contract::parse(text, "a/b.toml").unwrap();
        let found =
            renamed(&batch, &contract, |name| ["new", "same"].contains(&name), |name| name != "new to it").unwrap();
        let names: Vec<&str> = found.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        let wanted = ["new", "same", "lost", "new to it"];
        assert_eq!(names, wanted, "what the contract has and the table has not, or never had, is for the writer");
        assert_eq!(found.column(0), &column(1));
        assert_eq!(
            renamed(&batch, &contract, |name| name != "new", |_| true).unwrap(),
            batch,
            "the table was not renamed yet"
        );
    }
}
