//! `lakectl table list|show|undrop`; what is in a table is told by [`super::inspect`].

use std::collections::BTreeMap;

use clap::Subcommand;
use iceberg::TableIdent;
use iceberg::spec::{Snapshot, TableMetadata, Transform};
use serde_json::json;

use super::{Output, output};
use crate::error::Result;
use crate::read::source::ident_of;
use crate::read::{Source, SourceTable};

/// Look at tables.
#[derive(Subcommand, Debug)]
pub enum Table {
    /// Every table, with rows, files and bytes.
    List,
    /// A table's schema, partition spec, sort order and properties.
    Show {
        /// The table, as namespace.table.
        table: String,
    },
    /// Bring back the table of that name that was dropped last, within a day; a purged one is gone.
    Undrop {
        /// The table, as namespace.table.
        table: String,
    },
}

impl Table {
    /// Prints what was asked for.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; storage errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Table::List => list(source, form),
            Table::Show { table } => show(&source.table(&ident_of(&table)?)?, form),
            Table::Undrop { table } => undrop(source, &table, form),
        }
    }
}

fn undrop(source: &Source, name: &str, form: Output) -> Result<()> {
    let ident = ident_of(name)?;
    source.undrop(&ident)?;
    match form {
        Output::Json => output::json(&json!({ "undropped": ident.to_string() })),
        Output::Text => output::line(format!("{ident} is back")),
    }
}

pub(super) fn total(snapshot: Option<&Snapshot>, key: &str) -> u64 {
    let properties = snapshot.map(|snapshot| &snapshot.summary().additional_properties);
    properties.and_then(|properties| properties.get(key)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn list(source: &Source, form: Output) -> Result<()> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for ident in source.tables()? {
        let table = source.table(&ident)?;
        let snapshot = table.metadata.current_snapshot().map(AsRef::as_ref);
        let figures = ["total-records", "total-data-files", "total-files-size"].map(|key| total(snapshot, key));
        let at = snapshot.map_or_else(String::new, |snapshot| output::time(snapshot.timestamp_ms()));
        values.push(json!({ "table": ident.to_string(), "rows": figures[0], "files": figures[1], "bytes": figures[2], "committed": at }));
        rows.push(vec![
            ident.to_string(),
            output::count(figures[0]),
            output::count(figures[1]),
            output::bytes(figures[2]),
            at,
        ]);
    }
    match form {
        Output::Json => output::json(&values),
        Output::Text => output::table(&["table", "rows", "files", "bytes", "last commit"], &rows),
    }
}

fn show(table: &SourceTable, form: Output) -> Result<()> {
    let metadata = &table.metadata;
    if form == Output::Json {
        return output::json(&json!({
            "table": table.ident.to_string(), "metadata-location": table.metadata_location,
            "metadata": metadata.as_ref(),
        }));
    }
    let fields = metadata.current_schema().as_struct().fields().iter();
    let columns: Vec<Vec<String>> = fields
        .map(|field| {
            let need = if field.required { "required" } else { "optional" };
            let doc = field.doc.clone().unwrap_or_default();
            vec![field.id.to_string(), field.name.clone(), field.field_type.to_string(), need.into(), doc]
        })
        .collect();
    let properties: BTreeMap<&String, &String> = metadata.properties().iter().collect();
    let properties: Vec<Vec<String>> =
        properties.into_iter().map(|(key, value)| vec![key.clone(), on_a_line(value)]).collect();
    let columns = output::drawn(&["id", "column", "type", "", "doc"], &columns);
    let properties = output::drawn(&["property", "value"], &properties);
    output::line(format!("{}\n{columns}\n{}", facts(&table.ident, metadata), properties.trim_end()))
}

/// A property's text; of one with many lines (a contract's), how many.
fn on_a_line(text: &str) -> String {
    match text.trim_end().lines().count() {
        0 | 1 => text.trim_end().to_owned(),
        lines => format!("({lines} lines; --output json shows them)"),
    }
}

/// What is to be known of a table at once.
fn facts(ident: &TableIdent, metadata: &TableMetadata) -> String {
    let schema = metadata.current_schema();
    let snapshot = metadata.current_snapshot().map(AsRef::as_ref);
    let joined = |fields: Vec<String>| if fields.is_empty() { "none".to_string() } else { fields.join(", ") };
    let of = |transform: &Transform, id: i32| {
        transformed(&transform.to_string(), schema.name_by_field_id(id).unwrap_or("?"))
    };
    let spec = metadata.default_partition_spec().fields().iter().map(|field| of(&field.transform, field.source_id));
    let order = metadata.default_sort_order().fields.iter().map(|field| of(&field.transform, field.source_id));
    let facts = [
        ("table", ident.to_string()),
        ("uuid", metadata.uuid().to_string()),
        ("location", metadata.location().to_string()),
        ("format", format!("v{}", metadata.format_version() as u8)),
        ("rows", output::count(total(snapshot, "total-records"))),
        ("files", output::count(total(snapshot, "total-data-files"))),
        ("snapshots", output::count(metadata.snapshots().len() as u64)),
        ("partition", joined(spec.collect())),
        ("sort", joined(order.collect())),
    ];
    facts.iter().fold(String::new(), |text, (name, fact)| text + &format!("{name:<9}  {fact}\n"))
}

/// A transform of a column as contracts write it: `bucket(16, user_id)`.
pub(super) fn transformed(transform: &str, column: &str) -> String {
    match (transform, transform.strip_suffix(']')) {
        ("identity", _) => column.to_string(),
        (_, Some(head)) => format!("{}, {column})", head.replace('[', "(")),
        _ => format!("{transform}({column})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_read_as_contracts_write_them() {
        assert_eq!(transformed("identity", "country"), "country");
        assert_eq!(transformed("month", "timestamp"), "month(timestamp)");
        assert_eq!(transformed("bucket[16]", "user_id"), "bucket(16, user_id)");
    }
}
