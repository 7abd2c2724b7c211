//! `lakectl rollback`, `set-current`, `branch` and `tag`.

use std::cell::OnceCell;

use clap::{Args, Subcommand};
use iceberg::spec::{SnapshotReference, SnapshotRetention};
use serde_json::json;

use super::change::Target;
use super::{Output, output};
use crate::config::Age;
use crate::error::{Error, Kind, Result};
use crate::maintain::refs::{RefPlan, create, drop_ref, fast_forward, sort_of};
use crate::maintain::rollback::{RollbackPlan, To, rollback, set_current};
use crate::read::duck::{At, snapshot_at};
use crate::read::source::ident_of;
use crate::read::{Source, SourceTable};

/// Make an ancestor the current snapshot.
#[derive(Args, Debug)]
pub struct Rollback {
    #[command(flatten)]
    target: Target,
    /// A snapshot id, or a time: the last snapshot that is no younger.
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    to: At,
    /// Take out what waits in a branch to be published, too, where it came upon what is taken out.
    #[arg(long)]
    discard: bool,
}

impl Rollback {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for the snapshot; those of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let to = match self.to {
            At::Snapshot(id) => To::Snapshot(id),
            At::Time(time) => To::Time(time),
            At::Now => return Err(Error::new(Kind::Invalid, "say which snapshot or time to go back to")),
        };
        let plan = |table: &SourceTable| rollback(&table.metadata, &table.refs, to, self.discard);
        moved(&self.target, source, form, plan)
    }
}

/// Make any kept snapshot the current one.
#[derive(Args, Debug)]
pub struct SetCurrent {
    #[command(flatten)]
    target: Target,
    /// The snapshot's id.
    snapshot: i64,
    /// Take out what waits in a branch to be published, too, where it came upon what is taken out.
    #[arg(long)]
    discard: bool,
}

impl SetCurrent {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// `NotFound` for the snapshot; those of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let plan = |table: &SourceTable| set_current(&table.metadata, &table.refs, self.snapshot, self.discard);
        moved(&self.target, source, form, plan)
    }
}

fn moved(
    target: &Target,
    source: &Source,
    form: Output,
    plan: impl Fn(&SourceTable) -> Result<RollbackPlan>,
) -> Result<()> {
    let discarded = Discarded::default();
    let plan = |table: &SourceTable| {
        let plan = plan(table)?;
        discarded.stays(plan.branch.as_ref().filter(|branch| branch.waited > 0).map(|branch| branch.from))?;
        Ok(plan)
    };
    print_move(&target.change(source, plan, |plan| &plan.edit)?, target.dry_run, form)
}

/// The tip of what is discarded. A plan that is made anew because somebody was faster may not discard what he added:
/// nobody has said that of it.
#[derive(Default)]
struct Discarded(OnceCell<Option<i64>>);

impl Discarded {
    fn stays(&self, tip: Option<i64>) -> Result<()> {
        if *self.0.get_or_init(|| tip) == tip {
            return Ok(());
        }
        let why =
            "the branch has moved meanwhile, and what came into it was not meant: nothing is discarded; look again";
        Err(Error::new(Kind::Conflict, why))
    }
}

fn print_move(plan: &RollbackPlan, dry_run: bool, form: Output) -> Result<()> {
    if form == Output::Json {
        return output::json(&json!({ "plan": plan, "changes": !plan.edit.is_empty(), "dry-run": dry_run }));
    }
    if plan.edit.is_empty() {
        return output::line(format!("snapshot {} is the current one already; nothing to do", plan.to));
    }
    let from = plan.from.map_or("none".to_string(), |id| id.to_string());
    let verb = if dry_run { "would be" } else { "are" };
    output::line(format!(
        "from  {from}\nto    {}  {}\n{} snapshots {verb} out of sight; they added {} rows in {} files, {}",
        plan.to,
        output::time(plan.to_ms),
        plan.taken_out.len(),
        output::count(plan.rows),
        output::count(plan.files),
        output::bytes(plan.bytes),
    ))?;
    if let Some(branch) = &plan.branch {
        let and = match branch.waited {
            0 => String::new(),
            waited => format!("; {waited} of them waited in it to be published"),
        };
        output::line(format!("branch `{}`, which takes the table's records, goes along{and}", branch.name))?;
    }
    for stretch in &plan.lanes {
        output::line(format!("lane {}: what came from {} up to {}", stretch.lane, stretch.from, stretch.to))?;
    }
    if !plan.lanes.is_empty() {
        output::line(
            "Ingestion goes on behind them. To have them again, set-current to the old snapshot before it expires.",
        )?;
    }
    Ok(())
}

/// Branches: names that move.
#[derive(Subcommand, Debug)]
pub enum Branch {
    /// Make one.
    Create {
        #[command(flatten)]
        at: New,
        /// Keep at least so many of its snapshots.
        #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
        min_snapshots: Option<i32>,
        /// Keep its snapshots for this long, as 5d.
        #[arg(long, value_name = "AGE", allow_hyphen_values = true)]
        snapshots_for: Option<Age>,
    },
    /// End one; its snapshots go when they expire.
    Drop {
        #[command(flatten)]
        target: Target,
        /// Its name.
        name: String,
        /// Even if it shows rows that no other branch or tag shows.
        #[arg(long)]
        discard: bool,
    },
    /// List branches and tags.
    List {
        /// The table, as namespace.table.
        table: String,
    },
    /// Move one forward to where another is.
    FastForward {
        #[command(flatten)]
        target: Target,
        /// The branch that moves.
        name: String,
        /// The branch or tag it goes to.
        to: String,
    },
}

