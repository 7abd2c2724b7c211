//! `lakectl explain`.

use clap::Args;
use laked_catalog::store::Store;
use laked_catalog::system::System;

use super::Output;
use super::output;
use crate::error::{Error, Kind, Result};
use crate::read::duck::{At, snapshot_at};
use crate::read::explain::{Amount, explain};
use crate::read::source::ident_of;
use crate::read::{Predicate, Source, parse_where, plan};

/// Show what each pruning skips.
#[derive(Args, Debug)]
pub struct Explain {
    /// The table, as namespace.table.
    table: String,
    /// A condition, as in SQL.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Columns that are read, separated by commas; all if absent.
    #[arg(long, value_delimiter = ',')]
    select: Vec<String>,
    /// As of a snapshot id or a time.
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    at: Option<At>,
}

impl Explain {
    /// Plans the scan, reads the footers that are left, prints the figures.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for the table, the condition or a column; storage errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let table = source.table(&ident_of(&self.table)?)?;
        let metadata = &table.metadata;
        let snapshot = snapshot_at(metadata, &self.at.unwrap_or_default())?;
        let schema = metadata.current_schema();
        let predicate = match &self.condition {
            Some(text) => parse_where(text, schema)?,
            None => Predicate::True,
        };
        let column = |name: &String| {
            schema.field_by_name(name).map(|field| field.id).ok_or_else(|| {
                Error::new(Kind::Invalid, format!("there is no column '{name}' to select")).with("table", &self.table)
            })
        };
        let selected = self.select.iter().map(column).collect::<Result<Vec<i32>>>()?;
        let store = Store::read_only(System::real());
        let whole = plan::plan(&store, metadata, snapshot.as_ref(), &predicate, true)?;
        let pruned = plan::plan(&store, metadata, snapshot.as_ref(), &predicate, false)?;
        let explained = explain(&store, metadata, &whole, &pruned, &predicate, &selected)?;
        if form == Output::Json {
            return output::json(&explained);
        }
        println!(
            "manifests: {} of {} read; columns read: {}",
            explained.manifests_read,
            explained.manifests,
            explained.columns.join(", ")
        );
        output::table(
            &["", "partitions", "files", "row groups", "bytes", "skipped by this step"],
            &[
                row("table", None, explained.table, ""),
                row("partitions", Some(explained.table), explained.after_partitions, "partitions"),
                row("file bounds", Some(explained.after_partitions), explained.after_bounds, "files"),
                row("row groups", Some(explained.after_bounds), explained.after_row_groups, "row groups"),
                row("columns", Some(explained.after_row_groups), explained.after_columns, "bytes"),
            ],
        )
    }
}

fn row(name: &str, before: Option<Amount>, after: Amount, unit: &str) -> Vec<String> {
    let of = |amount: Amount| match unit {
        "partitions" => amount.partitions,
        "files" => amount.files,
        "row groups" => amount.row_groups,
        _ => amount.bytes,
    };
    let skipped = before.map_or(String::new(), |before| format!("{} of the {unit}", share(of(before), of(after))));
    let groups = if after.row_groups == 0 { "?".to_string() } else { output::count(after.row_groups) };
    vec![
        name.to_string(),
        output::count(after.partitions),
        output::count(after.files),
        groups,
        output::bytes(after.bytes),
        skipped,
    ]
}

/// The share that is gone, in tenths of a percent.
fn share(before: u64, after: u64) -> String {
    if before == 0 {
        return "none".to_string();
    }
    let tenths = before.saturating_sub(after).saturating_mul(1000) / before;
    format!("{}.{} %", tenths / 10, tenths % 10)
}
