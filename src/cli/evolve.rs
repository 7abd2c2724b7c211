//! `lakectl evolve-partition`.

use clap::Args;

use super::change::Target;
use super::moving::Moving;
use super::rewriting::Report;
use super::{Output, output, table};
use crate::contract::partition_term;
use crate::error::{Error, Kind, Result};
use crate::maintain::partition::{Field, PartitionPlan, Term, evolve_partition};
use crate::read::{Source, SourceTable};

/// Give a table another partition spec, from now on.
#[derive(Args, Debug)]
pub struct EvolvePartition {
    #[command(flatten)]
    target: Target,
    /// Columns and transforms, as "country, day(timestamp)"; also bucket(16, c), truncate(3, c), year, month, hour, and
    /// names, as "day(timestamp) as day". An empty text for none.
    spec: String,
    #[command(flatten)]
    moving: Moving,
}

impl EvolvePartition {
    /// Plans, commits, moves what is to be moved, prints.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the spec or the condition, with what is possible; those of the commits. What was moved
    /// before an error is committed, and the same request goes on from there.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let plan = |table: &SourceTable| {
            let schema = table.metadata.current_schema();
            let items = items(&self.spec)?;
            let terms = items.iter().map(|item| term(item, schema)).collect::<Result<Vec<Term>>>()?;
            let plan = evolve_partition(&table.metadata, &terms)?;
            // Before the spec changes, so that what cannot be done afterwards is refused with it.
            let after = plan.edit.applied(&table.metadata)?;
            self.moving.check(&after, &table.refs)?;
            Ok((plan, kept(table), after))
        };
        let (plan, kept, after) = self.target.change(source, plan, |(plan, ..)| &plan.edit)?;
        let moved = self.moving.run(source, &self.target, &after)?;
        print(&plan, kept, moved.as_ref(), self.target.dry_run, form)
    }
}

/// Data files, rows and bytes that stay as they are.
fn kept(table: &SourceTable) -> [u64; 3] {
    let snapshot = table.metadata.current_snapshot().map(AsRef::as_ref);
    ["total-data-files", "total-records", "total-files-size"].map(|key| table::total(snapshot, key))
}

fn print(plan: &PartitionPlan, kept: [u64; 3], moved: Option<&Report>, dry_run: bool, form: Output) -> Result<()> {
    let [files, rows, bytes] = kept;
    let changed = !plan.edit.is_empty();
    if form == Output::Json {
        return output::json(&serde_json::json!({
            "before": plan.before, "after": plan.after, "changes": changed, "dry-run": dry_run,
            "kept": { "files": files, "rows": rows, "bytes": bytes }, "moved": moved,
        }));
    }
    if changed {
        let verb = if dry_run { "would be partitioned" } else { "is partitioned" };
        output::line(format!("before  {}\nafter   {}", listed(&plan.before), listed(&plan.after)))?;
        let (files, rows, bytes) = (output::count(files), output::count(rows), output::bytes(bytes));
        let until = if moved.is_some() { " until they are moved" } else { "" };
        output::line(format!(
            "{files} files, {rows} rows, {bytes} keep their layout{until}; what comes next {verb} anew"
        ))?;
    } else if moved.is_none() {
        output::line(format!("partitioned by {} already; nothing to do", listed(&plan.after)))?;
    }
    match moved {
        None => Ok(()),
        Some(moved) if moved.is_empty() => output::line("no file of another spec is to be moved"),
        Some(moved) => moved.tell(),
    }
}

fn listed(fields: &[Field]) -> String {
    if fields.is_empty() {
        return "nothing".to_string();
    }
    let one = |field: &Field| format!("{} as {}", table::transformed(&field.transform, &field.source), field.name);
    fields.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The items of a list; a comma within brackets is part of one.
fn items(text: &str) -> Result<Vec<&str>> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                items.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(text[start..].trim());
    if items == [""] {
        return Ok(Vec::new());
    }
    if depth != 0 || items.contains(&"") {
        let message = format!("'{text}' is no list of partition fields; write it as \"country, day(timestamp)\"");
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(items)
}

fn term(item: &str, schema: &iceberg::spec::Schema) -> Result<Term> {
    let lower = item.to_ascii_lowercase();
    let named = lower.rfind(" as ").filter(|_| schema.field_by_name(item).is_none());
    let (what, own) = match named {
        Some(at) => (item[..at].trim(), Some(item[at + 4..].trim())),
        None => (item, None),
    };
    let (source_id, transform, name) = partition_term(what, schema)?;
    let name = own.map_or(name, str::to_owned);
    Ok(Term { source_id, transform, name, is_named: own.is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_at_its_own_commas() {
        let found = items(" country, bucket(16, id) ,truncate[3](code) as c").expect("a list");
        assert_eq!(found, ["country", "bucket(16, id)", "truncate[3](code) as c"]);
        assert_eq!(items("  ").expect("none"), Vec::<&str>::new());
        for bad in ["a,,b", ",", "a,", "day(a", "a)"] {
            assert!(items(bad).is_err(), "{bad}");
        }
    }
}
