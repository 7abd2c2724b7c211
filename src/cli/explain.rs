//! `lakectl explain`.

use clap::Args;
use laked_catalog::store::Store;
use laked_catalog::system::System;
use serde::Serialize;

use super::Output;
use super::output;
use crate::error::{Error, Kind, Result};
use crate::read::duck::{At, snapshot_at};
use crate::read::explain::{Amount, Explained, explain};
use crate::read::source::ident_of;
use crate::read::{Predicate, Source, parse_where, plan};

/// Show what each pruning skips.
#[derive(Args, Debug)]
pub struct Explain {
    /// The table, as namespace.table.
    table: String,
    /// A condition, as in SQL: comparisons, IN, BETWEEN, LIKE, IS NULL, with AND, OR, NOT.
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
        let system = System::real();
        let store = Store::read_only(system.clone());
        let begun = system.clock.monotonic();
        plan::plan(&store, metadata, snapshot.as_ref(), &predicate, false)?;
        let planned_ms = (system.clock.monotonic() - begun).as_secs_f64() * 1000.0;
        // What is skipped is counted: this one reads the manifests that a scan does not.
        let plan = plan::plan(&store, metadata, snapshot.as_ref(), &predicate, true)?;
        let explained = explain(&store, metadata, &plan, &predicate, &selected)?;
        match form {
            Output::Json => output::json(&Said { explained: &explained, planned_ms }),
            Output::Text => output::line(text(&explained, planned_ms)),
        }
    }
}

#[derive(Serialize)]
struct Said<'a> {
    #[serde(flatten)]
    explained: &'a Explained,
    /// How long the plan took that a scan makes, in ms.
    planned_ms: f64,
}

fn text(explained: &Explained, planned_ms: f64) -> String {
    let first = &explained.steps[0];
    let table = cells("table", first.before, String::new());
    let rows = explained.steps.iter().map(|step| {
        let skipped = match step.by {
            "partitions" => format!("{} of the partitions", percent(step.skipped.partitions)),
            "file bounds" => format!("{} of the files", percent(step.skipped.files)),
            "row groups" => format!("{} of the row groups", percent(step.skipped.row_groups.unwrap_or_default())),
            _ => format!("{} of the bytes", percent(step.skipped.bytes)),
        };
        cells(step.by, step.after, skipped)
    });
    let rows: Vec<Vec<String>> = std::iter::once(table).chain(rows).collect();
    let drawn = output::drawn(&["left after", "partitions", "files", "row groups", "bytes", "this step skips"], &rows);
    let (read, all, columns) = (explained.manifests_read, explained.manifests, explained.columns.join(", "));
    let entries = format!("{} of {} entries", output::count(explained.entries_read), output::count(explained.entries));
    format!(
        "{drawn}\nmanifests read  {read} of {all}, {entries}\nplanned in      {planned_ms:.1} ms\ncolumns read    {columns}"
    )
}

fn cells(name: &str, amount: Amount, skipped: String) -> Vec<String> {
    let groups = amount.row_groups.map_or("-".to_string(), output::count);
    let (partitions, files) = (output::count(amount.partitions), output::count(amount.files));
    vec![name.to_string(), partitions, files, groups, output::bytes(amount.bytes), skipped]
}

/// In tenths, rounded down: what is left is never hidden.
fn percent(share: f64) -> String {
    format!("{:.1} %", (share * 10.0).floor() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::explain::{Share, Step};

    #[test]
    fn the_steps_are_drawn_with_what_they_skip() {
        let amount = |partitions, files, row_groups, bytes| Amount { partitions, files, row_groups, bytes };
        let step = |by, before, after, share| {
            let skipped = Share { partitions: share, files: share, row_groups: Some(share), bytes: share };
            Step { by, before, after, skipped }
        };
        let (table, one) = (amount(144, 1440, None, 5 << 30), amount(1, 10, None, 40 << 20));
        let (file, group, read) =
            (amount(1, 1, Some(8), 4 << 20), amount(1, 1, Some(2), 1 << 20), amount(1, 1, Some(2), 200 << 10));
        let explained = Explained {
            manifests: 12,
            manifests_read: 1,
            entries: 1440,
            entries_read: 120,
            columns: vec!["user_id".into(), "timestamp".into()],
            steps: [
                step("partitions", table, one, 99.305_55),
                step("file bounds", one, file, 90.0),
                step("row groups", file, group, 75.0),
                step("columns", group, read, 80.468_75),
            ],
        };
        let golden = "\
left after   partitions  files  row groups      bytes  this step skips
table               144  1,440           -    5.0 GiB
partitions            1     10           -   40.0 MiB  99.3 % of the partitions
file bounds           1      1           8    4.0 MiB  90.0 % of the files
row groups            1      1           2    1.0 MiB  75.0 % of the row groups
columns               1      1           2  200.0 KiB  80.4 % of the bytes

manifests read  1 of 12, 120 of 1,440 entries
planned in      0.8 ms
columns read    user_id, timestamp";
        assert_eq!(text(&explained, 0.75), golden);
    }
}