/// Tags: names that stay.
#[derive(Subcommand, Debug)]
pub enum Tag {
    /// Make one.
    Create {
        #[command(flatten)]
        at: New,
    },
    /// End one.
    Drop {
        #[command(flatten)]
        target: Target,
        /// Its name.
        name: String,
    },
    /// List branches and tags.
    List {
        /// The table, as namespace.table.
        table: String,
    },
}

/// A new branch or tag.
#[derive(Args, Debug)]
pub struct New {
    #[command(flatten)]
    target: Target,
    /// Its name.
    name: String,
    /// Where it begins; the current snapshot if absent.
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    at: Option<At>,
    /// How long it is kept, as 90d; for ever if absent.
    #[arg(long, value_name = "AGE", allow_hyphen_values = true)]
    keep: Option<Age>,
}

impl New {
    fn run(&self, source: &Source, form: Output, retention: &SnapshotRetention) -> Result<()> {
        let at = self.at.clone().unwrap_or_default();
        let plan = |table: &SourceTable| {
            let snapshot = snapshot_at(&table.metadata, &at)?
                .ok_or_else(|| Error::new(Kind::NotFound, "the table has no snapshot yet"))?;
            let reference = SnapshotReference::new(snapshot.snapshot_id(), retention.clone());
            create(&table.metadata, &table.refs, &self.name, reference)
        };
        print_ref(&self.target.change(source, plan, |plan| &plan.edit)?, self.target.dry_run, form)
    }
}

fn ms(age: Option<Age>) -> Option<i64> {
    age.map(|age| i64::try_from(age.get().as_millis()).unwrap_or(i64::MAX))
}

impl Branch {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid`, as the plans say; those of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Branch::Create { at, min_snapshots, snapshots_for } => {
                let retention = SnapshotRetention::branch(min_snapshots, ms(snapshots_for), ms(at.keep));
                at.run(source, form, &retention)
            }
            Branch::Drop { target, name, discard } => end(&target, source, form, &name, "branch", discard),
            Branch::List { table } => list(source, &table, form),
            Branch::FastForward { target, name, to } => {
                let plan = |table: &SourceTable| fast_forward(&table.metadata, &table.refs, &name, &to);
                print_ref(&target.change(source, plan, |plan| &plan.edit)?, target.dry_run, form)
            }
        }
    }
}

impl Tag {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// As [`Branch::run`].
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Tag::Create { at } => at.run(source, form, &SnapshotRetention::Tag { max_ref_age_ms: ms(at.keep) }),
            Tag::Drop { target, name } => end(&target, source, form, &name, "tag", false),
            Tag::List { table } => list(source, &table, form),
        }
    }
}

fn end(target: &Target, source: &Source, form: Output, name: &str, sort: &str, discard: bool) -> Result<()> {
    let discarded = Discarded::default();
    let plan = |table: &SourceTable| {
        let plan = drop_ref(&table.metadata, &table.refs, name, sort, discard)?;
        discarded.stays(plan.from.filter(|_| discard))?;
        Ok(plan)
    };
    print_ref(&target.change(source, plan, |plan| &plan.edit)?, target.dry_run, form)
}

/// Prints how a branch or a tag changes.
///
/// # Errors
/// Those of writing.
pub fn print_ref(plan: &RefPlan, dry_run: bool, form: Output) -> Result<()> {
    if form == Output::Json {
        return output::json(&json!({ "plan": plan, "changes": !plan.edit.is_empty(), "dry-run": dry_run }));
    }
    let name = |id: Option<i64>| id.map_or("none".to_string(), |id| id.to_string());
    let tense = if dry_run { " (dry run)" } else { "" };
    let (sort, rows) = (plan.sort, output::count(plan.rows));
    output::line(format!(
        "{sort} {}: {} -> {}{tense}; {} snapshots, {rows} added rows of its own",
        plan.name,
        name(plan.from),
        name(plan.to),
        plan.snapshots,
    ))
}

/// Prints branches and tags.
///
/// # Errors
/// `NotFound`; `Unavailable`.
pub fn list(source: &Source, table: &str, form: Output) -> Result<()> {
    let table = source.table(&ident_of(table)?)?;
    if form == Output::Json {
        return output::json(&table.refs);
    }
    let age =
        |ms: Option<i64>| ms.map_or("-".to_string(), |ms| format!("{} s", output::count(ms.unsigned_abs() / 1000)));
    let row = |(name, reference): (&String, &SnapshotReference)| {
        let (count, snapshots, own) = match &reference.retention {
            SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms } => {
                (*min_snapshots_to_keep, *max_snapshot_age_ms, *max_ref_age_ms)
            }
            SnapshotRetention::Tag { max_ref_age_ms } => (None, None, *max_ref_age_ms),
        };
        let at = table.metadata.snapshot_by_id(reference.snapshot_id);
        vec![
            name.clone(),
            sort_of(reference).to_string(),
            reference.snapshot_id.to_string(),
            at.map_or_else(String::new, |snapshot| output::time(snapshot.timestamp_ms())),
            count.map_or("-".to_string(), |count| count.to_string()),
            age(snapshots),
            age(own),
        ]
    };
    let rows: Vec<Vec<String>> = table.refs.iter().map(row).collect();
    output::table(&["name", "type", "snapshot", "made", "keeps", "its snapshots for", "kept for"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_after_the_first_plan_is_not_discarded() {
        for first in [None, Some(1)] {
            let discarded = Discarded::default();
            assert!(discarded.stays(first).is_ok() && discarded.stays(first).is_ok());
            assert_eq!(discarded.stays(Some(2)).map_err(|error| error.kind()), Err(Kind::Conflict));
        }
    }
}
