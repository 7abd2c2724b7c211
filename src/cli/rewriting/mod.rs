//! A table's files are written anew by `lakectl`: compacted, or moved to another partition spec.
//!
//! The files are read and written by this process, beside a daemon or in a lake that has none; the daemon's catalog, or the
//! lake's own, takes the commit. Beside a daemon new files are staged in a folder of the table, locked so long: if this
//! process is killed, what is left there goes with the next `remove-orphans`, and what it had published and not committed
//! are orphans like any other.

mod report;
mod work;

use iceberg::TableIdent;

pub(super) use self::report::Report;
pub(super) use self::work::Work;
use super::output;
use crate::daemon::compaction::Stepped;
use crate::error::Result;
use crate::maintain::compact::Plan;
use crate::read::{Source, SourceTable};

/// How often partitions are taken again that somebody else changed meanwhile.
const ROUNDS: usize = 3;

/// Commits step after step; a step of its own where others were faster. `step` takes one on the table as it was loaded.
pub(super) fn steps(
    source: &Source,
    ident: &TableIdent,
    report: &mut Report,
    step: &dyn Fn(&SourceTable) -> Result<Stepped>,
) -> Result<()> {
    for round in 1.. {
        let stepped = step(&source.table(ident)?)?;
        let left = report.stepped(&stepped);
        let goes_on = stepped.plan.goes_on && stepped.snapshot_id.is_some();
        if !(goes_on || left && round < ROUNDS) {
            break;
        }
    }
    Ok(())
}

/// Tells that a group is rewritten.
pub(super) fn progress(planned: &Plan, number: usize) {
    let group = &planned.groups[number];
    let place = if group.path.is_empty() { "the table" } else { group.path.trim_end_matches('/') };
    let (files, bytes) = (group.inputs.len(), output::bytes(group.bytes()));
    eprintln!("{place}: {files} files, {bytes} ({} of {})", number + 1, planned.groups.len());
}
